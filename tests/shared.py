"""What several tests, and several workers, need: made once for a run of the tests, in a folder of that run."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest


def folder(factory: pytest.TempPathFactory, config: pytest.Config) -> Path:
    """One for all workers."""
    base = factory.getbasetemp()
    return base.parent if hasattr(config, "workerinput") else base


def once(shared: Path, name: str, make: Callable[[Path], object]) -> Path:
    """The path `name` in the shared folder, which make(path) wrote: whoever comes first makes it, the others wait."""
    path, done = shared / name, shared / f"{name}.done"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            make(path)
            done.touch()
    return path
