"""How far to believe the flow: what the spread of SGD about its mean does to the mean-square sharpness."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.rows import LeastSquaresProblem
from esssim.statistics.mean_square import top_of_pencil

N_PAIRS = 4


def spread_correction(problem: LeastSquaresProblem, theta: FloatArray, fast: FastMotion) -> float:
    """E[Q_b(θ + δ)]/Q_b(θ) − 1 with δ = JᵀK⁺r, r ~ N(0, R), the fast motion: a mean over four fixed pairs ±δ.

    Of order ε², as is the displacement of the mean that `esssim.flow.mean` follows.
    """
    if not fast.source.any():
        return 0.0
    basis = fast.perron.eigenvectors
    normal = np.random.default_rng(0).standard_normal((N_PAIRS, len(fast.perron.eigenvalues)))
    steps = fast.draw(normal) @ basis @ fast.parameter_factors.T
    around = np.mean([sharpness(problem, theta + sign * step, fast.perron.c) for step in steps for sign in (1.0, -1.0)])
    return float(around) / sharpness(problem, theta, fast.perron.c) - 1.0


def sharpness(problem: LeastSquaresProblem, theta: FloatArray, c: float) -> float:
    """Q_b of the Gauss–Newton Hessians at theta (p,); infinite where these overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        jacobians = rows.jacobians(problem, theta)
    return (
        top_of_pencil(rows.curvature(jacobians, rows.n_outputs(problem)), c).value
        if np.isfinite(jacobians).all()
        else np.inf
    )
