"""Claims that take no time, one for each way a verdict can come out; shared by the tests of command line and report."""

from __future__ import annotations

from dataclasses import replace

from esssim.claims import Cell, Claim, Measurement, Predicted, Registry, Verdict
from esssim.claims.claim import Expectation, Measure, Outcome, Row
from esssim.papers import COHEN

HOSTILE = '<script>alert("x")</script> |a| & [b] *c* `d`'


def level(value: float, half: float, verdict: Outcome, ess: float = 400.0, reason: str = "because") -> Measurement:
    """A measured level with the rows of a ramp."""
    rows: list[Row] = [
        {"step": 100 * k, "step_size": 0.1 + 0.01 * k, "level": value, "standard_error": half, "in_window": k > 10}
        for k in range(30)
    ]
    return Measurement(verdict, reason, value, (value - half, value + half), ess, rows)


def claim(name: str, expected: Expectation, measurement: Measurement, in_quick: bool = True) -> Claim:
    """A claim whose measurement is known beforehand; "settles/table/b=1" has a place in the tables of levels."""
    family, *rest = name.split("/")
    level_of = rest[-1].startswith("b=") if len(rest) == 2 else False
    return Claim(
        id=name, sentence=f"Statement of {name} {HOSTILE}.", source=COHEN, source_predicts="the source's 1",
        we_predict=Predicted(expected, "our 1"), method="by decree", tolerance=0.05, measure=lambda quick: measurement,
        in_quick=in_quick, cell=Cell(rest[0], family, int(rest[1][2:])) if level_of else None,
    )  # fmt: skip


def bare(name: str, expected: Expectation, measure: Measure) -> Claim:
    """A claim that says nothing and is measured by `measure`."""
    return Claim(
        id=name, sentence="", source=COHEN, source_predicts="", we_predict=Predicted(expected, ""), method="",
        tolerance=None, measure=measure,
    )  # fmt: skip


AS_PREDICTED = [
    claim("settles/table-a/b=1", "holds", level(0.99, 0.01, "holds")),
    claim("settles/table-a/b=4", "refuted", level(1.24, 0.02, "refuted")),
    claim("settles/table-b/b=1", "open", level(0.8, 0.02, "refuted")),
    claim("identity/exact", "holds", Measurement("holds", "no error", 0.0, (0.0, 0.0)), in_quick=False),
]
CONTRADICTION = claim("settles/table-b/b=8", "holds", level(1.4, 0.1, "refuted"))
UNDECIDED = claim(
    "other/undecided",
    "holds",
    replace(level(1.0, 0.2, "inconclusive", 31.0, "31 effective samples, 100 are needed"), lacks_samples=True),
)
UNDECIDED_OPEN = claim("other/open", "open", Measurement("inconclusive", "it drifts"))


def registry(*claims: Claim) -> Registry:
    """A registry of these claims."""
    result = Registry()
    for item in claims:
        result.add(item)
    return result


def verdicts(*claims: Claim) -> list[Verdict]:
    """These claims, measured."""
    return [Verdict(item, item.measure(False), 0.25) for item in claims]
