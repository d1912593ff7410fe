"""Ramp: every statistic while the step size rises, one panel per batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.figure import Figure

from esssim._rows import Row
from esssim.experiments import FOLLOWED, RampExperiment
from esssim.plots import MEAN_SQUARE, Page, panel_experiments, ramp_figure, ramp_rows

from .levels import QUICK

ALT = (
    "{panels} panels, one per batch size: six statistics times η/2 against a rising step size. Past the first edge "
    "mean-square sharpness runs along 1 ({low:.2f} to {high:.2f}), mini-batch sharpness goes as far as {top:.2f}."
)
CAPTION = (
    "(η/2)·statistic of SGD on a diagonal linear network (Gaussian data, n = 100, d = 50) while η rises from "
    "{start:.2g}η₀ to at most {stop:.2g}η₀, η₀ the first mean-square edge: mean and range of {replicas} replicas. "
    "Past {followed:g}η₀ mean-square sharpness stays at {low:.2f}–{high:.2f} times the edge 2/η at every batch size, "
    "while mini-batch sharpness goes up to {top:.2f} times it."
)


def configure(quick: bool) -> dict[str, Any]:
    return {"runs": [asdict(run) for run in (QUICK if quick else panel_experiments(quick=False))]}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for options in configuration["runs"]:
        tell(f"ramp: b = {options['batch_size']}")
        rows += ramp_rows([RampExperiment(**options)])
    return rows


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    window = [row for row in rows if row["in_window"]]
    steps = [float(row["relative_step_size"]) for row in rows]
    return {
        "panels": len({row["batch_size"] for row in rows}),
        "start": min(steps),
        "stop": max(steps),
        "followed": FOLLOWED,
        "replicas": configuration["runs"][0]["n_replicas"],
        "low": min(float(row[MEAN_SQUARE]) for row in window),
        "high": max(float(row[MEAN_SQUARE]) for row in window),
        "top": max(float(row["minibatch_sharpness"]) for row in window),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    return ramp_figure(rows, page)
