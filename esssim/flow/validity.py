"""How far to believe the flow: what the spread of SGD about its mean does to the mean-square sharpness."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.integrate import integrate
from esssim.flow.law import Law
from esssim.flow.mean import MeanLaw
from esssim.flow.point import Point

N_PAIRS = 4


def next_order_correction(
    law: Law, points: Sequence[Point], steps: IntArray, most_evaluations: float = math.inf
) -> FloatArray:
    """E[Q_b]/Q_b − 1 at each record, E over the spread about the mean flow; NaN where that has ended: (m,).

    points: those of the flow at `steps`, not finite from its end on. most_evaluations: as for `integrate`.
    """
    corrections = np.array([0.0 if np.isfinite(point.theta).all() else np.nan for point in points])
    if not law.fast(0.0, points[0]).source.any():
        return corrections
    mean_law, means = law, list(points)
    if not isinstance(law, MeanLaw):
        mean_law = MeanLaw(
            law.problem, law.sampling, law.ramp, law.n_steps, law.momentum, law.label_source, law.frozen_residuals,
            law.rank,
        )  # fmt: skip
        means = [law.at(theta) for theta in integrate(mean_law, points[0].theta, steps, most_evaluations).thetas]
    for k in np.flatnonzero(corrections == 0.0).tolist():
        if not np.isfinite(means[k].theta).all():
            corrections[k] = np.nan
            continue
        fast = mean_law.fast(float(steps[k]), means[k])
        spread = spread_correction(means[k], fast)
        moved, here = (point.sharpness(fast.perron.c, law.rank) for point in (means[k], points[k]))
        ratio = moved / here
        corrections[k] = ratio * (1.0 + spread) - 1.0
    return corrections


def spread_correction(point: Point, fast: FastMotion) -> float:
    """E[Q_b(θ + δ)]/Q_b(θ) − 1 with δ = JᵀK⁺r, r ~ N(0, R), the fast motion: a mean over four fixed pairs ±δ.

    Of order ε², as is the displacement of the mean that `esssim.flow.mean` follows.
    """
    if not fast.source.any():
        return 0.0
    c, rank = fast.perron.c, fast.rank
    normal = np.random.default_rng(0).standard_normal((N_PAIRS, len(fast.perron.eigenvectors)))
    steps = fast.coordinates(normal) @ fast.parameter_factors.T
    if fast.by_products:
        steps = steps + _spread_of_tail(fast)
    displaced = [Point(point.problem, point.theta + sign * step) for step in steps for sign in (1.0, -1.0)]
    return float(np.mean([near.sharpness(c, rank) for near in displaced])) / point.sharpness(c, rank) - 1.0


def _spread_of_tail(fast: FastMotion, seed: int = 1) -> FloatArray:
    """Steps (m, p) along the modes that are not followed: the variance ½nη′ρ̃ⱼⱼ in each, ρ̃ⱼⱼ taken as the mean of
    ρ.
    """
    assert fast.noise is not None
    n, c = fast.perron.n_samples, fast.n_outputs
    power = float(fast.noise @ rows.identities(n, c)) / (n * c)
    normal = np.random.default_rng(seed).standard_normal((N_PAIRS, fast.jacobians.shape[1]))
    right = fast.mode_jacobians / np.sqrt(fast.perron.eigenvalues)[:, None]
    in_range = np.array([vector - rows.along_solutions(fast.jacobians, vector) for vector in normal])
    return np.asarray(np.sqrt(n * fast.slow_step * power / 2) * (in_range - in_range @ right.T @ right))
