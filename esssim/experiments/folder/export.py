"""A sweep as one file for other programs."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from esssim import _validate
from esssim.experiments.cells import LEFT_OUT, STATES
from esssim.experiments.folder import reading
from esssim.experiments.folder.dataset import dataset, of_cells
from esssim.experiments.grid import text_of
from esssim.store import save, whole_file

# Cells that are in memory at a time.
CHUNK = 4096


def to_parquet(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> int:
    """A row per cell, a column per key and variable; the number of rows. Variables with sides are lists."""
    contents = reading.read(folder)
    grid, plan = contents.plan.grid, contents.plan
    target = _outside(path, contents.path)
    states = contents.states()
    chosen = np.flatnonzero(states != LEFT_OUT)
    with whole_file(target) as temporary:
        writer = None
        for begin in range(0, len(chosen), CHUNK):
            cells = chosen[begin : begin + CHUNK]
            places = np.unravel_index(cells, grid.shape)
            columns: dict[str, pa.Array] = {}
            for axis, place in zip(grid.axes, places, strict=True):
                for which, key in enumerate(axis.keys):
                    labels = [text_of(values[which]) for values in axis.values]
                    columns[key] = pa.array(labels).take(pa.array(place))
            columns["state"] = pa.array([STATES[k] for k in states[cells]], pa.string())
            for name, sides in plan.sides.items():
                flat = of_cells(contents.parts, name, cells, plan.width(name))
                numbers = pa.array(flat.ravel())
                columns[name] = numbers if not sides else pa.FixedSizeListArray.from_arrays(numbers, plan.width(name))
            table = pa.table(columns)
            if writer is None:
                writer = pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return len(chosen)


def to_netcdf(folder: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """The Dataset of the folder as `esssim.save` writes it; it has to fit into memory."""
    found = dataset(folder)
    save(found.load(), _outside(path, Path(folder)))


def _outside(path: str | os.PathLike[str], folder: Path) -> Path:
    """A file among the parts would be taken for a damaged one."""
    target = _validate.path("path", path)
    if target.resolve().is_relative_to((folder / reading.PARTS).resolve()):
        raise ValueError(f"path must not be among the parts of the sweep, got {str(target)!r}")
    return target
