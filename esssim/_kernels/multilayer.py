"""SGD of a multilayer perceptron, compiled: one call per stretch of steps whose batches are drawn.

θ = (W₁, c₁, W₂, c₂, …), each Wₗ (out, in) row by row, the order of a torch module's parameters.
"""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled, inlined
from esssim._kernels.sgd import DIVERGENCE_LIMIT, is_bounded, update

TANH, GELU, RELU = 0, 1, 2
SQUARED, CROSS_ENTROPY = 0, 1


@inlined
def activate(kind, values, slopes):
    """values ← a(values), slopes ← a'(values)."""
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            z = values[i, j]
            if kind == TANH:
                # tanh z = 1 − 2/(1 + e^{2z}); the library's tanh takes three times as long. Near 0 it is the accurate
                # one.
                a = math.tanh(z) if abs(z) < 0.02 else 1.0 - 2.0 / (1.0 + math.exp(2.0 * z))
                values[i, j], slopes[i, j] = a, 1.0 - a * a
            elif kind == GELU:
                cumulative = 0.5 * math.erfc(-z * math.sqrt(0.5))
                values[i, j] = z * cumulative
                slopes[i, j] = cumulative + z * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
            else:
                positive = z > 0.0
                values[i, j], slopes[i, j] = (z if positive else 0.0), (1.0 if positive else 0.0)


@inlined
def output_gradient(loss, outputs, targets, noise, m, batch):
    """outputs ← ∂(b·L_B)/∂outputs, with targets y + noise for squared error; whether everything is bounded."""
    b, c = outputs.shape
    bounded = True
    for i in range(b):
        row = targets[batch[i]]
        if loss == SQUARED:
            for k in range(c):
                outputs[i, k] -= row[k]
                if noise.shape[0] > 0:
                    outputs[i, k] -= noise[m, i * c + k]
                bounded &= abs(outputs[i, k]) <= DIVERGENCE_LIMIT
        else:
            largest = outputs[i, 0]
            for k in range(c):
                bounded &= abs(outputs[i, k]) <= DIVERGENCE_LIMIT
                largest = max(largest, outputs[i, k])
            total = 0.0
            for k in range(c):
                outputs[i, k] = math.exp(outputs[i, k] - largest)
                total += outputs[i, k]
            # p_y − 1 = −Σ p_j over the other classes, which does not cancel.
            others = 0.0
            for k in range(c):
                others += (1.0 - row[k]) * outputs[i, k]
            for k in range(c):
                outputs[i, k] = (-others if row[k] > 0.0 else outputs[i, k]) / total
    return bounded


@inlined
def places(widths, b):
    """Where in θ the parameters of each layer begin, and where in an array the values of b samples in each."""
    n_layers = widths.shape[0] - 1
    starts = np.zeros(n_layers + 1, dtype=np.int64)
    room = np.zeros(n_layers + 2, dtype=np.int64)
    for layer in range(n_layers):
        starts[layer + 1] = starts[layer] + (widths[layer] + 1) * widths[layer + 1]
    for layer in range(n_layers + 1):
        room[layer + 1] = room[layer] + b * widths[layer]
    return starts, room


@inlined
def forward(theta, widths, starts, room, kind, values, slopes, b):
    """The outputs (b, c) of the inputs in `values`; the values and slopes of every layer on the way."""
    n_layers = widths.shape[0] - 1
    below = values[: room[1]].reshape((b, widths[0]))
    for layer in range(n_layers):
        into, out = widths[layer], widths[layer + 1]
        start, middle = starts[layer], starts[layer] + into * out
        weights = theta[start:middle].reshape((out, into))
        above = values[room[layer + 1] : room[layer + 2]].reshape((b, out))
        np.dot(below, weights.T, above)
        for i in range(b):
            for k in range(out):
                above[i, k] += theta[middle + k]
        if layer < n_layers - 1:
            activate(kind, above, slopes[room[layer + 1] : room[layer + 2]].reshape((b, out)))
        below = above
    return below


@inlined
def back_through(theta, widths, starts, room, layer, delta, slopes, deltas):
    """∂L/∂(what enters layer `layer`'s activation below), (b, in), from that of the one above, (b, out)."""
    b, into, out = delta.shape[0], widths[layer], widths[layer + 1]
    weights = theta[starts[layer] : starts[layer] + into * out].reshape((out, into))
    back = deltas[room[layer] : room[layer + 1]].reshape((b, into))
    np.dot(delta, weights, back)
    slope = slopes[room[layer] : room[layer + 1]].reshape((b, into))
    for i in range(b):
        for k in range(into):
            back[i, k] *= slope[i, k]
    return back


@compiled
def run_layers(batches, noise, inputs, targets, widths, kind, loss, theta, velocity, first, etas, momentum):
    """A step for each row of `batches`, from step `first`; returns the step at which something diverged, or −1.

    inputs (n, d), targets (n, c); θ and v (p,); widths (d, …, c); etas: a step size for each row.
    """
    n_steps, b = batches.shape
    n_layers = widths.shape[0] - 1
    starts, room = places(widths, b)
    values, slopes, deltas = np.empty(room[-1]), np.empty(room[-1]), np.empty(room[-1])
    gradient = np.empty(theta.shape[0])
    for m in range(n_steps):
        batch = batches[m]
        below = values[: room[1]].reshape((b, widths[0]))
        for i in range(b):
            below[i] = inputs[batch[i]]
        delta = forward(theta, widths, starts, room, kind, values, slopes, b)
        if not output_gradient(loss, delta, targets, noise, m, batch):
            return first + m
        for i in range(b):
            for k in range(widths[n_layers]):
                delta[i, k] /= b
        for layer in range(n_layers - 1, -1, -1):
            into, out = widths[layer], widths[layer + 1]
            start, middle = starts[layer], starts[layer] + into * out
            source = values[room[layer] : room[layer + 1]].reshape((b, into))
            np.dot(delta.T, source, gradient[start:middle].reshape((out, into)))
            for k in range(out):
                total = 0.0
                for i in range(b):
                    total += delta[i, k]
                gradient[middle + k] = total
            if layer > 0:
                delta = back_through(theta, widths, starts, room, layer, delta, slopes, deltas)
        if not is_bounded(gradient):
            return first + m
        update(theta, velocity, gradient, etas[m], momentum, False)
    return -1
