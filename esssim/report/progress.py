"""How far a command has come, on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich import progress as bars
from rich.console import Console
from rich.text import Text

# Seconds between two lines of progress.
EVERY = 5.0


def spoken(seconds: float) -> str:
    """A time that nobody should take to the second."""
    if seconds < 5:
        return "a few seconds"
    return f"about {round(seconds, -1) or 5:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


@contextlib.contextmanager
def run_progress(words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar and the time left on a terminal, a line each time more is done otherwise; both on standard error."""
    if not sys.stderr.isatty():
        print(f"{words} ...", file=sys.stderr, flush=True)
        yield _plain_progress()
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _plain_progress() -> Callable[[int, int], None]:
    """A line every few seconds."""
    started = spoken_at = time.perf_counter()

    def tell(done: int, total: int) -> None:
        nonlocal spoken_at
        now = time.perf_counter()
        if done < total and now - spoken_at < EVERY:
            return
        spoken_at = now
        left = (now - started) / max(done, 1) * (total - done)
        rest = f"; {spoken(left)} left" if left >= EVERY else ""
        print(f"    {done} of {total}{rest}", file=sys.stderr, flush=True)

    return tell


@contextlib.contextmanager
def step_progress() -> Iterator[Callable[[str], None]]:
    """What is being done, in words: one changing line on a terminal, one line each otherwise; on standard error."""
    if not sys.stderr.isatty():
        yield lambda words: print(f"{words} ...", file=sys.stderr, flush=True)
        return
    with Console(stderr=True).status("") as status:
        yield lambda words: status.update(Text(words))
