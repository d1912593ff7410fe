"""(h) Damaged folders of sweeps: no number that is not the one that was written."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray

from esssim._rows import Row
from esssim.doctor.check import Finding, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments.cells import DONE, run_cells
from esssim.experiments.folder import reading, rescue
from esssim.experiments.folder.dataset import dataset
from esssim.experiments.folder.writing import opened
from esssim.experiments.plan import Plan
from esssim.experiments.sweeps import from_toml, run

FLIPS, OTHERS = 1000, 100
QUICK = 6
# One in so many damaged folders is also repaired and finished.
FINISHED = 50

Damage = Callable[[Path, random.Random], None]


def _any(folder: Path, rng: random.Random) -> Path:
    """A part, or now and then the plan."""
    parts = sorted((folder / reading.PARTS).iterdir())
    return folder / reading.PLAN if rng.random() < 0.1 else rng.choice(parts)


def flip(folder: Path, rng: random.Random) -> None:
    """One bit of one file."""
    path = _any(folder, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(folder: Path, rng: random.Random) -> None:
    path = _any(folder, rng)
    os.truncate(path, rng.randrange(path.stat().st_size))


def delete(folder: Path, rng: random.Random) -> None:
    _any(folder, rng).unlink()


def swap_names(folder: Path, rng: random.Random) -> None:
    """Two files with each other's names."""
    first, second = rng.sample(sorted((folder / reading.PARTS).iterdir()), 2)
    middle = folder / "middle"
    first.rename(middle)
    second.rename(first)
    middle.rename(second)


def rename(folder: Path, rng: random.Random) -> None:
    path = rng.choice(sorted((folder / reading.PARTS).iterdir()))
    path.rename(path.with_name(f"{rng.getrandbits(256):064x}.parquet" if rng.random() < 0.7 else "copy.parquet"))


def foreign(folder: Path, rng: random.Random) -> None:
    """A file that does not belong there: text, a part of another sweep, a link, a folder."""
    parts = folder / reading.PARTS
    kind = rng.randrange(4)
    if kind == 0:
        (parts / "notes.txt").write_text("not a part")
    elif kind == 1:
        other = next((folder.parent / "other" / reading.PARTS).iterdir())
        shutil.copy(other, parts / other.name)
    elif kind == 2:
        target = rng.choice(sorted(parts.iterdir()))
        moved = folder.parent / "elsewhere"
        shutil.move(target, moved)
        target.symlink_to(moved)
    else:
        (parts / f"{rng.getrandbits(256):064x}.parquet").mkdir()


DAMAGES: dict[str, Damage] = {
    "bit flips": flip, "truncations": truncate, "deleted files": delete, "swapped names": swap_names,
    "renamed files": rename, "foreign files": foreign,
}  # fmt: skip


@check(key="h", title="Damaged files are noticed", seconds=(20.0, 300.0))
def corruption(quick: bool) -> Finding:
    """The folder of a finished sweep is damaged in one place, and read. Each cell has to have the bits that were
    written, or be missing, or reading is refused. One folder in fifty is also repaired and finished by another run of
    the sweep, which has to give the bits of the first."""
    rows, failures = list[Row](), list[str]()
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        root = Path(name)
        plan = _plan(root, 20 if quick else 60, 200)
        whole = root / "whole"
        _write_in_parts(plan, whole)
        run(_plan(root, 5, 201), root / "other", 1)
        expected = dataset(whole).load()
        rng, place = random.Random(20261129), root / "damaged"
        jobs = [(kind, k) for kind in DAMAGES for k in range(_count(kind, quick))]
        counts: dict[str, Row] = {
            kind: {"damage": kind, "tried": 0, "refused": 0, "with_missing_cells": 0, "unharmed": 0,
                "silently_wrong": 0,
                   "finished_otherwise": 0} for kind in DAMAGES
        }  # fmt: skip
        for kind, k in steps(jobs):
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(whole, place)
            DAMAGES[kind](place, rng)
            outcome = _read(place, expected)
            counts[kind]["tried"] = int(counts[kind]["tried"]) + 1
            counts[kind][outcome] = int(counts[kind][outcome]) + 1
            if outcome == "silently_wrong":
                failures.append(f"{kind} {k}")
            if k % FINISHED == 0 and not _finishes(plan, place, expected):
                counts[kind]["finished_otherwise"] = int(counts[kind]["finished_otherwise"]) + 1
                failures.append(f"{kind} {k}: finished otherwise")
            (root / "elsewhere").unlink(missing_ok=True)
        rows = list(counts.values())
    figure = {
        "damaged_folders": len(jobs),
        "silently_wrong": sum(int(row["silently_wrong"]) for row in rows),
        "finished_otherwise": sum(int(row["finished_otherwise"]) for row in rows),
    }
    return Finding(figure, {"silently_wrong": exactly(0), "finished_otherwise": exactly(0)}, rows, failures)


def _count(kind: str, quick: bool) -> int:
    return QUICK if quick else FLIPS if kind == "bit flips" else OTHERS


def _plan(root: Path, n_cells: int, n_steps: int) -> Plan:
    config = root / f"{n_steps}.toml"
    config.write_text(small_sweep(n_cells, n_steps), encoding="utf-8")
    return from_toml(config)


def _write_in_parts(plan: Plan, folder: Path) -> None:
    """A folder with several files."""
    with opened(folder, plan) as writer:
        for cells in np.array_split(plan.cells, 8):
            rows, _, where = run_cells(plan, cells)
            writer.add(rows, {rows.environment[0]: where})
            writer.flush()


def _read(folder: Path, expected: xarray.Dataset) -> str:
    """What becomes of somebody who reads a damaged folder."""
    try:
        found = dataset(folder).load()
    except ValueError:
        return "refused"
    done = found["state"].values == DONE
    for name in expected.data_vars:
        if name in ("state", "seconds", "error"):
            continue
        left, right = found[name].values[done], expected[name].values[done]
        if left.tobytes() != right.tobytes() or np.isfinite(found[name].values[~done]).any():
            return "silently_wrong"
    return "unharmed" if done.all() else "with_missing_cells"


def _finishes(plan: Plan, folder: Path, expected: xarray.Dataset) -> bool:
    """Whether another run of the sweep gives the numbers of the first, and leaves an intact folder."""
    run(plan, folder, 1)
    return _read(folder, expected) == "unharmed" and rescue.verify(folder).intact
