"""One claim: what it says, who says it, what was predicted and when, what came out, and how to get it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape

from esssim.claims.claim import Claim, Row, Verdict
from esssim.report import indices
from esssim.report.mathml import mathml
from esssim.report.page import address, facts, reproduce, source_links
from esssim.report.scale import scale
from esssim.report.trajectory import trajectory
from esssim.report.words import duration, interval_text, number, our_prediction, spoken_verdict, tone

SHOWN_ROWS = 10


class Cards:
    """The claims of a report. The TOML of a run stands at the first claim that it decides; the others lead there."""

    def __init__(self, quick: bool) -> None:
        self._quick = quick
        self._shown: dict[str, str] = {}

    def card(self, verdict: Verdict) -> str:
        """A claim with all of its numbers, under its id."""
        claim, measured = verdict.claim, verdict.measurement
        drawing = ""
        if measured.value is not None:
            is_level = bool(measured.rows) and all("level" in row for row in measured.rows)
            drawing = scale(measured.value, measured.interval, claim.accepts, is_level=is_level)
            drawing += trajectory(measured.rows, claim.accepts) if is_level else ""
        formula = f'<div class="formula">{mathml(claim.formula, "block")}</div>' if claim.formula else ""
        return (
            f'<article id="{escape(claim.id, quote=True)}" class="{tone(claim.expected, measured.verdict)}">'
            f'<header><h3>{escape(claim.id)}</h3><span class="badge">{escape(spoken_verdict(verdict))}</span></header>'
            f"<p>{indices.html(claim.statement)}</p>{formula}{drawing}{_facts(verdict)}{_rows(measured.rows)}"
            f"{self._reproduce(claim)}</article>"
        )

    def _reproduce(self, claim: Claim) -> str:
        """The command that measures the claim, and the TOML of each run behind it."""
        quick = self._quick and claim.in_quick
        command = f"esssim verify {shlex.quote(claim.id)}" + (" --quick" if quick else "")
        runs = claim.experiments(quick)
        texts, elsewhere = [], dict[str, None]()
        for run in runs:
            text = run.to_toml()
            first = self._shown.setdefault(text, claim.id)
            if first == claim.id:
                texts.append(text)
            else:
                elsewhere[first] = None
        notes = []
        if texts:
            notes.append("Its run, for esssim run:" if len(texts) == 1 else f"Its {len(texts)} runs, for esssim run:")
        if elsewhere:
            links = ", ".join(f'<a href="{escape(address(name), quote=True)}">{escape(name)}</a>' for name in elsewhere)
            count = len(runs) - len(texts)
            notes.insert(0, f"{'Its run is' if count == 1 else f'{count} of its runs are'} shown at {links}.")
        return reproduce(command, texts, " ".join(notes))


def _facts(verdict: Verdict) -> str:
    claim, measured = verdict.claim, verdict.measurement
    prediction = our_prediction(claim.we_predict)
    pairs = [
        ("source", source_links(claim.source)),
        ("it predicts", indices.html(claim.source_predicts)),
        ("we predict", indices.html(prediction)),
        ("measured", number(measured.value)),
        ("95 % interval", interval_text(measured)),
        ("tolerance", "—" if claim.tolerance is None else f"{claim.tolerance:g}"),
        ("result", indices.html(measured.reason)),
        ("how", indices.html(claim.method)),
    ]
    if measured.n_effective is not None:
        pairs.insert(5, ("effective samples", f"{measured.n_effective:.0f}"))
    pairs.append(("time", duration(verdict.seconds)))
    if verdict.error is not None:
        pairs.append(("error", escape(verdict.error)))
    return facts(pairs)


def _rows(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    lines = "".join(
        f"<tr>{''.join(_cell(row.get(column, '')) for column in columns)}</tr>" for row in rows[:SHOWN_ROWS]
    )
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    shown = count if len(rows) <= SHOWN_ROWS else f"the first {SHOWN_ROWS} of {count}; all are in the CSV"
    return (
        f'<details><summary>numbers: {shown}</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></details>"
    )


def _cell(value: str | int | float | bool) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.6g}</td>'
    aligned = ' class="n"' if isinstance(value, int) and not isinstance(value, bool) else ""
    return f"<td{aligned}>{escape(str(value))}</td>"
