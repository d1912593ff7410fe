"""Critical step sizes of SGD with independent batches: one entry point for both criteria."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim.gradient_noise import GradientNoise
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling
from esssim.stability.edges import check_momentum
from esssim.stability.gradient_noise import noisy_threshold
from esssim.stability.linearised import linearise
from esssim.stability.lyapunov import almost_sure_threshold
from esssim.stability.mean_square import mean_square_threshold


@one_blas_thread()
def critical_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling | GradientNoise,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    criterion: Literal["mean_square", "almost_sure"] = "mean_square",
    hessian: HessianKind = "full",
    seed: int = 0,
) -> float:
    """The step size η above which SGD linearised at the minimum theta is unstable.

    T_B = [[I−ηH_B, −ηβI], [H_B, βI]] is a linearised step of heavy ball, β the momentum. criterion="mean_square": the
    mean square of ΠT_B stops shrinking, the spectral radius of E[T_B⊗T_B] is 1; 2/Q_b without momentum.
    criterion="almost_sure": the typical size of ΠT_B stops shrinking, its Lyapunov exponent is 0; by Monte Carlo from
    `seed`, never below the mean-square one (`almost_sure_threshold` has its interval). Directions in the kernel of H
    are left out: SGD does not move there. A `GradientNoise` has an edge of its own, by "mean_square" only.

    theta: (p,). Returns η > 0, infinite where H = 0. Raises ValueError where no step size is stable (H has a negative
    eigenvalue, or samples whose Hessians cancel) and for `Reshuffled`, whose batches are dependent.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850.
    """
    _validate.choice("criterion", criterion, ("mean_square", "almost_sure"))
    if isinstance(sampling, GradientNoise):
        if criterion == "almost_sure":
            raise ValueError("criterion must be 'mean_square' for a GradientNoise, got 'almost_sure'")
    elif criterion == "almost_sure":
        threshold = almost_sure_threshold(
            problem, theta, sampling, momentum=momentum, nesterov=nesterov, hessian=hessian, seed=seed
        )
        return threshold.value
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    _validate.integer("seed", seed, 0)
    noise = sampling if isinstance(sampling, GradientNoise) else None
    batches = sampling.batches if isinstance(sampling, GradientNoise) else sampling
    linearised = linearise(problem, theta, batches, hessian)
    if linearised is None:
        return np.inf
    if noise is None:
        return mean_square_threshold(linearised, beta, nesterov) / linearised.scale
    return noisy_threshold(linearised, noise, beta, nesterov) / linearised.scale
