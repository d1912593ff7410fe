"""How far a long call has come: passed to the caller's function, or shown as a bar on a terminal."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator

from esssim import _validate

# A function of what is done and how much there is, or of what is done alone; True for a bar.
Progress = Callable[[int, int], None] | Callable[[int], None] | bool | None


@contextlib.contextmanager
def shown(progress: Progress, total: int, words: str) -> Iterator[Callable[[int], None]]:
    """What to call with the number of records, replicas, batch sizes or claims that were just done."""
    if callable(progress):
        tell = _of_two(progress)
        done = 0

        def count_and_tell(count: int) -> None:
            nonlocal done
            done += count
            tell(done, total)

        yield count_and_tell
        return
    if not wanted(progress):
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(words, total=total)
        yield lambda count: bar.advance(task, count)


def wanted(progress: object) -> bool:
    """Whether to show a bar. Raises ValueError for what is neither True nor False, None nor a function."""
    if progress is None:
        return False
    try:
        return _validate.flag("progress", progress)
    except ValueError:
        raise ValueError(f"progress must be True, False or a function, got {_validate.shown(progress)}") from None


def _of_two(function: Callable[..., None]) -> Callable[[int, int], None]:
    """The caller's function of (done, total); one of `done` alone is given that. Known before the work begins."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some compiled functions have no signature
        return function
    for arguments in ((0, 0), (0,)):
        with contextlib.suppress(TypeError):
            signature.bind(*arguments)
            return function if len(arguments) == 2 else lambda done, _: function(done)
    raise ValueError(f"progress must be a function of (done, total), got {_validate.shown(function)}{signature}")
