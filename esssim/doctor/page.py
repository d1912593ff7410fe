"""The page of the reliability figures: a table of all, and for each how it was measured and what failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

HEAD = """# Reliability

Made by `python docs/reliability.py` from docs/reliability.json. `esssim doctor` checks an installation in some seconds, one
number of each kind against its reference. `esssim doctor --full KEY` measures a figure of this page anew; `esssim doctor
--quick` measures a short version of all of them, which also runs in CI.

A figure *passes* where it lies in the range beside it. Ranges are stated before a figure is measured, and are not changed by
what comes out. What failed, and which faults of the code were mended on the way, is said below the table.

"""
MOST_FAILURES, MOST_TABLE_ROWS = 12, 60


Sentences = Mapping[str, Sequence[str]]


def markdown(content: Mapping[str, Any], mended: Sentences | None = None, why: Sentences | None = None) -> str:
    """The whole page. mended: by key, the faults that a check has found; why: what stands behind a failure."""
    entries = content["checks"]
    lines = ["| key | what | figures | passed |", "|---|---|---|---|"]
    lines += [f"| [{e['key']}](#{anchor(e)}) | {e['title']} | {figures(e)} | {outcome(e)} |" for e in entries]
    sections = [section(e, (mended or {}).get(e["key"], ()), (why or {}).get(e["key"], ())) for e in entries]
    return HEAD + "\n".join(lines) + "\n\n" + "\n\n".join(sections) + "\n"


def anchor(entry: Mapping[str, Any]) -> str:
    kept = "".join(c for c in f"{entry['key']} {entry['title']}".lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def outcome(entry: Mapping[str, Any]) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[entry["passed"]]


def figures(entry: Mapping[str, Any]) -> str:
    """Each figure with its range, the judged ones first."""
    judged = [
        f"{words(name)}: **{shown(entry['figure'][name])}** ({ranged(*ends)})" for name, ends in entry["wanted"].items()
    ]
    others = [
        f"{words(name)}: {shown(value)}" for name, value in entry["figure"].items() if name not in entry["wanted"]
    ]
    return "<br>".join([*judged, *others]) or entry["error"] or entry["note"]


def words(name: str) -> str:
    return name.replace("_", " ")


def shown(value: float | None) -> str:
    """Whole numbers with commas, others with three significant digits."""
    if value is None:
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def ranged(low: float | None, high: float | None) -> str:
    if low == high:
        return f"wanted: {shown(low)}"
    if low is None:
        return f"wanted: ≤ {shown(high)}"
    return f"wanted: ≥ {shown(low)}" if high is None else f"wanted: {shown(low)} to {shown(high)}"


def section(entry: Mapping[str, Any], mended: Sequence[str], why: Sequence[str] = ()) -> str:
    """How it was measured, when, what failed and why, what was mended, and the table behind it."""
    paragraphs = [f"## {entry['key']} {entry['title']}", fill(entry["about"], 118)]
    measured = f"`esssim doctor --full {entry['key']}` took {entry['seconds']:,.0f} s"
    where = entry.get("measured")
    if where:
        measured += f", at commit {where['commit']} on {where['date'][:10]}"
    paragraphs.append(f"{measured}.")
    if entry["error"]:
        paragraphs.append(f"It ended with an error: {entry['error']}.")
    if entry["note"]:
        paragraphs.append(fill(entry["note"], 118))
    if entry["failures"]:
        rest = len(entry["failures"]) - MOST_FAILURES
        named = [f"* {cell(name)}" for name in entry["failures"][:MOST_FAILURES]]
        paragraphs.append("Failed:\n\n" + "\n".join([*named, *([f"* and {rest} more"] if rest > 0 else [])]))
    for title, sentences in (("Why", why), ("Found and mended", mended)):
        if sentences:
            listed = (fill(f"* {each}", 118, subsequent_indent="  ") for each in sentences)
            paragraphs.append(f"{title}:\n\n" + "\n".join(listed))
    if entry["rows"]:
        paragraphs.append(table(entry["rows"][:MOST_TABLE_ROWS]))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a table; columns in the order in which they first appear."""
    known = list(rows)
    columns = list(dict.fromkeys(name for row in known for name in row))
    lines = ["| " + " | ".join(map(words, columns)) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(name, "")) for name in columns) + " |" for row in known]
    return "\n".join(lines)


def cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | int) or value is None:
        return shown(value)
    return str(value).replace("|", "\\|").replace("<", "&lt;")
