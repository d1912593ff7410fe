"""The verdict on a claim that a statistic settles, from its level."""

from __future__ import annotations

from esssim.claims.claim import Measurement, Outcome, Row
from esssim.settling import MINIMUM_ESS, Level
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


def decide_level(level: Level, rows: list[Row], runs: str = "replicas") -> Measurement:
    """ "holds" where the level settles at the edge, "refuted" where it lies below or above; rows: its course."""
    words = level.reason + (f"; {level.n_diverged} diverged {runs} left out" if level.n_diverged else "")
    values = {"drift": level.drift, "n_replicas": level.n_replicas, "n_diverged": level.n_diverged}
    verdict = OUTCOMES[level.verdict]
    few = verdict == "inconclusive" and level.ess < MINIMUM_ESS
    return Measurement(verdict, words, level.value, level.interval, level.ess, rows, values, few)
