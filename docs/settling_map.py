"""The map of where SGD settles: python docs/settling_map.py runs the study that is missing and writes the page.

The study is examples/settling_map.toml, which states four predictions before any run. `--from FOLDER` reads the folder
of a sweep of it instead, finished or not; `--check` only compares the page with its numbers.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from esssim import experiments, plots, store
from esssim.claims.gap_tables import as_json
from esssim.experiments.cells import DONE
from esssim.experiments.folder import reading
from esssim.experiments.measures import VERDICTS
from esssim.experiments.sweeps import from_toml, run
from esssim.plots.files import rendered
from esssim.report.pages import keep_page
from esssim.statistics.table import MEAN_SQUARE

Cell = dict[str, Any]

CONFIG = Path(__file__).parents[1] / "examples" / "settling_map.toml"
NUMBERS = Path(__file__).with_suffix(".json")
PICTURE = Path(__file__).with_suffix(".svg")
AXES = {
    "problem.depth": "depth", "sampling.batch_size": "batch_size", "dynamics.label_noise": "label_noise",
    "dynamics.step_size.to": "last_step_size",
}  # fmt: skip
# What statements 2 to 4 of the study say.
CLOSE, WEAK, STRONG, TOO_STRONG = 0.02, 0.02, 0.1, 0.1
WITHOUT = ("inconclusive", "undefined")

HEAD = """# The map of where SGD settles

Made by `python docs/settling_map.py` from the sweep `examples/settling_map.toml`: diagonal networks (n = 12, d = 6, start
at a solution), {n_steps:,} steps of SGD without replacement, {n_replicas} replicas, label noise ε drawn at every step. The step
size rises from 0.8 to its last value, in units of the first mean-square edge. A level is the mean of (η/2)·Q_b over the
end of the ramp, Q_b the mean-square sharpness (Gauss–Newton part). It settles where it stays within 0.05 of the edge 1.
Each cell is set beside the stochastic central flow, solved with the same step sizes, without a fitted number. With b = 12
the batches are full, and label noise is the only noise.

{coverage}

