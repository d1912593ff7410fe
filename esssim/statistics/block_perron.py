"""Samples of c rows each, Hᵢ = AᵢᵀAᵢ: the mean-square edge from a positive map on n blocks of c×c, whatever p.

As in `esssim.statistics.perron`, with the n·c rows of all Aᵢ in place of the n rows aᵢ, K = AAᵀ = UΛUᵀ (n·c, n·c), and
a symmetric c×c block Xᵢ for every sample in place of a number:

    Ψ(η)X = block-diag(U(M∘(Uᵀ block-diag(X) U))Uᵀ).

M is a positive semidefinite Cauchy matrix, so that Ψ is completely positive, self-adjoint and grows with η in the order
of positive semidefinite blocks; ηQ_b = 2 exactly where the spectral radius of κ₂Ψ(η) is 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np

from esssim._validate import FloatArray
from esssim.curvature import BlockCurvature, Curvature, LowRankCurvature
from esssim.statistics.perron import PerronMatrix, leading_eigenvectors

# Rows n·c of the largest K: one application of Ψ then takes 8·(n·c)³ = 6·10¹⁰ operations, a second or two.
LARGEST_GRAM = 2000


@dataclass(frozen=True)
class BlockPerron(PerronMatrix):
    """η ↦ Ψ(η): eigenvalues λ (r,) ascending and eigenvectors U (n·c, r) of K on its range, the scheme's c, and
    rows.
    """

    n_rows: int = 1

    @classmethod
    def of_blocks(cls, factors: FloatArray, c: float) -> BlockPerron:
        """From the Aᵢ, (n, rows, p), not all of them zero."""
        n, rows, p = factors.shape
        flat = PerronMatrix.of(factors.reshape(n * rows, p), c)
        return cls(flat.eigenvalues, flat.eigenvectors, c, n_rows=rows)

    @classmethod
    def leading_blocks(cls, factors: FloatArray, c: float, rank: int) -> BlockPerron:
        """From the Aᵢ, (n, rows, p), by products with them alone: `rank` leading eigenvectors, without `tail`."""
        n, rows, p = factors.shape
        return cls(*leading_eigenvectors(factors.reshape(n * rows, p), rank), c, n_rows=rows)

    def with_tail(self, factors: FloatArray) -> BlockPerron:
        """The same with what these eigenvectors leave of the blocks of K = AAᵀ, A (n·c, p)."""
        own, blocks = self._rows(), factors.reshape(self.n_samples, self.n_rows, -1)
        tail = blocks @ blocks.transpose(0, 2, 1) - (own * self.eigenvalues) @ own.transpose(0, 2, 1)
        return replace(self, tail=tail.ravel())

    @property
    def is_shorter(self) -> bool:
        """Whether Ψ is preferred to the pencil: wherever its Gram matrix is affordable."""
        return True

    @property
    def n_samples(self) -> int:
        return int(self.eigenvectors.shape[0]) // self.n_rows

    def first_vector(self) -> FloatArray:
        return np.tile(np.eye(self.n_rows).ravel(), self.n_samples)

    def positive(self, vector: FloatArray) -> FloatArray:
        """The blocks with their eigenvalues made positive: an eigenvector of a positive map is one up to its sign."""
        values, vectors = np.linalg.eigh(self._blocks(vector))
        return np.asarray((vectors * np.abs(values)[:, None]) @ vectors.transpose(0, 2, 1)).ravel()

    def in_eigenbasis(self, weights: FloatArray) -> FloatArray:
        """Uᵀ block-diag(X) U, (r, r)."""
        applied = self._blocks(weights) @ self._rows()
        return np.asarray(self.eigenvectors.T @ applied.reshape(self.eigenvectors.shape))

    def folded(self, images: FloatArray) -> FloatArray:
        """The symmetric part of block-diag(XUᵀ), (n·c²,), for X (n·c, r)."""
        blocks = images.reshape(self.n_samples, self.n_rows, -1) @ self._rows().transpose(0, 2, 1)
        return self._blocks(blocks).ravel()

    def of_tail(self, weights: FloatArray) -> FloatArray:
        """What the modes in `tail` add to ΨX, over η: ¼n(K′ᵢᵢXᵢ + XᵢK′ᵢᵢ), (n·c²,)."""
        assert self.tail is not None
        products = self._blocks(self.tail) @ self._blocks(weights)
        return np.asarray(self.n_samples / 2 * self._blocks(products.ravel()).ravel())

    def is_inside(self, vector: FloatArray) -> bool:
        """Whether every block is positive definite."""
        return bool(np.linalg.eigvalsh(self._blocks(vector)).min() > 0)

    def depth(self, vector: FloatArray) -> float:
        """The smallest eigenvalue of any block over the largest."""
        values = np.linalg.eigvalsh(self._blocks(vector))
        return float(values.min() / values.max())

    def ratio_bound(self, image: FloatArray, blocks: FloatArray) -> float:
        """The largest eigenvalue of Xᵢ^{−½}(ΨX)ᵢXᵢ^{−½} over the samples: Collatz–Wielandt for the cone of blocks."""
        values, vectors = np.linalg.eigh(self._blocks(blocks))
        if not values.min() > 0.0:
            return np.inf
        halves = vectors / np.sqrt(values)[:, None]
        return float(np.linalg.eigvalsh(halves.transpose(0, 2, 1) @ self._blocks(image) @ halves).max())

    def raised(self, vector: FloatArray, floor: float) -> FloatArray:
        """The blocks plus floor times the largest entry of any on every diagonal."""
        return np.asarray(vector + floor * np.abs(vector).max() * self.first_vector())

    def _blocks(self, vector: FloatArray) -> FloatArray:
        blocks = vector.reshape(self.n_samples, self.n_rows, self.n_rows)
        return (blocks + blocks.transpose(0, 2, 1)) / 2

    def _rows(self) -> FloatArray:
        return self.eigenvectors.reshape(self.n_samples, self.n_rows, -1)


@singledispatch
def perron_of(curvature: Curvature, c: float) -> PerronMatrix | None:
    """Ψ of a curvature of square roots Hᵢ = AᵢᵀAᵢ, not all of them zero; None where there are none, or n·c is too
    large.
    """
    return None


@perron_of.register
def _(curvature: LowRankCurvature, c: float) -> PerronMatrix | None:
    return PerronMatrix.of(curvature.factors, c) if curvature.is_rank_one and not curvature.is_zero() else None


@perron_of.register
def _(curvature: BlockCurvature, c: float) -> PerronMatrix | None:
    if curvature.is_zero():
        return None
    n_rows, n_params = len(curvature.rows()), curvature.n_params
    if min(n_rows, n_params) > LARGEST_GRAM:
        raise ValueError(
            f"the problem is too large for an exact mean-square sharpness: n_samples·n_outputs = {n_rows:,} and "
            f"n_params = {n_params:,}, one of them at most {LARGEST_GRAM:,}; "
            "esssim.bridge.mean_square_enclosure bounds it from both sides"
        )
    return BlockPerron.of_blocks(curvature.factors, c) if n_rows <= LARGEST_GRAM else None
