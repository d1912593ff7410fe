"""The mean-square edge between two Gram matrices, one below and one above, that differ by what a factor leaves of K.

With FFᵀ ≼ K ≼ FFᵀ + τI and Q_b(K) the edge of `esssim.statistics.block_perron`,

    Q_b(FFᵀ) ≤ Q_b(K) ≤ Q_b(FFᵀ + τI).

K₁ ≼ K₂ means that K₂ is the Gram matrix of the rows of K₁ with further columns; the pencil of K₁ is then that of K₂,
restricted to the matrices on the first columns, and its top is no larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from esssim._validate import FloatArray
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.mean_square import Enclosure

# The smallest τ, of the largest eigenvalue.
TINY = 1e-14


@dataclass(frozen=True)
class FlooredPerron(BlockPerron):
    """η ↦ Ψ(η) of U diag(λ) Uᵀ + τ(I − UUᵀ): λ (r,), U (n·c, r) as in `BlockPerron`, and τ = `floor` > 0.

    With P = I − UUᵀ, Y = UᵀXU, M between two λ, m between λ and τ, and m₀ between τ and τ,

        ΨX = block-diag(U(M∘Y)Uᵀ + U diag(m) UᵀXP + PXU diag(m) Uᵀ + m₀PXP).
    """

    floor: float = 0.0

    @cached_property
    def _slopes_beside(self) -> FloatArray:
        """The slopes of m, (r,)."""
        return np.asarray((1.0 / self.eigenvalues + 1.0 / self.floor) / (2 * self.n_samples))

    @property
    def _slope_of_floor(self) -> float:
        """The slope of m₀."""
        return 1.0 / (self.floor * self.n_samples)

    def at(self, step_size: float) -> Callable[[FloatArray], FloatArray]:
        """X ↦ Ψ(η)X, in O(n c r²)."""
        edge = 2.0 / step_size
        with np.errstate(divide="ignore"):
            beside = 1.0 / (self._slopes_beside * edge - self.kappa_1)
            alone = 1.0 / (self._slope_of_floor * edge - self.kappa_1)
        among = self.kernel(step_size) - beside[:, None] - beside + alone
        rows = self._rows()
        own = (rows * (beside - alone)) @ rows.transpose(0, 2, 1)

        def apply(weights: FloatArray) -> FloatArray:
            blocks = self._blocks(weights)
            image = self.folded(self.eigenvectors @ (among * self.in_eigenbasis(weights)))
            return np.asarray(image + (2.0 * self._blocks((own @ blocks).ravel()) + alone * blocks).ravel())

        return apply

    def _terms(self, vector: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        among = self.in_eigenbasis(vector) ** 2
        images = (self._blocks(vector) @ self._rows()).reshape(self.eigenvectors.shape)
        along = (images**2).sum(axis=0)
        beside = 2.0 * np.maximum(along - among.sum(axis=0), 0.0)
        alone = max(float(vector @ vector) - 2.0 * float(along.sum()) + float(among.sum()), 0.0)
        weights = np.concatenate((among.ravel(), beside, [alone]))
        slopes = np.concatenate((self.slopes.ravel(), self._slopes_beside, [self._slope_of_floor]))
        return weights, slopes, np.full(len(slopes), self.kappa_1)


class Bounds(NamedTuple):
    """Q_b(K) enclosed, and the blocks (n·c²,) at which it was: a start for a better factor."""

    enclosure: Enclosure
    blocks: FloatArray


@dataclass(frozen=True)
class Sandwich:
    """FFᵀ ≼ K ≼ FFᵀ + τI for K (n·c, n·c): factor F (n·c, r) with orthogonal columns, τ = rest, own = the c×c blocks of
    K on its diagonal (n, c, c), most = at least λ_max(K), where that is known better than by τ.
    """

    factor: FloatArray
    rest: float
    own: FloatArray
    most: float = math.inf

    def bounds(self, c: float, accuracy: float, start: FloatArray | None = None, least: float = 0.0) -> Bounds:
        """Q_b for a scheme of variance coefficient c, the value with what F leaves of the diagonal blocks.

        start: blocks from a rougher factor; least: another lower bound. accuracy: of the blocks, which the bounds have
        several hundred times and the value its square.
        """
        n, rows = self.own.shape[:2]
        lengths = (self.factor**2).sum(axis=0)
        columns, floor = self.factor / np.sqrt(lengths), max(self.rest, TINY * float(lengths.max()))
        if c == 0.0:
            top = float(lengths.max())
            return Bounds(Enclosure(top / n, top / n, max(min(top + self.rest, self.most), top) / n), np.empty(0))
        above = FlooredPerron(lengths + floor, columns, c, n_rows=rows, floor=floor)
        edge, blocks = above.edge(accuracy, start)
        upper = min(
            above.enclosure(edge, blocks)[1],
            self._largest_of_samples(c, min(self.most, float(lengths.max()) + self.rest)),
        )
        below = BlockPerron(lengths, columns, c, n_rows=rows)
        lower = max(below.rayleigh_functional(blocks), least)
        factors = self.factor.reshape(n, rows, -1)
        left = self.own - factors @ factors.transpose(0, 2, 1)
        value = replace(below, tail=left.ravel()).rayleigh_functional(blocks)
        return Bounds(Enclosure(min(max(value, lower), upper), lower, max(upper, lower)), blocks)

    def influence(self, c: float, found: Bounds) -> FloatArray:
        """∂Q_b/∂wᵢ less its mean, (n,), in the directions of F: Q_b of the mean Σ wᵢHᵢ and Σ wᵢHᵢ⊗Hᵢ at wᵢ = 1/n.

        With the top eigenmatrix M of the pencil, Hᵢ = BᵢᵀBᵢ and Q = Q_b,
        [2(1−c)tr(MHᵢMH) + c·tr(MHᵢMHᵢ) − Q·tr(MHᵢM)]/tr(MHM).
        """
        n, rows = self.own.shape[:2]
        own = self.factor.reshape(n, rows, -1)
        lengths = (self.factor**2).sum(axis=0)
        if c == 0.0:
            values = (own[:, :, int(np.argmax(lengths))] ** 2).sum(axis=1)
            return np.asarray(values - values.mean())
        columns = self.factor / np.sqrt(lengths)
        below = BlockPerron(lengths, columns, c, n_rows=rows)
        edge = below.rayleigh_functional(found.blocks)
        weights = below.kernel(2.0 / edge) * below.in_eigenbasis(found.blocks)
        top = weights / np.sqrt(lengths[:, None] * lengths)
        images = own @ top
        along = images @ own.transpose(0, 2, 1)
        squares = (images**2).sum(axis=1)
        values = (
            2 * (1 - c) * (squares @ lengths) / n + c * (along**2).sum(axis=(1, 2)) - edge * squares.sum(axis=1)
        ) / float((top**2).sum(axis=0) @ lengths / n)
        return np.asarray(values - values.mean())

    def _largest_of_samples(self, c: float, top: float) -> float:
        """(1 − c)λ_max(H) + c·maxᵢ λ_max(Hᵢ) ≥ Q_b, as Hᵢ² ≼ λ_max(Hᵢ)Hᵢ."""
        largest = float(np.linalg.eigvalsh(self.own)[:, -1].max())
        return (1.0 - c) * top / len(self.own) + c * largest
