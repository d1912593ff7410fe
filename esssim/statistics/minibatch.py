"""Statistics that average over mini-batches: MiniBS and batch sharpness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._errors import Undefined
from esssim._kernels.gradient_forms import gradient_forms
from esssim._kernels.layout import in_cache_lines
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, check_problem
from esssim.problems.base import HessianKind, curvature_of
from esssim.problems.once import once_a_point
from esssim.random_weights import RandomWeights
from esssim.sampling import Sampling, WithReplacement
from esssim.spectra import largest_eigenvalues, mean_costs_little, mean_largest_eigenvalue, prepare
from esssim.statistics.estimate import (
    SINGLE_SAMPLES,
    check_seed,
    expectation,
    in_parts,
    number_of_batches,
    warn_of_heavy_tail,
)
from esssim.statistics.pointwise import ratio_of_means
from esssim.statistics.shares import Weights
from esssim.statistics.uncertainty import Estimate
from esssim.statistics.weighted import weighted_batch_sharpness, weighted_sharpness
from esssim.statistics.weights import sample_weights

# Numbers in the gradients that are held at a time: 256 MB.
GRADIENT_NUMBERS = 2**25
SEPARABLE = (LinearRegression, DiagonalLinearNetwork)
Forms = Callable[[IntArray], tuple[FloatArray, FloatArray]]
Seed = int | np.random.SeedSequence | None
Draws = Literal["shares", "uniform"]


@one_blas_thread()
def minibatch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    n_batches: int | None = None,
    seed: Seed = 0,
    chunk_size: int | None = None,
    draws: Draws = "shares",
) -> Estimate:
    """Mini-batch sharpness (MiniBS) M_b = E_B λ_max(H_B).

    theta: (p,). n_batches=None enumerates every batch (exact), and raises where there are too many; a number draws so
    many batches from `seed`. draws="uniform" draws them as SGD does. draws="shares" draws more batches around samples
    of large curvature and weights them so that the mean stays unbiased (`esssim.statistics.shares`); it enumerates
    where n_batches would cover every batch. Where λ_max(H) ≤ M_b is cheap, value and interval are raised to it, which
    matters where the gap is smaller than the standard error. chunk_size: batches held in memory at a time, by default
    4096.

    Raises ValueError for bad arguments and, with their number, for too many batches to enumerate. Warns
    (HeavyTailWarning) where fewer than 30 batches dominate the estimate.
    Source: Andreyev & Beneventano, arXiv 2412.20553 v1.
    """
    check_problem(problem)
    if isinstance(sampling, RandomWeights):
        return weighted_sharpness(problem, problem.check_point(theta), sampling, n_batches, seed)
    curvature = problem.curvature(problem.check_point(theta))
    plan = _Plan.of(curvature, sampling, n_batches, draws)
    prepared = prepare(curvature, sampling.batch_size, plan.count)
    found = plan.average(lambda batches: largest_eigenvalues(prepared, batches), seed, chunk_size, semidefinite=True)
    return found if draws == "uniform" else warn_of_heavy_tail("minibatch_sharpness", found.within(*plan.bounds(found)))


@one_blas_thread()
def batch_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    average: Literal["mean_of_ratios", "ratio_of_means"] = "mean_of_ratios",
    hessian: HessianKind = "full",
    n_batches: int | None = None,
    seed: Seed = 0,
    chunk_size: int | None = None,
    draws: Draws = "shares",
) -> Estimate:
    """Batch sharpness: E_B[g_BᵀH_Bg_B/‖g_B‖²] ("mean_of_ratios"), or E_B[g_BᵀH_Bg_B]/E_B‖g_B‖² ("ratio_of_means").

    theta: (p,). hessian="gauss_newton" takes G_B = mean JᵢᵀJᵢ for H_B. The mean of ratios never exceeds MiniBS, the
    ratio of means can. n_batches, seed, chunk_size, draws: as in `minibatch_sharpness`; with draws="shares" the ratio
    of means is exact from moments, without batches, where the Hessians of the samples are formed. Raises Undefined for
    0/0: where one batch gradient is zero (mean of ratios) or all are (ratio of means).
    Source: Andreyev & Beneventano, arXiv 2412.20553 v3.
    """
    _validate.choice("average", average, ("mean_of_ratios", "ratio_of_means"))
    _validate.choice("hessian", hessian, ("full", "gauss_newton"))
    _validate.choice("draws", draws, ("shares", "uniform"))
    check_problem(problem)
    point, is_ratio = problem.check_point(theta), average == "ratio_of_means"
    if isinstance(sampling, RandomWeights):
        curvature = curvature_of(problem, point, hessian)
        return weighted_batch_sharpness(problem, point, curvature, sampling, n_batches, seed, average=average)
    parts = _compiled_forms(problem, point, average, hessian == "full")
    if parts is None or draws == "shares":
        curvature = curvature_of(problem, point, hessian)
        parts = parts or _plain_forms(problem, point, curvature, average)

    def forms(batches: IntArray) -> FloatArray:
        quadratic, squared_norm = parts(batches)
        if is_ratio:
            return np.stack((quadratic, squared_norm), axis=1)
        if not squared_norm.all():
            batch = batches[int(np.argmin(squared_norm))].tolist()
            raise Undefined(f"batch_sharpness is 0/0 at theta: the gradient of batch {batch} is zero")
        return quadratic / squared_norm

    if draws == "uniform":
        return expectation(forms, problem.n_samples, sampling, n_batches, seed, ratio=is_ratio, chunk_size=chunk_size)
    plan = _Plan.of(curvature, sampling, n_batches, draws)
    if not is_ratio:
        unseen = plan.never_drawn()
        unseen = unseen[parts(unseen[:, None])[1] == 0.0] if len(unseen) else unseen
        if len(unseen) >= (1 if isinstance(sampling, WithReplacement) else sampling.batch_size):
            forms(np.resize(unseen, (1, sampling.batch_size)))  # raises for 0/0, as it does where the batch is drawn
        found = plan.average(forms, seed, chunk_size)
    elif plan.n_batches is not None and plan.curvature.is_formed:
        check_seed(seed)
        return Estimate(ratio_of_means(problem, point, curvature, sampling), 0.0, 0, True)
    else:
        found = expectation(forms, problem.n_samples, sampling, plan.n_batches, seed, ratio=True, chunk_size=chunk_size)
    return warn_of_heavy_tail("batch_sharpness", found)


@dataclass(frozen=True)
class _Plan:
    """How the batches of a statistic of at most |λ|_max(H_B) are taken; n_batches None: all of them, `count`."""

    curvature: Curvature
    sampling: Sampling
    n_batches: int | None
    count: int
    draws: Draws

    @classmethod
    def of(cls, curvature: Curvature, sampling: Sampling, n_batches: int | None, draws: Draws) -> _Plan:
        _validate.choice("draws", draws, ("shares", "uniform"))
        count, every = number_of_batches(curvature.n_samples, sampling, n_batches), sampling.count(curvature.n_samples)
        cheap = SINGLE_SAMPLES if sampling.batch_size == 1 and curvature.samples_cost_little else 0
        if draws == "shares" and every <= max(count, cheap):
            return cls(curvature, sampling, None, every, draws)
        return cls(curvature, sampling, n_batches, count, draws)

    def average(
        self,
        per_batch: Callable[[IntArray], FloatArray],
        seed: Seed,
        chunk_size: int | None,
        *,
        semidefinite: bool = False,
    ) -> Estimate:
        """E f(B); semidefinite: whether f(B) is the λ_max(H_B), so that no sample of positive curvature lowers it."""
        n, sampling = self.curvature.n_samples, self.sampling
        if self.n_batches is None or self.draws == "uniform":
            return expectation(per_batch, n, sampling, self.n_batches, seed, chunk_size=chunk_size)
        weights = self.weights
        if weights is not None:
            weights = replace(weights, sandwiched=weights.sandwiched and semidefinite)
        scaled = expectation(
            lambda batches: per_batch(batches) / self.scale, n, sampling, self.n_batches, seed,
            chunk_size=chunk_size, weights=weights,
        )  # fmt: skip
        return scaled * self.scale

    def never_drawn(self) -> IntArray:
        """The samples without weight: draws by shares take no batch of them alone."""
        if self.n_batches is None or self.draws == "uniform" or self.weights is None:
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(self.weights.values == 0.0)

    @cached_property
    def scale(self) -> float:
        """The unit of the weights."""
        return self.curvature.scale()

    @cached_property
    def weights(self) -> Weights | None:
        """What each sample can add, where batches are drawn by their shares of it."""
        assert self.n_batches is not None
        return sample_weights(self.curvature.scaled(self.scale), self.n_batches * self.sampling.batch_size)

    def bounds(self, found: Estimate) -> tuple[float, float]:
        """λ_max(H) where it costs little, and no upper bound: MiniBS is at least λ_max(H)."""
        if found.exact or self.n_batches is None:
            return -math.inf, math.inf
        little = mean_costs_little(self.curvature, self.n_batches, self.sampling.batch_size)
        return mean_largest_eigenvalue(self.curvature) if little else -math.inf, math.inf


def _compiled_forms(problem: Problem, theta: FloatArray, average: str, model_curvature: bool) -> Forms | None:
    """g_BᵀH_Bg_B and ‖g_B‖² from s = X_Bᵀr_B/b alone, for the least-squares problems that allow it.

    model_curvature: with the curvature of the model itself, which Gauss–Newton leaves out.
    """
    # A subclass may have changed what the compiled loop assumes.
    if not isinstance(problem, (LinearRegression, DiagonalLinearNetwork)) or type(problem) not in SEPARABLE:
        return None
    inputs, residuals, norms, bends, largest = _separable_at(problem, theta)
    if not model_curvature:
        bends = np.zeros_like(bends)
    scale = largest if average == "ratio_of_means" else 0.0

    def forms(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        quadratic, squared_norm = np.empty(len(batches)), np.empty(len(batches))
        gradient_forms(inputs, residuals, norms, bends, batches, scale, quadratic, squared_norm)
        return quadratic, squared_norm

    return forms


@once_a_point
def _separable_at(
    problem: LinearRegression | DiagonalLinearNetwork, theta: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, float]:
    """Inputs, residuals, M and c of the compiled loop, and the largest entry of any per-sample gradient."""
    inputs = in_cache_lines(problem.inputs)
    norms, bends = in_cache_lines(np.stack(problem.separable_link(theta)))
    residuals = problem.residuals(theta, np.arange(problem.n_samples))
    largest = float((np.abs(residuals) * np.abs(inputs * norms).max(axis=1)).max())
    return inputs, residuals, norms, bends, _checked_scale(largest)


def _plain_forms(problem: Problem, theta: FloatArray, curvature: Curvature, average: str) -> Forms:
    """The same for any problem, from its gradients and its curvature."""
    everyone = np.arange(problem.n_samples)
    stretches = in_parts(everyone, problem.n_params, GRADIENT_NUMBERS)
    largest = _checked_scale(max(float(np.abs(problem.sample_gradients(theta, some)).max()) for some in stretches))

    def forms(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        gradients = np.asarray(curvature.to_basis(problem.gradient(theta, batches))) / largest
        if average == "mean_of_ratios":
            own = np.abs(gradients).max(axis=1, keepdims=True)
            gradients = gradients / np.where(own > 0, own, 1.0)
        return curvature.batch_quadratic_forms(batches, gradients), np.asarray((gradients**2).sum(axis=1))

    def forms_in_stretches(batches: IntArray) -> tuple[FloatArray, FloatArray]:
        parts = in_parts(batches, problem.n_params, GRADIENT_NUMBERS)
        quadratic, squared_norm = zip(*map(forms, parts), strict=True)
        return np.concatenate(quadratic), np.concatenate(squared_norm)

    return forms_in_stretches


def _checked_scale(largest: float) -> float:
    """The largest entry of any per-sample gradient: squares of gradients divided by it cannot overflow."""
    if largest == 0.0:
        raise Undefined("batch_sharpness is 0/0 at theta: the gradient of every sample is zero")
    return largest
