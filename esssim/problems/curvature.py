"""The structure of a problem's per-sample Hessians; its type picks the algorithm in `esssim.spectra`.

A curvature describes all n per-sample Hessians at one point theta, in a fixed orthonormal basis that the
problem chooses (eigenvalues do not depend on it). `to_basis` takes vectors of parameter space there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from esssim._validate import FloatArray, IntArray

# Numbers (not bytes) that one chunk of batches may hold in its largest intermediate array.
CHUNK_NUMBERS = 2**22
# Sums of squares of squares of numbers between its inverse and it are far from the smallest and the largest double.
ORDINARY = 2.0**200


def _identity(vectors: FloatArray) -> FloatArray:
    return vectors


@dataclass(frozen=True)
class DenseCurvature:
    """Hᵢ = hessians[i]: no structure, (n, p, p) numbers."""

    hessians: FloatArray
    to_basis: Callable[[FloatArray], FloatArray] = field(default=_identity, repr=False)

    @property
    def n_samples(self) -> int:
        return int(self.hessians.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.hessians.shape[-1])

    def mean(self) -> FloatArray:
        """H = (1/n) Σᵢ Hᵢ, (p, p)."""
        return np.asarray(self.hessians.mean(axis=0))

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        """H_B for each row of `batches`, (m, p, p)."""
        return np.asarray(self.hessians[batches].mean(axis=1))

    def images(self, vectors: FloatArray) -> FloatArray:
        """Hᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n, p)."""
        return np.asarray(np.einsum("nij,...j->ni" if vectors.ndim == 1 else "nij,nj->ni", self.hessians, vectors))

    def traces(self) -> FloatArray:
        """tr Hᵢ, (n,)."""
        return np.asarray(np.einsum("nii->n", self.hessians))

    def squared_norms(self) -> FloatArray:
        """‖Hᵢ‖_F², (n,)."""
        return np.asarray((self.hessians**2).sum(axis=(1, 2)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        """tr(HᵢM) for a symmetric M, (n,)."""
        return np.asarray(np.einsum("nij,ij->n", self.hessians, matrix))

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """Lower bounds on λ_min(Hᵢ), (n,): here the eigenvalues themselves."""
        return np.asarray(np.linalg.eigvalsh(self.hessians)[:, 0])

    def compressed(self, basis: FloatArray) -> FloatArray:
        """VᵀHᵢV for V = `basis` (p, r), (n, r, r)."""
        return np.asarray(basis.T @ self.hessians @ basis)

    def without_null_space(self) -> DenseCurvature:
        """The curvature on the span of all samples where that is known by structure: never here."""
        return self

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n,)."""
        applied = np.einsum("nij,...j->ni" if vectors.ndim == 1 else "nij,nj->ni", self.hessians, vectors)
        return np.asarray((applied * vectors).sum(axis=-1))

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """v_mᵀ H_{B_m} v_m for each batch, (m,)."""
        # The b·p² numbers of each batch are gathered for a few batches at a time.
        size = max(1, CHUNK_NUMBERS // (batches.shape[1] * self.n_params**2))
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [np.einsum("mi,mij,mj->m", vectors[c], self.batch_matrices(batches[c]), vectors[c]) for c in chunks]
        return np.concatenate(forms) if forms else np.empty(0)

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """(1/n) Σᵢ Hᵢ M Hᵢ for a symmetric M, (p, p)."""
        return np.asarray((self.hessians @ matrix @ self.hessians).mean(axis=0))

    def scale(self) -> float:
        """A power of two near the largest entry of any Hᵢ (1 when all are zero)."""
        return power_of_two_near(self.hessians)

    def scaled(self, power_of_two: float) -> DenseCurvature:
        """The curvature of Hᵢ / power_of_two."""
        return DenseCurvature(self.hessians / power_of_two, self.to_basis)

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """M ↦ Vᵀ[(1/n) Σᵢ Hᵢ VMVᵀ Hᵢ]V on symmetric (r, r) matrices, V = `basis` (p, r) with orthonormal columns."""
        return DenseCurvature(basis.T @ self.hessians @ basis).mean_conjugation


@dataclass(frozen=True)
class LowRankCurvature:
    """Hᵢ = diag(diagonals[i]) + aᵢaᵢᵀ with aᵢ = factors[i]; `diagonals` None means rank one: Hᵢ = aᵢaᵢᵀ.

    A batch of b samples is then diagonal plus rank b, H_B = diag(δ) + AᵀA, A = factors[B]/√b.
    """

    factors: FloatArray
    diagonals: FloatArray | None = None
    to_basis: Callable[[FloatArray], FloatArray] = field(default=_identity, repr=False)

    @property
    def n_samples(self) -> int:
        return int(self.factors.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.factors.shape[1])

    def gauss_newton(self) -> LowRankCurvature:
        """The same without the residual part: Hᵢ = aᵢaᵢᵀ."""
        return LowRankCurvature(self.factors, None, self.to_basis)

    def mean(self) -> FloatArray:
        """H = (1/n) Σᵢ Hᵢ, (p, p)."""
        hessian = self.factors.T @ (self.factors / self.n_samples)
        if self.diagonals is not None:
            hessian[np.diag_indices_from(hessian)] += self.diagonals.mean(axis=0)
        return hessian

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        """H_B for each row of `batches`, (m, p, p)."""
        factors = self.factors[batches]
        hessians = factors.transpose(0, 2, 1) @ (factors / batches.shape[1])
        if self.diagonals is not None:
            index = np.arange(self.n_params)
            hessians[:, index, index] += self.diagonals[batches].mean(axis=1)
        return np.asarray(hessians)

    def images(self, vectors: FloatArray) -> FloatArray:
        """Hᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n, p)."""
        images = (self.factors * vectors).sum(axis=-1)[:, None] * self.factors
        return np.asarray(images if self.diagonals is None else images + self.diagonals * vectors)

    def traces(self) -> FloatArray:
        """tr Hᵢ, (n,)."""
        traces = (self.factors**2).sum(axis=1)
        return np.asarray(traces if self.diagonals is None else traces + self.diagonals.sum(axis=1))

    def squared_norms(self) -> FloatArray:
        """‖Hᵢ‖_F² = ‖aᵢ‖⁴ + 2Σ_k a_k²d_k + Σ_k d_k², (n,)."""
        norms = (self.factors**2).sum(axis=1) ** 2
        if self.diagonals is not None:
            norms = norms + (self.diagonals * (2 * self.factors**2 + self.diagonals)).sum(axis=1)
        return np.asarray(norms)

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        """tr(HᵢM) for a symmetric M, (n,)."""
        products = ((self.factors @ matrix) * self.factors).sum(axis=1)
        return np.asarray(products if self.diagonals is None else products + self.diagonals @ np.diagonal(matrix))

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """Lower bounds on λ_min(Hᵢ), (n,): the smallest diagonal entry, 0 without diagonals."""
        return np.zeros(self.n_samples) if self.diagonals is None else np.asarray(self.diagonals.min(axis=1))

    def compressed(self, basis: FloatArray) -> FloatArray:
        """VᵀHᵢV for V = `basis` (p, r), (n, r, r)."""
        projected = self.factors @ basis
        compressed = projected[:, :, None] * projected[:, None, :]
        if self.diagonals is not None:
            products = (basis[:, :, None] * basis[:, None, :]).reshape(self.n_params, -1)
            compressed += (self.diagonals @ products).reshape(compressed.shape)
        return np.asarray(compressed)

    def without_null_space(self) -> LowRankCurvature:
        """The curvature on the span of all samples where that is known by structure: n coordinates for n < p rows.

        Each λ_max is kept, as rank-one samples have no negative eigenvalue.
        """
        if self.diagonals is not None or self.n_samples >= self.n_params:
            return self
        left, singular, right = np.linalg.svd(self.factors, full_matrices=False)
        return LowRankCurvature(left * singular, None, lambda vectors: self.to_basis(vectors) @ right.T)

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n,)."""
        forms = (self.factors * vectors).sum(axis=-1) ** 2
        if self.diagonals is not None:
            forms = forms + (self.diagonals * vectors**2).sum(axis=-1)
        return np.asarray(forms)

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """v_mᵀ H_{B_m} v_m for each batch, (m,)."""
        projections = np.einsum("mbp,mp->mb", self.factors[batches], vectors)
        forms = (projections**2).mean(axis=1)
        if self.diagonals is not None:
            forms = forms + np.einsum("mbp,mp->m", self.diagonals[batches], vectors**2) / batches.shape[1]
        return np.asarray(forms)

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """(1/n) Σᵢ Hᵢ M Hᵢ for a symmetric M, (p, p), in O(n p²)."""
        n, factors, diagonals = self.n_samples, self.factors, self.diagonals
        applied = factors @ matrix
        weights = np.einsum("np,np->n", applied, factors)
        result = factors.T @ (weights[:, None] * factors) / n
        if diagonals is not None:
            cross = factors.T @ (applied * diagonals) / n
            result += cross + cross.T + matrix * (diagonals.T @ diagonals / n)
        return np.asarray(result)

    def scale(self) -> float:
        """A power of two near the largest entry of any Hᵢ (1 when all are zero)."""
        root = power_of_two_near(self.factors)
        if self.diagonals is None:
            return root**2
        return (
            max(
                root**2 if self.factors.any() else 0.0,
                power_of_two_near(self.diagonals) if self.diagonals.any() else 0.0,
            )
            or 1.0
        )

    def scaled(self, power_of_two: float) -> LowRankCurvature:
        """The curvature of Hᵢ / power_of_two."""
        diagonals = None if self.diagonals is None else self.diagonals / power_of_two
        return LowRankCurvature(self.factors / np.sqrt(power_of_two), diagonals, self.to_basis)

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """M ↦ Vᵀ[(1/n) Σᵢ Hᵢ VMVᵀ Hᵢ]V on symmetric (r, r) matrices, V = `basis` (p, r) with orthonormal columns."""
        projected = LowRankCurvature(self.factors @ basis)
        if self.diagonals is None:
            return projected.mean_conjugation
        n, diagonals, factors = self.n_samples, self.diagonals, projected.factors
        squares = diagonals.T @ diagonals / n

        def conjugation(matrix: FloatArray) -> FloatArray:
            outer = matrix @ basis.T
            cross = factors.T @ (((factors @ outer) * diagonals) @ basis) / n
            diagonal_part = basis.T @ ((basis @ outer) * squares) @ basis
            return np.asarray(projected.mean_conjugation(matrix) + cross + cross.T + diagonal_part)

        return conjugation


def power_of_two_near(array: FloatArray) -> float:
    """The power of four next to the largest magnitude: exact to divide by, and so is its root."""
    largest = float(np.abs(array).max(initial=0.0))
    return float(4.0 ** (np.frexp(largest)[1] // 2)) if largest > 0 else 1.0


def unit_of_products(images: FloatArray) -> FloatArray:
    """A power of two near the largest entry of each row, (..., p) -> (...): 1 where its squares are far from the limits.

    Also 1 below the smallest normal number, whose digits are lost already. Raises ValueError for entries beyond the limits.
    """
    largest = np.abs(images).max(axis=-1)
    if not np.isfinite(largest).all():
        raise ValueError(
            "Hessian products with unit vectors must be finite, got "
            f"{float(largest[~np.isfinite(largest)][0])}: give inputs, outputs or targets in larger units"
        )
    far = (largest >= np.finfo(np.float64).tiny) & ((largest < 1 / ORDINARY) | (largest > ORDINARY))
    return np.where(far, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
