"""Baselines: noise as strong as that of SGD, but of another shape, has an edge of its own, and Q_b passes 2/η."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from esssim._rows import Row
from esssim.plots import BLACK, BLUE, GREEN, GREY, RED, Page, legend_above

DOCS = Path(__file__).parents[1] / "docs"
# The runs are those of two pages, whose numbers are drawn where they are.
NUMBERS = {name: DOCS / f"{name}.json" for name in ("noise_baselines", "noise")}
EPSILON = 1e-3
RAMP = "ramp"
LAWS = {"SGD": (BLUE, "o"), "diagonal": (GREEN, "D"), "isotropic": (RED, "^")}
WORDS = {"SGD": "SGD", "diagonal": "diagonal noise", "isotropic": "isotropic noise"}
GROUPS = {
    RAMP: "diagonal,\nη rises", "wine 13–5–3, 0.7": "wine,\nlarge η", "wine 13–5–3, 0.5": "wine,\nsmaller η",
    "tanh 5–20–1, 0.7": "20 tanh\nunits",
}  # fmt: skip
STATISTICS = {"own": r"own sharpness $Q_\mathrm{own}$", "mean_square": "mean-square sharpness $Q_b$ of batches"}
TITLES = {
    "own": "In units of its own edge\nGaussian noise mostly ends near 1",
    "mean_square": "In units of SGD's edge\nit goes past 1",
}
ALT = (
    "Two panels of levels over 2/η against the batch size for SGD, diagonal and isotropic noise on a ramp and in two "
    "networks. Left, own sharpness: at most {own_high:.2f} wherever a run survives. Right, mean-square sharpness: up "
    "to {batch_high:.2f} for Gaussian noise. {diverged} of {all} settings are marked as diverged."
)
CAPTION = (
    "Level of (η/2)·statistic (95 %) of SGD and of full-batch descent with Gaussian noise of the same trace as SGD's, "
    "isotropic or diagonal: Q_own is 2 over the critical step size of the noise at work, and where most runs diverged "
    "there is a cross in place of a level (open symbols: predicted). Under Gaussian noise Q_own is within 5 % of 2/η "
    "in {close} of the {with_level} settings with a level while Q_b reaches {batch_high:.2f} times 2/η, where SGD has "
    "{sgd_high:.2f} at most: each noise has the edge of its own operator."
)


def configure(quick: bool) -> dict[str, Any]:
    """The same for a quick build: nothing is run."""
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in NUMBERS.items()}
    return {"label_noise": EPSILON, "numbers": digests, "seed": {"ramp": 7, "networks": 11}}


def collect(configuration: dict[str, Any], tell: Callable[[str], None]) -> list[Row]:
    tell("baselines: the numbers of docs/noise_baselines.json")
    baselines, noise = (json.loads(path.read_text(encoding="utf-8")) for path in NUMBERS.values())
    ramps = [
        {"group": RAMP, "law": "SGD", "own": row["mean_square"], "own_half_width": row["mean_square_half_width"]} | row
        for row in noise["rows"]
        if (row["setting"], row["scheme"]) == ("gaussian-100x50", "without_replacement")
    ]
    # Of the two ramps of diagonal noise the one that was predicted after the other.
    ramps += [{"group": RAMP} | row for row in baselines["rows"] if row["law"] == "isotropic" or row["stop"] < 2]
    kept = [row for row in ramps if row["label_noise"] == configuration["label_noise"]]
    kept += [{"group": f"{row['network']}, {row['start']:g}"} | row for row in baselines["networks"]]
    names = [f"{name}{end}" for name in STATISTICS for end in ("", "_half_width", "_predicted")]
    return [
        {"group": row["group"], "law": row["law"], "batch_size": row["batch_size"], "n_diverged": row["n_diverged"]}
        | {name: row.get(name, np.nan) for name in names}
        | {"expected_to_diverge": int(row.get("we_expect") == "divergence")}
        for row in kept
    ]


def numbers(rows: Sequence[Row], configuration: dict[str, Any]) -> dict[str, object]:
    """What ALT and CAPTION quote."""
    noisy = [row for row in rows if row["law"] != "SGD"]
    return {
        "close": sum(abs(float(row["own"]) - 1) <= 0.05 for row in noisy),
        "with_level": sum(bool(np.isfinite(row["own"])) for row in noisy),
        "own_high": np.nanmax([row["own"] for row in rows]),
        "batch_high": np.nanmax([row["mean_square"] for row in noisy]),
        "sgd_high": np.nanmax([row["mean_square"] for row in rows if row["law"] == "SGD"]),
        "diverged": sum(not np.isfinite(row["own"]) for row in rows), "all": len(rows),
    }  # fmt: skip


def draw(rows: Sequence[Row], page: Page) -> Figure:
    figure, n_rows, n_columns = page.figure(2, aspect=0.85, narrowest=2.9)
    panels = figure.subplots(n_rows, n_columns, sharey=True).ravel()
    for axes, statistic in zip(panels, STATISTICS, strict=True):
        _draw_panel(axes, rows, statistic)
        axes.set_title(TITLES[statistic], fontsize="medium")
    for axes in panels if n_rows > 1 else panels[:1]:
        axes.set_ylabel(r"$(\eta/2)\cdot$ statistic")
    handles = [
        Line2D([], [], color=color, marker=marker, markersize=4.5, linewidth=0, label=WORDS[law])
        for law, (color, marker) in LAWS.items()
    ]
    handles.append(
        Line2D([], [], color=GREY, marker="o", markersize=6, linewidth=0, markerfacecolor="none", label="predicted")
    )
    handles.append(Line2D([], [], color=GREY, marker="x", markersize=5, linewidth=0, label="most runs diverged"))
    handles.append(Line2D([], [], color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)), label=r"edge $2/\eta$"))
    legend_above(figure, handles)
    return figure


def _places(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    """Where each batch size of each group stands, with a gap between groups."""
    found: dict[tuple[str, int], float] = {}
    at = 0.0
    for group in GROUPS:
        for b in sorted({int(row["batch_size"]) for row in rows if row["group"] == group}):
            found[group, b] = at
            at += 1.0
        at += 0.7
    return found


def _draw_panel(axes: Axes, rows: Sequence[Row], statistic: str) -> None:
    places, top = _places(rows), _top(rows)
    axes.axhline(1.0, color=BLACK, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0)
    axes.axhspan(0.93 * top, top, color=GREY, alpha=0.12, linewidth=0)
    for k, (law, (color, marker)) in enumerate(LAWS.items()):
        for row in (row for row in rows if row["law"] == law):
            at = places[str(row["group"]), int(row["batch_size"])] + 0.24 * (k - 1)
            level, half, predicted = (float(row[f"{statistic}{end}"]) for end in ("", "_half_width", "_predicted"))
            # That of Q_own is 1, but for two.
            if statistic != "own" and np.isfinite(predicted) and not row["expected_to_diverge"]:
                axes.plot(
                    at, predicted, marker, color=color, markersize=6.5, markerfacecolor="none", markeredgewidth=0.7
                )
            if np.isfinite(level):
                axes.errorbar(at, level, half, fmt=marker, color=color, markersize=3.6, capsize=1.5, elinewidth=0.9)
            else:
                axes.plot(at, 0.965 * top, "x", color=color, markersize=4.5, markeredgewidth=1.2)
            if row["expected_to_diverge"]:
                axes.plot(
                    at, 0.965 * top, "o", color=color, markersize=7.5, markerfacecolor="none", markeredgewidth=0.7
                )
    axes.set_xticks(list(places.values()), [str(b) for _, b in places], fontsize="small")
    for group, name in GROUPS.items():
        across = [at for (other, _), at in places.items() if other == group]
        axes.annotate(
            name, (float(np.mean(across)), 0), (0, -16), xycoords=axes.get_xaxis_transform(),
            textcoords="offset points", ha="center", va="top", fontsize="small",
        )  # fmt: skip
    axes.set_xlabel("batch size b", labelpad=28)
    axes.set_xlim(-0.6, max(places.values()) + 0.6)
    axes.set_ylim(0, top)


def _top(rows: Sequence[Row]) -> float:
    """A little above everything drawn."""
    values = [float(row[name]) + float(row[f"{name}_half_width"]) for row in rows for name in STATISTICS]
    values += [float(row[f"{name}_predicted"]) for row in rows for name in STATISTICS if not row["expected_to_diverge"]]
    return 1.18 * float(np.nanmax(values))
