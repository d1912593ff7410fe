"""Batch sharpness along the step of heavy ball."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.problems import Problem, check_problem
from esssim.problems.base import HessianKind, curvature_of
from esssim.random_weights import check_draws_batches
from esssim.sampling import Sampling
from esssim.statistics.estimate import expectation
from esssim.statistics.uncertainty import Estimate


@one_blas_thread()
def momentum_batch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    velocity: npt.ArrayLike,
    sampling: Sampling,
    *,
    momentum: float,
    nesterov: bool = False,
    hessian: HessianKind = "full",
    n_batches: int | None = None,
    seed: int | np.random.SeedSequence | None = 0,
) -> Estimate:
    """Momentum batch sharpness E_B[sᵀH_Bs]/E_B[g_Bᵀs], s = βv + g_B the next step of heavy ball over −η.

    A step −ηs changes the loss of its own batch by −ηg_Bᵀs + ½η²sᵀH_Bs on a quadratic: at 2/η the mean is zero. For
    v = 0 it is the ratio of means of `batch_sharpness`. Where gᵀv is negative enough the denominator is zero or
    negative, which full batches come to at every oscillation.

    theta, velocity: (p,), v before the step. momentum: 0 ≤ β < 1; nesterov: s = g_B + β(βv + g_B). n_batches=None takes
    every batch (exact), a number draws so many from `seed`. Raises Undefined for 0/0, ValueError for bad arguments.
    Source: code of Andreyev et al., arXiv 2604.14108 (there "generalized batch sharpness", over η).
    """
    check_problem(problem)
    point, before = problem.check_point(theta), problem.check_point(velocity, "velocity")
    beta, nesterov = _validate.real("momentum", momentum, at_least=0.0, below=1.0), _validate.flag("nesterov", nesterov)
    check_draws_batches(sampling, "momentum_batch_sharpness")
    curvature = curvature_of(problem, point, hessian)
    gradients = problem.sample_gradients(point, np.arange(problem.n_samples))
    largest = max(float(np.abs(gradients).max()), float(np.abs(before).max()))
    if largest == 0.0:
        raise Undefined("momentum_batch_sharpness is 0/0 at theta: the velocity and every gradient are zero")

    def forms(batches: IntArray) -> FloatArray:
        gradient = problem.gradient(point, batches) / largest
        step = beta * before / largest + gradient
        if nesterov:
            step = gradient + beta * step
        along = np.asarray(curvature.to_basis(step))
        return np.stack((curvature.batch_quadratic_forms(batches, along), (gradient * step).sum(axis=1)), axis=1)

    return expectation(forms, problem.n_samples, sampling, n_batches, seed, ratio=True)
