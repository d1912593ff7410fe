"""Phase: imbalance against sharpness of a diagonal network with two parameters; the mean-square edge is a wall."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import esssim as es
from esssim._rows import Row
from esssim.plots import BATCH_MARKERS, BLACK, Page, batch_color, legend_above, small_letters

ALT = (
    "Plane of imbalance and (η/2)·sharpness: while the step size rises, trajectories climb straight up from their "
    "start "
    "to the horizontal wall of their batch size, turn and run left along it; smaller batches have lower walls."
)
CAPTION = (
    "SGD with weak label noise (ε = {noise:g}) on a diagonal network of two parameters (f = uvx, n = {n}) while η "
    "rises, "
    "from solutions of imbalance u² − v² = {starts}; thin lines: the stochastic central flow; walls: (η/2)·Q_b = 1. "
    "Runs keep their imbalance until they meet the wall, at a sharpness of {walls} times 2/η for b = {sizes}, and "
    "then lose it along the wall: at half of their imbalance they are at {low:.2f} to {high:.2f} of it."
)


def configure(quick: bool) -> dict[str, Any]:
    return {
        "n": 16, "seed": 4, "separation": 4.0, "batch_sizes": [1, 4, 16], "imbalances": [4.0] if quick else [4.0, 2.5],
        "rise": 0.45, "label_noise": 0.003, "n_steps": 20_000 if quick else 60_000, "n_records": 41 if quick else 161,
    }  # fmt: skip


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Runs, flows and walls; sharpness in units of 2/η."""
    n, seed = configuration["n"], configuration["seed"]
    table = es.data.two_clusters(n, 1, seed=seed, separation=configuration["separation"])
    inputs = table.inputs / np.sqrt((table.inputs**2).mean())
    problem = es.DiagonalLinearNetwork(inputs, inputs[:, 0])  # β* = 1, solutions of sharpness √(m² + 4)
    rows: list[Row] = []
    for b in configuration["batch_sizes"]:
        tell(f"phase: b = {b}")
        sampling = es.WithoutReplacement(b)

        def edge(theta: np.ndarray, sampling: es.Sampling = sampling) -> float:
            return 2 / es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")

        for imbalance in configuration["imbalances"]:
            start = es.gradient_flow(problem, np.array([np.sqrt(imbalance), 0.0]))
            ramp = es.Ramp(configuration["rise"] * edge(start), 0.97 * edge(np.ones(2)))
            run: dict[str, Any] = {
                "step_size": ramp, "sampling": sampling, "n_steps": configuration["n_steps"],
                "label_noise": configuration["label_noise"], "n_records": configuration["n_records"],
            }  # fmt: skip
            flow = es.flow.solve(problem, start, record=("sharpness",), **run)
            trace = es.simulate(
                problem,
                start,
                record=("sharpness", "theta"),
                record_steps=flow["step"].values.tolist(),
                seed=seed,
                **run,
            )
            for kind, theta, sharpness in (
                ("SGD", trace["theta"].values[0], trace["sharpness"].values[0]),
                ("flow", flow["theta"].values, flow["sharpness"].values),
            ):
                for k, eta in enumerate(trace["step_size"].values):
                    u, v = theta[k]
                    rows.append(_row(kind, b, imbalance, u**2 - v**2, sharpness[k] * eta / 2))
        ratio = es.sharpness(problem, np.ones(2)) * edge(np.ones(2)) / 2
        rows.append(_row("wall", b, 0.0, 0.0, ratio))
    return rows


def _row(kind: str, b: int, start: float, imbalance: float, sharpness: float) -> Row:
    return {"kind": kind, "batch_size": b, "start": start, "imbalance": float(imbalance), "sharpness": float(sharpness)}


def _paths(rows: Sequence[Row], kind: str) -> dict[tuple[int, float], np.ndarray]:
    """(2, records) of imbalance and sharpness, by batch size and start."""
    paths: dict[tuple[int, float], list[tuple[float, float]]] = {}
    for row in rows:
        if row["kind"] == kind:
            name = (int(row["batch_size"]), float(row["start"]))
            paths.setdefault(name, []).append((float(row["imbalance"]), float(row["sharpness"])))
    return {name: np.array(path).T for name, path in paths.items()}


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    walls = {b: float(path[1, 0]) for (b, _), path in _paths(rows, "wall").items()}
    halfway = []
    for (b, start), (imbalance, sharpness) in _paths(rows, "SGD").items():
        near = np.abs(imbalance - start / 2) < 0.1 * start
        if near.any():
            halfway.append(float(sharpness[near].mean()) / walls[b])
    return {
        "n": configuration["n"],
        "noise": configuration["label_noise"],
        "starts": ", ".join(f"{start:g}" for start in configuration["imbalances"]),
        "sizes": ", ".join(map(str, walls)),
        "walls": ", ".join(f"{wall:.2f}" for wall in walls.values()),
        "low": min(halfway),
        "high": max(halfway),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, _, _ = page.figure(1, aspect=0.45 if page.width > 4 else 0.85)
    axes = figure.subplots()
    runs = _paths(rows, "SGD")
    sizes = sorted({b for b, _ in runs})
    for (b, _), wall in _paths(rows, "wall").items():
        axes.axhline(wall[1, 0], color=batch_color(b, max(sizes)), linewidth=3, alpha=0.3, zorder=1)
        axes.annotate(
            "wall of "
            f"$b={'n=' if b == max(sizes) else ''}{b}$", (1, wall[1, 0]), (3, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=small_letters(), color=BLACK,
        )  # fmt: skip
    for (b, _), path in runs.items():
        color, marker = batch_color(b, max(sizes)), BATCH_MARKERS[sizes.index(b)]
        axes.plot(
            *path, color=color, linewidth=1.1, zorder=3, marker=marker, markersize=3.5, markevery=(2, len(path[0]) // 6)
        )
        middle = len(path[0]) // 8
        axes.annotate(
            "", tuple(path[:, middle + 2]), tuple(path[:, middle]), zorder=4,
            arrowprops={"arrowstyle": "-|>", "color": color, "linewidth": 0, "mutation_scale": 9},
        )  # fmt: skip
    for path in _paths(rows, "flow").values():
        axes.plot(*path, color=BLACK, linewidth=0.6, zorder=4)
    axes.set_xlim(0, None)
    axes.set_xlabel(r"imbalance $u^2-v^2$")
    axes.set_ylabel(r"sharpness, $(\eta/2)\,\lambda_{\max}$")
    handles = [
        Line2D([], [], color=batch_color(b, max(sizes)), marker=BATCH_MARKERS[k], markersize=4, linewidth=1.1,
               label=f"SGD, $b={b}$" if b < max(sizes) else f"full batch, $b=n={b}$")
        for k, b in enumerate(sizes)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=BLACK, linewidth=0.6, label="stochastic central flow"))
    legend_above(figure, handles)
    return figure
