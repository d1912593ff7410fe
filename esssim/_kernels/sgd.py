"""The SGD loop, compiled: θ, v and the permutation are updated in place, one call per stretch between two records."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from esssim._kernels.sampling import RESHUFFLED, WITHOUT_REPLACEMENT, partial_shuffle

# How the effective weights β come from θ.
IDENTITY, PRODUCT, DIFFERENCE = 0, 1, 2
# A residual or gradient entry beyond this has left every regime of interest, and squares still fit into a double.
DIVERGENCE_LIMIT = 1e100

# Reassociation lets sums use vector registers; NaN and infinity keep their meaning, which divergence detection needs.
compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@compiled
def next_batch(rng, scheme, order, batch, step):
    """Fill `batch` for this step; `order` carries the permutation from step to step."""
    n, b = order.shape[0], batch.shape[0]
    if scheme == WITHOUT_REPLACEMENT:
        if b < n:
            partial_shuffle(rng, order, b)
        batch[:] = order[:b]
    elif scheme == RESHUFFLED:
        position = step % (n // b)
        if position == 0:
            partial_shuffle(rng, order, n)
        batch[:] = order[position * b : (position + 1) * b]
    else:
        for i in range(b):
            batch[i] = int(rng.random() * n)


@compiled
def step_size_at(step, start, stop, geometric, n_steps):
    """η(step) on the way from start at step 0 to stop at step n_steps."""
    if start == stop:
        return start
    fraction = step / n_steps
    return start * (stop / start) ** fraction if geometric else start + (stop - start) * fraction


@compiled
def update(theta, velocity, gradient, eta, momentum, nesterov):
    """One step of SGD (momentum 0), heavy ball or Nesterov."""
    if momentum == 0.0:
        for k in range(theta.shape[0]):
            theta[k] -= eta * gradient[k]
        return
    for k in range(theta.shape[0]):
        velocity[k] = momentum * velocity[k] + gradient[k]
        theta[k] -= eta * (gradient[k] + momentum * velocity[k] if nesterov else velocity[k])


@compiled
def run_least_squares(
    rng,
    inputs,
    targets,
    link,
    depth,
    theta,
    velocity,
    order,
    batch_size,
    scheme,
    first,
    last,
    ramp,
    momentum,
    nesterov,
    label_noise,
):
    """Steps first … last−1; returns the number of steps done when something diverged, or −1."""
    start, stop, geometric, n_steps = ramp
    d = inputs.shape[1]
    batch = np.empty(batch_size, dtype=np.int64)
    covector = np.empty(d)
    weights = np.empty(d)
    gradient = np.empty(theta.shape[0])
    for step in range(first, last):
        next_batch(rng, scheme, order, batch, step)
        if link == IDENTITY:
            for k in range(d):
                weights[k] = theta[k]
        elif link == PRODUCT:
            for k in range(d):
                weights[k] = theta[k] * theta[d + k]
        else:
            for k in range(d):
                weights[k] = theta[k] ** depth - theta[d + k] ** depth
        for k in range(d):
            covector[k] = 0.0
        largest = 0.0
        for a in range(batch_size):
            i = batch[a]
            residual = 0.0
            for k in range(d):
                residual += inputs[i, k] * weights[k]
            residual -= targets[i]
            if label_noise > 0.0:
                residual -= label_noise * rng.standard_normal()
            if not abs(residual) <= largest:
                largest = abs(residual)
            residual /= batch_size
            for k in range(d):
                covector[k] += residual * inputs[i, k]
        if not largest <= DIVERGENCE_LIMIT:
            return step
        if link == IDENTITY:
            for k in range(d):
                gradient[k] = covector[k]
        elif link == PRODUCT:
            for k in range(d):
                gradient[k] = covector[k] * theta[d + k]
                gradient[d + k] = covector[k] * theta[k]
        else:
            for k in range(d):
                gradient[k] = depth * covector[k] * theta[k] ** (depth - 1)
                gradient[d + k] = -depth * covector[k] * theta[d + k] ** (depth - 1)
        eta = step_size_at(step, start, stop, geometric, n_steps)
        update(theta, velocity, gradient, eta, momentum, nesterov)
    return -1


@compiled
def run_quadratic(
    rng, hessians, minimizers, theta, velocity, order, batch_size, scheme, first, last, ramp, momentum, nesterov
):
    """The same for ℓᵢ = ½(θ−cᵢ)ᵀAᵢ(θ−cᵢ)."""
    start, stop, geometric, n_steps = ramp
    p = theta.shape[0]
    batch = np.empty(batch_size, dtype=np.int64)
    gradient = np.empty(p)
    for step in range(first, last):
        next_batch(rng, scheme, order, batch, step)
        for k in range(p):
            gradient[k] = 0.0
        for a in range(batch_size):
            i = batch[a]
            for j in range(p):
                total = 0.0
                for k in range(p):
                    total += hessians[i, j, k] * (theta[k] - minimizers[i, k])
                gradient[j] += total / batch_size
        largest = 0.0
        for k in range(p):
            if not abs(gradient[k]) <= largest:
                largest = abs(gradient[k])
        if not largest <= DIVERGENCE_LIMIT:
            return step
        eta = step_size_at(step, start, stop, geometric, n_steps)
        update(theta, velocity, gradient, eta, momentum, nesterov)
    return -1
