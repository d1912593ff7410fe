"""Networks: every statistic while a small network trains, one panel per batch size, and its level against the batch
size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

import esssim as es
from esssim._rows import Row
from esssim.experiments.networks import TOLERANCE, NetworkExperiment, described, run_network
from esssim.plots import (
    LOOKS,
    MEAN_SQUARE,
    Page,
    levels,
    note_open,
    statistics_legend,
    thin_labels,
    trajectory,
    trajectory_rows,
)

EXTRA = "bridge"
SIZES = (8, 16, 32, 64, 128)
QUICK: dict[str, Any] = {
    "n_samples": 64,
    "hidden": (4,),
    "n_steps": 300,
    "n_records": 13,
    "n_replicas": 3,
    "n_batches": 4,
}
ALT = (
    "Panels of (η/2)·statistic against training steps for b = {sizes}: all statistics rise towards the edge 2/η and "
    "stay "
    "where they are. Last panel, levels against batch size: mean-square sharpness at {low:.2f} to {high:.2f}, "
    "mini-batch "
    "sharpness at {bottom:.2f} to {top:.2f}, sharpness at {flat:.2f} to {sharp:.2f}."
)
CAPTION = (
    "(η/2)·statistic while SGD trains a network ({network}; {rule}; {replicas} initialisations, mean and range), and "
    "averages over the second half with 95 % intervals, open where inconclusive{left_out}; the grey band is 1 ± "
    "{tolerance:g}. "
    "Mean-square sharpness lies at {low:.2f}–{high:.2f} times the edge 2/η, mini-batch sharpness anywhere from "
    "{bottom:.2f} to {top:.2f}, and sharpness falls to {flat:.2f} at b = {smallest}."
)


def configure(quick: bool) -> dict[str, Any]:
    whole: dict[str, Any] = {"after": 0, "n_records": 31, "n_replicas": 4}
    if quick:
        runs = [NetworkExperiment(b, **(whole | QUICK)) for b in (8, 64)]
    else:
        runs = [NetworkExperiment(b, n_steps=16_000, **whole) for b in SIZES]
    return {"runs": [asdict(run) for run in runs]}


def experiment(options: dict[str, Any]) -> NetworkExperiment:
    """The run of a configuration, which may have been read from JSON."""
    return NetworkExperiment(**options | {"hidden": tuple(options["hidden"])})


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Per run its records, then the level of each statistic over the second half."""
    rows: list[Row] = []
    for options in configuration["runs"]:
        run = experiment(options)
        tell(f"networks: b = {run.batch_size}")
        trace = run_network(run)
        after = run.n_steps // 2
        common: Row = {"batch_size": run.batch_size, "n_samples": run.n_samples}
        rows += [{"kind": "training"} | common | row for row in trajectory_rows(trace, tuple(LOOKS), after=after)]
        for name in LOOKS:
            level = es.settling.level(trace, name, after=after, tolerance=TOLERANCE, replicas_agree=False)
            rows.append(
                {"kind": "level"} | common | {
                    "statistic": name, "level": level.value, "lower": level.interval[0], "upper": level.interval[1],
                    "ess": level.ess, "verdict": level.verdict, "tolerance": TOLERANCE, "n_diverged": level.n_diverged,
                }
            )  # fmt: skip
    return rows


def _of(rows: Sequence[Row], kind: str, **wanted: object) -> list[Row]:
    wanted |= {"kind": kind}
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""

    def of(statistic: str) -> list[float]:
        return [float(row["level"]) for row in _of(rows, "level", statistic=statistic)]

    first = experiment(configuration["runs"][0])
    sizes = sorted({int(row["batch_size"]) for row in rows})
    diverged = sum(int(row["n_diverged"]) for row in _of(rows, "level", statistic=MEAN_SQUARE))
    return {
        "sizes": ", ".join(map(str, sizes)),
        "smallest": sizes[0],
        "network": described(first)["network"],
        "rule": "η such that (η/2)Q_b = 0.7 at the start",
        "replicas": first.n_replicas,
        "left_out": f"; diverged and left out: {diverged}" if diverged else "",
        "tolerance": TOLERANCE,
        "low": min(of(MEAN_SQUARE)),
        "high": max(of(MEAN_SQUARE)),
        "bottom": min(of("minibatch_sharpness")),
        "top": max(of("minibatch_sharpness")),
        "flat": min(of("sharpness")),
        "sharp": max(of("sharpness")),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    sizes = sorted({int(row["batch_size"]) for row in rows})
    figure, n_rows, n_columns = page.figure(len(sizes) + 1, aspect=0.65, narrowest=1.2, extra=page.statistics_extra)
    panels = list(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False).flat)
    for k, (axes, b) in enumerate(zip(panels, sizes, strict=False)):
        _draw_training(axes, _of(rows, "training", batch_size=b))
        axes.set_xlabel("steps, thousands" if k + n_columns > len(sizes) else "")
    last = panels[len(sizes)]
    levels(_of(rows, "level"), axes=last)
    last.set_title("level")
    if any(row["verdict"] == "inconclusive" for row in _of(rows, "level")):
        note_open(last)
    for axes in panels[len(sizes) + 1 :]:
        axes.set_axis_off()
    panels[0].set_ylim(0, None)
    figure.supylabel(r"$(\eta/2)\times$ statistic", fontsize=page.letters)
    statistics_legend(figure)
    thin_labels(figure)
    return figure


def _draw_training(axes: Axes, rows: Sequence[Row]) -> None:
    b, n = rows[0]["batch_size"], rows[0]["n_samples"]
    since = min(float(row["step"]) for row in rows if row["in_window"])
    trajectory(rows, after=since, axes=axes)
    axes.set_title(f"$b=n={b}$" if b == n else f"$b={b}$")
    axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step / 1000:g}"))
