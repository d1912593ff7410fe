"""Statistics that average over mini-batches: MiniBS and batch sharpness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._kernels.gradient_forms import gradient_forms
from esssim._kernels.layout import in_cache_lines
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, check_problem
from esssim.sampling import Sampling
from esssim.spectra import largest_eigenvalues, prepare
from esssim.statistics.estimate import Estimate, expectation, number_of_batches

# Numbers in the gradients that are held at a time: 256 MB.
GRADIENT_NUMBERS = 2**25
SEPARABLE = (LinearRegression, DiagonalLinearNetwork)
Forms = Callable[[IntArray], tuple[FloatArray, FloatArray]]
Seed = int | np.random.SeedSequence | None


@one_blas_thread()
def minibatch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    n_batches: int | None = None,
    seed: Seed = None,
    chunk_size: int | None = None,
) -> Estimate:
    """Mini-batch sharpness (MiniBS) M_b = E_B λ_max(H_B).

    theta: (p,). n_batches=None enumerates every batch (exact) where that is affordable, otherwise batches are drawn
    from `seed`. chunk_size bounds the memory: so many batches at a time (4096 by default), beside 8 bytes for each value.
    It changes no number (beyond rounding, for networks). Raises ValueError for bad arguments and for too many batches to enumerate, with their number.
    Source: Andreyev & Beneventano, arXiv 2412.20553 v1.
    """
    check_problem(problem)
    curvature = problem.curvature(problem.check_point(theta))
    count = number_of_batches(problem.n_samples, sampling, n_batches)
    prepared = prepare(curvature, sampling.batch_size, count)
    return expectation(
        lambda batches: largest_eigenvalues(prepared, batches),
        problem.n_samples,
        sampling,
        n_batches,
        seed,
        chunk_size=chunk_size,
    )


@one_blas_thread()
def batch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    average: Literal["ratios", "parts"] = "ratios",
    n_batches: int | None = None,
    seed: Seed = None,
    chunk_size: int | None = None,
) -> Estimate:
    """Batch sharpness: E_B[g_BᵀH_Bg_B/‖g_B‖²] ("ratios"), or E_B[g_BᵀH_Bg_B]/E_B‖g_B‖² ("parts").

    theta: (p,). The mean of ratios never exceeds MiniBS, the ratio of means can. n_batches, seed, chunk_size: as in
    `minibatch_sharpness`. Raises ValueError where a gradient vanishes and the ratio is 0/0.
    Source: Andreyev & Beneventano, arXiv 2412.20553 v3.
    """
    _validate.choice("average", average, ("ratios", "parts"))
    check_problem(problem)
    point = problem.check_point(theta)
    parts = _compiled_forms(problem, point, average) or _plain_forms(problem, point, average)

    def forms(batches: IntArray) -> FloatArray:
        quadratic, squared_norm = parts(batches)
        if average == "parts":
            return np.stack((quadratic, squared_norm), axis=1)
        if not squared_norm.all():
            batch = batches[int(np.argmin(squared_norm))].tolist()
            raise ValueError(f"batch_sharpness is 0/0 at theta: the gradient of batch {batch} is zero")
        return quadratic / squared_norm

    return expectation(
        forms, problem.n_samples, sampling, n_batches, seed, ratio=average == "parts", chunk_size=chunk_size
    )


def _compiled_forms(problem: Problem, theta: FloatArray, average: str) -> Forms | None:
    """g_BᵀH_Bg_B and ‖g_B‖² from s = X_Bᵀr_B/b alone, for the least-squares problems that allow it."""
    # A subclass may have changed what the compiled loop assumes.
    if not isinstance(problem, (LinearRegression, DiagonalLinearNetwork)) or type(problem) not in SEPARABLE:
        return None
    inputs = in_cache_lines(problem.inputs)
    norms, bends = in_cache_lines(np.stack(problem.separable_link(theta)))
    residuals = problem.residuals(theta, np.arange(problem.n_samples))
    largest = _checked_scale(float((np.abs(residuals) * np.abs(inputs * norms).max(axis=1)).max()))
    scale = largest if average == "parts" else 0.0

    def forms(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        quadratic, squared_norm = np.empty(len(batches)), np.empty(len(batches))
        gradient_forms(inputs, residuals, norms, bends, batches, scale, quadratic, squared_norm)
        return quadratic, squared_norm

    return forms


def _plain_forms(problem: Problem, theta: FloatArray, average: str) -> Forms:
    """The same for any problem, from its gradients and its curvature."""
    curvature = problem.curvature(theta)
    everyone = np.arange(problem.n_samples)
    stretches = np.array_split(everyone, max(1, problem.n_samples * problem.n_params // GRADIENT_NUMBERS))
    largest = _checked_scale(max(float(np.abs(problem.sample_gradients(theta, some)).max()) for some in stretches))

    def forms(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        gradients = np.asarray(curvature.to_basis(problem.gradient(theta, batches))) / largest
        if average == "ratios":
            own = np.abs(gradients).max(axis=1, keepdims=True)
            gradients = gradients / np.where(own > 0, own, 1.0)
        return curvature.batch_quadratic_forms(batches, gradients), np.asarray((gradients**2).sum(axis=1))

    def forms_in_stretches(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        parts = max(1, len(batches) * problem.n_params // GRADIENT_NUMBERS)
        quadratic, squared_norm = zip(*(forms(some) for some in np.array_split(batches, parts)), strict=True)
        return np.concatenate(quadratic), np.concatenate(squared_norm)

    return forms_in_stretches


def _checked_scale(largest: float) -> float:
    """The largest entry of any per-sample gradient: squares of gradients divided by it cannot overflow."""
    if largest == 0.0:
        raise ValueError("batch_sharpness is 0/0 at theta: the gradient of every sample is zero")
    return largest
