"""Claims about RMSProp and Adam on mini-batches: where their preconditioner lets them settle."""

from __future__ import annotations

import numpy as np
import xarray

from esssim.adaptive import Adam, PreconditionedMethod, RMSProp
from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level
from esssim.experiments import RampExperiment
from esssim.papers import OURS
from esssim.settling import level
from esssim.simulation import simulate
from esssim.statistics.table import MEAN_SQUARE

STEP_SIZE, N_STEPS, AFTER, N_REPLICAS = 1e-3, 70_000, 10_000, 6
METHODS = {"rmsprop": RMSProp(decay=0.999), "adam": Adam()}
# Records of Adam are fewer: its critical step size is a root of a spectral radius.
N_RECORDS = {"rmsprop": 60, "adam": 36}
TITLES = {"rmsprop": "RMSProp", "adam": "Adam"}
EVERY = 6
TOLERANCE = 0.05


def run_adaptive(
    run: RampExperiment,
    method: PreconditionedMethod,
    label_noise: float,
    n_records: int,
    seed: int,
    *,
    seldom: str | None = "preconditioned_sharpness",
    n_steps: int = N_STEPS,
    n_replicas: int = N_REPLICAS,
) -> xarray.Dataset:
    """From the start of a ramp at constant η: own_sharpness past AFTER, and every sixth time what is `seldom` recorded.

    At random steps: full batches may repeat themselves with any period.
    """
    drawn = np.random.default_rng(5).choice(np.arange(AFTER, n_steps + 1), n_records, replace=False)
    steps: list[int] = np.sort(drawn).tolist()
    due = {"own_sharpness": steps} | ({seldom: steps[::EVERY]} if seldom else {})
    return simulate(
        run.problem, run.theta0, step_size=STEP_SIZE, sampling=run.sampling, adaptive=method, label_noise=label_noise,
        n_steps=n_steps, n_replicas=n_replicas, record=tuple(due), record_steps=due, seed=seed,
    )  # fmt: skip


@claim(
    id="adaptive-edge/{method}/b={b}",
    states=lambda method, b: (
        f"{TITLES[method]} settles where its step size is the mean-square critical one of its own preconditioner, held "
        "fixed"
    ),
    where="diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=OURS,
    source_predicts="η/η_c = 1, where label noise is weak",
    we_predict=Predicted.holds("1 ± 0.05; stated before these runs and after those of docs/adaptive.md at other b"),
    method="70,000 steps at η = 0.001, 6 replicas; the mean of η/η_c past step 10,000, η_c of Gauss–Newton matrices",
    tolerance=TOLERANCE,
    quick=False,
    over=[{"method": "rmsprop", "b": 2}, {"method": "rmsprop", "b": 16}, {"method": "adam", "b": 2}],
    formula=r"\frac{\eta}{\eta_c}\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def adaptive_edge(*, method: str, b: int, quick: bool) -> Measurement:
    run = RampExperiment("gaussian-100x50", b)
    trace = run_adaptive(run, METHODS[method], 1e-3, N_RECORDS[method], seed=8, seldom=None)
    found = level(trace, "own_sharpness", after=AFTER, tolerance=TOLERANCE)
    means = np.nanmean(trace["own_sharpness"].values, axis=0) * STEP_SIZE / 2
    seen = np.flatnonzero(np.isfinite(means))
    return decide_level(found, [{"step": int(trace["step"][k]), "level": float(means[k])} for k in seen])
