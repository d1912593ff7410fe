"""Verdicts as they come: a line of JSON each in `verdicts.jsonl`, on the disk before the next claim is measured.

A line says which code measured it and whether the run was a short one; only what this code would measure is taken up
again. A line that was being written when the power went is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from esssim import _source
from esssim.claims.claim import Claim, Measurement, Verdict

NAME = "verdicts.jsonl"
# What an optional claim is computed with, beside what the digest of the code knows.
COMPUTES_WITH = {"bridge": "torch"}


def code(claim: Claim) -> str:
    """What decides the numbers of a claim: our sources and the versions of what they compute with."""
    package = COMPUTES_WITH.get(claim.extra or "")
    if package is None:
        return _source.digest()
    try:
        return f"{_source.digest()} {package} {version(package)}"
    except PackageNotFoundError:
        return f"{_source.digest()} {package} none"


class Journal:
    """The verdicts of a folder. `begins_anew`: those of earlier runs are left out.

    damaged: how many of its lines cannot be read; they are left out too.
    """

    def __init__(self, folder: Path, *, begins_anew: bool) -> None:
        self.path = folder / NAME
        self._lines, self.damaged = ([], 0) if begins_anew else _read(self.path)
        self._begun = False

    @staticmethod
    def length(folder: Path) -> int:
        """How many verdicts an earlier run left in a folder."""
        return len(_read(folder / NAME)[0])

    def known(self, claims: Iterable[Claim], quick: bool) -> tuple[dict[str, Verdict], dict[str, list[str]]]:
        """(verdicts that need not be measured again, why others of these claims do: their ids by reason)."""
        entries = {entry["id"]: entry for entry in self._lines}
        known: dict[str, Verdict] = {}
        others: dict[str, list[str]] = {}
        for claim in claims:
            entry = entries.get(claim.id)
            if entry is None:
                continue
            reason = _why_not(claim, entry, quick)
            if reason:
                others.setdefault(reason, []).append(claim.id)
            else:
                known[claim.id] = _verdict(claim, entry)
        return known, others

    def add(self, verdict: Verdict, quick: bool) -> None:
        """Write a verdict down, to the disk."""
        claim = verdict.claim
        entry = {
            "id": claim.id, "code": code(claim), "quick": quick and claim.in_quick, "seconds": verdict.seconds,
            "error": verdict.error, "measurement": asdict(verdict.measurement),
        }  # fmt: skip
        line = json.dumps(entry, ensure_ascii=False, default=lambda number: number.item()) + "\n"
        if not self._begun:
            from esssim import store

            # What was there, without a line that was cut short.
            store.write_text(self.path, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in self._lines))
            self._begun = True
        with open(self.path, "a", encoding="utf-8", newline="\n") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """(the verdicts, how many lines are none)."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise ValueError(f"{path} must be a file that can be read: {error.strerror}") from error
    entries = []
    lines = [line for line in text.split("\n") if line.strip()]
    for line in lines:
        try:
            entry = json.loads(line)
            Measurement(**entry["measurement"])
        except (ValueError, KeyError, TypeError):
            continue
        if entry.keys() >= {"id", "code", "quick", "seconds", "error"}:
            entries.append(entry)
    return entries, len(lines) - len(entries)


def _why_not(claim: Claim, entry: dict[str, Any], quick: bool) -> str | None:
    if entry["error"] is not None:
        return "could not be measured"
    if entry["measurement"]["verdict"] == "skipped":
        return "was skipped"
    if entry["code"] != code(claim):
        return "measured by other code"
    if entry["quick"] != (quick and claim.in_quick):
        return "measured with --quick" if entry["quick"] else "measured without --quick"
    return None


def _verdict(claim: Claim, entry: dict[str, Any]) -> Verdict:
    fields = dict(entry["measurement"])
    interval = fields.pop("interval")
    return Verdict(
        claim, Measurement(**fields, interval=None if interval is None else tuple(interval)), entry["seconds"]
    )
