"""What several statistics of one record need at one point is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

from esssim._validate import FloatArray

T = TypeVar("T")
_known: ContextVar[dict[Hashable, Any] | None] = ContextVar("known", default=None)


@contextmanager
def one_record() -> Iterator[None]:
    """Within it, methods marked by `once_a_point` are computed once for each problem and θ, which nobody changes."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def once_a_record(key: Hashable, make: Callable[[], T]) -> T:
    """What `make` gives, computed once for a key within `one_record`; nobody changes it."""
    known = _known.get()
    if known is None:
        return make()
    if key not in known:
        known[key] = make()
    found: T = known[key]
    return found


def once_a_point(method: Callable[[Any, FloatArray], T]) -> Callable[[Any, FloatArray], T]:
    """A method of a problem and θ (p,), whose result is shared within `one_record`."""

    @wraps(method)
    def called(problem: Any, theta: FloatArray) -> T:
        key = (method.__qualname__, id(problem), theta.tobytes())
        return once_a_record(key, lambda: method(problem, theta))

    return called