The statements were committed in `examples/settling_map.toml` before the run, after a pilot of 40 cells.
"""
STATEMENTS = (
    "SGD with a verdict (settles, below, above): the flow has the same one, in at least 90 %",
    "SGD and flow with a level: they differ by at most 2 %, in at least 80 %",
    "where they differ by more: SGD above the flow at ε < 0.02 or below it at ε > 0.1, in at least 90 %",
    "ε ≥ 0.1: SGD does not settle, in every cell",
)
LEAST = (0.9, 0.8, 0.9, 1.0)


def table(folder: Path) -> dict[str, list[Cell]]:
    """The cells of the batch sizes whose cells are all done, and what they were computed with."""
    found = experiments.open(folder)
    done = (found["state"] == DONE).transpose(*AXES).values.all(axis=(0, 2, 3))
    chosen = found.isel({"sampling.batch_size": np.flatnonzero(done)}).transpose(*AXES)
    sides = [chosen[key].values.tolist() for key in AXES]
    columns = {
        "level": f"level:{MEAN_SQUARE}", "verdict": f"verdict:{MEAN_SQUARE}", "n_diverged": "n_diverged",
        "flow_level": f"flow_level:{MEAN_SQUARE}", "flow_verdict": f"flow_verdict:{MEAN_SQUARE}",
    }  # fmt: skip
    values = {name: chosen[key].values for name, key in columns.items()}
    cells = []
    for place in np.ndindex(*chosen["state"].shape):
        cell = {name: side[k] for name, side, k in zip(AXES.values(), sides, place, strict=True)}
        cells.append(cell | {name: _plain(name, float(value[place])) for name, value in values.items()})
    places = np.arange(found["state"].size).reshape(found["state"].shape)
    shown = xarray.DataArray(places, dims=found["state"].dims).isel({"sampling.batch_size": np.flatnonzero(done)})
    environments = {}
    for part in reading.read(folder).parts:
        for key, index in zip(part.column("environment"), part.index, strict=True):
            if index in shown.values:
                environments[key] = part.about["environments"][key]
    return {"cells": cells, "environments": [environments[key] for key in sorted(environments)]}


def _plain(name: str, value: float) -> Any:
    if "verdict" in name:
        return VERDICTS[int(value)] if math.isfinite(value) else "undefined"
    if name == "n_diverged":
        return int(value)
    return float(f"{value:.6g}") if math.isfinite(value) else None


def measure(numbers: Path) -> None:
    folder = CONFIG.with_suffix(".sweep")
    run(from_toml(CONFIG), folder, progress=True)
    write(folder, numbers)


def write(folder: Path, numbers: Path = NUMBERS) -> None:
    content = table(folder)
    store.write_text(numbers, as_json(content))
    with plots.style(), store.whole_file(PICTURE) as file:
        file.write_bytes(rendered(draw(content["cells"]))["svg"])


def ratio(cell: Cell) -> float:
    """The level of SGD over that of the flow; NaN where one of them is missing."""
    if cell["level"] is None or cell["flow_level"] is None:
        return math.nan
    return float(cell["level"] / cell["flow_level"])


def statements(cells: Sequence[Cell]) -> list[tuple[int, int]]:
    """(cells in which the statement is right, cells that it is about), for each of the four."""
    with_verdict = [cell for cell in cells if cell["verdict"] not in WITHOUT]
    with_levels = [cell for cell in cells if math.isfinite(ratio(cell))]
    apart = [cell for cell in with_levels if abs(ratio(cell) - 1) > CLOSE]
    noisy = [cell for cell in cells if cell["label_noise"] >= TOO_STRONG]
    return [
        (sum(cell["verdict"] == cell["flow_verdict"] for cell in with_verdict), len(with_verdict)),
        (len(with_levels) - len(apart), len(with_levels)),
        (sum(_as_stated(cell) for cell in apart), len(apart)),
        (sum(cell["verdict"] != "settles" for cell in noisy), len(noisy)),
    ]


def _as_stated(cell: Cell) -> bool:
    above = ratio(cell) > 1
    return cell["label_noise"] < WEAK if above else cell["label_noise"] > STRONG


def markdown(content: dict[str, list[Cell]]) -> str:
    """The whole page."""
    plan = from_toml(CONFIG)
    cells, dynamics = content["cells"], plan.base["dynamics"]
    whole = len(cells) == len(plan.cells)
    parts = [
        HEAD.format(
            n_steps=dynamics["n_steps"], n_replicas=dynamics["n_replicas"], coverage=_coverage(cells, len(plan.cells))
        ),
        f"| | statement | right in | of | share | {'holds' if whole else 'holds here'} |\n|---:|---|---:|---:|---:|---|",
    ]
    for k, (right, of) in enumerate(statements(cells)):
        share = f"{100 * right / of:.1f} %" if of else "—"
        holds = "no cell" if not of else "yes" if right >= LEAST[k] * of else "**NO**"
        parts.append(f"| {k + 1} | {STATEMENTS[k]} | {right:,} | {of:,} | {share} | {holds} |")
    parts += ["", _by_network(cells), _codes(content["environments"])]
    return "\n".join(parts)


def _coverage(cells: Sequence[Cell], n_cells: int) -> str:
    if len(cells) == n_cells:
        return f"All {n_cells:,} cells were run."
    sizes = ", ".join(map(str, sorted({cell["batch_size"] for cell in cells})))
    return (
        f"**A part of the study:** b = {sizes}, {len(cells):,} of {n_cells:,} cells. The other batch sizes have not been run to\n"
        "the end, and this page says nothing about them: the statements are about the whole grid, and stay open."
    )


def _by_network(cells: Sequence[Cell]) -> str:
    """For each depth and batch size: what settles on both sides, and how far apart the levels are."""
    lines = [
        "| depth | b | cells | SGD settles | flow settles | same verdict | no verdict of SGD | largest ε that settles "
        "| median difference | largest | diverged runs |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for depth, b in sorted({(cell["depth"], cell["batch_size"]) for cell in cells}):
        mine = [cell for cell in cells if (cell["depth"], cell["batch_size"]) == (depth, b)]
        settled = [cell for cell in mine if cell["verdict"] == "settles"]
        counts = [
            len(mine), len(settled), sum(cell["flow_verdict"] == "settles" for cell in mine),
            sum(cell["verdict"] == cell["flow_verdict"] for cell in mine),
            sum(cell["verdict"] in WITHOUT for cell in mine),
        ]  # fmt: skip
        apart = [100 * abs(ratio(cell) - 1) for cell in mine if math.isfinite(ratio(cell))]
        largest = f"{max(cell['label_noise'] for cell in settled):.3f}" if settled else "—"
        ends = [
            largest,
            f"{np.median(apart):.2f} %",
            f"{max(apart):.1f} %",
            str(sum(cell["n_diverged"] for cell in mine)),
        ]
        lines.append("| " + " | ".join(map(str, [depth, b, *counts, *ends])) + " |")
    return "\n".join(lines) + "\n"


def _codes(environments: Sequence[Cell]) -> str:
    codes = "; ".join(
        f"commit `{each['commit']}`, code `{each['code']}`, numpy {each['packages']['numpy']}" for each in environments
    )
    return f"""![A map for each depth, a cell for each ε and last step size: levels at the edge where ε is weak](settling_map.svg)

