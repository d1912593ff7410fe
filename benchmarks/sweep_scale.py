"""What a sweep costs beside its cells: cells of a microsecond, counted in seconds of the processor.

python -m benchmarks.sweep_scale [CELLS ...]          by default 1,000, 10,000 and 100,000
"""

from __future__ import annotations

import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil

from esssim.experiments import Experiment
from esssim.experiments import open as open_sweep
from esssim.experiments.grid import Grid
from esssim.experiments.plan import Plan
from esssim.experiments.sweeps import run

CELL = Experiment(
    problem={"kind": "linear_regression"},
    data={"kind": "gaussian", "n_samples": 8, "n_features": 2},
    sampling={"batch_size": 1},
    dynamics={"step_size": 0.1, "n_steps": 10},
)


def nothing(experiment: Experiment) -> dict[str, float]:
    return {"a": 1.0, "b": 2.0, "seed": float(experiment.dynamics.seed)}


def measured(count: int) -> str:
    grid = {"dynamics.seed": {"from": 0, "to": count // 8 - 1}, "sampling.batch_size": [1, 2, 3, 4, 5, 6, 7, 8]}
    base = CELL.model_dump(mode="json", by_alias=True, exclude_unset=True)
    before, clock = psutil.Process().memory_info().rss, [time.process_time()]
    with tempfile.TemporaryDirectory() as name:
        plan = Plan.of(base, Grid.of(grid), (nothing,))
        folder = Path(name) / "sweep"
        done = run(plan, folder, 1).done
        clock.append(time.process_time())
        memory = psutil.Process().memory_info().rss - before
        parts = [path.stat().st_size for path in (folder / "parts").iterdir()]
        found = open_sweep(folder)
        clock.append(time.process_time())
        found["seed"].load()
        clock.append(time.process_time())
        run(plan, folder, 1)
        clock.append(time.process_time())
    running, opening, loading, resuming = (after - start for start, after in pairwise(clock))
    return (
        f"{done:,} cells: {1e3 * running / done:.3f} ms a cell, memory +{memory / 1e6:.0f} MB, "
        f"{sum(parts) / done:.0f} bytes a cell in {len(parts)} files; opened in {opening:.3f} s, a variable read in "
        f"{loading:.3f} s, found finished in {resuming:.3f} s"
    )


if __name__ == "__main__":
    for number in map(int, sys.argv[1:] or ("1000", "10000", "100000")):
        print(measured(number), flush=True)
