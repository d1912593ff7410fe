"""Networks: where every statistic settles against the batch size, and the gap of MiniBS with its prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import esssim as es
from esssim.claims.model import Row
from esssim.claims.network_interventions import GAP_SIZES
from esssim.claims.network_runs import NetworkExperiment
from esssim.claims.networks import DIGITS, MAIN, SIZES, TOLERANCE, experiment, network_level
from esssim.experiments import LEVELS
from esssim.plots import (
    BLACK,
    GREY,
    LOOKS,
    MEAN_SQUARE,
    RED,
    Page,
    batch_axis,
    draw_levels,
    small_letters,
    statistics_legend,
    thin_labels,
)

NEEDS = "bridge"
TITLES = {MAIN: "32 tanh units", "digits-gelu-16": "16 GELU units", "digits-relu-16": "16 ReLU units"}
ALT = (
    "Levels of six statistics of torch networks against batch size: {settings}. Relative to the edge 2/η, mean-square sharpness "
    "lies at {low:.2f} to {high:.2f}, mini-batch sharpness at {bottom:.2f} to {top:.2f}; last panel: the gap of mini-batch "
    "sharpness over sharpness, measured and predicted."
)
CAPTION = (
    "Average of (η/2)·statistic late in training at a constant step size, torch networks on scikit-learn's digits (squared "
    "error, 95 % intervals over initialisations; open: no verdict; the grey band is 1 ± {tolerance:g}), and the gap M_b − "
    "λ_max of {gaps} trained wine networks with `gap.predict`. Mean-square sharpness lies at {low:.2f}–{high:.2f} times the "
    "edge 2/η and is farthest below it at b = {smallest}, mini-batch sharpness at {bottom:.2f}–{top:.2f}, and the gap is "
    "within {far:.0f} % of its prediction."
)


def configure(quick: bool) -> dict[str, Any]:
    if quick:
        small: dict[str, Any] = {"n_samples": 64, "hidden": (8,), "n_steps": 200, "n_replicas": 3, "n_records": 12}
        runs = [(MAIN, NetworkExperiment(b, 0.3, after=50, **small)) for b in (8, 32, 64)]
    else:
        groups = {MAIN: tuple(DIGITS)} | {setting: SIZES[setting] for setting in TITLES if setting != MAIN}
        runs = [(setting, experiment(setting, b)) for setting, sizes in groups.items() for b in sizes]
    gaps = (64,) if quick else tuple(GAP_SIZES)
    return {
        "runs": [{"setting": setting, "run": asdict(run)} for setting, run in runs],
        "gaps": [f"network-gap/wine-5/b={b}" for b in gaps],
    }


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for item in configuration["runs"]:
        setting, run = str(item["setting"]), NetworkExperiment(**item["run"])
        tell(f"network_levels: {setting}, b = {run.batch_size}")
        start: Row = {"kind": "level", "setting": setting, "n_samples": run.n_samples, "batch_size": run.batch_size}
        for name in LOOKS:
            found = network_level(run, name)
            rows.append(
                start
                | {"statistic": name, "symbol": LEVELS[name], "level": found.value, "lower": found.interval[0],
                   "upper": found.interval[1], "ess": found.ess, "verdict": found.verdict, "tolerance": TOLERANCE}
            )  # fmt: skip
    for claim in configuration["gaps"]:
        tell(f"network_levels: {claim}")
        b = int(claim.split("=")[-1])
        for row in es.claims.registry[claim].measure(False).rows:
            rows.append({"kind": "gap", "setting": "wine", "n_samples": 178, "batch_size": b} | row)
    return rows


def _levels(rows: Sequence[Row], statistic: str) -> list[tuple[float, int]]:
    found = [row for row in rows if row["kind"] == "level" and row["statistic"] == statistic]
    return [(float(row["level"]), int(row["batch_size"])) for row in found if np.isfinite(float(row["level"]))]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    mean_square, minibs = _levels(rows, MEAN_SQUARE), _levels(rows, "minibatch_sharpness")
    gaps = [row for row in rows if row["kind"] == "gap"]
    settings = dict.fromkeys(str(row["setting"]) for row in rows if row["kind"] == "level")
    return {
        "settings": ", ".join(TITLES[setting] for setting in settings),
        "tolerance": TOLERANCE,
        "gaps": len({row["seed"] for row in gaps}),
        "low": min(mean_square)[0],
        "high": max(mean_square)[0],
        "smallest": min(mean_square)[1],
        "bottom": min(minibs)[0],
        "top": max(minibs)[0],
        "far": 100 * max(abs(float(row["gap"]) / float(row["predicted"]) - 1) for row in gaps),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    settings = list(dict.fromkeys(str(row["setting"]) for row in rows if row["kind"] == "level"))
    figure, n_rows, n_columns = page.figure(len(settings) + 1, aspect=0.85, narrowest=1.5)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, setting in zip(panels, settings, strict=False):
        draw_levels(axes, [row for row in rows if row["kind"] == "level" and row["setting"] == setting])
        axes.set_title(TITLES[setting])
        axes.set_ylim(0, 1.6)
    panels[0].set_ylabel(r"level: $(\eta/2)\times$ statistic")
    _draw_gap(panels[len(settings)], [row for row in rows if row["kind"] == "gap"])
    for axes in panels[len(settings) + 1 :]:
        axes.set_axis_off()
    statistics_legend(figure)
    thin_labels(figure)
    return figure


def _draw_gap(axes: Axes, rows: Sequence[Row]) -> None:
    sizes = sorted({int(row["batch_size"]) for row in rows})
    for row in rows:
        b = int(row["batch_size"]) * (1 + 0.12 * (int(row["seed"]) - 1))
        predicted, error = float(row["predicted"]), float(row["error"])
        axes.errorbar(b, predicted, error, fmt="_", color=BLACK, markersize=7, elinewidth=0.8, capsize=2)
        axes.plot(b, float(row["gap"]), "s", color=RED, markersize=3.5)
    axes.set_title("gap, 5 tanh units, wine")
    batch_axis(axes, sizes, 178)
    axes.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
    axes.set_ylim(0, None)
    axes.annotate(
        "bars: predicted",
        (0.97, 0.95),
        xycoords="axes fraction",
        fontsize=small_letters(),
        color=GREY,
        ha="right",
        va="top",
    )
