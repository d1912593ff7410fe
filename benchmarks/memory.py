"""Peak memory of MiniBS on many sampled batches: what numpy and Python hold at most at one time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator

import numpy as np

import esssim as es

from .instances import SMALL
from .table import Goal, Row, judged
from .timing import Spread, one_thread

MOST = 10_000_000


def rows(quick: bool) -> Iterator[Row]:
    sample(10_000, None)  # whatever is set up once is no part of a call
    for count, chunk_size in ((100_000, None),) if quick else ((1_000_000, None), (MOST, None), (MOST, 100_000)):
        with one_thread():
            tracemalloc.start()
            started = time.perf_counter()
            sample(count, chunk_size)
            elapsed = time.perf_counter() - started
            megabytes = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
        chunks = f", chunk_size = {chunk_size:,}" if chunk_size else ""
        yield judged(
            Row(
                "memory",
                f"peak memory of a sampled MiniBS: {megabytes:.0f} MB",
                f"{SMALL}, {count:,} batches{chunks}",
                "–",
                Goal("seconds", at_most=60.0) if count == MOST else None,
                seconds=Spread(elapsed, elapsed, elapsed, 1),
            )
        )


def sample(count: int, chunk_size: int | None) -> None:
    es.minibatch_sharpness(
        SMALL.regression, np.zeros(SMALL.d), SMALL.sampling, n_batches=count, seed=0, chunk_size=chunk_size
    )
