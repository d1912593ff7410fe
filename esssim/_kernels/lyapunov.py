"""Random products of linearised steps, compiled: one call follows one replica, its batches drawn beforehand."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined

# The state is rescaled when it leaves these bounds: one more step then neither over- nor underflows.
SMALLEST, LARGEST = 1e-60, 1e60
# Rounding leaks into the neutral kernel of H, where nothing contracts; this often it is projected away.
PROJECT_EVERY = 8


@compiled
def low_rank_growth_rate(factors, diagonals, basis, start, batches, burn_in, optimiser):
    """(1/t) log growth after the burn-in, Hᵢ = diag(diagonals[i]) + aᵢaᵢᵀ.

    diagonals is (0, p) where there is none, and basis (p, 0) where nothing is to be projected on its columns.
    """
    n_steps, b = batches.shape
    p = start.shape[0]
    position, velocity, gradient = start.copy(), np.zeros(p), np.empty(p)
    coordinates = np.empty(basis.shape[1])
    log_scale, log_start = 0.0, 0.0
    for t in range(n_steps):
        for k in range(p):
            gradient[k] = 0.0
        for a in range(b):
            i = batches[t, a]
            projection = 0.0
            for k in range(p):
                projection += factors[i, k] * position[k]
            projection /= b
            for k in range(p):
                gradient[k] += projection * factors[i, k]
            if diagonals.shape[0] > 0:
                for k in range(p):
                    gradient[k] += diagonals[i, k] * position[k] / b
        move(position, velocity, gradient, optimiser)
        if (t + 1) % PROJECT_EVERY == 0 and basis.shape[1] > 0:
            project(basis, position, coordinates)
            project(basis, velocity, coordinates)
        log_scale += rescale(position, velocity, optimiser)
        if t + 1 == burn_in:
            log_start = log_scale + log_norm(position, velocity, optimiser)
    if log_start == -np.inf:  # annihilated already
        return -np.inf
    return (log_scale + log_norm(position, velocity, optimiser) - log_start) / (n_steps - burn_in)


@compiled
def dense_growth_rate(hessians, start, batches, burn_in, optimiser):
    """The same for Hᵢ = hessians[i]."""
    n_steps, b = batches.shape
    p = start.shape[0]
    position, velocity, gradient = start.copy(), np.zeros(p), np.empty(p)
    log_scale, log_start = 0.0, 0.0
    for t in range(n_steps):
        for j in range(p):
            total = 0.0
            for a in range(b):
                i = batches[t, a]
                for k in range(p):
                    total += hessians[i, j, k] * position[k]
            gradient[j] = total / b
        move(position, velocity, gradient, optimiser)
        log_scale += rescale(position, velocity, optimiser)
        if t + 1 == burn_in:
            log_start = log_scale + log_norm(position, velocity, optimiser)
    if log_start == -np.inf:  # annihilated already
        return -np.inf
    return (log_scale + log_norm(position, velocity, optimiser) - log_start) / (n_steps - burn_in)


@inlined
def move(position, velocity, gradient, optimiser):
    """One linearised step, optimiser = (η, β, nesterov)."""
    eta, beta, nesterov = optimiser
    for k in range(position.shape[0]):
        velocity[k] = beta * velocity[k] + gradient[k]
        position[k] -= eta * (gradient[k] + beta * velocity[k] if nesterov else velocity[k])


@inlined
def project(basis, vector, coordinates):
    """vector ← basis basisᵀ vector."""
    p, rank = basis.shape
    for j in range(rank):
        coordinates[j] = 0.0
    for k in range(p):
        for j in range(rank):
            coordinates[j] += basis[k, j] * vector[k]
    for k in range(p):
        total = 0.0
        for j in range(rank):
            total += basis[k, j] * coordinates[j]
        vector[k] = total


@inlined
def rescale(position, velocity, optimiser):
    """Divide the state by its largest entry where that has left the bounds; returns the logarithm of the divisor."""
    eta = optimiser[0]
    largest = 0.0
    for k in range(position.shape[0]):
        largest = max(largest, abs(position[k]), abs(eta * velocity[k]))
    if largest == 0.0 or SMALLEST <= largest <= LARGEST:
        return 0.0
    for k in range(position.shape[0]):
        position[k] /= largest
        velocity[k] /= largest
    return np.log(largest)


@inlined
def log_norm(position, velocity, optimiser):
    """log ‖(e, ηv)‖, −∞ for a product that has annihilated its start."""
    eta = optimiser[0]
    total = 0.0
    for k in range(position.shape[0]):
        total += position[k] ** 2 + (eta * velocity[k]) ** 2
    return np.log(total) / 2
