"""`python -m benchmarks [ROW ...] [--quick] [--json] [--out DIR] [--list]`, and `python -m benchmarks growth`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from esssim import _validate
from esssim._environment import environment

from . import ROWS, measure, table

DEFAULT = Path("benchmarks") / "results"
GROWTH = "growth"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 measured (whether or not a goal is met), 2 bad input (one line on stderr)."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time esssim against what one would write instead; every row by default.",
    )
    parser.add_argument("names", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; or {GROWTH}, a plot of its own")
    parser.add_argument("--quick", action="store_true", help="the smallest size of each row")
    parser.add_argument("--json", action="store_true", help="print JSON on standard output, and nothing else there")
    parser.add_argument("--out", type=Path, help=f"folder (default {DEFAULT}, quick ones {DEFAULT / 'quick'})")
    parser.add_argument("--list", action="store_true", help="list the rows instead of timing them")
    options = parser.parse_args(arguments)
    if options.list:
        for name, (_, _, words) in ROWS.items():
            print(f"{name:18} {words}")
        print(f"{GROWTH:18} cost against n, d, b, replicas and batches: a plot and fitted exponents")
        return 0
    out: Path = options.out or (DEFAULT / "quick" if options.quick else DEFAULT)
    try:
        for name in options.names:
            _validate.choice("row", name, (*ROWS, GROWTH))
        rows = time_rows([name for name in options.names or ROWS if name != GROWTH], out, options.quick)
        if options.json:
            print(json.dumps({"rows": rows}, indent=2, ensure_ascii=False))
        elif rows:
            print(table.markdown(rows), end="")
        if GROWTH in options.names:
            from . import growth

            growth.build(out, options.quick)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def time_rows(names: list[str], out: Path, quick: bool) -> list[dict[str, object]]:
    """Measure and write after each name, so that what has been measured is kept whatever comes next."""
    rows: list[dict[str, object]] = []
    for name in names:
        print(f"{name}: {ROWS[name][2]} ...", file=sys.stderr, flush=True)
        where = environment(None) | {"load": round(os.getloadavg()[0], 1)}
        measured = list(measure(name, quick))
        table.write(out, measured, where, tuple(ROWS))
        rows += [table.flat(row, where) for row in measured]
    return rows


if __name__ == "__main__":
    sys.exit(main())
