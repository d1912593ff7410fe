"""Random weights of all samples: how they are drawn, and the steps of SGD that they make."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.compiling import compiled, inlined
from esssim._kernels.compiling import compiled_in_order as in_order
from esssim._kernels.sgd import (
    DIVERGENCE_LIMIT,
    effective_weights,
    pull_back,
    step_size_at,
    update,
)

NORMAL, TWO_POINTS, THREE_POINTS, FULL_OR_SINGLE = 0, 1, 2, 3


@in_order
def draw_weights(rng, law, spread, variance, weights, normals):
    """Fill the rows of `weights` (m, n) and of `normals` (m, k): for each step its weights, then its normal numbers.

    The mean of a weight is 1/n, the covariance (variance/n)(δᵢⱼ − 1/n); spread: what the law needs besides.
    """
    n = weights.shape[1]
    size = math.sqrt(variance / n)
    for m in range(weights.shape[0]):
        if law == FULL_OR_SINGLE:
            single, which = rng.random(), int(rng.random() * n)
            for i in range(n):
                weights[m, i] = 1.0 / n
            if single < variance:
                weights[m] = 0.0
                weights[m, which] = 1.0
        else:
            mean = 0.0
            for i in range(n):
                if law == NORMAL:
                    z = rng.standard_normal()
                elif law == TWO_POINTS:
                    z = 1.0 if rng.random() < 0.5 else -1.0
                else:
                    u, z = rng.random() * 2.0 * spread, 0.0
                    if u < 2.0:
                        z = math.sqrt(spread) if u < 1.0 else -math.sqrt(spread)
                weights[m, i] = z
                mean += z / n
            for i in range(n):
                weights[m, i] = 1.0 / n + size * (weights[m, i] - mean)
        for a in range(normals.shape[1]):
            normals[m, a] = rng.standard_normal()


@inlined
def weighted_covector(inputs, targets, weights, noise, m, beta, covector):
    """s = Σᵢ wᵢrᵢxᵢ with rᵢ = xᵢᵀβ − yᵢ − noiseᵢ at step m; returns whether every |rᵢ| is bounded."""
    d = covector.shape[0]
    noisy = noise.shape[0] > 0
    bounded = True
    for k in range(d):
        covector[k] = 0.0
    for i in range(inputs.shape[0]):
        w = weights[m, i]
        if w == 0.0:
            continue
        row, residual = inputs[i], -targets[i]
        for k in range(d):
            residual += row[k] * beta[k]
        if noisy:
            residual -= noise[m, i]
        bounded &= abs(residual) <= DIVERGENCE_LIMIT
        residual *= w
        for k in range(d):
            covector[k] += residual * row[k]
    return bounded


@compiled
def run_least_squares(weights, noise, inputs, targets, link, depth, theta, velocity, first, ramp, momentum, nesterov):
    """A step for each row of `weights` (m, n), from step `first`; returns the step at which something diverged, or −1.

    θ and v are (1, d) or (2, d); noise is (steps, n), what is added to the targets, or (0, 0) for none.
    """
    start, stop, geometric, n_steps = ramp
    n_parts, d = theta.shape
    covector, beta, gradient = np.empty(d), np.empty(d), np.empty((n_parts, d))
    for m in range(weights.shape[0]):
        effective_weights(theta, link, depth, beta)
        if not weighted_covector(inputs, targets, weights, noise, m, beta, covector):
            return first + m
        eta = step_size_at(first + m, start, stop, geometric, n_steps)
        pull_back(theta, link, depth, covector, gradient)
        for part in range(n_parts):
            update(theta[part], velocity[part], gradient[part], eta, momentum, nesterov)
    return -1
