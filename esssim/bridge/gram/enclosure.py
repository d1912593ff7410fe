"""`mean_square_enclosure`: the mean-square sharpness of a network from its Gram matrix, with an error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.gram.accumulate import Rows, gram
from esssim.bridge.problem import TorchProblem
from esssim.curvature.scale import power_of_two_near
from esssim.sampling import Sampling, check_sampling
from esssim.spectra.nystrom import Krylov, bound_of_rest
from esssim.statistics.bounded_perron import Sandwich

FIRST_RANK = 64
# Of the blocks that bound, as a share of the tolerance.
CLOSENESS = 1e-4
# Rows n·c of the largest K: 1.6 GB in float32.
LARGEST = 20_000
# Eigenvalues of K below so much of the largest are rounding.
PRECISION = {torch.float64: 1e-13, torch.float32: 1e-6}


class NetworkEnclosure(NamedTuple):
    """Q_b and an interval that contains it; rank: of the leading directions it rests on, n·c rows at most."""

    value: float
    lower: float
    upper: float
    rank: int


@one_blas_thread()
def mean_square_enclosure(
    problem: TorchProblem,
    theta: Any,
    sampling: Sampling,
    *,
    tolerance: float = 0.01,
    max_rank: int = 2048,
    device: str | torch.device = "cpu",
) -> NetworkEnclosure:
    """Q_b with Gauss–Newton blocks JᵢᵀSᵢJᵢ of a network of any size, and an interval that contains it.

    From K = AAᵀ, A = rows of all samples, which is accumulated layer by layer, without A, and held: n·c ≤ 20,000 rows.
    With FFᵀ ≼ K ≼ FFᵀ + τI from block Krylov, Q_b(FFᵀ) ≤ Q_b ≤ Q_b(FFᵀ + τI); the rank of F is doubled until the two
    differ by at most `tolerance` of the value, or up to max_rank. The upper bound fails with probability 1e-9 over the
    random start; in float32, rounding of about 1e-5 of the value is not in the interval.

    theta: (p,), a module or a state dict. device: where the network is run and K is held. Raises ValueError.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850 (Q_b); esssim.statistics.bounded_perron (the bounds).
    """
    _validate.instance("problem", problem, TorchProblem, "TorchProblem(module, inputs, targets)")
    check_sampling(sampling, problem.n_samples)
    _validate.real("tolerance", tolerance, above=0.0, below=1.0)
    _validate.integer("max_rank", max_rank, 1)
    rows = rows_at(problem, problem.check_point(theta), _device(device))
    if rows.count > LARGEST:
        raise ValueError(
            f"problem must have at most {LARGEST:,} rows n_samples·n_outputs, whose Gram matrix is held, got "
            f"{rows.count:,}: take {LARGEST // rows.covectors.shape[2]:,} of its samples"
        )
    return Gram.of(rows).mean_square_enclosure(sampling.variance_coefficient(problem.n_samples), tolerance, max_rank)


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be one of torch, got {_validate.shown(device)}") from error


def rows_at(problem: TorchProblem, theta: FloatArray, device: torch.device) -> Rows:
    """The rows Aᵢ = RᵢᵀJᵢ of a problem at θ, on a device."""
    functional = problem.functional
    x, y = (part.to(device) for part in problem.tensors)
    point = torch.tensor(theta, dtype=problem.kind, device=device)
    if device.type != "cpu":
        functional = functional.on(device)
    with torch.no_grad():
        outputs = functional.outputs(point, x)
    roots = problem.root(outputs.cpu(), y.cpu()).to(device)
    return Rows(functional, point, x, roots)


@dataclass(frozen=True)
class Gram:
    """K (n·rows, n·rows) in units of `unit`, its rows those of n samples one after the other."""

    matrix: Tensor
    n_rows: int
    unit: float

    @classmethod
    def of(cls, rows: Rows) -> Gram:
        matrix = gram(rows)
        unit = power_of_two_near(matrix.diagonal().cpu().numpy())
        return cls(matrix.div_(unit), rows.covectors.shape[2], unit)

    def times(self, rows: FloatArray) -> FloatArray:
        """Rows (s, N) times K."""
        return (torch.as_tensor(rows).to(self.matrix) @ self.matrix).double().cpu().numpy()

    @cached_property
    def own(self) -> FloatArray:
        """The blocks on the diagonal, (n, rows, rows)."""
        n, rows = len(self.matrix) // self.n_rows, self.n_rows
        blocks = self.matrix.view(n, rows, n, rows).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
        return np.ascontiguousarray(blocks.double().cpu().numpy())

    def mean_square_enclosure(self, c: float, tolerance: float, max_rank: int) -> NetworkEnclosure:
        size = len(self.matrix)
        if not bool(self.matrix.diagonal().any()):
            return NetworkEnclosure(0.0, 0.0, 0.0, 0)
        krylov, blocks, rank = Krylov(self.times, size), None, min(FIRST_RANK, max_rank)
        while True:
            krylov.extend(rank)
            factor = krylov.factor(PRECISION[self.matrix.dtype])
            found, blocks = Sandwich(factor, bound_of_rest(self.times, factor), self.own).bounds(
                c, CLOSENESS * tolerance, blocks
            )
            if rank >= min(size, max_rank) or found.upper - found.lower <= tolerance * found.value:
                return NetworkEnclosure(*found.times(self.unit), min(rank, size))
            rank = min(2 * rank, max_rank)
