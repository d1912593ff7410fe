"""Bounds on the gap from a sample of batches: they hold with a stated probability, whatever the law of a batch.

X_B = λ_max(H_B) − v₁ᵀH_Bv₁ is never negative, has the gap for its mean, and varies far less than λ_max(H_B) where the
gap is small. A bet λ(X − m), staked before X is seen, leaves a gambler with K = Π (1 + λ_i(X_i − m)) ≥ 0 of mean at
most 1 where m ≥ E X: by Markov's inequality K ≥ 1/δ has probability at most δ, and every m with such a K is below E X.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.gap.bounds import bounds_at
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling, WithoutReplacement
from esssim.spectra import largest_eigenvalues, prepare
from esssim.statistics import Estimate

# Of what a bet can lose at most, m: a gambler who stakes all may be left with nothing.
LARGEST_STAKE = 0.75


@dataclass(frozen=True)
class ConfidenceBounds:
    """lower ≤ M_b − λ_max(H) ≤ upper with probability `level` at least, over the n_batches that were drawn.

    mean: the estimate of the gap; standard_error: its own. Never mixed with `Bounds`, which hold always.
    """

    lower: float
    upper: float
    level: float
    n_batches: int
    mean: float
    standard_error: float


@one_blas_thread()
def confidence_bounds(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    n_batches: int = 2000,
    level: float = 0.99,
    seed: int = 0,
) -> ConfidenceBounds:
    """Lower and upper bounds on the gap M_b − λ_max(H) that hold together with probability `level`, at any n and b.

    From n_batches independent batches: a betting bound on the mean of X_B = λ_max(H_B) − v₁ᵀH_Bv₁ ≥ 0 from below, and
    of U − X_B ≥ 0 from above, U a bound on all X_B. No assumption on the law of X_B, no limit of many batches. The
    bounds of `bounds`, which always hold, are kept: the result is never wider. theta: (p,). Raises ValueError for bad
    arguments. Source: Waudby-Smith & Ramdas, J. R. Stat. Soc. B 2024.
    """
    n_batches = _validate.integer("n_batches", n_batches, 2)
    level = _validate.real("level", level, above=0.0, below=1.0)
    seed = _validate.integer("seed", seed, 0)
    s = Setting.of(problem, theta, sampling)
    found = sampled_gaps(s, n_batches, seed)
    always = tuple(bound / s.unit for bound in bounds_at(s).gap)
    largest = _largest(s)
    failure = (1 - level) / 2
    lower = mean_above(np.maximum(found - s.rounding, 0.0), failure, always[1])
    upper = largest - mean_above(np.maximum(largest - found - s.rounding, 0.0), failure, always[1])
    mean = _mean_of(found, s.unit)
    return ConfidenceBounds(
        max(lower - s.rounding, always[0]) * s.unit, min(upper + s.rounding, always[1]) * s.unit, level, n_batches,
        mean.value, mean.standard_error,
    )  # fmt: skip


def sampled_gap(s: Setting, n_batches: int, seed: int) -> Estimate:
    """The gap as the mean of X_B over n_batches independent batches."""
    return _mean_of(sampled_gaps(s, n_batches, seed), s.unit)


def _mean_of(found: FloatArray, unit: float) -> Estimate:
    error = float(found.std(ddof=1)) / math.sqrt(len(found))
    return Estimate(float(found.mean()) * unit, error * unit, len(found), False)


def sampled_gaps(s: Setting, n_batches: int, seed: int) -> FloatArray:
    """X_B of n_batches independent batches, (n_batches,), in units of s.unit."""
    # The batches of an epoch depend on each other; one of them has the law of a draw without replacement.
    scheme = s.sampling if s.with_replacement else WithoutReplacement(s.b)
    return gaps_of(s, scheme.draw(s.n, n_batches, np.random.default_rng(seed)))


def gaps_of(s: Setting, batches: IntArray) -> FloatArray:
    """X_B of each batch, (m,), in units of s.unit."""
    along = s.top_deviations[:, 0] + s.sharpness
    return largest_eigenvalues(prepare(s.curvature, s.b, len(batches)), batches) - along[batches].mean(axis=1)


def _largest(s: Setting) -> float:
    """U: λ_max(H_B) is at most the mean over B of the λ_max(Hᵢ), v₁ᵀH_Bv₁ the mean of the v₁ᵀHᵢv₁."""
    tops, along = np.sort(s.sample_sharpness)[::-1], np.sort(s.top_deviations[:, 0]) + s.sharpness
    k = 1 if s.with_replacement else s.b
    return float(tops[:k].mean() - along[:k].mean()) + 4 * s.rounding


def mean_above(values: FloatArray, failure: float, spread: float) -> float:
    """A number that is below the mean of non-negative independent `values` but for a probability of `failure`.

    The bets are √(2 log(1/δ)/(kσ̂²)) of the variance so far, which starts from `spread`², and at most ¾ of 1/m.
    """
    k, target = len(values), math.log(1 / failure)
    scale = float(values.max())
    if scale <= 0.0 or spread <= 0.0:
        return 0.0
    counts = np.arange(1, k + 1)
    means = np.cumsum(values) / counts
    squares = np.cumsum((values - means) ** 2)
    before = (spread**2 + np.concatenate(([0.0], squares[:-1]))) / counts
    bets = np.sqrt(2 * target / (k * before))

    def surplus(m: float) -> float:
        return float(np.log1p(np.minimum(bets, LARGEST_STAKE / m) * (values - m)).sum()) - target

    # Each factor falls with m, and at the largest value none is above 1.
    least = 1e-9 * scale
    return float(brentq(surplus, least, scale, rtol=1e-9)) * (1 - 1e-8) if surplus(least) > 0 else 0.0
