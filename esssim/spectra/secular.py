"""Diagonal plus low rank: H = diag(δ) + AᵀA with A of shape (b, p).

Above every δ_k, λ is an eigenvalue of H exactly when μ(λ) = λ_max(S(λ)) = 1, S(λ) = Σ_k a_k a_kᵀ/(λ − δ_k), a_k the
columns of A: a b×b problem. 1/μ = min over unit u of 1/Σ_k (a_kᵀu)²/(λ−δ_k) is a minimum of harmonic means,
hence concave and increasing, so that Newton's method climbs to the root monotonically from any point below it;
max_k (δ_k + ‖a_k‖²), the largest diagonal entry of H, is such a point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esssim._kernels import certified
from esssim._kernels import secular as kernels
from esssim._validate import FloatArray, IntArray
from esssim.spectra.dense import stacked_largest_eigenvalues


@dataclass(frozen=True)
class SecularRows:
    """Diagonals and factors (n, p) of all samples, and for each the exponent of √(its largest entry)."""

    diagonals: FloatArray
    factors: FloatArray
    exponents: IntArray

    @property
    def n_samples(self) -> int:
        return int(self.factors.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.factors.shape[1])

    @classmethod
    def of(cls, diagonals: FloatArray, factors: FloatArray) -> SecularRows:
        return cls(diagonals, factors, np.maximum(_exponents(factors), (_exponents(diagonals) + 1) // 2))


def diagonal_plus_low_rank_largest_eigenvalues(
    diagonals: FloatArray, factors: FloatArray, batches: IntArray
) -> FloatArray:
    """λ_max of H_B = mean over i ∈ B of diag(diagonals[i]) + aᵢaᵢᵀ, for each batch.

    diagonals, factors: (n, p); batches: (m, b). Returns (m,); backward error of a few (b+p)·eps of the batch's own
    norm. Batches whose Newton iteration does not certify its root (none is known) are solved densely.
    """
    return secular_largest_eigenvalues(SecularRows.of(diagonals, factors), batches)


def secular_largest_eigenvalues(rows: SecularRows, batches: IntArray) -> FloatArray:
    """λ_max for each batch, from rows whose exponents are known; Newton's method where the certified way gives up."""
    # Each batch has its own power of two: one of tiny samples loses nothing next to a huge sample elsewhere.
    shifts = rows.exponents[batches].max(axis=1)
    values = np.empty(len(batches))
    weights = np.ldexp(1.0, -shifts)
    certain = certified.largest_eigenvalues(rows.diagonals, rows.factors, batches, weights, values)
    if not certain.all():
        values[~certain] = _by_newton(rows, batches[~certain], shifts[~certain])
    return np.ldexp(values, 2 * shifts)


def _by_newton(rows: SecularRows, batches: IntArray, shifts: IntArray) -> FloatArray:
    """The same in units of 4^shift by Newton's method on the secular equation, and densely where that does not
    converge.
    """
    values = np.empty(len(batches))
    converged = kernels.largest_eigenvalues(rows.diagonals, rows.factors, batches, np.ldexp(1.0, -shifts), values)
    for m in np.flatnonzero(~converged):
        factors = np.ldexp(rows.factors[batches[m]], -shifts[m])
        diagonal = np.ldexp(rows.diagonals[batches[m]], -2 * shifts[m]).mean(axis=0)
        values[m] = stacked_largest_eigenvalues((np.diag(diagonal) + factors.T @ factors / batches.shape[1])[None])[0]
    return values


def _exponents(rows: FloatArray) -> IntArray:
    """The binary exponent of each row's largest entry; for a row of zeros, one below that of any product of doubles."""
    largest = np.abs(rows).max(axis=1)
    return np.where(largest > 0.0, np.frexp(largest)[1], -1000).astype(np.int64)
