"""Steps along the gradient of a batch a little uphill, compiled."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.sgd import DIVERGENCE_LIMIT, covector_of, effective_weights, pull_back, step_size_at, update


@compiled
def run_least_squares(
    batches, noise, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov, radius, normalised
):
    """A step for each row of `batches` (m, b); the step at which a residual was beyond the limit, or −1.

    θ and v are (1, d) or (2, d), padded; noise is (steps, b), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    covector, beta = np.empty(d), np.empty(d)
    gradient, uphill = np.empty((n_parts, d)), np.empty((n_parts, d))
    for m in range(batches.shape[0]):
        effective_weights(theta, link, depth, beta)
        if not covector_of(inputs, targets, batches, noise, m, DIVERGENCE_LIMIT, beta, covector):
            return first + m
        pull_back(theta, link, depth, covector, gradient)
        reach = radius
        if normalised:
            length = np.sqrt((gradient**2).sum())
            reach = radius / length if length > 0.0 else 0.0
        for part in range(n_parts):
            for k in range(d):
                uphill[part, k] = theta[part, k] + reach * gradient[part, k]
        effective_weights(uphill, link, depth, beta)
        if not covector_of(inputs, targets, batches, noise, m, DIVERGENCE_LIMIT, beta, covector):
            return first + m
        pull_back(uphill, link, depth, covector, gradient)
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
