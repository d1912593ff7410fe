"""How long a sweep takes: before it is run, from a few cells; while it runs, from those that are done."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.experiments.cells import DONE, FAILED, run_cells
from esssim.experiments.plan import Plan

# A group of cells takes about so long, in seconds; its overhead is some ten milliseconds.
GROUP_SECONDS = 1.0
SHORTEST_GROUP = 0.05
MOST_IN_A_GROUP = 20_000
# Cells that are timed before there is anything to go by.
FIRST_GROUP = 1
# Numbers that lie beside the values of a cell.
BYTES_BESIDE = 180


@dataclass
class Timing:
    """How long cells take: seconds = rate · cost, from those that are done."""

    costs: FloatArray
    n_workers: int = 1
    seconds: float = 0.0
    cost: float = 0.0
    done: int = 0

    def note(self, cost: float, seconds: float, count: int) -> None:
        self.seconds, self.cost, self.done = self.seconds + seconds, self.cost + cost, self.done + count

    @property
    def rate(self) -> float:
        """Seconds per unit of cost; 0 while nothing is known."""
        return self.seconds / self.cost if self.cost > 0 else 0.0

    @property
    def left(self) -> float:
        """Seconds until all is done."""
        return max(0.0, float(self.costs.sum()) - self.cost) * self.rate / self.n_workers


def groups(indices: IntArray, timing: Timing, n_workers: int) -> Iterator[IntArray]:
    """Cells in groups of about a second; shorter at the beginning and towards the end, where workers would wait."""
    until = np.cumsum(timing.costs)
    begin = 0
    while begin < len(indices):
        count = FIRST_GROUP
        if timing.rate > 0:
            before = until[begin - 1] if begin else 0.0
            rest = float(until[-1] - before) * timing.rate
            seconds = min(GROUP_SECONDS, max(SHORTEST_GROUP, rest / (4 * n_workers)))
            end = int(np.searchsorted(until, before + seconds / timing.rate, side="right"))
            count = max(1, min(end - begin, MOST_IN_A_GROUP))
        yield indices[begin : begin + count]
        begin += count


@dataclass(frozen=True)
class Forecast:
    """What a sweep would take. seconds: of all its cells on one core, from `timed` of them; bytes: on disk and in
    memory.
    """

    cells: int
    left_out: int
    done: int
    failed: int
    timed: int
    seconds: float
    seconds_per_cell: float
    disk: int
    memory: int


def forecast(plan: Plan, folder: str | os.PathLike[str] | None = None, timed: int = 3) -> Forecast:
    """The size of a sweep, without running it: a few cells are timed, the longest and some between."""
    costs, cells = plan.costs(), plan.cells
    states = _states(plan, folder)
    order = np.argsort(-costs, kind="stable")
    # The first cell once more: compilation and imports are no part of it.
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(timed, len(order))).round().astype(int))]
    run_cells(plan, cells[chosen[-1:]])
    rows, _, _ = run_cells(plan, cells[chosen])
    rate = float(rows.seconds.sum() / costs[chosen].sum())
    todo = states != DONE
    size = 8 * plan.n_values + BYTES_BESIDE
    return Forecast(
        len(cells), int(np.prod(plan.grid.shape)) - len(cells), int(np.count_nonzero(states == DONE)),
        int(np.count_nonzero(states == FAILED)), len(chosen), rate * float(costs[todo].sum()),
        rate * float(costs.mean()), size * len(cells), 8 * plan.n_values * len(cells),
    )  # fmt: skip


def _states(plan: Plan, folder: str | os.PathLike[str] | None) -> IntArray:
    """Of the plan's cells, as a folder with the same plan has them."""
    from esssim.experiments.folder import reading

    if folder is None or not (Path(folder) / reading.PLAN).exists():
        return np.zeros(len(plan.cells), dtype=np.int64)
    contents = reading.read(folder)
    if contents.plan.id != plan.id:
        return np.zeros(len(plan.cells), dtype=np.int64)
    return np.asarray(contents.states()[plan.cells], dtype=np.int64)
