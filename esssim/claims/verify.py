"""Measuring claims: the main job."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from esssim.claims.model import Claim, Registry, Verdict


class Progress(Protocol):
    """What `verify` tells its caller while it works."""

    def __call__(self, claim: Claim, verdict: Verdict | None) -> None: ...


def verify_claims(
    registry: Registry, names: list[str] | None = None, quick: bool = False, progress: Progress | None = None
) -> list[Verdict]:
    """Measure the named claims (ids or families; all by default): the list of their verdicts.

    quick: shorter runs, fewer replicas, and only the claims that a short run can decide. progress is called with
    (claim, None) before and (claim, verdict) after each. Raises ValueError for an unknown name.
    """
    verdicts = []
    for claim in registry.select(names, quick):
        if progress is not None:
            progress(claim, None)
        verdicts.append(_timed(claim.measure, claim, quick))
        if progress is not None:
            progress(claim, verdicts[-1])
    return verdicts


def _timed(measure: Callable[[bool], object], claim: Claim, quick: bool) -> Verdict:
    started = time.perf_counter()
    measurement = claim.measure(quick)
    return Verdict(claim, measurement, time.perf_counter() - started)


def exit_code(verdicts: list[Verdict]) -> int:
    """0 when everything came out as we predict, 1 when something contradicts us, 3 when something stayed undecided."""
    if any(verdict.as_predicted is False for verdict in verdicts):
        return 1
    undecided = (v for v in verdicts if v.measurement.verdict == "inconclusive" and v.claim.expected != "open")
    return 3 if any(undecided) else 0
