"""Claims as Markdown: levels by statistic and batch size, every other claim in words, and the summary of both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esssim.report.words import TONES, grouped, spoken, tone

MARKS = {"holds": "✓", "refuted": "✗", "inconclusive": "?", "skipped": "–"}
LEGEND = (
    "Each number is the measured (η/2)·statistic: 1 is the edge 2/η. ✓ it settles at 1 ± 0.05, ✗ it does not, ? no "
    "verdict; "
    "**bold** contradicts our own prediction."
)
# From so many settings on a sentence is one row.
MANY = 4
Entry = Mapping[str, Any]


def headline(claims: Sequence[Entry], environment: Mapping[str, Any]) -> str:
    """How many claims came out how, and when."""
    tones = [tone(entry["expected"], entry["verdict"]) for entry in claims]
    counts = "; ".join(f"{tones.count(name)} {words}" for name, words in TONES.items() if name in tones)
    made = f"esssim {environment.get('esssim')}, {str(environment.get('date'))[:10]}"
    return f"{len(claims)} claims ({made}): {counts}."


def page(title: str, introduction: str, claims: Sequence[Entry], environment: Mapping[str, Any]) -> str:
    """A page of all these claims."""
    levels = [entry for entry in claims if entry["cell"] is not None]
    parts = [f"# {title}", introduction, headline(claims, environment)]
    if levels:
        parts += ["## Levels", LEGEND]
        parts += [
            level_table(name, group) for name, group in grouped(levels, lambda entry: entry["cell"]["table"]).items()
        ]
    others = [entry for entry in claims if entry["cell"] is None]
    if others:
        parts += ["## The other claims", other_table(others)]
    return "\n\n".join(parts) + "\n"


def level_table(name: str, entries: Sequence[Entry]) -> str:
    """A row for each statistic, a column for each batch size of one setting."""
    sizes = sorted({entry["cell"]["batch_size"] for entry in entries})
    lines = [
        f"| {plain(name)} | " + " | ".join(f"b = {b}" for b in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for row, group in grouped(entries, lambda entry: entry["cell"]["row"]).items():
        cells = {entry["cell"]["batch_size"]: _level(entry) for entry in group}
        lines.append(f"| {plain(row)} | " + " | ".join(cells.get(b, "") for b in sizes) + " |")
    return "\n".join(lines)


def other_table(entries: Sequence[Entry]) -> str:
    """A row for each claim; one for all that say the same sentence of many settings."""
    lines = ["| claim | verdict |", "|---|---|"]
    for sentence, group in grouped(entries, lambda entry: entry["sentence"]).items():
        if len(group) >= MANY:
            words = f"{sentence.removesuffix('.')} ({len(group)} settings)."
            lines.append(f"| {plain(words)} | {plain(_verdicts(group))} |")
        else:
            lines += [f"| {plain(entry['statement'])} | {plain(verdict_words(entry))} |" for entry in group]
    return "\n".join(lines)


def summary_table(groups: Mapping[str, Sequence[Entry]]) -> str:
    """One row a statistic; for each group of settings the lowest and highest level, and how often it settles at the
    edge.

    groups: name of a column -> levels. Failures are counted beside successes: "0.73–1.55 · 6 of 18".
    """
    rows = dict.fromkeys(entry["cell"]["row"] for entries in groups.values() for entry in entries)
    lines = ["| statistic | " + " | ".join(map(plain, groups)) + " |", "|---|" + "---:|" * len(groups)]
    for row in rows:
        cells = [_summary([entry for entry in entries if entry["cell"]["row"] == row]) for entries in groups.values()]
        lines.append(f"| {plain(row)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _summary(entries: Sequence[Entry]) -> str:
    levels = [entry["measured"] for entry in entries if entry["measured"] is not None]
    if not levels:
        return "—"
    settled = sum(entry["verdict"] == "holds" for entry in entries)
    low, high = f"{min(levels):.2f}", f"{max(levels):.2f}"
    span = low if low == high else f"{low}–{high}"
    return f"{span} · {settled} of {len(entries)}"


def verdict_words(entry: Entry) -> str:
    """The verdict on a claim as a short phrase."""
    too_few = entry["n_effective"] if entry["lacks_samples"] else None
    return spoken(entry["expected"], entry["verdict"], entry["reason"], too_few)


def _level(entry: Entry) -> str:
    value = "" if entry["measured"] is None else f"{entry['measured']:.2f} "
    cell = f"{value}{MARKS[entry['verdict']]}"
    return f"**{cell}**" if tone(entry["expected"], entry["verdict"]) == "contradiction" else cell


def _verdicts(group: Iterable[Entry]) -> str:
    """How often each verdict came out, with the settings of all but the commonest."""
    settings = grouped(group, verdict_words)
    (words, places), *rest = sorted(settings.items(), key=lambda item: -len(item[1]))
    others = [f"{', '.join(entry['where'] for entry in where)}: {said}" for said, where in rest]
    return "; ".join([f"{len(places)} times {words}", *others])


def plain(text: str) -> str:
    """Text for a Markdown cell: a claim is full of bars, stars and brackets that mean something else there."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
