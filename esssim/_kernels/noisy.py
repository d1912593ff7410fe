"""Steps of the full gradient with Gaussian noise of the trace, or the diagonal, of a batch's gradient covariance."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.sgd import DIVERGENCE_LIMIT, effective_weights, pull_back, step_size_at, update


@compiled
def run_least_squares(
    normals, noise, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov, c, isotropic
):
    """A step for each row of `normals` (m, p), from step `first`; returns the step at which something diverged, or −1.

    θ and v are (1, d) or (2, d), padded; noise is (steps, n), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n, (n_parts, d) = inputs.shape[0], theta.shape
    width = normals.shape[1] // n_parts
    mean, square, beta, ones = np.empty(d), np.empty(d), np.empty(d), np.ones(d)
    slope, gradient, variance = np.empty((n_parts, d)), np.empty((n_parts, d)), np.zeros((n_parts, d))
    for m in range(normals.shape[0]):
        effective_weights(theta, link, depth, beta)
        bounded = True
        for k in range(d):
            mean[k] = 0.0
            square[k] = 0.0
        for i in range(n):
            row, residual = inputs[i], -targets[i]
            for k in range(d):
                residual += row[k] * beta[k]
            if noise.shape[0] > 0:
                residual -= noise[m, i]
            bounded &= abs(residual) <= DIVERGENCE_LIMIT
            for k in range(d):
                term = residual * row[k]
                mean[k] += term / n
                square[k] += term * term / n
        if not bounded:
            return first + m
        pull_back(theta, link, depth, ones, slope)
        total = 0.0
        for part in range(n_parts):
            for k in range(width):
                variance[part, k] = c * slope[part, k] ** 2 * max(square[k] - mean[k] * mean[k], 0.0)
                total += variance[part, k]
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            for k in range(d):
                gradient[part, k] = mean[k] * slope[part, k]
            for k in range(width):
                of_entry = total / (n_parts * width) if isotropic else variance[part, k]
                gradient[part, k] += math.sqrt(of_entry) * normals[m, part * width + k]
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
