"""Quick builds of the figures, shared by their tests: computed once, also when several workers test."""

from __future__ import annotations

import contextlib
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
        return drawn(self.script, self.rows, width)

    def of(self, **wanted: object) -> list[dict[str, Any]]:
        """The rows in which these columns have these values."""
        return [row for row in self.rows if all(row.get(key) == value for key, value in wanted.items())]


@functools.cache
def quick(name: str) -> Quick:
    script = import_module(f"figures.{name}")
    configuration = script.configure(True)
    return Quick(script, configuration, cache.rows(script, name, configuration, lambda _: None))


def drawn(script: ModuleType, rows: list[dict[str, Any]], width: str) -> Figure:
    page = plots.page(width)
    with plots.style(page):
        figure: Figure = script.draw(rows, page)
        FigureCanvasAgg(figure).draw()
    return figure


def draw_committed(name: str, width: str) -> Figure:
    """The figure as it is published, from the committed data."""
    rows = read(Path(figures.__file__).parent / "output" / f"{name}.csv")
    typed = [{key: _typed(value) for key, value in row.items()} for row in rows]
    return drawn(import_module(f"figures.{name}"), typed, width)


def _typed(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


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
