"""The ids of all claims and the time of their short runs, without the code that measures: errors and completions at
once.

`python -m esssim.claims.index [QUICK.json]` writes the index anew after a change of the claims; QUICK.json is what
`esssim verify --quick --json` printed, for the times. With --check it only says whether the index is of this code.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from esssim import claims
from esssim._source import digest_of

FILE = Path(__file__).with_name("index.json")
# What the ids are made of: a claim that was added or renamed changes one of these.
SOURCES = ("claims/*.py", "experiments/*.py", "settling.py")
NO_IDS = {"index.py", "model.py", "names.py", "verify.py"}


def sources() -> str:
    """SHA-256 of the code that registers the claims."""
    folder = Path(__file__).parents[1]
    return digest_of(path for pattern in SOURCES for path in folder.glob(pattern) if path.name not in NO_IDS)


def is_current() -> bool:
    """Whether the index is of this code."""
    return bool(_content()["sources"] == sources())


@cache
def _content() -> dict[str, Any]:
    try:
        return dict(json.loads(FILE.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {"sources": None, "quick_seconds": {}, "ids": []}


def ids(stale: bool = False) -> tuple[str, ...]:
    """All ids: from the index where it is of this code (or may be `stale`), else from the registry itself."""
    if "registry" not in vars(claims) and (stale or is_current()):
        return tuple(_content()["ids"])
    return tuple(claims.registry)


def quick_seconds() -> dict[str, float]:
    """What each short run took where it was last timed, by id."""
    return dict(_content()["quick_seconds"])


def write(timed: Path | None = None) -> None:
    """Write the index anew, with the seconds of `timed` where it is given."""
    from esssim import store

    seconds = quick_seconds()
    if timed is not None:
        entries = json.loads(timed.read_text(encoding="utf-8"))["claims"]
        seconds = {entry["id"]: round(entry["seconds"], 1) for entry in entries if entry["verdict"] != "skipped"}
    known = tuple(claims.registry)
    kept = {name: seconds[name] for name in known if name in seconds}
    text = json.dumps({"sources": sources(), "quick_seconds": kept, "ids": known}, indent=1)
    store.write_text(FILE, text + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if not is_current():
            sys.exit(f"{FILE} is of other code: run `python -m esssim.claims.index`")
    else:
        write(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
