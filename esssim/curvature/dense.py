"""Hessians without structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature.base import Curvature, identity
from esssim.curvature.scale import CHUNK_NUMBERS, power_of_two_near


@dataclass(frozen=True)
class DenseCurvature(Curvature):
    """Hᵢ = hessians[i]: no structure, (n, p, p) numbers."""

    hessians: FloatArray
    to_basis: Callable[[FloatArray], FloatArray] = field(default=identity, repr=False)

    @property
    def n_samples(self) -> int:
        return int(self.hessians.shape[0])

    @property
    def n_params(self) -> int:
        return int(self.hessians.shape[-1])

    def is_zero(self) -> bool:
        return not self.hessians.any()

    def mean(self) -> FloatArray:
        return np.asarray(self.hessians.mean(axis=0))

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        return np.asarray(self.hessians[batches].mean(axis=1))

    def weighted(self, weights: FloatArray) -> FloatArray:
        return np.asarray(np.tensordot(weights, self.hessians, 1))

    def compressed(self, basis: FloatArray) -> FloatArray:
        return np.asarray(basis.T @ self.hessians @ basis)

    def images(self, vectors: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("nij,...j->ni" if vectors.ndim == 1 else "nij,nj->ni", self.hessians, vectors))

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        return np.asarray((self.images(vectors) * vectors).sum(axis=-1))

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        # The b·p² numbers of each batch are gathered for a few batches at a time.
        size = max(1, CHUNK_NUMBERS // (batches.shape[1] * self.n_params**2))
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [np.einsum("mi,mij,mj->m", vectors[c], self.batch_matrices(batches[c]), vectors[c]) for c in chunks]
        return np.concatenate(forms) if forms else np.empty(0)

    def traces(self) -> FloatArray:
        return np.asarray(np.einsum("nii->n", self.hessians))

    def squared_norms(self) -> FloatArray:
        return np.asarray((self.hessians**2).sum(axis=(1, 2)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        return np.asarray(np.einsum("nij,ij->n", self.hessians, matrix))

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """λ_min(Hᵢ) itself, (n,)."""
        return np.asarray(np.linalg.eigvalsh(self.hessians)[:, 0])

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        return np.asarray((self.hessians @ matrix @ self.hessians).mean(axis=0))

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        return DenseCurvature(self.compressed(basis)).mean_conjugation

    def scale(self) -> float:
        return power_of_two_near(self.hessians)

    def scaled(self, power_of_two: float) -> DenseCurvature:
        return DenseCurvature(self.hessians / power_of_two, self.to_basis)
