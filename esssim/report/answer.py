"""The answer in two sentences: what settles at the edge, and what became of our predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from esssim.claims.claim import Verdict
from esssim.report.words import grouped, spoken_verdict, tone


class Settled(NamedTuple):
    """One statistic below the full batch: how often it settles at the edge, in how many settings, and its levels."""

    name: str
    often: int
    settings: int
    lowest: float
    highest: float


def answer(verdicts: Sequence[Verdict]) -> tuple[str, str]:
    """What was found, and whether it is what we predict."""
    return _finding(verdicts), _predictions(verdicts)


def contradicted(verdicts: Sequence[Verdict]) -> list[str]:
    """The ids of the claims that contradict our prediction."""
    return [
        each.claim.id for each in verdicts if tone(each.claim.expected, each.measurement.verdict) == "contradiction"
    ]


def levels(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The claims that a statistic settles below the full batch, of which a level was measured."""
    return [
        each for each in verdicts
        if each.claim.cell is not None and not each.claim.cell.full_batch and each.measurement.value is not None
    ]  # fmt: skip


def settled(verdicts: Sequence[Verdict]) -> list[Settled]:
    """One line for each statistic, the one that settles most often first."""
    found = []
    for name, group in grouped(levels(verdicts), lambda each: each.claim.cell.row if each.claim.cell else "").items():
        values = [each.measurement.value for each in group if each.measurement.value is not None]
        often = sum(each.measurement.verdict == "holds" for each in group)
        found.append(Settled(name, often, len(group), min(values), max(values)))
    return sorted(found, key=lambda each: each.often / each.settings, reverse=True)


def _finding(verdicts: Sequence[Verdict]) -> str:
    if len(verdicts) == 1:
        (one,) = verdicts
        return f"{one.claim.statement.rstrip('.')}: {spoken_verdict(one)}."
    table = settled(verdicts)
    if not table or (len(table) == 1 and table[0].settings == 1):
        return _count(verdicts)
    first, *others = table
    words = f"Below the full batch, {_small(first.name)} settles at 2/η in {_of(first)}, at {_span(first)} times it"
    if not others:
        return f"{words}."
    second = others[0]
    if len(others) == 1:
        return f"{words}; {_small(second.name)} in {_of(second)}, at {_span(second)} times it."
    if not second.often:
        return f"{words}; no other statistic settles there in any of them."
    return f"{words}; no other statistic settles there more often than {_small(second.name)}, in {_of(second)}."


def _count(verdicts: Sequence[Verdict]) -> str:
    outcomes = [each.measurement.verdict for each in verdicts]
    parts = [
        f"{outcomes.count('holds')} of {len(outcomes)} claims hold",
        f"{outcomes.count('refuted')} {'is' if outcomes.count('refuted') == 1 else 'are'} refuted",
    ]
    undecided = outcomes.count("inconclusive")
    if undecided:
        parts.append(f"{undecided} {'has' if undecided == 1 else 'have'} no verdict")
    return f"{', '.join(parts[:-1])} and {parts[-1]}."


def _predictions(verdicts: Sequence[Verdict]) -> str:
    tones = [tone(each.claim.expected, each.measurement.verdict) for each in verdicts]
    good = sum(each in ("confirmed", "refuted") for each in tones)
    wrong = contradicted(verdicts)
    if not good and not wrong:
        return "None of our predictions could be decided."
    decided = good + len(wrong)
    words = (
        f"Our one prediction that could be decided {'came out as stated' if good else 'did not come out'}"
        if decided == 1
        else f"Of our {decided} predictions that could be decided, {good} came out as stated"
    )
    if decided == 1:
        return f"{words}."
    return f"{words} and {f'{len(wrong)} did not' if wrong else 'none was contradicted'}."


def _of(found: Settled) -> str:
    return f"{found.often} of {found.settings} {'setting' if found.settings == 1 else 'settings'}"


def _span(found: Settled) -> str:
    return f"{found.lowest:.2f}" if found.settings == 1 else f"{found.lowest:.2f} to {found.highest:.2f}"


def _small(name: str) -> str:
    """A heading within a sentence: "Mean-square sharpness Q_b" begins small, the symbol "E[…]" does not."""
    return name[0].lower() + name[1:] if name[:1].isupper() and name[1:2].islower() else name
