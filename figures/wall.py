"""Wall: the distance that flow and SGD keep to the mean-square edge, against label noise and the speed of the ramp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

import esssim as es
from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments.flow import FlowExperiment, run_sgd
from esssim.experiments.flow_settings import GRID
from esssim.plots import BATCH_MARKERS, BLACK, GREY, Page, batch_color, legend_above
from esssim.statistics.table import MEAN_SQUARE

Q = MEAN_SQUARE
SETTING, SIZES = "gaussian-40x20", (2, 8, 40)
NOISES = (0.001, 0.002, 0.004, 0.01, 0.03, 0.1)
FAST_NOISE, LENGTHS = 0.001, (75_000, 150_000, 300_000, 600_000)
ALT = (
    "Two log–log panels of the distance 1 − (η/2)Q_b to the edge for b = {sizes}: it rises as the square of the label "
    "noise while the noise is weak and bends over, and grows in proportion to the length of the ramp; points of SGD "
    "lie near the lines."
)
CAPTION = (
    "Distance 1 − (η/2)Q_b to the mean-square edge on the stochastic central flow (lines) and in {replicas} runs of "
    "SGD "
    "(points, 95 %), diagonal network (n = 40, d = 20), averaged over the last two thirds of a ramp; right ε = "
    "{fast_noise:g}. "
    "Its exponents at the weakest noise are {noise_low:.3f} to {noise_high:.3f} in ε and {speed_low:.3f} to "
    "{speed_high:.3f} in the length of the ramp: the edge is a wall, approached as ε² over the speed."
)


def configure(quick: bool) -> dict[str, Any]:
    if quick:
        short: dict[str, Any] = {"n_steps": 60_000, "n_replicas": 3, "n_records": 13, "n_batches": 16}
        return {
            "setting": SETTING, "batch_sizes": [8], "noises": [0.01, 0.03], "fast_noise": 0.01,
            "lengths": [30_000, 60_000],
            "n_steps": 60_000, "sgd": [asdict(replace(run, **short)) for run in GRID
                                       if (run.batch_size, run.label_noise) == (8, 0.03)],
        }  # fmt: skip
    return {
        "setting": SETTING, "batch_sizes": SIZES, "noises": NOISES, "fast_noise": FAST_NOISE, "lengths": LENGTHS,
        "n_steps": 300_000, "sgd": [asdict(run) for run in GRID if run.batch_size in SIZES],
    }  # fmt: skip


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for b in configuration["batch_sizes"]:
        tell(f"wall: flows with b = {b}")
        base = FlowExperiment(configuration["setting"], b, 0.0, n_steps=configuration["n_steps"])
        for noise in configuration["noises"]:
            rows.append(_flow("noise", replace(base, label_noise=noise)))
        for length in configuration["lengths"]:
            rows.append(_flow("speed", replace(base, label_noise=configuration["fast_noise"], n_steps=length)))
    for options in configuration["sgd"]:
        run = FlowExperiment(**options)
        tell(f"wall: SGD with ε = {run.label_noise:g}, b = {run.batch_size}")
        trace = run_sgd(run)
        late = trace.isel(record=np.flatnonzero(trace["step"].values >= run.n_steps / 3))
        levels = (late[Q] * late["step_size"] / 2).values[trace["diverged_at"].values < 0].mean(axis=1)
        half = half_width(levels)
        rows.append(_row("SGD", run, 1 - float(levels.mean()), float(half)))
    return rows


def _flow(panel: str, run: FlowExperiment) -> Row:
    solved = es.flow.solve(
        run.problem, run.theta0, step_size=run.step_size, sampling=run.sampling, n_steps=run.n_steps,
        label_noise=run.label_noise, record=("distance_to_edge",), n_records=31,
    )  # fmt: skip
    late = solved["step"].values >= run.n_steps / 3
    return _row(panel, run, float(solved["distance_to_edge"].values[late].mean()), 0.0)


def _row(panel: str, run: FlowExperiment, distance: float, half: float) -> Row:
    return {
        "panel": panel,
        "batch_size": run.batch_size,
        "label_noise": run.label_noise,
        "n_steps": run.n_steps,
        "distance_to_edge": distance,
        "half_width": half,
    }


def _curve(rows: Sequence[Row], panel: str, b: int, key: str) -> tuple[np.ndarray, np.ndarray]:
    mine = [row for row in rows if row["panel"] == panel and row["batch_size"] == b]
    return tuple(np.array([row[name] for row in mine], dtype=float) for name in (key, "distance_to_edge"))  # type: ignore[return-value]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote: exponents between the two smallest ε, and over all speeds."""
    sizes = configuration["batch_sizes"]
    noise = [float(np.diff(np.log(y[:2]))[0] / np.diff(np.log(x[:2]))[0])
             for x, y in (_curve(rows, "noise", b, "label_noise") for b in sizes)]  # fmt: skip
    speed = [float(np.polyfit(np.log(x), np.log(y), 1)[0])
             for x, y in (_curve(rows, "speed", b, "n_steps") for b in sizes)]  # fmt: skip
    return {
        "sizes": ", ".join(map(str, sizes)),
        "replicas": configuration["sgd"][0]["n_replicas"],
        "fast_noise": configuration["fast_noise"],
        "noise_low": min(noise),
        "noise_high": max(noise),
        "speed_low": min(speed),
        "speed_high": max(speed),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(2, aspect=0.62, narrowest=2.2)
    left, right = figure.subplots(n_rows, n_columns).ravel()
    sizes = sorted({int(row["batch_size"]) for row in rows})
    for k, b in enumerate(sizes):
        color, marker = batch_color(b, max(sizes)), BATCH_MARKERS[k]
        flow = {"color": color, "linewidth": 1.2, "marker": marker, "markersize": 3, "markerfacecolor": "white"}
        left.plot(*_curve(rows, "noise", b, "label_noise"), **flow)
        length, distance = _curve(rows, "speed", b, "n_steps")
        right.plot(length / 1000, distance, **flow)
        for row in rows:
            if row["panel"] == "SGD" and row["batch_size"] == b:
                left.errorbar(
                    row["label_noise"], row["distance_to_edge"], row["half_width"], fmt=marker, color=color,
                    markersize=4,
                    capsize=1.5, elinewidth=0.8,
                )  # fmt: skip
    lowest = min(float(row["distance_to_edge"]) for row in rows)
    _draw_slope(left, min(float(row["label_noise"]) for row in rows), lowest / 2, 2.0, r"$\propto\varepsilon^2$")
    lengths = sorted({int(row["n_steps"]) // 1000 for row in rows if row["panel"] == "speed"})
    _draw_slope(right, lengths[0], lowest / 2, 1.0, r"$\propto$ length = 1/speed")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_minor_formatter(NullFormatter())
    right.set_xticks(lengths, [str(length) for length in lengths])
    right.set_xticks([], minor=True)
    left.set_xlabel(r"label noise $\varepsilon$")
    right.set_xlabel("length of the ramp, thousands of steps")
    for axes in {left, right} if n_rows > 1 else {left}:
        axes.set_ylabel(r"distance $1-(\eta/2)\,Q_b$")
    handles = [
        Line2D([], [], color=batch_color(b, max(sizes)), marker=BATCH_MARKERS[k], markersize=4, linewidth=0,
               label=f"$b=n={b}$" if b == max(sizes) else f"$b={b}$")
        for k, b in enumerate(sizes)
    ]  # fmt: skip
    handles.append(
        Line2D([], [], color=BLACK, linewidth=1.2, marker="o", markersize=3, markerfacecolor="white", label="flow")
    )
    handles.append(Line2D([], [], color=BLACK, linestyle="", marker="o", markersize=4, label="SGD (95 %)"))
    legend_above(figure, handles)
    return figure


def _draw_slope(axes: Axes, x: float, y: float, exponent: float, label: str) -> None:
    axes.plot([x, 4 * x], [y, y * 4**exponent], color=GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.annotate(label, (2 * x, y * 2**exponent), (4, -6), textcoords="offset points", color=GREY, va="top")
