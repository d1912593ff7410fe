"""The table of all claims, which filters by words, statistic, setting and verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from esssim.claims.claim import Claim, Verdict
from esssim.report.page import address
from esssim.report.scale import strip
from esssim.report.words import EXPECTED, TONES, interval_text, number, spoken_verdict, tone
from esssim.statistics.table import STATISTICS


def listing(verdicts: Sequence[Verdict]) -> str:
    """A row for each claim; the form above it is there where scripts run."""
    rows = "".join(map(_row, verdicts))
    head = "".join(
        f'<th scope="col"{" class=n" if name in ("measured", "95 % interval") else ""}>{name}</th>'
        for name in ("claim", "statistic", "measured", "95 % interval", "we predict", "verdict")
    )
    return (
        f'<nav aria-label="claims"><h2 id="claims">Claims</h2>{_filters(verdicts)}'
        f'<div class="listing" tabindex="0" role="region" aria-label="all claims"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></nav>"
    )


def setting_of(claim: Claim) -> str:
    """What stands between the family and the batch size in an id."""
    return claim.id.split("/")[1] if "/" in claim.id else ""


def _filters(verdicts: Sequence[Verdict]) -> str:
    keys = dict.fromkeys(key for each in verdicts for key in each.claim.about)
    statistics = {key: STATISTICS[key].title if key in STATISTICS else key for key in keys}
    settings = dict.fromkeys(filter(None, (setting_of(each.claim) for each in verdicts)))
    tones = {_tone(each) for each in verdicts}
    return (
        '<form class="filters" hidden>'
        '<input type="search" aria-label="words to look for" placeholder="words, all of them">'
        + _select("statistic", statistics.items())
        + _select("setting", ((name, name) for name in settings))
        + _select("verdict", ((name, words) for name, words in TONES.items() if name in tones))
        + '<button type="reset">all</button><output id="shown" class="soft"></output></form>'
    )


def _select(name: str, options: Iterable[tuple[str, str]]) -> str:
    listed = "".join(
        f'<option value="{escape(value, quote=True)}">{escape(words)}</option>' for value, words in options
    )
    return f'<select aria-label="{name}"><option value="">any {name}</option>{listed}</select>'


def _tone(verdict: Verdict) -> str:
    return tone(verdict.claim.expected, verdict.measurement.verdict)


def _row(verdict: Verdict) -> str:
    claim, measured = verdict.claim, verdict.measurement
    names = ", ".join(STATISTICS[key].title if key in STATISTICS else key for key in claim.about)
    data = {"claim": claim.id, "about": " ".join(claim.about), "setting": setting_of(claim), "tone": _tone(verdict)}
    attributes = "".join(f' data-{name}="{escape(value, quote=True)}"' for name, value in data.items())
    link = f'<a href="{escape(address(claim.id), quote=True)}">{escape(claim.id)}</a>'
    # A level of (η/2)·statistic, beside the edge.
    drawn = strip(measured.value, measured.interval, claim.accepts) if claim.cell and measured.value is not None else ""
    cells = (
        f'<td>{link}</td><td>{escape(names)}</td><td class="n">{number(measured.value)}{drawn}</td>'
        f'<td class="n">{interval_text(measured)}</td><td>{EXPECTED[claim.expected]}</td>'
        f'<td><span class="badge {_tone(verdict)}">{escape(spoken_verdict(verdict))}</span></td>'
    )
    return f"<tr{attributes}>{cells}</tr>"
