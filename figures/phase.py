"""Phase: imbalance against sharpness of a diagonal network with two parameters; the mean-square edge is a wall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim.claims.model import Row
from esssim.plots import BATCH_MARKERS, BLACK, GREY, Page, batch_color, legend_above, small_letters

ALT = (
    "Plane of imbalance and sharpness: trajectories rise almost vertically from four starts to the curve of solutions or "
    "to the wall of their batch size, a horizontal line, turn left there and slide along it to the curve of solutions; "
    "smaller batches have lower walls."
)
CAPTION = (
    "SGD on a diagonal network of two parameters (f = uvx, n = {n}, one step size) from starts v = 0 of different "
    "imbalance u² − v²; walls are the sharpness at which (η/2)·Q_b = 1 on the solutions, dotted lines the gradient flow. "
    "Gradient flow keeps the imbalance and sharpens; SGD that meets its wall, at {walls} times 2/η for b = {sizes}, "
    "slides to smaller imbalance: the {n_met} runs whose solution lies above it end at {low:.2f} to {high:.2f} of the wall."
)


def configure(quick: bool) -> dict[str, Any]:
    return {
        "n": 16, "seed": 4, "separation": 4.0, "target_weight": 1.0, "edge": 2.9, "batch_sizes": [1, 4, 16],
        "imbalances": [1.6, 3.4] if quick else [0.6, 1.6, 2.5, 3.4], "label_noise": 0.02,
        "n_steps": 1000 if quick else 4000,
    }  # fmt: skip


def _problem(configuration: dict[str, Any]) -> es.DiagonalLinearNetwork:
    table = es.data.two_clusters(
        configuration["n"], 1, seed=configuration["seed"], separation=configuration["separation"]
    )
    inputs = table.inputs / np.sqrt((table.inputs**2).mean())  # mean square 1: the sharpness is √(m² + 4β*²)
    return es.DiagonalLinearNetwork(inputs, configuration["target_weight"] * inputs[:, 0])


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Trajectories, gradient flow and walls; sharpness in units of 2/η."""
    problem, step_size = _problem(configuration), 2 / configuration["edge"]
    rows: list[Row] = []
    steps = np.unique(np.geomspace(1, configuration["n_steps"], 90).astype(int) - 1).tolist()
    for b in configuration["batch_sizes"]:
        tell(f"phase: b = {b}")
        sampling = es.WithoutReplacement(b)
        for imbalance in configuration["imbalances"]:
            start = np.array([np.sqrt(imbalance), 0.0])
            trace = es.simulate(
                problem, start, step_size=step_size, sampling=sampling, n_steps=configuration["n_steps"],
                label_noise=configuration["label_noise"], record=("sharpness", "theta"), record_steps=steps,
                seed=configuration["seed"],
            )  # fmt: skip
            for k, (u, v) in enumerate(trace["theta"].values[0]):
                rows.append(
                    _row("SGD", b, imbalance, u**2 - v**2, float(trace["sharpness"][0, k]) * step_size / 2, steps[k])
                )
        solution = es.gradient_flow(problem, np.array([1.2, 0.0]))
        ratio = es.sharpness(problem, solution) / es.mean_square_sharpness(
            problem, solution, sampling, hessian="gauss_newton"
        )
        rows.append(_row("wall", b, 0.0, 0.0, ratio, 0))
    for imbalance in np.linspace(0.0, 4.0, 41).tolist():
        start = np.array([np.sqrt(imbalance), 0.0]) if imbalance else np.array([1e-3, 1e-3])
        solution = es.gradient_flow(problem, start)
        for kind, point in (("start", start), ("solution", solution)):
            rows.append(_row(kind, 0, imbalance, imbalance, es.sharpness(problem, point) * step_size / 2, 0))
    return rows


def _row(kind: str, b: int, start: float, imbalance: float, sharpness: float, step: int) -> Row:
    return {
        "kind": kind,
        "batch_size": b,
        "start": start,
        "imbalance": float(imbalance),
        "sharpness": sharpness,
        "step": step,
    }


def _runs(rows: Sequence[Row]) -> list[list[Row]]:
    names = dict.fromkeys((row["batch_size"], row["start"]) for row in rows if row["kind"] == "SGD")
    return [
        [row for row in rows if row["kind"] == "SGD" and (row["batch_size"], row["start"]) == name] for name in names
    ]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    walls = {int(row["batch_size"]): float(row["sharpness"]) for row in rows if row["kind"] == "wall"}
    curve = [(float(row["start"]), float(row["sharpness"])) for row in rows if row["kind"] == "solution"]
    ends = []
    for run in _runs(rows):
        wall = walls[int(run[0]["batch_size"])]
        if np.interp(float(run[0]["start"]), *zip(*curve, strict=True)) > wall:
            ends.append(float(np.mean([float(row["sharpness"]) for row in run[-8:]])) / wall)
    return {
        "n": configuration["n"],
        "sizes": ", ".join(map(str, walls)),
        "walls": ", ".join(f"{wall:.2f}" for wall in walls.values()),
        "n_met": len(ends),
        "low": min(ends),
        "high": max(ends),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, _, _ = page.figure(1, aspect=0.52 if page.width > 4 else 0.85)
    axes = figure.subplots()
    curves = {
        kind: np.array([(row["imbalance"], row["sharpness"]) for row in rows if row["kind"] == kind], dtype=float).T
        for kind in ("start", "solution")
    }
    (x, start), (_, solution) = curves["start"], curves["solution"]
    axes.fill_between(x, solution, 3, color="#F1F1F1", linewidth=0, zorder=0)
    axes.vlines(x[4::4], start[4::4], solution[4::4], color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
    axes.plot(x, solution, color=BLACK, linewidth=1.4, zorder=2)
    sizes = sorted({int(row["batch_size"]) for row in rows if row["kind"] == "SGD"})
    for row in rows:
        if row["kind"] == "wall":
            b = int(row["batch_size"])
            axes.axhline(
                float(row["sharpness"]), color=batch_color(b, max(sizes)), linewidth=1, linestyle=(0, (5, 2)), zorder=2
            )
            axes.annotate(
                f"wall, $b={'n=' if b == max(sizes) else ''}{b}$", (1, float(row["sharpness"])), (-2, 2),
                xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", va="bottom",
                fontsize=small_letters(), color=batch_color(b, max(sizes)),
            )  # fmt: skip
    for run in _runs(rows):
        b = int(run[0]["batch_size"])
        color, marker = batch_color(b, max(sizes)), BATCH_MARKERS[sizes.index(b)]
        path = np.array([(row["imbalance"], row["sharpness"]) for row in run], dtype=float).T
        axes.plot(*path, color=color, linewidth=0.9, zorder=3, alpha=0.9)
        axes.plot(
            *path[:, -1], marker, color=color, markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=5
        )
    axes.set_xlim(0, 4.25)
    axes.set_ylim(0.9 * float(start.min()), 1.12 * float(solution.max()))
    axes.set_xlabel(r"imbalance $u^2-v^2$")
    axes.set_ylabel(r"sharpness, $(\eta/2)\,\lambda_{\max}$")
    handles = [
        Line2D([], [], color=batch_color(b, max(sizes)), marker=BATCH_MARKERS[k], markersize=4.5, linewidth=0.9,
               label=f"SGD, $b={b}$" if b < max(sizes) else "full batch")
        for k, b in enumerate(sizes)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=BLACK, linewidth=1.4, label="solutions"))
    handles.append(Line2D([], [], color=GREY, linewidth=0.6, linestyle=(0, (1, 2)), label="gradient flow"))
    legend_above(figure, handles)
    return figure
