"""`mean_square_enclosure`: the mean-square sharpness of a network from its Gram matrix, with an error."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np
import torch

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.gram.matrix import Gram, rows_at
from esssim.bridge.problem import TorchProblem
from esssim.sampling import Sampling, check_sampling

# Rows n·c of the largest K: 1.6 GB in float32.
LARGEST = 20_000
# Samples on which the time of K is first measured, the share of the seconds that K may take, and the fewest samples.
TIMED, SHARE, FEWEST = 16, 0.5, 4


class NetworkEnclosure(NamedTuple):
    """Q_b of the n_samples samples that were taken, in [lower, upper], on `rank` leading directions.

    standard_error: of the value as that of all samples, of which those were drawn; 0 where they are all.
    """

    value: float
    lower: float
    upper: float
    standard_error: float
    n_samples: int
    rank: int


@one_blas_thread()
def mean_square_enclosure(
    problem: TorchProblem,
    theta: Any,
    sampling: Sampling,
    *,
    tolerance: float = 0.01,
    n_samples: int | None = None,
    seconds: float | None = None,
    max_rank: int = 2048,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> NetworkEnclosure:
    """Q_b with Gauss–Newton blocks JᵢᵀSᵢJᵢ of a network of any size, and an interval that contains it.

    From K = AAᵀ, A = rows of all samples, accumulated layer by layer without A: at most 20,000 rows n·c. With
    FFᵀ ≼ K ≼ FFᵀ + τI from block Krylov, Q_b(FFᵀ) ≤ Q_b ≤ Q_b(FFᵀ + τI); the rank of F is doubled until these differ
    by `tolerance` of the value, up to max_rank. The upper bound fails with probability 1e-9 over the random start;
    rounding in float32, about 1e-5, is not in the interval.

    theta: (p,), a module or a state dict. n_samples: how many to draw from `seed` (default: all), for batches of all
    samples nevertheless. seconds: takes as many as that allows, about. device: for the network and K. Raises
    ValueError. Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850; esssim.statistics.bounded_perron.
    """
    began = time.perf_counter()
    _validate.instance("problem", problem, TorchProblem, "TorchProblem(module, inputs, targets)")
    n, where = problem.n_samples, _device(device)
    check_sampling(sampling, n)
    _validate.real("tolerance", tolerance, above=0.0, below=1.0)
    _validate.integer("max_rank", max_rank, 1)
    point = problem.check_point(theta)
    order = np.random.default_rng(_validate.integer("seed", seed, 0)).permutation(n)
    if n_samples is not None:
        order = order[: _validate.integer("n_samples", n_samples, 1, n, "those of the problem")]
    deadline = math.inf
    if seconds is not None:
        deadline = began + _validate.real("seconds", seconds, above=0.0)
        order = order[: _affordable(problem, point, where, order, deadline)]
    chosen = None if len(order) == n else torch.as_tensor(np.sort(order))
    rows = rows_at(problem, point, where, chosen)
    if rows.count > LARGEST:
        raise ValueError(
            f"n_samples must be at most {LARGEST // rows.covectors.shape[2]:,}, as the Gram matrix of {LARGEST:,} rows "
            f"n_samples·n_outputs is held at most, got {len(rows.x):,}"
        )
    found = Gram.of(rows).mean_square_sharpness(sampling.variance_coefficient(n), tolerance, max_rank, deadline)
    return NetworkEnclosure(*found.enclosure, standard_error(found.influence, n), len(rows.x), found.rank)


def standard_error(influence: FloatArray, n_train: int) -> float:
    """Of a statistic of m samples drawn from n_train without replacement, by their influences (m,) on it."""
    m = len(influence)
    if m == n_train:
        return 0.0
    return math.inf if m == 1 else float(np.sqrt((influence**2).sum() / (m * (m - 1)) * (1 - m / n_train)))


def _affordable(problem: TorchProblem, theta: FloatArray, device: torch.device, order: Any, deadline: float) -> int:
    """How many of these samples have a Gram matrix in a share of the time that is left: at worst it grows as their
    square.
    """
    size, taken = min(TIMED, len(order)), math.inf
    for _ in range(2):  # the first time is longer
        taken = _seconds(problem, theta, device, order[:size])
    while 4 * size <= len(order) and 16 * taken <= SHARE * (deadline - time.perf_counter()):
        size *= 4
        taken = _seconds(problem, theta, device, order[:size])
    left = SHARE * (deadline - time.perf_counter())
    count = int(size * math.sqrt(max(left, 0.0) / taken))
    if count < min(FEWEST, len(order)):
        raise ValueError(
            f"seconds must be more for a Gram matrix of {FEWEST} samples, as {size} take {taken:.2g} s here and "
            f"{max(left, 0.0):.2g} s are left for it: give n_samples in place of seconds"
        )
    return min(count, LARGEST // problem.n_outputs, len(order))


def _seconds(problem: TorchProblem, theta: FloatArray, device: torch.device, samples: Any) -> float:
    began = time.perf_counter()
    Gram.of(rows_at(problem, theta, device, torch.as_tensor(samples)))
    return time.perf_counter() - began


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be one of torch, got {_validate.shown(device)}") from error
