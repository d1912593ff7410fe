"""Rank-one samples: H_B = X_BᵀX_B/b has the nonzero spectrum of the b×b Gram matrix X_BX_Bᵀ/b."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esssim._kernels import eigenvalue as kernels
from esssim._validate import FloatArray, IntArray

# Numbers in the largest Gram matrix that is formed for slicing: 128 MB.
GRAM_NUMBERS = 2**24
# Above this size LAPACK, which works on blocks of one matrix at a time, is faster than the compiled kernel.
LARGEST_IN_LANES = 64


@dataclass(frozen=True)
class GramSlices:
    """The Gram matrix of all n samples, of which every batch takes a slice: rows a·2⁻ᵉ, so that none overflows."""

    gram: FloatArray
    exponents: IntArray
    n_params: int

    @property
    def n_samples(self) -> int:
        return len(self.gram)

    @classmethod
    def of(cls, factors: FloatArray) -> GramSlices:
        exponents, rows = _normalised_rows(factors)
        return cls(rows @ rows.T, exponents, factors.shape[1])


def gram_largest_eigenvalues(factors: FloatArray, batches: IntArray) -> FloatArray:
    """λ_max of (1/b) Σ_{i∈B} aᵢaᵢᵀ for each batch.

    Slices of the one n×n Gram matrix, or products of the batch's rows; b = 1: ‖aᵢ‖²; b = 2: the closed form of a 2×2
    matrix. factors: (n, p), the aᵢ; batches: (m, b). Returns (m,). Relative error of a few b·eps at any scale of any
    row.
    """
    if slices_pay(factors, batches.shape):
        return slice_largest_eigenvalues(GramSlices.of(factors), batches)
    return product_largest_eigenvalues(factors, batches)


def slices_pay(factors: FloatArray, batch_shape: tuple[int, ...]) -> bool:
    """Whether so many batches of this size are worth the Gram matrix of all samples."""
    b = batch_shape[1]
    return 1 < b <= min(factors.shape[1], LARGEST_IN_LANES) and _gram_pays(factors.shape, batch_shape)


def slice_largest_eigenvalues(slices: GramSlices, batches: IntArray) -> FloatArray:
    """λ_max for each batch from the Gram matrix of all samples."""
    values = np.empty(len(batches))
    converged = kernels.largest_of_gram_slices(slices.gram, slices.exponents, batches, values)
    for m in np.flatnonzero(~converged):
        weights = _weights(slices.exponents[batches[m]])
        values[m] = np.linalg.eigvalsh(slices.gram[np.ix_(batches[m], batches[m])] * np.outer(weights, weights))[-1]
    return _rescaled(values, slices.exponents, batches)


def product_largest_eigenvalues(factors: FloatArray, batches: IntArray) -> FloatArray:
    """λ_max for each batch from its own rows."""
    exponents, rows = _normalised_rows(factors)
    b = batches.shape[1]
    if b == 1:
        return np.asarray(_rescaled((rows**2).sum(axis=1)[batches[:, 0]], exponents, batches))
    if min(b, factors.shape[1]) > LARGEST_IN_LANES:
        return _rescaled(np.array([_densely(rows, exponents, batch) for batch in batches]), exponents, batches)
    values = np.empty(len(batches))
    converged = kernels.largest_of_products(rows, exponents, batches, values)
    for m in np.flatnonzero(~converged):
        values[m] = _densely(rows, exponents, batches[m])
    return _rescaled(values, exponents, batches)


def _densely(rows: FloatArray, exponents: IntArray, batch: IntArray) -> float:
    scaled = rows[batch] * _weights(exponents[batch])[:, None]
    product = scaled @ scaled.T if scaled.shape[0] <= scaled.shape[1] else scaled.T @ scaled
    return float(np.linalg.eigvalsh(product)[-1])


def _normalised_rows(factors: FloatArray) -> tuple[IntArray, FloatArray]:
    """Exponents e (n,) and rows a·2⁻ᵉ with entries of at most 1 in magnitude."""
    _, exponents = np.frexp(np.abs(factors).max(axis=1))
    return exponents.astype(np.int64), np.ldexp(factors, -exponents[:, None])


def _weights(exponents: IntArray) -> FloatArray:
    """2^(e_i − max e): rows keep their own power of two, so that a batch of tiny rows loses nothing next to a huge
    one.
    """
    return np.ldexp(1.0, np.maximum(exponents - exponents.max(), kernels.SMALLEST_EXPONENT))


def _rescaled(values: FloatArray, exponents: IntArray, batches: IntArray) -> FloatArray:
    return np.ldexp(np.maximum(values, 0.0) / batches.shape[1], 2 * exponents[batches].max(axis=1))


def _gram_pays(shape: tuple[int, ...], batch_shape: tuple[int, ...]) -> bool:
    """Whether n² inner products cost less than the m·b² that the batches need."""
    return shape[0] ** 2 <= min(batch_shape[0] * batch_shape[1] ** 2, GRAM_NUMBERS)
