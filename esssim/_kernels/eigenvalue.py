"""λ_max of many small positive semidefinite matrices at once: LANES of them side by side, one in each lane of a
register.

Each is brought to tridiagonal form by Householder reflections. Laguerre's iteration then falls monotonically from an
upper bound to the largest root of its characteristic polynomial p, whose p′/p and (p′/p)′ come from the recurrence
q_i = λ − d_i − e_i²/q_{i−1}, p = ∏ q_i. Above the largest root every q_i is positive; the first that is not says that
the iteration has reached the root to rounding.
"""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled, inlined, spliced

LANES = 32
MAX_ITERATIONS = 60
EPS = np.finfo(np.float64).eps
# Rows so much smaller than the largest of their batch move no digit of its top eigenvalue.
SMALLEST_EXPONENT = -600
POWERS_OF_TWO = np.ldexp(1.0, np.arange(SMALLEST_EXPONENT, 1))


@compiled
def largest_of_gram_slices(gram, exponents, batches, values):
    """λ_max of gram[B, B], its rows and columns times 2^(e_i − max_B e), for each batch; returns which converged."""
    n_batches, b = batches.shape
    converged = np.empty(n_batches, dtype=np.bool_)
    matrices, work = np.empty((b, b, LANES)), workspace(b)
    for first in range(0, n_batches, LANES):
        for lane in range(LANES):
            batch = batches[min(first + lane, n_batches - 1)]
            weights = relative_weights(exponents, batch, work[3])
            for i in range(b):
                for j in range(i + 1):
                    matrices[i, j, lane] = gram[batch[i], batch[j]] * (weights[i] * weights[j])
        solve(matrices, work, first, values, converged)
    return converged


@compiled
def largest_of_products(rows, exponents, batches, values):
    """λ_max of R_BᵀR_B, R_B the rows of the batch times 2^(e_i − max_B e), by the smaller of its two products."""
    (n_batches, b), p = batches.shape, rows.shape[1]
    size = min(b, p)
    converged = np.empty(n_batches, dtype=np.bool_)
    matrices, work = np.empty((size, size, LANES)), workspace(size)
    scaled, product, weights = np.empty((b, p)), np.empty((size, size)), np.empty(b)
    for first in range(0, n_batches, LANES):
        for lane in range(LANES):
            if first + lane < n_batches:
                batch = batches[first + lane]
                relative_weights(exponents, batch, weights)
                for a in range(b):
                    row = rows[batch[a]]
                    for k in range(p):
                        scaled[a, k] = row[k] * weights[a]
                if b <= p:
                    np.dot(scaled, scaled.T, product)
                else:
                    np.dot(scaled.T, scaled, product)
            for i in range(size):
                for j in range(i + 1):
                    matrices[i, j, lane] = product[i, j]
        solve(matrices, work, first, values, converged)
    return converged


@spliced
def relative_weights(exponents, batch, weights):
    """2^(e_i − max_B e) in `weights`."""
    largest = exponents[batch[0]]
    for i in batch:
        largest = max(largest, exponents[i])
    for a in range(batch.shape[0]):
        weights[a] = POWERS_OF_TWO[max(exponents[batch[a]] - largest, SMALLEST_EXPONENT) - SMALLEST_EXPONENT]
    return weights


@spliced
def workspace(size):
    """Diagonals, squared off-diagonals, vectors, and what a step needs, for LANES matrices."""
    return (
        np.empty((size, LANES)),
        np.empty((size, LANES)),
        np.empty((2, size, LANES)),
        np.empty(size),
        np.empty((8, LANES)),
    )


@spliced
def solve(matrices, work, first, values, converged):
    """λ_max of the lower triangles in matrices (k, k, LANES), which are overwritten, to values[first : first +
    LANES].
    """
    diagonal, off_squared, vectors, _, scratch = work
    size = matrices.shape[0]
    count = min(LANES, values.shape[0] - first)
    if size <= 2:
        for lane in range(count):
            a = matrices[0, 0, lane]
            if size == 2:
                b, c = matrices[1, 0, lane], matrices[1, 1, lane]
                a = (a + c) / 2 + np.hypot((a - c) / 2, b)
            values[first + lane], converged[first + lane] = a, np.isfinite(a)
        return
    tridiagonalise(matrices, diagonal, off_squared, vectors, scratch)
    estimate, active = scratch[0], scratch[1]
    upper_bound(diagonal, off_squared, estimate, scratch[2], scratch[3])
    active[:] = 1.0
    for _ in range(MAX_ITERATIONS):
        if laguerre_step(diagonal, off_squared, estimate, active, scratch[2:]) == 0:
            break
    for lane in range(count):
        values[first + lane] = estimate[lane]
        converged[first + lane] = active[lane] == 0.0 and np.isfinite(estimate[lane])


