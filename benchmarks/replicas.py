"""256 replicas in one call, against as many single runs, and on two cores against one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
import xarray

import esssim as es

from .instances import SMALL
from .table import Goal, Row, compare, judged
from .timing import REPETITIONS, Side, Spread, one_thread, ratio

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
    """The same call with two processes, which are kept between calls; BLAS stays on one thread each."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with one_thread():
        for repetition in range(REPETITIONS + 1):
            for workers in seconds:
                started = time.perf_counter()
                run(n_steps, n_replicas, repetition, workers)
                if repetition:
                    seconds[workers].append((time.perf_counter() - started) / (n_replicas * n_steps))
    return judged(
        Row(
            "replicas",
            f"{n_replicas} replicas on two cores, per step of one",
            f"{SMALL}, {n_steps:,} steps",
            "the same call on one core",
            Goal("ratio", at_least=1.9),
            seconds=Spread.of(seconds[2]),
            rival_seconds=Spread.of(seconds[1]),
            ratio=ratio(seconds[1], seconds[2]),
            note="two worker processes need two free cores: a busy machine shows as a smaller ratio",
        )
    )
