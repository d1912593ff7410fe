"""Bounds on MiniBS that are sharp to second order in the fluctuation, from moments of batch means up to the fourth.

With a = v₁ᵀH_Bv₁, d = H_Bv₁ − a·v₁ and G the rest of H_B, on v₁^⊥, X = λ_max(H_B) − a ≥ 0 has mean M_b − λ_max(H).
As X is the largest eigenvalue of [[0, dᵀ], [d, G − a]], κX ≤ ‖d‖² + ¼(κ + λ_max(G) − a)² for every κ > 0 at which the
bracket is of a non-negative number. The derivation: `theory/sharp_bounds.py`.
"""

from __future__ import annotations

import math

import numpy as np

from esssim._validate import FloatArray
from esssim.gap.elementary import FEW_PAIRS
from esssim.gap.rules import bound
from esssim.gap.setting import Setting

# Shifts of the resolvent that are tried, in units of √E‖H_B‖_F².
SHIFTS = (0.003, 0.02, 0.1, 0.5, 3.0)


@bound("upper")
def eigengap(s: Setting) -> float:
    """M_b ≤ λ_max(H) + min_κ [E‖d‖² + ¼(κ − g + N)²]/κ over κ ≥ g, N = √E D₁₁² + √E‖D_G‖_F², g = λ₁ − λ₂.

    For Hᵢ ⪰ 0 without replacement also with g = λ₁ − (n/b)λ₂, N = √E D₁₁²: G ⪯ (n/b)·(H on v₁^⊥).
    """
    if s.p == 1 or s.c == 0.0:
        return s.sharpness
    along, across = s.top_deviations[:, 0] ** 2, (s.top_deviations[:, 1:] ** 2).sum(axis=1)
    allowance = s.relative_rounding * s.largest_norm**2
    parts = (s.c * max(float(part.mean()), 0.0) + allowance for part in (across, along, s.scatter - 2 * across - along))
    return s.sharpness + _largest_mean(s, 1.0, *parts)


@bound("lower", FEW_PAIRS)
def resolvent(s: Setting) -> float:
    """M_b ≥ λ_max(H) + (E U)²/(E[a‖w‖² − wᵀH_Bw] + E[X‖w‖²]), w = Rd, U = dᵀRd, R = (λ₁ + σ − H)⁻¹ on v₁^⊥.

    X(X‖w‖² + a‖w‖² − wᵀH_Bw) ≥ U² is the Ritz value on span{v₁, w}; then Cauchy–Schwarz. E[X‖w‖²] is bounded as X is
    in `eigengap`, with the weight ‖w‖² in every mean. σ > 0: the best of five.
    """
    if s.p == 1 or s.c == 0.0:
        return s.sharpness
    size = math.sqrt(s.mean_squared_norm)
    if size <= s.rounding:
        return s.sharpness
    products = _Products(s)
    return s.sharpness + max(_ritz(s, products, shift * size) for shift in SHIFTS)


class _Products:
    """⟨D_i, D_j⟩ of the parts of D: D₁₁, d and D_G, each (n, n)."""

    def __init__(self, s: Setting) -> None:
        top = s.top_deviations
        self.along, self.across = np.outer(top[:, 0], top[:, 0]), top[:, 1:] @ top[:, 1:].T
        self.rest = s.deviation_products - 2 * self.across - self.along


def _ritz(s: Setting, products: _Products, shift: float) -> float:
    """The gap of the Ritz value with R in units of its largest entry, rounded downwards."""
    distances = s.sharpness - s.eigenvalues[1:] + shift
    top, weights = s.top_deviations, distances[0] / distances
    w = top[:, 1:] * weights
    squares, gram = (w**2).sum(axis=1), w @ w.T
    forms = s.curvature.quadratic_forms(w @ s.eigenvectors[:, 1:].T) - (w**2) @ s.eigenvalues[1:]
    numerator = s.c * float((top[:, 1:] * w).sum(axis=1).mean())
    own = s.c * float(((distances - shift) * w**2).sum(axis=1).mean())
    own += s.c3 * float((top[:, 0] * squares - forms).mean())
    size = s.relative_rounding * s.largest_norm**2
    weight = s.c * float(squares.mean()) + size

    def mean(inner: FloatArray) -> float:
        return max(s.mean_of_products(inner, gram), 0.0) + size * s.largest_norm**2

    parts = mean(products.across), mean(products.along), mean(products.rest)
    coupling = _largest_mean(s, weight, *parts)
    if s.positive_semidefinite and not s.with_replacement:
        # X ≤ (n/b)λ₁ − a.
        multiple = (s.n / s.b - 1) * s.sharpness * weight - s.c3 * float((top[:, 0] * squares).mean())
        coupling = min(coupling, multiple + size * s.largest_norm)
    return max(numerator - size, 0.0) ** 2 / (own + coupling + size * s.largest_norm)


def _largest_mean(s: Setting, weight: float, across: float, along: float, rest: float) -> float:
    """The bound on E[X·z] for E z = weight and the means of ‖d‖²z, D₁₁²z and ‖D_G‖²z."""
    second = float(s.eigenvalues[1])
    found = [least(s.sharpness - second, weight, across, math.sqrt(along) + math.sqrt(rest), s.rounding)]
    if s.positive_semidefinite and not s.with_replacement:
        found.append(least(s.sharpness - s.n / s.b * second, weight, across, math.sqrt(along), s.rounding * s.n))
    return min(found)


def least(distance: float, weight: float, across: float, spread: float, rounding: float) -> float:
    """min over κ ≥ max(g, 0) of [A + ¼(κ√z − g√z + N)²]/κ, at g = distance less its rounding."""
    g, root = distance - rounding, math.sqrt(weight)
    surplus = spread / root - g
    kappa = max(g, math.hypot(2 * math.sqrt(across) / root, surplus))
    return (across + weight * (kappa + surplus) ** 2 / 4) / kappa if kappa > 0 else 0.0
