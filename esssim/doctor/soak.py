"""(m) Sweeps in a loop for hours: does memory grow?"""

from __future__ import annotations

import gc
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esssim._intervals import student_quantile
from esssim._rows import Row
from esssim._validate import FloatArray
from esssim.doctor.check import Finding, Unavailable, at_least, at_most, check, exactly, steps
from esssim.doctor.kills import workers_of
from esssim.doctor.sweeps import small_sweep
from esssim.experiments.folder import rescue
from esssim.experiments.folder.dataset import dataset
from esssim.experiments.sweeps import from_toml, run

SECONDS, CELLS = 7200.0, 100
QUICK_SWEEPS, QUICK_CELLS = 4, 5
# A sweep of a million cells must not need more than so many MB for having run.
MOST_PER_MILLION_CELLS = 100.0
# Of the time: until then, caches fill.
WARM = 0.1
# Means of so many stretches are regressed: neighbouring samples are nearly the same number.
STRETCHES = 12


@dataclass(frozen=True)
class Sample:
    """After a sweep: seconds since the start, cells so far, MB of the driver and of all its workers, open files."""

    seconds: float
    cells: int
    driver: float
    workers: float
    files: int


@check(key="m", title="Memory does not grow", seconds=(3.0, 7200.0))
def soak(quick: bool) -> Finding:
    """Two hours of sweeps in one process, every other one on two more of joblib: each is run, read, verified
    and deleted. Memory is the resident set after each. Its slope is that of a line through the means of twelve
    stretches of the last nine tenths of the time, with Student's 95 % interval; its upper end is judged. `python
    docs/reliability.py m` that is interrupted gives what it has.
    """
    if not Path("/proc/self/statm").is_file():
        raise Unavailable("needs Linux, where a process can see its memory")
    samples, digests = list[Sample](), set[str]()
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        try:
            for sample, digest in sweeps(Path(name), quick):
                samples.append(sample)
                digests.add(digest)
        except KeyboardInterrupt:
            if len(samples) < 4 * STRETCHES:
                raise
    return finding(samples, len(digests), quick)


def sweeps(root: Path, quick: bool) -> Iterator[tuple[Sample, str]]:
    """Each sweep with the digest of its results."""
    plan = from_toml(small_sweep(QUICK_CELLS if quick else CELLS, 100 if quick else 500))
    started, cells = time.monotonic(), 0
    for count in steps(range(QUICK_SWEEPS)) if quick else _until(SECONDS):
        folder = root / str(count)
        run(plan, folder, 1 if quick or count % 2 == 0 else 2)
        dataset(folder).load()
        digest = rescue.verify(folder).digest
        shutil.rmtree(folder)
        cells += len(plan.cells)
        gc.collect()
        workers = sum(map(resident, workers_of(os.getpid())))
        files = len(os.listdir("/proc/self/fd"))
        yield Sample(time.monotonic() - started, cells, resident(os.getpid()), workers, files), digest


def _until(seconds: float) -> Iterator[int]:
    """Counts until so much time is over, reported in minutes."""
    started, count = time.monotonic(), 0
    for minute in steps(range(math.ceil(seconds / 60))):
        while time.monotonic() < started + min(60.0 * (minute + 1), seconds):
            yield count
            count += 1


def resident(pid: int) -> float:
    """MB of memory that a process holds, 0 for one that has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def finding(samples: Sequence[Sample], n_results: int, quick: bool) -> Finding:
    """The figures of these samples. n_results: how many different results the same sweep gave."""
    seconds, cells, driver, workers, files = (
        np.array([getattr(each, name) for each in samples]) for name in Sample.__dataclass_fields__
    )
    figure = {
        "hours": float(seconds[-1] / 3600), "sweeps": len(samples), "cells": int(cells[-1]),
        "different_results": n_results, "memory_at_the_end_in_MB": float(driver[-1]),
        "files_open_at_the_end_more_than_at_first": int(files[-1] - files[min(1, len(files) - 1)]),
    }  # fmt: skip
    wanted = {"different_results": exactly(1), "files_open_at_the_end_more_than_at_first": at_most(0)}
    if quick:
        return Finding(figure, wanted)
    late = seconds >= WARM * seconds[-1]
    rows: list[Row] = [
        {"hours": h, "cells": int(c), "MB of the driver": d, "MB of the workers": w}
        for h, c, d, w in zip(*(_means(x[late]) for x in (seconds / 3600, cells, driver, workers)), strict=True)
    ]
    for who, memory in (("driver", driver), ("workers", workers)):
        slope, low, high = slope_of(cells[late] / 1e6, memory[late])
        per_hour = float(slope_of(seconds[late] / 3600, memory[late])[0])
        figure |= {
            f"{who}_MB_per_hour": per_hour, f"{who}_MB_per_million_cells": slope,
            f"{who}_MB_per_million_cells_at_least": low, f"{who}_MB_per_million_cells_at_most": high,
        }  # fmt: skip
        wanted[f"{who}_MB_per_million_cells_at_most"] = at_most(MOST_PER_MILLION_CELLS)
    return Finding(figure, {**wanted, "hours": at_least(SECONDS / 3600)}, rows)


def slope_of(at: FloatArray, memory: FloatArray) -> tuple[float, float, float]:
    """Of a line through the means of stretches, and its 95 % interval."""
    x, y = _means(at), _means(memory)
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    rest = y - y.mean() - slope * x
    degrees = len(x) - 2
    half = student_quantile(degrees) * float(np.sqrt(rest @ rest / degrees / (x @ x)))
    return slope, slope - half, slope + half


def _means(series: FloatArray) -> FloatArray:
    return np.array([part.mean() for part in np.array_split(series, STRETCHES)])
