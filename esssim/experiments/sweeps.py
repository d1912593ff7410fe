"""`sweep`: one experiment over a grid of its keys, and `open`: what there is of it so far."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray

from esssim import _source, _validate
from esssim._progress import Progress, shown
from esssim.experiments import toml
from esssim.experiments.cells import DONE, FAILED, MISSING
from esssim.experiments.errors import ConfigurationError, unknown
from esssim.experiments.experiment import Experiment
from esssim.experiments.folder.dataset import dataset
from esssim.experiments.folder.writing import Writer, opened
from esssim.experiments.grid import Grid
from esssim.experiments.plan import Function, Plan
from esssim.experiments.timing import Timing, groups
from esssim.experiments.workers import pool


def sweep(
    experiment: Experiment,
    grid: Mapping[str, Any],
    folder: str | os.PathLike[str] | None = None,
    *,
    measures: Iterable[str | Function] = ("levels",),
    n_workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | None = None,
    retry_failed: bool = False,
    progress: Progress = False,
) -> xarray.Dataset:
    """An experiment for each cell of a grid; the results as one Dataset over the axes of the grid.

    grid: a list or a range for each key that changes, see `Grid`. folder: where results are kept as they come; the same
    call goes on where an earlier one ended. measures: names of `MEASURES`, and functions of an experiment that return
    numbers or arrays by name. n_workers: processes, by default one for each core; or scheduler: the address of a
    scheduler of dask; or cluster="local:4". retry_failed: run again what failed. progress: True for a bar, or a
    function of the finished cells and their number.

    Returns a Dataset whose variables are read from the folder when they are asked for; in memory without a folder.
    `state` says of each cell whether it is done, and `error` why one failed. Raises `ConfigurationError`, a ValueError,
    for a grid with a cell that cannot be run.
    """
    _validate.instance("experiment", experiment, Experiment, "Experiment.from_toml(path)")
    base = experiment.model_dump(mode="json", by_alias=True, exclude_unset=True)
    plan = Plan.of(base, Grid.of(grid), measures, experiment._folder)
    if folder is not None:
        run(plan, folder, n_workers, scheduler, cluster, retry_failed=retry_failed, progress=progress)
        return open(folder)
    with tempfile.TemporaryDirectory(prefix="esssim-sweep-") as temporary:
        run(plan, temporary, n_workers, scheduler, cluster, progress=progress)
        return open(temporary).load()


def open(folder: str | os.PathLike[str]) -> xarray.Dataset:
    """The Dataset of a sweep's folder as it is now, also while the sweep is running; numbers are read when asked for.

    Each file is checked against its SHA-256. Raises ValueError where there is no sweep or its plan is damaged.
    """
    return dataset(folder)


def from_toml(path_or_text: str | os.PathLike[str], changes: Iterable[str] = ()) -> Plan:
    """The sweep of a TOML file: the sections of an experiment, [grid], and [sweep] with `measures`.

    Raises `ConfigurationError` with the file and the line.
    """
    source = toml.read(path_or_text, tuple(changes))
    given = dict(source.given)
    try:
        if given.get("kind", "experiment") != "experiment":
            raise ConfigurationError(("kind",), f"must be 'experiment' in a sweep, got {given['kind']!r}")
        given.pop("kind", None)
        if "grid" not in given:
            raise ConfigurationError(("grid",), "is missing; `esssim run` is for a single experiment")
        grid, settings = Grid.of(given.pop("grid")), given.pop("sweep", {})
        if not isinstance(settings, Mapping):
            raise ConfigurationError(("sweep",), "must be a table of keys")
        for key in settings:
            if key != "measures":
                raise ConfigurationError(("sweep", key), unknown(key, ("measures",)))
        try:
            return Plan.of(given, grid, settings.get("measures", ("levels",)), source.folder)
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(("sweep", "measures"), str(error).removeprefix("measures ")) from None
    except ConfigurationError as error:
        raise source.error(error) from None


@dataclass(frozen=True)
class Outcome:
    """What a run of a sweep did. done, failed, missing: of all cells; run: of those that this run computed."""

    done: int
    failed: int
    missing: int
    run: int
    seconds: float
    notes: tuple[str, ...]


def run(
    plan: Plan,
    folder: str | os.PathLike[str],
    n_workers: int | None = None,
    scheduler: str | None = None,
    cluster: str | None = None,
    *,
    retry_failed: bool = False,
    progress: Progress = False,
    watch: Callable[[Writer, Timing], None] = lambda writer, timing: None,
) -> Outcome:
    """Compute the cells that the folder does not have. watch: called before the first cell and after each group."""
    if n_workers is not None:
        n_workers = _validate.integer("n_workers", n_workers, 1)
    if scheduler is not None and cluster is not None:
        raise ValueError(f"scheduler must not be given beside cluster, got {scheduler!r} and {cluster!r}")
    started, notes = time.perf_counter(), list[str]()
    with opened(folder, plan, notes.append) as writer:
        if retry_failed:
            writer.forget(FAILED)
        todo = writer.todo()
        costs = plan.costs()
        # What is longest goes first, so that all workers end together.
        todo = todo[np.argsort(-costs[todo], kind="stable")]
        timing = Timing(costs[todo])
        watch(writer, timing)
        if len(todo):
            with pool(n_workers, scheduler, cluster) as workers, shown(progress, len(todo), "cells") as tell:
                timing.n_workers = workers.n_workers
                in_groups = groups(plan.cells[todo], timing, workers.n_workers)
                cost_of = dict(zip(plan.cells[todo].tolist(), costs[todo].tolist(), strict=True))
                with contextlib.closing(workers.run(plan, in_groups)) as results:
                    for rows, code, where in results:
                        _same_code(code)
                        writer.add(rows, {rows.environment[0]: where})
                        cost = sum(cost_of[index] for index in rows.index.tolist())
                        timing.note(cost, float(np.nansum(rows.seconds)), len(rows))
                        tell(len(rows))
                        watch(writer, timing)
        writer.flush()
        writer.merge()
        done, failed, missing = map(writer.count, (DONE, FAILED, MISSING))
    return Outcome(done, failed, missing, len(todo), time.perf_counter() - started, tuple(notes))


def _same_code(code: str) -> None:
    if code != _source.digest():
        raise ValueError("scheduler must have workers with this version of esssim, got one with other code or packages")
