"""The Gram matrix of a network at a point, and the mean-square sharpness that it encloses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from esssim._validate import FloatArray
from esssim.bridge.gram.accumulate import Rows, gram
from esssim.bridge.problem import TorchProblem
from esssim.curvature import BlockCurvature
from esssim.curvature.scale import power_of_two_near
from esssim.spectra.leading import SPARE
from esssim.spectra.nystrom import Krylov, bound_of_rest, bound_of_top
from esssim.statistics.bounded_perron import Bounds, Sandwich
from esssim.statistics.mean_square import Enclosure

FIRST_RANK = 64
# Of the blocks that bound, as a share of the tolerance.
CLOSENESS = 1e-4
# Eigenvalues of K below so much of the largest are rounding.
PRECISION = {torch.float64: 1e-13, torch.float32: 1e-6}
# Where twice the rank leaves so much of τ, the eigenvalues of K decay too slowly for any rank to be enough.
STALLED = 0.8
# Variance coefficients at which Q_b is bounded for all between.
KNOTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
# What twice the rank costs, in times of what it cost before.
OF_THE_DOUBLE = 4.0


class Found(NamedTuple):
    """An enclosure of Q_b, the rank it rests on, and what each sample adds, (n,): ∂Q_b/∂(weight of sample i) less its
    mean.
    """

    enclosure: Enclosure
    rank: int
    influence: FloatArray


@dataclass(frozen=True)
class Gram:
    """K (n·rows, n·rows) in units of `unit`, its rows those of n samples one after the other."""

    matrix: Tensor
    n_rows: int
    unit: float

    @classmethod
    def of(cls, rows: Rows) -> Gram:
        """From the rows of a network."""
        matrix = gram(rows)
        unit = power_of_two_near(matrix.diagonal().cpu().numpy())
        return cls(matrix.div_(unit), rows.covectors.shape[2], unit)

    @property
    def n_samples(self) -> int:
        """n."""
        return len(self.matrix) // self.n_rows

    def times(self, rows: FloatArray) -> FloatArray:
        """Rows (s, n·rows) times K."""
        return (torch.as_tensor(rows).to(self.matrix) @ self.matrix).double().cpu().numpy()

    @cached_property
    def own(self) -> FloatArray:
        """The blocks on the diagonal, (n, rows, rows)."""
        n, rows = self.n_samples, self.n_rows
        blocks = self.matrix.view(n, rows, n, rows).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        return np.ascontiguousarray(blocks.double().cpu().numpy())

    def along_samples(self, c: float) -> float:
        """The largest E(vᵀH_Bv)²/vᵀHv ≤ Q_b over unit v along A_iᵀu_i, u_i the top eigenvector of A_iA_iᵀ: M = vvᵀ."""
        n, rows = self.n_samples, self.n_rows
        values, vectors = np.linalg.eigh(self.own)
        top = torch.as_tensor(vectors[:, :, -1]).to(self.matrix)
        forms = torch.zeros(n, n, dtype=self.matrix.dtype, device=self.matrix.device)
        for row in range(rows):
            forms += torch.einsum("jir,ir->ji", self.matrix[row::rows].view(n, n, rows), top) ** 2
        some = values[:, -1] > 0
        own = forms.double().cpu().numpy()[:, some] / values[some, -1]
        means = own.mean(axis=0)
        return float(((1 - c) * means + c * (own**2).mean(axis=0) / means).max())

    def sandwich(self, krylov: Krylov, size: int, rank: int) -> Sandwich:
        """K between FFᵀ and FFᵀ + τI, F of the `rank` longest columns that a Krylov space of that size gives."""
        krylov.extend(size)
        factor = np.ascontiguousarray(krylov.factor(PRECISION[self.matrix.dtype])[:, -rank:])
        rest = bound_of_rest(self.times, factor)
        return Sandwich(factor, rest, self.own, bound_of_top(self.times, factor, rest))

    def leading(self, rank: int, accuracy: float) -> tuple[BlockCurvature, Callable[[Any], Any]]:
        """Blocks (n, rows, r) that are below K, and c ↦ at least Q_b, both in units of `unit`.

        Q_b is convex in c, so that it is no more than the chord between any two upper bounds.
        """
        size = len(self.matrix)
        sandwich = self.sandwich(Krylov(self.times, size), min(2 * rank + SPARE, size), rank)
        uppers, blocks = [], None
        for c in KNOTS:
            found = sandwich.bounds(c, accuracy, blocks)
            blocks = found.blocks if c > 0.0 else None
            uppers.append(found.enclosure.upper)
        factors = sandwich.factor.reshape(self.n_samples, self.n_rows, -1)
        return BlockCurvature(factors), lambda c: np.interp(c, KNOTS, uppers)

    def mean_square_sharpness(
        self, c: float, tolerance: float, max_rank: int, deadline: float = float("inf"), first_rank: int = FIRST_RANK
    ) -> Found:
        """Q_b for a variance coefficient c, the rank doubled until the bounds are close, stall, or would be late."""
        size = len(self.matrix)
        if not bool(self.matrix.diagonal().any()):
            return Found(Enclosure(0.0, 0.0, 0.0), 0, np.zeros(self.n_samples))
        krylov, rank = Krylov(self.times, size), min(first_rank, max_rank)
        least, rest = self.along_samples(c), np.inf
        found: Bounds | None = None
        while True:
            began = time.perf_counter()
            sandwich = self.sandwich(krylov, rank, rank)
            start = None if found is None else found.blocks
            found = sandwich.bounds(c, CLOSENESS * tolerance, start, least)
            before, rest = rest, sandwich.rest
            width = found.enclosure.upper - found.enclosure.lower
            last = rank >= min(size, max_rank) or rest > STALLED * before
            now = time.perf_counter()
            if last or width <= tolerance * found.enclosure.value or now + OF_THE_DOUBLE * (now - began) > deadline:
                influence = sandwich.influence(c, found) * self.unit
                return Found(found.enclosure.times(self.unit), min(rank, size), influence)
            rank = min(2 * rank, max_rank)


def rows_at(problem: TorchProblem, theta: FloatArray, device: torch.device, samples: Tensor | None = None) -> Rows:
    """The rows Aᵢ = RᵢᵀJᵢ of some samples of a problem at θ, on a device."""
    functional = problem.functional if device.type == "cpu" else problem.functional.on(device)
    x, y = problem.tensors if samples is None else (part[samples] for part in problem.tensors)
    point = torch.tensor(theta, dtype=problem.kind, device=device)
    with torch.no_grad():
        outputs = functional.outputs(point, x.to(device))
    return Rows(functional, point, x.to(device), problem.root(outputs.cpu(), y).to(device))
