"""Samples of a few rows each: the Gauss–Newton matrices of a model of several outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature.base import Curvature
from esssim.curvature.scale import CHUNK_NUMBERS, power_of_two_near


@dataclass(frozen=True)
class BlockCurvature(Curvature):
    """Hᵢ = AᵢᵀAᵢ with Aᵢ = factors[i] of c rows: the Gauss–Newton matrices of a model of c outputs. factors: (n, c, p).

    Positive semidefinite, of rank b·c for a batch of b: spectra come from Gram matrices, whatever p.
    """

    factors: FloatArray

    @property
    def n_samples(self) -> int:
        return int(self.factors.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.factors.shape[2])

    @property
    def n_rows(self) -> int:
        """c, the rows of a sample."""
        return int(self.factors.shape[1])

    def is_zero(self) -> bool:
        return not self.factors.any()

    def rows(self) -> FloatArray:
        """All rows of all samples, (n·c, p)."""
        return self.factors.reshape(-1, self.n_params)

    def in_basis(self, basis: FloatArray) -> BlockCurvature:
        """The blocks AᵢV, so that Hᵢ becomes VᵀHᵢV: V = `basis` (p, r)."""
        return BlockCurvature((self.rows() @ basis).reshape(*self.factors.shape[:2], -1))

    def mean(self) -> FloatArray:
        return np.asarray(self.rows().T @ (self.rows() / self.n_samples))

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        rows = self.factors[batches].reshape(len(batches), -1, self.n_params)
        return np.asarray(rows.transpose(0, 2, 1) @ (rows / batches.shape[1]))

    def weighted(self, weights: FloatArray) -> FloatArray:
        return np.asarray(self.rows().T @ (np.repeat(weights, self.n_rows)[:, None] * self.rows()))

    def compressed(self, basis: FloatArray) -> FloatArray:
        projected = self.in_basis(basis).factors
        return np.asarray(projected.transpose(0, 2, 1) @ projected)

    def square_roots(self) -> FloatArray:
        return self.factors

    def images(self, vectors: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("nc,ncp->np", self._projections(vectors), self.factors))

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        return np.asarray((self._projections(vectors) ** 2).sum(axis=1))

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        size = max(1, CHUNK_NUMBERS // (batches.shape[1] * self.n_rows * self.n_params))
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [
            (np.einsum("mbcp,mp->mbc", self.factors[batches[c]], vectors[c]) ** 2).sum(axis=(1, 2)) / batches.shape[1]
            for c in chunks
        ]
        return np.concatenate(forms) if forms else np.empty(0)

    def mean_quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        return np.asarray(((vectors @ self.rows().T) ** 2).sum(axis=1) / self.n_samples)

    def traces(self) -> FloatArray:
        return np.asarray((self.factors**2).sum(axis=(1, 2)))

    def squared_norms(self) -> FloatArray:
        """‖AᵢAᵢᵀ‖_F², (n,)."""
        return np.asarray(((self.factors @ self.factors.transpose(0, 2, 1)) ** 2).sum(axis=(1, 2)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        products = ((self.rows() @ matrix) * self.rows()).sum(axis=1)
        return np.asarray(products.reshape(self.factors.shape[:2]).sum(axis=1))

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """0, (n,)."""
        return np.zeros(self.n_samples)

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """In O(n c p (p + c))."""
        applied = (self.rows() @ matrix).reshape(self.factors.shape)
        inner = applied @ self.factors.transpose(0, 2, 1)
        weighted = (inner @ self.factors).reshape(-1, self.n_params)
        return np.asarray(self.rows().T @ weighted / self.n_samples)

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        return self.in_basis(basis).mean_conjugation

    def scale(self) -> float:
        return power_of_two_near(self.factors) ** 2

    def scaled(self, power_of_two: float) -> BlockCurvature:
        return BlockCurvature(self.factors / np.sqrt(power_of_two))

    def without_null_space(self) -> BlockCurvature:
        """On n·c coordinates for n·c < p rows."""
        if len(self.rows()) >= self.n_params:
            return self
        left, singular, _ = np.linalg.svd(self.rows(), full_matrices=False)
        return BlockCurvature((left * singular).reshape(*self.factors.shape[:2], -1))

    def _projections(self, vectors: FloatArray) -> FloatArray:
        """Aᵢvᵢ, (n, c)."""
        return np.asarray(np.einsum("ncp,...p->nc" if vectors.ndim == 1 else "ncp,np->nc", self.factors, vectors))
