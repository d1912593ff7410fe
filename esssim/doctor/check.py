"""What a check is: a function that measures figures, each with the range that it has to lie in.

    @check(key="e", title="Bounds of the gap hold", seconds=(2.0, 200.0))
    def bounds(quick: bool) -> Finding:
        violations = sum(violated(problem) for problem in steps(problems(100 if quick else 10_000)))
        return Finding(figure={"violations": violations}, wanted={"violations": exactly(0)})

Every figure is a number with a name; words about it go into `note`, what a table should show into `rows`. Whether a
check passed follows from the figures alone. `steps` reports progress to whoever runs the check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TypeVar

from esssim._rows import Row

Item = TypeVar("Item")

# The least and the largest value that pass.
Wanted = tuple[float, float]


def at_most(limit: float) -> Wanted:
    return (-math.inf, limit)


def at_least(limit: float) -> Wanted:
    return (limit, math.inf)


def between(lower: float, upper: float) -> Wanted:
    return (lower, upper)


def exactly(value: float) -> Wanted:
    return (value, value)


@dataclass(frozen=True)
class Finding:
    """What a check measured.

    figure: numbers by name (`largest_error`), shown with spaces for underscores. wanted: the range of each figure that
    is judged; a figure without one is only reported. rows: a table behind the figures. failures: the cases that failed,
    by name. note: words for the reader, without numbers.
    """

    figure: Mapping[str, float]
    wanted: Mapping[str, Wanted]
    rows: Sequence[Row] = ()
    failures: Sequence[str] = ()
    note: str = ""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.wanted) - set(self.figure))
        if unknown:
            raise ValueError(f"wanted must name figures that were measured, got {unknown}")

    @property
    def passed(self) -> bool:
        """Whether every figure lies in its range; NaN lies in none."""
        return all(low <= self.figure[name] <= high for name, (low, high) in self.wanted.items())


@dataclass(frozen=True)
class Check:
    """A check with what came out.

    passed: None where it could not be measured here; `note` says why. error: the exception that ended it, in one line.
    """

    key: str
    title: str
    figure: Mapping[str, float]
    wanted: Mapping[str, Wanted]
    passed: bool | None
    seconds: float
    note: str = ""
    rows: Sequence[Row] = ()
    failures: Sequence[str] = ()
    error: str | None = None


class Unavailable(Exception):
    """A check cannot be made here, for a reason in words: an extra is not installed, or there is no checkout."""


Measure = Callable[[bool], Finding]


@dataclass(frozen=True)
class Entry:
    """A registered check. seconds: about how long it takes, quick and in full, on two cores; extra: what it needs."""

    key: str
    title: str
    measure: Measure
    seconds: tuple[float, float]
    extra: str | None = None
    about: str = field(default="", repr=False)


REGISTRY: dict[str, Entry] = {}


def check(
    *, key: str, title: str, seconds: tuple[float, float] = (5.0, 60.0), extra: str | None = None
) -> Callable[[Measure], Measure]:
    """Register `measure(quick) -> Finding` under a key; its docstring says how it is measured.

    extra: the optional part of the package without which it is "not installed". Raises ValueError for a key that is
    taken.
    """

    def register(measure: Measure) -> Measure:
        known = REGISTRY.get(key)
        if known is not None and known.measure.__module__ != measure.__module__:
            raise ValueError(f"key must be new, {key!r} is {known.title!r}")
        REGISTRY[key] = Entry(key, title, measure, seconds, extra, " ".join((measure.__doc__ or "").split()))
        return measure

    return register


# Told (done, total) by `steps`.
Listener = Callable[[int, int], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener | None) -> Iterator[None]:
    """Within it `steps` reports to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def steps(items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
    """The items, each reported when it is done. total: their number, where they have no length."""
    count = len(items) if total is None and isinstance(items, Sequence | range) else total or 0
    listener = _listener.get()
    for done, item in enumerate(items, 1):
        yield item
        if listener is not None:
            listener(done, max(count, done))
