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
from dataclasses import dataclass
from pathlib import Path

from esssim.doctor.check import Finding, Unavailable, at_least, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments.cells import DONE
from esssim.experiments.folder import reading
from esssim.experiments.plan import Plan
from esssim.experiments.sweeps import from_toml, run

CELLS, KILLS = 500, 50
QUICK_CELLS, QUICK_KILLS = 40, 2
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


@check(key="g", title="kill −9 loses nothing", seconds=(60.0, 900.0))
def kills(quick: bool) -> Finding:
    """A sweep on two processes of joblib by the command line, at random the command or one of its workers is killed
    with SIGKILL, and the command is run again; a sweep that comes to its end is begun anew. The end is compared with a
    run in one process that nobody disturbs.
    """
    if os.name != "posix" or not Path("/proc/self/task").is_dir():
        raise Unavailable("needs Linux, where the workers of a process can be found")
    count, rng = Count(), random.Random(20261129)
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        config = Path(name) / "sweep.toml"
        config.write_text(small_sweep(QUICK_CELLS if quick else CELLS), encoding="utf-8")
        plan = from_toml(config)
        run(plan, Path(name) / "expected", 1)
        expected = reading.read(Path(name) / "expected").digest()
        folder, known = Path(name) / "0", Finished()
        for _ in steps(range(QUICK_KILLS if quick else KILLS)):
            while _disturbed(plan, config, folder, known, count, rng):
                _note_end(folder, expected, count)
                folder, known = Path(name) / str(count.ends), {}
        _finish(config, folder)
        _compare(folder, known, count)
        _note_end(folder, expected, count)
    figure = {
        "kills_of_the_driver": count.drivers, "kills_of_workers": count.workers, "finished_cells_lost": count.lost,
        "finished_cells_run_twice": count.twice, "sweeps_finished": count.ends, "ends_that_differ": count.different,
    }  # fmt: skip
    nothing = exactly(0)
    wanted = {"finished_cells_lost": nothing, "finished_cells_run_twice": nothing, "ends_that_differ": nothing}
    return Finding(figure, {**wanted, "sweeps_finished": at_least(1)})


def _disturbed(plan: Plan, config: Path, folder: Path, known: Finished, count: Count, rng: random.Random) -> bool:
    """Run until one kill. True where the sweep came to its end before."""
    process = _started(config, folder)
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


def _started(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "esssim", "sweep", str(config), "--out", str(folder), "--workers", "2", "--json"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _finish(config: Path, folder: Path) -> None:
    code = _started(config, folder).wait(timeout=10 * PATIENCE)
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
