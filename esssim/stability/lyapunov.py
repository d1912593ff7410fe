"""Almost-sure stability: the growth rate of the random product of the linearised steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial, singledispatch
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._intervals import student_quantile
from esssim._kernels import lyapunov as kernels
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.curvature import Curvature, LowRankCurvature
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling
from esssim.stability.edges import check_momentum
from esssim.stability.linearised import Linearised, linearise, transition_matrices
from esssim.stability.mean_square import mean_square_threshold
from esssim.statistics.uncertainty import Estimate

# A product that annihilates its start has the rate −∞; root finding needs a number.
LOWEST_RATE = -100.0
# The factor between two step sizes that are tried: a narrower stretch of positive exponents is missed.
WALK = 1.25


class Threshold(NamedTuple):
    """A critical step size with the 95 % interval that its Monte Carlo error implies."""

    value: float
    lower: float
    upper: float


@one_blas_thread()
def lyapunov_exponent(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    step_size: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    hessian: HessianKind = "full",
    n_steps: int = 2000,
    n_replicas: int = 64,
    seed: int = 0,
) -> Estimate:
    """Top Lyapunov exponent γ = lim (1/t) log ‖T_{B_t}…T_{B_1}e₀‖ per step, on the range of H: SGD contracts iff γ < 0.

    Mean over n_replicas independent products of n_steps steps (after a fifth of burn-in), the `n_batches` of the
    Estimate; the standard error is their spread. Where every batch has the same Hessian (b = n) it is log ρ(T), exact.
    theta: (p,). The same seed uses the same batches at every step size, so that γ is smooth in η, and for a replica
    beside any number of others. Raises ValueError for bad arguments, at a theta that is not a minimum, and where H = 0.
    Source: Furstenberg & Kesten 1960.
    """
    eta = _validate.real("step_size", step_size, above=0.0)
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    n_steps, n_replicas, seed = _check_counts(n_steps, n_replicas, seed)
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        raise ValueError("theta must have a nonzero Hessian for a Lyapunov exponent, every sample's is zero")
    eta *= linearised.scale
    if linearised.is_deterministic:
        transition, _ = transition_matrices(linearised.pencil.eigenvalues, eta, beta, nesterov)
        radius = float(np.abs(np.linalg.eigvals(transition)).max())
        return Estimate(float(np.log(radius)) if radius > 0 else -np.inf, 0.0, 1, True)
    rates = growth_rates(linearised, sampling, eta, beta, nesterov, n_steps, n_replicas, seed)
    if not np.isfinite(rates).all():
        return Estimate(float(rates.min()), 0.0, n_replicas, False)
    standard_error = float(rates.std(ddof=1)) / np.sqrt(n_replicas)
    return Estimate(float(rates.mean()), standard_error, n_replicas, False)


@one_blas_thread()
def almost_sure_threshold(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    hessian: HessianKind = "full",
    n_steps: int = 2000,
    n_replicas: int = 64,
    seed: int = 0,
) -> Threshold:
    """The step size where the Lyapunov exponent first crosses 0 upwards, with a 95 % interval.

    The interval is where γ(η) ± t·standard error cross 0 (Student, n_replicas − 1 degrees), at common random numbers.
    Nothing is below the mean-square edge, a lower bound (Jensen); where all batches have the same Hessian they agree.
    Arguments as in `lyapunov_exponent`. Infinite where H = 0. Raises ValueError at a theta that is not a minimum.
    """
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    n_steps, n_replicas, seed = _check_counts(n_steps, n_replicas, seed)
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return Threshold(np.inf, np.inf, np.inf)
    floor = mean_square_threshold(linearised, beta, nesterov)
    scale = linearised.scale
    if linearised.is_deterministic:
        return Threshold(floor / scale, floor / scale, floor / scale)

    @cache
    def moments(eta: float) -> tuple[float, float]:
        rates = growth_rates(linearised, sampling, eta, beta, nesterov, n_steps, n_replicas, seed)
        rates = np.clip(rates, LOWEST_RATE, -LOWEST_RATE)
        return float(rates.mean()), float(rates.std(ddof=1)) / np.sqrt(n_replicas)

    def crossing(z: float, start: float, tolerance: float) -> float:
        return _first_crossing(lambda eta: moments(eta)[0] + z * moments(eta)[1], start, tolerance)

    z = student_quantile(n_replicas - 1)
    value = crossing(0.0, floor, 1e-8)
    lower, upper = crossing(z, floor, 1e-4), crossing(-z, value, 1e-4)
    return Threshold(value / scale, lower / scale, upper / scale)


def _first_crossing(rate: Callable[[float], float], start: float, tolerance: float) -> float:
    """Where `rate` first becomes positive on the way up from `start` in steps of a factor `WALK`."""
    lower = start
    if rate(lower) > 0:
        return start
    upper = lower * WALK
    while rate(upper) <= 0:
        lower, upper = upper, upper * WALK
    return float(brentq(rate, lower, upper, xtol=tolerance * lower, rtol=tolerance))


def growth_rates(
    linearised: Linearised,
    sampling: Sampling,
    eta: float,
    beta: float,
    nesterov: bool,
    n_steps: int,
    n_replicas: int,
    seed: int,
) -> FloatArray:
    """(1/t) log growth of each replica over n_steps after the burn-in, (n_replicas,); η in units of 1/scale."""
    follow, basis = _follower(linearised)
    burn_in = n_steps // 5
    rates = np.empty(n_replicas)
    for replica in range(n_replicas):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(replica,)))
        start = basis @ rng.standard_normal(basis.shape[1])
        batches = sampling.draw(linearised.curvature.n_samples, burn_in + n_steps, rng)
        rates[replica] = follow(start, batches, burn_in, (eta, beta, nesterov))
    return rates


def _follower(linearised: Linearised) -> tuple[Callable[..., float], FloatArray]:
    """The compiled loop with its curvature filled in, and a basis of the range of H in the loop's own coordinates."""
    return _loop(linearised.curvature, linearised.pencil.eigenvectors)


@singledispatch
def _loop(curvature: Curvature, basis: FloatArray) -> tuple[Callable[..., float], FloatArray]:
    return partial(kernels.dense_growth_rate, curvature.compressed(basis)), np.eye(basis.shape[1])


@_loop.register
def _(curvature: LowRankCurvature, basis: FloatArray) -> tuple[Callable[..., float], FloatArray]:
    n_params, rank = basis.shape
    if curvature.diagonals is None:
        nothing = (np.empty((0, rank)), np.empty((rank, 0)))
        return partial(kernels.low_rank_growth_rate, curvature.factors @ basis, *nothing), np.eye(rank)
    # The diagonals are cheap in their own basis only: there the range of H is kept by projection.
    projected = basis if rank < n_params else np.empty((n_params, 0))
    return partial(kernels.low_rank_growth_rate, curvature.factors, curvature.diagonals, projected), basis


def _check_counts(n_steps: int, n_replicas: int, seed: int) -> tuple[int, int, int]:
    return (
        _validate.integer("n_steps", n_steps, 10),
        _validate.integer("n_replicas", n_replicas, 2),
        _validate.integer("seed", seed, 0),
    )
