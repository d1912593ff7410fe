"""`python -m esssim.report README.md docs/results.json` writes the pages of the published results and the README's
table.

`--check` only compares. The claims about torch networks come from the networks.json beside the results, where there is
one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from esssim import store
from esssim.claims import registry
from esssim.report.readme import check_readme, result_pages, summary, update_readme
from esssim.report.results import read_entries


def _stale_claims(path: Path, extra: str | None) -> str:
    """How the claims of a results.json differ from those of this version; empty where they are the same."""
    entries = [entry for entry in read_entries(path)["claims"] if entry["extra"] == extra]
    before = {entry["id"]: entry["statement"] for entry in entries}
    today = {name: claim.statement for name, claim in registry.items() if claim.extra == extra}
    for words, names in (("new", today.keys() - before), ("gone", before.keys() - today)):
        if names:
            return f"{len(names)} claims are {words}, {min(names)!r} first"
    reworded = sorted(name for name in today if today[name] != before[name])
    return f"{len(reworded)} statements were reworded, {reworded[0]!r} first" if reworded else ""


def _outdated(readme: Path, results: Path) -> str:
    """What is out of date, in words; empty if nothing is."""
    for path, extra in ((results, None), (results.with_name("networks.json"), "bridge")):
        if (extra is None or path.is_file()) and (stale := _stale_claims(path, extra)):
            return f"{path} is out of date: {stale}"
    again = f"run python -m esssim.report {readme} {results}"
    if not check_readme(readme, summary(results)):
        return f"{readme} is out of date: {again}"
    for path, text in result_pages(results).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            return f"{path} is out of date: {again}"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """0 done, 1 with --check when something is out of date, 2 bad input."""
    parser = argparse.ArgumentParser(prog="python -m esssim.report", description=__doc__)
    parser.add_argument("readme", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--check", action="store_true", help="compare instead of rewriting")
    options = parser.parse_args(arguments)
    try:
        if options.check:
            outdated = _outdated(options.readme, options.results)
            if outdated:
                print(f"error: {outdated}", file=sys.stderr)
            return int(bool(outdated))
        update_readme(options.readme, summary(options.results))
        for path, text in result_pages(options.results).items():
            store.write_text(path, text)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
