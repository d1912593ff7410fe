"""How far to believe the flow: what the next order in the noise does to the mean-square sharpness."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow.fast import FastMotion
from esssim.flow.slow import push
from esssim.problems import LowRankCurvature, NonlinearLeastSquares
from esssim.statistics.mean_square import top_of_pencil

N_PAIRS = 4


def next_order_correction(problem: NonlinearLeastSquares, theta: FloatArray, fast: FastMotion) -> float:
    """E[Q_b(θ + δ̄ + δ)]/Q_b(θ) − 1: the relative change of the mean-square sharpness between the flow and SGD about it.

    δ = JᵀK⁺r, r ~ N(0, R), is the fast motion. Its mean is not zero: the push Σᵢ∇²fᵢ[JᵀK⁺R eᵢ] that moves θ along the
    solutions also has a part across them, which the gradient balances at the mean residual r̄ = −K⁺J push, that is
    δ̄ = JᵀK⁺r̄. Both are of order ε², the order that the flow neglects. The expectation over δ is a mean over four fixed
    pairs ±δ. Not a bound: beyond about 0.1 the expansion itself has failed.
    """
    if not fast.source.any():
        return 0.0
    basis, n = fast.perron.eigenvectors, fast.perron.n_samples
    mean_residual = -(basis.T @ (fast.jacobians @ push(problem, theta, fast))) / fast.perron.eigenvalues
    centre = theta + fast.parameter_factors @ mean_residual
    normal = np.random.default_rng(0).standard_normal((N_PAIRS, len(fast.perron.eigenvalues)))
    steps = fast.draw(normal) @ basis @ fast.parameter_factors.T

    def sharpness(point: FloatArray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            jacobians = np.asarray(problem.sample_jacobians(point, np.arange(n)))
        if not np.isfinite(jacobians).all():
            return np.inf
        return top_of_pencil(LowRankCurvature(jacobians), fast.perron.c).value

    around = np.mean([sharpness(centre + sign * step) for step in steps for sign in (1.0, -1.0)])
    return float(around) / sharpness(theta) - 1.0
