"""Hessians too large to be formed: products of batch Hessians with vectors."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature.base import Curvature
from esssim.curvature.scale import CHUNK_NUMBERS, unit_of_products

# Numbers in the largest matrix that is formed: 200 MB.
MATRIX_NUMBERS = 5000**2


class OperatorCurvature(Curvature):
    """Hᵢ known by its products alone: memory O(p), the algorithms are Lanczos and sums of products.

    A subclass gives `bound` and `images`, and sets n_samples, n_params, tolerance and, where Lanczos may start warm, a
    vector start (p,). What needs a matrix is formed column by column, or refused with a ValueError.
    """

    is_formed = False
    n_samples: int = 0
    n_params: int = 0
    start: FloatArray | None = None

    @abstractmethod
    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        """V ↦ H_{B_m}v_m, (m, p) -> (m, p), for fixed batches (m, b): what products share is computed here, once."""

    def starting_from(self, start: FloatArray) -> OperatorCurvature:
        """The same with a start."""
        warm = copy.copy(self)
        warm.start = start
        return warm

    def is_zero(self) -> bool:
        """Never known."""
        return False

    def mean(self) -> FloatArray:
        self._affordable("H", self.n_params**2)
        columns = self.mean_products(np.eye(self.n_params))
        return (columns + columns.T) / 2

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        self._affordable("H_B of every batch", len(batches) * self.n_params**2)
        product, shape = self.bound(batches), (len(batches), self.n_params)
        columns = np.stack([product(np.broadcast_to(unit, shape)) for unit in np.eye(self.n_params)], axis=2)
        return np.asarray((columns + columns.transpose(0, 2, 1)) / 2)

    def compressed(self, basis: FloatArray) -> FloatArray:
        columns = np.stack([self.images(np.ascontiguousarray(vector)) @ basis for vector in basis.T], axis=2)
        return np.asarray((columns + columns.transpose(0, 2, 1)) / 2)

    def product(self, batch: IntArray) -> Callable[[FloatArray], FloatArray]:
        return lambda block: self.bound(np.broadcast_to(batch, (len(block), len(batch))))(block)

    def mean_products(self, vectors: FloatArray) -> FloatArray:
        """Hv for each row v of `vectors`, (m, p)."""
        product = self.bound(np.arange(self.n_samples)[None])
        return np.concatenate([product(vector[None]) for vector in vectors])

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        return np.asarray((self.images(vectors) * vectors).sum(axis=-1))

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        size = max(1, CHUNK_NUMBERS // self.n_params)
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [(self.bound(batches[c])(vectors[c]) * vectors[c]).sum(axis=1) for c in chunks]
        return np.concatenate(forms) if forms else np.empty(0)

    def mean_quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """One product at a time."""
        product = self.bound(np.arange(self.n_samples)[None])
        return np.array([float(vector @ product(vector[None])[0]) for vector in vectors])

    def traces(self) -> FloatArray:
        return np.asarray(sum(self.images(unit)[:, k] for k, unit in enumerate(np.eye(self.n_params))))

    def squared_norms(self) -> FloatArray:
        return np.asarray(sum((self.images(unit) ** 2).sum(axis=1) for unit in np.eye(self.n_params)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        return np.asarray(
            sum(self.images(unit) @ column for unit, column in zip(np.eye(self.n_params), matrix.T, strict=True))
        )

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """−‖Hᵢ‖_F, (n,)."""
        return -np.sqrt(self.squared_norms())

    def check_conjugations(self) -> NoReturn:
        """ValueError: all per-sample Hessians would be needed."""
        raise ValueError(
            "the problem is too large for mean-square quantities of full Hessians: all n_samples·n_params² = "
            f"{self.n_samples * self.n_params**2:,} entries of the per-sample Hessians would be needed; "
            "hessian='gauss_newton' does without them"
        )

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        self.check_conjugations()

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        self.check_conjugations()

    def scale(self) -> float:
        """A power of two near the size of a product Hv, |v| = 1; 1 where no power of products can leave the doubles."""
        vector = np.random.default_rng(0).standard_normal(self.n_params)
        return float(unit_of_products(self.mean_products(vector[None] / np.linalg.norm(vector)))[0])

    def scaled(self, power_of_two: float) -> OperatorCurvature:
        return self if power_of_two == 1.0 else _Scaled(self, power_of_two)

    def _affordable(self, what: str, numbers: int) -> None:
        if numbers > MATRIX_NUMBERS:
            raise ValueError(
                f"the problem is too large for {what}: {numbers:,} numbers ({8 * numbers / 1e9:.1f} GB), "
                f"at most {MATRIX_NUMBERS:,} (n_params = {self.n_params:,})"
            )


class _Scaled(OperatorCurvature):
    """Hᵢ / unit."""

    def __init__(self, curvature: OperatorCurvature, unit: float) -> None:
        self.n_samples, self.n_params = curvature.n_samples, curvature.n_params
        self.tolerance, self.start = curvature.tolerance, curvature.start
        self._curvature, self._unit = curvature, unit

    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        product = self._curvature.bound(batches)
        return lambda vectors: product(vectors) / self._unit

    def images(self, vectors: FloatArray) -> FloatArray:
        return self._curvature.images(vectors) / self._unit
