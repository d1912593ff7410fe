"""Methods other than SGD, from the sharp solution of the ramps: the runs behind their claims and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from esssim.experiments.experiment import Experiment
from esssim.experiments.ramp import RampExperiment, Setting
from esssim.statistics.table import MEAN_SQUARE, MOMENTUM_BATCH, OWN

BOTH = (OWN, MEAN_SQUARE)
LABEL_NOISE = 1e-3

# RMSProp and Adam, whose step size does not change: they come to their edge by themselves.
STEP_SIZE, AFTER = 1e-3, 10_000
ADAPTIVE: dict[str, dict[str, Any]] = {"rmsprop": {"kind": "rmsprop", "decay": 0.999}, "adam": {"kind": "adam"}}
# Records of Adam are fewer: its critical step size is a root of a spectral radius.
N_RECORDS = {"rmsprop": 60, "adam": 36}

ZEROTH_ORDER_REPLICAS = {8: 12, 100: 6}
# In first edges: from below to beyond it.
FROM, TO = 0.9, 1.3

RADIUS, SHARPNESS_AWARE_REPLICAS = 0.02, 14
BETA, HEAVY_BALL_STEPS, HEAVY_BALL_REPLICAS = 0.9, 60_000, 12


def adaptive(
    method: dict[str, Any], b: int, *, seed: int, statistics: tuple[str, ...] = (OWN,),
    setting: Setting = "gaussian-100x50", label_noise: float = LABEL_NOISE, n_steps: int = 70_000, n_replicas: int = 6,
    n_records: int | None = None,
) -> Experiment:  # fmt: skip
    """RMSProp or Adam. Recorded at random steps: full batches may repeat themselves with any period."""
    drawn = np.random.default_rng(5).choice(
        np.arange(AFTER, n_steps + 1), n_records or N_RECORDS[method["kind"]], replace=False
    )
    dynamics = {"step_size": STEP_SIZE, "n_steps": n_steps, "n_replicas": n_replicas, "seed": seed}
    records = {"statistics": statistics, "steps": np.sort(drawn).tolist(), "after": AFTER}
    return _from_the_ramp(b, dynamics | {"label_noise": label_noise}, records, method, setting)


def zeroth_order(b: int, n_steps: int = 200_000, n_replicas: int | None = None) -> Experiment:
    """Zeroth-order descent on a step size that passes its first edge, where records begin."""
    step_size = {"from": FROM, "to": TO, "unit": "first edge", "cap": "none"}
    dynamics = {"step_size": step_size, "n_steps": n_steps, "n_replicas": n_replicas or ZEROTH_ORDER_REPLICAS[b]}
    after = round(n_steps * (1 - FROM) / (TO - FROM))
    records = {"statistics": BOTH, "after": after, "steps": "after", "n_records": 31}
    return _from_the_ramp(b, dynamics | {"seed": 11}, records, {"kind": "zeroth_order"})


def sharpness_aware(b: int, n_steps: int = 100_000, n_replicas: int = SHARPNESS_AWARE_REPLICAS) -> Experiment:
    """Sharpness-aware steps without the norm."""
    method = {"kind": "sharpness_aware", "radius": RADIUS, "normalised": False}
    return _from_the_ramp(b, _rising(n_steps, n_replicas, seed=12), _late(BOTH), method)


def heavy_ball(b: int, n_steps: int = HEAVY_BALL_STEPS, n_replicas: int = HEAVY_BALL_REPLICAS) -> Experiment:
    """Heavy ball, with what is sampled from 256 batches a record."""
    dynamics = _rising(n_steps, n_replicas, seed=13) | {"momentum": BETA}
    records = _late((OWN, MOMENTUM_BATCH, "batch_sharpness", MEAN_SQUARE)) | {"n_batches": 256}
    return _from_the_ramp(b, dynamics, records)


def _rising(n_steps: int, n_replicas: int, seed: int) -> dict[str, Any]:
    step_size = {"from": 0.8, "to": 2.5, "unit": "first edge"}
    return {"step_size": step_size, "n_steps": n_steps, "n_replicas": n_replicas, "seed": seed}


def _late(statistics: tuple[str, ...]) -> dict[str, Any]:
    """Ten records where levels are averaged."""
    return {"statistics": statistics, "steps": "after", "n_records": 10}


def _from_the_ramp(
    b: int, dynamics: dict[str, Any], records: dict[str, Any], method: dict[str, Any] | None = None,
    setting: Setting = "gaussian-100x50",
) -> Experiment:  # fmt: skip
    sections = RampExperiment(setting, b).experiment.plain()
    sections |= {"dynamics": {"label_noise": LABEL_NOISE} | dynamics, "records": records}
    return Experiment(**sections | ({"method": method} if method else {}))
