"""Steps of RMSProp and Adam, compiled: θ and the means of gradients and of their squares are updated in place."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined
from esssim._kernels.sgd import DIVERGENCE_LIMIT, covector_of, effective_weights, pull_back, step_size_at


@inlined
def update(theta, means, squares, gradient, eta, step, law):
    """Step number `step` ≥ 1 of the law (β₁, β₂, ε, corrected)."""
    first, second, epsilon, corrected = law
    of_means = 1 - first**step if corrected else 1.0
    of_squares = 1 - second**step if corrected else 1.0
    for k in range(theta.shape[0]):
        means[k] = first * means[k] + (1 - first) * gradient[k]
        squares[k] = second * squares[k] + (1 - second) * gradient[k] ** 2
        theta[k] -= eta / of_means * means[k] / (np.sqrt(squares[k] / of_squares) + epsilon)


# For Python to call, and kept on disk.
take_step = compiled(update.py_func)


@compiled
def run_least_squares(batches, noise, inputs, targets, link, depth, theta, means, squares, first, ramp, law):
    """A step for each row of `batches` (m, b); the step at which a residual was beyond the limit, or −1.

    θ and both means are (1, d) or (2, d), padded; noise is (steps, b), what is added to the targets, or (0, 0) for
    none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    covector, weights, gradient = np.empty(d), np.empty(d), np.empty((n_parts, d))
    for m in range(batches.shape[0]):
        effective_weights(theta, link, depth, weights)
        if not covector_of(inputs, targets, batches, noise, m, DIVERGENCE_LIMIT, weights, covector):
            return first + m
        pull_back(theta, link, depth, covector, gradient)
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            update(theta[part], means[part], squares[part], gradient[part], eta, first + m + 1, law)
    return -1
