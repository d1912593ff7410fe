"""Newton's method on the secular equation of a diagonal plus a rank-b matrix, one batch at a time."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined

# Enough to start Newton's method near its root; nothing depends on their convergence.
POWER_STEPS = 8
MAX_ITERATIONS = 100
ENOUGH = 1e-10
# Squared length, in units of the batch's largest entry, below which a column moves no digit of any eigenvalue, while
# reciprocals of anything larger cannot overflow.
UNSEEN = 1e-200


@compiled
def largest_eigenvalues(diagonals, factors, batches, weights, values):
    """Fill `values` with λ_max of each batch, its factors times its weight; returns which ones converged."""
    n_batches, batch_size = batches.shape
    p = diagonals.shape[1]
    delta = np.empty(p)
    rows = np.empty((batch_size, p))
    converged = np.empty(n_batches, dtype=np.bool_)
    root_b = np.sqrt(batch_size)
    for m in range(n_batches):
        delta[:] = 0.0
        weight, share = weights[m], weights[m] / root_b
        for a in range(batch_size):
            i = batches[m, a]
            for k in range(p):
                delta[k] += diagonals[i, k] * weight * weight
                rows[a, k] = factors[i, k] * share
        delta /= batch_size
        values[m], converged[m] = secular_root(delta, rows)
    return converged


@inlined
def secular_root(delta, rows):
    """λ_max of diag(delta) + rowsᵀrows, and whether the iteration converged."""
    batch_size, p = rows.shape
    norms = np.zeros(p)
    for a in range(batch_size):
        for k in range(p):
            norms[k] += rows[a, k] ** 2
    top_unseen, top_seen, start = -np.inf, -np.inf, -np.inf
    for k in range(p):
        # A coordinate that no row sees is an eigenvector of its own.
        if norms[k] <= UNSEEN:
            top_unseen = max(top_unseen, delta[k])
        else:
            top_seen = max(top_seen, delta[k])
    if top_seen == -np.inf:
        return top_unseen, True
    # λ = top_seen + τ: the distances λ − δ_k = τ + (top_seen − δ_k) then suffer no cancellation at the pole.
    for k in range(p):
        if norms[k] > UNSEEN:
            start = max(start, norms[k] - (top_seen - delta[k]))
    weighted, roots = np.empty((batch_size, p)), np.empty(p)
    if batch_size > 1:
        start = max(start, rayleigh_quotient(delta, rows, norms, top_seen, weighted, roots))
    tau = start
    converged = False
    for _ in range(MAX_ITERATIONS):
        mu, slope = top_of_secular_matrix(delta, rows, norms, top_seen, tau, weighted, roots)
        # Newton on 1/μ = 1: (1/μ)' = slope/μ², slope = −μ'.
        step = (mu - 1.0) * mu / slope
        tau += step
        # The error that is left is of the order of step²/τ: one more evaluation would only say so.
        if not step > ENOUGH * tau:
            converged = np.isfinite(tau) and abs(mu - 1.0) <= 1e-8
            break
    return max(top_unseen, top_seen + tau), converged


@inlined
def rayleigh_quotient(delta, rows, norms, top_seen, weighted, direction):
    """vᵀHv/vᵀv − top_seen, a little below, for v = Aᵀu with u nearly the top eigenvector of AAᵀ: never above the
    root.
    """
    batch_size, p = rows.shape
    for k in range(p):
        seen = norms[k] > UNSEEN
        for a in range(batch_size):
            weighted[a, k] = rows[a, k] if seen else 0.0
    gram = weighted @ weighted.T
    u = np.ones(batch_size)
    for _ in range(POWER_STEPS):
        u = gram @ u
        largest = np.abs(u).max()
        if not largest > 0.0:
            return -np.inf
        u /= largest
    squared_norm, offset, low_rank = 0.0, 0.0, 0.0
    for k in range(p):
        direction[k] = 0.0
    for a in range(batch_size):
        for k in range(p):
            direction[k] += u[a] * weighted[a, k]
    for k in range(p):
        squared_norm += direction[k] ** 2
        offset += (top_seen - delta[k]) * direction[k] ** 2
    for a in range(batch_size):
        projection = 0.0
        for k in range(p):
            projection += weighted[a, k] * direction[k]
        low_rank += projection**2
    value = (low_rank - offset) / squared_norm
    return value - 1e-12 * (low_rank + abs(offset)) / squared_norm if squared_norm > UNSEEN else -np.inf


@inlined
def top_of_secular_matrix(delta, rows, norms, top_seen, tau, weighted, roots):
    """μ = λ_max(S), S = Σ_k a_k a_kᵀ/(τ + top_seen − δ_k), and Σ_k (a_kᵀu)²/(…)² for its top eigenvector u."""
    batch_size, p = rows.shape
    if batch_size == 1:
        mu, slope = 0.0, 0.0
        for k in range(p):
            if norms[k] > UNSEEN:
                inverse = 1.0 / (tau + (top_seen - delta[k]))
                mu += norms[k] * inverse
                slope += norms[k] * inverse * inverse
        return mu, slope
    for k in range(p):
        roots[k] = np.sqrt(1.0 / (tau + (top_seen - delta[k]))) if norms[k] > UNSEEN else 0.0
    for a in range(batch_size):
        for k in range(p):
            weighted[a, k] = rows[a, k] * roots[k]
    eigenvalues, eigenvectors = np.linalg.eigh(weighted @ weighted.T)
    projection = np.zeros(p)
    for a in range(batch_size):
        entry = eigenvectors[a, batch_size - 1]
        for k in range(p):
            projection[k] += entry * weighted[a, k]
    slope = 0.0
    for k in range(p):
        slope += (projection[k] * roots[k]) ** 2
    return eigenvalues[-1], slope
