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
from esssim.bridge.gram.accumulate import gram
from esssim.bridge.gram.matrix import Gram, Kernel, rows_at
from esssim.bridge.gram.products import MOST, kernel_of
from esssim.bridge.problem import TorchProblem
from esssim.sampling import Sampling, check_sampling

# Samples on which the time of K is first measured, the share of the seconds that K may take, and the fewest samples.
TIMED, SHARE, FEWEST = 16, 0.5, 4
# Samples on which rounding is measured.
ROUNDED = 32


class NetworkEnclosure(NamedTuple):
    """Q_b of the n_samples samples that were taken, in [lower, upper], on `rank` leading directions.

    standard_error: of the value as that of all samples, of which those were drawn; 0 where they are all.
    failure_probability: at most, of `upper`, over random start vectors. rounding: how far float32 moves products with
    K, relatively, on up to 32 samples, against float64; it is not in the interval.
    """

    value: float
    lower: float
    upper: float
    standard_error: float
    n_samples: int
    rank: int
    failure_probability: float
    rounding: float


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

    From K = AAᵀ, A = rows of all samples, layer by layer without A: held as a matrix of at most 20,000 rows n·c, or by
    its products, 200,000, whichever is faster. With FFᵀ ≼ K ≼ FFᵀ + τI from block Krylov, Q_b(FFᵀ) ≤ Q_b ≤
    Q_b(FFᵀ + τI); the rank of F is doubled until these differ by `tolerance` of the value, up to max_rank. Each rank's
    τ fails with probability 1e-9 over random vectors.

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
    kernel = kernel_of(rows)
    lost = rounding(problem, point, where, chosen, kernel)
    found = kernel.mean_square_sharpness(sampling.variance_coefficient(n), tolerance, max_rank, deadline)
    error = standard_error(found.influence, n)
    return NetworkEnclosure(*found.enclosure, error, len(rows.x), found.rank, found.failure_probability, lost)


def standard_error(influence: FloatArray, n_train: int) -> float:
    """Of a statistic of m samples drawn from n_train without replacement, by their influences (m,) on it."""
    m = len(influence)
    if m == n_train:
        return 0.0
    return math.inf if m == 1 else float(np.sqrt((influence**2).sum() / (m * (m - 1)) * (1 - m / n_train)))


def rounding(
    problem: TorchProblem, theta: FloatArray, device: torch.device, samples: torch.Tensor | None, kernel: Kernel
) -> float:
    """‖(K̃ − K)g‖/‖Kg‖ in the rows of a few of these samples, g normal there and 0 beside: K̃ is the kernel's, K that of
    the same θ in float64.
    """
    if kernel.dtype == torch.float64 or not kernel.own.any():
        return 0.0
    rng, few = np.random.default_rng(2), min(ROUNDED, kernel.n_samples)
    some = np.sort(rng.permutation(kernel.n_samples)[:few])
    rows = (some[:, None] * kernel.n_rows + np.arange(kernel.n_rows)).ravel()
    vector = np.zeros((1, kernel.size))
    vector[0, rows] = rng.standard_normal(len(rows))
    own = torch.as_tensor(some) if samples is None else samples[torch.as_tensor(some)]
    exact = gram(rows_at(problem, theta, device, own, torch.float64)).cpu().numpy() / kernel.unit @ vector[0, rows]
    return float(np.linalg.norm(kernel.times(vector)[0, rows] - exact) / np.linalg.norm(exact))


def _affordable(problem: TorchProblem, theta: FloatArray, device: torch.device, order: Any, deadline: float) -> int:
    """How many of these samples have a kernel in a share of the time that is left: a matrix grows as their square."""
    size, (taken, power) = min(TIMED, len(order)), (math.inf, 2)
    for _ in range(2):  # the first time is longer
        taken, power = _seconds(problem, theta, device, order[:size])
    while 4 * size <= len(order) and 4**power * taken <= SHARE * (deadline - time.perf_counter()):
        size *= 4
        taken, power = _seconds(problem, theta, device, order[:size])
    left = SHARE * (deadline - time.perf_counter())
    count = int(size * (max(left, 0.0) / taken) ** (1 / power))
    if count < min(FEWEST, len(order)):
        raise ValueError(
            f"seconds must be more for a Gram matrix of {FEWEST} samples, as {size} take {taken:.2g} s here and "
            f"{max(left, 0.0):.2g} s are left for it: give n_samples in place of seconds"
        )
    return min(count, MOST // problem.n_outputs, len(order))


def _seconds(problem: TorchProblem, theta: FloatArray, device: torch.device, samples: Any) -> tuple[float, int]:
    """Of the kernel of some samples, with the products that a first rank takes, and the power of n that they grow
    with.
    """
    began = time.perf_counter()
    kernel = kernel_of(rows_at(problem, theta, device, torch.as_tensor(samples)))
    built = time.perf_counter()
    if isinstance(kernel, Gram):
        return built - began, 2
    kernel.times(np.ones((1, kernel.size)))
    return built - began + (kernel.first_rank + kernel.steps) * (time.perf_counter() - built), 1


def _device(device: Any) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be one of torch, got {_validate.shown(device)}") from error
