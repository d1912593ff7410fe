"""Claims about sharpness-aware minimisation on mini-batches: which edge holds it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import xarray

from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level
from esssim.experiments import FOLLOWED, RampExperiment
from esssim.experiments.experiment import BELOW_THE_LAST_EDGE, flattest
from esssim.papers import OURS
from esssim.problems import DiagonalLinearNetwork
from esssim.settling import level
from esssim.sharpness_aware import SharpnessAware
from esssim.simulation import Ramp, simulate
from esssim.stability import sharpness_aware_step_size
from esssim.statistics.table import MEAN_SQUARE

RADIUS, N_STEPS, N_REPLICAS, N_RECORDS = 0.02, 100_000, 14, 10
FROM, TO = 0.8, 2.5
TOLERANCE = 0.05
NAMES = {"own": "own_sharpness", "mean-square": MEAN_SQUARE}
TITLES = {"own": "The mean-square sharpness of sharpness-aware steps", "mean-square": "Q_b, that of SGD,"}
OWN = Predicted.holds("1: the noise of its steps flattens as that of SGD does, and grows without bound at its own edge")
EXPECTED = {
    ("own", 4): OWN,
    ("own", 16): OWN,
    ("mean-square", 4): Predicted.refuted(
        "0.47: it is 0.39 of the other one at the start, 0.57 at the flattest solution"
    ),
    ("mean-square", 16): Predicted.refuted(
        "0.70: it is 0.64 of the other one at the start, 0.77 at the flattest solution"
    ),
}


def rising(
    network: DiagonalLinearNetwork, theta0: FloatArray, critical: Callable[[FloatArray], float], n_steps: int
) -> tuple[Ramp, FloatArray]:
    """The step size in critical ones of the start, and N_RECORDS steps from FOLLOWED on."""
    first, last = critical(theta0), critical(flattest(network, theta0))
    to = min(TO, BELOW_THE_LAST_EDGE * last / first)
    after = n_steps * (FOLLOWED - FROM) / (to - FROM)
    return Ramp(FROM * first, to * first), np.linspace(after, n_steps, N_RECORDS).round().astype(int)


@cache
def run_sharpness_aware(b: int, n_steps: int = N_STEPS, n_replicas: int = N_REPLICAS) -> xarray.Dataset:
    """The ramp in critical step sizes of its own start."""
    run = RampExperiment("gaussian-100x50", b)

    def critical(theta: FloatArray) -> float:
        return sharpness_aware_step_size(run.problem, theta, run.sampling, RADIUS, hessian="gauss_newton")

    step_size, steps = rising(run.problem, run.theta0, critical, n_steps)
    return simulate(
        run.problem, run.theta0, step_size=step_size, n_steps=n_steps, n_replicas=n_replicas,
        sampling=SharpnessAware(run.sampling, RADIUS, normalised=False), label_noise=1e-3,
        record=tuple(NAMES.values()), record_steps=steps.tolist(), seed=12,
    )  # fmt: skip


@claim(
    id="sharpness-aware-edge/{statistic}/b={b}",
    states=lambda statistic, b: f"{TITLES[statistic]} settles at 2/η",
    where="sharpness-aware steps without the norm, ρ = 0.02, diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=OURS,
    source_predicts="(η/2)·statistic = 1, if this is its edge",
    we_predict=lambda statistic, b: EXPECTED[statistic, b],
    method=lambda statistic, b: (
        "η from 0.8 to at most 2.5 critical step sizes of the start (90 % of that of the flattest solution) in "
        f"100,000 steps, {N_REPLICAS} replicas; the mean past 1.15, of Gauss–Newton matrices"
    ),
    tolerance=TOLERANCE,
    quick=False,
    over=[{"statistic": statistic, "b": b} for statistic in NAMES for b in (4, 16)],
    formula=lambda statistic, b: (
        r"\frac{\eta}{2}\,\lambda_{\max}\left(C^{-1}\,\mathbb{E}[K_B\otimes K_B]\right)\ =\ 1"
        if statistic == "own"
        else r"\frac{\eta}{2}\,Q_b\ =\ 1"
    ),
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def settles(*, statistic: str, b: int, quick: bool) -> Measurement:
    return decided(run_sharpness_aware(b), NAMES[statistic], TOLERANCE)


def decided(trace: xarray.Dataset, name: str, tolerance: float, target: float = 1.0) -> Measurement:
    """Whether (η/2)·statistic is at the target in all records."""
    found = level(trace, name, tolerance=tolerance, target=target)
    means = np.nanmean(trace[name].values, axis=0) * trace["step_size"].values / 2
    return decide_level(found, [{"step": int(s), "level": float(m)} for s, m in zip(trace["step"], means, strict=True)])
