"""Counterexamples: strong label noise, noisy targets, quadratics and starts above the edge, where nothing settles at
2/η.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import esssim as es
from esssim._rows import Row
from esssim.experiments import FOLLOWED, RampExperiment, StartAboveTheEdge, run_once
from esssim.experiments.above_the_edge import starts_above_the_edge
from esssim.plots import (
    BLACK,
    GREY,
    LOOKS,
    MEAN_SQUARE,
    Page,
    draw_edge,
    ramp_rows,
    small_letters,
    statistics_legend,
    trajectory,
)

STRONG = RampExperiment("gaussian-100x50", 4, label_noise=0.1)
NOISY = RampExperiment("diabetes", 4, own_targets=True, label_noise=0.0, n_replicas=32)
QUICK = {"n_steps": 6000, "n_replicas": 3, "n_records": 25, "n_batches": 8}
HESSIANS = ("sharpness", "minibatch_sharpness", "mean_square_sharpness")
ALT = (
    "Four panels of (η/2)·statistic. Strong label noise: mean-square sharpness stays below 1. Noisy targets: all far "
    "below 1. A "
    "quadratic: straight lines through 1, nothing settles. Starts above the edge: runs end scattered between "
    "{lowest:.2f} "
    "and {highest:.2f}."
)
CAPTION = (
    "(η/2)·statistic at b = 4 where nothing settles at 2/η: label noise ε = 0.1, the diabetes table with its own "
    "targets, "
    "a quadratic, and {n_starts} runs without noise at constant step sizes from a start above the edge. "
    "Mean-square sharpness ends at {strong:.2f} and {noisy:.2f} in the first two, crosses the edge without a stop in "
    "the third, and of the runs that start above the edge {counting} end flatter and off it, between {lowest:.2f} and "
    "{highest:.2f}{diverged}."
)


def configure(quick: bool) -> dict[str, Any]:
    runs = [asdict(run) | (QUICK if quick else {}) for run in (STRONG, NOISY)]
    starts = [asdict(start) for start in starts_above_the_edge(quick)]
    return {"runs": runs, "starts": starts, "quadratic": {"n": 40, "d": 10, "seed": 2, "b": 4}}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for panel, options in zip(("noise", "targets"), configuration["runs"], strict=True):
        tell(f"counterexamples: {panel}")
        rows += [{"panel": panel, **row} for row in ramp_rows([RampExperiment(**options)])]
    tell("counterexamples: quadratic, starts above the edge")
    rows += _quadratic(**configuration["quadratic"])
    for options in configuration["starts"]:
        start = StartAboveTheEdge(**options)
        rows += [{"panel": "starts", **row} for row in start.ends(run_once(start))]
    return rows


def _quadratic(n: int, d: int, seed: int, b: int) -> list[Row]:
    """Statistics of the Hessians are constant on a regression: times η/2 they rise with η straight through 1."""
    table = es.data.gaussian(n, d, seed=seed)
    problem, theta, sampling = es.LinearRegression(table.inputs, table.targets), np.zeros(d), es.WithoutReplacement(b)
    top = es.sharpness(problem, theta)
    stop = 2.4 / top
    names = ("loss", *HESSIANS)
    start = np.full(d, 1e-3)
    trace = es.simulate(
        es.LinearRegression(table.inputs, np.zeros(n)), start, step_size=es.Ramp(0.1 / top, stop), sampling=sampling,
        n_steps=400, record=names, n_records=41, n_batches=512, seed=seed,
    )  # fmt: skip
    return [
        {
            "panel": "quadratic",
            "relative_step_size": float(eta * top / 2),
            "loss": float(trace["loss"][0, k]),
            **{name: float(trace[name][0, k] * eta / 2) for name in HESSIANS},
        }
        for k, eta in enumerate(trace["step_size"].values)
    ]


def _of(rows: Sequence[Row], panel: str) -> list[Row]:
    return [row for row in rows if row["panel"] == panel]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    starts = _of(rows, "starts")
    ends = [float(row["final_level"]) for row in starts if not row["diverged"]]
    diverged = len(starts) - len(ends)

    def late(panel: str) -> float:
        return float(np.mean([float(row[MEAN_SQUARE]) for row in _of(rows, panel) if row["in_window"]]))

    return {
        "n_starts": len(starts),
        "counting": sum(bool(row["counts"]) for row in starts),
        "diverged": f"; {diverged} diverged" if diverged else "",
        "lowest": min(ends),
        "highest": max(ends),
        "strong": late("noise"),
        "noisy": late("targets"),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(4, aspect=0.85, narrowest=1.2, extra=page.statistics_extra)
    noise, targets, quadratic, starts = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, panel, title in (
        (noise, "noise", r"label noise $\varepsilon=0.1$"),
        (targets, "targets", "noisy targets"),
    ):
        trajectory(_of(rows, panel), x="relative_step_size", after=FOLLOWED, edge=None, axes=axes)
        axes.set_ylim(0, 1.3)
        axes.set_yticks([0, 0.5, 1])
        axes.set(title=title, xlabel=r"$\eta/\eta_0$")
    _draw_quadratic(quadratic, _of(rows, "quadratic"))
    _draw_starts(starts, _of(rows, "starts"))
    figure.supylabel(r"$(\eta/2)\times$ statistic", fontsize=page.letters)
    statistics_legend(figure)
    return figure


def _draw_quadratic(axes: Axes, rows: Sequence[Row]) -> None:
    draw_edge(axes, label=None)
    x = [float(row["relative_step_size"]) for row in rows]
    for name in HESSIANS:
        look = LOOKS[MEAN_SQUARE if name == "mean_square_sharpness" else name]
        axes.plot(x, [float(row[name]) for row in rows], color=look.color, linestyle=look.line, linewidth=look.width,
                  marker=look.marker, markersize=0.8 * look.size, markevery=(3, 9))  # fmt: skip
    axes.set(title="quadratic", xlabel=r"$\eta\lambda_{\max}/2$")
    axes.set_ylim(0, 3.2)
    axes.set_yticks([0, 1, 2, 3])


def _draw_starts(axes: Axes, rows: Sequence[Row]) -> None:
    draw_edge(axes)
    factors = sorted({float(row["eta_over_first_edge"]) for row in rows})
    color = LOOKS[MEAN_SQUARE].color
    for place, factor in enumerate(factors):
        mine = [row for row in rows if row["eta_over_first_edge"] == factor]
        ends = sorted(float(row["final_level"]) for row in mine if not row["diverged"])
        spread = np.linspace(-0.25, 0.25, len(ends)) if len(ends) > 1 else np.zeros(len(ends))
        axes.plot([place - 0.3, place + 0.3], [factor, factor], color=BLACK, linewidth=1.2)
        axes.plot(place + spread, ends, "o", color=color, markersize=2.6, alpha=0.8, markeredgewidth=0)
    axes.set_xticks(range(len(factors)), [f"{factor:g}" for factor in factors])
    axes.set(title="above the edge", xlabel=r"$\eta/\eta_0$")
    axes.set_ylim(0, 1.75)
    axes.set_yticks([0, 0.5, 1, 1.5])
    axes.annotate("start", (-0.3, factors[0]), (0, 2), textcoords="offset points", fontsize=small_letters(), color=GREY)
