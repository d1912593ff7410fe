"""A row of the table, and the table as Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from esssim import store

from .timing import Side, Spread, interleaved, ratio

FILES = ("results.json", "results.csv", "results.md")


@dataclass(frozen=True)
class Goal:
    """A bound on one column: `ratio` (rival over ours), `distance` (ours over the limit) or `seconds` (ours)."""

    column: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        bound = f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"
        return f"{self.column} {bound}" + (" s" if self.column == "seconds" else "×")


@dataclass(frozen=True)
class Row:
    """One line: seconds per unit of ours, of the rival and of the limit, their ratios, and the errors of both."""

    name: str
    work: str
    size: str
    against: str
    goal: Goal | None
    seconds: Spread
    rival_seconds: Spread | None = None
    ratio: Spread | None = None
    limit: str = ""
    limit_seconds: Spread | None = None
    distance: Spread | None = None
    error: float | None = None
    rival_error: float | None = None
    note: str = ""
    met: bool | None = None


def compare(
    name: str,
    work: str,
    size: str,
    *,
    ours: Side,
    rival: Side | None = None,
    against: str = "–",
    limit: Side | None = None,
    limit_name: str = "",
    goal: Goal | None = None,
    errors: tuple[float | None, float | None] = (None, None),
    note: str = "",
) -> Row:
    """Time the sides and judge the goal."""
    sides = {"ours": ours} | ({"rival": rival} if rival else {}) | ({"limit": limit} if limit else {})
    times = interleaved(sides)
    row = Row(
        name,
        work,
        size,
        against,
        goal,
        seconds=Spread.of(times["ours"]),
        rival_seconds=Spread.of(times["rival"]) if rival else None,
        ratio=ratio(times["rival"], times["ours"]) if rival else None,
        limit=limit_name,
        limit_seconds=Spread.of(times["limit"]) if limit else None,
        distance=ratio(times["ours"], times["limit"]) if limit else None,
        error=errors[0],
        rival_error=errors[1],
        note=note,
    )
    return judged(row)


def judged(row: Row) -> Row:
    """The row with the answer whether its goal is met."""
    column = getattr(row, row.goal.column) if row.goal else None
    if row.goal is None or column is None:
        return row
    return Row(**{**vars(row), "met": row.goal.is_met(column.median)})


def write(out: Path, rows: Sequence[Row], environment: Mapping[str, object], order: Sequence[str]) -> list[Path]:
    """results.json, .csv and .md in `out`; rows that an earlier run left there and this one did not measure stay."""
    out.mkdir(parents=True, exist_ok=True)
    new = [flat(row, environment) for row in rows]
    measured = {row["name"] for row in new}
    merged = [row for row in _earlier(out / FILES[0]) if row["name"] not in measured] + new
    merged.sort(key=lambda row: order.index(row["name"]))
    texts = (json.dumps({"rows": merged}, indent=2, ensure_ascii=False) + "\n", _csv(merged), markdown(merged))
    paths = [out / name for name in FILES]
    for path, text in zip(paths, texts, strict=True):
        store.write_text(path, text)
    return paths


def flat(row: Row, environment: Mapping[str, object]) -> dict[str, object]:
    """The row as JSON has it."""
    return {**asdict(row), "goal": str(row.goal) if row.goal else None, "environment": dict(environment)}


def _earlier(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    rows: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return rows


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    flat = [
        {
            f"{key}_{part}" if part else key: number
            for key, value in row.items()
            for part, number in (value.items() if isinstance(value, dict) else [("", value)])
        }
        for row in rows
    ]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return stream.getvalue()


def markdown(rows: Sequence[Mapping[str, object]]) -> str:
    """The table; times per unit with quartiles, ratios as rival over ours."""
    header = ["work", "size", "against", "ours", "theirs", "ratio", "at least", "", "distance to a limit", "errors"]
    lines = [" | ".join(header), " | ".join(["---"] * len(header))]
    lines += [" | ".join(_cells(row)) for row in rows]
    notes = [f"* **{row['work']}, {row['size']}**: {row['note']}" for row in rows if row["note"]]
    dates = sorted({str(_environment(row)["date"]) for row in rows})
    cores = sorted({str(_environment(row)["cpu_count"]) for row in rows})
    loads = [float(str(_environment(row)["load"])) for row in rows]
    repeated = [n for row in rows if (n := _spread(row, "seconds").repetitions) > 1]
    words = [
        "Generated by `python -m benchmarks` (`make bench`). Each time is per unit of work: the median of at least "
        f"{min(repeated, default=1)} repetitions (once where no quartiles are shown) and, in brackets, its quartiles; "
        "all sides "
        "of a row run in turns on one thread of one core, after a round that is thrown away. The ratio is theirs over "
        "ours, the distance ours over the limit, each the median over the repetitions. Errors are relative: ours, "
        "theirs. "
        "Why a row is where it is: [reasons](../README.md).",
        f"{', '.join(dates)}; {', '.join(cores)} cores shared with other work, load {min(loads):.1f} to "
        f"{max(loads):.1f}."
        if rows
        else "",
    ]
    parts = ["# Speed", *words, "\n".join(f"| {line} |" for line in lines), *(["\n".join(notes)] if notes else [])]
    return "\n\n".join(parts) + "\n"


def _environment(row: Mapping[str, object]) -> dict[str, object]:
    value = row["environment"]
    assert isinstance(value, dict)
    return value


def _spread(row: Mapping[str, object], column: str) -> Spread:
    value = row[column]
    assert isinstance(value, dict)
    return Spread(**value)


def _cells(row: Mapping[str, object]) -> list[str]:
    def time(column: str) -> str:
        return _time(_spread(row, column)) if row[column] else "–"

    def multiple(column: str) -> str:
        return _multiple(_spread(row, column)) if row[column] else "–"

    def error(column: str) -> str:
        return "–" if row[column] is None else f"{row[column]:.0e}"

    met = {True: "✓", False: "✗", None: ""}[row["met"]]  # type: ignore[index]
    limit = f"{multiple('distance')} ({row['limit']})" if row["limit"] else "–"
    errors = f"{error('error')}, {error('rival_error')}" if row["error"] is not None else "–"
    return [
        str(row["work"]),
        str(row["size"]),
        str(row["against"]),
        time("seconds"),
        time("rival_seconds"),
        multiple("ratio"),
        str(row["goal"] or "–"),
        met,
        limit,
        errors,
    ]


def _time(spread: Spread) -> str:
    for unit, scale in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3), ("s", 1.0)):
        if spread.median * scale < 1000 or unit == "s":
            middle, lower, upper = (f"{value * scale:.3g}" for value in (spread.median, spread.lower, spread.upper))
            return f"{middle} {unit}" + (f" ({lower}–{upper})" if spread.repetitions > 1 else "")
    raise AssertionError


def _multiple(spread: Spread) -> str:
    middle, lower, upper = (_three_digits(value) for value in (spread.median, spread.lower, spread.upper))
    return f"{middle}× ({lower}–{upper})"


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
