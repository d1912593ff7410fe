"""Claims about dropout of inputs: its masks are a second noise with an edge of its own, and where they settle."""

from __future__ import annotations

import itertools

import numpy as np

from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, around, at_most
from esssim.claims.declare import claim
from esssim.claims.levels import decide_records
from esssim.experiments.base import run_once
from esssim.experiments.dropout import N_FEATURES, DropoutRamp
from esssim.experiments.dropout import N_SAMPLES as N_ROWS
from esssim.papers import OURS
from esssim.problems import LinearRegression
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement
from esssim.stability import critical_step_size, dropout_step_size
from esssim.statistics.table import MEAN_SQUARE, OWN

N_SAMPLES, N_INPUTS = 3, 2
SCHEMES = (WithoutReplacement(1), WithoutReplacement(2), WithoutReplacement(3), WithReplacement(2))
RATES = (0.1, 0.5)

# The ramp: targets of this size, and steps by batch size.
SIZES = {"small": 0.002, "full": 1.0}
RAMP_STEPS = {4: 100_000, N_ROWS: 20_000}
TOLERANCE = 0.05
NAMES = {"own": OWN, "mean-square": MEAN_SQUARE}


def second_moment_radius(inputs: FloatArray, sampling: Sampling, rate: float, eta: float) -> float:
    """ρ(E[(I−ηH̃_B)⊗(I−ηH̃_B)]) over every batch and every mask."""
    b, d = sampling.batch_size, inputs.shape[1]
    masks = np.array(list(itertools.product((0.0, 1.0), repeat=b * d))).reshape(-1, b, d)
    chances = np.prod(np.where(masks > 0, 1 - rate, rate), axis=(1, 2))
    total = np.zeros((d * d, d * d))
    for batches, weights in sampling.enumerate(len(inputs)):
        rows = inputs[batches][:, None] * masks / (1 - rate)
        steps = np.eye(d) - eta * np.einsum("mkbi,mkbj->mkij", rows, rows) / b
        total += np.einsum("m,k,mkij,mklo->iljo", weights, chances, steps, steps).reshape(d * d, d * d)
    return float(np.abs(np.linalg.eigvals(total)).max())


@claim(
    id="dropout-edge/regression",
    states="With dropout of inputs linear regression is stable in mean square up to 2/λ_max(C⁻¹D), whose D holds the "
    "noise of the masks beside that of the batches.",
    source=OURS,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="n = 3, d = 2: the exact second moment over all batches and masks at 0.9999, 1 and 1.0001 of the step size",
    tolerance=1e-9,
    formula=r"\eta<\frac{2}{\lambda_{\max}(C^{-1}D)}",
    accepts=at_most(1e-9),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def masks_are_a_second_noise(*, quick: bool) -> Measurement:
    inputs = np.random.default_rng(3).standard_normal((N_SAMPLES, N_INPUTS))
    problem, theta = LinearRegression(inputs, np.zeros(N_SAMPLES)), np.zeros(N_INPUTS)
    rows: list[Row] = []
    for sampling, rate in itertools.product(SCHEMES, RATES):
        eta = dropout_step_size(problem, theta, sampling, rate)
        below, at, above = (second_moment_radius(inputs, sampling, rate, f * eta) for f in (0.9999, 1.0, 1.0001))
        rows.append(
            {
                "scheme": repr(sampling), "rate": rate, "critical_step_size": eta,
                "over_that_of_sgd": eta / critical_step_size(problem, theta, sampling),
                "radius_below": below, "radius": at, "radius_above": above,
            }
        )  # fmt: skip
    worst = max(abs(float(row["radius"]) - 1) for row in rows)
    good = worst < 1e-9 and all(float(row["radius_below"]) < 1 < float(row["radius_above"]) for row in rows)
    smallest = min(float(row["over_that_of_sgd"]) for row in rows)
    reason = f"the radius at the edge is 1 to {worst:.1e}; the edge is down to {smallest:.2f} of that without dropout"
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)


def ramp(targets: str, b: int) -> DropoutRamp:
    return DropoutRamp(SIZES[targets], b, n_steps=RAMP_STEPS[b])


PREDICTED = {
    ("small", "own", 4): Predicted.holds("1: the masks shake every step, and their noise grows without bound at 2/η"),
    ("small", "own", N_ROWS): Predicted.holds("1: the masks are the only noise, and it grows without bound at 2/η"),
    ("small", "mean-square", 4): Predicted.refuted(
        "0.52: its share of the other one, as long as all imbalances fall in proportion"
    ),
    ("small", "mean-square", N_ROWS): Predicted.refuted(
        "0.69: its share of the other one, as long as all fall in proportion"
    ),
    ("full", "own", 4): Predicted.refuted(
        "0.29: targets of size 1 make the noise of the masks 500 times as strong; it takes the network to the flattest "
        "solution at once"
    ),
}
SETTLES = [{"targets": targets, "statistic": statistic, "b": b} for targets, statistic, b in PREDICTED]
STATES = {
    "own": "With dropout of inputs the mean-square sharpness of batches and masks settles at 2/η",
    "mean-square": "With dropout of inputs Q_b, that of SGD without it, settles at 2/η",
}


@claim(
    id="dropout-edge/{targets}-targets/{statistic}/b={b}",
    states=lambda targets, statistic, b: STATES[statistic],
    where=lambda targets, statistic, b: (
        f"diagonal network, n = {N_ROWS}, d = {N_FEATURES}, b = {b}, rate {ramp(targets, b).rate:g}, "
        f"targets of size {SIZES[targets]:g}"
    ),
    source=OURS,
    source_predicts="(η/2)·statistic = 1, if this is its edge",
    we_predict=lambda targets, statistic, b: PREDICTED[targets, statistic, b],
    method=lambda targets, statistic, b: (
        "η from 0.8 to at most 2.5 critical step sizes of the start (90 % of that of the flattest solution) in "
        f"{RAMP_STEPS[b]:,} steps, {ramp(targets, b).n_replicas} replicas; the mean past 1.15, of Gauss–Newton matrices"
    ),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda targets, statistic, b, quick: ramp(targets, b),
    over=SETTLES,
    formula=lambda targets, statistic, b: (
        r"\frac{\eta}{2}\,\lambda_{\max}(C^{-1}D)\ =\ 1" if statistic == "own" else r"\frac{\eta}{2}\,Q_b\ =\ 1"
    ),
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def settles(*, targets: str, statistic: str, b: int, quick: bool) -> Measurement:
    return decide_records(run_once(ramp(targets, b)), NAMES[statistic], TOLERANCE)
