"""Training: perceptrons come to the edge while their loss is large; SGD beside the flow from the same start alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments.training import TrainedPerceptron, run_course, run_trained
from esssim.plots import BLACK, GREY, Page, draw_edge, legend_above
from esssim.statistics.table import MEAN_SQUARE

NETWORKS = [TrainedPerceptron(activation, b) for activation in ("tanh", "gelu") for b in (15, 30)]
TITLES = {"tanh": "tanh", "gelu": "GELU"}
ALT = (
    "{panels} panels of (η/2)·Q_b against the step of training: it rises from 0.7 to the edge at 1, and the mean of "
    "SGD follows the line of the flow."
)
CAPTION = (
    "(η/2)·Q_b while networks of 20 units train on 60 random inputs with targets ±1, from an initialisation and at one "
    "step size: two runs of SGD (grey), the mean of {replicas} with 95 % intervals (points) and the stochastic "
    "central flow of the mean from the same start (line). Over the last three quarters SGD over flow is {low:.3f} to "
    "{high:.3f}, with nothing fitted."
)


def configure(quick: bool) -> dict[str, Any]:
    networks = [asdict(network) for network in NETWORKS]
    if quick:
        networks = [networks[-1] | {"n_steps": 100, "n_records": 11, "n_replicas": 3}]
    return {"networks": networks}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for options in configuration["networks"]:
        network = TrainedPerceptron(**options)
        tell(f"training: {network.activation}, b = {network.batch_size}")
        trace, course = run_trained(network), run_course(network)
        half_step = trace["step_size"].values / 2
        runs = trace[MEAN_SQUARE].values[trace["diverged_at"].values < 0] * half_step
        half, curve = half_width(runs), course[MEAN_SQUARE].values * half_step
        rows += [
            {"activation": network.activation, "batch_size": network.batch_size, "step": int(step),
             "sgd": float(runs[:, k].mean()), "half_width": float(half[k]), "first_run": float(runs[0, k]),
             "second_run": float(runs[1, k]), "flow": float(curve[k])}
            for k, step in enumerate(trace["step"].values)
        ]  # fmt: skip
    return rows


def _panels(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys((row["activation"], row["batch_size"]) for row in rows)
    return [[row for row in rows if (row["activation"], row["batch_size"]) == name] for name in names]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    ratios = []
    for panel in _panels(rows):
        late = [row for row in panel if float(row["step"]) >= float(panel[-1]["step"]) / 4]
        ratios.append(float(np.mean([row["sgd"] for row in late]) / np.mean([row["flow"] for row in late])))
    return {
        "panels": len(ratios), "replicas": configuration["networks"][0]["n_replicas"],
        "low": min(ratios), "high": max(ratios),
    }  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    panels = _panels(rows)
    figure, n_rows, n_columns = page.figure(len(panels), aspect=0.72, narrowest=1.6)
    every = np.atleast_1d(figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)).ravel()
    for axes, panel in zip(every, panels, strict=False):
        column = {name: np.array([float(row[name]) for row in panel]) for name in panel[0] if name != "activation"}
        for run in ("first_run", "second_run"):
            axes.plot(column["step"], column[run], color=GREY, linewidth=0.6, alpha=0.7)
        axes.plot(column["step"], column["flow"], color=BLACK, linewidth=1.4)
        axes.errorbar(
            column["step"], column["sgd"], column["half_width"], fmt="o", color=BLACK, markersize=2.5,
            markerfacecolor="white", capsize=0, elinewidth=0.7,
        )  # fmt: skip
        draw_edge(axes)
        axes.set_title(f"{TITLES[str(panel[0]['activation'])]}, $b={panel[0]['batch_size']}$")
        axes.set_xlabel("step")
    for axes in every[len(panels) :]:
        axes.remove()
    for axes in every[::n_columns]:
        axes.set_ylabel(r"$(\eta/2)\,Q_b$")
    legend_above(
        figure,
        [
            Line2D([], [], color=BLACK, linewidth=1.4, label="flow"),
            Line2D(
                [], [], color=BLACK, linestyle="", marker="o", markersize=3, markerfacecolor="white", label="SGD (95 %)"
            ),
            Line2D([], [], color=GREY, linewidth=0.8, label="two runs"),
        ],
    )
    return figure
