"""A command line whose claims take a known time: what the tests of interrupts start as a program.

`python -m tests.slow_claims SECONDS COUNT [esssim's arguments]`; how a claim spends its time is SLOW_BY: "sleep",
"workers" (processes that start and end), or "deaf" (a call in C that hears no signal, with the interpreter's lock free).
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

import joblib

from esssim import claims
from esssim.claims import Measurement, Registry
from esssim.cli import main
from tests.fake_claims import bare


def spend(seconds: float) -> None:
    match os.environ.get("SLOW_BY", "sleep"):
        case "workers":
            joblib.Parallel(n_jobs=2)(joblib.delayed(time.sleep)(seconds) for _ in range(2))
        case "deaf":
            if seconds:
                mutex = ctypes.create_string_buffer(64)
                for _ in range(2):  # the second lock waits for ever
                    ctypes.CDLL(None).pthread_mutex_lock(mutex)
        case _:
            time.sleep(seconds)


def measured(name: str, seconds: float) -> Measurement:
    if log := os.environ.get("SLOW_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{name}\n")
    spend(seconds)
    rows = [{"step": 1, "level": 0.1 + 0.2, "fine": True, "words": "λ"}]
    return Measurement("holds", f"because of {name}", 1 / 3, (0.25, 0.5), 123.5, rows)  # type: ignore[arg-type]


if __name__ == "__main__":
    seconds, count = float(sys.argv[1]), int(sys.argv[2])
    slow = Registry()
    for k in range(count):
        name, this = f"slow/k={k}", 0.0 if k < 2 else seconds
        slow.add(bare(name, "holds", lambda _, n=name, s=this: measured(n, s)))  # type: ignore[misc]
    claims.registry = slow
    del sys.argv[1:3]
    main()
