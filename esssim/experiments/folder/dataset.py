"""The folder of a sweep as one xarray.Dataset: numbers are read from the parts when they are asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray
from xarray.backends.common import BackendArray
from xarray.core import indexing

from esssim._validate import FloatArray, IntArray
from esssim.experiments.cells import DONE, FAILED, STATES
from esssim.experiments.folder import reading
from esssim.experiments.folder.parts import Part
from esssim.experiments.grid import named_values
from esssim.experiments.measures import VERDICTS, Sides

SEPARATOR = ":"


def dataset(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Everything in the folder, lazily."""
    contents = reading.read(path)
    grid, plan = contents.plan.grid, contents.plan
    dims = tuple(axis.name for axis in grid.axes)
    states = contents.states()
    found: dict[str, Any] = {
        "state": (dims, states.reshape(grid.shape), _flags(STATES)),
        "seconds": (dims, _seconds(contents).reshape(grid.shape)),
    }
    failed = np.flatnonzero(states == FAILED)
    if len(failed):
        errors = np.full(len(states), "", dtype=object)
        for part in contents.parts:
            for index, text in zip(
                part.index, part.column("error") if (part.state == FAILED).any() else (), strict=False
            ):
                errors[index] = text
        errors[states != FAILED] = ""
        found["error"] = (dims, errors.reshape(grid.shape).astype(str))
    for name, sides in plan.sides.items():
        lazy = indexing.LazilyIndexedArray(_Column(contents.parts, name, grid.shape, sides))
        flags = _flags(VERDICTS) if name.split(SEPARATOR)[0].endswith("verdict") else {}
        found[name] = xarray.Variable((*dims, *sides), lazy, flags)
    coords: Any = named_values(grid.axes)
    return xarray.Dataset(found, coords, {"sweep": plan.text, "plan": plan.id, "measures": list(plan.measures)})


def _flags(names: tuple[str, ...]) -> dict[str, Any]:
    """Attributes that say what a code means, as CF has them."""
    return {"flag_values": list(range(len(names))), "flag_meanings": " ".join(name.replace(" ", "_") for name in names)}


def _seconds(contents: reading.Contents) -> FloatArray:
    found = np.full(int(np.prod(contents.plan.grid.shape)), np.nan)
    for part in contents.parts:
        found[part.index] = part.read("seconds").to_numpy()
    return found


class _Column(BackendArray):
    """One variable over the grid; what is asked of it is read from the parts that have it."""

    def __init__(self, parts: tuple[Part, ...], name: str, shape: tuple[int, ...], sides: Sides) -> None:
        self.parts, self.name = parts, name
        self.cells, self.sides = shape, tuple(sides.values())
        self.shape, self.dtype = (*shape, *self.sides), np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        """key: a slice, an integer or an array of integers for each dimension."""
        n_axes = len(self.cells)
        places = [np.atleast_1d(np.arange(n)[each]) for n, each in zip(self.cells, key, strict=False)]
        wanted = np.ravel_multi_index(np.ix_(*places), self.cells).ravel()
        values = of_cells(self.parts, self.name, wanted, math.prod(self.sides)).reshape(*map(len, places), *self.sides)
        # From the last dimension to the first: an integer takes its own away.
        for axis in reversed(range(len(self.shape))):
            chosen = key[axis] if axis >= n_axes else 0 if isinstance(key[axis], int | np.integer) else slice(None)
            values = values[(slice(None),) * axis + (chosen,)]
        return values


def of_cells(parts: Sequence[Part], name: str, wanted: IntArray, width: int) -> FloatArray:
    """The numbers of a variable in some cells, (cells, width); NaN where a cell is not done."""
    unique, inverse = np.unique(wanted, return_inverse=True)
    rows = np.full((len(unique), width), np.nan)
    for part in parts:
        here = np.minimum(np.searchsorted(unique, part.index), max(0, len(unique) - 1))
        hits = (part.state == DONE) & (unique[here] == part.index) if len(unique) else np.zeros(len(part), dtype=bool)
        if hits.any():
            rows[here[hits]] = part.values(name)[hits]
    return np.asarray(rows[inverse.ravel()])
