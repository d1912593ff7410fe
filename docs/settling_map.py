"""The map of where SGD settles: python docs/settling_map.py runs the study that is missing and writes the page.

The study is examples/settling_map.toml, which states four predictions before any run. `--from FOLDER` reads the folder
of a sweep of it instead, finished or not, and `--from FOLDER KILLS` how it was killed, a line of JSON for each time
(`finished_cells`, `killed`). `--check` only compares the page with its numbers. figures/settling_map.py
draws them.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import xarray

from esssim import experiments, store
from esssim._rows import Row
from esssim.claims.gap_tables import as_json
from esssim.experiments.cells import DONE
from esssim.experiments.folder import reading
from esssim.experiments.measures import MOST_EVALUATIONS
from esssim.experiments.settling_map import AXES, WITHOUT, cells_of, ratio, read
from esssim.experiments.sweeps import from_toml, run
from esssim.report.pages import keep_page

CONFIG = Path(__file__).parents[1] / "examples" / "settling_map.toml"
NUMBERS = Path(__file__).with_suffix(".json")
PICTURE = "../figures/output/settling_map.png"
# What statements 2 to 4 of the study say.
CLOSE, WEAK, STRONG, TOO_STRONG = 0.02, 0.02, 0.1, 0.1

HEAD = """# The map of where SGD settles

Made by `python docs/settling_map.py` from the sweep `examples/settling_map.toml`: diagonal networks (n = 12, d = 6, start
at a solution), {n_steps:,} steps of SGD without replacement, {n_replicas} replicas, label noise ε drawn at every step. The step
size rises from 0.8 to its last value, in units of the first mean-square edge. A level is the mean of (η/2)·Q_b over the
end of the ramp, Q_b the mean-square sharpness (Gauss–Newton part). It settles where it stays within 0.05 of the edge 1.
Each cell is set beside the stochastic central flow, solved with the same step sizes, without a fitted number. With b = 12
the batches are full, and label noise is the only noise.

The flow has no prediction where it meets a wall that it cannot leave, and where it is given up after {most_evaluations:,}
evaluations of its right-hand side, of which a cell mostly takes some hundreds. Such a cell counts against statement 1, and is
not among the cells of 2 and 3.

{coverage}

