"""The one writer of a sweep's folder: rows come in, parts go out, and nothing that is finished is lost on the way."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from esssim import _validate
from esssim._validate import IntArray
from esssim.experiments.cells import DONE, FAILED, MISSING, Rows, joined
from esssim.experiments.folder import reading, rescue
from esssim.experiments.folder.parts import Part, rows_in_a_part, write
from esssim.experiments.plan import Plan
from esssim.store import write_text

# Rows of short groups wait so long for others, in seconds; those of longer ones do not wait.
PAUSE = 0.25
# So many small parts are merged into large ones.
SMALL_PARTS = 64


class Writer:
    """The folder of a sweep, open for writing; `opened` makes one.

    Its state of each cell is kept in memory, so that no directory is listed while cells are added.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.states = np.full(int(np.prod(plan.grid.shape)), MISSING, dtype=np.int8)
        self.environments: dict[str, Any] = {}
        self.room = rows_in_a_part(plan.n_values)
        self.saved = 0
        self._parts: dict[Path, int] = {}
        self._pending: list[Rows] = []
        self._flushed = time.monotonic()

    def todo(self, retry_failed: bool = False) -> IntArray:
        """The places in `plan.cells` of the cells that are missing, or failed."""
        states = self.states[self.plan.cells]
        return np.flatnonzero((states == MISSING) | ((states == FAILED) & retry_failed))

    def count(self, state: int) -> int:
        """How many cells of the plan are in a state; what is DONE is on the disk."""
        return int(np.count_nonzero(self.states[self.plan.cells] == state))

    def add(self, rows: Rows, where: Mapping[str, Any]) -> None:
        """Keep some rows: on the disk at once where they took long, together with others where they did not."""
        self._pending.append(rows)
        self.environments.update(where)
        waited = time.monotonic() - self._flushed
        if waited > PAUSE or np.nansum(rows.seconds) > PAUSE or sum(map(len, self._pending)) >= self.room:
            self.flush()

    def flush(self) -> None:
        """Everything that was added is on the disk."""
        if self._pending:
            rows = joined(self._pending)
            self._write(rows)
            self._pending.clear()
            self.states[rows.index] = rows.state
        self._flushed = time.monotonic()
        if sum(count < self.room for count in self._parts.values()) > SMALL_PARTS:
            self.merge()

    def merge(self) -> None:
        """Small parts as few large ones. The new ones are on the disk before the old ones go."""
        small = [path for path, count in self._parts.items() if count < self.room]
        if len(small) < 2:
            return
        rows = joined([Part.open(path).rows() for path in small])
        _, first = np.unique(rows.index, return_index=True)
        self._write(rows.take(first))
        self._drop(small)

    def forget(self, state: int) -> None:
        """The cells of a state are missing again."""
        for path in list(self._parts):
            part = Part.open(path)
            if (part.state == state).any():
                self._write(part.rows().take(np.flatnonzero(part.state != state)))
                self._drop([path])
        self.states[self.states == state] = MISSING

    def take(self, parts: list[Part]) -> None:
        """Parts that are there already."""
        for part in parts:
            self._parts[part.path] = len(part)
            self.environments.update(part.about.get("environments", {}))
            self.states[part.index] = np.where(self.states[part.index] == DONE, DONE, part.state)

    def _write(self, rows: Rows) -> None:
        for begin in range(0, len(rows), self.room):
            piece = rows.take(np.arange(begin, min(begin + self.room, len(rows))))
            known = {key: self.environments[key] for key in set(piece.environment) if key in self.environments}
            try:
                path = write(self.path / reading.PARTS, piece, {"plan": self.plan.id, "environments": known})
            except OSError as error:
                words = f"folder {str(self.path)!r} cannot be written to: {error.strerror}"
                raise ValueError(f"{words}; what is there stays, and the same command goes on") from error
            self._parts[path] = len(piece)

    def _drop(self, paths: list[Path]) -> None:
        for path in paths:
            del self._parts[path]
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], plan: Plan, tell: Any = lambda _: None) -> Iterator[Writer]:
    """A writer of the folder, which is made, or taken up where it was left.

    tell: called with words about what was found damaged. Raises ValueError where another process writes to it, and
    where it holds finished cells that the plan does not have.
    """
    folder = _validate.path("folder", path)
    try:
        (folder / reading.PARTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"folder must be one that can be written to, got {str(folder)!r}: {error.strerror}") from error
    with _locked(folder):
        writer = Writer(folder, plan)
        _take_up(writer, tell)
        try:
            yield writer
        except ValueError:
            # What cannot be written now cannot be written a moment later.
            raise
        except BaseException:
            writer.flush()
            raise
        writer.flush()


