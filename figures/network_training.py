"""Networks in training: every statistic of a torch network along SGD, one panel per batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from esssim.claims.model import Row
from esssim.claims.network_runs import NetworkExperiment, run_network
from esssim.claims.networks import DIGITS
from esssim.plots import LOOKS, MEAN_SQUARE, Page, draw_edge, statistics_legend

NEEDS = "bridge"
SIZES = (4, 16, 64, 512)
ALT = (
    "{panels} panels, one per batch size: six statistics times η/2 along training. At the end mean-square sharpness lies at "
    "{low:.2f} to {high:.2f}, mini-batch sharpness at {bottom:.2f} to {top:.2f}."
)
CAPTION = (
    "(η/2)·statistic along SGD at a constant step size: one hidden layer of {units} tanh units on {n} of scikit-learn's "
    "digits, squared error, mean and range of {replicas} initialisations (mean-square sharpness: Gauss–Newton part, leading "
    "directions). At the end mean-square sharpness lies at {ends} times the edge 2/η at b = {sizes}, mini-batch sharpness "
    "at {minibs}."
)


def configure(quick: bool) -> dict[str, Any]:
    if quick:
        small = {"n_samples": 64, "hidden": (8,), "n_steps": 200, "n_replicas": 3, "n_records": 12, "after": 0}
        return {"runs": [asdict(NetworkExperiment(b, 0.3, **small)) for b in (8, 32, 64)]}  # type: ignore[arg-type]
    runs = [
        NetworkExperiment(b, eta, n_steps=n_steps, after=0, n_samples=512, hidden=(32,), n_replicas=3, n_records=24)
        for b, (eta, n_steps) in DIGITS.items()
        if b in SIZES
    ]
    return {"runs": [asdict(run) for run in runs]}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for options in configuration["runs"]:
        tell(f"network_training: b = {options['batch_size']}")
        run = NetworkExperiment(**options)
        rows += [{"n_samples": run.n_samples, "batch_size": run.batch_size} | row for row in course(run)]
    return rows


def course(run: NetworkExperiment) -> list[Row]:
    """Per record: for every statistic the mean, lowest and highest (η/2)·statistic over the runs that never diverged."""
    trace = run_network(run)
    survived = trace.isel(replica=np.flatnonzero(trace["diverged_at"].values < 0))
    rows: list[Row] = [{"step": int(step)} for step in trace["step"].values]
    for name in LOOKS:
        levels = (survived[name] * survived["step_size"] / 2).values
        for k, row in enumerate(rows):
            row |= {name: float(levels[:, k].mean())}
            row |= {f"{name}_lowest": float(levels[:, k].min()), f"{name}_highest": float(levels[:, k].max())}
    return rows


def late(rows: Sequence[Row], name: str) -> float:
    """The mean over the last quarter of the records."""
    return float(np.mean([float(row[name]) for row in rows[-len(rows) // 4 :]]))


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    sizes = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    run = configuration["runs"][0]
    ends, minibs = (
        [late([row for row in rows if row["batch_size"] == b], name) for b in sizes]
        for name in (MEAN_SQUARE, "minibatch_sharpness")
    )
    return {
        "panels": len(sizes),
        "units": run["hidden"][0],
        "n": run["n_samples"],
        "replicas": run["n_replicas"],
        "sizes": ", ".join(map(str, sizes)),
        "ends": ", ".join(f"{end:.2f}" for end in ends),
        "minibs": ", ".join(f"{end:.2f}" for end in minibs),
        "low": min(ends),
        "high": max(ends),
        "bottom": min(minibs),
        "top": max(minibs),
    }


def draw_course(axes: Axes, rows: Sequence[Row], label: str | None = r"$2/\eta$") -> None:
    """Rows of `course`, against the step in thousands."""
    draw_edge(axes, label)
    steps = np.array([float(row["step"]) for row in rows]) / 1000
    for rank, (name, look) in enumerate(reversed(LOOKS.items())):
        mean, low, high = (np.array([float(row[name + end]) for row in rows]) for end in ("", "_lowest", "_highest"))
        axes.fill_between(steps, low, high, color=look.color, alpha=0.25, linewidth=0, zorder=2 + rank)
        axes.plot(
            steps, mean, color=look.color, linewidth=look.width, linestyle=look.line, zorder=2 + rank,
            marker=look.marker, markersize=look.size * 0.8, markevery=(3 + 2 * rank, max(1, len(steps) // 4)),
        )  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    sizes = list(dict.fromkeys(int(row["batch_size"]) for row in rows))
    figure, n_rows, n_columns = page.figure(len(sizes), aspect=0.8, narrowest=1.4)
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, b in zip(panels, sizes, strict=False):
        mine = [row for row in rows if row["batch_size"] == b]
        draw_course(axes, mine)
        axes.set_title(f"$b=n={b}$" if b == mine[0]["n_samples"] else f"$b={b}$")
        axes.locator_params(axis="x", nbins=3)
    panels[0].set_ylim(0, 1.2 * max(1.0, *(late(rows, name) for name in LOOKS)) + 0.4)
    for axes in panels[len(sizes) :]:
        axes.set_axis_off()
    figure.supxlabel("step, in thousands", fontsize=page.letters)
    figure.supylabel(r"$(\eta/2)\times$ statistic", fontsize=page.letters)
    statistics_legend(figure)
    return figure
