"""Verdicts and numbers in words that nobody can misread: the terminal, the report and the README say the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from esssim.claims.claim import Expectation, Measurement, Outcome, Predicted, Verdict

Item = TypeVar("Item")
Tone = Literal["confirmed", "refuted", "unpredicted", "contradiction", "undecided", "skipped"]

EXPECTED = {"holds": "holds", "refuted": "refuted", "open": "no prediction"}
TONES: dict[Tone, str] = {
    "confirmed": "holding, as predicted",
    "refuted": "REFUTED, as we predict",
    "unpredicted": "decided, without a prediction of ours",
    "contradiction": "CONTRADICTING OUR PREDICTION",
    "undecided": "without a verdict",
    "skipped": "skipped",
}


def grouped(items: Iterable[Item], name: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items by name, names in the order in which they first appear."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(name(item), []).append(item)
    return groups


def tone(expected: Expectation, outcome: Outcome) -> Tone:
    """What a verdict means for our own prediction."""
    if outcome == "skipped":
        return "skipped"
    if outcome == "inconclusive":
        return "undecided"
    if expected == "open":
        return "unpredicted"
    if outcome != expected:
        return "contradiction"
    return "confirmed" if outcome == "holds" else "refuted"


def spoken(expected: Expectation, outcome: Outcome, reason: str, too_few: float | None = None) -> str:
    """The verdict as a short phrase; too_few: the effective sample size where it is why there is none."""
    match tone(expected, outcome):
        case "undecided":
            return f"no verdict: {reason if too_few is None else f'{too_few:.0f} effective samples'}"
        case "skipped":
            return f"skipped: {reason}"
        case "unpredicted":
            return "holds (we made no prediction)" if outcome == "holds" else "REFUTED (we made no prediction)"
        case "contradiction":
            return f"CONTRADICTS OUR PREDICTION: {'holds' if outcome == 'holds' else 'refuted'}"
        case "refuted":
            return "REFUTED, as we predict"
    return "holds, as predicted"


def spoken_verdict(verdict: Verdict) -> str:
    """`spoken` of a measured claim."""
    measured = verdict.measurement
    too_few = measured.n_effective if measured.lacks_samples else None
    return spoken(verdict.claim.expected, measured.verdict, measured.reason, too_few)


def our_prediction(predicted: Predicted) -> str:
    """What we predict, with the verdict before it where the words do not say it themselves, and the day if it is
    known.
    """
    verdict = EXPECTED[predicted.verdict]
    words = predicted.words if predicted.words.startswith(verdict) else f"{verdict}: {predicted.words}"
    return words + (f" (stated on {predicted.on})" if predicted.on else "")


def summary(verdicts: list[Verdict]) -> str:
    """One line: how many claims came out how."""
    tones = [tone(verdict.claim.expected, verdict.measurement.verdict) for verdict in verdicts]
    seconds = sum(verdict.seconds for verdict in verdicts)
    parts = [f"{tones.count(name)} {words}" for name, words in TONES.items() if name in tones]
    reasons = dict.fromkeys(v.measurement.reason for v in verdicts if v.measurement.verdict == "skipped")
    if reasons:
        parts[-1] += f" ({'; '.join(reasons)})"
    claims = "1 claim" if len(verdicts) == 1 else f"{len(verdicts)} claims"
    return f"{claims} in {duration(seconds)}: {'; '.join(parts)}"


def skipped(verdicts: Iterable[Verdict]) -> list[str]:
    """One line for all claims that were skipped for the same reason."""
    reasons = grouped((v for v in verdicts if v.measurement.verdict == "skipped"), lambda v: v.measurement.reason)
    return [
        f"{len(members)} {'claim' if len(members) == 1 else 'claims'} about torch networks "
        f"{'was' if len(members) == 1 else 'were'} skipped: {reason}"
        for reason, members in reasons.items()
    ]


def duration(seconds: float) -> str:
    """Seconds in words, minutes from two minutes on."""
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def number(value: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    return "—" if value is None else f"{value:.4g}"


def interval_text(measured: Measurement) -> str:
    """The ends of the interval; "exact" where they coincide and nothing was sampled."""
    if measured.interval is None:
        return "—"
    lower, upper = measured.interval
    return "exact" if lower == upper and measured.n_effective is None else f"{lower:.4g} … {upper:.4g}"
