"""The work of one process: cells in, rows out. A cell that fails is a row with its error."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from esssim import _source
from esssim._errors import in_one_line
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.experiments.experiment import Experiment
from esssim.experiments.measures import Cell, Sides
from esssim.experiments.plan import Plan

MISSING, DONE, FAILED, LEFT_OUT = range(4)
STATES = ("missing", "done", "failed", "left out")
DIGEST_SIZE = 16
LONGEST_ERROR = 2000
# Problems and starts that a process remembers from one group of cells to the next: cells often share them.
REMEMBERED = 8
_recent: dict[tuple[str, str], Experiment] = {}


@dataclass(frozen=True)
class Rows:
    """Cells that were run. values: variable -> (cells, numbers in the variable); digest: of each row's result."""

    index: IntArray
    fingerprint: list[bytes]
    state: IntArray
    error: list[str]
    digest: list[bytes]
    seconds: FloatArray
    environment: list[str]
    values: dict[str, FloatArray]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, places: IntArray) -> Rows:
        """Some of the rows."""
        picked: dict[str, Any] = {}
        for name, column in vars(self).items():
            if name == "values":
                picked[name] = {key: value[places] for key, value in column.items()}
            else:
                picked[name] = column[places] if isinstance(column, np.ndarray) else [column[k] for k in places]
        return Rows(**picked)

    def are_as_written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether each row has the digest that it was given."""
        return np.array([self.digest_of(k) == self.digest[k] for k in range(len(self))], dtype=bool)

    def digest_of(self, k: int) -> bytes:
        """BLAKE2 of what one row says: which cell it is, its state and every bit of its values."""
        content = hashlib.blake2b(digest_size=DIGEST_SIZE)
        content.update(int(self.index[k]).to_bytes(8, "little", signed=True))
        content.update(self.fingerprint[k])
        content.update(int(self.state[k]).to_bytes(1, "little"))
        content.update(self.error[k].encode())
        for name in sorted(self.values):
            content.update(name.encode())
            content.update(self.values[name][k].tobytes())
        return content.digest()


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows, one part after the other."""
    columns: dict[str, Any] = {}
    for name in ("index", "state", "seconds"):
        columns[name] = np.concatenate([getattr(part, name) for part in parts])
    for name in ("fingerprint", "error", "digest", "environment"):
        columns[name] = [each for part in parts for each in getattr(part, name)]
    names = parts[0].values
    return Rows(**columns, values={name: np.concatenate([part.values[name] for part in parts]) for name in names})


def run_cells(plan: Plan, indices: IntArray) -> tuple[Rows, str, dict[str, Any]]:
    """The rows of some cells, the digest of the code that computed them, and where."""
    where = environment()
    fingerprints, states, errors, seconds = list[bytes](), list[int](), list[str](), list[float]()
    values = {name: np.full((len(indices), math.prod(sides.values())), np.nan) for name, sides in plan.sides.items()}
    with one_blas_thread():
        for place, index in enumerate(indices.tolist()):
            started = time.perf_counter()
            fingerprint, state, error = bytes(32), DONE, ""
            try:
                experiment = plan.experiment(index)
                fingerprint = bytes.fromhex(experiment.fingerprint)
                _share_start(plan, experiment)
                for name, value in _measured(plan, experiment):
                    values[name][place] = _padded(name, value, plan.sides[name])
            except Exception as failure:
                state, error = FAILED, in_one_line(failure)[:LONGEST_ERROR]
                for column in values.values():
                    column[place] = np.nan
            fingerprints.append(fingerprint)
            states.append(state)
            errors.append(error)
            seconds.append(time.perf_counter() - started)
    rows = Rows(
        indices, fingerprints, np.array(states, dtype=np.int64), errors, [b""] * len(indices), np.array(seconds),
        [key_of(where)] * len(indices), values,
    )  # fmt: skip
    rows.digest[:] = [rows.digest_of(k) for k in range(len(rows))]
    return rows, _source.digest(), where


def key_of(where: dict[str, Any]) -> str:
    """What a row says for where it was computed."""
    return hashlib.sha256(json.dumps(where, sort_keys=True).encode()).hexdigest()[:12]


@cache
def environment() -> dict[str, Any]:
    """Versions, commit, code and platform of this process; the seed is a key of each cell's configuration."""
    from esssim._environment import environment as described

    everything = described(None)
    return {name: everything[name] for name in everything if name not in ("seed", "date")} | {
        "code": _source.digest()[:12]
    }


def lost(plan: Plan, index: int, reason: str) -> Rows:
    """The row of a cell that took its process down."""
    where = environment()
    values = {name: np.full((1, math.prod(sides.values())), np.nan) for name, sides in plan.sides.items()}
    rows = Rows(
        np.array([index]), [bytes.fromhex(plan.experiment(index).fingerprint)], np.array([FAILED]), [reason], [b""],
        np.array([math.nan]), [key_of(where)], values,
    )  # fmt: skip
    rows.digest[:] = [rows.digest_of(0)]
    return rows


def _measured(plan: Plan, experiment: Experiment) -> Iterable[tuple[str, Any]]:
    cell = Cell(experiment)
    for measure in plan.measures:
        for name, value in measure.compute(cell).items():
            if name not in plan.sides:
                raise ValueError(f"measure {measure.name} gave {name!r}, which it did not give for the first cell")
            yield name, value


def _padded(name: str, value: Any, sides: Sides) -> FloatArray:
    """The numbers of a variable, NaN where this cell has fewer of them than others."""
    array = np.asarray(value, dtype=np.float64)
    shape = tuple(sides.values())
    if array.ndim != len(shape) or any(have > room for have, room in zip(array.shape, shape, strict=True)):
        raise ValueError(f"{name} must have at most the shape {shape} of the first cell, got {array.shape}")
    padded = np.full(shape, np.nan)
    padded[tuple(slice(0, side) for side in array.shape)] = array
    return padded.ravel()


def _share_start(plan: Plan, experiment: Experiment) -> None:
    """Take problem and start from an earlier cell of the same sweep that has the same."""
    sections = [section.model_dump(mode="json") for section in (experiment.problem, experiment.data, experiment.start)]
    same = (plan.id, json.dumps(sections))
    if same in _recent:
        experiment.start_from(_recent[same])
    _recent[same] = experiment
    if len(_recent) > REMEMBERED:
        del _recent[next(iter(_recent))]
