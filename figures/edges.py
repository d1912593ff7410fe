"""Edges: every published edge against the exact critical step size, and which one is closest where."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from esssim._rows import Row
from esssim.experiments.published_edges import EDGES, SEVERAL, closest_table
from esssim.plots import BATCH_MARKERS, GREY, Page, batch_color, legend_above, small_letters

NAMES = {
    "gradient descent": ("gradient descent", "GD"),
    "MiniBS": ("MiniBS", "MB"),
    "batch sharpness": ("batch sharpness", "BS"),
    "batch sharpness, ratio of means": ("batch sharpness, means", "BSm"),
    "interaction-aware": ("interaction-aware", "IA"),
    "noise kernel, diagonal": ("noise kernel, diagonal", "Kd"),
    "noise kernel, high-dimensional": ("noise kernel, high-dim.", "Kh"),
    "noise kernel, trace": ("noise kernel, trace", "Kt"),
}
COLORS = dict(
    zip(NAMES, ("#FFFFFF", "#F3B58A", "#8FD3BD", "#E5BFD5", "#F2D28C", "#86BEE6", "#BFE2F8", "#CFCFCF"), strict=True)
)
ALT = (
    "Left: published over exact critical step size for eight edges, a point per ensemble and batch size on a "
    "logarithmic axis around 1. Right: a table of ensembles and batch sizes with the closest edge in each cell."
)
CAPTION = (
    "Published edges as step sizes over the exact mean-square critical step size, linear regression on {n_ensembles} "
    "ensembles, b = {sizes}; edges that depend on the gradient are averaged over points around the minimum. "
    "{verdict}: of {n_cases} cases with b < n {wins}; the farthest is {farthest}, {worst:.3g} times the "
    "exact step size."
)


def configure(quick: bool) -> dict[str, Any]:
    # The seeds of the ensembles are those of the claims that share this table.
    return {"quick": quick, "edges": list(EDGES), "seed": "esssim.experiments.published_edges"}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    tell("edges: critical step sizes")
    return [dict(row) for row in closest_table(configuration["quick"])]


def _ensembles(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(str(row["ensemble"]) for row in rows))


def _columns(rows: Sequence[Row]) -> list[str]:
    """Batch sizes below n: with the full batch all edges but one are the exact one."""
    return [str(b) for b in sorted({int(row["b"]) for row in rows if row["closest"] != SEVERAL})]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    stochastic = [row for row in rows if row["closest"] != SEVERAL]
    wins = {edge: sum(row["closest"] == edge for row in stochastic) for edge in EDGES}
    listed = ", ".join(f"{edge} {wins[edge]}" for edge in sorted(EDGES, key=lambda edge: -wins[edge]) if wins[edge])
    farthest, worst = max(
        ((edge, float(row[edge])) for row in stochastic for edge in EDGES), key=lambda item: abs(np.log(item[1]))
    )
    return {
        "verdict": "One is closest everywhere"
        if max(wins.values()) == len(stochastic)
        else "None is closest everywhere",
        "n_ensembles": len(_ensembles(rows)),
        "sizes": ", ".join(_columns(rows)),
        "n_cases": len(stochastic),
        "wins": listed,
        "farthest": farthest,
        "worst": worst,
    }


def draw(rows: Sequence[Row], page: Page) -> Figure:
    narrow = page.width < 4.5
    figure, _, _ = page.figure(1, aspect=1.35 if narrow else 0.47)
    shape = (2, 1) if narrow else (1, 2)
    left, right = figure.subplots(*shape)
    sizes = [int(b) for b in _columns(rows)]
    for rank, edge in enumerate(NAMES):
        for row in rows:
            if row["closest"] == SEVERAL:
                continue
            k = sizes.index(int(row["b"]))
            left.plot(
                float(row[edge]), len(NAMES) - 1 - rank + 0.28 * (1 - 2 * (k + 0.5) / len(sizes)), BATCH_MARKERS[k],
                color=batch_color(sizes[k], 100), markersize=3, alpha=0.85, markeredgewidth=0,
            )  # fmt: skip
    left.axvline(1, color=GREY, linewidth=0.8, zorder=0)
    left.set_xscale("log")
    left.set_xticks([0.2, 0.5, 1, 2, 5, 10, 20], ["0.2", "0.5", "1", "2", "5", "10", "20"])
    left.set_xticks([], minor=True)
    ratios = [float(row[edge]) for row in rows for edge in NAMES]
    left.set_xlim(0.85 * min(ratios), 1.18 * max(ratios))
    left.set_yticks(range(len(NAMES)), [label for label, _ in reversed(NAMES.values())])
    left.tick_params(axis="y", length=0)
    left.set_xlabel("published / exact step size")
    _draw_table(right, rows, with_numbers=not narrow and not page.is_slide)
    figure.supxlabel(_key(rows, int(page.width * 150 / small_letters())), fontsize=small_letters())
    handles = [
        Line2D(
            [], [], color=batch_color(b, 100), marker=BATCH_MARKERS[k], markersize=3.5, linestyle="", label=f"$b={b}$"
        )
        for k, b in enumerate(sizes)
    ]
    legend_above(figure, handles)
    return figure


def _draw_table(axes: Axes, rows: Sequence[Row], with_numbers: bool) -> None:
    ensembles, columns = _ensembles(rows), _columns(rows)
    for row in rows:
        closest = str(row["closest"])
        if closest == SEVERAL:
            continue
        x, y = columns.index(str(row["b"])), len(ensembles) - 1 - ensembles.index(str(row["ensemble"]))
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=COLORS[closest], edgecolor="white", linewidth=1.5))
        label = NAMES[closest][1] + (f" {float(row[closest]):.2f}" if with_numbers else "")
        axes.text(x + 0.5, y + 0.5, label, ha="center", va="center", fontsize=small_letters())
    axes.set_xlim(0, len(columns))
    axes.set_ylim(0, len(ensembles))
    axes.set_xticks(np.arange(len(columns)) + 0.5, [rf"$b={b}$" for b in columns])
    axes.set_yticks(np.arange(len(ensembles)) + 0.5, [_short(name) for name in reversed(ensembles)])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _short(name: str) -> str:
    return name.replace("two-clusters", "clusters").replace("x", "×")


def _key(rows: Sequence[Row], width: int) -> str:
    """What the letters in the cells stand for, in lines of so many characters."""
    used = dict.fromkeys(str(row["closest"]) for row in rows if row["closest"] != SEVERAL)
    items = [f"{NAMES[name][1]} = {NAMES[name][0]}".replace(" ", "\N{NO-BREAK SPACE}") for name in used]
    return "\n".join(textwrap.wrap("closest: " + "; ".join(items), width, break_on_hyphens=False))
