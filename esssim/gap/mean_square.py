"""Bounds on the mean-square sharpness Q_b = λ_max(C⁺D), C = ½(H⊗I + I⊗H), D = E[H_B⊗H_B]."""

from __future__ import annotations

import numpy as np

from esssim.gap.rules import ENUMERABLE, POSITIVE_SEMIDEFINITE, POSITIVE_SHARPNESS, WITHOUT_REPLACEMENT, Rule, bound
from esssim.gap.setting import Setting
from esssim.spectra import largest_eigenvalues
from esssim.statistics.perron import RANK_TOLERANCE


@bound("lower", POSITIVE_SHARPNESS)
def top_direction(s: Setting) -> float:
    """Q_b ≥ E(v₁ᵀH_Bv₁)²/λ₁ = λ₁ + c·Var(v₁ᵀHᵢv₁)/λ₁: the ratio ⟨M, DM⟩/⟨M, CM⟩ at M = v₁v₁ᵀ; never below λ_max(H)."""
    # A sharpness that is the rest of what cancels has few digits, and divides.
    deviation = max(float(np.sqrt((s.top_deviations[:, 0] ** 2).mean())) - s.rounding, 0.0)
    return s.sharpness + s.c * deviation**2 / (s.sharpness + s.rounding)


@bound("lower", POSITIVE_SEMIDEFINITE, POSITIVE_SHARPNESS)
def identity(s: Setting) -> float:
    """Q_b ≥ E tr H_B²/tr H: the same ratio at M = I."""
    # Q_b is taken without the eigenvectors of H that are rounding: on the others the mean square is smaller by
    # 2S·(their sum).
    left_out = float(s.eigenvalues[s.eigenvalues <= RANK_TOLERANCE * s.sharpness].clip(0.0).sum())
    return (s.mean_squared_norm - 2 * s.largest_norm * left_out) / float(np.trace(s.hessian))


@bound("upper", POSITIVE_SEMIDEFINITE, POSITIVE_SHARPNESS)
def second_moment(s: Setting) -> float:
    """Q_b ≤ λ_max(H⁺E[H_B²]) = λ_max(H + c·H^{−½}VH^{−½}) on the range of H."""
    keep = s.eigenvalues > RANK_TOLERANCE * s.sharpness
    basis = s.eigenvectors[:, keep] / np.sqrt(s.eigenvalues[keep])
    added = float(np.linalg.eigvalsh(basis.T @ (s.hessian @ s.hessian + s.c * s.variance_matrix) @ basis)[-1])
    # Rounding in V is divided by the smallest eigenvalue that is kept.
    return added + s.relative_rounding * s.largest_norm**2 / float(s.eigenvalues[keep][-1])


@bound("upper", POSITIVE_SEMIDEFINITE, ENUMERABLE)
def steepest_batch(s: Setting) -> float:
    """Q_b ≤ max_B λ_max(H_B)."""
    batches, _ = s.every_batch
    return float(largest_eigenvalues(s.curvature, batches).max())


@bound("upper", POSITIVE_SEMIDEFINITE)
def steepest_sample(s: Setting) -> float:
    """Q_b ≤ max_B λ_max(H_B) ≤ max_i λ_max(Hᵢ)."""
    return float(s.sample_sharpness.max())


@bound("upper", POSITIVE_SEMIDEFINITE, WITHOUT_REPLACEMENT)
def full_batch_multiple(s: Setting) -> float:
    """Q_b ≤ max_B λ_max(H_B) ≤ (n/b)·λ_max(H)."""
    return s.n / s.b * (s.sharpness + s.rounding)


MEAN_SQUARE_RULES: tuple[Rule, ...] = (
    top_direction,
    identity,
    second_moment,
    steepest_batch,
    steepest_sample,
    full_batch_multiple,
)
