"""Lower bounds on MiniBS from trial vectors: Ritz values and ratios of moments of H_B.

Those that average a ratio over batches enumerate them; the others replace E[Q/y] by (E Q)²/E[Qy] (Cauchy–Schwarz),
which the second and third moments of the samples give exactly.
"""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.gap.rules import ENUMERABLE, POSITIVE_SEMIDEFINITE, bound
from esssim.gap.setting import Setting


@bound("lower")
def power_moments(s: Setting) -> float:
    """M_b ≥ (E Q)²/E[Qy] − σ, Q = ‖(H_B+σ)v₁‖², y = v₁ᵀ(H_B+σ)v₁, σ ≥ 0 so that every Hᵢ + σ ⪰ 0.

    λ_max(H_B) ≥ Q/y − σ, as A ⪯ λ_max(A) for A = H_B + σ gives vᵀA²v ≤ λ_max(A) vᵀAv.
    """
    shift = max(0.0, -s.smallest) if not s.positive_semidefinite else 0.0
    mean, deviations = s.sharpness + shift, s.top_deviations
    along = deviations[:, 0]
    square = (deviations**2).sum(axis=1)
    size = s.largest_norm + shift
    return _ratio_of_moments(s, mean**2, mean, square, mean * along, along, size) - shift


@bound("lower", POSITIVE_SEMIDEFINITE)
def trace_moments(s: Setting) -> float:
    """M_b ≥ (E Q)²/E[Qt], Q = ‖H_B‖_F², t = tr H_B: tr A² ≤ λ_max(A) tr A for A ⪰ 0."""
    traces = s.curvature.traces()
    along = s.curvature.inner_products(s.hessian)
    size = max(s.largest_norm, float(np.abs(traces).max()))
    squared_mean = float((s.hessian**2).sum())
    return _ratio_of_moments(
        s, squared_mean, float(traces.mean()), s.scatter, along - along.mean(), traces - traces.mean(), size
    )


def _ratio_of_moments(
    s: Setting,
    square_of_mean: float,
    mean: float,
    square: FloatArray,
    inner: FloatArray,
    deviation: FloatArray,
    size: float,
) -> float:
    """(E Q)²/E[Qy], rounded downwards, for Q = ‖x_B‖², y = y_B, batch means of vectors xᵢ and numbers yᵢ.

    E Q = ‖x̄‖² + c·mean‖δxᵢ‖²,
    E[Qy] = ‖x̄‖²ȳ + c(ȳ·mean‖δxᵢ‖² + 2·mean(x̄·δxᵢ δyᵢ)) + c₃·mean(‖δxᵢ‖²δyᵢ).
    """
    first = square_of_mean + s.c * float(square.mean())
    second = square_of_mean * mean + s.c * (mean * float(square.mean()) + 2 * float((inner * deviation).mean()))
    second += s.c3 * float((square * deviation).mean())
    # Sums of squares and cubes of numbers of up to `size`.
    first -= s.relative_rounding * size**2
    second += s.relative_rounding * size**3
    return first**2 / second if first > 0 else 0.0


@bound("lower", POSITIVE_SEMIDEFINITE, ENUMERABLE)
def power(s: Setting) -> float:
    """M_b ≥ E[v₁ᵀH_B²v₁ / v₁ᵀH_Bv₁], 0 where a batch has H_Bv₁ = 0: also ≥ λ_max(H), by Cauchy–Schwarz."""
    batches, weights = s.every_batch
    images = _images_of_top(s)[batches].mean(axis=1)
    # A batch that hardly sees v₁ has rounding over rounding: each part is rounded so that the ratio can only fall.
    lengths = np.maximum(np.sqrt((images**2).sum(axis=1)) - s.rounding, 0.0)
    forms = np.abs(images @ s.eigenvectors[:, 0]) + s.rounding
    return float(weights @ (lengths**2 / np.where(forms > 0, forms, np.inf)))


@bound("lower", POSITIVE_SEMIDEFINITE, ENUMERABLE)
def trace_ratio(s: Setting) -> float:
    """M_b ≥ E[tr H_B²/tr H_B], 0 where a batch has H_B = 0."""
    batches, weights = s.every_batch
    matrices = s.curvature.batch_matrices(batches)
    traces = np.einsum("mii->m", matrices)
    ratios = np.einsum("mij,mij->m", matrices, matrices) / np.where(traces > 0, traces, np.inf)
    return float(weights @ ratios)


@bound("lower", ENUMERABLE)
def two_vectors(s: Setting) -> float:
    """M_b ≥ E of the larger Ritz value of H_B on span{v₁, H_Bv₁}; also ≥ λ_max(H)."""
    batches, weights = s.every_batch
    top = s.eigenvectors[:, 0]
    images = _images_of_top(s)[batches].mean(axis=1)
    along = images @ top
    across = images - along[:, None] * top
    length = np.sqrt((across**2).sum(axis=1))
    # A direction lost in rounding is no direction: v₁ alone is left.
    seen = length > s.rounding
    units = np.where(seen[:, None], across, 0.0) / np.where(seen, length, 1.0)[:, None]
    # Rounding leaves a trace of v₁ in short units, which a second projection removes.
    units -= (units @ top)[:, None] * top
    units /= np.where(seen, np.sqrt((units**2).sum(axis=1)), 1.0)[:, None]
    second = s.curvature.batch_quadratic_forms(batches, units)
    coupling = np.where(seen, (images * units).sum(axis=1), 0.0)
    larger = (along + second) / 2 + np.hypot((along - second) / 2, coupling)
    return float(weights @ np.where(seen, larger, along))


def _images_of_top(s: Setting) -> FloatArray:
    return s.curvature.images(np.ascontiguousarray(s.eigenvectors[:, 0]))