The statements were committed in `examples/settling_map.toml` before the run, after a pilot of 40 cells; the rule for cells
without a prediction before the run of the whole grid, when the cells with b = 12 were known.
"""
STATEMENTS = (
    "SGD with a verdict (settles, below, above): the flow has the same one, in at least 90 %",
    "SGD and flow with a level: they differ by at most 2 %, in at least 80 %",
    "where they differ by more: SGD above the flow at ε < 0.02 or below it at ε > 0.1, in at least 90 %",
    "ε ≥ 0.1: SGD does not settle, in every cell",
)
LEAST = (0.9, 0.8, 0.9, 1.0)


def table(folder: Path) -> dict[str, list[Row]]:
    """The cells of the batch sizes whose cells are all done, and what they were computed with."""
    found = experiments.open(folder)
    done = (found["state"] == DONE).transpose(*AXES).values.all(axis=(0, 2, 3))
    whole = {"sampling.batch_size": np.flatnonzero(done)}
    places = np.arange(found["state"].size).reshape(found["state"].shape)
    shown = xarray.DataArray(places, dims=found["state"].dims).isel(whole)
    environments = {}
    for part in reading.read(folder).parts:
        for key, index in zip(part.column("environment"), part.index, strict=True):
            if index in shown.values:
                environments[key] = part.about["environments"][key]
    cells = [
        {name: None if value != value else value for name, value in cell.items()}
        for cell in cells_of(found.isel(whole))
    ]
    return {"cells": cells, "environments": [environments[key] for key in sorted(environments)]}


def measure(numbers: Path) -> None:
    folder = CONFIG.with_suffix(".sweep")
    run(from_toml(CONFIG), folder, progress=True)
    write(folder, numbers)


def write(folder: Path, numbers: Path = NUMBERS, kills: Sequence[Row] = ()) -> None:
    store.write_text(numbers, as_json(table(folder) | ({"kills": list(kills)} if kills else {})))


def statements(cells: Sequence[Row]) -> list[tuple[int, int]]:
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


def _as_stated(cell: Row) -> bool:
    above = ratio(cell) > 1
    return cell["label_noise"] < WEAK if above else cell["label_noise"] > STRONG


def markdown(cells: Sequence[Row], environments: Sequence[dict[str, Any]], kills: Sequence[Row] = ()) -> str:
    """The whole page."""
    plan = from_toml(CONFIG)
    dynamics, whole = plan.base["dynamics"], len(cells) == len(plan.cells)
    parts = [
        HEAD.format(
            n_steps=dynamics["n_steps"],
            n_replicas=dynamics["n_replicas"],
            most_evaluations=MOST_EVALUATIONS,
            coverage=_coverage(cells, len(plan.cells)),
        ),
        f"| | statement | right in | of | share | {'holds' if whole else 'holds here'} |\n|---:|---|---:|---:|---:|---|",
    ]
    for k, (right, of) in enumerate(statements(cells)):
        share = f"{100 * right / of:.1f} %" if of else "—"
        holds = "no cell" if not of else "yes" if right >= LEAST[k] * of else "**NO**"
        parts.append(f"| {k + 1} | {STATEMENTS[k]} | {right:,} | {of:,} | {share} | {holds} |")
    parts += [
        "",
        *([_what_came_out(cells)] if whole else []),
        _by_network(cells),
        _codes(environments),
        *([_of_kills(kills)] if kills else []),
    ]
    return "\n".join(parts)


def _coverage(cells: Sequence[Row], n_cells: int) -> str:
    if len(cells) == n_cells:
        return f"All {n_cells:,} cells were run."
    sizes = ", ".join(map(str, sorted({cell["batch_size"] for cell in cells})))
    return (
        f"**A part of the study:** b = {sizes}, {len(cells):,} of {n_cells:,} cells. The other batch sizes have not been run to\n"
        "the end, and this page says nothing about them: the statements are about the whole grid, and stay open."
    )


def _what_came_out(cells: Sequence[Row]) -> str:
    """Where statement 3 fails, and what statement 1 leaves out."""
    apart = [cell for cell in cells if abs(ratio(cell) - 1) > CLOSE]
    other = [cell for cell in apart if not _as_stated(cell)]
    below = sum(ratio(cell) < 1 for cell in other)
    none = [cell for cell in cells if cell["verdict"] in WITHOUT]
    sentences = (
        f"In {len(other)} of the {len(apart)} cells of statement 3 it is otherwise: in {below} of them SGD lies below the flow "
        f"although ε ≤ {STRONG:g}, {_by_size(other)}. That was not expected. After a burst near the wall SGD is far below it "
        "for a while ([when not to believe the flow](flow.md#when-not-to-believe-it)), which may be the reason; it was not "
        "tested.",
        f"Statement 1 says nothing of {len(none)} cells in which SGD has no verdict, {_by_size(none)}: their runs are too short, "
        "or too few, to tell.",
    )
    return "\n\n".join(fill(each, 120, break_on_hyphens=False) for each in sentences) + "\n"


def _of_kills(kills: Sequence[Row]) -> str:
    counts = ", ".join(f"{kill['finished_cells']:,}" for kill in kills)
    workers = sum("worker" in str(kill["killed"]) for kill in kills)
    words = (
        f"While the sweep ran its command was killed with SIGKILL {len(kills)} times at random and run again, with {counts} "
        f"cells finished; {workers} of these times one of its workers had been killed before. No finished cell was lost or "
        "computed twice."
    )
    return fill(words, 120) + "\n"


def _by_size(cells: Sequence[Row]) -> str:
    counts = Counter(int(cell["batch_size"]) for cell in cells)
    return ", ".join(f"{counts[b]} with b = {b}" for b in sorted(counts))


def _by_network(cells: Sequence[Row]) -> str:
    """For each depth and batch size: what settles on both sides, and how far apart the levels are."""
    lines = [
        "| depth | b | cells | SGD settles | flow settles | same verdict | no verdict of SGD | flow at a wall | flow given up "
        "| largest ε that settles | median difference | largest | diverged runs |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for depth, b in sorted({(cell["depth"], cell["batch_size"]) for cell in cells}):
        mine = [cell for cell in cells if (cell["depth"], cell["batch_size"]) == (depth, b)]
        settled = [cell for cell in mine if cell["verdict"] == "settles"]
        counts = [
            len(mine), len(settled), sum(cell["flow_verdict"] == "settles" for cell in mine),
            sum(cell["verdict"] == cell["flow_verdict"] for cell in mine),
            sum(cell["verdict"] in WITHOUT for cell in mine), sum(cell["flow_end"] == "wall" for cell in mine),
            sum(cell["flow_end"] == "given up" for cell in mine),
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


def _codes(environments: Sequence[dict[str, Any]]) -> str:
    codes = "; ".join(
        f"commit `{each['commit']}`, code `{each['code']}`, numpy {each['packages']['numpy']}" for each in environments
    )
    return f"""![A map for each depth, a cell for each ε and last step size: levels at the edge where ε is weak]({PICTURE})

A cell of a map is one ramp; within a batch size the last step size rises upwards, from 0.9 to 2.9 first edges. Colours
show the level of SGD and a line surrounds what settles. A cross marks cells where SGD has no verdict, a dot those where
the flow has another verdict or none. Last panel: the level of SGD over that of the flow in every cell, with the band of statement 2.

Computed with {codes}.
"""


def stored() -> str:
    """The page with the numbers that are kept beside it."""
    about = json.loads(NUMBERS.read_text(encoding="utf-8"))
    return markdown(read(NUMBERS), about["environments"], about.get("kills", ()))


def main() -> int:
    if len(sys.argv) in (3, 4) and sys.argv[1] == "--from":
        lines = Path(sys.argv[3]).read_text(encoding="utf-8").splitlines() if len(sys.argv) == 4 else []
        write(Path(sys.argv[2]), kills=[json.loads(line) for line in lines])
        store.write_text(NUMBERS.with_suffix(".md"), stored())
        return 0
    return keep_page(__file__, stored, measure)


if __name__ == "__main__":
    sys.exit(main())
