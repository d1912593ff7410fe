"""Stability diagram: measured growth rate of SGD over step size and batch size, with four thresholds as lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import esssim as es
from esssim._rows import Row
from esssim.plots import (
    BLACK,
    LOOKS,
    MEAN_SQUARE,
    Look,
    Page,
    batch_axis,
    draw_stability,
    draw_threshold,
    legend_above,
    thin_labels,
)

N, D, SEED = 40, 10, 5
SPAN = (0.1, 2.0)  # step sizes, in units of 2/λ_max
LIMIT = 0.4  # growth rates beyond it have the end colours
THRESHOLDS = {
    "sharpness": Look(
        r"sharpness, $2/\lambda_{\max}$", LOOKS["sharpness"].color, "", LOOKS["sharpness"].line, main=True
    ),
    "almost_sure": Look("almost-sure edge", BLACK, "", (0, (6, 1.2, 1.5, 1.2)), main=True),
    "minibatch_sharpness": Look(
        "MiniBS, $2/M_b$", LOOKS["minibatch_sharpness"].color, "", LOOKS["minibatch_sharpness"].line, main=True
    ),
    "mean_square": Look("mean-square edge, $2/Q_b$", LOOKS[MEAN_SQUARE].color, "", "-", main=True),
}
ALT = (
    "Map of growth rate over batch size and step size: SGD contracts below the almost-sure edge and grows above it; "
    "the mean-square edge runs below it, the sharpness line is flat, and all lines meet at b = n."
)
CAPTION = (
    "Measured growth of the typical distance to the minimum, per step of SGD on linear regression (Gaussian, n = {n}, "
    "d = {d}); step sizes in units of 2/λ_max. "
    "At b = 1 the typical run is stable up to {almost_sure:.2f} and the mean square up to {mean_square:.2f}, where "
    "MiniBS says {minibatch_sharpness:.2f} and sharpness 1; at b = {peak_size} the typical run is stable up to "
    "{peak:.2f}, and at b = n all four lines meet."
)


def configure(quick: bool) -> dict[str, Any]:
    sizes = [1, 4, 16, N] if quick else [1, 2, 3, 4, 6, 8, 11, 16, 22, 30, N]
    counts = (12, 200, 4, 500) if quick else (61, 1000, 16, 20_000)
    names = ("n_step_sizes", "n_steps", "n_replicas", "n_batches")
    return {"n": N, "d": D, "seed": SEED, "batch_sizes": sizes} | dict(zip(names, counts, strict=True))


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """One row per grid point (threshold ""), then one per threshold and b with its 95 % interval; unit 2/λ_max."""
    counts = ("n_step_sizes", "n_steps", "n_replicas", "n_batches")
    n_step_sizes, n_steps, n_replicas, n_batches = (configuration[name] for name in counts)
    table = es.data.gaussian(N, D, seed=SEED)
    problem = es.LinearRegression(table.inputs, table.targets)
    theta = np.zeros(D)
    unit = es.stability.edge(es.sharpness(problem, theta))  # 2/λ_max
    grid, lines = list[Row](), list[Row]()
    for b in configuration["batch_sizes"]:
        tell(f"stability: b = {b}")
        sampling = es.WithoutReplacement(b)
        minibs = es.minibatch_sharpness(
            problem,
            theta,
            sampling,
            n_batches=None if sampling.count(N) <= 10_000 else n_batches,
            seed=SEED,
            draws="uniform",
        )
        mean_square = es.stability.critical_step_size(problem, theta, sampling)
        low, high = minibs.interval
        thresholds = {
            "sharpness": (unit, unit, unit),
            "almost_sure": es.stability.almost_sure_threshold(
                problem, theta, sampling, n_steps=n_steps, n_replicas=n_replicas, seed=SEED
            ),
            "minibatch_sharpness": tuple(map(es.stability.edge, (minibs.value, high, low))),
            "mean_square": (mean_square, mean_square, mean_square),
        }
        for name, threshold in thresholds.items():
            value, lower, upper = (step_size / unit for step_size in threshold)
            lines.append(_row(b, value, threshold=name, lower=lower, upper=upper))
        for ratio in np.geomspace(*SPAN, n_step_sizes).tolist():
            rate = es.stability.lyapunov_exponent(
                problem, theta, sampling, ratio * unit, n_steps=n_steps, n_replicas=n_replicas, seed=SEED
            )
            grid.append(_row(b, ratio, growth_rate=rate.value, standard_error=rate.standard_error))
    return grid + lines


def _row(b: int, step_size: float, **others: float | str) -> Row:
    empty: Row = dict.fromkeys(("threshold", "lower", "upper", "growth_rate", "standard_error"), "")
    return {"batch_size": b, "relative_step_size": step_size} | empty | others


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What CAPTION quotes."""
    almost_sure = [row for row in rows if row["threshold"] == "almost_sure"]
    peak = max(almost_sure, key=lambda row: float(row["relative_step_size"]))
    at_one = {str(row["threshold"]): row["relative_step_size"] for row in rows if row["batch_size"] == 1}
    return {"n": N, "d": D, "peak": peak["relative_step_size"], "peak_size": peak["batch_size"], **at_one}


def draw(rows: Sequence[Row], page: Page) -> Figure:
    """Colour from the grid, lines from the thresholds."""
    figure, _, _ = page.figure(1, aspect=0.5 if page.width > 4 else 0.75)
    axes = figure.subplots()
    grid = [row for row in rows if not row["threshold"]]
    sizes = sorted({int(row["batch_size"]) for row in grid})
    steps = sorted({float(row["relative_step_size"]) for row in grid})
    growth = np.array([row["growth_rate"] for row in grid], dtype=float).reshape(len(sizes), len(steps)).T
    mesh = draw_stability(axes, sizes, steps, growth, LIMIT)
    for name, look in THRESHOLDS.items():
        line = [row for row in rows if row["threshold"] == name]
        draw_threshold(axes, [row["batch_size"] for row in line], [row["relative_step_size"] for row in line], look)
    batch_axis(axes, [b for b in sizes if b in (1, 2, 4, 8, 16, N)], N)
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    axes.set_ylabel(r"step size $\eta$, in units of $2/\lambda_{\max}$")
    axes.text(0.04, 0.93, "grows", transform=axes.transAxes, color="white", va="top", fontstyle="italic")
    axes.text(0.96, 0.07, "contracts", transform=axes.transAxes, color="black", ha="right", fontstyle="italic")
    bar = figure.colorbar(
        mesh, ax=axes, extend="both", ticks=[-LIMIT, -LIMIT / 2, 0, LIMIT / 2, LIMIT], format="{x:.1f}"
    )
    bar.set_label(
        "growth rate per step\n(negative: stable)"
        if page.width < 4
        else r"growth rate $\gamma$ per step (negative: stable)"
    )
    legend_above(figure, axes.get_legend_handles_labels()[0])
    thin_labels(figure)
    return figure
