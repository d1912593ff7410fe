"""What `esssim sweep` shows: what it would take, how far it has come, and what came out."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from rich import progress as bars
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from esssim.experiments.folder.writing import Writer
from esssim.experiments.measures import VERDICTS
from esssim.experiments.sweeps import Outcome
from esssim.experiments.timing import Forecast, Timing
from esssim.report.progress import EVERY, spoken
from esssim.report.terminal import output

# A sweep that is watched by nobody says less the longer it takes.
OF_THE_TIME = 0.02


@contextlib.contextmanager
def sweep_progress(words: str) -> Iterator[Callable[[Writer, Timing], None]]:
    """A bar and the time left on a terminal, a line now and then otherwise; both on standard error."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[left]}", markup=False),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None, left="")

        def watch(_: Writer, timing: Timing) -> None:
            left = f"{spoken(timing.left)} left" if timing.done else ""
            bar.update(task, completed=timing.done, total=len(timing.costs), left=left)

        yield watch


def _lines() -> Callable[[Writer, Timing], None]:
    started = spoken_at = time.perf_counter()

    def watch(_: Writer, timing: Timing) -> None:
        nonlocal spoken_at
        now = time.perf_counter()
        total = len(timing.costs)
        if not timing.done:
            print(f"{total} cells to run ...", file=sys.stderr, flush=True)
        elif timing.done == total or now - spoken_at > max(EVERY, OF_THE_TIME * (now - started)):
            spoken_at = now
            rest = f"; {spoken(timing.left)} left" if timing.left >= EVERY else ""
            print(f"    {timing.done} of {total}{rest}", file=sys.stderr, flush=True)

    return watch


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def show_forecast(found: Forecast, n_workers: int) -> None:
    """What a sweep would take."""
    console = output()
    left_out = f", {found.left_out:,} left out by conditions" if found.left_out else ""
    known = f"; {found.done:,} are done, {found.failed:,} failed" if found.done or found.failed else ""
    workers = "1 worker" if n_workers == 1 else f"{n_workers} workers"
    console.print(Text(f"{found.cells:,} cells{left_out}{known}"))
    console.print(
        Text(f"time: {spoken(found.seconds / n_workers)} with {workers}, from {found.timed} cells that were timed")
    )
    console.print(Text(f"disk: {size(found.disk)}; memory: {size(found.memory)} for everything at once"))


def show_sweep(found: xarray.Dataset, outcome: Outcome, folder: Path) -> None:
    """How many cells are done, where each statistic settles, and the first errors."""
    console = output()
    states = f"{outcome.done:,} cells are done"
    states += f", {outcome.failed:,} failed" if outcome.failed else ""
    states += f", {outcome.missing:,} missing" if outcome.missing else ""
    console.print(Text(f"{states}; {folder}"), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("statistic", no_wrap=True)
    for verdict in VERDICTS:
        table.add_column(verdict, justify="right")
    for name, counts in verdicts(found).items():
        table.add_row(name, *(str(counts[verdict] or "·") for verdict in VERDICTS))
    if table.row_count:
        console.print(table)
    if outcome.failed:
        texts, counts_of = np.unique(found["error"].values[found["error"].values != ""], return_counts=True)
        for text, count in list(zip(texts, counts_of, strict=True))[:3]:
            cells = "1 cell" if count == 1 else f"{count} cells"
            console.print(Text(f"{cells} failed: {text}"), soft_wrap=True)
        console.print(Text("--retry-failed runs them again"))


def verdicts(found: xarray.Dataset) -> dict[str, dict[str, int]]:
    """How many cells have each verdict, of each statistic with one."""
    counts = {}
    for variable in found.data_vars:
        kind, _, statistic = str(variable).partition(":")
        if kind == "verdict":
            codes = found[variable].values
            counts[statistic] = {name: int(np.count_nonzero(codes == code)) for code, name in enumerate(VERDICTS)}
    return counts


def as_dict(found: xarray.Dataset, outcome: Outcome, folder: Path, files: list[Path]) -> dict[str, Any]:
    """For JSON."""
    return {
        "folder": str(folder),
        "done": outcome.done,
        "failed": outcome.failed,
        "missing": outcome.missing,
        "run": outcome.run,
        "seconds": outcome.seconds,
        "verdicts": verdicts(found),
        "files": [str(path) for path in files],
    }
