"""Peak memory of MiniBS on many sampled batches, in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from .table import Goal, Row, judged
from .timing import Spread

MOST = 10_000_000
CODE = """
import resource, numpy as np, esssim as es
from benchmarks.instances import SMALL
def run(count):
    es.minibatch_sharpness(SMALL.regression, np.zeros(SMALL.d), SMALL.sampling, n_batches=count, seed=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = run(10_000)
print(run({count}) - before)
"""


def rows(quick: bool) -> Iterator[Row]:
    for count in (10_000, 100_000) if quick else (10_000, 1_000_000, MOST):
        started = time.perf_counter()
        megabytes = peak(count)
        elapsed = time.perf_counter() - started
        yield judged(
            Row(
                "memory",
                f"peak memory of a sampled MiniBS: {megabytes:.0f} MB more than at 10,000 batches",
                f"(100, 20, 4), {count:,} batches",
                "–",
                Goal("seconds", at_most=60.0) if count == MOST else None,
                seconds=Spread(elapsed, elapsed, elapsed, 1),
            )
        )


def peak(count: int) -> float:
    """Megabytes of resident memory at its peak, beyond those of the same call with 10,000 batches."""
    code = CODE.replace("{count}", str(count))
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    # Kilobytes on Linux, bytes on macOS.
    return int(output) / (1e6 if sys.platform == "darwin" else 1e3)
