"""The tables of docs/gap.md: `python -m esssim.claims.gap_tables docs/gap.md` rewrites them between their markers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from esssim.claims.gap_cases import TIGHTNESS_SIZES, UNSEEN, Outcome, outcomes, tightness_cases
from esssim.gap import bounds


def coverage_table(rows: list[Outcome]) -> str:
    """Coverage, median relative error and median relative error bar by the formula that `predict` chose."""
    lines = [
        "| formula chosen | problems | covered | median relative error | median error bar / gap |",
        "|---|---:|---:|---:|---:|",
    ]
    methods = sorted({row.method for row in rows}, key=lambda name: -sum(row.method == name for row in rows))
    for name, group in [*((name, [r for r in rows if r.method == name]) for name in methods), ("all", rows)]:
        clear = [row for row in group if row.measurable]
        errors = f"{np.median([r.relative_error for r in clear]):.1%}" if clear else "–"
        bars = f"{np.median([r.error / r.gap for r in clear]):.1%}" if clear else "–"
        covered = sum(row.covered for row in group)
        lines.append(f"| {name} | {len(group)} | {covered / len(group):.0%} | {errors} | {bars} |")
    return "\n".join(lines)


def tightness_table() -> str:
    """Median and worst slack of every bound, |bound − M_b|/M_b, by batch size; "–" where it has no value."""
    slack: dict[tuple[str, str, int], list[float]] = {}
    order: dict[tuple[str, str], None] = {}
    for case in tightness_cases():
        truth = case.minibs().value
        found = bounds(case.problem, case.theta, case.sampling)
        values: dict[tuple[str, str], float] = {
            (bound.side, bound.name): bound.value for bound in found.by_name.values() if bound.valid
        }
        values |= {("lower", "**best lower**"): found.lower, ("upper", "**best upper**"): found.upper}
        for (side, name), value in values.items():
            order.setdefault((side, name))
            slack.setdefault((side, name, case.sampling.batch_size), []).append(abs(value - truth) / truth)
    lines = [
        "| bound | " + " | ".join(f"b = {b}" for b in TIGHTNESS_SIZES) + " |",
        "|---|" + "---:|" * len(TIGHTNESS_SIZES),
    ]
    for side, name in sorted(order, key=lambda key: (key[0], key[1].startswith("*"))):
        cells = [_cell(slack.get((side, name, b), [])) for b in TIGHTNESS_SIZES]
        lines.append(f"| {name if name.startswith('*') else f'{name} ({side})'} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    return f"{np.median(values):.1%} / {max(values):.0%}" if values else "–"


def update(text: str, name: str, table: str) -> str:
    """`text` with the table between its markers `<!-- name:begin -->` and `<!-- name:end -->`. ValueError without them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"page must hold one pair of markers {begin} and {end}")
    return text[: text.index(begin) + len(begin)] + f"\n{table}\n" + text[text.index(end) :]


def main() -> int:
    """Rewrite the tables of the page named on the command line: 0 done, 2 bad input."""
    if len(sys.argv) != 2:
        print("usage: python -m esssim.claims.gap_tables PAGE.md", file=sys.stderr)
        return 2
    path = Path(sys.argv[1])
    text = update(path.read_text(encoding="utf-8"), "tightness", tightness_table())
    path.write_text(update(text, "coverage", coverage_table(outcomes(UNSEEN))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
