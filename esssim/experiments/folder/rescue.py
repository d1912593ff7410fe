"""What `esssim store verify` and `repair` do: which rows are as they were written, and the rest out of the way."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from esssim.experiments import toml
from esssim.experiments.cells import DONE, FAILED, LEFT_OUT, MISSING, Rows
from esssim.experiments.folder import reading
from esssim.experiments.folder.parts import NAME, Damaged, Part, mapped, write
from esssim.experiments.plan import Plan

DAMAGED = "damaged"


@dataclass(frozen=True)
class Verification:
    """What a folder holds. wrong: file -> what is wrong with it; digest: of all results, equal where they are equal."""

    cells: int
    done: int
    failed: int
    missing: int
    left_out: int
    parts: int
    wrong: Mapping[str, str]
    digest: str

    @property
    def intact(self) -> bool:
        return not self.wrong


def verify(path: str | os.PathLike[str]) -> Verification:
    """Check every file and every row. Raises ValueError where there is no sweep, or none that can be read."""
    contents = reading.read(path)
    wrong = dict(contents.wrong)
    for part in contents.parts:
        changed = int(np.count_nonzero(~part.rows().are_as_written()))
        if changed:
            wrong[part.path.name] = f"{changed} of its rows do not have their digest"
    wrong |= {part.path.name: "it belongs to another grid" for part in contents.others}
    states = contents.states()
    done, failed, missing, left_out = (
        int(np.count_nonzero(states == state)) for state in (DONE, FAILED, MISSING, LEFT_OUT)
    )
    return Verification(
        len(contents.plan.cells), done, failed, missing, left_out, len(contents.parts), wrong, contents.digest()
    )


def repair(path: str | os.PathLike[str]) -> list[str]:
    """Save the intact rows of damaged parts, and put what is left of these into the folder "damaged"; what was done.

    The cells whose rows are lost are missing afterwards, and the next run of the sweep computes them.
    """
    folder = reading.folder_of(path)
    try:
        text = reading.read_plan(folder).text
    except ValueError as error:
        raise ValueError(
            f"{error}; run the sweep again with the same configuration, which writes the plan anew"
        ) from None
    return mend(folder, text)


def mend(folder: Path, plan_text: str) -> list[str]:
    """`repair` with a plan that takes the place of one that cannot be read."""
    done: list[str] = []
    try:
        plan = reading.read_plan(folder)
    except ValueError:
        plan = reading.StoredPlan.of(plan_text)
        reading.write_plan(folder, plan_text)
        done.append(f"{reading.PLAN}: written anew")
    _, wrong, _ = reading.open_parts(folder)
    wrong |= {name: "its name is not that of a part" for name in _temporary(folder)}
    wrong |= reading.read(folder).wrong
    for name, reason in wrong.items():
        source = folder / reading.PARTS / name
        saved = _saved_rows(source, plan) if NAME.fullmatch(name) else None
        if saved is not None and len(saved):
            write(folder / reading.PARTS, saved, {"plan": plan.id, "environments": {}})
        put_aside(folder, source)
        count = 0 if saved is None else len(saved)
        done.append(f"{name}: {reason}; {count} rows saved, moved to {DAMAGED}/")
    return done


def _temporary(folder: Path) -> list[str]:
    """Files that a writer was killed over: whoever mends a folder is its only writer."""
    return [name for name in reading.names(folder) if name.startswith(".")]


def _saved_rows(path: Path, plan: reading.StoredPlan) -> Rows | None:
    """The rows of a damaged part that have their digests; None where it cannot be read at all."""
    try:
        part = Part._parsed(path, mapped(path))
        if part.variables != plan.widths or part.about["plan"] != plan.id:
            return None
        rows = part.rows()
        rows = replace(rows, seconds=np.full(len(rows), np.nan))  # no digest covers them
        good = rows.are_as_written() & np.isin(rows.index, plan.cells)
        return rows.take(np.flatnonzero(good))
    except (Damaged, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, MemoryError):
        return None


def put_aside(folder: Path, source: Path) -> None:
    aside = folder / DAMAGED
    aside.mkdir(exist_ok=True)
    target = aside / source.name
    count = 0
    while os.path.lexists(target):
        count += 1
        target = aside / f"{source.name}.{count}"
    os.rename(source, target)


def as_toml(plan: Plan) -> str:
    """The sweep as a person would write it down."""
    head = {"measures": [measure.name for measure in plan.measures]}
    grid = {f'"{key}"' if "." in key else key: values for key, values in plan.grid.plain.items()}
    return toml.written({**plan.base, "grid": grid, "sweep": head})