@inlined
def tridiagonalise(matrices, diagonal, off_squared, vectors, scratch):
    """Householder: matrices ← QᵀMQ; its diagonal and the squares of its off-diagonal."""
    size = matrices.shape[0]
    vs, ps = vectors[0], vectors[1]
    tau, total, partial = scratch[0], scratch[1], scratch[2]
    for column in range(size - 2):
        # v = x ± ‖x‖e₁ for the part x of the column below the diagonal; no reflection where only its head is left.
        for lane in range(LANES):
            total[lane] = 0.0
        for i in range(column + 2, size):
            x, v = matrices[i, column], vs[i]
            for lane in range(LANES):
                total[lane] += x[lane] * x[lane]
                v[lane] = x[lane]
        head, v, off = matrices[column + 1, column], vs[column + 1], off_squared[column]
        for lane in range(LANES):
            a, tail = head[lane], total[lane]
            off[lane] = a * a + tail
            length = np.sqrt(a * a + tail)
            v0 = a + length if a >= 0.0 else a - length
            v[lane] = v0 if tail > 0.0 else 0.0
            tau[lane] = 2.0 / (v0 * v0 + tail) if tail > 0.0 else 0.0
        # p = τMv, from the lower triangle.
        for i in range(column + 1, size):
            p = ps[i]
            for lane in range(LANES):
                p[lane] = 0.0
        for i in range(column + 1, size):
            v, p = vs[i], ps[i]
            for lane in range(LANES):
                partial[lane] = 0.0
            for j in range(column + 1, i):
                entry, other_v, other_p = matrices[i, j], vs[j], ps[j]
                for lane in range(LANES):
                    partial[lane] += entry[lane] * other_v[lane]
                    other_p[lane] += entry[lane] * v[lane]
            entry = matrices[i, i]
            for lane in range(LANES):
                p[lane] += partial[lane] + entry[lane] * v[lane]
        # M ← M − vwᵀ − wvᵀ with w = p − (τ/2)(pᵀv)v.
        for lane in range(LANES):
            total[lane] = 0.0
        for i in range(column + 1, size):
            v, p = vs[i], ps[i]
            for lane in range(LANES):
                p[lane] *= tau[lane]
                total[lane] += p[lane] * v[lane]
        for i in range(column + 1, size):
            v, p = vs[i], ps[i]
            for lane in range(LANES):
                p[lane] -= 0.5 * tau[lane] * total[lane] * v[lane]
        for i in range(column + 1, size):
            v, p = vs[i], ps[i]
            for j in range(column + 1, i + 1):
                entry, other_v, other_p = matrices[i, j], vs[j], ps[j]
                for lane in range(LANES):
                    entry[lane] -= v[lane] * other_p[lane] + p[lane] * other_v[lane]
    for i in range(size):
        for lane in range(LANES):
            diagonal[i, lane] = matrices[i, i, lane]
    for lane in range(LANES):
        off_squared[size - 2, lane] = matrices[size - 1, size - 2, lane] ** 2


@inlined
def upper_bound(diagonal, off_squared, estimate, mean, spread):
    """mean + √((k−1)/k · Σ(λ_i − mean)²), and a little more for rounding (Wolkowicz & Styan 1980)."""
    size = diagonal.shape[0]
    for lane in range(LANES):
        mean[lane] = 0.0
        spread[lane] = 0.0
    for i in range(size):
        for lane in range(LANES):
            mean[lane] += diagonal[i, lane] / size
    for i in range(size):
        for lane in range(LANES):
            spread[lane] += (diagonal[i, lane] - mean[lane]) ** 2
            if i < size - 1:
                spread[lane] += 2.0 * off_squared[i, lane]
    for lane in range(LANES):
        estimate[lane] = (mean[lane] + np.sqrt(spread[lane] * (size - 1) / size)) * (1.0 + 4.0 * size * EPS)


@inlined
def laguerre_step(diagonal, off_squared, estimate, active, scratch):
    """λ ← λ − k/(s₁ + √((k−1)(ks₂ − s₁²))), s₁ = Σ 1/(λ−λ_i), s₂ = Σ 1/(λ−λ_i)²; returns how many lanes still move."""
    size = diagonal.shape[0]
    inverse, slope, bend = scratch[0], scratch[1], scratch[2]
    first_sum, second_sum, smallest = scratch[3], scratch[4], scratch[5]
    for lane in range(LANES):
        q = estimate[lane] - diagonal[0, lane]
        smallest[lane] = q
        inverse[lane] = 1.0 / q
        slope[lane] = inverse[lane]
        bend[lane] = 0.0
        first_sum[lane] = slope[lane]
        second_sum[lane] = slope[lane] * slope[lane]
    for i in range(1, size):
        d, off = diagonal[i], off_squared[i - 1]
        for lane in range(LANES):
            # slope = q′/q and bend = q″/q of this q from those of the one before.
            ratio = off[lane] * inverse[lane]
            q = estimate[lane] - d[lane] - ratio
            reciprocal = 1.0 / q
            new_slope = (1.0 + ratio * slope[lane]) * reciprocal
            new_bend = ratio * (bend[lane] - 2.0 * slope[lane] * slope[lane]) * reciprocal
            smallest[lane] = min(smallest[lane], q)
            inverse[lane], slope[lane], bend[lane] = reciprocal, new_slope, new_bend
            first_sum[lane] += new_slope
            second_sum[lane] += new_slope * new_slope - new_bend
    moving = 0.0
    for lane in range(LANES):
        discriminant = (size - 1) * (size * second_sum[lane] - first_sum[lane] * first_sum[lane])
        step = size / (first_sum[lane] + np.sqrt(discriminant if discriminant > 0.0 else 0.0))
        above = active[lane] > 0.0 and smallest[lane] > 0.0 and step > 0.0
        estimate[lane] = estimate[lane] - step if above else estimate[lane]
        active[lane] = 1.0 if above and step > 2.0 * EPS * estimate[lane] else 0.0
        moving += active[lane]
    return moving
