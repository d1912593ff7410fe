"""Steps along one random direction, as far as the gradient of a batch points along it."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.sgd import DIVERGENCE_LIMIT, covector_of, effective_weights, pull_back, step_size_at, update


@compiled
def run_least_squares(
    batches, directions, noise, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov
):
    """A step for each row of `batches` (m, b) and `directions` (m, p); the step at which something diverged, or −1.

    θ and v are (1, d) or (2, d), padded; noise is (steps, b), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    width = directions.shape[1] // n_parts
    covector, beta, gradient = np.empty(d), np.empty(d), np.empty((n_parts, d))
    for m in range(batches.shape[0]):
        effective_weights(theta, link, depth, beta)
        if not covector_of(inputs, targets, batches, noise, m, DIVERGENCE_LIMIT, beta, covector):
            return first + m
        pull_back(theta, link, depth, covector, gradient)
        along = 0.0
        for part in range(n_parts):
            for k in range(width):
                along += directions[m, part * width + k] * gradient[part, k]
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            for k in range(width):
                gradient[part, k] = along * directions[m, part * width + k]
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
