"""Steps of SGD on a network with cross-entropy and soft labels, compiled."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.sgd import DIVERGENCE_LIMIT, effective_weights, pull_back, step_size_at, update


@compiled
def run_logistic(batches, noise, inputs, labels, link, depth, theta, velocity, first, ramp, momentum, nesterov):
    """A step for each row of `batches` (m, b), from step `first`; the step at which a logit was beyond the limit, or
    −1.

    θ and v are (1, d) or (2, d); noise is (steps, b), what is added to the labels, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    b = batches.shape[1]
    noisy = noise.shape[0] > 0
    covector, weights, gradient = np.empty(d), np.empty(d), np.empty((n_parts, d))
    for m in range(batches.shape[0]):
        effective_weights(theta, link, depth, weights)
        covector[:] = 0.0
        for a in range(b):
            row = inputs[batches[m, a]]
            logit = 0.0
            for k in range(d):
                logit += row[k] * weights[k]
            if not abs(logit) <= DIVERGENCE_LIMIT:
                return first + m
            # The exponential of a negative number: it does not overflow.
            small = math.exp(-abs(logit))
            error = (1.0 if logit >= 0.0 else small) / (1.0 + small) - labels[batches[m, a]]
            if noisy:
                error -= noise[m, a]
            for k in range(d):
                covector[k] += error / b * row[k]
        pull_back(theta, link, depth, covector, gradient)
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        for part in range(n_parts):
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
