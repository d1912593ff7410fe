"""A claim about dropout of inputs: its masks are a second noise with an edge of its own."""

from __future__ import annotations

import itertools

import numpy as np

from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, at_most
from esssim.claims.declare import claim
from esssim.papers import OURS
from esssim.problems import LinearRegression
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement
from esssim.stability import critical_step_size, dropout_step_size
from esssim.statistics.table import MEAN_SQUARE

N_SAMPLES, N_INPUTS = 3, 2
SCHEMES = (WithoutReplacement(1), WithoutReplacement(2), WithoutReplacement(3), WithReplacement(2))
RATES = (0.1, 0.5)


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
