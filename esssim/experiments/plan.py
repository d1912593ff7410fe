"""`Plan`: everything that decides a sweep: the sections, the grid, the measures, and the variables that come out."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from esssim._validate import FloatArray, IntArray, shown
from esssim.experiments import build, toml
from esssim.experiments.errors import ConfigurationError, dotted
from esssim.experiments.experiment import Experiment
from esssim.experiments.grid import Grid
from esssim.experiments.measures import Measure, Sides, chosen
from esssim.experiments.sections import FileSection

FORMAT = 1
# Up to so many cells each is checked before any is run; of more, one for each value of each axis.
CHECKED = 10_000
# A cell takes longer in proportion to these, roughly: what is longest goes first.
COSTS = ("dynamics.n_steps", "dynamics.n_replicas", "sampling.batch_size", "data.n_samples", "data.n_features")

Function = Callable[[Experiment], Mapping[str, Any]]


@dataclass(frozen=True)
class Plan:
    """A sweep before it is run. base: sections; folder: where tables of one's own lie; tables: their digests."""

    base: Mapping[str, Any]
    grid: Grid
    measures: tuple[Measure, ...]
    sides: Mapping[str, Sides]
    folder: Path = field(default=Path(), compare=False)
    tables: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        base: Mapping[str, Any],
        grid: Grid,
        measures: Iterable[str | Function] = ("levels",),
        folder: Path = Path(),
    ) -> Plan:
        """Checked: each cell that runs is a valid experiment. Raises `ConfigurationError`."""
        cells = grid.cells(base)
        if not len(cells):
            raise ConfigurationError(("grid", "where"), "leaves no cell")
        probes = cells if len(cells) <= CHECKED else _one_for_each_value(grid, cells)
        bare = cls(base, grid, (), {}, folder)
        experiments, refused = [], list[tuple[int, ConfigurationError]]()
        for index in probes.tolist():
            try:
                experiments.append(bare.experiment(index))
            except ConfigurationError as error:
                refused.append((index, error))
        if refused:
            raise _refusal(grid, *refused[0], len(refused), len(probes))
        found = chosen(measures, experiments[0])
        sides: dict[str, Sides] = {}
        for experiment in experiments:
            for measure in found:
                for name, each in measure.sides(experiment).items():
                    known = sides.setdefault(name, each)
                    if known != each:
                        sides[name] = {side: max(known[side], each[side]) for side in each}
        digests = {_digest(experiment) for experiment in experiments if isinstance(experiment.data, FileSection)}
        return cls(copy.deepcopy(dict(base)), grid, found, sides, folder, tuple(sorted(digests)))

    def experiment(self, index: int) -> Experiment:
        """The experiment of one cell."""
        sections = self.grid.sections(self.base, index)
        return Experiment.from_source(toml.Source(sections, "", "", self.folder))

    @cached_property
    def cells(self) -> IntArray:
        """The indices of the cells to run, increasing."""
        return self.grid.cells(self.base)

    @cached_property
    def text(self) -> str:
        """JSON of the plan; measures by name. The order of axes and sides is a part of it."""
        content = {
            "format": FORMAT,
            "sections": self.base,
            "grid": self.grid.plain,
            "measures": [measure.name for measure in self.measures],
            "variables": self.sides,
            "tables": self.tables,
        }
        return json.dumps(content, separators=(",", ":"), allow_nan=False, default=_plain)

    @cached_property
    def id(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def n_values(self) -> int:
        """Numbers in a cell."""
        return sum(math.prod(sides.values()) for sides in self.sides.values())

    def costs(self) -> FloatArray:
        """How long each of `cells` takes, relative to the others and roughly."""
        found: FloatArray = np.ones((1,) * len(self.grid.axes))
        for key in COSTS:
            if key in self.grid.keys:
                column = self.grid._column(key, self.base)
                numbers = [value if isinstance(value, int | float) else 1.0 for value in column.ravel()]
                found = found * np.array(numbers, dtype=float).reshape(column.shape)
        return np.asarray(np.broadcast_to(found, self.grid.shape).ravel()[self.cells])


def _digest(experiment: Experiment) -> str:
    assert isinstance(experiment.data, FileSection)
    content = build.file_of(experiment.data, experiment._folder).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _one_for_each_value(grid: Grid, cells: IntArray) -> IntArray:
    """The first cell with each value of each axis."""
    firsts = [np.unique(places, return_index=True)[1] for places in np.unravel_index(cells, grid.shape)]
    return np.asarray(cells[np.unique(np.concatenate(firsts))[: 2 * CHECKED]])


def _refusal(grid: Grid, index: int, error: ConfigurationError, count: int, checked: int) -> ConfigurationError:
    cell = ", ".join(f"{key} = {shown(value)}" for key, value in grid.changes(index).items())
    more = f"; {count} of {checked} cells are refused, leave them out with grid.where" if count > 1 else ""
    in_grid = next((key for key in grid.keys if tuple(key.split(".")) == error.path[: key.count(".") + 1]), None)
    if in_grid:
        return ConfigurationError(
            ("grid", in_grid), f"gives a cell ({cell}) whose {dotted(error.path)} {error.words}{more}"
        )
    return ConfigurationError(error.path, f"{error.words} in the cell ({cell}){more}")


def _plain(value: Any) -> Any:
    """Numbers of numpy, dates of TOML and the like."""
    return value.item() if isinstance(value, np.generic) else str(value)
