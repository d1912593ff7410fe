"""Results of `esssim verify` as files: results.json, a CSV per claim and report.html."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esssim import store
from esssim.claims.claim import Row, Verdict
from esssim.report.html import render_report


def results_json(verdicts: Sequence[Verdict], environment: Mapping[str, object]) -> str:
    """{"claims": [...], "environment": {...}} with a final newline; numbers that are not finite are null."""
    content = {"claims": [verdict.as_dict() for verdict in verdicts], "environment": dict(environment)}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def claim_csv(verdict: Verdict) -> str:
    """The table behind a verdict; for a claim without one, its number and interval."""
    measured = verdict.measurement
    lower, upper = measured.interval or ("", "")
    value = "" if measured.value is None else measured.value
    alone: Row = {
        "id": verdict.claim.id,
        "verdict": measured.verdict,
        "measured": value,
        "lower": lower,
        "upper": upper,
    }
    rows = measured.rows or [alone]
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def csv_names(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Claim id -> file name: letters, digits, dots and dashes only, and no two the same on any file system."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for verdict in verdicts:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "_", verdict.claim.id).strip("._")[:100]
        if not stem or stem.lower() in taken:
            stem += "_" + hashlib.sha256(verdict.claim.id.encode()).hexdigest()[:8]
        taken.add(stem.lower())
        names[verdict.claim.id] = stem + ".csv"
    return names


def write_results(folder: Path, verdicts: Sequence[Verdict], environment: Mapping[str, object]) -> None:
    """Write claims/*.csv and, last, results.json into an existing folder; each file whole.

    Raises ValueError for a folder that cannot be written to.
    """
    text = results_json(verdicts, environment)
    tables = folder / "claims"
    try:
        tables.mkdir(exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written to, got {str(folder)!r}: {error.strerror}"
        ) from error
    names = csv_names(verdicts)
    for verdict in verdicts:
        store.write_text(tables / names[verdict.claim.id], claim_csv(verdict))
    store.write_text(folder / "results.json", text)


def write_report(
    folder: Path,
    verdicts: Sequence[Verdict],
    environment: Mapping[str, object],
    pictures: Mapping[str, str] | None = None,
    quick: bool = False,
) -> None:
    """Write report.html into an existing folder, whole; pictures: title -> SVG text."""
    store.write_text(folder / "report.html", render_report(verdicts, environment, pictures, quick))


def read_entries(path: Path) -> dict[str, Any]:
    """The content of a results.json. Raises ValueError for a missing or damaged file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        needed = {"id", "statement", "sentence", "where", "cell", "extra", "expected", "verdict", "reason", "measured",
                  "n_effective", "lacks_samples"}  # fmt: skip
        complete = all(needed <= entry.keys() for entry in content["claims"]) and "environment" in content
    except OSError as error:
        raise ValueError(f"results must be a readable file, got {str(path)!r}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"results must be what `esssim verify --out` writes, got {str(path)!r}: {error}") from error
    if not complete:
        raise ValueError(
            f"results must be what `esssim verify --out` writes, got {str(path)!r}: an entry is incomplete"
        )
    return dict(content)
