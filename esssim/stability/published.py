"""Published edges other than the mean-square one: what each paper takes for the critical step size.

| edge | step size | source |
|---|---|---|
| interaction-aware | 2‖g‖²/tr(H G_b), G_b = E[g_Bg_Bᵀ] | Lee & Jang, ICLR 2023 |
| noise kernel | 𝒦(η) = 1 | Agarwala & Pennington, arXiv 2404.19261 |
| self-stabilisation | λ_max + ηβσ_u²/(4α) = 2/η | Liao, Kolomvaki & Kyrillidis, arXiv 2604.21016 |
| heavy ball | 2(1−β)/S to 2(1+β)/S | Andreyev et al., arXiv 2604.14108 |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import Problem, check_problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling, check_sampling
from esssim.stability.edges import edge, small_batch_edge
from esssim.stability.linearised import Linearised, linearise
from esssim.statistics import gradient_noise_interaction

Approximation = Literal["diagonal", "high_dimensional", "trace"]


@one_blas_thread()
def interaction_aware_step_size(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> float:
    """The step size beyond which one step of SGD raises the expected loss of a quadratic: η = 2‖g‖²/tr(H G_b).

    The interaction-aware sharpness tr(H G_b)/tr(G_b) reaches its edge (2/η)·‖g‖²/tr(G_b) there, G_b = E[g_Bg_Bᵀ]. It
    depends on theta (p,) also where H does not. Infinite where the curvature along the gradients is not positive.
    Raises ValueError where g = 0. Source: Lee & Jang, ICLR 2023.
    """
    interaction = gradient_noise_interaction(problem, theta, sampling)
    return 2 / interaction if interaction > 0 else np.inf


@one_blas_thread()
def noise_kernel_norm(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    step_size: float,
    *,
    approximation: Approximation = "diagonal",
    hessian: HessianKind = "full",
) -> float:
    """Norm 𝒦 of the noise kernel: SGD is taken for stable where ηλ_max < 2 and 𝒦 < 1.

    "diagonal": 𝒦 = ρ((I−A)⁻¹B), A = (1−ηΛ)², B_jk = cη²(mean (Hᵢ)_jk² − λⱼ²δ_jk) in H's eigenbasis: the second-moment
    operator restricted to diagonal covariances. "high_dimensional": 𝒦 = cη Σⱼ λⱼ/(2 − ηλⱼ), for delocalised
    eigenvectors of a rank-one regression. "trace": 𝒦 = cη tr(H)/2, for ηλ_max ≪ 2 too. c is the scheme's variance
    coefficient, which is 1/b for b ≪ n.

    theta: (p,), a minimum. step_size: η > 0. Infinite for ηλ_max ≥ 2 ("trace" knows no such limit). Raises ValueError
    as `critical_step_size`. Source: Agarwala & Pennington, arXiv 2404.19261.
    """
    eta = _validate.real("step_size", step_size, above=0.0)
    linearised = _checked(problem, theta, sampling, approximation, hessian)
    return 0.0 if linearised is None else _kernel_norm(linearised, approximation)(eta * linearised.scale)


@one_blas_thread()
def noise_kernel_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    approximation: Approximation = "diagonal",
    hessian: HessianKind = "full",
) -> float:
    """The step size at which 𝒦(η) = 1, and at most 2/λ_max; arguments, errors and source as in `noise_kernel_norm`."""
    linearised = _checked(problem, theta, sampling, approximation, hessian)
    if linearised is None:
        return np.inf
    norm, limit = _kernel_norm(linearised, approximation), 2 / float(linearised.pencil.eigenvalues[-1])
    below = limit * (1 - 1e-12)
    if norm(below) <= 1:
        return limit / linearised.scale
    # 𝒦/η does not fall with η, so that 𝒦(η) ≤ ½ where η is half of 1/(𝒦/η) at a larger step.
    lower = below / norm(below) / 2
    return float(brentq(lambda eta: norm(eta) - 1, lower, below, xtol=1e-300, rtol=4e-15)) / linearised.scale


def _checked(
    problem: Problem, theta: npt.ArrayLike, sampling: Sampling, approximation: str, hessian: HessianKind
) -> Linearised | None:
    _validate.choice("approximation", approximation, ("diagonal", "high_dimensional", "trace"))
    return linearise(problem, theta, sampling, hessian)


def _kernel_norm(linearised: Linearised, approximation: str) -> Callable[[float], float]:
    """η ↦ 𝒦(η), η in units of 1/scale."""
    eigenvalues, c = linearised.pencil.eigenvalues, linearised.c
    squares = (
        linearised.curvature.mean_squared_entries(linearised.pencil.eigenvectors)
        if approximation == "diagonal"
        else np.empty((0, 0))
    )

    def norm(eta: float) -> float:
        if approximation == "trace":
            return float(c * eta * eigenvalues.sum() / 2)
        if eta * eigenvalues[-1] >= 2:
            return np.inf
        if approximation == "high_dimensional":
            return float(c * eta * (eigenvalues / (2 - eta * eigenvalues)).sum())
        noise = c * eta * (squares - np.diag(eigenvalues**2))
        # Symmetrised by the root of (I−A)/η = Λ(2 − ηΛ): the eigenvalues stay, and eigvalsh keeps them real.
        root = np.sqrt(eigenvalues * (2 - eta * eigenvalues))
        return float(np.linalg.eigvalsh(noise / root / root[:, None])[-1])

    return norm


class SelfStabilisation(NamedTuple):
    """Equilibrium gap 2/η − S, and what it is made of; step_size is where S + gap(η) = 2/η for the sharpness S."""

    gap: float
    step_size: float
    sharpness: float
    sharpening_rate: float
    strength: float
    noise_variance: float


@one_blas_thread()
def self_stabilisation(
    problem: Problem, theta: npt.ArrayLike, sampling: Sampling, step_size: float
) -> SelfStabilisation:
    """Stochastic self-stabilisation: SGD holds the sharpness S = λ_max(H) at the gap 2/η − S = ηβσ_u²/(4α).

    α = −∇L·∇S the rate of progressive sharpening, β = ‖∇S − (u·∇S)u‖² the strength of self-stabilisation, u the top
    eigenvector, ∇S = ∇³L[u, u], σ_u² = c·Var_i(u·∇ℓᵢ) the variance of g_B along u. The present sharpness is at this
    equilibrium at step_size = 4/(S + √(S² + 2βσ_u²/α)). In its own dynamics the mean gap is never smaller than this
    closed form, and near it only where it is ≫ ηα (`theory/self_stabilisation_gap.py`).

    theta: (p,), where the top eigenvalue is simple. Raises ValueError where the sharpness does not rise (α ≤ 0), as on
    every quadratic. Source: Liao, Kolomvaki & Kyrillidis, arXiv 2604.21016; Damian, Nichani & Lee, ICLR 2023 (α, β).
    """
    eta = _validate.real("step_size", step_size, above=0.0)
    check_problem(problem)
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    c = sampling.variance_coefficient(problem.n_samples)
    eigenvalues, eigenvectors = np.linalg.eigh(problem.hessian(point))
    sharpness, top = float(eigenvalues[-1]), eigenvectors[:, -1]
    gradients = problem.sample_gradients(point, np.arange(problem.n_samples))
    rise = _sharpness_gradient(problem, point, top)
    alpha = -float(gradients.mean(axis=0) @ rise)
    if not alpha > 0:
        raise ValueError(f"theta must be where gradient descent raises the sharpness, its rate −∇L·∇S is {alpha:.3g}")
    beta = float(rise @ rise - (rise @ top) ** 2)
    variance = c * float((gradients @ top).var())
    gap = eta * beta * variance / (4 * alpha)
    equilibrium = 4 / (sharpness + np.sqrt(sharpness**2 + 2 * beta * variance / alpha))
    return SelfStabilisation(gap, float(equilibrium), sharpness, alpha, beta, variance)


def _sharpness_gradient(problem: Problem, theta: FloatArray, direction: FloatArray) -> FloatArray:
    """∇³L[u, u] by the fourth-order second difference of ∇L along u; exact for gradients of degree up to five."""
    h = 2.0**-5 * max(1.0, float(np.linalg.norm(theta)))
    at = problem.gradient(theta + h * np.array([-2.0, -1.0, 0.0, 1.0, 2.0])[:, None] * direction)
    slope = np.array([-1.0, 16.0, -30.0, 16.0, -1.0]) @ at / (12 * h**2)
    # Below the rounding of the gradients there is no third derivative to see.
    rounding = 64 * np.finfo(np.float64).eps * np.abs(at).max() / (12 * h**2)
    return np.asarray(np.where(np.abs(slope).max() <= 4 * rounding, 0.0, slope))


class HeavyBallEnds(NamedTuple):
    """Step sizes at which a sharpness reaches the small-batch edge 2(1−β)/η and the large-batch edge 2(1+β)/η."""

    small_batch: float
    large_batch: float


def heavy_ball_ends(sharpness: float, momentum: float) -> HeavyBallEnds:
    """η = 2(1−β)/S for small batches and 2(1+β)/S for large ones; S the batch sharpness in the paper.

    sharpness: S > 0; momentum: 0 ≤ β < 1. Raises ValueError outside. Source: Andreyev et al., arXiv 2604.14108.
    """
    value = _validate.real("sharpness", sharpness, above=0.0)
    return HeavyBallEnds(small_batch_edge(value, momentum=momentum), edge(value, momentum=momentum))
