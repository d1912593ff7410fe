"""The tables of docs/gap.md: `python -m esssim.claims.gap_tables docs/gap.md` measures them anew, a minute or two.

The numbers go to docs/gap.json, and from there between the markers of the page; `--check` only compares the two.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esssim import store
from esssim.claims.gap_cases import TIGHTNESS_SIZES, UNSEEN, Outcome, outcomes, tightness_cases
from esssim.gap import bounds, mean_square_bounds
from esssim.statistics import mean_square_sharpness

STATISTICS = {"tightness": "MiniBS", "mean-square": "mean-square sharpness"}
Row = dict[str, Any]


def tightness_rows(sizes: Sequence[int] = TIGHTNESS_SIZES) -> list[Row]:
    """Median and worst slack |bound − statistic|/statistic of every bound, by batch size, over `tightness_cases`."""
    slack: dict[tuple[str, str, str, int], list[float]] = {}
    for case in tightness_cases():
        b = case.sampling.batch_size
        if b not in sizes:
            continue
        arguments = case.problem, case.theta, case.sampling
        measured = ((bounds(*arguments), case.minibs().value),
                    (mean_square_bounds(*arguments), mean_square_sharpness(*arguments)))  # fmt: skip
        for found, truth in measured:
            values = [(bound.side, bound.name, bound.value) for bound in found.by_name.values() if bound.valid]
            values += [("lower", "best", found.lower), ("upper", "best", found.upper)]
            for side, name, value in values:
                if np.isfinite(value):
                    slack.setdefault((found.statistic, side, name, b), []).append(abs(value - truth) / truth)
    return [
        {"statistic": statistic, "side": side, "bound": name, "b": b, "problems": len(values),
         "median": float(np.median(values)), "worst": max(values)}
        for (statistic, side, name, b), values in slack.items()
    ]  # fmt: skip


def tightness_table(rows: Sequence[Row], statistic: str) -> str:
    """A line per bound and a column per batch size; "–" where it has no value."""
    rows = [row for row in rows if row["statistic"] == statistic]
    sizes = sorted({row["b"] for row in rows})
    lines = ["| bound | " + " | ".join(f"b = {b}" for b in sizes) + " |", "|---|" + "---:|" * len(sizes)]
    names = dict.fromkeys((row["side"], row["bound"]) for row in rows)
    for side, name in sorted(names, key=lambda key: (key[0], key[1] == "best")):
        found = {row["b"]: row for row in rows if (row["side"], row["bound"]) == (side, name)}
        cells = [_cell(found[b]) if b in found else "–" for b in sizes]
        shown = f"**best {side}**" if name == "best" else f"{name} ({side})"
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    return f"{row['median']:.1%} / {row['worst']:.0%}"


def coverage_table(rows: Sequence[Outcome], heading: str, group_of: Callable[[Outcome], str]) -> str:
    """Coverage, median relative error and median relative error bar by group, the largest group first."""
    lines = [
        f"| {heading} | problems | covered | median relative error | median error bar / gap |",
        "|---|---:|---:|---:|---:|",
    ]
    names = [group_of(row) for row in rows]
    order = sorted(dict.fromkeys(names), key=lambda name: -names.count(name))
    groups = [(name, [row for row in rows if group_of(row) == name]) for name in order]
    for name, group in [*groups, ("all", list(rows))]:
        clear = [row for row in group if row.measurable]
        errors = f"{np.median([row.relative_error for row in clear]):.1%}" if clear else "–"
        bars = f"{np.median([row.error / row.gap for row in clear]):.1%}" if clear else "–"
        covered = sum(row.covered for row in group)
        lines.append(f"| {name} | {len(group)} | {covered / len(group):.0%} | {errors} | {bars} |")
    return "\n".join(lines)


def kind_of(row: Outcome) -> str:
    """What was differentiated: a regression, a network on or off the solution set, a quadratic."""
    model = row.problem.partition("/")[0]
    return {"solution": "network on a solution", "regression": model, "quadratic": "indefinite quadratic"}.get(
        model, "network off the solution set"
    )


def render(text: str, content: dict[str, list[Row]]) -> str:
    """The page with every table between its markers."""
    for name, statistic in STATISTICS.items():
        text = update(text, name, tightness_table(content["tightness"], statistic))
    rows = [Outcome(**row) for row in content["coverage"]]
    text = update(text, "coverage", coverage_table(rows, "formula chosen", lambda row: row.method))
    return update(text, "kinds", coverage_table(rows, "problem", kind_of))


def update(text: str, name: str, table: str) -> str:
    """`text` with the table between its markers `<!-- name:begin -->` and `<!-- name:end -->`. ValueError without
    them.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"page must hold one pair of markers {begin} and {end}")
    return text[: text.index(begin) + len(begin)] + f"\n{table}\n" + text[text.index(end) :]


def measure() -> dict[str, list[Row]]:
    """The numbers behind every table."""
    return {"tightness": tightness_rows(), "coverage": [dataclasses.asdict(row) for row in outcomes(UNSEEN)]}


def as_json(content: dict[str, list[Row]]) -> str:
    """JSON with a line per row."""
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows) + "\n]"
        for name, rows in content.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 with --check where the page is out of date, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m esssim.claims.gap_tables", description=__doc__)
    parser.add_argument("page", type=Path, help="its numbers are beside it, in a file of the same name ending in .json")
    parser.add_argument("--check", action="store_true", help="compare the page with the numbers instead of measuring")
    options = parser.parse_args(arguments)
    numbers = options.page.with_suffix(".json")
    try:
        text = options.page.read_text(encoding="utf-8")
        if not options.check:
            content = measure()
            store.write_text(numbers, as_json(content))
            store.write_text(options.page, render(text, content))
            return 0
        fresh = render(text, json.loads(numbers.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if fresh == text:
        return 0
    print(
        f"error: {options.page} is out of date: run python -m esssim.claims.gap_tables {options.page}", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
