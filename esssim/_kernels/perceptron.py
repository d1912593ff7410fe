"""The SGD loop of a network with one hidden layer, compiled: θ and v are updated in place."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled, inlined
from esssim._kernels.sgd import DIVERGENCE_LIMIT, is_bounded, step_size_at, update

TANH, GELU = 0, 1
ROOT_2, ROOT_2_PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)


@inlined
def activate(z, activation):
    """a(z) and a'(z)."""
    if activation == TANH:
        value = math.tanh(z)
        return value, 1.0 - value * value
    probability = math.erfc(-z / ROOT_2) / 2
    return z * probability, probability + z * math.exp(-z * z / 2) / ROOT_2_PI


@compiled
def run_perceptron(batches, noise, inputs, targets, activation, theta, velocity, first, ramp, momentum, nesterov):
    """A step for each row of `batches`, from step `first`; returns the step at which something diverged, or −1.

    θ = (W, c, v), W row by row, and v (p,); noise is (steps, b), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    d, b = inputs.shape[1], batches.shape[1]
    width = theta.shape[0] // (d + 2)
    offsets, outer = d * width, (d + 1) * width
    noisy = noise.shape[0] > 0
    gradient, values, slopes = np.empty(theta.shape[0]), np.empty(width), np.empty(width)
    for m in range(batches.shape[0]):
        for k in range(theta.shape[0]):
            gradient[k] = 0.0
        for a in range(b):
            i = batches[m, a]
            residual = -targets[i]
            if noisy:
                residual -= noise[m, a]
            for j in range(width):
                z = theta[offsets + j]
                for k in range(d):
                    z += theta[j * d + k] * inputs[i, k]
                values[j], slopes[j] = activate(z, activation)
                residual += theta[outer + j] * values[j]
            if not abs(residual) <= DIVERGENCE_LIMIT:
                return first + m
            residual /= b
            for j in range(width):
                back = residual * theta[outer + j] * slopes[j]
                for k in range(d):
                    gradient[j * d + k] += back * inputs[i, k]
                gradient[offsets + j] += back
                gradient[outer + j] += residual * values[j]
        if not is_bounded(gradient):
            return first + m
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        update(theta, velocity, gradient, eta, momentum, nesterov)
    return -1
