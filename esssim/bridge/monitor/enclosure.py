"""Both sides of the mean-square sharpness and of the sharpness of a probe set, and how far it is from all samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.bridge.gram.enclosure import NetworkEnclosure, standard_error
from esssim.bridge.gram.matrix import Found, Gram, rows_at
from esssim.bridge.gram.products import kernel_of
from esssim.bridge.leading import leading_mean_square_sharpness, products
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import EXACT_ROWS, measure
from esssim.curvature import OperatorCurvature
from esssim.sampling import Sampling
from esssim.spectra import lanczos_largest_eigenvalue, lanczos_top_pairs
from esssim.statistics import sharpness
from esssim.statistics.estimate import in_parts

# Relative widths of the interval: where all directions are taken, and where the leading ones are.
EXACT, CLOSE = 1e-6, 0.01
# Rows n·c whose Gram matrix a monitor holds: half a gigabyte.
MOST_ROWS = 8192
# Directions that a Gram matrix gives in the time of one that is found by products.
FOR_ONE = 8
# Numbers in the Jacobians that are held at once, 128 MB, and in all of them, above which no upper bound is computed.
HELD, MOST = 2**24, 2**31
# Of the changes of single samples, what their mean may be where the loss is as it was.
RESOLVED = 1e-3
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
    if by_gram_matrix(problem):
        found = gram_mean_square_sharpness(problem, theta, c, rank)
        error = standard_error(found.influence, train)
        return NetworkEnclosure(
            *found.enclosure, error, n, found.rank, found.failure_probability, UNMEASURED[problem.kind]
        )
    lower = leading_mean_square_sharpness(problem, theta, sampling, rank=rank)
    upper = math.inf
    if rows * problem.n_params <= MOST:
        upper = max(lower, float(upper_bound(problem, theta)(c)))
    error = 0.0 if n == train else math.nan
    return NetworkEnclosure(lower, lower, upper, error, n, rank, 0.0, UNMEASURED[problem.kind])


def by_gram_matrix(problem: TorchProblem) -> bool:
    """Whether Q_b of the problem's samples comes from their Gram matrix."""
    rows = problem.n_samples * problem.n_outputs
    return rows <= EXACT_ROWS or (rows <= MOST_ROWS and problem.functional.scale is None)


def gram_mean_square_sharpness(
    problem: TorchProblem, theta: FloatArray, c: float, rank: int, samples: IntArray | None = None
) -> Found:
    """Q_b of some samples (default: all) for a variance coefficient c, from their Gram matrix, in the way of all."""
    chosen = None if samples is None else torch.as_tensor(samples)
    of_samples = rows_at(problem, problem.check_point(theta), torch.device("cpu"), chosen)
    rows = of_samples.count
    if problem.n_samples * problem.n_outputs <= EXACT_ROWS:
        return Gram.of(of_samples).mean_square_sharpness(c, EXACT, max(rows, 1), first_rank=rows)
    return kernel_of(of_samples).mean_square_sharpness(c, CLOSE, max(FOR_ONE * rank, 1))


def upper_bound(problem: TorchProblem, theta: FloatArray) -> Callable[[Any], Any]:
    """c ↦ (1 − c)λ_max(H) + c·maxᵢ λ_max(AᵢAᵢᵀ), at least Q_b of a scheme with that c, as Hᵢ² ≼ λ_max(Hᵢ)Hᵢ."""
    n = problem.n_samples
    parts = (
        problem.gauss_newton_rows(theta, some)
        for some in in_parts(np.arange(n), problem.n_outputs * problem.n_params, HELD)
    )
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


@one_blas_thread()
def critical_sharpness_with_error(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, seed: np.random.SeedSequence, n_train: int
) -> tuple[float, float]:
    """λ_c = 2/η of the problem's samples and its standard error as that of n_train; NaN for an error where no step
    raises the loss, or rounding decides.

    Where Σ wᵢ(ℓᵢ(θ − ηg) − ℓᵢ(θ)) = 0, g = Σ wᵢgᵢ, and g′ the gradient at θ − ηg:
    ∂η/∂wᵢ = (ℓᵢ(θ − ηg) − ℓᵢ(θ) − ηg′·gᵢ)/(g′·g).
    """
    n, name = problem.n_samples, "critical_sharpness"
    value = measure(problem, theta, sampling, (name,), 2, seed)[name]
    if n == n_train or not value > 0.0:
        return value, 0.0 if n == n_train else math.nan
    gradient, eta = problem.gradient(theta), 2.0 / value
    beyond = theta - eta * gradient
    everyone = np.arange(n)
    rises = problem.sample_losses(beyond, everyone) - problem.sample_losses(theta, everyone)
    slopes = problem.gradient(beyond)
    if abs(rises.mean()) > RESOLVED * np.abs(rises).mean() or not slopes @ gradient < 0.0:
        return value, math.nan
    parts = in_parts(everyone[:, None], problem.n_params, HELD)
    along = np.concatenate([problem.gradient(theta, part) @ slopes for part in parts])
    influence = value / eta * (rises - eta * along) / float(slopes @ gradient)
    return value, standard_error(influence - influence.mean(), n_train)
