"""(o): do the tests notice a wrong formula? Needs a checkout, with the tests and what they need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esssim._rows import Row
from esssim.doctor.check import Finding, Unavailable, at_least, check, steps

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "sampling", "data", "moments", "settling", "stability", "spectra", "problems", "simulation", "statistics", "gap",
    "flow",
)  # fmt: skip
SEED, SAMPLE, REQUIRED = 16, 60, 0.9
# Why a known survivor is no danger; the others are faults of the tests.
REASONS = {
    "in: while i >= 0 and current[i] == n_samples - b + i:": "it moves past the last combination, which nobody reads",
    "in: new_bend = ": "another second derivative takes other steps to the same root",
    "in: discriminant = (size - 1)": "a larger discriminant takes shorter steps to the same root",
    "np.sqrt(discriminant if discriminant > "
    "0.0": "only where rounding makes a discriminant negative: another length of a step",
    "in: largest = np.abs(u).max()": "the scale of a vector whose quotient is taken",
    "in: names = (*loaded.feature_names": "seen since by a test of the targets of bundled tables",
    "off.max() < 1e-08": "no double lies on this boundary",
    "in: FEW = ": "a threshold: below it an interval rests on so few values that it is very wide anyway",
    "in: DISAGREEING = ": "a threshold in standard errors",
    "in: ERROR_LENGTH, LEAST_ERROR, OWN_ERROR = ": "a calibrated number",
    "in: tops, along = np.sort(s.sample_sharpness)": "seen since by a test of the largest batch",
    "in: largest = max(largest, outputs[i, k])": "seen since by a test of logits in the thousands",
    "in: if np.isfinite(off).all() and not (off <= TOLERANCE": "seen since by a test of a flat problem",
    "in: done = 0": "seen since by a test of stretches after a full-batch loop went over to the samples",
    "in: integers = steps.dtype.kind": "seen since by a test of records at no step at all",
    "in: return (1.0 - c) * top / len(self.own)": "seen since by a test of equal samples",
    "in: return -1": "seen since by a test of the step at which nothing diverged",
    "in: few = some[: max(1, MOST_NUMBERS": "a budget: it looks at two samples where one was meant",
    "in: return float(eta * c * tau_1": "seen since by a test of the closure for other values of τ₁",
}


@check(key="o", title="The tests notice a wrong formula", seconds=(20.0, 30_000.0), extra="test")
def mutation(quick: bool) -> Finding:
    """`python -m tests.mutation PACKAGE --sample 60 --seed 16` for every package of the core: small errors are written
    into a copy of the code, one at a time, and the tests of that package run until one of them fails. Errors that are
    none are left out, each with its reason (`--list`).
    """
    if not (ROOT / "tests" / "mutation.py").is_file():
        raise Unavailable("needs a checkout of the repository, with its tests")
    names, sample = (PACKAGES[:1], 2) if quick else (PACKAGES, SAMPLE)
    return finding([score for name in steps(names) for score in scores(name, sample)], names)


def scores(name: str, sample: int) -> list[dict[str, Any]]:
    """What became of the mutants of one package."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.json"
        words = [name, "--sample", str(sample), "--seed", str(SEED), "--workers", "1", "--json", str(path)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.mutation", *words],
            cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
        if not path.is_file():
            raise ValueError(f"the mutants of {name} could not be run: {done.stderr.strip()[-300:]}")
        return list(json.loads(path.read_text(encoding="utf-8")))


def finding(found: Sequence[dict[str, Any]], wanted: Sequence[str] = PACKAGES) -> Finding:
    """The figures of these scores. A package fails below 90 %, and where none of its mutants was run."""
    rows: list[Row] = []
    for score in found:
        killed = score["n_mutants"] - len(score["survivors"])
        rows.append({
            "package": score["name"], "mutants": score["n_mutants"], "killed": killed,
            "fraction": killed / max(score["n_mutants"], 1), "left out with a reason": score["left_out"],
        })  # fmt: skip
    survivors: list[Row] = [
        {"package": s["name"], "survivor": each, "reason": reason(each)} for s in found for each in s["survivors"]
    ]
    mutants = sum(int(row["mutants"]) for row in rows)
    figure = {
        "least_fraction_killed": min((float(row["fraction"]) for row in rows), default=0.0),
        "fraction_killed": sum(int(row["killed"]) for row in rows) / max(mutants, 1),
        "mutants": mutants,
        "packages_measured": len(rows),
    }
    goal = {"least_fraction_killed": at_least(REQUIRED), "packages_measured": at_least(len(wanted))}
    failures = [str(row["package"]) for row in rows if float(row["fraction"]) < REQUIRED]
    failures += [f"{name}: not measured" for name in wanted if name not in {row["package"] for row in rows}]
    return Finding(figure, goal, [*rows, *survivors], failures)


def reason(survivor: str) -> str:
    """Why it is no danger, where that is known."""
    return next((words for line, words in REASONS.items() if line in survivor), "no test sees it")
