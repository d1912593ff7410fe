"""Teaching: full batch against mini-batch on a quadratic and on a two-parameter network, also as an animation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

import esssim as es
from esssim._rows import Row
from esssim.plots import BLACK, BLUE, GREY, RED, Page, legend_above

CONFIGURATION: dict[str, Any] = {
    "quadratic": {
        "n": 8,
        "b": 2,
        "seed": 3,
        "noise": 0.8,
        "share": 0.9,
        "start": [2.3, 2.2],
        "n_steps": 36,
        "batch_seed": 1,
    },
    "network": {"n": 8, "b": 1, "seed": 1, "share": 0.85, "start": [2.2, 0.05], "n_steps": 60, "batch_seed": 2},
}
SHOWN_BATCHES = 4
DASHES = (0, (4, 1.5))
ALT = (
    "Four panels with loss contours. Quadratic: the full batch goes into the minimum, mini-batches keep moving in a "
    "cloud around it, each step aiming at the ellipse of its own batch. Network: the full batch lands on the curve of "
    "solutions near where it started, mini-batches jump along it to a flatter place."
)
CAPTION = (
    "Iterates of full-batch and mini-batch gradient descent at one step size on a regression with two parameters (b = "
    "{b}) and on the network f = uvx (b = {network_b}); contours of the loss, and {shown} ellipses of batch losses. "
    "Around the minimum of the quadratic mini-batches stay in a cloud of radius {radius:.2f} where the full batch is "
    "within {full:.1g}; on the network they end at a sharpness of {flat:.2f}·(2/η) where the full batch ends at "
    "{sharp:.2f}·(2/η)."
)


def configure(quick: bool) -> dict[str, Any]:
    lengths = {"quadratic": 12, "network": 16}
    return {name: options | ({"n_steps": lengths[name]} if quick else {}) for name, options in CONFIGURATION.items()}


def _problems(configuration: dict[str, Any]) -> dict[str, es.Problem]:
    options = configuration["quadratic"]
    table = es.data.power_law(options["n"], 2, seed=options["seed"], exponent=2.0, noise=options["noise"])
    minimum = np.linalg.lstsq(table.inputs, table.targets, rcond=None)[0]
    # About its minimum, so that the picture is centred.
    quadratic = es.LinearRegression(table.inputs, table.targets - table.inputs @ minimum)
    options = configuration["network"]
    table = es.data.gaussian(options["n"], 1, seed=options["seed"])
    inputs = table.inputs / np.sqrt((table.inputs**2).mean())
    return {"quadratic": quadratic, "network": es.DiagonalLinearNetwork(inputs, inputs[:, 0])}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Every iterate, with the batch loss of the step from it: its minimum and Hessian where these exist."""
    rows: list[Row] = []
    for name, problem in _problems(configuration).items():
        options = configuration[name]
        tell(f"teaching: {name}")
        start = np.array(options["start"])
        solution = es.gradient_flow(problem, start)
        # The network's step is stable for the full batch at its solution, and not for mini-batches.
        edge = (
            es.stability.critical_step_size(problem, solution, es.WithoutReplacement(options["b"]))
            if name == "quadratic"
            else 2 / es.sharpness(problem, solution)
        )
        eta = options["share"] * edge
        for b in (problem.n_samples, options["b"]):
            rng = np.random.default_rng(options["batch_seed"])
            batches = es.WithoutReplacement(b).draw(problem.n_samples, options["n_steps"] + 1, rng)
            theta = start
            for step, batch in enumerate(batches):
                row: Row = {
                    "panel": name, "batch_size": b, "full": b == problem.n_samples, "step": step, "x": float(theta[0]),
                    "y": float(theta[1]), "level": float(es.sharpness(problem, theta) * eta / 2),
                }  # fmt: skip
                if name == "quadratic":
                    hessian = problem.hessian(theta, batch)
                    centre = theta - np.linalg.solve(hessian, problem.gradient(theta, batch))
                    row |= {"centre_x": float(centre[0]), "centre_y": float(centre[1]), "xx": float(hessian[0, 0]),
                            "xy": float(hessian[0, 1]), "yy": float(hessian[1, 1])}  # fmt: skip
                rows.append(row)
                theta = theta - eta * problem.gradient(theta, batch)
    return rows


