"""Particles that multiply with a weight: averages that the rare large ones decide."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from esssim._validate import FloatArray, IntArray


def multiplied(growth: FloatArray, rng: np.random.Generator) -> IntArray:
    """Which particles go on, as many as before, each in proportion to its growth (m,): systematic resampling."""
    m = len(growth)
    places = (np.arange(m) + rng.random()) / m
    return np.minimum(np.searchsorted(np.cumsum(growth / growth.sum()), places), m - 1)


def moment_exponent(
    advance: Callable[[FloatArray], FloatArray],
    states: FloatArray,
    order: float,
    rng: np.random.Generator,
    n_steps: int,
    burn_in: int,
) -> float:
    """L(q) = lim (1/k) log E‖A_k…A₁s‖^q, q the order, by particles that multiply with ‖s‖^q in each step.

    advance: states (m, p), of length 1, to those of the next step, As, each with an A of its own.
    """
    total = 0.0
    for step in range(n_steps):
        moved = advance(states)
        sizes = np.linalg.norm(moved, axis=1)
        growth = sizes**order
        if step >= burn_in:
            total += np.log(growth.mean())
        chosen = multiplied(growth, rng)
        states = moved[chosen] / sizes[chosen, None]
    return float(total / (n_steps - burn_in))


def root_of_exponent(exponent: Callable[[float], float], orders: Sequence[float] | FloatArray) -> float:
    """The tail index: where L rises through 0, by three bisections and a chord between two of the orders (k,), which
    ascend; infinite where it does so between none of them.
    """
    below, order_below = exponent(orders[0]), orders[0]
    for order in orders[1:]:
        value = exponent(order)
        if value >= 0 > below:
            for _ in range(3):
                middle = (order_below + order) / 2
                between = exponent(middle)
                if between < 0:
                    order_below, below = middle, between
                else:
                    order, value = middle, between
            return float(order_below + (order - order_below) * below / (below - value))
        below, order_below = value, order
    return float("inf")
