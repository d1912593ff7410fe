"""(j) The same numbers on any number of workers and threads, in any order, on joblib and on dask."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray

import esssim as es
from esssim import flow
from esssim._rows import Row
from esssim.doctor.check import Finding, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments import open as open_sweep
from esssim.experiments.sweeps import from_toml, run

MEASURES = ("levels", "records", "start")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
IN_A_PROCESS = "import json; from esssim.doctor.determinism import digests; print(json.dumps(digests()))"


@check(key="j", title="The same numbers everywhere", seconds=(20.0, 120.0))
def determinism(quick: bool) -> Finding:
    """Point statistics, runs and `flow.solve` in processes of their own with 1 and 2 threads, runs with 1 and 2
    workers; and one sweep of runs, levels and statistics of the start with 1, 2 and 4 workers, its axes reversed, and
    on dask where it is installed. Every number has to have the same bits.
    """
    here = digests()
    rows: list[Row] = []
    in_calls = [("one thread", 1, 1), ("two threads", 2, 1), ("two workers", 1, 2)][1 if quick else 0 :]
    for way, threads, workers in steps(in_calls):
        found = digests(workers) if workers == 2 else _digests_with(threads)
        differing = [name for name, digest in here.items() if found[name] != digest]
        rows.append({"of": "calls", "way": way, "compared": len(here), "differ": len(differing)})
    ways = ["two workers", "axes reversed", *([] if quick else ["four workers"])]
    ways += ["dask"] if find_spec("distributed") is not None else []
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        root = Path(name)
        config = root / "sweep.toml"
        config.write_text(small_sweep(10 if quick else 100, 100 if quick else 2000, MEASURES), encoding="utf-8")
        run(from_toml(config), root / "expected", 1)
        expected = open_sweep(root / "expected").load()
        for way in steps(ways):
            folder = root / way.replace(" ", "-")
            _sweep(way, config, folder)
            differing = _differing(open_sweep(folder).load(), expected)
            rows.append({"of": "sweep", "way": way, "compared": len(expected.data_vars) - 1, "differ": len(differing)})
    failures = [f"{row['of']}, {row['way']}" for row in rows if row["differ"]]
    figure = {"ways": len(rows), "cells": expected["state"].size, "ways_that_differ": len(failures)}
    return Finding(figure, {"ways_that_differ": exactly(0)}, rows, failures)


def digests(n_workers: int = 1) -> dict[str, str]:
    """SHA-256 of the bytes of small calls by their name; workers are those of `simulate`."""
    data = es.data.gaussian(4, 7, seed=3)
    problem = es.DiagonalLinearNetwork(data.inputs, data.targets, form="difference")
    start = np.full(problem.n_params, 0.5)
    solution = es.gradient_flow(problem, start)
    pairs = es.WithoutReplacement(2)
    found: dict[str, object] = {"gradient flow": solution}
    for name, n_batches in (("enumerated", None), ("sampled", 50)):
        for statistic in (es.minibatch_sharpness, es.batch_sharpness):
            value = float(statistic(problem, start, pairs, n_batches=n_batches, seed=1))
            found[f"{statistic.__name__}, {name}"] = value
    found["critical step size"] = es.stability.critical_step_size(problem, solution, pairs)
    runs = es.simulate(
        problem, start, step_size=0.01, sampling=pairs, n_steps=200, n_replicas=4, label_noise=0.1,
        record=("loss", "sharpness", "theta"), n_records=9, seed=2, n_workers=n_workers,
    )  # fmt: skip
    drift = flow.solve(
        problem, solution, step_size=0.01, sampling=pairs, n_steps=200, label_noise=0.05, n_records=3, n_batches=16
    )
    for of, trace in (("simulate", runs), ("flow.solve", drift)):
        found |= {f"{of}, {name}": trace[name].values for name in trace.data_vars}
    return {name: hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest() for name, value in found.items()}


def _digests_with(threads: int) -> dict[str, str]:
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS], env=environment, capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _sweep(way: str, config: Path, folder: Path) -> None:
    if way == "axes reversed":
        text = config.read_text(encoding="utf-8").replace("[1, 2, 3, 6, 12]", "[12, 3, 6, 2, 1]")
        run(from_toml(text), folder, 1)
    elif way == "dask":
        run(from_toml(config), folder, cluster="local:2")
    else:
        run(from_toml(config), folder, {"two workers": 2, "four workers": 4}[way])


def _differing(found: xarray.Dataset, expected: xarray.Dataset) -> list[str]:
    """The variables that do not have the same bits; seconds are measured."""
    aligned = found.sel({name: expected[name].values for name in expected["state"].dims})
    return [
        str(name)
        for name in expected.data_vars
        if name != "seconds"
        and np.ascontiguousarray(aligned[name].values).tobytes()
        != np.ascontiguousarray(expected[name].values).tobytes()
    ]
