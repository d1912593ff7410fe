"""Steps along the gradient of a batch whose inputs are masked, compiled."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.sgd import DIVERGENCE_LIMIT, effective_weights, pull_back, step_size_at, update


@compiled
def run_least_squares(
    batches, normals, noise, kept, scale, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov
):
    """A step for each row of `batches` (m, b); the step at which a residual was beyond the limit, or −1.

    An input is kept, times `scale`, where its number in `normals` (m, b·d) is below `kept`. θ and v are (1, d) or
    (2, d), padded; noise is (steps, b), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    b = batches.shape[1]
    width = normals.shape[1] // b
    noisy = noise.shape[0] > 0
    covector, beta, gradient = np.zeros(d), np.empty(d), np.empty((n_parts, d))
    for m in range(batches.shape[0]):
        effective_weights(theta, link, depth, beta)
        covector[:] = 0.0
        for a in range(b):
            row = inputs[batches[m, a]]
            residual = 0.0
            for k in range(width):
                if normals[m, a * width + k] < kept:
                    residual += scale * row[k] * beta[k]
            residual -= targets[batches[m, a]]
            if noisy:
                residual -= noise[m, a]
            if not abs(residual) <= DIVERGENCE_LIMIT:
                return first + m
            for k in range(width):
                if normals[m, a * width + k] < kept:
                    covector[k] += residual / b * scale * row[k]
        pull_back(theta, link, depth, covector, gradient)
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
