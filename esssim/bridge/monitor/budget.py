"""What a measurement costs, and how much of it a share of the training time pays for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from esssim._validate import FloatArray
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.monitor.enclosure import by_gram_matrix, gram_mean_square_sharpness
from esssim.bridge.problem import TorchProblem
from esssim.sampling import Sampling
from esssim.statistics.table import MEAN_SQUARE

# Products with a Hessian, or losses in units of them, that a statistic takes about: before it was ever measured.
PRODUCTS = {
    "loss": 1.0,
    "gradient_norm": 1.5,
    "sharpness": 40.0,
    "critical_sharpness": 40.0,
    "gradient_noise_interaction": 2.0,
}
OF_BATCHES, OF_LOSSES, OF_GRADIENTS = 40.0, 20.0, 0.4
# The mean-square sharpness is timed on a part of the samples; its seconds grow with a power of their number.
PART, POWER = 4, 1.5
# Batches and directions of a smaller measurement, as fractions, and the fewest.
FRACTIONS = (1.0, 0.5, 0.25, 0.125)
FEWEST_BATCHES, FEWEST_DIRECTIONS = 4, 8
# How much longer than forecast a first measurement may take, and a later one than those before.
FORECAST_ERROR, LATER_ERROR = 3.0, 1.5


@dataclass(frozen=True)
class Effort:
    """How many batches are drawn and directions taken, and what fraction of the full measurement that is."""

    n_batches: int
    rank: int
    fraction: float = 1.0


def efforts(n_batches: int, rank: int) -> list[Effort]:
    """From the full measurement down."""
    return [
        Effort(max(int(n_batches * part), min(n_batches, FEWEST_BATCHES)),
            max(int(rank * part), min(rank, FEWEST_DIRECTIONS)), part)
        for part in FRACTIONS
    ]  # fmt: skip


@dataclass
class Clock:
    """Seconds of the training and of what was measured in it; share: what may be spent, None for any amount.

    fixed and scaled: the seconds of one full measurement that do not depend on the effort, and that grow with it.
    """

    share: float | None
    fixed: float = 0.0
    scaled: float = 0.0
    spent: float = 0.0
    skipped: int = 0
    measured: int = 0
    started: float = field(default_factory=lambda: time.perf_counter())

    @property
    def trained(self) -> float:
        """Seconds since the start that were not spent on measurements."""
        return time.perf_counter() - self.started - self.spent

    def seconds(self, effort: Effort) -> float:
        """What a measurement of that effort takes, about."""
        return self.fixed + self.scaled * effort.fraction

    def safe_seconds(self, effort: Effort) -> float:
        """The same, and more before the first measurement, when it is a forecast."""
        return self.seconds(effort) * (1.0 if self.measured else FORECAST_ERROR)

    def most_seconds(self, effort: Effort) -> float:
        """What it takes at most, as far as one can know."""
        return self.seconds(effort) * (LATER_ERROR if self.measured else FORECAST_ERROR)

    def affordable(self, levels: list[Effort], interval: float) -> Effort | None:
        """The largest effort that the share of `interval` seconds of training pays for, once it has been saved up.

        None where not even the smallest one is paid for yet.
        """
        if self.share is None:
            return levels[0]
        wanted = next((level for level in levels if self.safe_seconds(level) <= self.share * interval), levels[-1])
        if self.spent + self.most_seconds(wanted) <= self.share * self.trained:
            return wanted
        self.skipped += 1
        return None


def first_costs(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, record: Iterable[str], effort: Effort
) -> dict[str, float]:
    """Seconds of each statistic, from the time of one Hessian product with all samples and one with the batches, and of
    the mean-square sharpness of a quarter of the samples.
    """
    n = problem.n_samples
    curvature, rng = TorchCurvature(problem, theta), np.random.default_rng(0)
    count = min(effort.n_batches, sampling.count(n))
    full = _timed(curvature, np.arange(n)[None], rng)
    batches = _timed(curvature, rng.integers(0, n, (count, sampling.batch_size)), rng)
    costs = {}
    for name in record:
        if name == MEAN_SQUARE:
            by_gram = by_gram_matrix(problem)
            costs[name] = _of_a_part(problem, theta, sampling, effort) if by_gram else 2.5 * effort.rank * full
        elif name in PRODUCTS:
            costs[name] = PRODUCTS[name] * full
        elif name == "minibatch_sharpness" or name.startswith("minibatch_eigenvalue"):
            costs[name] = OF_BATCHES * batches
        elif name == "minibatch_critical_sharpness":
            costs[name] = OF_LOSSES * batches
        else:
            costs[name] = OF_GRADIENTS * (batches + count * full)
    return costs


def _of_a_part(problem: TorchProblem, theta: FloatArray, sampling: Sampling, effort: Effort) -> float:
    n = problem.n_samples
    part = np.linspace(0, n - 1, -(-n // PART)).astype(np.int64)
    began = time.perf_counter()
    # What is refused here is refused in the measurement, which records NaN and says why.
    with contextlib.suppress(ValueError, RuntimeError, MemoryError):
        gram_mean_square_sharpness(problem, theta, sampling.variance_coefficient(n), effort.rank, part)
    return (time.perf_counter() - began) * float(n / len(part)) ** POWER


def _timed(curvature: TorchCurvature, batches: np.ndarray, rng: np.random.Generator) -> float:
    vectors = rng.standard_normal((len(batches), curvature.n_params))
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        curvature.bound(batches)(vectors)
        seconds.append(time.perf_counter() - began)
    return min(seconds)
