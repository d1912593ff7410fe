"""Statistics of random weights: the Hessians are Σᵢwᵢ∇²ℓᵢ, the gradients Σᵢwᵢ∇ℓᵢ, and no batch is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from esssim._errors import Undefined
from esssim._validate import FloatArray
from esssim.curvature import Curvature
from esssim.problems import Problem
from esssim.random_weights import RandomWeights
from esssim.spectra import lanczos_largest_eigenvalue, largest_eigenvalue
from esssim.spectra.mean import DENSE_LIMIT
from esssim.statistics.estimate import check_seed, sampled, sampled_ratio
from esssim.statistics.uncertainty import Estimate

Seed = int | np.random.SeedSequence | None


def weighted_sharpness(
    problem: Problem, theta: FloatArray, weights: RandomWeights, n_draws: int | None, seed: Seed
) -> Estimate:
    """E_w λ_max(H_w)."""
    curvature = problem.curvature(theta)
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    return _mean(lambda w: _largest(scaled, w), weights, problem.n_samples, n_draws, seed) * scale


def weighted_batch_sharpness(
    problem: Problem,
    theta: FloatArray,
    curvature: Curvature,
    weights: RandomWeights,
    n_draws: int | None,
    seed: Seed,
    *,
    average: str,
) -> Estimate:
    """E_w[g_wᵀH_wg_w/‖g_w‖²], or E_w[g_wᵀH_wg_w]/E_w‖g_w‖², Hᵢ those of the curvature.

    Raises Undefined where a gradient vanishes and the ratio is 0/0.
    """
    gradients = np.asarray(curvature.to_basis(problem.sample_gradients(theta, np.arange(problem.n_samples))))
    unit = float(np.abs(gradients).max())
    if unit == 0.0:
        raise Undefined("batch_sharpness is 0/0 at theta: the gradient of every sample is zero")
    scale = curvature.scale()
    scaled = curvature.scaled(scale)

    def forms(w: FloatArray) -> FloatArray:
        """g_wᵀH_wg_w and ‖g_w‖², (2,), in units of the largest gradient entry and of the scale."""
        gradient = w @ (gradients / unit)
        return np.array([w @ scaled.quadratic_forms(gradient), gradient @ gradient])

    def ratio(w: FloatArray) -> float:
        form, squared_norm = forms(w)
        if squared_norm == 0.0:
            raise Undefined("batch_sharpness is 0/0 at theta: a weighted gradient is zero")
        return float(form / squared_norm)

    if average == "ratio_of_means":
        return _ratio(forms, weights, problem.n_samples, n_draws, seed) * scale
    return _mean(ratio, weights, problem.n_samples, n_draws, seed) * scale


def _mean(
    function: Callable[[FloatArray], float], weights: RandomWeights, n: int, n_draws: int | None, seed: Seed
) -> Estimate:
    rows, chances = _rows(weights, n, n_draws, seed)
    values = np.array([function(row) for row in rows])
    if chances is not None:
        return Estimate(math.fsum(chances * values), 0.0, len(values), True)
    return sampled(values, seed)


def _ratio(
    function: Callable[[FloatArray], FloatArray], weights: RandomWeights, n: int, n_draws: int | None, seed: Seed
) -> Estimate:
    rows, chances = _rows(weights, n, n_draws, seed)
    values = np.array([function(row) for row in rows])
    if chances is not None:
        over, under = (math.fsum(chances * column) for column in values.T)
        return Estimate(over / under, 0.0, len(values), True)
    return sampled_ratio(values, seed)


def _rows(weights: RandomWeights, n: int, n_draws: int | None, seed: Seed) -> tuple[FloatArray, FloatArray | None]:
    """The weights to take and, where they are all there are, their probabilities."""
    weights.check(n)
    check_seed(seed)
    if n_draws is None:
        every = weights.every(n)
        if every is None:
            raise ValueError(f"n_batches must be given: {weights!r} has too many weights to enumerate")
        rows, chances = every
        return rows[chances > 0], chances[chances > 0]
    return weights.draw_weights(n, n_draws, np.random.default_rng(seed)), None


def _largest(curvature: Curvature, weights: FloatArray) -> float:
    """λ_max(Σᵢwᵢ∇²ℓᵢ)."""
    if curvature.is_formed and curvature.n_params <= DENSE_LIMIT:
        return float(largest_eigenvalue(curvature.weighted(weights)))
    return lanczos_largest_eigenvalue(lambda v: weights @ curvature.images(v), curvature.n_params)[0]
