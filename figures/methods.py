"""Methods: where the mean-square sharpness of each method settles, and where that of SGD does in the same runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from esssim._intervals import half_width
from esssim._rows import Row
from esssim.experiments import Configuration, DropoutRamp, RampExperiment, other_methods
from esssim.experiments.base import run_once
from esssim.experiments.other_methods import BOTH
from esssim.plots import BLACK, BLUE, GREY, MEAN_SQUARE, RED, Page, legend_above, small_letters
from esssim.settling import level

OF_METHOD, OF_SGD = "mean-square sharpness of the method", "$Q_b$, that of SGD"
TITLES = {
    "SGD": "SGD",
    "heavy ball": "heavy ball",
    "RMSProp": "RMSProp",
    "Adam": "Adam",
    "sharpness-aware": "sharpness-aware",
    "dropout": "dropout",
    "dropout, full batch": "dropout, full batch",
    "zeroth-order": "zeroth-order",
}
BATCH_SIZES = {
    "SGD": 8,
    "heavy ball": 2,
    "RMSProp": 2,
    "Adam": 2,
    "sharpness-aware": 4,
    "dropout": 4,
    "dropout, full batch": 60,
    "zeroth-order": 8,
}
ALT = (
    "Two dots for each of {n_methods} methods on a logarithmic axis of (η/2)·sharpness. The mean-square sharpness of "
    "the method itself lies on the line at 1, {own_low:.2f} to {own_high:.2f}; Q_b of SGD in the same runs lies "
    "anywhere from {plain_low:.2g} to {plain_high:.2g}. Zeroth-order descent is past its own edge, and diverges."
)
CAPTION = (
    "Levels of (η/2)·sharpness (95 %) in runs of {n_methods} methods on diagonal networks with weak noise: the "
    "mean-square sharpness of the method itself, 2/η_c of its own critical step size, and plain Q_b, that of SGD. The "
    "own one settles at {own_low:.2f} to {own_high:.2f} times the edge, where Q_b is anywhere from {plain_low:.2g} to "
    "{plain_high:.2g}, except for zeroth-order descent, whose noise does not flatten: {n_diverged} of {n_replicas} "
    "runs diverge, the cross being the mean of their last records, {last:.2f}."
)


def configure(quick: bool) -> dict[str, Any]:
    """The runs of the claims, with their seeds; only three of them are short enough for a quick figure."""
    methods = ("RMSProp", "dropout", "zeroth-order") if quick else tuple(TITLES)
    return {"quick": quick, "batch_sizes": {method: BATCH_SIZES[method] for method in methods}, "seed": "esssim.claims"}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    for method, b in configuration["batch_sizes"].items():
        tell(f"methods: {method}, b = {b}")
        experiment = _experiment(method, b, configuration["quick"])
        trace = run_once(experiment)
        diverged = int((trace["diverged_at"] >= 0).sum())
        for statistic, name in zip(("own", "mean-square"), BOTH, strict=True):
            name = MEAN_SQUARE if method == "SGD" else name
            value, half = _last(trace, name) if method == "zeroth-order" else _level(trace, name, experiment.after)
            rows.append({
                "method": method, "batch_size": b, "statistic": statistic, "level": value, "half_width": half,
                "n_diverged": diverged, "n_replicas": trace.sizes["replica"],
            })  # fmt: skip
    return rows


def _experiment(method: str, b: int, quick: bool) -> Configuration:
    short: dict[str, Any] = {"n_steps": 4000, "n_replicas": 3} if quick else {}
    if method == "SGD":
        return RampExperiment("gaussian-100x50", b, **short)
    if method in ("RMSProp", "Adam"):
        short = {"n_steps": 12_000, "n_replicas": 3, "n_records": 36} if quick else {}
        return other_methods.adaptive(other_methods.ADAPTIVE[method.lower()], b, seed=8, statistics=BOTH, **short)
    if method == "heavy ball":
        return other_methods.heavy_ball(b, **short)
    if method == "sharpness-aware":
        return other_methods.sharpness_aware(b, **short)
    if method == "zeroth-order":
        return other_methods.zeroth_order(b, **short)
    length = {"n_steps": 20_000} if method.endswith("full batch") else {}
    return DropoutRamp(0.002, b, **length | short)


def _level(trace: xarray.Dataset, name: str, after: float) -> tuple[float, float]:
    found = level(trace, name, after=after)
    return found.value, (found.interval[1] - found.interval[0]) / 2


def _last(trace: xarray.Dataset, name: str) -> tuple[float, float]:
    """At the last record of each replica, before it diverges."""
    levels = (trace[name] * trace["step_size"] / 2).values
    last = np.array([series[np.isfinite(series)][-1] for series in levels])
    return float(last.mean()), float(half_width(last))


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    held = [row for row in rows if row["method"] != "zeroth-order"]
    own = [float(row["level"]) for row in held if row["statistic"] == "own"]
    plain = [float(row["level"]) for row in held if row["statistic"] == "mean-square"]
    last = next(row for row in rows if row["method"] == "zeroth-order")
    return {
        "n_methods": len({str(row["method"]).split(",")[0] for row in rows}), "own_low": min(own), "own_high": max(own),
        "plain_low": min(plain), "plain_high": max(plain), "last": float(last["level"]),
        "n_diverged": last["n_diverged"], "n_replicas": last["n_replicas"],
    }  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    narrow = page.width < 4.5
    figure, _, _ = page.figure(1, aspect=0.95 if narrow else 0.5)
    axes = figure.subplots()
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    places = {method: len(methods) - 1 - k for k, method in enumerate(methods)}
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    axes.axvline(1.0, color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)))
    for row in rows:
        own, y, value = row["statistic"] == "own", places[str(row["method"])], float(row["level"])
        lost = row["method"] == "zeroth-order"
        axes.errorbar(
            value,
            y + (0.0 if own else -0.22),
            xerr=float(row["half_width"]),
            fmt="X" if lost and own else "o" if own else "s",
            color=BLUE if own else RED,
            markersize=5.5 if own else 4.0,
            markerfacecolor=BLUE if own else "white",
            capsize=1.5,
            elinewidth=0.9,
        )
        if own:
            words = "diverges" if lost and row["n_diverged"] else f"{value:.3f}"
            axes.text(1.02, y, words, transform=beside, va="center", color=BLUE, fontsize=small_letters())
    for y in range(len(methods) - 1):
        axes.axhline(y + 0.42, color=GREY, linewidth=0.3, alpha=0.5)
    axes.set_xscale("log")
    axes.set_xlim(right=2.0)
    axes.set_xticks([0.03, 0.1, 0.3, 1.0], ["0.03", "0.1", "0.3", "1"])
    axes.set_xticks([], minor=True)
    labels = [f"{TITLES[method]}, $b={_batch_size(rows, method)}$" for method in methods]
    axes.set_yticks([places[method] for method in methods], labels, fontsize="small")
    axes.set_ylim(-0.6, len(methods) - 0.45)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(r"$(\eta/2)\cdot$ sharpness")
    legend_above(figure, [
        Line2D([], [], color=BLUE, marker="o", markersize=5.5, linewidth=0, label=OF_METHOD),
        Line2D([], [], color=RED, marker="s", markersize=4, markerfacecolor="white", linewidth=0, label=OF_SGD),
        Line2D([], [], color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)), label=r"edge $2/\eta$"),
    ])  # fmt: skip
    return figure


def _batch_size(rows: Sequence[Row], method: str) -> int:
    return next(int(row["batch_size"]) for row in rows if row["method"] == method)
