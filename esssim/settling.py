"""Where a statistic settles: the mean of a correlated series, with an interval, or a refusal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray
from scipy.linalg import norm

from esssim import _validate
from esssim._intervals import student_quantile
from esssim._validate import FloatArray

MINIMUM_ESS = 100.0
# Below this many replicas their common trend cannot be told from their noise.
REPLICAS_FOR_TREND = 4
N_WINDOWS = 3

SettlingVerdict = Literal["settles", "below", "above", "inconclusive"]


@dataclass(frozen=True)
class Level:
    """The level of (η/2)·statistic: 1 is the edge.

    value, interval (95 %), ess (effective sample size), verdict, `drift` (spread of the means of three consecutive
    windows), n_replicas that were averaged, n_diverged that were left out, reason for the verdict in words.
    """

    value: float
    interval: tuple[float, float]
    ess: float
    verdict: SettlingVerdict
    drift: float
    n_replicas: int
    n_diverged: int
    reason: str


def level(
    trace: xarray.Dataset,
    statistic: str,
    *,
    after: int | float = 0,
    tolerance: float = 0.05,
    target: float = 1.0,
    alike: bool = True,
) -> Level:
    """Does (η/2)·statistic settle at `target` after step `after`?

    Averages over the records with step ≥ after and over the replicas that never diverged. The interval is a Student-t
    one of the mean with the standard error of the larger of (a) sd/√ess, (b) the spread of the replicas' own means.
    With 4 replicas or more, the trend that they share (their mean at each record) is not noise: it is removed before
    the effective sample size is estimated, and reported as `drift`. alike=False is for replicas that need not agree in
    the long run (initialisations that lead to solutions of their own): the effective sample size is then the sum of each
    replica's own, and (b) always counts, from 3 replicas on.

    Verdict: "settles" if the interval and all three windows' means lie within target ± tolerance and the means differ
    by no more than the tolerance; "below"/"above" if the interval lies outside; else "inconclusive", as always when the
    effective sample size is under 100 or most replicas diverged. Raises
    ValueError for a Dataset that `simulate` did not return, a statistic that was not recorded, fewer than 6 records and
    non-finite entries. Source: Vehtari et al. 2021 (effective sample size), through arviz-stats.
    """
    _validate.instance("trace", trace, xarray.Dataset, "simulate returns")
    missing = [name for name in ("step", "step_size", "diverged_at") if name not in trace.variables]
    if missing:
        raise ValueError(f"trace must be what simulate returns, got a Dataset without {', '.join(missing)}")
    names = tuple(str(name) for name, variable in trace.items() if set(variable.dims) == {"replica", "record"})
    if not names:
        raise ValueError(f"trace must have a recorded statistic, got none (asked for {_validate.shown(statistic)})")
    _validate.choice("statistic", statistic, names)
    tolerance = _validate.real("tolerance", tolerance, above=0.0)
    target = _validate.real("target", target)
    after = _validate.real("after", after, at_least=0.0)
    window = trace.isel(record=np.flatnonzero(trace["step"].values >= after))
    if window.sizes["record"] < 2 * N_WINDOWS:
        raise ValueError(
            f"after must leave at least {2 * N_WINDOWS} records, got {after:g}, which leaves {window.sizes['record']}"
        )
    survived = window["diverged_at"].values < 0
    n_diverged = int((~survived).sum())
    if n_diverged > survived.sum():
        nothing = (float("nan"), float("nan"))
        words = f"{n_diverged} of {len(survived)} replicas diverged" if survived.any() else "every replica diverged"
        return Level(float("nan"), nothing, 0.0, "inconclusive", float("nan"), 0, n_diverged, words)
    series = (window[statistic] * window["step_size"] / 2).transpose("replica", "record").values[survived]
    undefined = np.count_nonzero(~np.isfinite(series))
    if undefined:
        raise ValueError(
            f"statistic {statistic!r} must be finite from step {after:g} on, got {undefined} undefined records"
        )
    return summarise(series, tolerance, target, n_diverged, _validate.flag("alike", alike))


def summarise(series: FloatArray, tolerance: float, target: float, n_diverged: int = 0, alike: bool = True) -> Level:
    """The `Level` of a (replica, record) array."""
    n_replicas, n_records = series.shape
    value = float(series.mean())
    ess = effective_sample_size(series) if alike else sum(effective_sample_size(run[None]) for run in series)
    windows = [float(part.mean()) for part in np.array_split(series, N_WINDOWS, axis=1)]
    drift = max(windows) - min(windows)
    residual = _without_trend(series)
    # The trend takes one degree of freedom per record, the overall mean takes one.
    freedom = series.size - (n_records if n_replicas >= REPLICAS_FOR_TREND else 1)
    standard_error = _length(residual) / math.sqrt(freedom * ess) if ess > 0 else math.inf
    degrees = max(ess - 1.0, 1.0)
    if n_replicas >= (REPLICAS_FOR_TREND if alike else 3):
        means = series.mean(axis=1)
        between = _length(means - means.mean()) / math.sqrt((n_replicas - 1) * n_replicas)
        if between > standard_error:
            standard_error, degrees = between, n_replicas - 1.0
    half = student_quantile(degrees) * standard_error
    interval = (value - half, value + half)
    verdict, reason = _verdict(interval, windows, drift, ess, tolerance, target)
    return Level(value, interval, ess, verdict, drift, n_replicas, n_diverged, reason)


def effective_sample_size(series: FloatArray) -> float:
    """Effective number of independent draws in a (replica, record) array without its common trend; at most its size."""
    from arviz_stats.base.array import array_stats

    residual = _without_trend(series)
    # A constant series (full batch, no noise) has no error to estimate: every record counts.
    if np.ptp(residual) <= 1e-12 * np.abs(series).max():
        return float(series.size)
    # In units of its own size: arviz-stats takes what moves by less than 1e-15 for a constant.
    ess = float(array_stats.ess(residual / np.abs(residual).max(), chain_axis=0, draw_axis=1, method="mean"))
    return min(ess, float(series.size)) if np.isfinite(ess) else 0.0


def _length(deviations: FloatArray) -> float:
    """The root of the sum of squares, none of which overflows: a run that is about to diverge is large."""
    return float(norm(deviations.ravel()))


def _without_trend(series: FloatArray) -> FloatArray:
    return np.asarray(series - (series.mean(axis=0) if len(series) >= REPLICAS_FOR_TREND else series.mean()))


def _verdict(
    interval: tuple[float, float], windows: list[float], drift: float, ess: float, tolerance: float, target: float
) -> tuple[SettlingVerdict, str]:
    low, high = target - tolerance, target + tolerance
    if ess < MINIMUM_ESS:
        return "inconclusive", f"{ess:.0f} effective samples, {MINIMUM_ESS:.0f} are needed"
    if interval[1] < low:
        return "below", f"the interval ends below {low:.3g}"
    if interval[0] > high:
        return "above", f"the interval begins above {high:.3g}"
    if interval[0] < low or interval[1] > high:
        return "inconclusive", f"the interval crosses the border of {target:g} ± {tolerance:g}"
    if min(windows) < low or max(windows) > high or drift > tolerance:
        return "inconclusive", f"it drifts from {windows[0]:.3g} to {windows[-1]:.3g} over the window"
    return "settles", f"interval and windows lie within {target:g} ± {tolerance:g}"
