"""Which code computed a number: what is kept on disk is used only by the code that made it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

# They draw and print; no number is computed there.
NOT_COMPUTING = {"plots", "report", "figures", "cli", "_scripts.py", "__main__.py"}
PACKAGES = ("numpy", "numba", "scipy")


@cache
def digest() -> str:
    """SHA-256 of the sources of esssim that compute, and of the versions that they compute with."""
    folder = Path(__file__).parent
    content = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in PACKAGES).encode())
    for path in sorted(folder.rglob("*.py")):
        if path.relative_to(folder).parts[0] not in NOT_COMPUTING:
            content.update(path.read_bytes())
    return content.hexdigest()
