"""Rank-one samples: H_B = X_BᵀX_B/b has the nonzero spectrum of the b×b Gram matrix X_BX_Bᵀ/b."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray, IntArray


def gram_largest_eigenvalues(factors: FloatArray, batches: IntArray) -> FloatArray:
    """λ_max of (1/b) Σ_{i∈B} aᵢaᵢᵀ for each batch.

    Slices of the one n×n Gram matrix, or p×p products when p < b; b = 1: ‖aᵢ‖²; b = 2: the closed form of a 2×2 matrix.
    factors: (n, p), the aᵢ; batches: (m, b). Returns (m,). Relative error of a few b·eps at any scale of any row.
    """
    _n_batches, b = batches.shape
    exponents, rows = _normalised_rows(factors)
    # Rows keep their own power of two: a batch of tiny rows loses nothing next to a huge row elsewhere.
    shift = exponents[batches].max(axis=1)
    weights = np.ldexp(1.0, np.maximum(exponents[batches] - shift[:, None], -600))
    if b > factors.shape[1]:
        scaled = rows[batches] * weights[:, :, None]
        top = np.linalg.eigvalsh(scaled.transpose(0, 2, 1) @ scaled)[:, -1]
    elif b == 1:
        top = (rows[batches[:, 0]] ** 2).sum(axis=1)
    elif _gram_pays(factors.shape, batches.shape):
        gram = rows @ rows.T
        top = _small_largest_eigenvalues(
            gram[batches[:, :, None], batches[:, None, :]] * weights[:, :, None] * weights[:, None, :]
        )
    else:
        scaled = rows[batches] * weights[:, :, None]
        top = _small_largest_eigenvalues(scaled @ scaled.transpose(0, 2, 1))
    return np.ldexp(np.maximum(top, 0.0) / b, 2 * shift)


def _normalised_rows(factors: FloatArray) -> tuple[IntArray, FloatArray]:
    """Exponents e (n,) and rows a·2⁻ᵉ with entries of at most 1 in magnitude."""
    _, exponents = np.frexp(np.abs(factors).max(axis=1))
    return exponents.astype(np.int64), np.ldexp(factors, -exponents[:, None])


def _gram_pays(shape: tuple[int, ...], batch_shape: tuple[int, ...]) -> bool:
    """Whether n² inner products cost less than the m·b² that the batches need."""
    return shape[0] ** 2 <= batch_shape[0] * batch_shape[1] ** 2


def _small_largest_eigenvalues(matrices: FloatArray) -> FloatArray:
    if matrices.shape[-1] == 2:
        mean = (matrices[:, 0, 0] + matrices[:, 1, 1]) / 2
        half_difference = (matrices[:, 0, 0] - matrices[:, 1, 1]) / 2
        return np.asarray(mean + np.hypot(half_difference, matrices[:, 0, 1]))
    return np.asarray(np.linalg.eigvalsh(matrices)[:, -1])
