"""Where a statistic settles: the mean of a correlated series, with an interval, or a refusal."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray
from scipy.linalg import norm

from esssim import _validate
from esssim._intervals import student_quantile
from esssim._phases import PERIODS_OF_DESCENT, mean_over_phases, missed_period, possible_periods
from esssim._validate import FloatArray, IntArray

MINIMUM_ESS = 100.0
# A sample size as small as this is an estimate of no worth: the interval is then that of two values.
FEW = 10.0
# Below this many replicas their common trend cannot be separated from their noise.
REPLICAS_FOR_TREND = 4
N_WINDOWS = 3
# R-hat, and the spread of two or three means in units of their own standard errors, of replicas that do not agree.
DISAGREEING_R_HAT = 1.1
DISAGREEING = 2.0

SettlingVerdict = Literal["settles", "below", "above", "inconclusive"]


@dataclass(frozen=True)
class Level:
    """The level of (η/2)·statistic: 1 is the edge.

    value, interval (95 %), ess (effective sample size), verdict, `drift` (spread of the means of three consecutive
    windows), n_replicas that were averaged, n_diverged that were left out, reason for the verdict in words; period, the
    steps after which the run may repeat itself, where the records see that period in part only.
    """

    value: float
    interval: tuple[float, float]
    ess: float
    verdict: SettlingVerdict
    drift: float
    n_replicas: int
    n_diverged: int
    reason: str
    period: int | None = None


def level(
    trace: xarray.Dataset,
    statistic: str,
    *,
    after: int | float = 0,
    tolerance: float = 0.05,
    target: float = 1.0,
    replicas_agree: bool = True,
) -> Level:
    """Does (η/2)·statistic settle at `target` after step `after`?

    Averages over the records with step ≥ after and over the replicas that never diverged, with a 95 % Student-t
    interval at the effective sample size of the records. replicas_agree=False is for replicas whose levels may differ
    for ever, such as initialisations that lead to different solutions.

    Verdict: "settles" if the interval and the means of the first, middle and last third of the records lie within
    target ± tolerance and these means differ by no more than the tolerance; "below"/"above" if the whole interval lies
    outside; else "inconclusive". Always "inconclusive" where the effective sample size is under 100, more replicas
    diverged than not, or the records see only some phases of an oscillation.
    Raises ValueError for a Dataset that `simulate` did not return, a statistic that was not recorded, fewer than 6
    records and non-finite entries. Details: docs/settling.md. Source: Vehtari et al. 2021 (effective sample size),
    through arviz-stats.
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
    periods = _possible_periods(window)
    found = summarise(
        series, tolerance, target, n_diverged, _validate.flag("replicas_agree", replicas_agree), bool(periods)
    )
    return _unless_in_step(found, series.mean(axis=0), window["step"].values, periods)


def summarise(
    series: FloatArray,
    tolerance: float,
    target: float,
    n_diverged: int = 0,
    replicas_agree: bool = True,
    phases_are_shared: bool = False,
) -> Level:
    """The `Level` of a (replica, record) array.

    phases_are_shared: replicas may oscillate together, so that their common trend is known as far as its jumps from
    record to record average out.
    """
    n_all, series = len(series), _distinct(series)
    n_replicas, value = len(series), float(series.mean())
    ess = effective_sample_size(series) if replicas_agree else sum(effective_sample_size(run[None]) for run in series)
    windows = [float(part.mean()) for part in np.array_split(series, N_WINDOWS, axis=1)]
    drift = max(windows) - min(windows)
    disagree = (
        replicas_agree and 1 < n_replicas < REPLICAS_FOR_TREND and _between(series) > DISAGREEING * _own_error(series)
    )
    half = _half_width(series, ess, replicas_agree and not disagree, phases_are_shared)
    interval = (value - half, value + half)
    verdict, reason = _verdict(interval, windows, drift, ess, tolerance, target)
    if not replicas_agree and n_replicas == 1:
        verdict, reason = "inconclusive", "one replica says nothing about others that need not agree with it"
    elif disagree:
        verdict, reason = "inconclusive", f"the {n_replicas} replicas disagree by more than each fluctuates"
    elif replicas_agree and ess < MINIMUM_ESS and _r_hat(series) > DISAGREEING_R_HAT:
        reason += f": the replicas disagree (R-hat = {_r_hat(series):.3g})"
    elif verdict == "inconclusive" and not replicas_agree and n_replicas < REPLICAS_FOR_TREND and ess >= MINIMUM_ESS:
        reason += f"; it rests on the spread of {n_replicas} replicas"
    return Level(value, interval, ess, verdict, drift, n_all, n_diverged, reason)


