"""Run checks, one after the other, whatever becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module

from esssim._errors import in_one_line, tracebacks_are_wanted
from esssim._threads import one_blas_thread
from esssim.doctor.check import REGISTRY, Check, Entry, Listener, Unavailable, heard_by
from esssim.doctor.installation import extras

# The modules with checks, in any order; keys sort them.
MODULES: tuple[str, ...] = (
    "spectra",
    "intervals",
    "levels",
    "bounds",
    "verdicts",
    "divergence",
    "derivatives",
    "mutation",
    "corruption",
    "kills",
    "obstacles",
    "determinism",
    "bad_input",
    "fuzzing",
    "soak",
)

# Told (entry, None) before and (entry, check) after each check.
Told = Callable[[Entry, Check | None], None]


def checks() -> dict[str, Entry]:
    """Every registered check by its key, in order."""
    for module in MODULES:
        import_module(f"esssim.doctor.{module}")
    return {key: REGISTRY[key] for key in sorted(REGISTRY)}


def select(keys: Sequence[str] | None) -> list[Entry]:
    """The checks with these keys, all by default. Raises ValueError for an unknown key."""
    known = checks()
    unknown = [key for key in keys or () if key not in known]
    if unknown:
        raise ValueError(f"key must be one of {', '.join(known)}, got {unknown[0]!r}")
    return [entry for key, entry in known.items() if not keys or key in keys]


def run(
    keys: Sequence[str] | None = None,
    *,
    quick: bool = False,
    told: Told | None = None,
    listener: Listener | None = None,
) -> list[Check]:
    """Measure the checks with these keys, all by default. One that raises has the error, and the others go on."""
    found = []
    for entry in select(keys):
        if told is not None:
            told(entry, None)
        with heard_by(listener):
            found.append(measured(entry, quick))
        if told is not None:
            told(entry, found[-1])
    return found


def measured(entry: Entry, quick: bool) -> Check:
    """One check."""
    if entry.extra is not None and not extras()[entry.extra]:
        return _unavailable(entry, f"not installed: pip install 'esssim[{entry.extra}]'")
    started = time.perf_counter()
    try:
        with one_blas_thread():
            finding = entry.measure(quick)
    except Unavailable as error:
        return _unavailable(entry, str(error))
    except Exception as error:
        if tracebacks_are_wanted():
            raise
        seconds = time.perf_counter() - started
        return Check(entry.key, entry.title, {}, {}, False, seconds, error=in_one_line(error))
    return Check(
        entry.key,
        entry.title,
        finding.figure,
        finding.wanted,
        finding.passed,
        time.perf_counter() - started,
        finding.note,
        finding.rows,
        finding.failures,
    )


def _unavailable(entry: Entry, why: str) -> Check:
    return Check(entry.key, entry.title, {}, {}, None, 0.0, why)
