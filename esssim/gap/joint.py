"""One smooth prediction along the batch size: every formula and every exact value, joined by their errors.

y(x) = log(gap/c) against x = −log c is nearly straight: its slope is 1 − α, between 0 (perturbation theory) and ½ (a
degenerate top eigenvalue). Its prior is Gaussian around such a line. A formula m gives y + δ_m, δ_m Gaussian with the
formula's relative error for a standard deviation, and correlated along b, so that exact values at b = 1, 2 and n − 1
correct it in between. Posterior: linear algebra on some forty numbers (kriging; Rasmussen & Williams, Gaussian
Processes for Machine Learning, 2006, 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gap.cluster import crossover_at
from esssim.gap.exact import exact_at
from esssim.gap.perturbation import fluctuation, third_order_at
from esssim.gap.random_matrix import additive_noise_at, marchenko_pastur_at, spike_at
from esssim.gap.results import Prediction
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling

JOINED: tuple[Callable[[Setting], Prediction], ...] = (
    exact_at, third_order_at, crossover_at, marchenko_pastur_at, spike_at, additive_noise_at,
)  # fmt: skip
# Chosen on problems other than those that the tables and the figure report: seeds from 10,000 on.
SLOPE, DEVIATION, LENGTH = 0.2, 0.8, 4.0
ERROR_LENGTH, LEAST_ERROR, OWN_ERROR = 4.0, 0.01, 0.2
ERROR_IN_DEVIATIONS = 2.0
# Beyond this standard deviation of log gap there is no prediction.
LARGEST_DEVIATION = 0.5
# The level of y is free: its variance is as good as infinite.
FREE = 100.0
N_SIZES = 14


@one_blas_thread()
def joint(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """The gap by all formulas and exact values along the batch size, joined by their errors: smooth in b.

    log(gap/c) is a Gaussian process in −log c, prior slope 0.2; each formula observes it, at 14 batch sizes that do not
    depend on b, with its relative error as the standard deviation, correlated along b; exact values have none. value:
    the posterior mean. error: value·(e^{2s} − 1), s the posterior standard deviation of the logarithm, which is in
    `details`; refused where s > ½. theta: (p,). Raises ValueError for bad arguments.
    Source: kriging of several sources, Kennedy & O'Hagan, Biometrika 2000.
    """
    return joint_at(Setting.of(problem, theta, sampling))


def joint_at(s: Setting) -> Prediction:
    """`joint` of a setting."""
    return Joint.of(s).at(s)


@dataclass(frozen=True)
class Joint:
    """log(gap/c) at −log c, with a relative error, by the formula of this number in `JOINED` (0: exact), each (k,)."""

    x: FloatArray
    y: FloatArray
    error: FloatArray
    formula: npt.NDArray[np.int64]
    largest: int

    @classmethod
    def of(cls, s: Setting) -> Joint:
        """What the formulas say along the batch size."""
        return cls._observe(s, sizes(s))

    @classmethod
    def _observe(cls, s: Setting, batch_sizes: Sequence[int]) -> Joint:
        rows, at = [], s
        for b in batch_sizes:
            # One after the other: each keeps what those before it computed.
            at = at.at(b)
            for number, formula in enumerate(JOINED):
                found = formula(at)
                if found.valid and found.error < found.value:
                    level = math.log(found.value / s.unit / at.c)
                    rows.append((-math.log(at.c), level, found.error / found.value, number))
        x, y, error, formulas = np.array(rows).reshape(-1, 4).T
        return cls(x, y, error, formulas.astype(np.int64), max(batch_sizes, default=0))

    def at(self, s: Setting) -> Prediction:
        """The prediction at the batch size of s; what the formulas say there counts too beyond the largest size."""
        if s.c == 0.0 or s.p == 1:
            return s.predicted("joint", 0.0, 0.0, "one parameter, or the full batch: no gap")
        seen = self if s.b <= self.largest else self.and_also(Joint._observe(s, [s.b]))
        if not len(seen.x):
            return Prediction.refused("joint", "needs a formula that is valid at some batch size")
        level, deviation = seen.posterior(-math.log(s.c))
        if deviation > LARGEST_DEVIATION:
            return Prediction.refused(
                "joint",
                f"needs a deviation of log gap of at most {LARGEST_DEVIATION:g}, it is {deviation:.3g}",
            )
        value, exact = s.c * math.exp(level), int((seen.formula == 0).sum())
        reason = f"{exact} exact values and {len(seen.x) - exact} of formulas along the batch size"
        error = value * math.expm1(ERROR_IN_DEVIATIONS * deviation)
        return s.predicted("joint", value, error, reason, log_deviation=deviation)

    def and_also(self, other: Joint) -> Joint:
        """Both sets of observations."""
        return Joint(
            np.concatenate((self.x, other.x)),
            np.concatenate((self.y, other.y)),
            np.concatenate((self.error, other.error)),
            np.concatenate((self.formula, other.formula)),
            max(self.largest, other.largest),
        )

    def posterior(self, x: float) -> tuple[float, float]:
        """Mean and standard deviation of y(x)."""
        exact = self.formula == 0
        scale = np.where(exact, 0.0, np.maximum(self.error, LEAST_ERROR))
        distance = np.abs(self.x[:, None] - self.x)
        prior = FREE + DEVIATION**2 * _matern_five(distance / LENGTH)
        same = self.formula[:, None] == self.formula
        noise = np.where(same, scale[:, None] * scale * _matern_three(distance / ERROR_LENGTH), 0.0)
        noise[np.diag_indices_from(noise)] += np.where(exact, self.error**2 + 1e-8, (OWN_ERROR * scale) ** 2 + 1e-6)
        towards = FREE + DEVIATION**2 * _matern_five(np.abs(self.x - x) / LENGTH)
        weights = np.linalg.solve(prior + noise, np.stack((self.y - SLOPE * self.x, towards), axis=1))
        mean, explained = towards @ weights
        return SLOPE * x + float(mean), math.sqrt(max(FREE + DEVIATION**2 - float(explained), 0.0))


def sizes(s: Setting) -> list[int]:
    """Batch sizes at even steps of log c, from b = 1 to n − 1; with replacement to a fluctuation of a hundredth."""
    n = s.n
    if not s.with_replacement:
        coefficients = np.exp(np.linspace(0.0, -2 * math.log(max(n - 1, 2)), N_SIZES))
        found = {round(n / (1 + c * (n - 1))) for c in coefficients} | {1, 2, n - 1}
        return sorted(b for b in found if 1 <= b < n)
    fluctuations = fluctuation(s.at(1))
    last = min(max((fluctuations / 0.1) ** 2, 8.0), 2.0**14) if math.isfinite(fluctuations) else 2.0**10
    return sorted({round(b) for b in np.geomspace(1.0, last, N_SIZES - 2)} | {2, round(100 * last)})


def _matern_five(distance: FloatArray) -> FloatArray:
    scaled = math.sqrt(5) * distance
    return np.asarray((1 + scaled + scaled**2 / 3) * np.exp(-scaled))


def _matern_three(distance: FloatArray) -> FloatArray:
    scaled = math.sqrt(3) * distance
    return np.asarray((1 + scaled) * np.exp(-scaled))
