"""Figures: one script each, in one style; every number comes from esssim. `python -m figures` builds them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from esssim import _validate

FIGURES = {
    "levels": "where every statistic settles, against the batch size",
    "ramp": "every statistic while the step size rises, one panel per batch size",
    "gap": "the gap between mini-batch sharpness and sharpness, against the batch size, on three ensembles",
    "stability": "growth rate of SGD over step size and batch size, with four thresholds",
}


def build(name: str, out: Path, quick: bool = False) -> list[Path]:
    """Build one figure into the folder `out`: the files written. Raises ValueError for an unknown name."""
    _validate.choice("figure", name, tuple(FIGURES))
    out.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = import_module(f".{name}", __package__).build(out, quick)
    return paths
