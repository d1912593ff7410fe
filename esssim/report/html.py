"""The report as one HTML file that asks nobody for anything: style and pictures are inside."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

from esssim.claims.claim import Claim, Row, Verdict
from esssim.report import svg
from esssim.report.words import (
    TONES,
    Tone,
    duration,
    grouped,
    interval_text,
    number,
    our_prediction,
    skipped,
    spoken_verdict,
    summary,
    tone,
)

SHOWN_ROWS = 20

STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #d5dae0; --panel: #f6f8fa;
  --accent: #0b62c4; --band: #cfe8d3; --window: #eceff3; --confirmed: #1a7f37; --refuted: #0e7490;
  --unpredicted: #4356b6; --contradiction: #c4151c; --undecided: #8a5a00; --skipped: #5b6470; }
@media (prefers-color-scheme: dark) { :root { --page: #14181d; --ink: #e6e9ed; --soft: #9aa5b1; --line: #343c46;
  --panel: #1c2229; --accent: #6cb2ff; --band: #1f4429; --window: #232b34; --confirmed: #57c46f; --refuted: #4cc3dc;
  --unpredicted: #98a8ff; --contradiction: #ff7b72; --undecided: #e3b341; --skipped: #9aa5b1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .3rem; font-size: 1.7rem; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.25rem; }
h3 { margin: 0; font-size: 1rem; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
a { color: var(--accent); } .soft, .tick, figcaption { color: var(--soft); font-size: .9rem; }
article { margin: .8rem 0; padding: .9rem 1.1rem; border: 1px solid var(--line); border-left-width: 5px;
  border-radius: 6px; background: var(--panel); }
article p { margin: .4rem 0; } article header { display: flex; flex-wrap: wrap; gap: .4rem 1rem;
  justify-content: space-between; align-items: baseline; }
.badge { font-weight: 650; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { body { padding: 1rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; }
  .paper { overflow-x: auto; } .paper > svg { min-width: 40rem; } }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid var(--line); text-align: left; }
td.n, th.n { text-align: right; }
.scroll, pre { overflow-x: auto; } pre { font-size: .85rem; border-left: 2px solid var(--line); padding-left: .7rem; } details { margin-top: .5rem; } summary { cursor: pointer; color: var(--accent); }
figure { margin: 1rem 0; } .paper { background: #fff; border-radius: 6px; padding: .5rem; }
svg { max-width: 100%; height: auto; display: block; } svg.strip, svg.chart { width: 26rem; margin-top: .4rem; }
svg .tick { font: 11px system-ui, sans-serif; fill: var(--soft); }
.band { fill: var(--band); } .window { fill: var(--window); } .axis { stroke: var(--soft); }
.edge { stroke: var(--ink); stroke-dasharray: 4 3; } .interval { stroke: var(--accent); stroke-width: 3; }
.cap { stroke: var(--accent); } .dot { fill: var(--accent); }
.line { fill: none; stroke: var(--accent); stroke-width: 1.6; }
"""


