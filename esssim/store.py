"""Results on disk: written whole, verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from esssim import _attributes, _source, _validate
from esssim._fingerprint import fingerprint

# What writes a table or a page needs no xarray: it comes with the first Dataset.
if TYPE_CHECKING:
    import xarray

DIGEST_SIZE = hashlib.sha256().digest_size


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is synced and renamed, on failure nothing is left.

    Raises ValueError when the folder does not exist or cannot be written to.
    """
    target = _validate.path("path", path)
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


def write_verified(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file whole, with its SHA-256 in hexadecimal as the last line."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content + b"\n" + hashlib.sha256(content).hexdigest().encode() + b"\n")


def read_verified(path: str | os.PathLike[str], largest: int) -> bytes:
    """What `write_verified` wrote. Raises ValueError for a damaged file and for one of more than `largest` bytes."""
    target = _validate.path("path", path)
    if target.stat().st_size > largest:
        raise ValueError(f"it has {target.stat().st_size} bytes, at most {largest} are read")
    content, _, digest = target.read_bytes().removesuffix(b"\n").rpartition(b"\n")
    if hashlib.sha256(content).hexdigest().encode() != digest:
        raise ValueError("its checksum does not match")
    return content


def save(trace: xarray.Dataset, path: str | os.PathLike[str]) -> None:
    """Save a Dataset as NetCDF 4 with the SHA-256 of the file behind its end, where other readers do not look.

    `load` gives back the same Dataset, whatever its attributes are called; what was written is read and compared before
    the file takes its place. Raises ValueError for a path that cannot be written to, and for an attribute or a variable
    that cannot be saved, by name.
    """
    import xarray

    _validate.instance("trace", trace, xarray.Dataset, "simulate returns")
    plain = _attributes.detached(trace)
    with whole_file(path) as temporary:
        try:
            plain.to_netcdf(temporary, engine="h5netcdf")
            with xarray.open_dataset(temporary, engine="h5netcdf") as opened:
                written = _attributes.attached(opened.load())
            changed = _first_difference(trace, written)
        except _refusals() as error:
            raise ValueError(f"trace must hold what NetCDF can hold: {_culprit(plain)}{error}") from error
        if changed:
            raise ValueError(f"trace must hold what NetCDF can hold: {changed} would change when it is saved")
        digest = hashlib.sha256(temporary.read_bytes()).digest()
        with open(temporary, "ab") as file:
            file.write(digest)


def _first_difference(trace: xarray.Dataset, written: xarray.Dataset) -> str:
    """What of a Dataset is not the same in the other one, "" if everything is."""
    found = _attributes.as_text(written)
    for owner, attributes in _attributes.as_text(trace).items():
        if found.get(owner) != attributes:
            return f"an attribute of {owner or 'the Dataset'}" if owner in found else f"variable {owner!r}"
    for name, variable in trace.variables.items():
        other = written.variables[name]
        text = all(isinstance(each, str) for each in variable.values.ravel().tolist())
        same = other.identical(variable)  # type: ignore[no-untyped-call]
        if not same or (other.dtype != variable.dtype and not text):
            return f"variable {name!r} (dtype {variable.dtype})"
    return "" if set(trace.coords) == set(written.coords) and trace.sizes == written.sizes else "the set of coordinates"


def _culprit(trace: xarray.Dataset) -> str:
    """The first variable that cannot be written by itself, for an error."""
    import xarray

    for name, variable in trace.variables.items():
        try:
            xarray.Dataset({"variable": variable.to_base_variable()}).to_netcdf(engine="h5netcdf")
        except _refusals():
            return f"variable {name!r} (dtype {variable.dtype}): "
    return ""


def _refusals() -> tuple[type[Exception], ...]:
    """What writing a Dataset raises where NetCDF cannot hold it."""
    from h5netcdf import CompatibilityError

    return TypeError, ValueError, NotImplementedError, AttributeError, CompatibilityError


def load(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Load what `save` wrote, unchanged. Raises ValueError for a missing, damaged or foreign file."""
    import xarray

    target = _validate.path("path", path)
    if not target.is_file():
        raise ValueError(f"path must name a saved trace, there is no file {str(target)!r}")
    # Checked before anything is parsed: a damaged file can mislead the HDF5 library into more than an exception.
    content = target.read_bytes()
    if hashlib.sha256(content[:-DIGEST_SIZE]).digest() != content[-DIGEST_SIZE:]:
        raise ValueError(
            f"path must name a saved trace, {str(target)!r} is none or is damaged: its checksum does not match"
        )
    with xarray.open_dataset(target, engine="h5netcdf") as opened:
        return _attributes.attached(opened.load())


def kept(kind: str, decides: object, compute: Callable[[], xarray.Dataset]) -> xarray.Dataset:
    """compute(), or what it gave before: kept in the folder that ESSSIM_CACHE names, if it names one.

    decides: everything that decides the result but the code of esssim; what other code computed is not used. Raises
    `Unfingerprintable`, a ValueError, for what cannot be distinguished from something else.
    """
    folder = os.environ.get("ESSSIM_CACHE")
    if not folder:
        return compute()
    digest = fingerprint([decides, _source.digest()], "decides")
    path = Path(folder) / f"{kind}-{digest[:24]}.nc"
    with contextlib.suppress(ValueError):  # none yet; a damaged file is as good as none
        return load(path)
    trace = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    save(trace, path)
    return trace
