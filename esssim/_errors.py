"""What is undefined at a point; and an exception in one line: what went wrong, and whether it is the caller's doing or
ours.
"""

from __future__ import annotations

import os


class Undefined(ValueError):
    """A statistic has no value at this point, as a ratio that is 0/0: NaN in a record, and an error elsewhere."""


def in_one_line(error: Exception) -> str:
    """The message of an error that speaks for itself; the type and a way to the traceback for one that does not."""
    # typer's own errors (unknown option, missing argument) know how to say what is wrong.
    spoken = getattr(error, "format_message", None)
    words = " ".join((str(spoken()) if spoken is not None else str(error)).split())
    if spoken is not None or isinstance(error, (ValueError, OSError, RuntimeError)):
        return words or type(error).__name__
    return f"{type(error).__name__}: {words} (a bug; ESSSIM_TRACEBACK=1 shows where)"


def tracebacks_are_wanted() -> bool:
    """Whether ESSSIM_TRACEBACK asks for the exception itself instead of its line."""
    return bool(os.environ.get("ESSSIM_TRACEBACK"))
