"""The verdict on a claim that a statistic settles, from its level."""

from __future__ import annotations

import numpy as np
import xarray

from esssim.claims.claim import Measurement, Outcome, Row
from esssim.settling import MINIMUM_ESS, Level, level
from esssim.statistics.table import STATISTICS

OUTCOMES: dict[str, Outcome] = {
    "settles": "holds",
    "inconclusive": "inconclusive",
    "below": "refuted",
    "above": "refuted",
}


def settles(statistic: str) -> str:
    """That a statistic settles at the edge, as LaTeX."""
    return rf"\frac{{\eta}}{{2}}\,{STATISTICS[statistic].latex}\ =\ 1"


def decide_level(found: Level, rows: list[Row], runs: str = "replicas") -> Measurement:
    """ "holds" where the level settles at the edge, "refuted" where it lies below or above; rows: its course."""
    words = found.reason + (f"; {found.n_diverged} diverged {runs} left out" if found.n_diverged else "")
    values = {"drift": found.drift, "n_replicas": found.n_replicas, "n_diverged": found.n_diverged}
    verdict = OUTCOMES[found.verdict]
    few = verdict == "inconclusive" and found.ess < MINIMUM_ESS
    return Measurement(verdict, words, found.value, found.interval, found.ess, rows, values, few)


def decide_records(trace: xarray.Dataset, statistic: str, tolerance: float, target: float = 1.0) -> Measurement:
    """The same of (η/2)·statistic over all records of a run."""
    found = level(trace, statistic, tolerance=tolerance, target=target)
    means = np.nanmean(trace[statistic].values, axis=0) * trace["step_size"].values / 2
    return decide_level(found, [{"step": int(s), "level": float(m)} for s, m in zip(trace["step"], means, strict=True)])
