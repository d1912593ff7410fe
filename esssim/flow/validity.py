"""How far to believe the flow: what the spread of SGD about its mean does to the mean-square sharpness."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.rows import LeastSquaresProblem
from esssim.problems.boundary import divergence_is_expected
from esssim.statistics.mean_square import top_of_pencil
from esssim.statistics.perron import PerronMatrix

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
    rank = fast.rank
    if fast.by_products:
        steps = steps + _spread_of_tail(fast)

    def value(point: FloatArray) -> float:
        return sharpness(problem, point, fast.perron.c, rank)

    around = np.mean([value(theta + sign * step) for step in steps for sign in (1.0, -1.0)])
    return float(around) / value(theta) - 1.0


def _spread_of_tail(fast: FastMotion, seed: int = 1) -> FloatArray:
    """Steps (m, p) along the modes that are not followed: the variance ½nη′ρ̃ⱼⱼ in each, ρ̃ⱼⱼ taken as the mean of ρ."""
    assert fast.noise is not None
    n, c = fast.perron.n_samples, fast.n_outputs
    power = float(fast.noise @ rows.units(n, c)) / (n * c)
    normal = np.random.default_rng(seed).standard_normal((N_PAIRS, fast.jacobians.shape[1]))
    right = fast.reached / np.sqrt(fast.perron.eigenvalues)[:, None]
    reached = np.array([vector - rows.along_solutions(fast.jacobians, vector) for vector in normal])
    return np.asarray(np.sqrt(n * fast.slow_step * power / 2) * (reached - reached @ right.T @ right))


def sharpness(problem: LeastSquaresProblem, theta: FloatArray, c: float, rank: int | None = None) -> float:
    """Q_b of the Gauss–Newton Hessians at theta (p,), or of leading modes of K and a tail; infinite where they overflow."""
    with np.errstate(over="ignore", invalid="ignore"), divergence_is_expected():
        jacobians = rows.jacobians(problem, theta)
    if not np.isfinite(jacobians).all():
        return np.inf
    n_outputs = rows.n_outputs(problem)
    if rank is None:
        return top_of_pencil(rows.curvature(jacobians, n_outputs), c).value
    return leading_sharpness(rows.perron(jacobians, n_outputs, c, rank).with_tail(jacobians))


def leading_sharpness(perron: PerronMatrix) -> float:
    """Q_b of leading modes of K and a tail."""
    return perron.edge()[0] if perron.c > 0.0 else float(perron.eigenvalues[-1]) / perron.n_samples
