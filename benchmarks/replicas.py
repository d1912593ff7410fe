"""256 replicas in one call, against as many single runs, and on two cores against one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import joblib
import numpy as np
import xarray

import esssim as es

from .instances import SMALL
from .table import Goal, Row, compare
from .timing import Side

REPLICAS = 256


def rows(quick: bool) -> Iterator[Row]:
    replicas = 32 if quick else REPLICAS
    for n_steps in (1_000,) if quick else (1_000, 100_000):
        units = replicas * n_steps
        yield compare(
            "replicas",
            f"{replicas} replicas in one call, per step of one",
            f"{SMALL}, {n_steps:,} steps",
            ours=Side(lambda r, k=n_steps: run(k, replicas, seed=r), units),
            rival=Side(lambda r, k=n_steps: [run(k, 1, seed=r + i) for i in range(replicas)], units),
            against=f"{replicas} single runs of ours",
            goal=Goal("ratio", at_least=2.0),
            errors=(largest_difference(n_steps=500), None),
        )
    if (os.cpu_count() or 1) > 1 and not quick:
        yield two_cores(replicas, 200_000)


def run(n_steps: int, n_replicas: int, seed: int, n_workers: int = 1) -> xarray.Dataset:
    return es.simulate(
        SMALL.network,
        SMALL.theta,
        step_size=SMALL.step_size,
        sampling=SMALL.sampling,
        n_steps=n_steps,
        n_replicas=n_replicas,
        n_workers=n_workers,
        record=("theta",),
        n_records=1,
        seed=seed,
    )


def largest_difference(n_steps: int) -> float:
    """Of replica 0 alone and among the others: zero, bit for bit."""
    together, alone = run(n_steps, 16, seed=3).theta.values[0], run(n_steps, 1, seed=3).theta.values[0]
    return float(np.abs(together - alone).max())


def two_cores(n_replicas: int, n_steps: int) -> Row:
    """The same call with two processes, which are kept between calls."""
    units = n_replicas * n_steps
    return compare(
        "replicas",
        f"{n_replicas} replicas on two cores, per step of one",
        f"{SMALL}, {n_steps:,} steps",
        ours=Side(lambda r: run(n_steps, n_replicas, r, n_workers=2), units),
        rival=Side(lambda r: run(n_steps, n_replicas, r), units),
        against="the same call on one core",
        limit=Side(lambda r: side_by_side(n_steps, n_replicas, r), units),
        limit_name="two processes that run half of the replicas each",
        goal=Goal("ratio", at_least=1.9),
        note="two worker processes need two free cores: a busy machine shows as a smaller ratio",
    )


def side_by_side(n_steps: int, n_replicas: int, seed: int) -> None:
    halves = (joblib.delayed(run)(n_steps, n_replicas // 2, seed + half) for half in range(2))
    joblib.Parallel(n_jobs=2)(halves)
