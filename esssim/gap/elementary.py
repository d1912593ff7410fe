"""Bounds on MiniBS from convexity, monotonicity and traces. Each rule rounds outwards; what multiplies rounding is here."""

from __future__ import annotations

import math

import numpy as np

from esssim.gap.rules import POSITIVE_SEMIDEFINITE, RANK_ONE, WITHOUT_REPLACEMENT, Condition, bound
from esssim.gap.setting import Setting

# Numbers that the n eigenproblems of `complement` may touch: half a second.
COMPLEMENT_WORK = 2e8
FEW_ENOUGH = Condition("n·p³ of at most 2e8", lambda s: s.n * s.p**3 <= COMPLEMENT_WORK)


@bound("lower")
def jensen(s: Setting) -> float:
    """M_b ≥ λ_max(H): λ_max is convex and E H_B = H."""
    return s.sharpness


@bound("lower", POSITIVE_SEMIDEFINITE)
def steepest_sample(s: Setting) -> float:
    """M_b ≥ E max_{i∈B} λ_max(Hᵢ)/b: H_B ⪰ Hᵢ/b for each i ∈ B."""
    return s.maximum_over_batch(s.sample_sharpness) / s.b


@bound("upper")
def single_sample(s: Setting) -> float:
    """M_b ≤ M₁ = (1/n) Σᵢ λ_max(Hᵢ): M_b falls with b."""
    return float(s.sample_sharpness.mean())


@bound("upper", POSITIVE_SEMIDEFINITE, WITHOUT_REPLACEMENT)
def full_batch_multiple(s: Setting) -> float:
    """M_b ≤ (n/b)·λ_max(H): H_B ⪯ (n/b)H."""
    return s.n / s.b * (s.sharpness + s.rounding)


@bound("upper", POSITIVE_SEMIDEFINITE)
def trace(s: Setting) -> float:
    """M_b ≤ tr H."""
    return float(np.trace(s.hessian))


@bound("upper")
def mean_squared_norm(s: Setting) -> float:
    """M_b ≤ √E‖H_B‖_F² = √(‖H‖_F² + c·mean‖Dᵢ‖_F²)."""
    return math.sqrt(s.mean_squared_norm)


@bound("upper")
def scatter(s: Setting) -> float:
    """M_b ≤ λ_max(H) + √(c·mean‖Dᵢ‖_F²): |λ_max(A) − λ_max(B)| ≤ ‖A−B‖_F."""
    return s.sharpness + math.sqrt(s.c * float(s.scatter.mean()))


@bound("upper")
def trace_and_norm(s: Setting) -> float:
    """M_b ≤ t/r + √((r−1)/r·(q − t²/r)), t = tr H, q = E‖H_B‖_F², r the largest possible rank of H_B.

    λ_max of r numbers of sum t and sum of squares q is at most this, and it is concave in (t, q).
    r = min(b, p) for rank-one samples, otherwise p. Source: Wolkowicz & Styan, Linear Algebra Appl. 1980.
    """
    r = min(s.b, s.p) if s.rank_one else s.p
    t, q = float(np.trace(s.hessian)), s.mean_squared_norm
    # q and t²/r cancel where all eigenvalues agree: their rounding is that of squares of norms.
    spread = max(q - t * t / r, 0.0) + s.relative_rounding * (q + t * t / r)
    return t / r + math.sqrt((r - 1) / r * spread)


@bound("upper", WITHOUT_REPLACEMENT, FEW_ENOUGH)
def complement(s: Setting) -> float:
    """M_b ≤ λ_max(H) + ((n−b)/b)·(1/n) Σᵢ λ_max(H−Hᵢ).

    b·E λ_max(H_B−H) = (n−b)·E λ_max(H−H_{B'}) for |B'| = n−b, and the latter falls with |B'|. For b = n−1 the gap of
    H_B−H itself.
    """
    return s.sharpness + (s.n - s.b) / s.b * (_mean_top_of_differences(s) + s.rounding)


def _mean_top_of_differences(s: Setting) -> float:
    """(1/n) Σᵢ λ_max(H − Hᵢ)."""
    differences = s.hessian - s.curvature.batch_matrices(np.arange(s.n)[:, None])
    return float(np.linalg.eigvalsh(differences)[:, -1].mean())


@bound("upper", RANK_ONE, Condition("b ≥ 2 and n of at most 2000", lambda s: s.b >= 2 and s.n <= 2000))
def pair(s: Setting) -> float:
    """M_b ≤ M₂ of the same scheme, from all pairs: M_b falls with b."""
    return mean_over_pairs(s)


def mean_over_pairs(s: Setting) -> float:
    """M₂ of rank-one samples: λ_max(½aaᵀ + ½a'a'ᵀ) = ¼(α+α') + ½√(¼(α−α')² + (a·a')²), α = ‖a‖²."""
    factors = s.rows
    gram = factors @ factors.T
    squares = np.diagonal(gram)
    half_sum, half_difference = (squares[:, None] + squares) / 2, (squares[:, None] - squares) / 2
    tops = (half_sum + np.hypot(half_difference, gram)) / 2
    if s.with_replacement:
        return float(tops.mean())
    return float((tops.sum() - np.trace(tops)) / (s.n * (s.n - 1)))
