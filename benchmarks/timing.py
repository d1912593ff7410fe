"""Wall-clock time of several sides, interleaved on one thread, so that a busy machine slows all of them equally."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numba
import numpy as np
from threadpoolctl import threadpool_limits

REPETITIONS = 5


@dataclass(frozen=True)
class Side:
    """Work to be timed: `run(repetition)` does `units` units of it."""

    run: Callable[[int], object]
    units: int = 1


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of some repetitions."""

    median: float
    lower: float
    upper: float
    repetitions: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        lower, median, upper = np.quantile(values, (0.25, 0.5, 0.75))
        return cls(float(median), float(lower), float(upper), len(values))


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS and numba on one thread each."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        numba.set_num_threads(before)


def interleaved(sides: Mapping[str, Side], repetitions: int = REPETITIONS) -> dict[str, list[float]]:
    """Seconds per unit of each side in each repetition; a first round (compiling, filling caches) is thrown away."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    with one_thread():
        for repetition in range(repetitions + 1):
            # Every other round backwards: no side always follows the same neighbour.
            for name in names if repetition % 2 else reversed(names):
                gc.collect()
                started = time.perf_counter()
                sides[name].run(repetition)
                elapsed = time.perf_counter() - started
                if repetition > 0:
                    seconds[name].append(elapsed / sides[name].units)
    return seconds


def ratio(numerator: list[float], denominator: list[float]) -> Spread:
    """Of the two sides of each repetition, not of the medians: what slows a repetition drops out."""
    return Spread.of([top / bottom for top, bottom in zip(numerator, denominator, strict=True)])
