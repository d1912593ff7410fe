"""Measuring claims: the main job."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from esssim._errors import in_one_line, tracebacks_are_wanted
from esssim._extras import missing
from esssim._progress import Progress, shown
from esssim.claims.claim import Claim, Measurement, Registry, Verdict

if TYPE_CHECKING:
    from esssim.experiments import Configuration


class Each(Protocol):
    """What `verify` calls before and after each claim."""

    def __call__(self, claim: Claim, verdict: Verdict | None) -> None: ...


# Decided first: what takes no time, and then the answer to the question of the project at one batch size.
FIRST = (
    "minibs-at-least-sharpness/all-b",
    "minibs-at-least-sharpness/b=n",
    "minibs-at-least-sharpness/b=1",
    "minibs-falls-with-b/both-schemes",
    "batch-sharpness-at-most-minibs/ratios",
    "batch-sharpness-at-most-minibs/parts-can-exceed",
    "gap-exponent/clear-eigengap",
    "quadratic-cannot-settle/energy-balance",
    "minibs-settles/gaussian-100x50/b=8",
    "mean-square-settles/gaussian-100x50/b=8",
)


def in_order_of_measuring(claims: Sequence[Claim]) -> list[Claim]:
    """Those of `FIRST` before all others, which keep their order."""
    places = {name: place for place, name in enumerate(FIRST)}
    return sorted(claims, key=lambda claim: places.get(claim.id, len(FIRST)))


def verify_claims(
    registry: Registry,
    names: list[str] | None = None,
    quick: bool = False,
    progress: Progress = False,
    extra: str | None = None,
    known: Mapping[str, Verdict] | None = None,
    each: Each | None = None,
) -> list[Verdict]:
    """Measure the named claims (ids or families; all by default): the list of their verdicts.

    quick: shorter runs, and only the claims that these can decide; one named by its id that they cannot is measured in
    full. progress: True for a bar, or a function of (done, total) claims. each: called with (claim, None) before and
    (claim, verdict) after each. A claim whose measurement raises an exception has it as its `error`, and the others
    go on; one whose extra is not installed is "skipped". extra: only the claims of this optional part of the package.
    known: verdicts by id that are taken as they are. Raises ValueError for an unknown name.
    """
    from esssim.experiments import beside
    from esssim.experiments.base import run_once
    from esssim.experiments.ramp import one_step

    claims = registry.select(names, quick, extra)
    verdicts = dict(known or {})
    left = in_order_of_measuring([claim for claim in claims if claim.id not in verdicts])
    tasks = [task for claim in left for experiment in _experiments(claim, quick) for task in experiment.tasks]
    # One process compiles the steps of SGD while the other one compiles what is recorded.
    warm_up = (run_once, one_step())
    with shown(progress, len(claims), "claims") as advance, beside.ahead(tasks, warm_up):
        advance(len(claims) - len(left))
        for claim in left:
            if each is not None:
                each(claim, None)
            verdicts[claim.id] = _measured(claim, quick)
            if each is not None:
                each(claim, verdicts[claim.id])
            advance(1)
    return [verdicts[claim.id] for claim in claims]


def _experiments(claim: Claim, quick: bool) -> Sequence[Configuration]:
    """The runs that decide a claim; none where that cannot be said, which its measurement will say."""
    if claim.extra and missing(claim.extra):
        return ()
    with contextlib.suppress(Exception):
        return claim.experiments(quick and claim.in_quick)
    return ()


def _measured(claim: Claim, quick: bool) -> Verdict:
    started, error = time.perf_counter(), None
    absent = missing(claim.extra) if claim.extra else None
    if absent:
        return Verdict(claim, Measurement("skipped", absent), 0.0)
    from esssim._threads import one_blas_thread  # looks at the libraries of scipy: half a second to import

    try:
        with one_blas_thread():
            measurement = claim.measure(quick and claim.in_quick)
    except Exception as caught:
        if _is_an_interrupt(caught):
            raise KeyboardInterrupt from caught
        if tracebacks_are_wanted():
            raise
        error = in_one_line(caught)
        measurement = Measurement("inconclusive", f"could not be measured: {error}")
    return Verdict(claim, measurement, time.perf_counter() - started, error)


def _is_an_interrupt(error: BaseException | None) -> bool:
    """Whether an error comes from clearing up after an interrupt: workers that are just starting can fail at that."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def exit_code(verdicts: list[Verdict]) -> int:
    """0 when everything came out as we predict, 1 when something contradicts us, 3 when something stayed undecided.

    What was skipped for want of an optional package counts for nothing.
    2 when a claim could not be measured at all, with a prediction or without: that is a fault, not a finding.
    """
    if any(verdict.error is not None for verdict in verdicts):
        return 2
    if any(verdict.as_predicted is False for verdict in verdicts):
        return 1
    undecided = (v for v in verdicts if v.measurement.verdict == "inconclusive" and v.claim.expected != "open")
    return 3 if any(undecided) else 0
