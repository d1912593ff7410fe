"""Results of `esssim verify` as files: results.json, a CSV per claim, report.html, and the table of the README.

`python -m esssim.report README.md docs/results.json` rewrites the README's table; with `--check` it only compares.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esssim import store
from esssim._html import render_report
from esssim._words import TONES, spoken, tone
from esssim.claims.model import Row, Verdict

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
MARKS = {"holds": "✓", "refuted": "✗", "inconclusive": "?"}
Entry = Mapping[str, Any]

__all__ = [
    "check_readme",
    "claim_csv",
    "csv_names",
    "markdown_table",
    "read_entries",
    "render_report",
    "results_json",
    "update_readme",
    "write_report",
    "write_results",
]


def results_json(verdicts: Sequence[Verdict], environment: Mapping[str, object]) -> str:
    """{"claims": [...], "environment": {...}} with a final newline; numbers that are not finite are null."""
    content = {"claims": [verdict.as_dict() for verdict in verdicts], "environment": dict(environment)}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def claim_csv(verdict: Verdict) -> str:
    """The table behind a verdict; for a claim without one, its number and interval."""
    measured = verdict.measurement
    lower, upper = measured.interval or ("", "")
    value = "" if measured.value is None else measured.value
    alone: Row = {
        "id": verdict.claim.id,
        "verdict": measured.verdict,
        "measured": value,
        "lower": lower,
        "upper": upper,
    }
    rows = measured.rows or [alone]
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def csv_names(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Claim id -> file name: letters, digits, dots and dashes only, and no two alike on any file system."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for verdict in verdicts:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "_", verdict.claim.id).strip("._")[:100]
        if not stem or stem.lower() in taken:
            stem += "_" + hashlib.sha256(verdict.claim.id.encode()).hexdigest()[:8]
        taken.add(stem.lower())
        names[verdict.claim.id] = stem + ".csv"
    return names


def write_results(folder: Path, verdicts: Sequence[Verdict], environment: Mapping[str, object]) -> None:
    """Write claims/*.csv and, last, results.json into an existing folder; each file whole.

    Raises ValueError for a folder that cannot be written to.
    """
    text = results_json(verdicts, environment)
    tables = folder / "claims"
    try:
        tables.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from error
    names = csv_names(verdicts)
    for verdict in verdicts:
        store.write_text(tables / names[verdict.claim.id], claim_csv(verdict))
    store.write_text(folder / "results.json", text)


def write_report(
    folder: Path,
    verdicts: Sequence[Verdict],
    environment: Mapping[str, object],
    pictures: Mapping[str, str] | None = None,
) -> None:
    """Write report.html into an existing folder, whole; pictures: title -> SVG text."""
    store.write_text(folder / "report.html", render_report(verdicts, environment, pictures))


def read_entries(path: Path) -> dict[str, Any]:
    """The content of a results.json. Raises ValueError for a missing or damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        needed = {"id", "statement", "expected", "verdict", "reason", "measured", "n_effective"}
        complete = all(needed <= entry.keys() for entry in content["claims"]) and "environment" in content
    except OSError as error:
        raise ValueError(f"results must be a readable file, got {str(path)!r}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"results must be what `esssim verify --out` writes, got {str(path)!r}: {error}") from error
    if not complete:
        raise ValueError(
            f"results must be what `esssim verify --out` writes, got {str(path)!r}: an entry is incomplete"
        )
    return dict(content)


def markdown_table(results: Mapping[str, Any]) -> str:
    """The README's account of a results.json: levels by statistic and batch size, then every other claim in words."""
    claims: Sequence[Entry] = results["claims"]
    levels = [(place, entry) for entry in claims if (place := _batch_size_of(entry["id"])) is not None]
    parts = [_headline(claims, results["environment"])]
    for setting in dict.fromkeys(place[1] for place, _ in levels):
        parts.append(_level_table(setting, [(p[0], p[2], entry) for p, entry in levels if p[1] == setting]))
    if levels:
        parts.append(
            "Each number is the measured (η/2)·statistic: 1 is the edge 2/η. ✓ it settles there, ✗ it does not, ? no "
            "verdict; **bold** contradicts our own prediction."
        )
    others = [entry for entry in claims if _batch_size_of(entry["id"]) is None]
    if others:
        parts.append(_other_table(others))
    return "\n\n".join(parts)


def update_readme(path: Path, table: str) -> None:
    """Put the table between the markers of a README. Raises ValueError where it has none, or more than one pair."""
    before, _, after = _split(path)
    store.write_text(path, f"{before}{BEGIN}\n{table}\n{END}{after}")


def check_readme(path: Path, table: str) -> bool:
    """Whether a README holds exactly this table between its markers. Raises ValueError as `update_readme` does."""
    return _split(path)[1] == f"\n{table}\n"


def _split(path: Path) -> tuple[str, str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"readme must be a readable file, got {str(path)!r}: {error.strerror}") from error
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"readme must hold {BEGIN} and then {END} once, {str(path)!r} does not")
    before, rest = text.split(BEGIN)
    inside, after = rest.split(END)
    return before, inside, after


def _batch_size_of(claim_id: str) -> tuple[str, str, int] | None:
    """(family, setting, b) of an id such as "minibs-settles/diabetes/b=4"; None for any other."""
    found = re.fullmatch(r"([^/]+)/([^/]+)/b=(\d+)", claim_id)
    return None if found is None else (found[1], found[2], int(found[3]))


def _headline(claims: Sequence[Entry], environment: Mapping[str, Any]) -> str:
    tones = [tone(entry["expected"], entry["verdict"]) for entry in claims]
    counts = "; ".join(f"{tones.count(name)} {words}" for name, words in TONES.items() if name in tones)
    made = f"esssim {environment.get('esssim')}, {str(environment.get('date'))[:10]}"
    return f"{len(claims)} claims ({made}): {counts}."


def _level_table(setting: str, members: list[tuple[str, int, Entry]]) -> str:
    sizes = sorted({b for _, b, _ in members})
    lines = [
        f"| {_plain(setting)} | " + " | ".join(f"b = {b}" for b in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for family in dict.fromkeys(family for family, _, _ in members):
        cells = {b: _level(entry) for name, b, entry in members if name == family}
        lines.append(f"| {_plain(family)} | " + " | ".join(cells.get(b, "") for b in sizes) + " |")
    return "\n".join(lines)


def _level(entry: Entry) -> str:
    value = "" if entry["measured"] is None else f"{entry['measured']:.2f} "
    cell = f"{value}{MARKS[entry['verdict']]}"
    return f"**{cell}**" if tone(entry["expected"], entry["verdict"]) == "contradiction" else cell


def _other_table(entries: Sequence[Entry]) -> str:
    lines = ["| claim | verdict |", "|---|---|"]
    for entry in entries:
        words = spoken(entry["expected"], entry["verdict"], entry["reason"], entry["n_effective"])
        lines.append(f"| {_plain(entry['statement'])} | {_plain(words)} |")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text for a Markdown cell: a claim is full of bars, stars and brackets that mean something else there."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 with --check when the README is out of date, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m esssim.report", description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--check", action="store_true", help="compare instead of rewriting")
    options = parser.parse_args(arguments)
    try:
        table = markdown_table(read_entries(options.results))
        if not options.check:
            update_readme(options.readme, table)
            return 0
        if check_readme(options.readme, table):
            return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"error: {options.readme} is out of date: run python -m esssim.report {options.readme} {options.results}",
          file=sys.stderr)  # fmt: skip
    return 1


if __name__ == "__main__":
    sys.exit(main())
