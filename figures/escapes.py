"""Escapes: how rarely SGD leaves a minimum with unstable batches, against the distance from the mean-square edge."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esssim._rows import Row
from esssim.experiments.escapes import EscapeExperiment, escapes, power_law
from esssim.plots import BLACK, BLUE, ORANGE, Page, legend_above

# Splitting down to 1e-10 takes a quarter of an hour: the published numbers of the first network are drawn.
PUBLISHED = Path(__file__).parents[1] / "docs" / "escapes.json"
FIRST, SECOND = "one unstable batch of 120", "28 unstable batches of 220"
COLORS = {FIRST: BLUE, SECOND: ORANGE}
MARKERS = {FIRST: "o", SECOND: "s"}
ALT = (
    "Probability of an escape per step on a logarithmic axis, from {highest:.0e} to {lowest:.0e}, against the distance "
    "1 − (η/2)Q_b from the edge: points of SGD on two networks lie near the lines of a power law that was computed "
    "beforehand, and above the line at the largest distance."
)
CAPTION = (
    "Probability per step that SGD escapes from a minimum with ηQ_b < 2 < η·max λ_max(H_B), by importance splitting "
    "(95 %; open: SGD linearised at the minimum), on diagonal networks with {batches}, with the power law ℓ^(−α/2) of "
    "the linearised process computed before the runs (lines). It falls from {highest:.1e} to {lowest:.1e} on the way "
    "from {near:.0%} to {far:.0%} below the edge, and is within a factor of 2 of the power law in {within} of {n} "
    "cases, at most {most:.0f} times off."
)


def configure(quick: bool) -> dict[str, Any]:
    """The runs on the second network are those of the claims `escape-probability`."""
    particles = {0.85: 100} if quick else {0.85: 200, 0.7: 500}
    runs = [asdict(EscapeExperiment(start, n_particles)) for start, n_particles in particles.items()]
    return {"published": None if quick else PUBLISHED.name, "runs": runs}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    if configuration["published"] and PUBLISHED.is_file():
        for row in json.loads(PUBLISHED.read_text(encoding="utf-8"))["rows"]:
            # Without an unstable batch there was no escape.
            if row["unstable"] > 1:
                rows.append({
                    "network": FIRST, "distance": 1 - row["start"], "predicted": row["per_step_predicted"],
                    "rate": row["network_per_step"], "lower": row["network_lower"], "upper": row["network_upper"],
                    "linearised": row["linear_per_step"],
                })  # fmt: skip
    for options in configuration["runs"]:
        run = EscapeExperiment(**options)
        tell(f"escapes: splitting at {run.start:g}")
        found = escapes(run)
        rows.append({
            "network": SECOND, "distance": 1 - run.start, "predicted": power_law(run)[0], "rate": found.per_step,
            "lower": found.interval[0] / run.n_steps, "upper": found.interval[1] / run.n_steps, "linearised": np.nan,
        })  # fmt: skip
    return rows


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    rates = [float(row["rate"]) for row in rows]
    ratios = [abs(np.log2(float(row["rate"]) / float(row["predicted"]))) for row in rows]
    distances = [float(row["distance"]) for row in rows]
    return {
        "batches": " or ".join(dict.fromkeys(str(row["network"]) for row in rows)), "highest": max(rates),
        "lowest": min(rates), "near": min(distances), "far": max(distances),
        "within": sum(ratio <= 1 for ratio in ratios), "n": len(rows), "most": 2 ** max(ratios),
    }  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, _, _ = page.figure(1, aspect=0.8 if page.width < 4.5 else 0.5)
    axes = figure.subplots()
    networks = list(dict.fromkeys(str(row["network"]) for row in rows))
    for network in networks:
        color, marker = COLORS[network], MARKERS[network]
        mine = [row for row in rows if row["network"] == network]
        distance, predicted, rate, lower, upper, linear = (
            np.array([row[key] for row in mine], dtype=float)
            for key in ("distance", "predicted", "rate", "lower", "upper", "linearised")
        )
        axes.plot(distance, predicted, color=color, linewidth=1.2)
        axes.plot(distance, linear, marker, color=color, markersize=7, markerfacecolor="none", markeredgewidth=0.8)
        axes.errorbar(
            distance, rate, [rate - np.maximum(lower, 0.1 * rate), upper - rate], fmt=marker, color=color, markersize=4,
            capsize=1.5, elinewidth=0.9,
        )  # fmt: skip
    axes.axvline(0.0, color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.set_yscale("log")
    axes.set_xlim(left=-0.02)
    axes.set_xlabel(r"distance from the edge, $1-(\eta/2)\,Q_b$")
    axes.set_ylabel("escapes per step")
    handles = [
        Line2D([], [], color=COLORS[name], marker=MARKERS[name], markersize=4, linewidth=0, label=name)
        for name in networks
    ]
    handles += [
        Line2D([], [], color=BLACK, marker="o", markersize=7, markerfacecolor="none", linewidth=0, label="linearised"),
        Line2D([], [], color=BLACK, linewidth=1.2, label="power law, predicted"),
        Line2D([], [], color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)), label="mean-square edge"),
    ]
    legend_above(figure, handles)
    return figure
