"""`python -m esssim.report README.md docs/results.json` rewrites the README's tables; `--check` only compares.

The claims about torch networks have a table of their own, from the networks.json beside the results, where there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from esssim.claims import registry
from esssim.report import BEGIN, END, NETWORKS, check_readme, markdown_table, read_entries, update_readme
from esssim.report.readme import Markers


def _stale_claims(path: Path, extra: str | None) -> str:
    """How the claims of a results.json differ from those of this version; empty where they are the same."""
    entries = [entry for entry in read_entries(path)["claims"] if entry.get("extra") == extra]
    published = {entry["id"]: entry["statement"] for entry in entries}
    today = {name: claim.statement for name, claim in registry.items() if claim.extra == extra}
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
    parts: list[tuple[Path, str | None, Markers]] = [(options.results, None, (BEGIN, END))]
    networks = options.results.with_name("networks.json")
    if networks.is_file():
        parts.append((networks, "bridge", NETWORKS))
    try:
        for path, extra, markers in parts:
            table = markdown_table(read_entries(path), extra)
            if not options.check:
                update_readme(options.readme, table, markers)
                continue
            stale = _stale_claims(path, extra)
            if stale:
                print(f"error: {path} is out of date: {stale}", file=sys.stderr)
                return 1
            if not check_readme(options.readme, table, markers):
                print(f"error: {options.readme} is out of date: run python -m esssim.report {options.readme} "
                      f"{options.results}", file=sys.stderr)  # fmt: skip
                return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
