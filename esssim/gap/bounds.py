"""All bounds on the mini-batch sharpness, and on the mean-square sharpness, with the best valid pair."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from esssim._threads import one_blas_thread
from esssim.gap import concentration, elementary, ritz, second_order_bounds
from esssim.gap.mean_square import MEAN_SQUARE_RULES
from esssim.gap.results import Bounds
from esssim.gap.rules import Rule
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling

RULES: tuple[Rule, ...] = (
    elementary.jensen,
    elementary.steepest_sample,
    elementary.pair_multiple,
    elementary.leave_one_out,
    ritz.power_moments,
    ritz.trace_moments,
    ritz.power,
    ritz.trace_ratio,
    ritz.two_vectors,
    second_order_bounds.resolvent,
    elementary.single_sample,
    elementary.pair,
    elementary.full_batch_multiple,
    elementary.leave_one_out_multiple,
    elementary.trace,
    elementary.mean_squared_norm,
    elementary.scatter,
    elementary.trace_and_norm,
    elementary.complement,
    second_order_bounds.eigengap,
    concentration.bernstein,
    concentration.bernstein_intrinsic,
    concentration.chernoff,
    concentration.chernoff_intrinsic,
    concentration.laplace,
)


@one_blas_thread()
def bounds(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Bounds:
    """Bounds lower ≤ M_b ≤ upper on the mini-batch sharpness M_b = E_B λ_max(H_B): the best valid pair, and each by
    name.

    Each bound is rounded outwards by its own rounding error, γS with γ = 16(n+p+b)·eps and S = max ‖Hᵢ‖_F for a mean or
    an eigenvalue, √γ·S where it takes the root of a variance. At b = n without replacement both are λ_max(H).

    theta: (p,). Raises ValueError for bad arguments. Sources: with each bound in `esssim.gap`.
    """
    return bounds_at(Setting.of(problem, theta, sampling))


def bounds_at(setting: Setting) -> Bounds:
    """`bounds` of a setting."""
    return _collect("MiniBS", RULES, setting)


@one_blas_thread()
def mean_square_bounds(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Bounds:
    """Bounds lower ≤ Q_b ≤ upper on the mean-square sharpness Q_b = λ_max(C⁺D), as in `bounds`.

    upper is infinite where some sample is not positive semidefinite. theta: (p,). Raises ValueError for bad arguments.
    Source: Mulayoff & Michaeli, COLT 2024; with each bound in `esssim.gap.mean_square`.
    """
    return _collect("mean-square sharpness", MEAN_SQUARE_RULES, Setting.of(problem, theta, sampling))


def _collect(statistic: str, rules: tuple[Rule, ...], s: Setting) -> Bounds:
    found = [rule(s) for rule in rules]
    lower = max((bound.value for bound in found if bound.valid and bound.side == "lower"), default=-math.inf)
    upper = min((bound.value for bound in found if bound.valid and bound.side == "upper"), default=math.inf)
    return Bounds(statistic, s.sharpness * s.unit, lower, upper, {bound.name: bound for bound in found})


@one_blas_thread()
def top_eigenvalue_variance_bound(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> float:
    """A bound on Var_B λ_max(H_B): (n−b)/(2nb)·mean over pairs i ≠ j of ‖Hᵢ−Hⱼ‖_op², or c·mean‖Dᵢ‖_F² if smaller.

    With replacement (1/(2b))·mean over all pairs. ‖·‖_op is exact for rank-one samples and ‖·‖_F otherwise.
    theta: (p,). Source: Poincaré inequality of the Bernoulli–Laplace walk (spectral gap n); Efron–Stein.
    """
    s = Setting.of(problem, theta, sampling)
    by_norm = s.c * float(s.scatter.mean())
    if s.rank_one and not (s.b == s.n and not s.with_replacement):
        total = _squared_differences(s).sum()
        if s.with_replacement:
            by_pairs = float(total) / s.n**2 / (2 * s.b)
        else:
            by_pairs = (s.n - s.b) / (2 * s.n * s.b) * float(total) / (s.n * (s.n - 1))
        by_norm = min(by_norm, by_pairs)
    return (by_norm + s.relative_rounding * s.largest_norm**2) * s.unit**2


def _squared_differences(s: Setting) -> npt.NDArray[np.float64]:
    """‖aᵢaᵢᵀ − aⱼaⱼᵀ‖_op² for all pairs, (n, n): the eigenvalues are (α−β)/2 ± √((α+β)²/4 − (aᵢ·aⱼ)²)."""
    gram = s.rows @ s.rows.T
    squares = np.diagonal(gram)
    half_sum, half_difference = (squares[:, None] + squares) / 2, np.abs(squares[:, None] - squares) / 2
    return np.asarray((half_difference + np.sqrt(np.maximum(half_sum**2 - gram**2, 0.0))) ** 2)
