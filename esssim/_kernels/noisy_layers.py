"""Steps of a multilayer perceptron by the full gradient and Gaussian noise of a batch's trace, or diagonal."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.multilayer import back_through, forward, output_gradient, places
from esssim._kernels.sgd import is_bounded, update


@compiled
def run_noisy_layers(
    normals, noise, inputs, targets, widths, kind, loss, theta, velocity, first, etas, momentum, c, isotropic
):
    """A step for each row of `normals` (m, p), from step `first`; returns the step at which something diverged, or −1.

    The rest as for `multilayer.run_layers`. An entry of a sample's gradient is δa: its mean square is one of (δ²)ᵀa².
    """
    n, p, n_layers = inputs.shape[0], theta.shape[0], widths.shape[0] - 1
    everyone = np.arange(n)
    starts, room = places(widths, n)
    values, slopes, deltas = np.empty(room[-1]), np.empty(room[-1]), np.empty(room[-1])
    gradient, square = np.empty(p), np.empty(p)
    values[: room[1]] = inputs.ravel()
    for m in range(normals.shape[0]):
        delta = forward(theta, widths, starts, room, kind, values, slopes, n)
        if not output_gradient(loss, delta, targets, noise, m, everyone):
            return first + m
        for layer in range(n_layers - 1, -1, -1):
            into, out = widths[layer], widths[layer + 1]
            start, middle = starts[layer], starts[layer] + into * out
            source = values[room[layer] : room[layer + 1]].reshape((n, into))
            np.dot(delta.T, source, gradient[start:middle].reshape((out, into)))
            np.dot((delta * delta).T, source * source, square[start:middle].reshape((out, into)))
            for k in range(out):
                total, squares = 0.0, 0.0
                for i in range(n):
                    total += delta[i, k]
                    squares += delta[i, k] * delta[i, k]
                gradient[middle + k], square[middle + k] = total, squares
            if layer > 0:
                delta = back_through(theta, widths, starts, room, layer, delta, slopes, deltas)
        total = 0.0
        for k in range(p):
            gradient[k] /= n
            square[k] = c * max(square[k] / n - gradient[k] * gradient[k], 0.0)
            total += square[k]
        for k in range(p):
            gradient[k] += math.sqrt(total / p if isotropic else square[k]) * normals[m, k]
        if not is_bounded(gradient):
            return first + m
        update(theta, velocity, gradient, etas[m], momentum, False)
    return -1
