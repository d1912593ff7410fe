"""Settling map: where SGD settles at the mean-square edge, over step size, batch size, label noise and depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from esssim._rows import Row
from esssim.experiments import Experiment, sweep
from esssim.experiments.settling_map import WITHOUT, cells_of, ratio, read
from esssim.plots import BATCH_MARKERS, BLACK, GREY, Page, batch_color, legend_above

# examples/settling_map.toml.
STUDY: dict[str, Any] = {
    "problem": {"kind": "diagonal_linear_network", "form": "difference"},
    "data": {"kind": "gaussian", "n_samples": 12, "n_features": 6, "seed": 1, "targets": "interpolating"},
    "start": {"kind": "solution", "scale": 1.6, "second_scale": 1.1},
    "sampling": {"scheme": "without_replacement"},
    "dynamics": {
        "step_size": {"from": 0.8, "to": 2.0, "unit": "first edge"}, "n_steps": 12_000, "n_replicas": 16, "seed": 1,
    },
    "records": {"statistics": ["mean_square_sharpness_gauss_newton"], "n_records": 13},
    "grid": {
        "problem.depth": [2, 3, 4],
        "sampling.batch_size": [1, 2, 3, 4, 8, 12],
        "dynamics.label_noise": {"from": 0.005, "to": 0.5, "log": 14},
        "dynamics.step_size.to": [0.9, 1.7, 1.9, 2.1, 2.3, 2.5, 2.7, 2.9],
    },
}  # fmt: skip
QUICK_GRID: dict[str, Any] = {
    "problem.depth": [2, 3], "sampling.batch_size": [4, 12], "dynamics.label_noise": [0.01, 0.2],
    "dynamics.step_size.to": [0.9, 1.9],
}  # fmt: skip
# The whole study takes half an hour: its published numbers are drawn where they are.
PUBLISHED = Path(__file__).parents[1] / "docs" / "settling_map.json"
CLOSE = 0.02
ALT = (
    "{depths} maps of the level of (η/2)Q_b over label noise, batch size and last step size: it is 1 where the "
    "noise is "
    "weak and the ramp goes past the first edge, and below where it is strong. In a further panel the level of "
    "SGD over "
    "that of the flow lies between {lowest:.2f} and {highest:.2f}."
)
CAPTION = (
    "Level of the mean-square sharpness (η/2)Q_b of SGD (Gauss–Newton part) at the end of ramps of η, diagonal "
    "networks of "
    "depth {first_depth} to {last_depth} (n = {n}, d = {d}), {replicas} replicas in each of {cells:,} cells, within a "
    "batch size the last step size rising from {first_end:g} to {last_end:g} first edges; last panel: over the "
    "level of the "
    "flow, nothing fitted. SGD settles at the edge in {settled:,} cells, up to ε = {largest:.2g}; the flow has "
    "the same "
    "verdict in {same:.1f} % of the cells with one, and the same level within 2 % in {close:.1f} %."
)


def configure(quick: bool) -> dict[str, Any]:
    if not quick:
        return STUDY
    short = {"n_steps": 4000, "n_replicas": 8}
    return STUDY | {"dynamics": STUDY["dynamics"] | short, "grid": QUICK_GRID}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    if configuration == STUDY and PUBLISHED.is_file():
        return read(PUBLISHED)
    sections, grid = dict(configuration), configuration["grid"]
    del sections["grid"]
    # An experiment needs a batch size; each cell has its own.
    sections["sampling"] = sections["sampling"] | {"batch_size": grid["sampling.batch_size"][0]}
    tell("settling_map: a sweep of SGD and flow")
    return cells_of(sweep(Experiment(**sections), grid, measures=("levels", "flow"), n_workers=1))


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    decided = [row for row in rows if row["verdict"] not in WITHOUT]
    ratios = np.array([ratio(row) for row in rows])
    ratios = ratios[np.isfinite(ratios)]
    settled = [row for row in rows if row["verdict"] == "settles"]
    depths, ends = _values(rows, "depth"), _values(rows, "last_step_size")
    return {
        "depths": len(depths), "first_depth": depths[0], "last_depth": depths[-1],
        "n": configuration["data"]["n_samples"], "d": configuration["data"]["n_features"],
        "replicas": configuration["dynamics"]["n_replicas"], "cells": len(rows),
        "first_end": ends[0], "last_end": ends[-1], "settled": len(settled),
        "largest": max((float(row["label_noise"]) for row in settled), default=0.0),
        "same": 100 * sum(row["verdict"] == row["flow_verdict"] for row in decided) / max(len(decided), 1),
        "close": 100 * float((np.abs(ratios - 1) <= CLOSE).mean()), "lowest": ratios.min(), "highest": ratios.max(),
    }  # fmt: skip


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return sorted({row[name] for row in rows})


def draw(rows: Sequence[Row], page: Page) -> Figure:
    """A map for each depth, and the level of SGD over that of the flow in every cell."""
    depths = _values(rows, "depth")
    figure, n_rows, n_columns = page.figure(len(depths) + 1, aspect=1.1, narrowest=3.0)
    *maps, last = figure.subplots(n_rows, n_columns, squeeze=False).ravel()[: len(depths) + 1]
    for k, (axes, depth) in enumerate(zip(maps, depths, strict=True)):
        mesh = _draw_map(axes, [row for row in rows if row["depth"] == depth], n_ticks=2 if n_columns > 2 else 4)
        axes.tick_params(labelleft=k % n_columns == 0)
        axes.set_title(f"depth {depth}")
    figure.colorbar(mesh, ax=maps, extend="both", shrink=0.6, label=r"level $(\eta/2)\,Q_b$ of SGD")
    _draw_ratios(last, rows)
    legend_above(
        figure,
        [
            Patch(facecolor="none", edgecolor=BLACK, linewidth=1.2, label="SGD settles at the edge"),
            Line2D([], [], color=BLACK, marker="x", markersize=3, linestyle="", label="SGD has no verdict"),
            Line2D([], [], color=BLACK, marker="o", markersize=3, linestyle="", label="the flow has another or none"),
            *last.get_legend_handles_labels()[0],
        ],
    )
    return figure


def _draw_map(axes: Axes, rows: Sequence[Row], n_ticks: int) -> Any:
    sizes, noises, ends = (_values(rows, name) for name in ("batch_size", "label_noise", "last_step_size"))
    ordered = sorted(rows, key=lambda row: (row["batch_size"], row["last_step_size"], row["label_noise"]))

    def over_the_map(value: Callable[[Row], Any]) -> np.ndarray:
        return np.array([value(row) for row in ordered]).reshape(-1, len(noises))

    axes.set_facecolor("#EEEEEE")
    levels = np.ma.masked_invalid(over_the_map(lambda row: float(row["level"])))
    mesh = axes.pcolormesh(levels, cmap="RdBu_r", vmin=0.5, vmax=1.5, rasterized=True)
    _surround(axes, over_the_map(lambda row: row["verdict"] == "settles"))
    none = over_the_map(lambda row: row["verdict"] in WITHOUT)
    other = over_the_map(lambda row: row["verdict"] != row["flow_verdict"]) & ~none
    for where, marker in ((none, "x"), (other, "o")):
        places, columns = np.nonzero(where)
        axes.plot(columns + 0.5, places + 0.5, marker, color=BLACK, markersize=1.8, markeredgewidth=0.5)
    for k in range(1, len(sizes)):
        axes.axhline(k * len(ends), color=GREY, linewidth=0.8)
    ticks = np.arange(0, len(noises), max(1, math.ceil(len(noises) / n_ticks)))
    axes.set_xticks(ticks + 0.5, [f"{noises[k]:.2g}" for k in ticks])
    axes.set_yticks((np.arange(len(sizes)) + 0.5) * len(ends), [f"b = {b}" for b in sizes])
    axes.tick_params(length=0)
    axes.set_xlabel(r"label noise $\varepsilon$")
    return mesh


def _draw_ratios(axes: Axes, rows: Sequence[Row]) -> None:
    sizes = _values(rows, "batch_size")
    axes.axhspan(1 - CLOSE, 1 + CLOSE, color="#E4E4E4")
    for k, b in enumerate(sizes):
        mine = [row for row in rows if row["batch_size"] == b]
        axes.plot(
            [float(row["label_noise"]) for row in mine], [ratio(row) for row in mine], BATCH_MARKERS[k],
            color=batch_color(b, max(sizes)), markersize=2.5, markeredgewidth=0.6, markerfacecolor="none",
            label=f"b = {b}", rasterized=True,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel(r"label noise $\varepsilon$")
    axes.set_ylabel("level of SGD / level of the flow")


def _surround(axes: Axes, inside: np.ndarray) -> None:
    """A line around the cells that are inside."""
    padded = np.pad(inside, 1)
    upright, level = padded[1:-1, 1:] != padded[1:-1, :-1], padded[1:, 1:-1] != padded[:-1, 1:-1]
    look: dict[str, Any] = {"color": BLACK, "linewidth": 1.0}
    for i, j in np.argwhere(upright):
        axes.plot([j, j], [i, i + 1], **look)
    for i, j in np.argwhere(level):
        axes.plot([j, j + 1], [i, i], **look)
