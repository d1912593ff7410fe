"""Both sides of the mean-square sharpness and of the sharpness of a probe set, and how far it is from all samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.gram.enclosure import NetworkEnclosure, standard_error
from esssim.bridge.gram.matrix import Gram, rows_at
from esssim.bridge.gram.products import kernel_of
from esssim.bridge.leading import leading_mean_square_sharpness, products
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import EXACT_ROWS
from esssim.curvature import OperatorCurvature
from esssim.sampling import Sampling
from esssim.spectra import lanczos_largest_eigenvalue, lanczos_top_pairs
from esssim.statistics import sharpness

# Relative widths of the interval: where all directions are taken, and where the leading ones are.
EXACT, CLOSE = 1e-6, 0.01
# Rows n·c whose Gram matrix a monitor holds: half a gigabyte.
MOST_ROWS = 8192
# Directions that a Gram matrix gives in the time of one that is found by products.
FOR_ONE = 8
# Numbers in the Jacobians that are held at once, 128 MB, and in all of them, above which no upper bound is computed.
HELD, MOST = 2**24, 2**31
# Rounding, which is not measured here.
UNMEASURED = {torch.float64: 0.0, torch.float32: math.nan}
# What the largest eigenvalue found by iteration may be short of.
SHORT = 1e-6


@one_blas_thread()
def probed_enclosure(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, rank: int, n_train: int | None = None
) -> NetworkEnclosure:
    """Q_b with Gauss–Newton blocks Hᵢ = AᵢᵀAᵢ of the problem's samples, an interval that contains it, and its standard
    error as that of n_train samples (default: the same).

    From the Gram matrix as `esssim.bridge.mean_square_enclosure` has it, exact with at most 600 rows n·c. In the metric
    of a preconditioner, and beyond 8,192 rows, the value in the `rank` leading directions, which is a lower bound, and
    `upper_bound`; the standard error is then unknown, and NaN.
    """
    n, rows = problem.n_samples, problem.n_samples * problem.n_outputs
    train = n if n_train is None else n_train
    c = sampling.variance_coefficient(n)
    if rows <= EXACT_ROWS or (rows <= MOST_ROWS and problem.functional.scale is None):
        exact = rows <= EXACT_ROWS
        of_samples = rows_at(problem, problem.check_point(theta), torch.device("cpu"))
        kernel = Gram.of(of_samples) if exact else kernel_of(of_samples)
        found = kernel.mean_square_sharpness(
            c,
            EXACT if exact else CLOSE,
            max(rows if exact else FOR_ONE * rank, 1),
            first_rank=rows if exact else None,
        )
        error = standard_error(found.influence, train)
        return NetworkEnclosure(
            *found.enclosure, error, n, found.rank, found.failure_probability, UNMEASURED[kernel.dtype]
        )
    lower = leading_mean_square_sharpness(problem, theta, sampling, rank=rank)
    upper = math.inf
    if rows * problem.n_params <= MOST:
        upper = max(lower, float(upper_bound(problem, theta)(c)))
    error = 0.0 if n == train else math.nan
    return NetworkEnclosure(lower, lower, upper, error, n, rank, 0.0, UNMEASURED[problem.kind])


def upper_bound(problem: TorchProblem, theta: FloatArray) -> Callable[[Any], Any]:
    """c ↦ (1 − c)λ_max(H) + c·maxᵢ λ_max(AᵢAᵢᵀ), at least Q_b of a scheme with that c, as Hᵢ² ≼ λ_max(Hᵢ)Hᵢ."""
    n, size = problem.n_samples, problem.n_samples * problem.n_outputs * problem.n_params
    parts = (problem.gauss_newton_rows(theta, some) for some in np.array_split(np.arange(n), math.ceil(size / HELD)))
    grams = np.concatenate([rows @ np.swapaxes(rows, 1, 2) for rows in parts])
    largest = float(np.linalg.eigvalsh(grams)[:, -1].max())
    forward, backward, unit = products(problem, theta)

    def apply(vector: FloatArray) -> FloatArray:
        return backward(forward(torch.as_tensor(vector[:, None], dtype=problem.kind)))[:, 0].double().numpy() / n

    top = lanczos_largest_eigenvalue(apply, problem.n_params, tolerance=problem.tolerance)[0] * unit**2
    return lambda c: (1 - c) * top * (1 + SHORT) + c * largest


@one_blas_thread()
def sharpness_with_error(problem: TorchProblem, theta: FloatArray, n_train: int) -> tuple[float, float]:
    """λ_max(H) of the problem's samples and its standard error as that of n_train: ∂λ_max/∂wᵢ = vᵀHᵢv, v its vector."""
    n, curvature = problem.n_samples, problem.curvature(theta)
    if not isinstance(curvature, OperatorCurvature):
        value = sharpness(problem, theta)
        if n == n_train:
            return value, 0.0
        top = np.linalg.eigh(curvature.mean())[1][:, -1]
        return value, standard_error(curvature.quadratic_forms(top) - value, n_train)
    found = lanczos_top_pairs(curvature, np.arange(n)[None])
    value, top = float(found.values[0]), found.vectors[0]
    if n == n_train:
        return value, 0.0
    alone = np.arange(n)[:, None]
    forms = curvature.batch_quadratic_forms(alone, np.broadcast_to(top, (n, len(top))))
    return value, standard_error(forms - forms.mean(), n_train)
