"""(g) Sweeps whose processes are killed: what was finished stays, once, and the end is the same bit by bit."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from esssim._rows import Row
from esssim.doctor.check import Finding, Unavailable, at_least, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments.cells import DONE
from esssim.experiments.folder import reading
from esssim.experiments.plan import Plan
from esssim.experiments.sweeps import from_toml, run

CELLS, KILLS = 500, 50
QUICK_CELLS, QUICK_KILLS = 40, 1
# Of a larger sweep of short cells, which is killed and finished on each kind of workers.
LARGE_CELLS, LARGE_KILLS = 2000, 5
LONG, SHORT = 2000, 100
WAYS = {"joblib": ("--workers", "2"), "dask": ("--cluster", "local:2")}
# Seconds between two kills: up to this after the first cell of a run is on the disk.
LONGEST_PAUSE = 2.0
# Nothing at all for so long is a failure.
PATIENCE = 300.0

# Cell -> the digest of its results and the seconds that it took, which no second run would repeat.
Finished = dict[int, tuple[bytes, float]]


@dataclass
class Count:
    """What was seen. lost: finished cells that were gone; twice: finished cells that were run again; different: ends
    that were not the expected one."""

    drivers: int = 0
    workers: int = 0
    lost: int = 0
    twice: int = 0
    different: int = 0
    ends: int = 0


@check(key="g", title="kill −9 loses nothing", seconds=(20.0, 1500.0))
def kills(quick: bool) -> Finding:
    """A sweep of 500 cells on two processes of joblib by the command line, 50 times at random the command or one of its
    workers is killed with SIGKILL, and the command is run again; a sweep that comes to its end is begun anew. Then a
    sweep of 2,000 cells, killed five times and finished, on joblib and on a local cluster of dask. Each end is compared
    with a run in one process that nobody disturbs.
    """
    if os.name != "posix" or not Path("/proc/self/task").is_dir():
        raise Unavailable("needs Linux, where the workers of a process can be found")
    plans = [("joblib", QUICK_CELLS, QUICK_KILLS)] if quick else [("joblib", CELLS, KILLS)]
    if not quick:
        plans += [(way, LARGE_CELLS, LARGE_KILLS) for way in WAYS if way != "dask" or find_spec("distributed")]
    counts = [
        (way, n_cells, killed_and_finished(way, n_cells, n_kills, LONG if n_cells < LARGE_CELLS else SHORT))
        for way, n_cells, n_kills in plans
    ]
    rows: list[Row] = [{"workers of": way, "cells": n_cells, **asdict(count)} for way, n_cells, count in counts]
    named = {
        "kills_of_the_driver": "drivers", "kills_of_workers": "workers", "finished_cells_lost": "lost",
        "finished_cells_run_twice": "twice", "sweeps_finished": "ends", "ends_that_differ": "different",
    }  # fmt: skip
    figure = {words: sum(int(row[name]) for row in rows) for words, name in named.items()}
    nothing = exactly(0)
    wanted = {"finished_cells_lost": nothing, "finished_cells_run_twice": nothing, "ends_that_differ": nothing}
    return Finding(figure, {**wanted, "sweeps_finished": at_least(len(plans))}, rows)


def killed_and_finished(way: str, n_cells: int, n_kills: int, n_steps: int) -> Count:
    """What was seen of sweeps of so many cells, of so many steps each, until so many kills."""
    count, rng = Count(), random.Random(20261129)
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        config = Path(name) / "sweep.toml"
        config.write_text(small_sweep(n_cells, n_steps), encoding="utf-8")
        plan = from_toml(config)
        run(plan, Path(name) / "expected", 1)
        expected = reading.read(Path(name) / "expected").digest()
        folder, known = Path(name) / "0", Finished()
        for _ in steps(range(n_kills)):
            while _disturbed(plan, _command(config, folder, way), folder, known, count, rng):
                _note_end(folder, expected, count)
                folder, known = Path(name) / str(count.ends), {}
        _finish(_command(config, folder, way))
        _compare(folder, known, count)
        _note_end(folder, expected, count)
    return count


def _disturbed(plan: Plan, command: list[str], folder: Path, known: Finished, count: Count, rng: random.Random) -> bool:
    """Run until one kill. True where the sweep came to its end before."""
    process = _started(command)
    before = len(known)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and len(_finished(folder)) <= before:
        if time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"no cell was finished in {PATIENCE:.0f} s")
        time.sleep(0.02)
    time.sleep(rng.uniform(0, LONGEST_PAUSE))
    if process.poll() is None:
        workers = workers_of(process.pid)
        if rng.random() < 0.5 and workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                count.workers += 1
            # The run goes on without it, for a while.
            time.sleep(rng.uniform(0, LONGEST_PAUSE))
            was_running = process.poll() is None
            if was_running:
                process.kill()
        else:
            process.kill()
            count.drivers += 1
    process.wait()
    _compare(folder, known, count)
    return len(known) == len(plan.cells)


def _command(config: Path, folder: Path, way: str) -> list[str]:
    return [sys.executable, "-m", "esssim", "sweep", str(config), "--out", str(folder), *WAYS[way], "--json"]


def _started(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finish(command: list[str]) -> None:
    code = _started(command).wait(timeout=10 * PATIENCE)
    if code != 0:
        raise RuntimeError(f"a sweep that nobody disturbed ended with exit code {code}")


def workers_of(pid: int) -> list[int]:
    """The processes that compute for a driver, without the one that cleans up after it."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in path.read_text().split():
                if "resource_tracker" not in Path(f"/proc/{child}/cmdline").read_text():
                    found.append(int(child))
    return found


def _finished(folder: Path) -> Finished:
    if not (folder / reading.PLAN).is_file():
        return {}
    found: Finished = {}
    for part in reading.read(folder).parts:
        rows = part.rows()
        for k, index in enumerate(part.index.tolist()):
            if part.state[k] == DONE:
                found[index] = (rows.digest[k], float(rows.seconds[k]))
    return found


def _compare(folder: Path, known: Finished, count: Count) -> None:
    now = _finished(folder)
    count.lost += sum(index not in now for index in known)
    count.twice += sum(index in now and now[index] != each for index, each in known.items())
    known.update(now)


def _note_end(folder: Path, expected: str, count: Count) -> None:
    count.ends += 1
    count.different += reading.read(folder).digest() != expected
