"""Interventions: step size or batch size changes while a network trains; which statistic jumps, and which returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments.networks import NetworkExperiment, described, run_network
from esssim.plots import (
    BLACK,
    GREY,
    LOOKS,
    MEAN_SQUARE,
    Page,
    small_letters,
    statistics_legend,
    trajectory,
    trajectory_rows,
)

from .networks import experiment

EXTRA = "bridge"
FACTOR = 1.25
# Title, batch size, and what changes.
CHANGES: dict[str, tuple[str, int, dict[str, float | int]]] = {
    "raised step size": (rf"$\eta\times{FACTOR:g}$", 32, {"eta_factor": FACTOR}),
    "lowered step size": (rf"$\eta/{FACTOR:g}$", 32, {"eta_factor": 1 / FACTOR}),
    "raised batch size": (r"$b=8\to 32$", 8, {"later_batch_size": 32}),
    "lowered batch size": (r"$b=32\to 8$", 32, {"later_batch_size": 8}),
}
WHOLE = {"n_steps": 24_000, "change_at": 8000, "n_records": 21, "n_replicas": 4}
QUICK = {
    "n_samples": 64, "hidden": (4,), "n_steps": 400, "change_at": 200, "n_records": 13, "n_replicas": 3, "n_batches": 4,
}  # fmt: skip
ALT = (
    "Four panels of (η/2)·statistic against steps before and after a change: {names}. Right, the level at the change "
    "and "
    "in the end over the level before: mean-square sharpness jumps to {jumps} and ends at {ends}."
)
CAPTION = (
    "(η/2)·statistic around a change of the step size (by a factor of {factor:g}) or of the batch size in "
    "mid-training, mean and range "
    "of {replicas} initialisations ({network}){left_out}; right, level over that before: at the change, θ being the "
    "same (open), and over the "
    "last half of the run (filled, 95 %). "
    "After {names} mean-square sharpness jumps to {jumps} and ends at {ends} of its level before, mini-batch sharpness "
    "jumps to {mini_jumps} and ends at {mini_ends}."
)


def configure(quick: bool) -> dict[str, Any]:
    options = QUICK if quick else WHOLE
    runs = {name: NetworkExperiment(b, after=options["change_at"], **(options | change))  # type: ignore[arg-type]
            for name, (_, b, change) in CHANGES.items()}  # fmt: skip
    return {"runs": {name: asdict(run) for name, run in runs.items()}}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Per run its records, then for each statistic its level at the change and in the end over that before."""
    rows: list[Row] = []
    for name, options in configuration["runs"].items():
        tell(f"interventions: {name}")
        run = experiment(options)
        trace = run_network(run)
        start: Row = {"intervention": name, "change_at": run.change_at}
        course = trajectory_rows(trace, tuple(LOOKS), after=run.change_at)
        rows += [{"kind": "training"} | start | row for row in course if row["step"]]
        steps = trace["diverged_at"].values
        rows += [{"kind": "diverged"} | start | {"step": int(step)} for step in steps if step >= 0]
        for statistic in LOOKS:
            jump, end, half = _ratios(trace, statistic, run)
            rows.append(
                {"kind": "return"} | start | {"statistic": statistic, "jump": jump, "end": end, "half_width": half}
            )
    return rows


