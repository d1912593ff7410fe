"""The gap by perturbation theory in D_B = H_B − H: second and third order.

With D₁ₖ = v₁ᵀDᵢv_k in the eigenbasis of H and gₖ = λ₁ − λ_k, λ_max(H+D) = λ₁ + D₁₁ + Σ_{k≥2} D₁ₖ²/gₖ + …; the moments
of the batch mean turn each order into an average over samples.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gap.results import Prediction
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling

# Up to this fluctuation, in units of the eigengap, the series still shrinks from order to order.
LARGEST_FLUCTUATION = 0.3


@one_blas_thread()
def second_order(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """gap ≈ c · Σ_{k≥2} (1/n)Σᵢ D₁ₖ²/(λ₁−λ_k).

    error: the third-order term plus the size of the fourth, 4ε²·gap. Valid while the fluctuation ε (see `fluctuation`)
    is at most 0.3. theta: (p,). Raises ValueError for bad arguments.
    Source: Rayleigh–Schrödinger perturbation theory, e.g. Kato, Perturbation Theory for Linear Operators, II.2.
    """
    return second_order_at(Setting.of(problem, theta, sampling))


@one_blas_thread()
def third_order(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """The second order + c₃ · (1/n)Σᵢ [Σ_{k,l} D₁ₖD_{kl}D_{l1}/(gₖg_l) − D₁₁ Σ_k D₁ₖ²/gₖ²], gₖ = λ₁−λ_k.

    With w = Σ_{k≥2} (D₁ₖ/gₖ)v_k the bracket is wᵀDᵢw − D₁₁‖w‖²: no array of more than (n, p) numbers.
    error: 4ε²·gap + ε·|third-order term|. Validity, arguments and source as for `second_order`.
    """
    return third_order_at(Setting.of(problem, theta, sampling))


def second_order_at(s: Setting) -> Prediction:
    """`second_order` of a setting."""
    if (refusal := _refusal("second order", s)) is not None:
        return refusal
    second, third, epsilon = second_term(s), _third_term(s), fluctuation(s)
    error = abs(third) + 4 * epsilon**2 * second
    return _prediction("second order", second, error, epsilon, s)


def third_order_at(s: Setting) -> Prediction:
    """`third_order` of a setting."""
    if (refusal := _refusal("third order", s)) is not None:
        return refusal
    second, third, epsilon = second_term(s), _third_term(s), fluctuation(s)
    error = epsilon * abs(third) + 4 * epsilon**2 * second
    return _prediction("third order", second + third, error, epsilon, s)


def fluctuation(s: Setting) -> float:
    """ε, ε² = c·max_k mean (D₁₁−D_kk)²/gₖ² + c·Σ_{k≥2} mean D₁ₖ²/gₖ²: how far a batch moves the eigengaps and v₁.

    Infinite where the top eigenvalue is degenerate; k runs over the eight nearest in the first term.
    """
    if s.p == 1 or s.c == 0.0:
        return 0.0
    gaps = s.sharpness - s.eigenvalues[1:]
    rotations = (s.top_deviations[:, 1:] ** 2).mean(axis=0)
    near = np.ascontiguousarray(s.eigenvectors[:, : min(s.p, 9)])
    diagonal = np.einsum("nkk->nk", s.curvature.compressed(near)) - s.eigenvalues[: near.shape[1]]
    approaches = ((diagonal[:, :1] - diagonal[:, 1:]) ** 2).mean(axis=0)
    if gaps[0] <= s.rounding:
        return math.inf
    squared = float((approaches / gaps[: len(approaches)] ** 2).max() + (rotations / gaps**2).sum())
    return math.sqrt(s.c * squared)


def second_term(s: Setting) -> float:
    """c · Σ_{k≥2} mean D₁ₖ²/gₖ."""
    return s.c * float(((s.top_deviations[:, 1:] ** 2).mean(axis=0) / _eigengaps(s)).sum())


def _third_term(s: Setting) -> float:
    weights = s.top_deviations[:, 1:] / _eigengaps(s)
    rotations = weights @ s.eigenvectors[:, 1:].T
    forms = s.curvature.quadratic_forms(rotations) - (weights**2) @ s.eigenvalues[1:]
    return s.c3 * float((forms - s.top_deviations[:, 0] * (weights**2).sum(axis=1)).mean())


def _eigengaps(s: Setting) -> FloatArray:
    """gₖ; infinite where there is none: such a top is only asked for when batches do not differ."""
    gaps = s.sharpness - s.eigenvalues[1:]
    return np.where(gaps > s.rounding, gaps, np.inf)


def _refusal(method: str, s: Setting) -> Prediction | None:
    epsilon = fluctuation(s)
    if epsilon <= LARGEST_FLUCTUATION:
        return None
    reason = f"needs a fluctuation of at most {LARGEST_FLUCTUATION:g} of the eigengap, it is {epsilon:.3g}"
    return Prediction.refused(method, reason, fluctuation=epsilon)


def _prediction(method: str, value: float, error: float, epsilon: float, s: Setting) -> Prediction:
    reason = f"the fluctuation is {epsilon:.3g} of the eigengap, at most {LARGEST_FLUCTUATION:g}"
    return s.predicted(method, value, error, reason, fluctuation=epsilon)