def _half_width(series: FloatArray, ess: float, replicas_agree: bool, phases_are_shared: bool) -> float:
    """Of the interval of the mean; the spread of the replicas' own means counts where it is the larger."""
    n_replicas, n_records = series.shape
    residual = _without_trend(series)
    # The trend takes one degree of freedom per record, the overall mean takes one.
    freedom = series.size - (n_records if n_replicas >= REPLICAS_FOR_TREND else 1)
    standard_error = _length(residual) / math.sqrt(freedom * ess) if ess > 0 else math.inf
    degrees = ess - 1.0 if ess >= FEW else 1.0
    if phases_are_shared and n_replicas >= REPLICAS_FOR_TREND:
        jumps = np.diff(series.mean(axis=0))
        of_phases = _length(jumps) / math.sqrt(2 * len(jumps) * n_records)
        if of_phases > standard_error:
            standard_error, degrees = of_phases, n_records - 1.0
    within = student_quantile(degrees) * standard_error
    if not replicas_agree:
        return max(within, student_quantile(n_replicas - 1.0) * _between(series)) if n_replicas > 1 else math.inf
    between = _between(series) if n_replicas >= REPLICAS_FOR_TREND else 0.0
    return student_quantile(n_replicas - 1.0) * between if between > standard_error else within


def _between(series: FloatArray) -> float:
    """The standard error of the mean by the spread of the replicas' own means."""
    means = series.mean(axis=1)
    return _length(means - means.mean()) / math.sqrt((len(means) - 1) * len(means))


def _distinct(series: FloatArray) -> FloatArray:
    """The replicas without exact copies, which are one run; constant ones may well agree."""
    _, first = np.unique(series, axis=0, return_index=True)
    kept = np.ptp(series, axis=1) == 0
    kept[first] = True
    return np.ascontiguousarray(series[kept])


def _own_error(series: FloatArray) -> float:
    """The standard error of the mean that the fluctuations of each replica explain; not less than rounding."""
    own = [_length(run - run.mean()) / math.sqrt(run.size * effective_sample_size(run[None]) or 1.0) for run in series]
    return max(_length(np.array(own)) / len(series), 1e-12 * float(np.abs(series).max()))


def _r_hat(series: FloatArray) -> float:
    """How much wider all replicas together are than each alone: √((1 − 1/n) + Var(means)/mean variance)."""
    if len(series) == 1:
        return 1.0
    scale = np.abs(series).max() or 1.0
    within, between = (series / scale).var(axis=1, ddof=1).mean(), (series / scale).mean(axis=1).var(ddof=1)
    return math.sqrt(1.0 - 1.0 / series.shape[1] + between / within) if within > 0 else math.inf if between > 0 else 1.0


def _possible_periods(window: xarray.Dataset) -> tuple[int, ...]:
    """Those of the run, by its scheme and the batch sizes in this window."""
    known, n_samples = window.attrs, window.attrs.get("n_samples", 0)
    sizes = window["batch_size"].values if "batch_size" in window.variables else known.get("batch_size", ())
    every = (
        possible_periods(name, int(b), int(n_samples))
        for b in np.unique(sizes)
        for name in known.get("schemes", [known.get("scheme", "")])
    )
    return tuple(sorted({period for periods in every for period in periods}))


def _unless_in_step(found: Level, mean: FloatArray, steps: IntArray, periods: tuple[int, ...]) -> Level:
    """The same, but inconclusive where the records see a possible period in part only, or one phase more than
    others.
    """
    half = (found.interval[1] - found.interval[0]) / 2
    if half <= 1e-12 * abs(found.value) and set(periods) >= set(PERIODS_OF_DESCENT):
        # A run at rest, or an orbit of any period that divides the distance of its records.
        periods += (int(np.gcd.reduce(np.diff(steps))),)
    missed = missed_period(steps, periods)
    if missed:
        period, seen = missed
        words = (
            f"the records see {seen} of the {period} steps of a possible period: record every step, or at random ones"
        )
        return replace(found, interval=(-math.inf, math.inf), verdict="inconclusive", reason=words, period=period)
    for period in periods:
        balanced = mean_over_phases(mean, steps, period)
        if abs(balanced - mean.mean()) > half + 1e-9 * abs(found.value):
            words = (
                f"the records favour some of the {period} steps of a period: "
                f"with equal weights they give {balanced:.4g}"
            )
            return replace(found, verdict="inconclusive", reason=words, period=period)
    return found


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