A cell of a map is one ramp; within a batch size the last step size rises upwards, from 0.9 to 2.9 first edges. Colours
show the level of SGD and a line surrounds what settles. A cross marks cells where SGD has no verdict, a dot those where
the flow has another verdict. Last panel: the level of SGD over that of the flow in every cell, with the band of statement 2.

Computed with {codes}.
"""


def draw(cells: Sequence[Cell]) -> Figure:
    """A map for each depth, and the level of SGD over that of the flow in every cell."""
    depths, sizes, noises, ends = (sorted({cell[name] for cell in cells}) for name in AXES.values())
    figure, n_rows, n_columns = plots.REPORT.figure(len(depths) + 1, aspect=0.9, narrowest=3.0)
    *maps, last = figure.subplots(n_rows, n_columns).ravel()
    ticks = np.arange(0, len(noises), 3)
    for axes, depth in zip(maps, depths, strict=True):
        mine = sorted(
            (cell for cell in cells if cell["depth"] == depth),
            key=lambda cell: (cell["batch_size"], cell["last_step_size"], cell["label_noise"]),
        )

        def over_the_map(value: Callable[[Cell], Any], mine: list[Cell] = mine) -> np.ndarray:
            return np.array([value(cell) for cell in mine]).reshape(-1, len(noises))

        levels = over_the_map(lambda cell: math.nan if cell["level"] is None else cell["level"])
        axes.set_facecolor("#EEEEEE")
        mesh = axes.pcolormesh(np.ma.masked_invalid(levels), cmap="RdBu_r", vmin=0.5, vmax=1.5, rasterized=True)
        _surround(axes, over_the_map(lambda cell: cell["verdict"] == "settles"))
        none = over_the_map(lambda cell: cell["verdict"] in WITHOUT)
        other = over_the_map(lambda cell: cell["verdict"] != cell["flow_verdict"]) & ~none
        for where, marker in ((none, "x"), (other, "o")):
            rows, columns = np.nonzero(where)
            axes.plot(columns + 0.5, rows + 0.5, marker, color=plots.BLACK, markersize=2.5)
        for k in range(1, len(sizes)):
            axes.axhline(k * len(ends), color=plots.GREY, linewidth=0.8)
        axes.set_title(f"depth {depth}")
        axes.set_xticks(ticks + 0.5, [f"{noises[k]:.2g}" for k in ticks])
        axes.set_yticks((np.arange(len(sizes)) + 0.5) * len(ends), [f"b = {b}" for b in sizes])
        axes.tick_params(length=0)
        axes.set_xlabel(r"label noise $\varepsilon$")
    figure.colorbar(mesh, ax=maps, extend="both", shrink=0.6, label=r"level $(\eta/2)\,Q_b$ of SGD")
    last.axhspan(1 - CLOSE, 1 + CLOSE, color="#E4E4E4")
    for k, b in enumerate(sizes):
        mine = [cell for cell in cells if cell["batch_size"] == b]
        last.plot(
            [cell["label_noise"] for cell in mine], [ratio(cell) for cell in mine], plots.BATCH_MARKERS[k],
            color=plots.batch_color(b, max(sizes)), markersize=3, markerfacecolor="none", label=f"b = {b}",
        )  # fmt: skip
    last.set_xscale("log")
    last.set_xlabel(r"label noise $\varepsilon$")
    last.set_ylabel("level of SGD / level of the flow")
    plots.legend_above(
        figure,
        [
            Patch(facecolor="none", edgecolor=plots.BLACK, linewidth=1.2, label="SGD settles at the edge"),
            Line2D([], [], color=plots.BLACK, marker="x", markersize=3, linestyle="", label="SGD has no verdict"),
            Line2D([], [], color=plots.BLACK, marker="o", markersize=3, linestyle="", label="the flow has another"),
            *last.get_legend_handles_labels()[0],
        ],
    )
    return figure


def _surround(axes: Any, inside: np.ndarray) -> None:
    """A line around the cells that are inside."""
    padded = np.pad(inside, 1)
    upright, level = padded[1:-1, 1:] != padded[1:-1, :-1], padded[1:, 1:-1] != padded[:-1, 1:-1]
    look = {"color": plots.BLACK, "linewidth": 1.2}
    for i, j in np.argwhere(upright):
        axes.plot([j, j], [i, i + 1], **look)
    for i, j in np.argwhere(level):
        axes.plot([j, j + 1], [i, i], **look)


def stored() -> str:
    """The page with the numbers that are kept beside it."""
    return markdown(json.loads(NUMBERS.read_text(encoding="utf-8")))


def main() -> int:
    if len(sys.argv) == 3 and sys.argv[1] == "--from":
        write(Path(sys.argv[2]))
        store.write_text(NUMBERS.with_suffix(".md"), stored())
        return 0
    return keep_page(__file__, stored, measure)


if __name__ == "__main__":
    sys.exit(main())
