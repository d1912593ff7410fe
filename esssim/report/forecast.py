"""How long claims will take: what each took where it was last timed, and how much faster or slower this machine is."""

from __future__ import annotations

from collections.abc import Sequence

from esssim._extras import missing
from esssim.claims.claim import Claim
from esssim.report.progress import spoken

# Of a claim that was never timed.
USUAL = 5.0


def expected_seconds(claims: Sequence[Claim], quick: bool) -> dict[str, float]:
    """What each claim took at its last timing, by id; nothing for one that will be skipped."""
    from esssim.claims import index
    from esssim.report import published

    full, short = published.seconds(), index.quick_seconds()
    absent = {claim.extra: claim.extra is not None and missing(claim.extra) is not None for claim in claims}
    return {
        claim.id: 0.0 if absent[claim.extra] else (short if quick and claim.in_quick else full).get(claim.id, USUAL)
        for claim in claims
    }


def announcement(claims: Sequence[Claim], quick: bool) -> str:
    """One line before the work: how many claims, and about how long they take."""
    seconds = expected_seconds(claims, quick)
    networks = [claim for claim in claims if claim.extra and missing(claim.extra) is None]
    words = f"{len(claims)} {'claim' if len(claims) == 1 else 'claims'}, {spoken(sum(seconds.values()))}"
    if networks and len(networks) < len(claims):
        own = sum(seconds[claim.id] for claim in networks)
        words += f", of which {spoken(own)} for {len(networks)} of torch networks"
    return f"{words} (as timed on two cores)"


class Forecast:
    """The time left, as the claims are measured."""

    def __init__(self, claims: Sequence[Claim], quick: bool) -> None:
        self._expected = expected_seconds(claims, quick)
        self._done = self._spent = 0.0

    def measured(self, claim: Claim, seconds: float) -> None:
        self._done += self._expected.pop(claim.id, 0.0)
        self._spent += seconds

    def left(self) -> float:
        """Seconds, by the pace so far once it means something."""
        pace = self._spent / self._done if self._done > 5 else 1.0
        return sum(self._expected.values()) * pace
