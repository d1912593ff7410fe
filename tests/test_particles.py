"""Particles that multiply with a weight, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from esssim._particles import moment_exponent, multiplied, root_of_exponent


def test_particles_go_on_in_proportion_to_their_growth() -> None:
    """Systematic resampling: each of them ⌊mw⌋ or ⌈mw⌉ times, w its share."""
    rng = np.random.default_rng(0)
    growth = rng.random(50) ** 4
    expected = 50 * growth / growth.sum()
    counts = np.array([np.bincount(multiplied(growth, rng), minlength=50) for _ in range(400)])
    assert (np.abs(counts - expected) < 1).all()
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=4 * 0.5 / 20)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5])
def test_the_exponent_of_independent_factors_is_that_of_their_moment(order: float) -> None:
    """A = a·(rotation by a fixed angle) with a = 1.5 or 0.6: L(q) = log E aᑫ."""
    rng, (cosine, sine) = np.random.default_rng(1), (np.cos(0.7), np.sin(0.7))
    rotation = np.array([[cosine, sine], [-sine, cosine]])
    factors = np.repeat([1.5, 0.6], 500)

    def advance(states: np.ndarray) -> np.ndarray:
        return rng.permutation(factors)[:, None] * (states @ rotation)

    found = moment_exponent(advance, np.tile([1.0, 0.0], (1000, 1)), order, rng, 40, 10)
    assert found == pytest.approx(np.log((1.5**order + 0.6**order) / 2), rel=1e-12)


def test_the_tail_index_is_where_the_moment_is_one() -> None:
    """Factors 2 and ½ with chances 1/5 and 4/5: E a^q = 1 for 2^q = 4."""
    orders = []

    def exponent(order: float) -> float:
        orders.append(order)
        return float(np.log(2.0**order / 5 + 0.8 * 0.5**order))

    assert root_of_exponent(exponent, [0.5, 1.0, 2.7, 4.0]) == pytest.approx(2, abs=0.01)
    assert len(orders) == 6
    assert root_of_exponent(exponent, [0.5, 1.0, 1.9]) == np.inf
    # Where all moments fall there is none.
    assert root_of_exponent(lambda order: -order, [1.0, 10.0]) == np.inf
