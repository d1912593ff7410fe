"""Checks as JSON: one entry a key, kept beside those of other keys with where and when each was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from esssim import store
from esssim.doctor.check import Check

FILE = "reliability.json"
# A page needs no more of a table that lists every case.
MOST_ROWS = 200


def as_dict(check: Check, about: str = "") -> dict[str, Any]:
    """The entry of a check; an infinite end of a range and a figure that is not finite become null."""
    return {
        "key": check.key,
        "title": check.title,
        "about": about,
        "figure": {name: _finite(value) for name, value in check.figure.items()},
        "wanted": {name: [_finite(low), _finite(high)] for name, (low, high) in check.wanted.items()},
        "passed": check.passed,
        "seconds": round(check.seconds, 1),
        "note": check.note,
        "failures": list(check.failures)[:MOST_ROWS],
        "rows": [{name: _plain(value) for name, value in row.items()} for row in list(check.rows)[:MOST_ROWS]],
        "error": check.error,
    }


def merged(known: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The known entries with these in the place of those of the same key, in the order of keys."""
    by_key = {entry["key"]: entry for entry in known.get("checks", ())} | {entry["key"]: entry for entry in entries}
    return {"checks": [by_key[key] for key in sorted(by_key)]}


def read(path: Path) -> dict[str, Any]:
    """What a file holds, nothing where there is none. Raises ValueError for a file that is not of this kind."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found["checks"]
        if not all(isinstance(entry["key"], str) for entry in entries):
            raise KeyError("key")
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must hold checks of esssim doctor, it does not: move it away") from error
    return dict(found)


def write(path: Path, content: Mapping[str, Any]) -> None:
    store.write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _finite(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)


def _plain(value: object) -> object:
    return _finite(value) if isinstance(value, float) else value
