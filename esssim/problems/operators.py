"""Curvatures too large to be formed: products of batch Hessians with vectors, and samples of a few rows each."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems.curvature import (
    CHUNK_NUMBERS,
    DenseCurvature,
    LowRankCurvature,
    power_of_two_near,
    unit_of_products,
)

# Numbers in the largest matrix that is formed: 200 MB.
MATRIX_NUMBERS = 5000**2


class OperatorCurvature(ABC):
    """Hᵢ known by its products alone: memory O(p), the algorithms are Lanczos and sums of products.

    A subclass gives `bound` and `images`. n_samples, n_params: n and p. tolerance: the relative residual
    ‖H_Bx − λx‖/|λ| that every eigenvalue computed from it must reach. start: (p,), where Lanczos may start, warm.
    """

    n_samples: int
    n_params: int
    tolerance: float
    start: FloatArray | None = None

    @abstractmethod
    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        """V ↦ H_{B_m}v_m, (m, p) -> (m, p), for fixed batches (m, b): what products share is computed here, once."""

    @abstractmethod
    def images(self, vectors: FloatArray) -> FloatArray:
        """Hᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n, p)."""

    def to_basis(self, vectors: FloatArray) -> FloatArray:
        """The basis is that of the parameters."""
        return vectors

    def starting_from(self, start: FloatArray) -> OperatorCurvature:
        """The same with a start."""
        warm = copy.copy(self)
        warm.start = start
        return warm

    def scale(self) -> float:
        """A power of two near the size of a product Hv, |v| = 1; 1 where no power of products can leave the doubles."""
        vector = np.random.default_rng(0).standard_normal(self.n_params)
        return float(unit_of_products(self.mean_products(vector[None] / np.linalg.norm(vector)))[0])

    def scaled(self, power_of_two: float) -> OperatorCurvature:
        """The curvature of Hᵢ / power_of_two."""
        return self if power_of_two == 1.0 else _Scaled(self, power_of_two)

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """v_mᵀ H_{B_m} v_m for each batch, (m,)."""
        size = max(1, CHUNK_NUMBERS // self.n_params)
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [(self.bound(batches[c])(vectors[c]) * vectors[c]).sum(axis=1) for c in chunks]
        return np.concatenate(forms) if forms else np.empty(0)

    def mean_products(self, vectors: FloatArray) -> FloatArray:
        """Hv for each row v of `vectors`, (m, p), H the mean of all per-sample Hessians."""
        everyone = np.arange(self.n_samples)[None]
        product = self.bound(everyone)
        return np.concatenate([product(vector[None]) for vector in vectors])

    def mean_quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHv for each row v of `vectors`, (m,), one product at a time."""
        product = self.bound(np.arange(self.n_samples)[None])
        return np.array([float(vector @ product(vector[None])[0]) for vector in vectors])

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n,)."""
        return np.asarray((self.images(vectors) * vectors).sum(axis=-1))

    def mean(self) -> FloatArray:
        """H = (1/n) Σᵢ Hᵢ, (p, p), column by column."""
        self._affordable("H", self.n_params**2)
        columns = self.mean_products(np.eye(self.n_params))
        return (columns + columns.T) / 2

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        """H_B for each row of `batches`, (m, p, p), column by column."""
        self._affordable("H_B of every batch", len(batches) * self.n_params**2)
        product, shape = self.bound(batches), (len(batches), self.n_params)
        columns = np.stack([product(np.broadcast_to(unit, shape)) for unit in np.eye(self.n_params)], axis=2)
        return np.asarray((columns + columns.transpose(0, 2, 1)) / 2)

    def compressed(self, basis: FloatArray) -> FloatArray:
        """VᵀHᵢV for V = `basis` (p, r), (n, r, r)."""
        columns = np.stack([self.images(np.ascontiguousarray(vector)) @ basis for vector in basis.T], axis=2)
        return np.asarray((columns + columns.transpose(0, 2, 1)) / 2)

    def traces(self) -> FloatArray:
        """tr Hᵢ, (n,), column by column."""
        return np.asarray(sum(self.images(unit)[:, k] for k, unit in enumerate(np.eye(self.n_params))))

    def squared_norms(self) -> FloatArray:
        """‖Hᵢ‖_F², (n,), column by column."""
        return np.asarray(sum((self.images(unit) ** 2).sum(axis=1) for unit in np.eye(self.n_params)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        """tr(HᵢM) for a symmetric M, (n,), column by column."""
        return np.asarray(
            sum(self.images(unit) @ column for unit, column in zip(np.eye(self.n_params), matrix.T, strict=True))
        )

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """Lower bounds on λ_min(Hᵢ), (n,): −‖Hᵢ‖_F."""
        return -np.sqrt(self.squared_norms())

    def without_null_space(self) -> OperatorCurvature:
        """The curvature on the span of all samples where that is known by structure: never here."""
        return self

    def refuse_conjugations(self) -> NoReturn:
        """ValueError: M ↦ mean HᵢMHᵢ needs all per-sample Hessians."""
        raise ValueError(
            "the problem is too large for mean-square quantities of full Hessians: all n_samples·n_params² = "
            f"{self.n_samples * self.n_params**2:,} entries of the per-sample Hessians would be needed; "
            "hessian='gauss_newton' does without them"
        )

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """(1/n) Σᵢ Hᵢ M Hᵢ, refused."""
        self.refuse_conjugations()

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """M ↦ Vᵀ[(1/n) Σᵢ Hᵢ VMVᵀ Hᵢ]V, refused."""
        self.refuse_conjugations()

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


@dataclass(frozen=True)
class BlockCurvature:
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

    def to_basis(self, vectors: FloatArray) -> FloatArray:
        """The basis is that of the parameters."""
        return vectors

    def rows(self) -> FloatArray:
        """All rows of all samples, (n·c, p)."""
        return self.factors.reshape(-1, self.n_params)

    def in_basis(self, basis: FloatArray) -> BlockCurvature:
        """The blocks AᵢV, so that Hᵢ becomes VᵀHᵢV: V = `basis` (p, r)."""
        return BlockCurvature((self.rows() @ basis).reshape(*self.factors.shape[:2], -1))

    def mean(self) -> FloatArray:
        """H = (1/n) Σᵢ Hᵢ, (p, p)."""
        return np.asarray(self.rows().T @ (self.rows() / self.n_samples))

    def batch_matrices(self, batches: IntArray) -> FloatArray:
        """H_B for each row of `batches`, (m, p, p)."""
        rows = self.factors[batches].reshape(len(batches), -1, self.n_params)
        return np.asarray(rows.transpose(0, 2, 1) @ (rows / batches.shape[1]))

    def images(self, vectors: FloatArray) -> FloatArray:
        """Hᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n, p)."""
        projections = np.einsum("ncp,...p->nc" if vectors.ndim == 1 else "ncp,np->nc", self.factors, vectors)
        return np.asarray(np.einsum("nc,ncp->np", projections, self.factors))

    def traces(self) -> FloatArray:
        """tr Hᵢ, (n,)."""
        return np.asarray((self.factors**2).sum(axis=(1, 2)))

    def squared_norms(self) -> FloatArray:
        """‖Hᵢ‖_F² = ‖AᵢAᵢᵀ‖_F², (n,)."""
        return np.asarray(((self.factors @ self.factors.transpose(0, 2, 1)) ** 2).sum(axis=(1, 2)))

    def inner_products(self, matrix: FloatArray) -> FloatArray:
        """tr(HᵢM) for a symmetric M, (n,)."""
        return np.asarray(
            ((self.rows() @ matrix) * self.rows()).sum(axis=1).reshape(self.factors.shape[:2]).sum(axis=1)
        )

    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """Lower bounds on λ_min(Hᵢ), (n,): 0."""
        return np.zeros(self.n_samples)

    def compressed(self, basis: FloatArray) -> FloatArray:
        """VᵀHᵢV for V = `basis` (p, r), (n, r, r)."""
        projected = self.in_basis(basis).factors
        return np.asarray(projected.transpose(0, 2, 1) @ projected)

    def without_null_space(self) -> BlockCurvature:
        """The curvature on the span of all samples where that is known by structure: n·c coordinates for n·c < p rows."""
        if len(self.rows()) >= self.n_params:
            return self
        left, singular, _ = np.linalg.svd(self.rows(), full_matrices=False)
        return BlockCurvature((left * singular).reshape(*self.factors.shape[:2], -1))

    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHᵢv for each sample i and its own vector v = vectors[i] (n, p) or one vector (p,) for all: (n,)."""
        projections = np.einsum("ncp,...p->nc" if vectors.ndim == 1 else "ncp,np->nc", self.factors, vectors)
        return np.asarray((projections**2).sum(axis=1))

    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """v_mᵀ H_{B_m} v_m for each batch, (m,)."""
        size = max(1, CHUNK_NUMBERS // (batches.shape[1] * self.n_rows * self.n_params))
        chunks = [slice(start, start + size) for start in range(0, len(batches), size)]
        forms = [
            (np.einsum("mbcp,mp->mbc", self.factors[batches[c]], vectors[c]) ** 2).sum(axis=(1, 2)) / batches.shape[1]
            for c in chunks
        ]
        return np.concatenate(forms) if forms else np.empty(0)

    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """(1/n) Σᵢ Hᵢ M Hᵢ for a symmetric M, (p, p), in O(n c p (p + c))."""
        applied = (self.rows() @ matrix).reshape(self.factors.shape)
        inner = applied @ self.factors.transpose(0, 2, 1)
        weighted = (inner @ self.factors).reshape(-1, self.n_params)
        return np.asarray(self.rows().T @ weighted / self.n_samples)

    def conjugation_in(self, basis: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """M ↦ Vᵀ[(1/n) Σᵢ Hᵢ VMVᵀ Hᵢ]V on symmetric (r, r) matrices, V = `basis` (p, r) with orthonormal columns."""
        return self.in_basis(basis).mean_conjugation

    def scale(self) -> float:
        """A power of two near the largest entry of any Hᵢ (1 when all are zero)."""
        return power_of_two_near(self.factors) ** 2

    def scaled(self, power_of_two: float) -> BlockCurvature:
        """The curvature of Hᵢ / power_of_two."""
        return BlockCurvature(self.factors / np.sqrt(power_of_two))


Curvature = DenseCurvature | LowRankCurvature | BlockCurvature | OperatorCurvature
