"""Small experiments and measures for the tests of sweeps; functions of a module, so that other processes find them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from esssim.experiments import Experiment

SHORT = """\
[problem]
kind = "diagonal_linear_network"

[data]
kind = "gaussian"
n_samples = 12
n_features = 5
seed = 3
targets = "interpolating"

[sampling]
batch_size = 3

[dynamics]
step_size = { from = 0.8, to = 1.6, unit = "first edge" }
n_steps = 60
label_noise = 1e-3
seed = 7

[records]
statistics = ["loss", "sharpness", "minibatch_sharpness"]
n_records = 13
n_batches = 8
"""
SHORT_RUN = Experiment.from_toml(SHORT)
# A configuration whose cells cost nothing: measured by functions, nothing is built.
CHEAP = Experiment(
    problem={"kind": "linear_regression"},
    data={"kind": "gaussian", "n_samples": 8, "n_features": 2},
    sampling={"batch_size": 1},
    dynamics={"step_size": 0.1, "n_steps": 10},
)


def product(experiment: Experiment) -> dict[str, Any]:
    """Numbers that say which cell they belong to."""
    b, seed = experiment.sampling.batch_size, experiment.dynamics.seed
    return {"product": 1000.0 * b + seed, "row": [seed + 0.1, seed + 0.2, b / 3]}


def fails_at_two(experiment: Experiment) -> dict[str, Any]:
    if experiment.sampling.batch_size == 2 and not os.environ.get("ESSSIM_TEST_MENDED"):
        raise ValueError("batch size two is unlucky")
    return product(experiment)


def dies_at_two(experiment: Experiment) -> dict[str, Any]:
    """A crash in compiled code."""
    if experiment.sampling.batch_size == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return product(experiment)


def slow(experiment: Experiment) -> dict[str, Any]:
    """Twenty milliseconds; leaves a line where ESSSIM_TEST_LOG names a file."""
    time.sleep(0.02)
    log = os.environ.get("ESSSIM_TEST_LOG")
    if log:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} {experiment.fingerprint}\n")
    return product(experiment)
