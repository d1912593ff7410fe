"""Quick builds of the figures, shared by their tests: computed once, also when several workers test."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import figures
from esssim import plots
from figures import cache, style

NAMES = tuple(figures.FIGURES)
GOLDEN = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Quick:
    """A figure in quick mode: its script, configuration and rows."""

    script: ModuleType
    configuration: dict[str, Any]
    rows: list[dict[str, Any]]

    def draw(self, width: str) -> Figure:
        page = plots.page(width)
        with plots.style(page):
            figure = self.script.draw(self.rows, page)
            FigureCanvasAgg(figure).draw()
        return figure

    def of(self, **wanted: object) -> list[dict[str, Any]]:
        """The rows in which these columns have these values."""
        return [row for row in self.rows if all(row.get(key) == value for key, value in wanted.items())]


@functools.cache
def quick(name: str) -> Quick:
    script = import_module(f"figures.{name}")
    configuration = script.configure(True)
    return Quick(script, configuration, cache.rows(script, name, configuration, lambda _: None))


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_golden(name: str) -> None:
    """After an intended change of the numbers: `python -m tests.figure_builds`."""
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.csv").write_text(style.table(quick(name).rows), encoding="utf-8")


if __name__ == "__main__":
    for each in NAMES:
        write_golden(each)
