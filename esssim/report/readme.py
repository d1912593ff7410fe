"""The table of the README, generated from a results.json and put between two markers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esssim import store
from esssim.report.words import TONES, grouped, spoken, tone

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
NETWORKS = ("<!-- networks:begin -->", "<!-- networks:end -->")
Markers = tuple[str, str]
MARKS = {"holds": "✓", "refuted": "✗", "inconclusive": "?", "skipped": "–"}
# Tables of levels that everybody sees.
SHOWN = 3
# From so many settings on a sentence is one row.
MANY = 4
Entry = Mapping[str, Any]


def markdown_table(results: Mapping[str, Any], extra: str | None = None) -> str:
    """The README's account of a results.json: levels by statistic and batch size, then every other claim in words.

    extra: only the claims of this optional part of the package; None for those that need none.
    """
    claims: Sequence[Entry] = [entry for entry in results["claims"] if entry.get("extra") == extra]
    levels = [(place, entry) for entry in claims if (place := _batch_size_of(entry["id"])) is not None]
    parts = [_headline(claims, results["environment"])]
    tables = [
        _level_table(setting, [(p[0], p[2], entry) for p, entry in levels if p[1] == setting])
        for setting in dict.fromkeys(place[1] for place, _ in levels)
    ]
    parts += tables[:SHOWN]
    if levels:
        parts.append(
            "Each number is the measured (η/2)·statistic: 1 is the edge 2/η. ✓ it settles there, ✗ it does not, ? no "
            "verdict; **bold** contradicts our own prediction."
        )
    if tables[SHOWN:]:
        parts.append(_folded(f"{len(tables) - SHOWN} more settings", "\n\n".join(tables[SHOWN:])))
    others = [entry for entry in claims if _batch_size_of(entry["id"]) is None]
    if others:
        parts.append(_folded(f"The other {len(others)} claims", _other_table(others)))
    return "\n\n".join(parts)


def _folded(summary: str, content: str) -> str:
    """Out of the way: a reader with five minutes opens it or not."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n\n</details>"


def update_readme(path: Path, table: str, markers: Markers = (BEGIN, END)) -> None:
    """Put the table between the markers of a README. Raises ValueError where it has none, or more than one pair."""
    before, _, after = _split(path, markers)
    store.write_text(path, f"{before}{markers[0]}\n{table}\n{markers[1]}{after}")


def check_readme(path: Path, table: str, markers: Markers = (BEGIN, END)) -> bool:
    """Whether a README holds exactly this table between its markers. Raises ValueError as `update_readme` does."""
    return _split(path, markers)[1] == f"\n{table}\n"


def _split(path: Path, markers: Markers) -> tuple[str, str, str]:
    begin, end = markers
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"readme must be a readable file, got {str(path)!r}: {error.strerror}") from error
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"readme must hold {begin} and then {end} once, {str(path)!r} does not")
    before, rest = text.split(begin)
    inside, after = rest.split(end)
    return before, inside, after


def _batch_size_of(claim_id: str) -> tuple[str, str, int] | None:
    """(family, setting, b) of the id of a level, such as "minibs-settles/diabetes/b=4"; None for any other."""
    found = re.fullmatch(r"([^/]*settles)/([^/]+)/b=(\d+)", claim_id)
    return None if found is None else (found[1], found[2], int(found[3]))


def _headline(claims: Sequence[Entry], environment: Mapping[str, Any]) -> str:
    tones = [tone(entry["expected"], entry["verdict"]) for entry in claims]
    counts = "; ".join(f"{tones.count(name)} {words}" for name, words in TONES.items() if name in tones)
    made = f"esssim {environment.get('esssim')}, {str(environment.get('date'))[:10]}"
    return f"{len(claims)} claims ({made}): {counts}."


def _level_table(setting: str, members: list[tuple[str, int, Entry]]) -> str:
    sizes = sorted({b for _, b, _ in members})
    lines = [
        f"| {_plain(_setting(setting, members[0][2]))} | " + " | ".join(f"b = {b}" for b in sizes) + " |",
        "|---|" + "---:|" * len(sizes),
    ]
    for family, group in grouped(members, lambda member: member[0]).items():
        cells = {b: _level(entry) for _, b, entry in group}
        statistic, settles, _ = group[0][2]["statement"].partition(" settles at ")
        name = statistic if settles else family
        lines.append(f"| {_plain(name)} | " + " | ".join(cells.get(b, "") for b in sizes) + " |")
    return "\n".join(lines)


def _setting(name: str, entry: Entry) -> str:
    """The name of a setting, and what the statement of one of its levels says of it, but for the batch size."""
    words = re.sub(r",? b = \d+", "", _sentence_and_setting(entry["statement"])[1])
    return words if words.startswith(name) else f"{name}: {words}" if words else name


def _level(entry: Entry) -> str:
    value = "" if entry["measured"] is None else f"{entry['measured']:.2f} "
    cell = f"{value}{MARKS[entry['verdict']]}"
    return f"**{cell}**" if tone(entry["expected"], entry["verdict"]) == "contradiction" else cell


def _other_table(entries: Sequence[Entry]) -> str:
    """A row for each claim; one for all of a family that says the same in many settings."""
    lines = ["| claim | verdict |", "|---|---|"]
    for sentence, group in grouped(entries, lambda entry: _sentence_and_setting(entry["statement"])[0]).items():
        if len(group) >= MANY:
            lines.append(f"| {_plain(sentence)} ({len(group)} settings). | {_plain(_verdicts(group))} |")
        else:
            lines += [f"| {_plain(entry['statement'])} | {_plain(_words(entry))} |" for entry in group]
    return "\n".join(lines)


def _words(entry: Entry) -> str:
    return spoken(entry["expected"], entry["verdict"], entry["reason"], entry["n_effective"])


def _sentence_and_setting(statement: str) -> tuple[str, str]:
    """A statement without the setting that ends it in brackets, and that setting."""
    found = re.fullmatch(r"(.*) \(([^()]*)\)\.", statement)
    return (statement, "") if found is None else (found[1], found[2])


def _verdicts(group: Sequence[Entry]) -> str:
    """How often each verdict came out, with the settings of all but the commonest."""
    settings: dict[str, list[str]] = {}
    for entry in group:
        settings.setdefault(_words(entry), []).append(_sentence_and_setting(entry["statement"])[1])
    ordered = sorted(settings.items(), key=lambda item: -len(item[1]))
    (words, places), *rest = ordered
    return "; ".join([f"{len(places)} times {words}", *(f"{', '.join(where)}: {said}" for said, where in rest)])


def _plain(text: str) -> str:
    """Text for a Markdown cell: a claim is full of bars, stars and brackets that mean something else there."""
    return re.sub(r"([\\|*`\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
