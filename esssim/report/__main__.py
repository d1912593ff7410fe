"""`python -m esssim.report README.md docs/results.json` rewrites the README's table; `--check` only compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from esssim.claims import registry
from esssim.report import check_readme, markdown_table, read_entries, update_readme


def _stale_claims(path: Path) -> str:
    """How the claims of a results.json differ from those of this version; empty where they are the same."""
    published = {entry["id"]: entry["statement"] for entry in read_entries(path)["claims"]}
    # Claims of an optional part of the package are published on their own.
    today = {name: claim.statement for name, claim in registry.items() if claim.extra is None}
    published = {name: statement for name, statement in published.items() if name in today or name not in registry}
    for words, names in (("new", today.keys() - published), ("gone", published.keys() - today)):
        if names:
            return f"{len(names)} claims are {words}, {min(names)!r} first"
    reworded = sorted(name for name in today if today[name] != published[name])
    return f"{len(reworded)} statements were reworded, {reworded[0]!r} first" if reworded else ""


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
        stale = _stale_claims(options.results)
        if stale:
            print(f"error: {options.results} is out of date: {stale}", file=sys.stderr)
            return 1
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
