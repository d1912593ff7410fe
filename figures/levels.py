"""Levels: where every statistic settles on the step-size ramp, against the batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from esssim._rows import Row
from esssim.experiments import RampExperiment
from esssim.plots import MEAN_SQUARE, Page, level_experiments, levels_figure, ramp_level_rows

ALT = (
    "Levels of six statistics against batch size, data sets: {settings}. Relative to the edge 2/η, mean-square "
    "sharpness lies at {low:.2f} to {high:.2f}, mini-batch sharpness at {bottom:.2f} to {top:.2f}, sharpness at "
    "{flat:.2f} to 1."
)
CAPTION = (
    "Average of (η/2)·statistic while η rises slowly, diagonal linear networks trained by SGD without replacement, "
    "with 95 % intervals (mean-square sharpness: Gauss–Newton part); the grey band is 1 ± {tolerance:g}. "
    "Mean-square sharpness settles at {low:.2f}–{high:.2f} times the edge 2/η at every batch size, while mini-batch "
    "sharpness lies anywhere from {bottom:.2f} to {top:.2f} and sharpness falls to {flat:.2f} at b = {smallest}."
)
QUICK = [
    RampExperiment("gaussian-100x50", b, n_steps=8000, n_replicas=3, n_records=25, n_batches=8) for b in (1, 8, 100)
]


def configure(quick: bool) -> dict[str, Any]:
    return {"runs": [asdict(run) for run in (QUICK if quick else level_experiments(quick=False))]}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for options in configuration["runs"]:
        tell(f"levels: {options['setting']}, b = {options['batch_size']}")
        rows += ramp_level_rows([RampExperiment(**options)])
    return rows


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""

    def levels(statistic: str) -> list[float]:
        return [float(row["level"]) for row in rows if row["statistic"] == statistic]

    return {
        "settings": ", ".join(dict.fromkeys(str(row["setting"]) for row in rows)),
        "tolerance": rows[0]["tolerance"],
        "low": min(levels(MEAN_SQUARE)),
        "high": max(levels(MEAN_SQUARE)),
        "bottom": min(levels("minibatch_sharpness")),
        "top": max(levels("minibatch_sharpness")),
        "flat": min(levels("sharpness")),
        "smallest": min(int(row["batch_size"]) for row in rows),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    return levels_figure(rows, page)
