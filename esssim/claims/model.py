"""What a claim is, what measuring it gives, and the registry that holds them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from esssim import _validate
from esssim.claims.names import matching, same

# "skipped": not measured, because what it needs is not installed; never a pass.
Outcome = Literal["holds", "refuted", "inconclusive", "skipped"]
Expectation = Literal["holds", "refuted", "open"]
Row = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Measurement:
    """The numbers behind a verdict.

    verdict and its reason in words; value with its 95 % interval (None where the claim is not about one number;
    a point where the value is exact); n_effective, the effective sample size (None where exact); rows, the table saved
    as CSV.
    """

    verdict: Outcome
    reason: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    n_effective: float | None = None
    rows: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        _validate.choice("verdict", self.verdict, get_args(Outcome))


Measure = Callable[[bool], Measurement]


@dataclass(frozen=True)
class Claim:
    """One falsifiable sentence, who says it, what we expect and how it is decided.

    id: "family/setting/b=4"; statement: with the formula; source: paper, version, equation; source_predicts and
    we_predict: in words, with the number; expected: the verdict that we predict ("open": none, whatever comes out is
    the result); method: how it is measured; tolerance: what still counts as equal (None where exact);
    measure(quick) does the work. in_quick: whether a short run can decide it; extra: the optional part of the package
    that it needs, "bridge" for torch.
    """

    id: str
    statement: str
    source: str
    source_predicts: str
    we_predict: str
    expected: Expectation
    method: str
    tolerance: float | None
    measure: Measure
    in_quick: bool = True
    extra: str | None = None

    def __post_init__(self) -> None:
        _validate.choice("expected", self.expected, get_args(Expectation))

    @property
    def family(self) -> str:
        """The part of the id before the first slash."""
        return self.id.split("/")[0]


@dataclass(frozen=True)
class Verdict:
    """A claim with what came out; `error` says why where it could not be measured at all (its verdict is then
    "inconclusive")."""

    claim: Claim
    measurement: Measurement
    seconds: float
    error: str | None = None

    @property
    def as_predicted(self) -> bool | None:
        """Whether our own prediction came out; None where we made none, or nothing could be decided."""
        if self.claim.expected == "open" or self.measurement.verdict in ("inconclusive", "skipped"):
            return None
        return self.measurement.verdict == self.claim.expected

    def as_dict(self) -> dict[str, object]:
        """The entry of results.json; numbers that are not finite become null."""
        measured = self.measurement
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "source_predicts": self.claim.source_predicts,
            "we_predict": self.claim.we_predict,
            "expected": self.claim.expected,
            "verdict": measured.verdict,
            "as_predicted": self.as_predicted,
            "reason": measured.reason,
            "error": self.error,
            "measured": _finite(measured.value),
            "interval": None if measured.interval is None else [_finite(end) for end in measured.interval],
            "n_effective": _finite(measured.n_effective),
            "tolerance": self.claim.tolerance,
            "method": self.claim.method,
            "seconds": round(self.seconds, 3),
            "extra": self.claim.extra,
        }


class Registry(Mapping[str, Claim]):
    """Claims by id, in the order in which they were added."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def add(self, claim: Claim) -> Claim:
        """Register a claim. Raises ValueError when its id is taken."""
        if claim.id in self._claims:
            raise ValueError(f"claim id must be new, {claim.id!r} is registered already")
        self._claims[claim.id] = claim
        return claim

    def __getitem__(self, name: str) -> Claim:
        return self._claims[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._claims)

    def __len__(self) -> int:
        return len(self._claims)

    def select(self, names: list[str] | None, quick: bool = False, extra: str | None = None) -> list[Claim]:
        """The claims that are named, in registry order; all without names.

        names: ids, beginnings of ids up to a slash, or what a statistic is called (`claims.names`).
        quick: only those that a short run can decide; what is named by its id is always there.
        extra: only the claims that need this optional part of the package.
        Raises ValueError for an unknown name, with the nearest one.
        """
        if isinstance(names, str):
            raise ValueError(f"names must be a list of claim ids or families, got the string {names!r}")
        meant = {name: matching(name, self) for name in names or ()}
        by_id = {found[0] for name, found in meant.items() if len(found) == 1 and same(name, found[0])}
        chosen = set(self) if names is None else {each for found in meant.values() for each in found}
        return [
            claim
            for claim in self.values()
            if claim.id in chosen
            and (extra is None or claim.extra == extra)
            and (claim.in_quick or not quick or claim.id in by_id)
        ]


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
