"""`levels`: where each statistic settles on the flow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim.flow.solve import solve
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.settling import N_WINDOWS, Level
from esssim.simulation.schedule import Ramp
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

FOLLOWED = ("sharpness", "minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts", MEAN_SQUARE)


def levels(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float | Ramp,
    sampling: Sampling,
    n_steps: int,
    label_noise: float = 0.0,
    after: int | float = 0,
    tolerance: float = 0.05,
    target: float = 1.0,
    **options: Any,
) -> dict[str, Level]:
    """Where (η/2)·statistic settles on the stochastic central flow: its average over the records with step ≥ after.

    Arguments as for `solve`, `options` among its momentum, follow, n_records, n_batches, rank, progress and seed.
    Returns a `settling.Level` for each statistic: the interval is the flow's own error estimate on either side, its
    burst correction on the side of its sign (none is known with momentum), and twice the standard error of a sampled
    statistic; `ess` is infinite, nothing is random. Verdict: "settles" if interval and the means of three consecutive
    windows lie within target ± tolerance, "below" or "above" if the interval lies outside, else "inconclusive", as
    where the flow ends at a wall that it cannot leave. Raises ValueError as `solve` does, and if `after` leaves fewer
    than 6 records.
    """
    tolerance = _validate.real("tolerance", tolerance, above=0.0)
    target = _validate.real("target", target)
    after = _validate.real("after", after, at_least=0.0)
    flow = solve(
        problem,
        theta0,
        step_size=step_size,
        sampling=sampling,
        n_steps=n_steps,
        label_noise=label_noise,
        record=(*FOLLOWED, "error_estimate", "burst_correction"),
        **options,
    )
    window = flow.isel(record=np.flatnonzero(flow["step"].values >= after))
    if window.sizes["record"] < 2 * N_WINDOWS:
        raise ValueError(
            f"after must leave at least {2 * N_WINDOWS} records, got {after:g}, which leaves {window.sizes['record']}"
        )
    diverged = int(flow["diverged_at"]) >= 0
    found = {}
    for name in FOLLOWED:
        series = (window[name] * window["step_size"] / 2).values
        if diverged:
            nothing = (float("nan"), float("nan"))
            reason = f"the flow meets a wall at step {int(flow['diverged_at'])} that it cannot leave"
            found[name] = Level(float("nan"), nothing, 0.0, "inconclusive", float("nan"), 0, 1, reason)
            continue
        value = float(series.mean())
        half = value * float(window["error_estimate"].mean())
        bursts = 0.0 if flow.attrs["momentum"] > 0 else value * float(window["burst_correction"].mean())
        if STATISTICS[name].sampled:
            errors = (window[f"{name}_standard_error"] * window["step_size"] / 2).values
            half += 2.0 * float(np.sqrt((errors**2).sum())) / len(errors)
        windows = [float(part.mean()) for part in np.array_split(series, N_WINDOWS)]
        unknown = np.isnan(bursts)
        below, above = (np.inf, np.inf) if unknown else (max(-bursts, 0.0), max(bursts, 0.0))
        interval = (value - half - below, value + half + above)
        found[name] = _judged(value, interval, windows, tolerance, target)
    return found


def _judged(
    value: float, interval: tuple[float, float], windows: list[float], tolerance: float, target: float
) -> Level:
    lower, upper = interval
    inside = target - tolerance <= min(lower, *windows) and max(upper, *windows) <= target + tolerance
    if inside:
        verdict, reason = "settles", f"interval and windows lie within {target:g} ± {tolerance:g}"
    elif upper < target - tolerance:
        verdict, reason = "below", f"the interval ends below {target - tolerance:.3g}"
    elif lower > target + tolerance:
        verdict, reason = "above", f"the interval begins above {target + tolerance:.3g}"
    else:
        verdict, reason = "inconclusive", f"interval or windows cross the border of {target:g} ± {tolerance:g}"
    drift = max(windows) - min(windows)
    return Level(value, (lower, upper), float("inf"), verdict, drift, 1, 0, reason)  # type: ignore[arg-type]