def render_report(
    verdicts: Sequence[Verdict],
    environment: Mapping[str, object],
    pictures: Mapping[str, str] | None = None,
    quick: bool = False,
) -> str:
    """report.html: summary, pictures, table of contents, and every claim with its numbers.

    pictures: title -> one inline <svg> element (`plots.report_pictures`), shown on white paper. quick: whether short runs
    were measured, so that the TOML of a run is that of the short one.
    """
    shown = [verdict for verdict in verdicts if verdict.measurement.verdict != "skipped"]
    families = grouped(shown, lambda verdict: verdict.claim.family)
    body = "".join(
        [
            "<h1>esssim: what settles at 2/η?</h1>",
            f"<p><strong>{escape(summary(list(verdicts)))}</strong></p>",
            _legend(verdicts),
            *(f"<p>{escape(line)}</p>" for line in skipped(verdicts)),
            _pictures(pictures or {}),
            _contents(families),
            *(_family(name, members, quick) for name, members in families.items()),
            _environment(environment),
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>esssim report</title>'
        f"<style>{STYLE}{_tone_style()}</style></head>\n<body>{body}</body></html>\n"
    )


def _tone_style() -> str:
    """A colour for each tone: on the border of a claim, on its badge and in the table of contents."""
    rules = ("{border-left-color:var(--%s)}", " .badge{color:var(--%s)}")
    styles = [f".{name}{rule % name}" for name in TONES for rule in rules]
    return "\n".join(styles + [f"span.{name}{{color:var(--{name})}}" for name in TONES])


def _tone(verdict: Verdict) -> Tone:
    return tone(verdict.claim.expected, verdict.measurement.verdict)


def _anchor(family: str) -> str:
    return "family-" + re.sub(r"[^a-z0-9]+", "-", family.lower()).strip("-")


def _legend(verdicts: Sequence[Verdict]) -> str:
    tones = [_tone(verdict) for verdict in verdicts]
    items = [
        f'<tr><td class="n">{tones.count(name)}</td><td><span class="badge {name}">{escape(words)}</span></td></tr>'
        for name, words in TONES.items()
        if name != "skipped" or name in tones
    ]
    return (
        f"<table>{''.join(items)}</table>"
        '<p class="soft">A level is (η/2)·statistic: 1, the dashed line, is the edge 2/η; the band around it is what '
        "counts as equal. Intervals are 95 %. A claim of the literature may be refuted and still come out as we "
        "predict.</p>"
    )


def _pictures(pictures: Mapping[str, str]) -> str:
    return "".join(
        f'<figure><div class="paper">{svg}</div><figcaption>{escape(title)}</figcaption></figure>'
        for title, svg in pictures.items()
    )


def _contents(families: Mapping[str, list[Verdict]]) -> str:
    rows = []
    for name, members in families.items():
        tones = [_tone(verdict) for verdict in members]
        counts = ", ".join(
            f'<span class="{key}">{tones.count(key)} {escape(words)}</span>'
            for key, words in TONES.items()
            if key in tones
        )
        rows.append(f'<tr><td><a href="#{_anchor(name)}">{escape(name)}</a></td><td>{counts}</td></tr>')
    return f'<nav><h2>Claims</h2><div class="scroll"><table>{"".join(rows)}</table></div></nav>'


def _family(name: str, members: list[Verdict], quick: bool) -> str:
    articles = "".join(_claim(member, quick) for member in members)
    return f'<section><h2 id="{_anchor(name)}">{escape(name)}</h2>{articles}</section>'


def _claim(verdict: Verdict, quick: bool) -> str:
    claim, measured = verdict.claim, verdict.measurement
    value = number(measured.value)
    if measured.interval is not None:
        value += f" ({interval_text(measured)})"
    facts = [
        ("source", str(claim.source)),
        ("the source predicts", claim.source_predicts),
        ("we predict", our_prediction(claim.we_predict)),
        ("measured", value),
        ("why", measured.reason),
        ("method", claim.method),
    ]
    if measured.n_effective is not None:
        facts.insert(4, ("effective samples", f"{measured.n_effective:.0f}"))
    if claim.tolerance is not None:
        facts.append(("tolerance", f"{claim.tolerance:g}"))
    facts.append(("time", duration(verdict.seconds)))
    listed = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in facts)
    drawing = ""
    if measured.value is not None and svg.is_level(verdict):
        drawing = svg.strip(measured.value, measured.interval, claim.tolerance)
        drawing += svg.trajectory(measured.rows, claim.tolerance)
    return (
        f'<article class="{_tone(verdict)}"><header><h3>{escape(claim.id)}</h3>'
        f'<span class="badge">{escape(spoken_verdict(verdict))}</span></header>'
        f"<p>{escape(claim.statement)}</p>{drawing}<dl>{listed}</dl>{_rows(measured.rows)}{_experiments(claim, quick)}</article>"
    )


def _experiments(claim: Claim, quick: bool) -> str:
    """The TOML of each run behind a claim, for `esssim run`."""
    runs = claim.experiments(quick and claim.in_quick)
    texts = "".join(f"<pre>{escape(run.to_toml())}</pre>" for run in runs)
    which = "esssim run with this file" if len(runs) == 1 else f"esssim run with each of these {len(runs)} files"
    return f"<details><summary>reproduce: {which}</summary>{texts}</details>" if runs else ""


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


def _environment(environment: Mapping[str, object]) -> str:
    facts = []
    for name, value in environment.items():
        words = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)
        facts.append(f"<dt>{escape(name)}</dt><dd>{escape(words)}</dd>")
    return f"<section><h2>Made with</h2><dl>{''.join(facts)}</dl></section>"
