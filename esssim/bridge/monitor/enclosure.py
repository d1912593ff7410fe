"""Both sides of the mean-square sharpness of a network whose exact value costs too much."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.leading import leading_mean_square_sharpness, products
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import EXACT_ROWS
from esssim.sampling import Sampling
from esssim.spectra import lanczos_largest_eigenvalue
from esssim.statistics import mean_square_sharpness
from esssim.statistics.mean_square import Enclosure

# Numbers in the Jacobians that are held at once, 128 MB, and in all of them, above which no upper bound is computed.
HELD, MOST = 2**24, 2**31
# What the largest eigenvalue found by iteration may be short of.
SHORT = 1e-6


@one_blas_thread()
def mean_square_enclosure(problem: TorchProblem, theta: FloatArray, sampling: Sampling, rank: int) -> Enclosure:
    """Q_b with Gauss–Newton blocks Hᵢ = AᵢᵀAᵢ, and an interval that contains it.

    With at most 600 rows n·c in all Aᵢ, the exact value with its certificate. Beyond, the value in the `rank` leading
    directions, which is a lower bound, and an upper bound: as Hᵢ² ≼ λ_max(Hᵢ)Hᵢ,

        Q_b ≤ λ_max(H⁺E[H_B²]) ≤ (1 − c)λ_max(H) + c·maxᵢ λ_max(AᵢAᵢᵀ).
    """
    if problem.n_samples * problem.n_outputs <= EXACT_ROWS:
        return mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton", certify=True)
    lower = leading_mean_square_sharpness(problem, theta, sampling, rank=rank)
    c = sampling.variance_coefficient(problem.n_samples)
    if problem.n_samples * problem.n_outputs * problem.n_params > MOST:
        return Enclosure(lower, lower, math.inf)
    return Enclosure(lower, lower, max(lower, float(upper_bound(problem, theta)(c))))


def upper_bound(problem: TorchProblem, theta: FloatArray) -> Callable[[Any], Any]:
    """c ↦ (1 − c)λ_max(H) + c·maxᵢ λ_max(AᵢAᵢᵀ), at least Q_b of a scheme with that c."""
    n, size = problem.n_samples, problem.n_samples * problem.n_outputs * problem.n_params
    parts = (problem.gauss_newton_rows(theta, some) for some in np.array_split(np.arange(n), math.ceil(size / HELD)))
    grams = np.concatenate([rows @ np.swapaxes(rows, 1, 2) for rows in parts])
    largest = float(np.linalg.eigvalsh(grams)[:, -1].max())
    forward, backward, unit = products(problem, theta)

    def apply(vector: FloatArray) -> FloatArray:
        return backward(forward(torch.as_tensor(vector[:, None], dtype=problem.kind)))[:, 0].double().numpy() / n

    top = lanczos_largest_eigenvalue(apply, problem.n_params, tolerance=problem.tolerance)[0] * unit**2
    return lambda c: (1 - c) * top * (1 + SHORT) + c * largest
