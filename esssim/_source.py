"""Which code computed a number: what is kept on disk is used only by the code that made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# They draw and print; no number is computed there.
NOT_COMPUTING = {"plots", "report", "figures", "cli", "_environment.py", "_scripts.py", "__main__.py"}
PACKAGES = ("arviz-stats", "numba", "numpy", "scikit-learn", "scipy", "torch")


@cache
def digest() -> str:
    """SHA-256 of the sources of esssim that compute, and of the versions that they compute with."""
    folder = Path(__file__).parent
    computing = (path for path in folder.rglob("*.py") if path.relative_to(folder).parts[0] not in NOT_COMPUTING)
    return digest_of(computing, " ".join(f"{name} {version_of(name)}" for name in PACKAGES))


def digest_of(paths: Iterable[Path], words: str = "") -> str:
    """SHA-256 of these words and of what these files hold, in the order of their paths."""
    content = hashlib.sha256(words.encode())
    for path in sorted(paths):
        content.update(path.read_bytes())
    return content.hexdigest()


def version_of(name: str) -> str | None:
    """The version of an installed package; None where it is not installed, as torch need not be."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
