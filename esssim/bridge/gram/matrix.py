"""The Gram matrix of a network at a point, and the mean-square sharpness that it encloses."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from esssim._validate import FloatArray
from esssim.bridge.gram.accumulate import Plan, Rows, gram
from esssim.bridge.problem import TorchProblem
from esssim.curvature import BlockCurvature
from esssim.curvature.scale import power_of_two_near
from esssim.spectra.leading import SPARE
from esssim.spectra.nystrom import BLOCK, FAILURE, STEPS, Krylov, bound_of_rest, bound_of_top
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
    """An enclosure of Q_b, the rank it rests on, what each sample adds, (n,): ∂Q_b/∂(weight of sample i) less its mean,
    and the probability that the upper bound fails.
    """

    enclosure: Enclosure
    rank: int
    influence: FloatArray
    failure_probability: float


class Kernel(ABC):
    """K = AAᵀ (n·rows, n·rows) in units of `unit`, by its products: its rows those of n samples one after the other."""

    n_rows: int
    n_samples: int
    unit: float
    # The blocks on the diagonal, (n, rows, rows).
    own: FloatArray
    # Vectors that are multiplied together, Lanczos steps for what a factor leaves, and the first rank.
    block: int = BLOCK
    steps: int = STEPS
    first_rank: int = FIRST_RANK

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Of the products."""

    @abstractmethod
    def times(self, rows: FloatArray) -> FloatArray:
        """Rows (s, n·rows) times K."""

    def along_samples(self, c: float) -> float:
        """A lower bound of Q_b that needs no factor, 0 where it would cost more than one."""
        return 0.0

    def cheaper(self, rank: int) -> Kernel:
        """The same K, as it is best held where so many directions are wanted."""
        return self

    @property
    def size(self) -> int:
        """n·rows."""
        return self.n_samples * self.n_rows

    def krylov(self) -> Krylov:
        return Krylov(self.times, self.size, block=self.block)

    def sandwich(self, krylov: Krylov, size: int, rank: int) -> Sandwich:
        """K between FFᵀ and FFᵀ + τI, F of the `rank` longest columns that a Krylov space of that size gives."""
        krylov.extend(size)
        factor = np.ascontiguousarray(krylov.factor(PRECISION[self.dtype])[:, -rank:])
        rest = bound_of_rest(self.times, factor, steps=self.steps)
        return Sandwich(factor, rest, self.own, bound_of_top(self.times, factor, rest))

    def leading(self, rank: int, accuracy: float) -> tuple[BlockCurvature, Callable[[Any], Any]]:
        """Blocks (n, rows, r) that are below K, and c ↦ at least Q_b, both in units of `unit`.

        Q_b is convex in c, so that it is no more than the chord between any two upper bounds.
        """
        sandwich = self.sandwich(self.krylov(), min(2 * rank + SPARE, self.size), rank)
        uppers, blocks = [], None
        for c in KNOTS:
            found = sandwich.bounds(c, accuracy, blocks)
            blocks = found.blocks if c > 0.0 else None
            uppers.append(found.enclosure.upper)
        factors = sandwich.factor.reshape(self.n_samples, self.n_rows, -1)
        return BlockCurvature(factors), lambda c: np.interp(c, KNOTS, uppers)

    def mean_square_sharpness(
        self, c: float, tolerance: float, max_rank: int, deadline: float = float("inf"), first_rank: int | None = None
    ) -> Found:
        """Q_b for a variance coefficient c, the rank doubled until the bounds are close, stall, or would be late."""
        kernel: Kernel = self
        if not self.own.any():
            return Found(Enclosure(0.0, 0.0, 0.0), 0, np.zeros(self.n_samples), 0.0)
        krylov, rank = self.krylov(), min(first_rank or self.first_rank, max_rank)
        least, rest = self.along_samples(c), np.inf
        found: Bounds | None = None
        failure = 0.0
        while True:
            began = time.perf_counter()
            failure += FAILURE if kernel.steps < self.size else 0.0
            sandwich = kernel.sandwich(krylov, rank, rank)
            start = None if found is None else found.blocks
            found = sandwich.bounds(c, CLOSENESS * tolerance, start, least)
            before, rest = rest, sandwich.rest
            width = found.enclosure.upper - found.enclosure.lower
            last = rank >= min(self.size, max_rank) or rest > STALLED * before
            now = time.perf_counter()
            if last or width <= tolerance * found.enclosure.value or now + OF_THE_DOUBLE * (now - began) > deadline:
                influence = sandwich.influence(c, found) * self.unit
                return Found(found.enclosure.times(self.unit), min(rank, self.size), influence, failure)
            rank = min(2 * rank, max_rank)
            held = kernel.cheaper(rank)
            if held is not kernel:
                kernel, least = held, held.along_samples(c)
                krylov.product = held.times


@dataclass(frozen=True)
class Gram(Kernel):
    """K held as a matrix."""

    matrix: Tensor
    n_rows: int
    unit: float

    @classmethod
    def of(cls, rows: Rows, plan: Plan | None = None, unit: float | None = None) -> Gram:
        """From the rows of a network, in a unit of its own or in this one."""
        matrix = gram(rows, plan)
        size = power_of_two_near(matrix.diagonal().cpu().numpy()) if unit is None else unit
        return cls(matrix.div_(size), rows.covectors.shape[2], size)

    @property
    def dtype(self) -> torch.dtype:
        return self.matrix.dtype

    @property
    def n_samples(self) -> int:  # type: ignore[override]
        """n."""
        return len(self.matrix) // self.n_rows

    def times(self, rows: FloatArray) -> FloatArray:
        """Rows (s, n·rows) times K."""
        return (torch.as_tensor(rows).to(self.matrix) @ self.matrix).double().cpu().numpy()

    @cached_property
    def own(self) -> FloatArray:  # type: ignore[override]
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


def rows_at(
    problem: TorchProblem,
    theta: FloatArray,
    device: torch.device,
    samples: Tensor | None = None,
    kind: torch.dtype | None = None,
) -> Rows:
    """The rows Aᵢ = RᵢᵀJᵢ of some samples of a problem at θ in its precision, on a device, computed in `kind`."""
    own = problem.kind if kind is None else kind
    same = device.type == "cpu" and own == problem.kind
    functional = problem.functional if same else problem.functional.on(device, own)
    x, y = problem.tensors if samples is None else (part[samples] for part in problem.tensors)
    if own != problem.kind:
        x, y = (part.to(own) if part.is_floating_point() else part for part in (x, y))
    point = torch.tensor(theta, dtype=problem.kind, device=device).to(own)
    with torch.no_grad():
        outputs = functional.outputs(point, x.to(device))
    return Rows(functional, point, x.to(device), problem.root(outputs.cpu(), y).to(device))
