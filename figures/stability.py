"""Stability diagram: measured growth rate of SGD over step size and batch size, with four thresholds as lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import esssim as es
from esssim._rows import Row
from esssim.plots import Page, batch_axis, legend_above, stability_diagram, stability_rows, thin_labels

N, D, SEED = 40, 10, 5
SPAN = (0.1, 2.0)  # step sizes, in units of 2/λ_max
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
    table = es.data.gaussian(N, D, seed=SEED)
    problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(D)
    unit = es.stability.edge(es.sharpness(problem, theta))
    found = es.stability.diagram(
        problem, theta, configuration["batch_sizes"], unit * np.geomspace(*SPAN, configuration["n_step_sizes"]),
        n_steps=configuration["n_steps"], n_replicas=configuration["n_replicas"],
        n_batches=configuration["n_batches"], draws="uniform", seed=SEED,
        progress=lambda words: tell(f"stability: {words}"),
    )  # fmt: skip
    return stability_rows(found)


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
    stability_diagram(rows, axes=axes)
    sizes = {int(row["batch_size"]) for row in rows}
    batch_axis(axes, [b for b in sorted(sizes) if b in (1, 2, 4, 8, 16, N)], N)
    axes.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    legend_above(figure, axes.get_legend_handles_labels()[0])
    thin_labels(figure)
    return figure
