"""Momentum: the critical step size of heavy ball against the batch size, between its small- and large-batch limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim._rows import Row
from esssim.plots import BLACK, BLUE, GREEN, GREY, RED, Page, batch_axis, legend_above, thin_labels

MOMENTA = (0.0, 0.5, 0.9, 0.99)
LOOKS = {0.0: (BLACK, "o"), 0.5: (BLUE, "s"), 0.9: (GREEN, "D"), 0.99: (RED, "^")}
ALT = (
    "Critical step size of heavy ball against batch size on log–log axes for β = {momenta}: each curve follows its "
    "small-batch limit 2(1−β)/Q_b at first and turns to the large-batch limit 2(1+β)/λ_max before b = n."
)
CAPTION = (
    "Exact mean-square critical step size of heavy ball on linear regression (Gaussian, n = {n}, d = {d}), in units of "
    "2/λ_max, with the limits 2(1−β)/Q_b and 2(1+β)/λ_max; right, in units of the first. "
    "At b = 1 it is {one} times the small-batch limit at β = {momenta}, at b = {middle} {half} times, and at b = n it "
    "is "
    "the large-batch limit."
)


def configure(quick: bool) -> dict[str, Any]:
    sizes = {"n": 20, "d": 6, "batch_sizes": [1, 4, 20]} if quick else {
        "n": 100, "d": 50, "batch_sizes": [1, 2, 4, 8, 16, 32, 48, 64, 80, 90, 96, 100]
    }  # fmt: skip
    return sizes | {"momenta": MOMENTA, "seed": 1}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    n, d = configuration["n"], configuration["d"]
    table = es.data.gaussian(n, d, seed=configuration["seed"])
    problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(d)
    top = es.sharpness(problem, theta)
    unit, rows = es.stability.edge(top), list[Row]()
    for b in configuration["batch_sizes"]:
        tell(f"momentum: b = {b}")
        sampling = es.WithoutReplacement(b)
        mean_square = es.mean_square_sharpness(problem, theta, sampling)
        for momentum in configuration["momenta"]:
            critical = es.stability.critical_step_size(problem, theta, sampling, momentum=momentum)
            rows.append(
                {"batch_size": b, "n_samples": n, "momentum": momentum, "critical": critical / unit,
                 "small_batch": es.stability.heavy_ball_ends(mean_square, momentum).small_batch / unit,
                 "large_batch": es.stability.heavy_ball_ends(top, momentum).large_batch / unit}
            )  # fmt: skip
    return rows


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    middle = configuration["batch_sizes"][len(configuration["batch_sizes"]) // 2]

    def ratios(b: int) -> str:
        mine = [row for row in rows if row["batch_size"] == b]
        return ", ".join(f"{float(row['critical']) / float(row['small_batch']):.2f}" for row in mine)

    return {
        "n": configuration["n"],
        "d": configuration["d"],
        "momenta": ", ".join(f"{momentum:g}" for momentum in configuration["momenta"]),
        "one": ratios(1),
        "middle": middle,
        "half": ratios(middle),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(2, aspect=0.68, narrowest=2.2)
    left, right = figure.subplots(n_rows, n_columns).ravel()
    n = int(rows[0]["n_samples"])
    for momentum, (color, marker) in LOOKS.items():
        mine = [row for row in rows if row["momentum"] == momentum]
        b, critical, small, large = (
            np.array([row[key] for row in mine], dtype=float)
            for key in ("batch_size", "critical", "small_batch", "large_batch")
        )
        left.plot(b, critical, color=color, marker=marker, markersize=3.5, linewidth=1.3, zorder=3)
        left.plot(b, small, color=color, linewidth=0.8, linestyle=(0, (1, 1)), zorder=2)
        left.plot(b, large, color=color, linewidth=0.8, linestyle=(0, (5, 2)), zorder=1)
        right.plot(b, critical / small, color=color, marker=marker, markersize=3.5, linewidth=1.3)
    left.set_yscale("log")
    right.set_yscale("log")
    right.axhline(1, color=GREY, linewidth=0.8, linestyle=(0, (1, 1)))
    left.set_ylabel(r"critical step size, $\eta\,\lambda_{\max}/2$")
    right.set_ylabel(r"$\eta\,Q_b\,/\,2(1-\beta)$")
    for axes in (left, right):
        batch_axis(axes, [b for b in (1, 2, 4, 8, 16, 32, n) if b <= n], n)
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=3.5, linewidth=1.3, label=rf"$\beta={momentum:g}$")
        for momentum, (color, marker) in LOOKS.items()
    ]
    handles.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (1, 1)), label=r"$2(1-\beta)/Q_b$"))
    handles.append(
        Line2D([], [], color=GREY, linewidth=0.8, linestyle=(0, (5, 2)), label=r"$2(1+\beta)/\lambda_{\max}$")
    )
    legend_above(figure, handles)
    thin_labels(figure)
    return figure
