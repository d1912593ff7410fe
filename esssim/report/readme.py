"""The pages of the published results, and the table of the README that sums them up between two markers."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esssim import store
from esssim.report.results import read_entries
from esssim.report.tables import Entry, headline, page, summary_table
from esssim.report.watched import watched_section

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
WIDTH = 130  # of a line of the README
RESULTS = (
    "Every claim of esssim",
    "Made by `python -m esssim.report README.md docs/results.json` from the published run of `make verify`.",
)
NETWORKS = (
    "Every claim about torch networks",
    "Made by `python -m esssim.report README.md docs/results.json` from the published run of `esssim verify --bridge`.",
)


def result_pages(results: Path) -> dict[Path, str]:
    """The pages beside results.json (and networks.json, where there is one), with what belongs on them."""
    core, networks = _claims(results)
    pages = {results.with_suffix(".md"): page(*RESULTS, *core)}
    if networks is not None:
        pages[results.with_name("networks.md")] = page(*NETWORKS, *networks) + watched_section(
            results.with_name("watched_networks.json")
        )
    return pages


def summary(results: Path) -> str:
    """What the README says: the headlines, and where each statistic settles."""
    core, networks = _claims(results)
    groups = _by_batch("diagonal networks", core[0])
    lines = [headline(*core)]
    if networks is not None:
        groups |= _by_batch("torch networks", networks[0])
        lines.append(f"Torch networks: {headline(*networks)}")
    return "\n\n".join([*(textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in lines), summary_table(groups)])


def _claims(
    results: Path,
) -> tuple[tuple[Sequence[Entry], Mapping[str, Any]], tuple[Sequence[Entry], Mapping[str, Any]] | None]:
    """(claims, environment) of the core, and of the bridge where it was run."""
    found = []
    for path, extra in ((results, None), (results.with_name("networks.json"), "bridge")):
        if extra is None or path.is_file():
            content = read_entries(path)
            found.append(([entry for entry in content["claims"] if entry["extra"] == extra], content["environment"]))
    return found[0], (found[1] if len(found) > 1 else None)


def _by_batch(name: str, claims: Sequence[Entry]) -> dict[str, list[Entry]]:
    """The levels of mini-batches, and those of full batches."""
    levels = [entry for entry in claims if entry["cell"] is not None]
    mini, full = ([entry for entry in levels if entry["cell"]["full_batch"] is whole] for whole in (False, True))
    return {f"{name}, b < n": mini, f"{name}, b = n": full}


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
