"""λ_max of a diagonal plus a rank-b matrix, certified by a Cholesky factorisation: no eigendecomposition at all.

With S(λ) = Σ_k a_k a_kᵀ/(λ − δ_k), the eigenvalue is the λ above every δ_k at which λ_max(S(λ)) = 1. For a unit vector
u the root of uᵀS(λ)u = 1 lies below it by the square of the error of u. Inverse iteration, (μ + ρ − S)x = u with μ =
uᵀSu and the residual ρ = ‖Su − μu‖, squares that error each time. In the end 1 + ε − S(λ) has a Cholesky factor: no
eigenvalue of S(λ) is above 1 + ε.
"""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined
from esssim._kernels.secular import UNSEEN

POWER_STEPS = 6
# How often one factor is applied: a solution costs a tenth of a factorisation.
SOLVES = 3
MAX_ROUNDS, MAX_DOUBLINGS = 8, 60
# A residual at which the value, which has the square of it, is exact to rounding.
EXACT = 1e-9
# What rounding may add to an eigenvalue of S, over b + p.
ROUNDING = 16 * np.finfo(np.float64).eps


@compiled
def largest_eigenvalues(diagonals, factors, batches, weights, values):
    """Fill `values` with λ_max of each batch, its factors times its weight; returns which ones are certain."""
    n_batches, b = batches.shape
    p = diagonals.shape[1]
    delta, gaps, norms, scales = np.empty(p), np.empty(p), np.empty(p), np.empty(p)
    rows, weighted = np.empty((b, p)), np.empty((b, p))
    matrix, factor = np.empty((b, b)), np.empty((b, b))
    u, image = np.empty(b), np.empty(b)
    certain = np.empty(n_batches, dtype=np.bool_)
    root_b = np.sqrt(b)
    for m in range(n_batches):
        weight, share = weights[m], weights[m] / root_b
        for k in range(p):
            delta[k] = 0.0
            norms[k] = 0.0
        for a in range(b):
            diagonal, row, own = diagonals[batches[m, a]], factors[batches[m, a]], rows[a]
            for k in range(p):
                delta[k] += diagonal[k] * (weight * weight / b)
                own[k] = row[k] * share
                norms[k] += own[k] * own[k]
        # A coordinate that no row sees is an eigenvector of its own.
        top_unseen, top_seen = -np.inf, -np.inf
        for k in range(p):
            if norms[k] <= UNSEEN:
                top_unseen = max(top_unseen, delta[k])
            else:
                top_seen = max(top_seen, delta[k])
        if top_seen == -np.inf:
            values[m], certain[m] = top_unseen, True
            continue
        # λ = top_seen + τ, at least the largest diagonal entry of the matrix.
        tau = 0.0
        for k in range(p):
            gaps[k] = top_seen - delta[k]
            if norms[k] > UNSEEN:
                tau = max(tau, norms[k] - gaps[k])
            else:
                gaps[k] = np.inf
        for a in range(b):
            u[a] = 1.0 / root_b
        certain[m] = False
        for attempt in range(MAX_ROUNDS + 1):
            # First the top of AAᵀ, which is that of S but for the diagonal.
            if attempt > 0:
                tau = rayleigh_root(rows, u, gaps, tau, scales)
            for k in range(p):
                scales[k] = np.sqrt(1.0 / (tau + gaps[k])) if attempt > 0 else 1.0
            for a in range(b):
                for k in range(p):
                    weighted[a, k] = rows[a, k] * scales[k]
            products(weighted, matrix)
            for _ in range(POWER_STEPS if attempt == 0 else 1):
                quotient, residual = multiply(matrix, u, image)
                if attempt == 0:
                    normalise(image, u)
            if attempt > 0 and residual <= EXACT and abs(quotient - 1.0) <= EXACT:
                certain[m] = cholesky(matrix, 1.0 + ROUNDING * (b + p), factor)
            if certain[m] or not improve(matrix, quotient, residual, factor, u):
                break
        values[m] = max(top_unseen, top_seen + tau)
    return certain


@inlined
def rayleigh_root(rows, u, gaps, start, projections):
    """The τ at which Σ_k (a_kᵀu)²/(τ + gap_k) = 1, or `start` where that is larger.

    The reciprocal of the sum is concave and increases, so that Newton's method climbs to the root.
    """
    b, p = rows.shape
    for k in range(p):
        projections[k] = 0.0
    for a in range(b):
        entry = u[a]
        for k in range(p):
            projections[k] += entry * rows[a, k]
    tau = start
    for _ in range(60):
        total, slope = 0.0, 0.0
        for k in range(p):
            inverse = 1.0 / (tau + gaps[k])
            term = projections[k] * projections[k] * inverse
            total += term
            slope += term * inverse
        step = (total - 1.0) * total / slope
        if not step > 0.0:
            break
        tau += step
        # The error that is left is of the order of step²/τ.
        if step <= 1e-9 * tau:
            break
    return tau


@inlined
def products(rows, matrix):
    """matrix ← rows·rowsᵀ, its lower triangle."""
    for i in range(rows.shape[0]):
        for j in range(i + 1):
            total = 0.0
            for k in range(rows.shape[1]):
                total += rows[i, k] * rows[j, k]
            matrix[i, j] = total


@inlined
def multiply(matrix, u, image):
    """image ← Mu from the lower triangle of M; uᵀMu and ‖Mu − (uᵀMu)u‖ for a unit vector u."""
    size = u.shape[0]
    for i in range(size):
        total, entry = matrix[i, i] * u[i], u[i]
        for j in range(i):
            total += matrix[i, j] * u[j]
            image[j] += matrix[i, j] * entry
        image[i] = total
    quotient, residual = 0.0, 0.0
    for i in range(size):
        quotient += image[i] * u[i]
    for i in range(size):
        residual += (image[i] - quotient * u[i]) ** 2
    return quotient, np.sqrt(residual)


@inlined
def normalise(vector, out):
    norm = 0.0
    for i in range(vector.shape[0]):
        norm += vector[i] * vector[i]
    norm = np.sqrt(norm)
    for i in range(vector.shape[0]):
        out[i] = vector[i] / norm


@inlined
def cholesky(matrix, shift, factor):
    """The lower factor of shift − M, with the reciprocals of its diagonal; whether there is one."""
    for i in range(matrix.shape[0]):
        for j in range(i + 1):
            total = -matrix[i, j]
            if i == j:
                total += shift
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i > j:
                factor[i, j] = total * factor[j, j]
            elif total > 0.0:
                factor[i, i] = 1.0 / np.sqrt(total)
            else:
                return False
    return True


@inlined
def improve(matrix, quotient, residual, factor, u):
    """Inverse iteration, u ← (σ − M)⁻¹u with the first σ = μ + ρ, μ + 2ρ, μ + 4ρ, … above λ_max(M); whether one was."""
    margin = max(residual, ROUNDING * u.shape[0] * quotient)
    for _ in range(MAX_DOUBLINGS):
        above = cholesky(matrix, quotient + margin, factor)
        if above:
            break
        margin *= 2.0
    if not above:
        return False
    for _ in range(SOLVES):
        for i in range(u.shape[0]):
            total = u[i]
            for j in range(i):
                total -= factor[i, j] * u[j]
            u[i] = total * factor[i, i]
        for i in range(u.shape[0] - 1, -1, -1):
            u[i] *= factor[i, i]
            for j in range(i):
                u[j] -= factor[i, j] * u[i]
        normalise(u, u)
    return True
