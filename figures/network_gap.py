"""Network gap: mini-batch sharpness minus sharpness of a small network, before, along and after training, and its
prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

import esssim as es
from esssim._rows import Row
from esssim.experiments.networks import NetworkExperiment, described
from esssim.plots import BATCH_MARKERS, BLACK, CASING, GREY, LOOKS, Page, batch_axis, legend_above, thin_labels

from .networks import experiment

EXTRA = "bridge"
RED = LOOKS["minibatch_sharpness"].color
POINTS = {"start": "at the start", "trained": "after training"}
ALONG = "along"
BAND, OUTSIDE = "#BFD9EA", "#E4E4E4"
ALT = (
    "Above: mini-batch sharpness minus sharpness, over sharpness, against batch size on log–log axes, at the start and "
    "after training: measured points inside the bounds, on the predicted line where there is one. Below: measured over "
    "predicted gap of "
    "{replicas} initialisations, {low:.2f} to {high:.2f} up to b = {last}. On the right the same along the run."
)
CAPTION = (
    "Gap (M_b − λ_max)/λ_max of a network ({network}) at its first initialisation and after {n_steps} steps of SGD "
    "with "
    "b = {trained_with}, with the best valid formula of esssim.gap and its own error, inside the bounds that always "
    "hold "
    "(white); below, measured over predicted gap of {replicas} initialisations, 95 %. "
    "A formula is valid for {n_known} of {n_cases} gaps, of which {within} lie within its error and three of their "
    "own; up to "
    "b = {last} the measured gap is {low:.2f} to {high:.2f} times the predicted one, and training takes it at b = "
    "{quoted} "
    "from {before:.2f} to {after:.2f} of the sharpness; along the run, at b = {trained_with}, {along_within} of "
    "{n_along} gaps lie within the error and three of their own, and the prediction misses them by {along_miss:.1f} % "
    "in the median, while the gap over the sharpness moves between {along_low:.2f} and {along_high:.2f}."
)


def configure(quick: bool) -> dict[str, Any]:
    run = NetworkExperiment(32, data="wine", n_samples=178, hidden=(5,), n_replicas=3, n_steps=20_000)
    sizes = [1, 2, 4, 8, 16, 32, 64, 128, 177]
    if quick:
        run = NetworkExperiment(8, data="wine", n_samples=32, hidden=(2,), n_replicas=2, n_steps=300)
        sizes = [1, 4, 16, 31]
    return {
        "run": asdict(run), "batch_sizes": sizes, "n_batches": 100 if quick else 500, "quoted": 16,
        "n_records": 3 if quick else 11,
    }  # fmt: skip


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    """Gap, its bounds and its predictions over λ_max, per initialisation and b, before and after training."""
    from esssim import bridge

    run = experiment(configuration["run"])
    tell(f"network_gap: training with b = {run.batch_size}")
    trace = bridge.train(
        run.problem, run.starts, step_size=run.schedule, sampling=run.sampling, n_steps=run.n_steps,
        n_replicas=run.n_replicas, record=("theta",), n_records=configuration["n_records"], seed=run.seed,
    )  # fmt: skip
    rows: list[Row] = []
    for k, point in zip((0, -1), POINTS, strict=True):
        for replica, theta in enumerate(trace["theta"].values[:, k]):
            tell(f"network_gap: {POINTS[point]}, initialisation {replica}")
            for b in configuration["batch_sizes"]:
                where: Row = {"point": point, "replica": replica, "step": 0 if k == 0 else run.n_steps}
                rows.append(where | _row(run.problem, theta, b, configuration["n_batches"], run.seed))
    for replica, path in enumerate(trace["theta"].values):
        tell(f"network_gap: along the run, initialisation {replica}")
        for step, theta in zip(trace["step"].values.tolist(), path, strict=True):
            where = {"point": ALONG, "replica": replica, "step": step}
            rows.append(where | _row(run.problem, theta, run.batch_size, configuration["n_batches"], run.seed))
    return rows


def _row(problem: es.Problem, theta: np.ndarray, b: int, n_batches: int, seed: int) -> Row:
    sampling = es.WithoutReplacement(b)
    top, exact = es.sharpness(problem, theta), sampling.count(problem.n_samples) <= n_batches
    if exact:
        gap, standard_error = es.minibatch_sharpness(problem, theta, sampling).value - top, 0.0
    else:
        found = es.gap.confidence_bounds(problem, theta, sampling, n_batches=n_batches, seed=seed)
        gap, standard_error = found.mean, found.standard_error
    predicted = es.gap.predict(problem, theta, sampling)
    lower, upper = es.gap.bounds(problem, theta, sampling).gap
    return {
        "n_samples": problem.n_samples, "batch_size": b, "gap": gap / top,
        "standard_error": standard_error / top, "exact": exact, "sharpness": top,
        "predicted": predicted.value / top, "error": predicted.error / top, "formula": predicted.method,
        "lower": lower / top, "upper": upper / top,
    }  # fmt: skip


def _columns(rows: Sequence[Row], point: str, replica: int, *names: str) -> list[np.ndarray]:
    mine = [row for row in rows if row["point"] == point and row["replica"] == replica]
    return [np.array([_value(row, name) for row in mine]) for name in names]


def _value(row: Row, name: str) -> float:
    """A number of a row; no prediction where `predict` has the middle of the bounds only."""
    return float("nan") if name in ("predicted", "error") and row["formula"] == "bounds" else float(row[name])


def _within(row: Row) -> bool:
    far = abs(float(row["gap"]) - float(row["predicted"]))
    return far <= float(row["error"]) + 3 * float(row["standard_error"])


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote; the smallest gaps, near b = n, are left to the picture."""
    run, quoted = experiment(configuration["run"]), configuration["quoted"]
    last = max(b for b in configuration["batch_sizes"] if b <= run.n_samples / 2)
    along, at_ends = [row for row in rows if row["point"] == ALONG], [row for row in rows if row["point"] != ALONG]
    known = [row for row in at_ends if row["formula"] != "bounds"]
    ratios = [float(row["gap"]) / float(row["predicted"]) for row in known if int(row["batch_size"]) <= last]
    at = {row["point"]: row for row in at_ends if row["batch_size"] == quoted and row["replica"] == 0}
    moved = [float(row["gap"]) for row in along]
    return {
        "network": described(run)["network"],
        "n_steps": f"{run.n_steps:,}",
        "trained_with": run.batch_size,
        "replicas": run.n_replicas,
        "last": last,
        "low": min(ratios),
        "high": max(ratios),
        "n_cases": len(at_ends),
        "n_known": len(known),
        "within": sum(map(_within, known)),
        "n_along": len(along),
        "along_within": sum(map(_within, along)),
        "along_miss": 100 * float(np.median([abs(float(row["predicted"]) / float(row["gap"]) - 1) for row in along])),
        "along_low": min(moved),
        "along_high": max(moved),
        "quoted": quoted,
        "before": at["start"]["gap"],
        "after": at["trained"]["gap"],
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    narrow = page.width < 4
    short = narrow or page.is_slide
    figure, _, _ = page.figure(2 if narrow else 6, aspect=0.8, narrowest=1.4)
    if not page.is_slide:
        figure.set_figheight(page.width * (1.3 if narrow else 0.62))
    grid = figure.subplots(2, 3, sharex="col", sharey="row", height_ratios=[1.8, 1])
    n = int(rows[0]["n_samples"])
    sizes = sorted({int(row["batch_size"]) for row in rows})
    for (above, below), (point, title) in zip(grid.T[:2], POINTS.items(), strict=True):
        above.set_title(title)
        _draw_gap(above, rows, point)
        _draw_ratio(below, rows, point)
        batch_axis(below, [b for b in sizes if b.bit_count() == 1] + [n - 1], n)
        below.set_xlim(0.85, 1.15 * n)
    above, below = grid[:, 2]
    above.set_title("along the run")
    _draw_gap(above, rows, ALONG, "step")
    _draw_ratio(below, rows, ALONG, "step")
    below.set_xlabel("steps")
    gaps = np.array([row["gap"] for row in rows], dtype=float)
    grid[0, 0].set_ylim(gaps[gaps > 0].min() / 2, 3 * gaps.max())
    grid[0, 0].set_ylabel(r"gap$/\lambda_{\max}$" if short else r"gap $(M_b-\lambda_{\max})/\lambda_{\max}$")
    grid[1, 0].set_ylabel("ratio" if short else "measured / predicted")
    handles: list[Any] = [
        Line2D([], [], color=RED, marker="s", markersize=4, linewidth=0, label="MiniBS gap"),
        Line2D([], [], color=RED, marker="s", markersize=4, linewidth=0, markerfacecolor=CASING,
            label="sampled (95 %)"),
        Line2D([], [], color=BLACK, linewidth=1, marker=".", markersize=3, label="best valid formula"),
        Patch(color=BAND, label="its error"),
        Patch(color=OUTSIDE, label="outside the bounds"),
    ]  # fmt: skip
    legend_above(figure, handles)
    thin_labels(figure)
    return figure


def _draw_gap(axes: Axes, rows: Sequence[Row], point: str, against: str = "batch_size") -> None:
    names = (against, "gap", "standard_error", "exact", "predicted", "error", "lower", "upper")
    b, gap, standard_error, exact, predicted, error, lower, upper = _columns(rows, point, 0, *names)
    if against == "batch_size":
        axes.set_xscale("log")
    axes.set_yscale("log")
    axes.fill_between(b, upper, 1e6, color=OUTSIDE, linewidth=0, zorder=0)
    axes.fill_between(b, 1e-12, np.maximum(lower, 1e-12), color=OUTSIDE, linewidth=0, zorder=0)
    axes.fill_between(b, np.maximum(predicted - error, 1e-12), predicted + error, color=BAND, linewidth=0, zorder=1)
    axes.plot(b, predicted, color=BLACK, linewidth=1, marker=".", markersize=3, zorder=3)
    for known in (True, False):
        chosen = (exact > 0) == known
        axes.errorbar(
            b[chosen], gap[chosen], 1.96 * standard_error[chosen], fmt="s", color=RED, markersize=4,
            markerfacecolor=RED if known else CASING, elinewidth=0.8, capsize=1.5, zorder=2,
        )  # fmt: skip


def _draw_ratio(axes: Axes, rows: Sequence[Row], point: str, against: str = "batch_size") -> None:
    """Every initialisation, side by side; the band is the error of the first one's prediction."""
    names = (against, "gap", "standard_error", "predicted", "error")
    axes.axhline(1, color=GREY, linewidth=0.8, zorder=1)
    for replica in sorted({int(row["replica"]) for row in rows}):
        b, gap, standard_error, predicted, error = _columns(rows, point, replica, *names)
        if replica == 0:
            axes.fill_between(b, 1 - error / predicted, 1 + error / predicted, color=BAND, linewidth=0, zorder=0)
        aside = b * 1.06 ** (replica - 1) if against == "batch_size" else b
        axes.errorbar(
            aside, gap / predicted, 1.96 * standard_error / predicted, fmt=BATCH_MARKERS[replica],
            color=RED, markersize=3, markerfacecolor=CASING, elinewidth=0.7, capsize=1.2, zorder=3,
        )  # fmt: skip
    axes.set_ylim(0, 2)
    axes.set_yticks([0, 0.5, 1, 1.5, 2])
