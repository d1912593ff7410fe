"""Diagonal plus rank one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature.base import Curvature, identity
from esssim.curvature.scale import power_of_two_near

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LowRankCurvature(Curvature):
    """Hᵢ = diag(diagonals[i]) + aᵢaᵢᵀ with aᵢ = factors[i]; `diagonals` None means rank one: Hᵢ = aᵢaᵢᵀ.

    A batch of b samples is then diagonal plus rank b, H_B = diag(δ) + AᵀA, A = factors[B]/√b.
    factors, diagonals: (n, p).
    """

    samples_cost_little = True
    factors: FloatArray
    diagonals: FloatArray | None = None
    to_basis: Callable[[FloatArray], FloatArray] = field(default=identity, repr=False)

    @property
    def n_samples(self) -> int:
        return int(self.factors.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.factors.shape[1])

    @property
    def is_rank_one(self) -> bool:
        return self.diagonals is None

    def is_zero(self) -> bool:
        return not self.factors.any() and (self.diagonals is None or not self.diagonals.any())

    def gauss_newton(self) -> LowRankCurvature:
        """The same without the residual part: Hᵢ = aᵢaᵢᵀ."""
        return LowRankCurvature(self.factors, None, self.to_basis)

    def mean(self) -> FloatArray:
        hessian = self.factors.T @ (self.factors / self.n_samples)
        if self.diagonals is not None:
            hessian.flat[:: self.n_params + 1] += self.diagonals.mean(axis=0)
        return hessian

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        factors = self.factors[batches]
        hessians = factors.transpose(0, 2, 1) @ (factors / batches.shape[1])
        if self.diagonals is not None:
            index = np.arange(self.n_params)
            hessians[:, index, index] += self.diagonals[batches].mean(axis=1)
        return np.asarray(hessians)

    def weighted(self, weights: FloatArray) -> FloatArray:
        hessian = self.factors.T @ (weights[:, None] * self.factors)
        if self.diagonals is not None:
            hessian.flat[:: self.n_params + 1] += weights @ self.diagonals
        return np.asarray(hessian)

    def compressed(self, basis: FloatArray) -> FloatArray:
        projected = self.factors @ basis
        compressed = projected[:, :, None] * projected[:, None, :]
        if self.diagonals is not None:
            products = (basis[:, :, None] * basis[:, None, :]).reshape(self.n_params, -1)
            compressed += (self.diagonals @ products).reshape(compressed.shape)
        return np.asarray(compressed)

    def square_roots(self) -> FloatArray | None:
        return self.factors[:, None] if self.diagonals is None else None

    def mean_eigenpairs(self) -> tuple[FloatArray, FloatArray]:
        """Of rank one, by the singular values of the factors: r = min(n, p)."""
        if self.diagonals is not None:
            return super().mean_eigenpairs()
        _, singular, transposed = np.linalg.svd(self.factors / np.sqrt(self.n_samples), full_matrices=False)
        return singular[::-1] ** 2, transposed[::-1].T

    def images(self, vectors: FloatArray) -> FloatArray:
        images = (self.factors * vectors).sum(axis=-1)[:, None] * self.factors
        return np.asarray(images if self.diagonals is None else images + self.diagonals * vectors)

    def product(self, batch: IntArray) -> Callable[[FloatArray], FloatArray]:
        factors = self.factors[batch]
        diagonal = 0.0 if self.diagonals is None else self.diagonals[batch].mean(axis=0)
        return lambda block: block * diagonal + (block @ factors.T) @ factors / len(batch)

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        forms = (self.factors * vectors).sum(axis=-1) ** 2
        if self.diagonals is not None:
            forms = forms + (self.diagonals * vectors**2).sum(axis=-1)
        return np.asarray(forms)

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        projections = np.einsum("mbp,mp->mb", self.factors[batches], vectors)
        forms = (projections**2).mean(axis=1)
        if self.diagonals is not None:
            forms = forms + np.einsum("mbp,mp->m", self.diagonals[batches], vectors**2) / batches.shape[1]
        return np.asarray(forms)

    def mean_quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """No p×p matrix where n < p."""
        if self.n_samples >= self.n_params:
            return super().mean_quadratic_forms(vectors)
        forms = ((vectors @ self.factors.T) ** 2).sum(axis=1) / self.n_samples
        return np.asarray(forms if self.diagonals is None else forms + vectors**2 @ self.diagonals.mean(axis=0))

    def traces(self) -> FloatArray:
        traces = (self.factors**2).sum(axis=1)
        return np.asarray(traces if self.diagonals is None else traces + self.diagonals.sum(axis=1))

    def squared_norms(self) -> FloatArray:
        """‖aᵢ‖⁴ + 2Σ_k a_k²d_k + Σ_k d_k², (n,)."""
        norms = (self.factors**2).sum(axis=1) ** 2
        if self.diagonals is not None:
            norms = norms + (self.diagonals * (2 * self.factors**2 + self.diagonals)).sum(axis=1)
        return np.asarray(norms)

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        products = ((self.factors @ matrix) * self.factors).sum(axis=1)
        return np.asarray(products if self.diagonals is None else products + self.diagonals @ np.diagonal(matrix))

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """The smallest diagonal entry, 0 without diagonals, (n,)."""
        return np.zeros(self.n_samples) if self.diagonals is None else np.asarray(self.diagonals.min(axis=1))

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """In O(n p²)."""
        n, factors, diagonals = self.n_samples, self.factors, self.diagonals
        applied = factors @ matrix
        weights = np.einsum("np,np->n", applied, factors)
        result = factors.T @ (weights[:, None] * factors) / n
        if diagonals is not None:
            cross = factors.T @ (applied * diagonals) / n
            result += cross + cross.T + matrix * (diagonals.T @ diagonals / n)
        return np.asarray(result)

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
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

    def mean_squared_entries(self, basis: FloatArray) -> FloatArray:
        if self.diagonals is not None:
            return super().mean_squared_entries(basis)
        squares = (self.factors @ basis) ** 2
        return np.asarray(squares.T @ squares / self.n_samples)

    def scale(self) -> float:
        return self._scale

    @cached_property
    def _scale(self) -> float:
        root = power_of_two_near(self.factors)
        if self.diagonals is None:
            return root**2
        of_factors = root**2 if self.factors.any() else 0.0
        of_diagonals = power_of_two_near(self.diagonals) if self.diagonals.any() else 0.0
        return max(of_factors, of_diagonals) or 1.0

    def scaled(self, power_of_two: float) -> LowRankCurvature:
        if power_of_two == 1.0:
            return self
        diagonals = None if self.diagonals is None else self.diagonals / power_of_two
        return LowRankCurvature(self.factors / np.sqrt(power_of_two), diagonals, self.to_basis)

    def without_null_space(self) -> LowRankCurvature:
        """On n coordinates for n < p rows: rank-one samples have no negative eigenvalue that could become the
        largest.
        """
        if self.diagonals is not None or self.n_samples >= self.n_params:
            return self
        left, singular, right = np.linalg.svd(self.factors, full_matrices=False)
        return LowRankCurvature(left * singular, None, lambda vectors: self.to_basis(vectors) @ right.T)

    def without_rounded_zeros(self) -> LowRankCurvature:
        """On the solution set of a network the residuals, and with them the diagonals, are zero up to rounding."""
        if self.diagonals is None or float(np.abs(self.diagonals).max()) > 8 * EPS:
            return self
        return self.gauss_newton()
