"""`verify` in full, once, on the cores that there are; the seconds of each family of claims."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator

from esssim import claims

from .table import Goal, Row, judged
from .timing import Spread


def _cpu_seconds() -> float:
    """Of this process and of those that it started and ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def rows(quick: bool) -> Iterator[Row]:
    core = [claim.id for claim in claims.registry.values() if claim.extra is None]
    started, cpu = time.perf_counter(), _cpu_seconds()
    verdicts = claims.verify(core, quick=quick)
    elapsed = time.perf_counter() - started
    families: Counter[str] = Counter()
    for verdict in verdicts:
        families[verdict.claim.id.split("/")[0]] += verdict.seconds
    profile = "; ".join(f"{name} {seconds:.0f} s" for name, seconds in families.most_common(8))
    yield judged(
        Row(
            "verify",
            "verify --quick" if quick else "verify in full",
            f"{len(verdicts)} claims",
            "–",
            None if quick else Goal("seconds", at_most=360.0),
            seconds=Spread(elapsed, elapsed, elapsed, 1),
            note=f"timed once, {_cpu_seconds() - cpu:.0f} s of the processors. Where the time goes "
            "(waits for runs that are computed beside each other; one shared by several claims counts for the first): "
            f"{profile}",
        )
    )
