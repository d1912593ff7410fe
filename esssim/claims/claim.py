"""What a claim is, what measuring it gives, and the registry that holds them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from esssim import _validate
from esssim._rows import Row as Row
from esssim.claims.names import matching, same
from esssim.papers import Paper, Source

if TYPE_CHECKING:
    from esssim.experiments import Configuration

# "skipped": not measured, because what it needs is not installed; never a pass.
Outcome = Literal["holds", "refuted", "inconclusive", "skipped"]
Expectation = Literal["holds", "refuted", "open"]


@dataclass(frozen=True)
class Measurement:
    """The numbers behind a verdict.

    verdict and its reason in words; value with its 95 % interval (None where the claim is not about one number; a point
    where the value is exact); n_effective, the effective sample size (None where exact); rows, the table saved as CSV;
    values, the numbers that the reason speaks of, by name; lacks_samples, whether n_effective is why there is no
    verdict.
    """

    verdict: Outcome
    reason: str
    value: float | None = None
    interval: tuple[float, float] | None = None
    n_effective: float | None = None
    rows: list[Row] = field(default_factory=list)
    values: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    lacks_samples: bool = False

    def __post_init__(self) -> None:
        _validate.choice("verdict", self.verdict, get_args(Outcome))


Measure = Callable[[bool], Measurement]
# The values with which a claim holds: from the first to the second, infinite where there is no such end.
Accepted = tuple[float, float]


def around(centre: float, tolerance: float) -> Accepted:
    """centre ± tolerance."""
    return (centre - tolerance, centre + tolerance)


def at_most(value: float) -> Accepted:
    return (-math.inf, value)


def at_least(value: float) -> Accepted:
    return (value, math.inf)


@dataclass(frozen=True)
class Predicted:
    """What we expect of a claim: the verdict, and why in words ("open": no prediction, whatever comes out is the
    result).

    on: the day on which it was stated, as 2026-11-24; withdrawn: the value that was predicted before and taken back.
    """

    verdict: Expectation
    words: str
    on: str | None = None
    withdrawn: float | None = None

    def __post_init__(self) -> None:
        _validate.choice("verdict", self.verdict, get_args(Expectation))

    @classmethod
    def holds(cls, words: str, **when: Any) -> Predicted:
        """The claim holds."""
        return cls("holds", words, **when)

    @classmethod
    def refuted(cls, words: str, **when: Any) -> Predicted:
        """The claim does not hold."""
        return cls("refuted", words, **when)

    @classmethod
    def none(cls, words: str = "no prediction", **when: Any) -> Predicted:
        """No prediction, and why."""
        return cls("open", words, **when)


@dataclass(frozen=True)
class Cell:
    """The place of a level in the tables: one table a setting, a row a statistic, a column a batch size.

    full_batch: whether the batch size is the number of samples.
    """

    table: str
    row: str
    batch_size: int
    full_batch: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One falsifiable sentence, who says it, what we expect and how it is decided.

    id: "family/setting/b=4"; sentence: with the formula; where: its setting in words; source: paper and version;
    source_predicts: in words, with the number; we_predict: our own prediction; method: how it is measured; tolerance:
    what still counts as equal (None where exact); measure(quick) does the work. in_quick: whether a short run can
    decide it; extra: the optional part of the package that it needs, "bridge" for torch; setting: the values that
    distinguish it within its family; cell: its place in the tables of levels; experiments(quick): the runs that decide
    it. formula: the sentence as LaTeX; accepts: the values with which it holds (None where it is not about one number);
    about: the statistics that it is about, by their keys.
    """

    id: str
    sentence: str
    source: Source | Paper
    source_predicts: str
    we_predict: Predicted
    method: str
    tolerance: float | None
    measure: Measure
    where: str = ""
    in_quick: bool = True
    extra: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    cell: Cell | None = None
    experiments: Callable[[bool], Sequence[Configuration]] = lambda quick: ()
    formula: str = ""
    accepts: Accepted | None = None
    about: tuple[str, ...] = ()

    @property
    def statement(self) -> str:
        """The sentence with its setting."""
        return f"{self.sentence.removesuffix('.')} ({self.where})." if self.where else self.sentence

    @property
    def expected(self) -> Expectation:
        """The verdict that we predict."""
        return self.we_predict.verdict

    @property
    def family(self) -> str:
        """The part of the id before the first slash."""
        return self.id.split("/")[0]

    def as_dict(self) -> dict[str, Any]:
        """What is known before it is measured, for JSON."""
        return {
            "id": self.id,
            "statement": self.statement,
            "source": str(self.source),
            "source_predicts": self.source_predicts,
            "we_predict": self.we_predict.words,
            "expected": self.expected,
            "method": self.method,
            "tolerance": self.tolerance,
            "extra": self.extra,
            "family": self.family,
            "sentence": self.sentence,
            "where": self.where,
            "setting": dict(self.setting),
            "cell": None if self.cell is None else asdict(self.cell),
            "papers": [paper.key for paper in self.source.papers],
            "predicted_on": self.we_predict.on,
            "withdrawn": self.we_predict.withdrawn,
            "experiments": [each.fingerprint for each in self.experiments(False)],
            "formula": self.formula,
            "accepts": None if self.accepts is None else [_finite(end) for end in self.accepts],
            "about": list(self.about),
        }


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
        outcome = {
            "verdict": measured.verdict,
            "as_predicted": self.as_predicted,
            "reason": measured.reason,
            "lacks_samples": measured.lacks_samples,
            "error": self.error,
            "measured": _finite(measured.value),
            "interval": None if measured.interval is None else [_finite(end) for end in measured.interval],
            "n_effective": _finite(measured.n_effective),
            "values": {name: _plain(value) for name, value in measured.values.items()},
            "seconds": round(self.seconds, 3),
        }
        return self.claim.as_dict() | outcome


class Registry(Mapping[str, Claim]):
    """Claims by id, in the order in which they were added."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._modules: dict[str, str] = {}

    def add(self, claim: Claim, module: str = "") -> Claim:
        """Register a claim that `module` declares. Raises ValueError when its id is taken."""
        if claim.id in self._claims:
            raise ValueError(f"claim id must be new, {claim.id!r} is registered already")
        self._claims[claim.id] = claim
        self._modules[claim.id] = module
        return claim

    def arrange(self, modules: Sequence[str]) -> None:
        """Put the claims in the order of these modules, those of others last: modules are imported in any order."""
        places = {module: place for place, module in enumerate(modules)}
        order = sorted(self._claims, key=lambda name: places.get(self._modules[name], len(places)))
        self._claims = {name: self._claims[name] for name in order}

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


def _plain(value: Any) -> Any:
    """A number as JSON takes it, and text as it is."""
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


# What `esssim verify` measures: `@claim` fills it as modules are imported, `esssim.claims.registry` is all of it in
# order.
REGISTRY = Registry()
