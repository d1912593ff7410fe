"""What `esssim doctor` shows: progress on standard error, tables on standard output."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich import progress as bars
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from esssim.doctor import page
from esssim.doctor.check import Check, Entry, Listener
from esssim.doctor.numbers import Number
from esssim.doctor.run import Told
from esssim.report.progress import spoken
from esssim.report.terminal import output

STYLES = {True: "green", False: "bold white on red", None: "dim"}


class Forecast:
    """The time left: what is known of each check, and the pace of the one that runs."""

    def __init__(self, entries: Sequence[Entry], quick: bool) -> None:
        self._expected = {entry.key: entry.seconds[0 if quick else 1] for entry in entries}
        self.fraction, self.key = 0.0, ""

    def begin(self, entry: Entry) -> None:
        self.key, self.fraction = entry.key, 0.0

    def end(self, entry: Entry) -> None:
        self._expected.pop(entry.key, None)
        self.fraction = 0.0

    def left(self) -> float:
        return sum(self._expected.values()) - self.fraction * self._expected.get(self.key, 0.0)


@contextlib.contextmanager
def check_progress(entries: Sequence[Entry], quick: bool) -> Iterator[tuple[Told, Listener]]:
    """The current check, how far it has come and the time left: one changing line on a terminal, lines otherwise."""
    forecast = Forecast(entries, quick)
    if not sys.stderr.isatty():
        yield _plain(len(entries), forecast)
        return
    columns = (
        bars.SpinnerColumn(), bars.TextColumn("{task.description}", markup=False), bars.BarColumn(),
        bars.TextColumn("{task.fields[left]}", markup=False),
    )  # fmt: skip
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, left="")

        def told(entry: Entry, found: Check | None) -> None:
            (forecast.begin if found is None else forecast.end)(entry)
            words = f"{entry.key} {entry.title}" if found is None else ""
            bar.update(task, description=words, completed=0.0, left=f"{spoken(forecast.left())} left")

        def listener(done: int, total: int) -> None:
            forecast.fraction = done / total
            bar.update(task, completed=forecast.fraction, left=f"{spoken(forecast.left())} left")

        yield told, listener


def _plain(total: int, forecast: Forecast) -> tuple[Told, Listener]:
    position, last = itertools.count(1), [0]

    def told(entry: Entry, found: Check | None) -> None:
        if found is None:
            forecast.begin(entry)
            last[0] = 0
            print(f"[{next(position)}/{total}] {entry.key} {entry.title} ...", file=sys.stderr, flush=True)
        else:
            forecast.end(entry)
            words = (
                page.outcome({"passed": found.passed}).strip("*") if found.passed is None else VERDICTS[found.passed]
            )
            print(f"    {words} ({found.seconds:.1f} s)", file=sys.stderr, flush=True)

    def listener(done: int, total: int) -> None:
        forecast.fraction = done / total
        last[0] = min(last[0], 5 * done // total)
        if 5 * done // total > last[0] and forecast.left() > 10:
            last[0] = 5 * done // total
            print(f"    {100 * done // total} %, {spoken(forecast.left())} left", file=sys.stderr, flush=True)

    return told, listener


VERDICTS = {True: "passed", False: "FAILED", None: "not measured"}


def show_entries(entries: Sequence[dict[str, Any]]) -> None:
    """A row per check, and below the failures by name."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("key", "what", "figures", ""):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        figures = page.figures(entry).replace("<br>", "\n").replace("**", "")
        table.add_row(
            entry["key"], Text(entry["title"]), Text(figures), Text(VERDICTS[entry["passed"]], STYLES[entry["passed"]])
        )
    console = output()
    console.print(table)
    for entry in entries:
        for name in entry["failures"][: page.MOST_FAILURES]:
            console.print(Text(f"{entry['key']} failed: {name}"))


def show_installation(found: dict[str, Any], numbers: Sequence[Number]) -> None:
    """Versions in lines, numbers in a table."""
    console = output()
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    console.print(
        Text(f"esssim {found['esssim']}, python {found['python']}, {found['platform']}, {found['cpu_count']} cores")
    )
    console.print(Text(packages))
    for library in found["blas"]:
        words = " ".join(str(library[name]) for name in ("library", "version", "kernels"))
        console.print(Text(f"{words}: {library['threads']} threads by default, one within esssim"))
    kept = (
        "kept on disk" if found["compiler_cache"]["kept"] else "NOT kept: set NUMBA_CACHE_DIR to a folder of your own"
    )
    console.print(Text(f"compiled loops: {kept}"))
    for name, there in found["extras"].items():
        console.print(Text(f"esssim[{name}]: {'installed' if there else 'not installed'}"))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("number", overflow="fold")
    for heading in ("value", "reference"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for each in numbers:
        words = each.error or ("agrees" if each.passed else "DIFFERS")
        table.add_row(each.name, f"{each.value:.9g}", f"{each.reference:.9g}", Text(words, STYLES[each.passed]))
    console.print(table)
