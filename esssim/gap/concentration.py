"""Matrix concentration: bounds on MiniBS from the Laplace transform of independent sums.

Every bound holds without replacement too: E tr exp(θH_B) is then no larger (Gross & Nesme 2010, arXiv 1001.2738).
Source: Tropp, User-friendly tail bounds for sums of random matrices, Found. Comput. Math. 2012; intrinsic dimension in
expectation by the same steps with e^u − 1 or e^u − u − 1 in the place of e^u.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

from esssim._validate import FloatArray
from esssim.gap.rules import POSITIVE_SEMIDEFINITE, RANK_ONE, bound
from esssim.gap.setting import Setting

# Any θ > 0 gives a bound. These, in units of b/L, reach from where the variance rules to where L does.
GRID = np.geomspace(1e-3, 60.0, 240)
# e to this, times any dimension, is a double.
LARGEST_EXPONENT = 600.0


@bound("upper")
def bernstein(s: Setting) -> float:
    """M_b ≤ λ_max(H) + √(2‖V‖ log p/b) + L log p/(3b), L = max λ_max(Hᵢ) − λ_min(H) ≥ max λ_max(Dᵢ).

    Without replacement also ((n−b)/b) times the same of the n−b other samples, L = λ_max(H) − min λ_min(Hᵢ).
    """
    variance = float(s.variance_eigenvalues[-1]) + s.relative_rounding * s.largest_norm**2

    def excess(b: int, largest: float) -> float:
        return math.sqrt(2 * variance * math.log(s.p) / b) + (largest + s.rounding) * math.log(s.p) / (3 * b)

    return s.sharpness + _direct_or_complement(s, excess)


@bound("upper")
def bernstein_intrinsic(s: Setting) -> float:
    """M_b ≤ λ_max(H) + inf_θ ψ⁻¹(Σ_k (e^{bφ v_k} − 1))/θ, v_k the eigenvalues of V.

    ψ(u) = e^u − u − 1, φ = (e^x − x − 1)/L², x = θL/b: Bennett's form, with tr V/‖V‖ in the role of the dimension p.
    L as in `bernstein`, the other samples as there.
    """
    variances = s.variance_eigenvalues + s.relative_rounding * s.largest_norm**2

    def excess(b: int, largest: float) -> float:
        # A larger L is as true; one far below the standard deviation would leave no θ of the grid in range.
        largest = max(largest + s.rounding, math.sqrt(float(variances[-1])) / 100)
        exponents = b * (np.expm1(GRID) - GRID)[:, None] * (variances / largest**2)
        usable = exponents[:, -1] < LARGEST_EXPONENT
        traces = np.expm1(exponents[usable]).sum(axis=1)
        return float((_inverse_psi(traces) * largest / (b * GRID[usable])).min())

    # No sample differs from zero: nothing to divide by, and no gap.
    return s.sharpness + (_direct_or_complement(s, excess) if s.largest_norm > 0.0 else 0.0)


def _direct_or_complement(s: Setting, excess: Callable[[int, float], float]) -> float:
    direct = excess(s.b, float(s.sample_sharpness.max()) - float(s.eigenvalues[-1]))
    if s.with_replacement:
        return direct
    if s.b == s.n:
        return 0.0
    others = s.n - s.b
    return min(direct, others / s.b * excess(others, s.sharpness - s.smallest))


def _inverse_psi(values: FloatArray) -> FloatArray:
    """u ≥ 0 with e^u − u − 1 = q, from above: Newton's method on a convex function never undershoots."""
    root = np.minimum(np.sqrt(2 * values), np.log1p(values) + 1)
    for _ in range(8):
        slope = np.expm1(root)
        root = np.where(slope > 0, root - (slope - root - values) / np.where(slope > 0, slope, 1.0), root)
    return np.asarray(root)


@bound("upper", POSITIVE_SEMIDEFINITE)
def chernoff(s: Setting) -> float:
    """M_b ≤ inf_θ [(e^x − 1)/x·λ_max(H) + (L/b) log p/x], x = θL/b, L = max λ_max(Hᵢ)."""
    largest = float(s.sample_sharpness.max()) / s.b
    values = np.expm1(GRID) / GRID * s.sharpness + largest * math.log(s.p) / GRID
    return float(values.min())


@bound("upper", POSITIVE_SEMIDEFINITE)
def chernoff_intrinsic(s: Setting) -> float:
    """M_b ≤ inf_θ (1/θ) log(1 + Σ_k (e^{gλ_k} − 1)), g = (e^x − 1)b/L, x = θL/b, L = max λ_max(Hᵢ)."""
    largest = float(s.sample_sharpness.max()) / s.b
    if largest <= 0.0:
        return 0.0
    eigenvalues = np.maximum(s.eigenvalues, 0.0)
    exponents = np.expm1(GRID)[:, None] * (eigenvalues / largest)
    return float((_log_one_plus_excess(exponents) * largest / GRID).min())


@bound("upper", POSITIVE_SEMIDEFINITE, RANK_ONE)
def laplace(s: Setting) -> float:
    """M_b ≤ inf_θ (1/θ) log(1 + tr[(mean e^{θHᵢ/b})ᵇ − I]): the bound that Chernoff's loosens.

    For Hᵢ = aᵢaᵢᵀ, e^{θHᵢ/b} = I + (e^{θ‖aᵢ‖²/b} − 1)/‖aᵢ‖²·aᵢaᵢᵀ.
    """
    squares = s.sample_sharpness / s.b
    largest = float(squares.max())
    if largest <= 0.0:
        return 0.0
    factors = s.rows
    lengths = np.where(squares > 0, squares, 1.0) * s.b

    def value(log_x: float) -> float:
        x = math.exp(log_x)
        weights = np.expm1(x * squares / largest) / lengths
        growth = np.linalg.eigvalsh(factors.T @ (weights[:, None] * factors) / s.n)
        return float(_log_one_plus_excess(s.b * np.log1p(np.maximum(growth, 0.0)))) * largest / x

    best = minimize_scalar(
        value, bounds=(math.log(GRID[0]), math.log(GRID[-1])), method="bounded", options={"xatol": 0.03}
    )
    return float(best.fun)


def _log_one_plus_excess(exponents: FloatArray) -> FloatArray:
    """log(1 + Σ_k (e^{x_k} − 1)) over the last axis, for x_k ≥ 0 of any size."""
    top = exponents.max(axis=-1)
    shifted = np.exp(exponents - top[..., None]) - np.exp(-top)[..., None]
    large = top + np.log(np.exp(-top) + shifted.sum(axis=-1))
    small = np.log1p(np.expm1(np.minimum(exponents, 1.0)).sum(axis=-1))
    return np.asarray(np.where(top < 1.0, small, large))
