"""How far a long call has come: told to the caller's function, or shown as a bar on a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from esssim import _validate

# A function of the records done and their number; True for a bar.
Progress = Callable[[int, int], None] | bool


@contextlib.contextmanager
def shown(progress: Progress, total: int, words: str) -> Iterator[Callable[[int], None]]:
    """What to call with the number of records that were just done."""
    if callable(progress):
        done = 0

        def tell(count: int) -> None:
            nonlocal done
            done += count
            progress(done, total)

        yield tell
        return
    if not _validate.flag("progress", progress):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=total)
        yield lambda count: bar.advance(task, count)
