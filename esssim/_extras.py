"""The optional parts of the package, and whether they are there."""

from __future__ import annotations

from importlib.util import find_spec

# What each extra brings, by the name that is imported and the name that people know.
EXTRAS = {"bridge": ("torch", "PyTorch")}


def missing(extra: str) -> str | None:
    """What to install for an extra; None where it is there."""
    module, name = EXTRAS[extra]
    return None if find_spec(module) else f"{name} is not installed: pip install 'esssim[{extra}]'"
