"""Moments: exact mean and covariance of SGD on a noisy quadratic against an ensemble, and where they settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

import esssim as es
from esssim._rows import Row
from esssim.plots import BATCH_MARKERS, BLACK, GREY, Page, batch_color, legend_above

N, SHARE, QUANTILE = 20, 0.35, 5.991  # step size over the critical one; 95 % of χ² with two degrees of freedom
START = (0.2, 1.0)
ENTRIES = ("mean 1", "mean 2", "variance 1", "variance 2", "covariance")
ALT = (
    "Left and middle: means and covariances of both parameters against steps, points of the ensemble on the exact "
    "lines "
    "for b = {sizes}. Right: final points with the 95 % ellipses of the stationary covariance, smaller for larger b."
)
CAPTION = (
    "SGD on a regression with noisy targets (n = {n}, two parameters) at {share:g} times the critical step size of "
    "each "
    "b: exact moments (lines) and {replicas} runs (points, 95 %); ellipses hold 95 % of a normal law with the exact "
    "stationary covariance. "
    "The largest of {count} differences is {worst:.1f} standard errors; the ellipses hold {inside} of the final "
    "points, "
    "less where the tails are heavy."
)


def configure(quick: bool) -> dict[str, Any]:
    counts = {"n_replicas": 100, "batch_sizes": [1, 4]} if quick else {"n_replicas": 4000, "batch_sizes": [1, 2, 4, 10]}
    return counts | {
        "n": N,
        "share": SHARE,
        "seed": 9,
        "noise": 0.6,
        "record_steps": [0, 1, 2, 4, 7, 11, 16, 23, 32, 45, 60],
    }


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    table = es.data.power_law(N, 2, seed=configuration["seed"], exponent=1.0, noise=configuration["noise"])
    problem, rows = es.LinearRegression(table.inputs, table.targets), list[Row]()
    for b in configuration["batch_sizes"]:
        tell(f"moments: b = {b}")
        sampling, steps = es.WithoutReplacement(b), configuration["record_steps"]
        eta = configuration["share"] * es.stability.critical_step_size(problem, np.zeros(2), sampling)
        run = {"step_size": eta, "sampling": sampling, "n_steps": steps[-1], "record_steps": steps}
        exact = es.moments.evolve(problem, START, **run)
        trace = es.simulate(
            problem, START, record=("theta",), n_replicas=configuration["n_replicas"], seed=configuration["seed"], **run
        )
        thetas = trace["theta"].values
        for k, step in enumerate(steps):
            rows += _compared(b, step, thetas[:, k], exact["mean"].values[k], exact["covariance"].values[k])
        settled = es.moments.stationary_covariance(problem, step_size=eta, sampling=sampling)
        minimum = np.linalg.lstsq(table.inputs, table.targets, rcond=None)[0]
        rows.append(
            {"kind": "stationary", "batch_size": b, "x": float(minimum[0]), "y": float(minimum[1]),
             "xx": float(settled[0, 0]), "xy": float(settled[0, 1]), "yy": float(settled[1, 1])}
        )  # fmt: skip
        rows += [
            {"kind": "point", "batch_size": b, "x": float(x), "y": float(y)} for x, y in thetas[:, -1]
        ]  # fmt: skip
    return rows


def _compared(b: int, step: int, thetas: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> list[Row]:
    centred = thetas - mean
    draws = [*thetas.T, *(centred**2).T, centred.prod(axis=1)]
    truths = [*mean, covariance[0, 0], covariance[1, 1], covariance[0, 1]]
    return [
        {"kind": "moment", "batch_size": b, "step": step, "entry": entry, "exact": float(truth),
         "ensemble": float(values.mean()), "standard_error": float(values.std(ddof=1) / np.sqrt(len(values)))}
        for entry, truth, values in zip(ENTRIES, truths, draws, strict=True)
    ]  # fmt: skip


def _of(rows: Sequence[Row], kind: str, b: int) -> list[Row]:
    return [row for row in rows if row["kind"] == kind and row["batch_size"] == b]


def _inside(rows: Sequence[Row], b: int) -> float:
    """The share of final points within the ellipse."""
    (law,) = _of(rows, "stationary", b)
    offsets = np.array(
        [[float(row["x"]) - float(law["x"]), float(row["y"]) - float(law["y"])] for row in _of(rows, "point", b)]
    )
    matrix = np.array([[law["xx"], law["xy"]], [law["xy"], law["yy"]]], dtype=float)
    return float((np.einsum("mi,ij,mj->m", offsets, np.linalg.inv(matrix), offsets) < QUANTILE).mean())


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    scores = [
        abs(float(row["ensemble"]) - float(row["exact"])) / float(row["standard_error"])
        for row in rows
        if row["kind"] == "moment" and float(row["step"]) > 0
    ]
    sizes = configuration["batch_sizes"]
    shares = ", ".join(f"{100 * _inside(rows, b):.0f} %" for b in sizes)
    return {
        "n": configuration["n"],
        "share": configuration["share"],
        "replicas": configuration["n_replicas"],
        "sizes": ", ".join(map(str, sizes)),
        "count": len(scores),
        "worst": max(scores),
        "inside": f"{shares} (b = {', '.join(map(str, sizes))})",
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(3, aspect=0.85, narrowest=1.9)
    panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    means, spreads, plane = panels[:3]
    for axes in panels[3:]:
        axes.set_axis_off()
    sizes = sorted({int(row["batch_size"]) for row in rows})
    for k, b in enumerate(sizes):
        color, marker = batch_color(b, N), BATCH_MARKERS[k]
        for axes, entries in ((means, ENTRIES[:2]), (spreads, ENTRIES[2:])):
            for entry, dashes in zip(entries, ("-", (0, (5, 1.5)), (0, (1, 1))), strict=False):
                mine = [row for row in _of(rows, "moment", b) if row["entry"] == entry]
                step, exact, found, error = (
                    np.array([row[key] for row in mine], dtype=float)
                    for key in ("step", "exact", "ensemble", "standard_error")
                )
                axes.plot(step, exact, color=color, linestyle=dashes, linewidth=0.9, zorder=2)
                axes.errorbar(
                    step, found, 1.96 * error, fmt=marker, color=color, markersize=2.2, elinewidth=0.6, zorder=3
                )
        (law,) = _of(rows, "stationary", b)
        points = _of(rows, "point", b)[:300]
        plane.plot([row["x"] for row in points], [row["y"] for row in points], marker, color=color, markersize=1.3,
            alpha=0.35,
                   markeredgewidth=0, zorder=1)  # fmt: skip
        xx, xy, yy, x, y = (float(law[name]) for name in ("xx", "xy", "yy", "x", "y"))
        values, axes_of = np.linalg.eigh([[xx, xy], [xy, yy]])
        lengths = 2 * np.sqrt(QUANTILE * values)
        angle = float(np.degrees(np.arctan2(axes_of[1, 1], axes_of[0, 1])))
        plane.add_patch(
            Ellipse(
                (x, y),
                lengths[1],
                lengths[0],
                angle=angle,
                fill=False,
                color=color,
                linewidth=1.4,
                zorder=3 + k,
            )
        )
        if k == 0:
            reach = 1.35 * np.sqrt(QUANTILE * np.array([law["xx"], law["yy"]], dtype=float))
            plane.set_xlim(law["x"] - reach[0], law["x"] + reach[0])
            plane.set_ylim(law["y"] - reach[1], law["y"] + reach[1])
    means.set_title("mean")
    spreads.set_title("covariance")
    plane.set_title("stationary covariance")
    for axes in (means, spreads):
        axes.set_xlabel("step")
    plane.set_xlabel(r"$\theta_1$")
    plane.set_ylabel(r"$\theta_2$")
    handles = [
        Line2D([], [], color=batch_color(b, N), marker=BATCH_MARKERS[k], markersize=3, linewidth=1.2, label=f"$b={b}$")
        for k, b in enumerate(sizes)
    ]
    handles += [
        Line2D([], [], color=BLACK, linewidth=0.9, label=r"$\theta_1$"),
        Line2D([], [], color=BLACK, linewidth=0.9, linestyle=(0, (5, 1.5)), label=r"$\theta_2$"),
        Line2D([], [], color=BLACK, linewidth=0.9, linestyle=(0, (1, 1)), label="mixed"),
        Line2D([], [], color=GREY, linestyle="", marker="o", markersize=2.5, label="ensemble"),
    ]
    legend_above(figure, handles)
    return figure
