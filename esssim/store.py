"""Results on disk: written whole, verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import xarray

from esssim import _source, _validate
from esssim._fingerprint import fingerprint

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


def save(trace: xarray.Dataset, path: str | os.PathLike[str]) -> None:
    """Save a Dataset as NetCDF 4 with the SHA-256 of the file behind its end, where other readers do not look.

    Raises ValueError for a path that cannot be written to.
    """
    _validate.instance("trace", trace, xarray.Dataset, "simulate returns")
    with whole_file(path) as temporary:
        trace.to_netcdf(temporary, engine="h5netcdf")
        digest = hashlib.sha256(temporary.read_bytes()).digest()
        with open(temporary, "ab") as written:
            written.write(digest)


def load(path: str | os.PathLike[str]) -> xarray.Dataset:
    """Load what `save` wrote, unchanged. Raises ValueError for a missing, damaged or foreign file."""
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
        return opened.load()


def kept(kind: str, decides: object, compute: Callable[[], xarray.Dataset]) -> xarray.Dataset:
    """compute(), or what it gave before: kept in the folder that ESSSIM_CACHE names, if it names one.

    decides: everything that decides the result but the code of esssim; what other code computed is not used. Raises
    `Unfingerprintable`, a ValueError, for what cannot be told from something else.
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