def _take_up(writer: Writer, tell: Any) -> None:
    folder, plan = writer.path, writer.plan
    if not (folder / reading.PLAN).exists() and not reading.names(folder):
        reading.write_plan(folder, plan.text)
        write_text(folder / reading.CONFIG, rescue.as_toml(plan))
        return
    for line in rescue.mend(folder, plan.text):
        tell(line)
    contents = reading.read(folder)
    places = {} if contents.plan.id == plan.id and not contents.others else _places(plan)
    if contents.plan.id != plan.id:
        stored = contents.plan.measures
        if stored != tuple(measure.name for measure in plan.measures):
            raise ValueError(f"folder has the measures {', '.join(stored)}; choose another folder for others")
        parts = (*contents.parts, *contents.others)
        missing = sum(_strangers(part, places) for part in parts)
        if missing:
            words = f"folder holds {missing} finished cells that this grid does not have; choose another folder"
            raise ValueError(words)
        contents = _adopted(writer, parts, places)
    elif contents.others:
        # Left over from a grid that was growing when its writer was killed; or put there by somebody.
        for part in contents.others:
            if _strangers(part, places):
                rescue.put_aside(folder, part.path)
                tell(f"{part.path.name}: it belongs to another sweep; moved to {rescue.DAMAGED}/")
        contents = _adopted(writer, [part for part in contents.others if not _strangers(part, places)], places)
    writer.take(list(contents.parts))


def _places(plan: Plan) -> dict[str, int]:
    """Fingerprint of a cell's configuration -> its index."""
    return {plan.experiment(index).fingerprint: index for index in plan.cells.tolist()}


def _strangers(part: Part, places: Mapping[str, int]) -> int:
    """Finished cells that the plan does not have."""
    finished = zip(part.column("fingerprint"), part.state, strict=True)
    return sum(each.hex() not in places for each, state in finished if state == DONE)


def _adopted(writer: Writer, parts: Sequence[Part], places: Mapping[str, int]) -> reading.Contents:
    """The cells of another plan, found by the fingerprints of their configurations, in the places of this one."""
    folder, plan = writer.path, writer.plan
    for part in parts:
        rows = part.rows()
        kept = np.array([k for k, each in enumerate(rows.fingerprint) if each.hex() in places], dtype=np.int64)
        moved = _moved(rows.take(kept), places, plan)
        writer.environments.update(part.about.get("environments", {}))
        if len(moved):
            writer._write(moved)
    reading.write_plan(folder, plan.text)
    write_text(folder / reading.CONFIG, rescue.as_toml(plan))
    for part in parts:
        part.path.unlink(missing_ok=True)
    writer._parts.clear()
    return reading.read(folder)


def _moved(rows: Rows, places: Mapping[str, int], plan: Plan) -> Rows:
    """Rows with the index and the sides that they have in another plan."""
    index = np.array([places[each.hex()] for each in rows.fingerprint], dtype=np.int64)
    values = {}
    for name, sides in plan.sides.items():
        column = np.full((len(rows), int(np.prod(list(sides.values()), dtype=np.int64))), np.nan)
        old = rows.values.get(name)
        if old is not None and old.shape != column.shape:
            raise ValueError(f"folder has {old.shape[1]} numbers of {name!r} in a cell, this grid {column.shape[1]}")
        values[name] = column if old is None else old
    moved = replace(rows, index=index, values=values)
    return replace(moved, digest=[moved.digest_of(k) for k in range(len(moved))])


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Within it no other process writes to the folder; the system takes the lock away from a process that dies."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    handle = os.open(folder / reading.LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"folder must not be in use, {str(folder)!r} is written to by another sweep") from None
        yield
    finally:
        os.close(handle)