def _path(rows: Sequence[Row], panel: str, full: bool) -> list[Row]:
    return [row for row in rows if row["panel"] == panel and row["full"] is full]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    def radius(full: bool) -> float:
        late = _path(rows, "quadratic", full)[-12:]
        return float(np.sqrt(np.mean([float(row["x"]) ** 2 + float(row["y"]) ** 2 for row in late])))

    def level(full: bool) -> float:
        return float(_path(rows, "network", full)[-1]["level"])

    return {
        "b": configuration["quadratic"]["b"],
        "network_b": configuration["network"]["b"],
        "shown": SHOWN_BATCHES,
        "radius": radius(False),
        "full": radius(True),
        "flat": level(False),
        "sharp": level(True),
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, panels = _draw_contours(rows, page)
    for (panel, full), axes in panels.items():
        path = _path(rows, panel, full)
        if panel == "quadratic" and not full:
            for row in path[1 : 1 + SHOWN_BATCHES]:
                axes.add_patch(_draw_ellipse(row))
        x, y = [row["x"] for row in path], [row["y"] for row in path]
        axes.plot(x, y, "-o", color=BLUE if full else RED, markersize=2.2, linewidth=0.8, zorder=4)
    return figure


def animate(rows: Sequence[Row], page: Page) -> FuncAnimation:
    """One step of all four runs a frame, with the ellipse of the batch that the step descends."""
    figure, panels = _draw_contours(rows, page)
    lines, heads, ellipses = {}, {}, {}
    for (panel, full), axes in panels.items():
        color = BLUE if full else RED
        (lines[panel, full],) = axes.plot([], [], "-o", color=color, markersize=1.8, linewidth=0.8, zorder=4)
        (heads[panel, full],) = axes.plot([], [], "o", color=color, markersize=5, markeredgecolor="white", zorder=6)
        if panel == "quadratic" and not full:
            shape = Ellipse((0, 0), 0, 0, fill=False, color=BLACK, linewidth=1.1, linestyle=DASHES, zorder=3)
            ellipses[panel, full] = shape
            axes.add_patch(shape)

    def show(frame: int) -> list[Any]:
        for name, line in lines.items():
            path = _path(rows, *name)[: frame + 1]
            line.set_data([row["x"] for row in path], [row["y"] for row in path])
            heads[name].set_data([path[-1]["x"]], [path[-1]["y"]])
            if name in ellipses:
                shape = _draw_ellipse(path[-1])
                ellipses[name].set_center(shape.center)
                ellipses[name].set(width=shape.width, height=shape.height, angle=shape.angle)
        return [*lines.values(), *heads.values(), *ellipses.values()]

    n_frames = max(int(row["step"]) for row in rows) + 1
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # one layout for all frames
    return FuncAnimation(figure, show, frames=n_frames, blit=False)


def _draw_contours(rows: Sequence[Row], page: Page) -> tuple[Figure, dict[tuple[str, bool], Axes]]:
    figure, _, _ = page.figure(4, aspect=0.75, narrowest=1.2 if page.width < 4 else 3.0)
    figure.set_figheight(page.tallest if page.is_slide else page.width * (1.3 if page.width < 4 else 0.78))
    grid = figure.subplots(*((1, 4) if page.is_slide else (2, 2))).reshape(2, 2)
    panels: dict[tuple[str, bool], Axes] = {}
    for (name, problem), line in zip(_problems(CONFIGURATION).items(), grid, strict=True):
        xs, ys = (np.linspace(-2.8, 2.8, 71),) * 2 if name == "quadratic" else (
            np.linspace(-0.1, 2.7, 71), np.linspace(-0.7, 1.7, 71)
        )  # fmt: skip
        points = np.stack(np.meshgrid(xs, ys), axis=-1)
        loss = problem.loss(points) - (problem.loss(np.zeros(2)) if name == "quadratic" else 0.0)
        for full, axes in zip((True, False), line, strict=True):
            levels = np.geomspace(0.02, 12, 10)
            axes.contour(xs, ys, loss, levels=levels, colors="#B0B0B0", linewidths=0.5, zorder=1)
            if name == "network":
                u = np.linspace(0.55, 2.7, 60)
                axes.plot(u, 1 / u, color=BLACK, linewidth=1.2, zorder=2)
            axes.set_xlim(xs[0], xs[-1])
            axes.set_ylim(ys[0], ys[-1])
            axes.locator_params(steps=[1, 2, 5, 10], nbins=4 if page.is_slide or page.width < 4 else 7)
            panels[name, full] = axes
        line[0].set_ylabel(r"$\theta_2$" if name == "quadratic" else "$v$")
        for axes in line:
            axes.set_xlabel(r"$\theta_1$" if name == "quadratic" else "$u$", labelpad=1)
    for name, line in zip(("quadratic", "network"), grid, strict=True):
        end = "\n" if page.is_slide else " "
        line[0].set_title(f"{name},{end}full batch")
        line[1].set_title(f"{name},{end}$b={CONFIGURATION[name]['b']}$")
        line[1].tick_params(labelleft=False)
    handles = [
        Line2D([], [], color=BLUE, marker="o", markersize=2.5, linewidth=0.8, label="full batch"),
        Line2D([], [], color=RED, marker="o", markersize=2.5, linewidth=0.8, label="mini-batch"),
        Line2D([], [], color=BLACK, linewidth=0.8, linestyle=DASHES, label="batch losses"),
        Line2D([], [], color=BLACK, linewidth=1.2, label="solutions"),
        Line2D([], [], color=GREY, linewidth=0.5, label="loss contours"),
    ]
    legend_above(figure, handles)
    return figure, panels


def _draw_ellipse(row: Row, level: float = 0.05) -> Ellipse:
    """{θ: ½(θ−c)ᵀH_B(θ−c) = level} around the minimum c of the batch loss."""
    values, vectors = np.linalg.eigh(np.array([[row["xx"], row["xy"]], [row["xy"], row["yy"]]], dtype=float))
    lengths = 2 * np.sqrt(2 * level / np.maximum(values, 1e-9))
    angle = float(np.degrees(np.arctan2(vectors[1, 0], vectors[0, 0])))
    centre = (float(row["centre_x"]), float(row["centre_y"]))
    return Ellipse(
        centre, lengths[0], lengths[1], angle=angle, fill=False, color=BLACK, linewidth=0.8, linestyle=DASHES, zorder=3
    )
