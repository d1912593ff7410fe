"""What is in the folder of a sweep: its plan, its intact parts, and what is wrong with the rest."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from esssim import _validate
from esssim._validate import IntArray
from esssim.experiments.cells import DONE, LEFT_OUT, MISSING
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.folder.parts import NAME, Damaged, Part
from esssim.experiments.grid import Grid
from esssim.experiments.measures import Sides
from esssim.experiments.plan import FORMAT
from esssim.store import read_verified, write_verified

PLAN = "sweep.json"
LOCK = "sweep.lock"
CONFIG = "sweep.toml"
PARTS = "parts"
LARGEST_PLAN = 2**28
# A merge may take parts away between the listing and the reading of a folder that is being written to.
ATTEMPTS = 5


@dataclass(frozen=True)
class StoredPlan:
    """A plan as a folder keeps it. id: SHA-256 of its text."""

    id: str
    text: str
    sections: Mapping[str, Any]
    grid: Grid
    measures: tuple[str, ...]
    sides: Mapping[str, Sides]

    @classmethod
    def of(cls, text: str) -> StoredPlan:
        """Raises ValueError for text that is no plan."""
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(f"it has format {content['format']!r}, this version reads {FORMAT}")
            sides = {
                str(name): {str(side): int(n) for side, n in each.items()}
                for name, each in content["variables"].items()
            }
            if any(n < 0 for each in sides.values() for n in each.values()):
                raise ValueError("a variable has a negative side")
            return cls(
                hashlib.sha256(text.encode()).hexdigest(), text, dict(content["sections"]), Grid.of(content["grid"]),
                tuple(map(str, content["measures"])), sides,
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, RecursionError, OverflowError, ConfigurationError) as error:
            raise ValueError(f"it is no plan of a sweep ({type(error).__name__}: {error})") from None

    @cached_property
    def cells(self) -> IntArray:
        return self.grid.cells(self.sections)

    @property
    def size(self) -> int:
        """Cells of the product of the axes, those that are left out included."""
        return math.prod(self.grid.shape)

    def width(self, name: str) -> int:
        """Numbers of a variable in a cell."""
        return math.prod(self.sides[name].values())

    @property
    def widths(self) -> dict[str, int]:
        return {name: self.width(name) for name in self.sides}


@dataclass(frozen=True)
class Contents:
    """A folder at one moment. wrong: file -> what is wrong with it; others: intact parts of an earlier plan."""

    path: Path
    plan: StoredPlan
    parts: tuple[Part, ...]
    others: tuple[Part, ...]
    wrong: Mapping[str, str]

    def states(self) -> np.ndarray[Any, np.dtype[np.int8]]:
        """The state of every cell of the product of the axes."""
        found = np.full(self.plan.size, LEFT_OUT, dtype=np.int8)
        found[self.plan.cells] = MISSING
        for part in self.parts:
            # Where a cell is in two parts, one of which failed, the other has been run since.
            found[part.index] = np.where(found[part.index] == DONE, DONE, part.state)
        return found

    def digest(self) -> str:
        """SHA-256 of the results of all cells, in their order: equal ones are equal bit by bit."""
        index = np.concatenate([part.index for part in self.parts] or [np.zeros(0, dtype=np.int64)])
        digests = [each for part in self.parts for each in part.column("digest")]
        _, first = np.unique(index, return_index=True)
        return hashlib.sha256(b"".join(digests[k] for k in first)).hexdigest()


def folder_of(path: str | os.PathLike[str]) -> Path:
    """The folder of a sweep. Raises ValueError where there is none."""
    folder = _validate.path("folder", path)
    if not (folder / PLAN).is_file() and not (folder / PARTS).is_dir():
        raise ValueError(f"folder must be the folder of a sweep, got {str(folder)!r}, which has no {PLAN}")
    return folder


def read_plan(folder: Path) -> StoredPlan:
    """Raises ValueError for a plan that is missing, damaged or of another format."""
    path = folder / PLAN
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError("it is not an ordinary file")
        return StoredPlan.of(read_verified(path, LARGEST_PLAN).decode())
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        words = (
            f"folder must be that of a sweep, {str(path)!r} cannot be read: {reason}; `esssim store repair` may help"
        )
        raise ValueError(words) from None


def write_plan(folder: Path, text: str) -> None:
    write_verified(folder / PLAN, text.encode())


def read(path: str | os.PathLike[str]) -> Contents:
    """Everything that is intact, each file checked against the SHA-256 in its name."""
    folder = folder_of(path)
    for _ in range(ATTEMPTS):
        plan = read_plan(folder)
        found, wrong, vanished = open_parts(folder)
        if not vanished:
            break
    mine = {part.path: part for part in found if part.about["plan"] == plan.id}
    for name, part in list(mine.items()):
        if part.variables != plan.widths or (len(part) and not 0 <= part.index.min() <= part.index.max() < plan.size):
            wrong[name.name] = "it does not fit the plan that it names"
            del mine[name]
    others = tuple(part for part in found if part.about["plan"] != plan.id)
    return Contents(folder, plan, tuple(mine.values()), others, wrong)


def open_parts(folder: Path) -> tuple[list[Part], dict[str, str], bool]:
    """The intact parts, what is wrong with other files among them, and whether one vanished meanwhile."""
    found, wrong, vanished = list[Part](), dict[str, str](), False
    if (folder / PARTS).is_symlink():
        raise ValueError(f"folder must hold its parts itself, {str(folder / PARTS)!r} is a link")
    for name in names(folder):
        if not NAME.fullmatch(name):
            # A temporary file that a writer was killed over, or has just now.
            if not name.startswith("."):
                wrong[name] = "its name is not that of a part"
            continue
        try:
            found.append(Part.open(folder / PARTS / name))
        except FileNotFoundError:
            vanished = True
        except (Damaged, OSError) as error:
            wrong[name] = str(error)
    return found, wrong, vanished


def names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder / PARTS))
    except FileNotFoundError:
        return []
