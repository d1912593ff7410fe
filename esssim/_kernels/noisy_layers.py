"""Steps of a multilayer perceptron by the full gradient and Gaussian noise of a batch's trace, or diagonal."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled
from esssim._kernels.multilayer import activate, output_gradient
from esssim._kernels.sgd import DIVERGENCE_LIMIT, update


@compiled
def run_noisy_layers(
    normals, noise, inputs, targets, widths, kind, loss, theta, velocity, first, etas, momentum, c, isotropic
):
    """A step for each row of `normals` (m, p), from step `first`; returns the step at which something diverged, or −1.

    The rest as for `multilayer.run_layers`. An entry of a sample's gradient is δa: its mean square is one of (δ²)ᵀa².
    """
    n, p, n_layers = inputs.shape[0], theta.shape[0], widths.shape[0] - 1
    everyone = np.arange(n)
    starts = np.zeros(n_layers + 1, dtype=np.int64)
    room = np.zeros(n_layers + 2, dtype=np.int64)
    for layer in range(n_layers):
        starts[layer + 1] = starts[layer] + (widths[layer] + 1) * widths[layer + 1]
    for layer in range(n_layers + 1):
        room[layer + 1] = room[layer] + n * widths[layer]
    values, slopes, deltas = np.empty(room[-1]), np.empty(room[-1]), np.empty(room[-1])
    gradient, square = np.empty(p), np.empty(p)
    values[: room[1]] = inputs.ravel()
    for m in range(normals.shape[0]):
        below = values[: room[1]].reshape((n, widths[0]))
        for layer in range(n_layers):
            into, out = widths[layer], widths[layer + 1]
            start, middle = starts[layer], starts[layer] + into * out
            above = values[room[layer + 1] : room[layer + 2]].reshape((n, out))
            np.dot(below, theta[start:middle].reshape((out, into)).T, above)
            for i in range(n):
                for k in range(out):
                    above[i, k] += theta[middle + k]
            if layer < n_layers - 1:
                activate(kind, above, slopes[room[layer + 1] : room[layer + 2]].reshape((n, out)))
            below = above
        if not output_gradient(loss, below, targets, noise, m, everyone):
            return first + m
        delta = below
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
                back = deltas[room[layer] : room[layer + 1]].reshape((n, into))
                np.dot(delta, theta[start:middle].reshape((out, into)), back)
                slope = slopes[room[layer] : room[layer + 1]].reshape((n, into))
                for i in range(n):
                    for k in range(into):
                        back[i, k] *= slope[i, k]
                delta = back
        total = 0.0
        for k in range(p):
            gradient[k] /= n
            square[k] = c * max(square[k] / n - gradient[k] * gradient[k], 0.0)
            total += square[k]
        largest = 0.0
        for k in range(p):
            gradient[k] += math.sqrt(total / p if isotropic else square[k]) * normals[m, k]
            if not abs(gradient[k]) <= largest:
                largest = abs(gradient[k])
        if not largest <= DIVERGENCE_LIMIT:
            return first + m
        update(theta, velocity, gradient, etas[m], momentum, False)
    return -1
