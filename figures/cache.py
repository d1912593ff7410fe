"""Computed rows on disk, under the hash of everything that decides them. The folder can be deleted at any time."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from esssim import _source, store
from esssim._fingerprint import fingerprint
from esssim._rows import Row
from esssim._threads import one_blas_thread


def folder() -> Path:
    """ESSSIM_CACHE, or esssim in the user's folder of caches."""
    named = os.environ.get("ESSSIM_CACHE")
    if named:
        return Path(named)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esssim"
    except RuntimeError:  # a user without a home: nothing is kept
        return Path(os.devnull) / "esssim"


def rows(script: ModuleType, name: str, configuration: Mapping[str, object], tell: Callable[[str], None]) -> list[Row]:
    """What the script's `collect` gives for a configuration; from the cache if it is there."""
    path = folder() / f"{name}-{key(script, configuration)[:24]}.json"
    with contextlib.suppress(OSError, ValueError):  # none yet, or damaged
        kept: list[Row] = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return kept
    with _runs_are_kept(), one_blas_thread():
        found = {"configuration": configuration, "rows": script.collect(configuration, tell)}
        text = json.dumps(found, default=lambda number: number.item())  # numpy has its own kinds of numbers
    with contextlib.suppress(OSError, ValueError):  # a folder that cannot be written to costs time, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        store.write_text(path, text)
    fresh: list[Row] = json.loads(text)["rows"]
    return fresh


def key(script: ModuleType, configuration: Mapping[str, object]) -> str:
    """Hash of the configuration, of esssim and of what `collect` runs and reads: a new look costs no new
    computation.
    """
    decides = {"configuration": sorted(configuration.items()), "esssim": _source.digest(), "collect": script.collect}
    return fingerprint(decides, script.__name__)


@contextlib.contextmanager
def _runs_are_kept() -> Iterator[None]:
    """The runs that several figures share (`esssim.experiments`) are kept in the same folder."""
    before = os.environ.get("ESSSIM_CACHE")
    with contextlib.suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        os.environ["ESSSIM_CACHE"] = str(folder())
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("ESSSIM_CACHE", None)
