"""The course of a statistic along a run, as rows."""

from __future__ import annotations

import numpy as np
import xarray

from esssim._rows import Row


def mean_trajectory(trace: xarray.Dataset, statistic: str, after: float) -> list[Row]:
    """The mean over the replicas that never diverged of (η/2)·statistic at each record, with its standard error."""
    alive = trace["diverged_at"].values < 0
    series = (trace[statistic] * trace["step_size"] / 2).values[alive]
    error = series.std(axis=0, ddof=1) / np.sqrt(len(series)) if len(series) > 1 else np.full(series.shape[1], np.nan)
    columns = zip(trace["step"].values, trace["step_size"].values, series.mean(axis=0), error, strict=True)
    return [
        {
            "step": int(step),
            "step_size": float(eta),
            "level": float(mean),
            "standard_error": float(sd),
            "in_window": bool(step >= after),
        }
        for step, eta, mean, sd in columns
    ]