def _ratios(trace: xarray.Dataset, statistic: str, run: NetworkExperiment) -> tuple[float, float, float]:
    """Levels over that before the change: at the change, and over the last half of what follows with its 95 %
    interval.
    """
    steps = trace["step"].values
    levels = (trace[statistic] * trace["step_size"] / 2).values[trace["diverged_at"].values < 0]
    before = levels[:, (steps >= run.change_at // 2) & (steps < run.change_at)].mean(axis=1)
    jump = levels[:, np.flatnonzero(steps >= run.change_at)[0]] / before
    end = levels[:, steps >= (run.change_at + run.n_steps) / 2].mean(axis=1) / before
    half = half_width(end)
    return float(jump.mean()), float(end.mean()), float(half)


def _of(rows: Sequence[Row], kind: str, name: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind and row["intervention"] == name]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    runs = configuration["runs"]

    def of(statistic: str, column: str) -> str:
        return ", ".join(f"{row[column]:.2f}" for row in rows if row.get("statistic") == statistic)

    first = experiment(next(iter(runs.values())))
    lost = [f"step {row['step']:,} with a {row['intervention']}" for row in rows if row["kind"] == "diverged"]
    return {
        "factor": FACTOR,
        "names": ", ".join(f"a {name}" for name in runs),
        "network": described(first)["network"],
        "replicas": first.n_replicas,
        "left_out": f"; left out where they diverge (×): {', '.join(lost)}" if lost else "",
        "jumps": of(MEAN_SQUARE, "jump"),
        "ends": of(MEAN_SQUARE, "end"),
        "mini_jumps": of("minibatch_sharpness", "jump"),
        "mini_ends": of("minibatch_sharpness", "end"),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    names = list(dict.fromkeys(str(row["intervention"]) for row in rows))
    narrow = page.width < 4
    figure, _, _ = page.figure(6, aspect=0.75, narrowest=1.2)
    if not page.is_slide:
        figure.set_figheight(page.width * (2.0 if narrow else 0.6))
    places: list[Any] = (
        [["0", "1"], ["2", "3"], ["ratio", "ratio"]] if narrow else [["0", "1", "ratio"], ["2", "3", "ratio"]]
    )
    panels = figure.subplot_mosaic(places, height_ratios=[1, 1, 2] if narrow else None)
    top = 1.05 * max(float(row[f"{key}_highest"]) for row in rows if row["kind"] == "training" for key in LOOKS)
    for k, name in enumerate(names):
        axes = panels[str(k)]
        _draw_course(axes, _of(rows, "training", name), r"$2/\eta$" if k % 2 else None)
        for row in _of(rows, "diverged", name):
            axes.plot(float(row["step"]), 0.03 * top, "x", color=BLACK, markersize=4, zorder=9)
        axes.set_title(CHANGES[name][0])
        axes.set_ylim(0, top)
        if k % 2:
            axes.tick_params(labelleft=False)
    _draw_ratios(panels["ratio"], rows, names)
    for k in (2, 3):
        panels[str(k)].set_xlabel("steps, thousands")
    for k in (0, 2):
        panels[str(k)].set_ylabel(r"$(\eta/2)\times$ statistic")
    statistics_legend(figure)
    return figure


def _draw_course(axes: Axes, rows: Sequence[Row], label: str | None) -> None:
    trajectory(rows, after=float(rows[0]["change_at"]), edge=label, axes=axes)
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}"))


def _draw_ratios(axes: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    axes.axvline(1, color=GREY, linewidth=0.8, zorder=0)
    for k, name in enumerate(names):
        for rank, (statistic, look) in enumerate(LOOKS.items()):
            (row,) = (row for row in _of(rows, "return", name) if row["statistic"] == statistic)
            y = len(names) - 1 - k + 0.36 - 0.72 * rank / (len(LOOKS) - 1)
            jump, end, half = (float(row[key]) for key in ("jump", "end", "half_width"))
            axes.plot([jump, end], [y, y], color=look.color, linewidth=0.5, zorder=1)
            axes.plot(
                jump, y, look.marker, color=look.color, markerfacecolor="white", markersize=3.5, markeredgewidth=0.7
            )
            axes.errorbar(
                end, y, xerr=half, fmt=look.marker, color=look.color, markersize=3.5, elinewidth=0.8, capsize=1.5
            )
    axes.set_ylim(-0.5, len(names) - 0.5)
    axes.set_yticks(range(len(names)), [CHANGES[name][0] for name in reversed(names)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("level over that before")
    axes.set_title("open: at the change", fontsize=small_letters(), color=GREY)
