"""The results that were published with this version, as `esssim cite` quotes them."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

FILES = ("results.json", "networks.json")
PACKAGE = Path(__file__).parents[1]


@cache
def results() -> tuple[tuple[dict[str, Any], dict[str, Any]], ...]:
    """(entry of a claim, where it was measured, with its `commit`), the newest run of each claim."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for name in FILES:
        path = next(
            (each for each in (PACKAGE / "published" / name, PACKAGE.parent / "docs" / name) if each.is_file()), None
        )
        if path is None:
            continue
        content = json.loads(path.read_text(encoding="utf-8"))
        where = {**content["environment"], "commit": content["environment"].get("commit") or _commit(path)}
        found |= {entry["id"]: (entry, where) for entry in content["claims"] if entry["verdict"] != "skipped"}
    return tuple(found.values())


def of(claim: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The published result of a claim, and where it was measured; None where there is none."""
    return next((each for each in results() if each[0]["id"] == claim), None)


def seconds() -> dict[str, float]:
    """What each claim took, by id."""
    return {entry["id"]: entry["seconds"] for entry, _ in results()}


def _commit(path: Path) -> str | None:
    """The commit that published a file of this repository; None outside of it."""
    command = ["git", "-C", str(path.parent), "log", "-1", "--format=%h", "--", path.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
