"""Experiments computed beside each other, one on each core, while what needs their results is done in its order."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from esssim.simulation.ensemble import workers_without_interrupts

E = TypeVar("E")
R = TypeVar("R")

# What other processes are computing; None in these processes themselves.
_begun: list[Future[Any]] | None = []


def free_cores() -> int:
    """How many processes a computation may use: one while experiments take the cores."""
    busy = _begun is None or any(not each.done() for each in _begun)
    return 1 if busy else os.cpu_count() or 1


class Once(Generic[E, R]):
    """A function of an experiment that is computed once a process: when it is called, or ahead in another process.

    What it is called with beside the experiment, such as its progress, does not change the result.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        self._function = function
        self._known: dict[E, R | Future[R]] = {}
        functools.update_wrapper(self, function)

    def __call__(self, experiment: E, *watching: Any) -> R:
        found = self._known.get(experiment)
        if found is None:
            found = self._known[experiment] = self._function(experiment, *watching)
        return found.result() if isinstance(found, Future) else found

    def knows(self, experiment: E) -> bool:
        """Whether nothing is left to be computed."""
        return experiment in self._known

    def expect(self, experiment: E, result: Future[R]) -> None:
        """Take what another process computes."""
        self._known[experiment] = result

    def keep(self, experiment: E) -> None:
        """Keep what another process has computed, and expect nothing more of it."""
        found = self._known.pop(experiment)
        if not isinstance(found, Future):
            self._known[experiment] = found
        elif found.done() and not found.cancelled() and found.exception() is None:
            self._known[experiment] = found.result()

    def __reduce__(self) -> str:
        return self._function.__name__


Task = tuple[Once[Any, Any], Any]


@contextlib.contextmanager
def ahead(tasks: Iterable[Task], warm_up: Task | None = None) -> Iterator[None]:
    """Within it, processes work on these tasks from the first to the last; whoever needs a result waits for it alone.

    One task is left to whoever needs it, who then has all cores for it. On the way out the processes are ended.
    warm_up: what one of the processes does before.
    """
    wanted = [(once, experiment) for once, experiment in dict.fromkeys(tasks) if not once.knows(experiment)]
    cores = free_cores()
    if len(wanted) < 2 or cores < 2 or _begun is None:
        yield
        return
    if warm_up is not None and not warm_up[0].knows(warm_up[1]):
        wanted.insert(0, warm_up)
    from joblib.externals.loky import ProcessPoolExecutor

    processes = ProcessPoolExecutor(min(cores, len(wanted)), initializer=_leave_the_cores_to_others)
    try:
        with workers_without_interrupts():
            for once, experiment in wanted:
                _begun.append(processes.submit(once, experiment))
                once.expect(experiment, _begun[-1])
        yield
    finally:
        processes.shutdown(wait=True, kill_workers=True)
        _begun.clear()
        for once, experiment in wanted:
            once.keep(experiment)


def _leave_the_cores_to_others() -> None:
    global _begun
    _begun = None
