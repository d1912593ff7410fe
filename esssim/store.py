"""Results on disk: written whole, verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray

CHECKSUM = "content_sha256"


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is synced and renamed, on failure nothing is left.

    Raises ValueError when the folder does not exist or cannot be written to.
    """
    target = Path(path)
    if target.is_dir():
        raise ValueError(f"path must name a file, got the folder {str(target)!r}")
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=target.suffix)
    except OSError as error:
        raise ValueError(f"path must lie in a writable folder, got {str(target)!r}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file whole, UTF-8 with newline ends on every system."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def save(trace: xarray.Dataset, path: str | os.PathLike[str]) -> None:
    """Save a Dataset as NetCDF 4 with a checksum of its content.

    Raises ValueError for a path that cannot be written.
    """
    stamped = trace.assign_attrs({CHECKSUM: content_checksum(trace)})
    with whole_file(path) as temporary:
        stamped.to_netcdf(temporary, engine="h5netcdf")


def load(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Load what `save` wrote, unchanged. Raises ValueError for a missing, damaged or foreign file."""
    target = Path(path)
    if not target.is_file():
        raise ValueError(f"path must name a saved trace, there is no file {str(target)!r}")
    try:
        with xarray.open_dataset(target, engine="h5netcdf") as opened:
            trace = opened.load()
    except Exception as error:  # h5py raises OSError, KeyError or RuntimeError, depending on where the damage is
        raise ValueError(f"path must name a saved trace, {str(target)!r} is not readable as one: {error}") from error
    expected = trace.attrs.pop(CHECKSUM, None)
    if expected != content_checksum(trace):
        raise ValueError(
            f"path must name an undamaged trace, the content of {str(target)!r} does not match its checksum"
        )
    return trace


def content_checksum(trace: xarray.Dataset) -> str:
    """SHA-256 over names, dimensions, values and attributes."""
    digest = hashlib.sha256()
    for name in sorted(map(str, trace.variables)):
        variable = trace.variables[name]
        digest.update(f"{name}{variable.dims}{variable.dtype}".encode())
        digest.update(np.ascontiguousarray(variable.values).tobytes())
    for key in sorted(map(str, trace.attrs)):
        if key != CHECKSUM:
            digest.update(f"{key}={trace.attrs[key]}".encode())
    return digest.hexdigest()
