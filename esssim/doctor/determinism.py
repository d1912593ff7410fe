"""(j) The same numbers on any number of workers and threads, in any order, on joblib and on dask."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import xarray

from esssim._rows import Row
from esssim.doctor.check import Finding, check, exactly, steps
from esssim.doctor.sweeps import small_sweep
from esssim.experiments import open as open_sweep
from esssim.experiments.sweeps import from_toml, run

MEASURES = ("levels", "records", "start", "flow")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@check(key="j", title="The same numbers everywhere", seconds=(40.0, 120.0))
def determinism(quick: bool) -> Finding:
    """One sweep of runs, levels, statistics of the start and flows: with 1, 2 and 4 workers, with 1 and 2 threads of
    linear algebra in a process of its own, with the axes reversed, and on dask where it is installed. Every number of
    every cell has to have the same bits.
    """
    ways = ["two threads", "two workers", "axes reversed"]
    ways += [] if quick else ["one thread", "four workers"]
    ways += ["dask"] if find_spec("distributed") is not None else []
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="esssim-doctor-") as name:
        root = Path(name)
        config = root / "sweep.toml"
        config.write_text(small_sweep(10 if quick else 50, 300, MEASURES), encoding="utf-8")
        run(from_toml(config), root / "expected", 1)
        expected = open_sweep(root / "expected").load()
        for way in steps(ways):
            folder = root / way.replace(" ", "-")
            _run(way, config, folder)
            rows.append({"way": way, "variables_that_differ": len(_differing(open_sweep(folder).load(), expected))})
    failures = [str(row["way"]) for row in rows if row["variables_that_differ"]]
    figure = {"ways": len(rows), "cells": expected["state"].size, "ways_that_differ": len(failures)}
    return Finding(figure, {"ways_that_differ": exactly(0)}, rows, failures)


def _run(way: str, config: Path, folder: Path) -> None:
    if way == "axes reversed":
        text = config.read_text(encoding="utf-8")
        text = text.replace("[1, 2, 3, 6, 12]", "[12, 3, 6, 2, 1]")
        other = config.with_name("reversed.toml")
        other.write_text(text, encoding="utf-8")
        run(from_toml(other), folder, 1)
    elif way == "dask":
        run(from_toml(config), folder, cluster="local:2")
    elif way.endswith("workers"):
        run(from_toml(config), folder, {"two": 2, "four": 4}[way.split()[0]])
    else:
        count = {"one": "1", "two": "2"}[way.split()[0]]
        command = [
            sys.executable,
            "-m",
            "esssim",
            "sweep",
            str(config),
            "--out",
            str(folder),
            "--workers",
            "1",
            "--json",
        ]
        subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, count)}, capture_output=True, check=True)


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
