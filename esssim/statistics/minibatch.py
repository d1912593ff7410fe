"""Statistics that average over mini-batches: MiniBS and batch sharpness."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.spectra import largest_eigenvalues, prepare
from esssim.statistics.estimate import Estimate, expectation, number_of_batches

Seed = int | np.random.SeedSequence | None


def minibatch_sharpness(
    problem: Problem, theta: npt.ArrayLike, sampling: Sampling, *, n_batches: int | None = None, seed: Seed = None
) -> Estimate:
    """Mini-batch sharpness (MiniBS) M_b = E_B λ_max(H_B).

    theta: (p,). n_batches=None enumerates every batch (exact) where that is affordable, otherwise batches are drawn
    from `seed`. Raises ValueError for bad arguments and for too many batches to enumerate, with their number.
    Source: Andreyev & Beneventano, arXiv 2412.20553 v1.
    """
    curvature = problem.curvature(problem.check_point(theta))
    count = number_of_batches(problem.n_samples, sampling, n_batches)
    prepared = prepare(curvature, sampling.batch_size, count)
    return expectation(
        lambda batches: largest_eigenvalues(prepared, batches), problem.n_samples, sampling, n_batches, seed
    )


def batch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    average: Literal["ratios", "parts"] = "ratios",
    n_batches: int | None = None,
    seed: Seed = None,
) -> Estimate:
    """Batch sharpness: E_B[g_BᵀH_Bg_B/‖g_B‖²] ("ratios"), or E_B[g_BᵀH_Bg_B]/E_B‖g_B‖² ("parts").

    theta: (p,). The mean of ratios never exceeds MiniBS, the ratio of means can. n_batches, seed: as in
    `minibatch_sharpness`. Raises ValueError where a gradient vanishes and the ratio is 0/0.
    Source: Andreyev & Beneventano, arXiv 2412.20553 v3.
    """
    _validate.choice("average", average, ("ratios", "parts"))
    point = problem.check_point(theta)
    curvature = problem.curvature(point)
    gradients_scale = _gradient_scale(problem, point)

    def forms(batches: IntArray) -> FloatArray:
        gradients = np.asarray(curvature.to_basis(problem.gradient(point, batches))) / gradients_scale
        if average == "ratios":
            largest = np.abs(gradients).max(axis=1)
            if not largest.all():
                batch = batches[int(np.argmin(largest))].tolist()
                raise ValueError(f"batch_sharpness is 0/0 at theta: the gradient of batch {batch} is zero")
            gradients = gradients / largest[:, None]
        quadratic = curvature.batch_quadratic_forms(batches, gradients)
        squared_norm = (gradients**2).sum(axis=1)
        return quadratic / squared_norm if average == "ratios" else np.stack((quadratic, squared_norm), axis=1)

    return expectation(forms, problem.n_samples, sampling, n_batches, seed, ratio=average == "parts")


def _gradient_scale(problem: Problem, theta: FloatArray) -> float:
    """The largest entry of any per-sample gradient: squares of gradients divided by it cannot overflow."""
    largest = float(np.abs(problem.sample_gradients(theta, np.arange(problem.n_samples))).max())
    if largest == 0.0:
        raise ValueError("batch_sharpness is 0/0 at theta: the gradient of every sample is zero")
    return largest
