"""All claims with their published results, as `esssim verify` would hand them to the report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from esssim.claims import Measurement, Verdict, registry
from esssim.claims.claim import Row

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = 61


def entries() -> list[dict[str, Any]]:
    """Those of claims that this version knows."""
    found = [
        entry for name in ("results.json", "networks.json")
        for entry in json.loads((DOCS / name).read_text(encoding="utf-8"))["claims"]
    ]  # fmt: skip
    return [entry for entry in found if entry["id"] in registry]


def verdicts() -> list[Verdict]:
    """The results do not hold the rows behind a level: these have as many, around it."""
    return [_verdict(entry) for entry in entries()]


def _verdict(entry: dict[str, Any]) -> Verdict:
    ends = entry["interval"]
    interval = None if ends is None else tuple(math.nan if end is None else end for end in ends)
    measured = Measurement(
        entry["verdict"], entry["reason"], entry["measured"], interval, entry["n_effective"],  # type: ignore[arg-type]
        _rows(entry), entry["values"], entry["lacks_samples"],
    )  # fmt: skip
    return Verdict(registry[entry["id"]], measured, entry["seconds"], entry["error"])


def _rows(entry: dict[str, Any]) -> list[Row]:
    level = entry["measured"]
    if entry["cell"] is None or level is None:
        return []
    return [
        {"step": 100 * k, "step_size": 0.1 + 0.01 * k, "level": level * (1 + 0.02 * math.sin(k)),
         "standard_error": 0.01, "in_window": k > 20}
        for k in range(RECORDS)
    ]  # fmt: skip
