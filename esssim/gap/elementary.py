"""Bounds on MiniBS from convexity, monotonicity and traces. Each rule rounds outwards; what multiplies rounding is
here.
"""

from __future__ import annotations

import math

import numpy as np

from esssim.gap.rules import POSITIVE_SEMIDEFINITE, WITHOUT_REPLACEMENT, Condition, bound
from esssim.gap.setting import Setting

# Numbers that the n eigenproblems of H without a sample may touch: half a second.
WORK_OF_LEAVING_OUT = 2e8
FEW_ENOUGH = Condition("n·p³ of at most 2e8", lambda s: s.n * s.p**3 <= WORK_OF_LEAVING_OUT)
# Pairs of rank-one samples are held as one n×n matrix; others take an eigenproblem for each pair.
LARGEST_N_OF_PAIRS, WORK_OF_PAIRS = 2000, 4e7
FEW_PAIRS = Condition(
    "n of at most 2000 for rank-one samples, n²p² of at most 4e7 for others",
    lambda s: s.n <= LARGEST_N_OF_PAIRS if s.rank_one else s.n**2 * s.p**2 <= WORK_OF_PAIRS,
)
AT_LEAST_TWO = Condition("b ≥ 2", lambda s: s.b >= 2)
NOT_EVERYONE = Condition("b ≤ n − 1", lambda s: s.b < s.n)


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


@bound("upper", AT_LEAST_TWO, FEW_PAIRS)
def pair(s: Setting) -> float:
    """M_b ≤ M₂ of the same scheme, from all pairs: M_b falls with b."""
    return s.pair_sharpness


@bound("lower", POSITIVE_SEMIDEFINITE, AT_LEAST_TWO, FEW_PAIRS)
def pair_multiple(s: Setting) -> float:
    """M_b ≥ (2/b)·M₂ of the same scheme: b·M_b rises with b."""
    return 2 / s.b * s.pair_sharpness


@bound("lower", NOT_EVERYONE, FEW_ENOUGH)
def leave_one_out(s: Setting) -> float:
    """M_b ≥ M_{n−1} without replacement: M_b falls with b, and is the larger with replacement."""
    return s.left_out_sharpness


@bound("upper", POSITIVE_SEMIDEFINITE, WITHOUT_REPLACEMENT, NOT_EVERYONE, FEW_ENOUGH)
def leave_one_out_multiple(s: Setting) -> float:
    """M_b ≤ ((n−1)/b)·M_{n−1}: b·M_b rises with b."""
    return (s.n - 1) / s.b * (s.left_out_sharpness + s.rounding)
