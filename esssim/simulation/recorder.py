"""What a run records: statistics of the table by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from esssim import _validate
from esssim._errors import Undefined
from esssim._validate import FloatArray
from esssim.problems import Problem
from esssim.problems.once import one_record
from esssim.sampling import Sampling
from esssim.statistics import Estimate
from esssim.statistics.table import STATISTICS


def check_names(record: Sequence[str], problem: Problem) -> tuple[str, ...]:
    """The names to record, each known, and defined for the problem at some point at least."""
    if isinstance(record, str) or not isinstance(record, Iterable):
        raise ValueError(f"record must be a sequence of names, got {_validate.shown(record)}")
    names = tuple(_validate.choice("record", name, (*STATISTICS, "theta")) for name in record)
    for name in names:
        if name != "theta" and (reason := STATISTICS[name].refuses(problem)):
            raise ValueError(f"record {name!r} {reason}")
    return names


def variables(record: Sequence[str]) -> list[str]:
    """The scalar variables that these names give: sampled ones come with their standard error."""
    names = [name for name in record if name != "theta"]
    return names + [f"{name}_standard_error" for name in names if STATISTICS[name].sampled]


def measure(
    problem: Problem,
    theta: FloatArray,
    sampling: Sampling,
    record: Sequence[str],
    n_batches: int,
    seed: np.random.SeedSequence,
) -> dict[str, float]:
    """All variables at one theta; batches are the same for all sampled statistics of a record, NaN what is
    undefined.
    """
    row: dict[str, float] = {}
    with one_record():
        for statistic in (STATISTICS[name] for name in record if name != "theta"):
            value: float | Estimate
            try:
                value = statistic.measure(problem, theta, sampling, n_batches, seed)
            except Undefined:
                value = Estimate(np.nan, np.nan, 0, False)
            row[statistic.key] = float(value)
            if statistic.sampled:
                row[f"{statistic.key}_standard_error"] = value.standard_error if isinstance(value, Estimate) else 0.0
    return row
