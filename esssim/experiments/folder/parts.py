"""A part: some cells of a sweep in one Parquet file, written whole, and named by its own SHA-256.

A file that was changed, cut or renamed does not have the SHA-256 that its name says, and is not read. Numbers lie in it
as they are, without compression: where bits are lost, the other rows of the file can be saved, each by its own digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from esssim._validate import FloatArray, IntArray
from esssim.experiments.cells import DIGEST_SIZE, Rows
from esssim.store import whole_file

SUFFIX = ".parquet"
NAME = re.compile(r"[0-9a-f]{64}\.parquet")
KEY = b"esssim"
# A part has so many rows, or fewer where they are large.
MOST_ROWS = 4096
MOST_BYTES = 64 * 2**20
# Larger than any part that is written here; what is larger is not read.
LARGEST_FILE = 2**31
COLUMNS = ("index", "fingerprint", "state", "error", "digest", "seconds", "environment")


class Damaged(ValueError):
    """A file that is not the part that its name says."""


def rows_in_a_part(n_values: int) -> int:
    """How many rows of so many numbers a part takes."""
    return max(1, min(MOST_ROWS, MOST_BYTES // (8 * max(1, n_values))))


def write(folder: Path, rows: Rows, about: Mapping[str, Any]) -> Path:
    """Write a part, sorted by index. about: the id of the plan, and the environments of the rows."""
    rows = rows.take(np.argsort(rows.index, kind="stable"))
    columns: dict[str, Any] = {
        "index": pa.array(rows.index, pa.int64()),
        "fingerprint": pa.array(rows.fingerprint, pa.binary(32)),
        "state": pa.array(rows.state, pa.int8()),
        "error": pa.array(rows.error, pa.string()),
        "digest": pa.array(rows.digest, pa.binary(DIGEST_SIZE)),
        "seconds": pa.array(rows.seconds, pa.float64()),
        "environment": pa.array(rows.environment, pa.string()),
    }
    for name, values in rows.values.items():
        flat = pa.array(np.ascontiguousarray(values, dtype=np.float64).ravel(), pa.float64())
        columns["=" + name] = flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    table = pa.table(columns).replace_schema_metadata({KEY: json.dumps(about, sort_keys=True).encode()})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="none", use_dictionary=False, write_statistics=False, version="2.6")
    content = buffer.getvalue()
    path = folder / (hashlib.sha256(content).hexdigest() + SUFFIX)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    sync_folder(folder)
    return path


def sync_folder(folder: Path) -> None:
    """A new name in a folder survives a loss of power once the folder is synced."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@dataclass(frozen=True)
class Part:
    """An open part: its file is mapped, and stays readable when it is deleted."""

    path: Path
    file: Any
    index: IntArray
    state: IntArray
    about: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Part:
        """Raises `Damaged` for a file that is not what its name says, FileNotFoundError where there is none."""
        buffer = mapped(path)
        if hashlib.sha256(buffer).hexdigest() != path.name.removesuffix(SUFFIX):
            raise Damaged("its SHA-256 is not the one in its name")
        return cls._parsed(path, buffer)

    @classmethod
    def _parsed(cls, path: Path, buffer: pa.Buffer) -> Part:
        try:
            file = pq.ParquetFile(pa.BufferReader(buffer))
            keys = file.read(columns=["index", "state"])
            about = json.loads(file.schema_arrow.metadata[KEY])
            index, state = (keys.column(name).to_numpy().astype(np.int64) for name in ("index", "state"))
            if not isinstance(about, dict) or not isinstance(about.get("plan"), str):
                raise ValueError("it does not say what plan it belongs to")
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
            raise Damaged(f"it is no part of a sweep: {' '.join(str(error).split())[:200]}") from None
        return cls(path, file, index, state, about)

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def variables(self) -> dict[str, int]:
        """Names, and numbers in each."""
        found = {}
        for column in self.file.schema_arrow:
            if column.name.startswith("="):
                found[column.name[1:]] = column.type.list_size if pa.types.is_fixed_size_list(column.type) else 1
        return found

    def values(self, name: str) -> FloatArray:
        """The numbers of a variable, (rows, numbers)."""
        column = self.read("=" + name).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
        flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
        return np.asarray(flat.to_numpy(zero_copy_only=False).reshape(len(self), -1), dtype=np.float64)

    def column(self, name: str) -> list[Any]:
        """A column beside the numbers, such as "error"."""
        return list(self.read(name).to_pylist())

    def read(self, name: str) -> Any:
        try:
            return self.file.read(columns=[name]).column(0)
        except (pa.ArrowException, OSError, LookupError) as error:
            words = " ".join(str(error).split())[:200]
            raise Damaged(f"column {name!r} of {self.path.name} cannot be read: {words}") from None

    def rows(self) -> Rows:
        """Everything."""
        lists = {name: self.column(name) for name in ("fingerprint", "error", "digest", "environment")}
        seconds = np.asarray(self.read("seconds").to_numpy(), dtype=np.float64)
        values = {name: self.values(name) for name in self.variables}
        return Rows(index=self.index, state=self.state, seconds=seconds, values=values, **lists)


def mapped(path: Path) -> pa.Buffer:
    """The bytes of a file that is no link. Raises `Damaged` for anything else, FileNotFoundError where there is
    none.
    """
    about = os.lstat(path)
    if not stat.S_ISREG(about.st_mode):
        raise Damaged("it is not an ordinary file")
    if not 0 < about.st_size <= LARGEST_FILE:
        raise Damaged(f"it has {about.st_size} bytes")
    return pa.memory_map(str(path)).read_buffer()
