"""What was measured over what is expected, with its interval, and the verdict on it."""

from __future__ import annotations

import math
from collections.abc import Collection

from esssim._intervals import half_width
from esssim._validate import FloatArray
from esssim.claims.claim import Outcome
from esssim.statistics.table import MEAN_SQUARE


def ratio_of(levels: FloatArray, predicted: float, error: float = 0.0) -> tuple[float, float, float]:
    """The mean of independent runs over the prediction, of a relative standard error, with the ends of its 95 %
    interval.
    """
    value = float(levels.mean()) / predicted
    half = math.hypot(float(half_width(levels)) / predicted, 2.0 * value * error)
    return value, value - half, value + half


def ratio_key(statistic: str) -> str:
    """The key of this ratio in results: runs and flow have Gauss–Newton Hessians throughout, and the key does not say
    so.
    """
    return "mean_square_sharpness_ratio" if statistic == MEAN_SQUARE else f"{statistic}_ratio"


def verdict_of(lower: float, upper: float, low: float, high: float) -> Outcome:
    """Whether what lies in the interval [lower, upper] is known to be in [low, high], or not to be."""
    if low <= lower and upper <= high:
        return "holds"
    return "refuted" if upper < low or lower > high else "inconclusive"


def all_of(
    ratios: Collection[tuple[float, float, float]], tolerance: float
) -> tuple[Outcome, tuple[float, float, float]]:
    """Whether all of them are 1 within the tolerance, and the one farthest from 1."""
    verdicts = {verdict_of(low, high, 1 - tolerance, 1 + tolerance) for _, low, high in ratios}
    verdict: Outcome = "refuted" if "refuted" in verdicts else "inconclusive" if len(verdicts) > 1 else verdicts.pop()
    return verdict, max(ratios, key=lambda ratio: abs(ratio[0] - 1))
