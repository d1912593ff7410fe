"""How far to believe the flow: the size of what it neglects."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow.fast import FastMotion
from esssim.problems import NonlinearLeastSquares

N_DRAWS = 16


def error_estimate(problem: NonlinearLeastSquares, theta: FloatArray, fast: FastMotion) -> float:
    """The share of the fast motion that bends the model it moves on: Σⱼ ωⱼ min(1, χⱼ)/Σⱼ ωⱼ, between 0 and 1.

    The flow takes J as constant over the fast motion δ = JᵀK⁺r, r ~ N(0, R). Along each eigenvector uⱼ of K, ωⱼ = R̃ⱼⱼ/λⱼ
    is the variance of δ and χⱼ = E‖uⱼᵀΔJ‖²/λⱼ, ΔJᵢ = ∇²fᵢ(θ)δ, the mean square relative change of J there: the relative
    size of the next order, which the flow neglects. The expectation is over 16 fixed draws. An indicator, not a bound.
    """
    perron = fast.perron
    normal = np.random.default_rng(0).standard_normal((N_DRAWS, len(perron.eigenvalues)))
    directions = fast.draw(normal) @ perron.eigenvectors @ fast.parameter_factors.T
    everyone = np.arange(problem.n_samples)
    change = np.zeros(len(perron.eigenvalues))
    for direction in directions:
        vectors = np.broadcast_to(direction, (problem.n_samples, problem.n_params))
        bent = perron.eigenvectors.T @ problem.model_hessian_products(theta, everyone, vectors)
        change += (bent**2).sum(axis=1) / N_DRAWS
    variance = np.diag(fast.rotated) / perron.eigenvalues
    total = float(variance.sum())
    if total == 0.0:
        return 0.0
    return float((variance * np.minimum(1.0, change / perron.eigenvalues)).sum()) / total
