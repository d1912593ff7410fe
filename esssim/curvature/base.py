"""What every structure of per-sample Hessians offers: the protocol, documented here once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from esssim._validate import FloatArray, IntArray

Map = Callable[[FloatArray], FloatArray]


def identity(vectors: FloatArray) -> FloatArray:
    """The map to the basis of a curvature that keeps that of the parameters."""
    return vectors


class Curvature(ABC):
    """All n per-sample Hessians Hᵢ at one point θ, in a fixed orthonormal basis that the problem chooses.

    Eigenvalues do not depend on the basis; `to_basis` takes vectors of parameter space there. H is the mean of the Hᵢ,
    H_B the mean over a batch. Shapes: batches (m, b) of indices; vectors (n, p), one for each sample, or (p,) for all.

    To add a structure, subclass and write the abstract methods; register its algorithm in `esssim.spectra.largest`.
    """

    # Whether every Hᵢ is at hand, formed or in factors; otherwise only products with a whole batch cost little.
    is_formed: ClassVar[bool] = True
    # Whether λ_max(Hᵢ) costs O(p).
    samples_cost_little: ClassVar[bool] = False
    # Vectors of parameter space (..., p) in the basis of the curvature; by default that of the parameters.
    to_basis: Map = staticmethod(identity)
    # Relative residual ‖Hx − λx‖/|λ| that eigenvalues found by iteration must reach; 0 where none is prescribed.
    tolerance: float = 0.0

    @property
    @abstractmethod
    def n_samples(self) -> int:
        """n."""

    @property
    @abstractmethod
    def n_params(self) -> int:
        """p."""

    # --- matrices -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def mean(self) -> FloatArray:
        """H = (1/n) Σᵢ Hᵢ, (p, p)."""

    @abstractmethod
    def batch_matrices(self, batches: IntArray) -> FloatArray:
        """H_B for each batch, (m, p, p)."""

    def weighted(self, weights: FloatArray) -> FloatArray:
        """Σᵢ wᵢHᵢ for weights (n,), (p, p); by default column by column."""
        columns = np.stack([weights @ self.images(unit) for unit in np.eye(self.n_params)])
        return np.asarray((columns + columns.T) / 2)

    @abstractmethod
    def compressed(self, basis: FloatArray) -> FloatArray:
        """VᵀHᵢV for V = `basis` (p, r), (n, r, r)."""

    def square_roots(self) -> FloatArray | None:
        """Aᵢ of c rows where Hᵢ = AᵢᵀAᵢ by structure, (n, c, p); None elsewhere."""
        return None

    @property
    def is_rank_one(self) -> bool:
        """Whether Hᵢ = aᵢaᵢᵀ by structure."""
        return False

    @abstractmethod
    def is_zero(self) -> bool:
        """Whether every Hᵢ is zero, by structure."""

    def mean_eigenpairs(self) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues of H in ascending order, (r,), and eigenvectors (p, r); at least those that are not zero."""
        values, vectors = np.linalg.eigh(self.mean())
        return values, vectors

    # --- products and forms -------------------------------------------------------------------------------------------

    @abstractmethod
    def images(self, vectors: FloatArray) -> FloatArray:
        """Hᵢvᵢ for each sample, (n, p)."""

    def product(self, batch: IntArray) -> Map:
        """V ↦ VH_B on a block of rows (s, p), for one batch (b,)."""
        matrix = self.batch_matrices(batch[None])[0]
        return lambda block: block @ matrix

    @abstractmethod
    def quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵢᵀHᵢvᵢ for each sample, (n,)."""

    @abstractmethod
    def batch_quadratic_forms(self, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """v_mᵀ H_{B_m} v_m for each batch and its vector (m, p): (m,)."""

    def mean_quadratic_forms(self, vectors: FloatArray) -> FloatArray:
        """vᵀHv for each row v of `vectors` (m, p): (m,)."""
        return np.asarray(((vectors @ self.mean()) * vectors).sum(axis=1))

    # --- numbers of each sample ---------------------------------------------------------------------------------------

    @abstractmethod
    def traces(self) -> FloatArray:
        """tr Hᵢ, (n,)."""

    @abstractmethod
    def squared_norms(self) -> FloatArray:
        """‖Hᵢ‖_F², (n,)."""

    @abstractmethod
    def inner_products(self, matrix: FloatArray) -> FloatArray:
        """tr(HᵢM) for a symmetric M (p, p): (n,)."""

    @abstractmethod
    def smallest_eigenvalue_bounds(self) -> FloatArray:
        """Lower bounds on λ_min(Hᵢ), (n,)."""

    # --- second moments -----------------------------------------------------------------------------------------------

    def check_conjugations(self) -> None:
        """ValueError where (1/n) Σᵢ HᵢMHᵢ is out of reach; by default it never is."""
        return

    @abstractmethod
    def mean_conjugation(self, matrix: FloatArray) -> FloatArray:
        """(1/n) Σᵢ HᵢMHᵢ for a symmetric M, (p, p)."""

    @abstractmethod
    def conjugation_in(self, basis: FloatArray) -> Map:
        """M ↦ Vᵀ[(1/n) Σᵢ Hᵢ VMVᵀ Hᵢ]V on symmetric (r, r) matrices, V = `basis` (p, r) with orthonormal columns."""

    def mean_squared_entries(self, basis: FloatArray) -> FloatArray:
        """(1/n) Σᵢ (VᵀHᵢV)_jk², V = `basis` (p, r) with orthonormal columns: (r, r)."""
        conjugation = self.conjugation_in(basis)
        return np.stack([np.diagonal(conjugation(np.diag(unit))) for unit in np.eye(basis.shape[1])])

    # --- the same in another form -------------------------------------------------------------------------------------

    @abstractmethod
    def scale(self) -> float:
        """A power of two near the largest entry of any Hᵢ (1 when all are zero)."""

    @abstractmethod
    def scaled(self, power_of_two: float) -> Curvature:
        """The curvature of Hᵢ / power_of_two."""

    def without_null_space(self) -> Curvature:
        """The curvature on the span of all samples, where structure knows it and each λ_max is kept."""
        return self

    def without_rounded_zeros(self) -> Curvature:
        """The curvature without parts that are zero up to rounding, in units of its largest entry."""
        return self
