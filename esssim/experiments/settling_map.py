"""The cells of a map of where SGD settles: each level of SGD beside that of the flow, as rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from esssim._rows import Row
from esssim.experiments.measures import VERDICTS
from esssim.statistics.table import MEAN_SQUARE

# Key of the grid -> column.
AXES = {
    "problem.depth": "depth", "sampling.batch_size": "batch_size", "dynamics.label_noise": "label_noise",
    "dynamics.step_size.to": "last_step_size",
}  # fmt: skip
NUMBERS = {"level": f"level:{MEAN_SQUARE}", "flow_level": f"flow_level:{MEAN_SQUARE}"}
CODES = {"verdict": f"verdict:{MEAN_SQUARE}", "flow_verdict": f"flow_verdict:{MEAN_SQUARE}"}
# Verdicts that are none.
WITHOUT = ("inconclusive", "undefined")
# Why the flow has no level: columns of the sweep -> words.
ENDS = {"flow_diverged_at": "wall", "flow_gave_up_at": "given up"}


def cells_of(found: xarray.Dataset) -> list[Row]:
    """A row for each cell of a sweep over `AXES` with the measures levels and flow. A level is NaN where there is none;
    `flow_end` says why the flow has none, and is empty where it has one.
    """
    ordered = found.transpose(*AXES)
    values: dict[str, Any] = {name: ordered[column].values for name, column in (NUMBERS | CODES).items()} | {
        name: ordered[name].values for name in ("n_diverged", *ENDS)
    }
    sides = [ordered[key].values.tolist() for key in AXES]
    cells: list[Row] = []
    for place in np.ndindex(*ordered["state"].shape):
        cell: Row = {name: side[k] for name, side, k in zip(AXES.values(), sides, place, strict=True)}
        cell |= {name: float(f"{values[name][place]:.6g}") for name in NUMBERS}
        cell |= {name: _verdict(float(values[name][place])) for name in CODES}
        cell["flow_end"] = next((words for name, words in ENDS.items() if values[name][place] >= 0), "")
        cell["n_diverged"] = int(values["n_diverged"][place])
        cells.append(cell)
    return cells


def _verdict(code: float) -> str:
    return VERDICTS[int(code)] if math.isfinite(code) else "undefined"


def read(path: Path) -> list[Row]:
    """The cells of a JSON file, in which null is NaN."""
    kept = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{name: math.nan if value is None else value for name, value in cell.items()} for cell in kept]


def ratio(cell: Row) -> float:
    """The level of SGD over that of the flow; NaN where one of them is missing."""
    return float(cell["level"]) / float(cell["flow_level"])
