"""The gap for rows like Gaussian ones: free probability for the edge, Tracy–Widom for its mean, outliers for a spike.

A batch of b rows of n with covariance H has the b×b Gram matrix of a free compression of the n×n one. In the variable w
of the full spectrum a₁ ≥ a₂ ≥ …, λ = F(w) = (w/b)·(b + S)/(1 + S/n), S(w) = Σ_k a_k/(w−a_k): the spectrum of H_B ends
at min_{w>a₁} F(w). n → ∞ is the Silverstein equation, the generalised Marchenko–Pastur law of b rows from a population.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gap.perturbation import second_term
from esssim.gap.results import Prediction
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling

# E of the Tracy–Widom distribution of real symmetric matrices (β = 1): Bornemann, Math. Comp. 2010.
TRACY_WIDOM_MEAN = -1.2065335745820
# |mean‖Dᵢ‖_F²/((tr H)² + tr H²) − 1|: 0 for Gaussian rows.
LARGEST_MISFIT = 0.35
LARGEST_KURTOSIS_MISFIT = 0.5
# Errors in units of the Tracy–Widom shift, and of the gap, measured on problems other than those the tables report.
EDGE_ERROR, EDGE_ERROR_PER_EIGENVALUE, MISFIT_ERROR = 0.1, 0.5, 1.2
SMALLEST_SLOPE = 0.3


@dataclass(frozen=True)
class Edge:
    """Where the spectrum of H_B ends, the scale of the fluctuation of λ_max there, and how many eigenvalues make it.

    mean of λ_max ≈ value − 1.2065·scale; w: the minimiser; n_effective: the participation number of the a_k/(w−a_k)².
    """

    value: float
    scale: float
    w: float
    n_effective: float

    @property
    def mean(self) -> float:
        """value − 1.2065·scale."""
        return self.value + TRACY_WIDOM_MEAN * self.scale


def spectral_edge(eigenvalues: npt.ArrayLike, batch_size: float, n_samples: float = math.inf) -> Edge:
    """The edge of the spectrum of H_B for b Gaussian rows of covariance `eigenvalues`, drawn from n of them.

    eigenvalues: (r,), non-negative, not all zero, at most n of them positive: those of H. n_samples = inf is a
    population (Silverstein). The scale is (b·|dG/dw|·√(2/F''))^{−2/3}, G = (1 + S/n)/w. The numbers b and n need not be
    integers. Raises ValueError for bad arguments. Source: Silverstein & Choi 1995; Nica & Speicher 1996 (free
    compression); El Karoui, Ann. Probab. 2007 (scale).
    """
    a = np.sort(_validate.real_array("eigenvalues", eigenvalues, ("r",)))[::-1]
    if a[-1] < 0.0 or a[0] <= 0.0:
        raise ValueError(f"eigenvalues must be non-negative and not all zero, got {a[-1]:g} to {a[0]:g}")
    b = _validate.real("batch_size", batch_size, above=0.0)
    if not n_samples > b:
        raise ValueError(f"n_samples must be above batch_size = {b:g}, got {n_samples!r}")
    if not np.count_nonzero(a) <= n_samples:
        raise ValueError(
            f"eigenvalues must hold at most n_samples = {n_samples:g} positive ones, got {np.count_nonzero(a)}"
        )
    return _edge(a[a > 0], b, n_samples, 1.0)


def _edge(a: FloatArray, b: float, n: float, weight: float) -> Edge:
    """`spectral_edge` where each eigenvalue counts `weight` times."""
    top = float(a[0])

    def slope(log_distance: float) -> float:
        """d log F/d log w at w = a₁(1 + e^x)."""
        w = top * (1 + math.exp(log_distance))
        total, first, _ = _sums(a, w, weight)
        return 1 + w * first * (1 / (b + total) - (0.0 if math.isinf(n) else 1 / (n + total)))

    low, high = -35.0, 60.0
    if slope(low) >= 0.0:  # b so near n that nothing is left to fluctuate
        return Edge(top * n / b, 0.0, top, 1.0)
    log_distance = float(brentq(slope, low, high, xtol=1e-13))
    w = top * (1 + math.exp(log_distance))
    total, first, second = _sums(a, w, weight)
    value = w / b * (b + total) / (1 + total / n)
    # At the minimum F''/F = (log F)''.
    log_second = -1 / w**2 + second / (b + total) - (first / (b + total)) ** 2
    if not math.isinf(n):
        log_second += -second / (n + total) + (first / (n + total)) ** 2
    green_slope = -(1 + total / n) / w**2 + first / (n * w)
    scale = (b * abs(green_slope) * math.sqrt(2 / (value * log_second))) ** (-2 / 3)
    shares = a / (w - a) ** 2
    return Edge(value, scale, w, float(shares.sum() ** 2 / (shares**2).sum()))


def _sums(a: FloatArray, w: float, weight: float) -> tuple[float, float, float]:
    """S, S' and S''."""
    distance = w - a
    return (
        weight * float((a / distance).sum()),
        -weight * float((a / distance**2).sum()),
        2 * weight * float((a / distance**3).sum()),
    )


def outlier(eigenvalues: npt.ArrayLike, batch_size: float, n_samples: float = math.inf) -> tuple[float, float]:
    """Where the top eigenvalue a₁ of H shows up in the spectrum of H_B: (F(a₁), F'(a₁)) with a₁ itself left out of S.

    It stands clear of the others exactly where F'(a₁) > 0. For a population F(a₁) = a₁(1 + (1/b)Σ_{k≥2} a_k/(a₁−a_k));
    for n samples n in F becomes b(n−1)/(b−1), so that F(a₁) − a₁ is c·a₁S to first order, as in perturbation theory.
    eigenvalues, batch_size, n_samples and errors as for `spectral_edge`; the top one must be simple. Source: Baik, Ben
    Arous & Péché, Ann. Probab. 2005; Benaych-Georges & Nadakuditi, Adv. Math. 2011.
    """
    a = np.sort(_validate.real_array("eigenvalues", eigenvalues, ("r",)))[::-1]
    b = _validate.real("batch_size", batch_size, above=0.0)
    if len(a) == 1:
        return float(a[0]), 1.0
    w, rest = float(a[0]), a[1:]
    if not w > rest[0] >= 0.0:
        raise ValueError(f"eigenvalues must be non-negative with a simple top one, got {w:g} and {rest[0]:g}")
    total, first, _ = _sums(rest, w, 1.0)
    # The finite n that gives the coefficient of S its exact value, c = (n−b)/(b(n−1)) = 1/b − 1/n'.
    inverse = 0.0 if math.isinf(n_samples) else (b - 1) / (b * (n_samples - 1))
    value = w / b * (b + total) / (1 + total * inverse)
    slope = 1 / w + first / (b + total) - first * inverse / (1 + total * inverse)
    return value, slope * value


@one_blas_thread()
def marchenko_pastur(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """gap ≈ edge − 1.2065·scale − λ_max(H), the edge of `spectral_edge` at the eigenvalues of H.

    b, the rank and n enter less ½, ½ and 1, which takes up the next order in the size of the matrix (Johnstone & Ma,
    Ann. Appl. Probab. 2012, for white rows). Without replacement n is that of the data, with replacement infinite.
    error: 1.2065·scale·(0.1 + 0.5/n_effective) + 1.2·|misfit|·gap, misfit = mean‖Dᵢ‖_F²/((tr H)² + tr H²) − 1. Valid
    for rank-one samples whose misfit is at most 35 %, and that of the median kurtosis of v_kᵀaᵢ at most 50 % (both are
    0 for Gaussian rows), where at least 1.5 eigenvalues make the edge; with replacement for few repeated rows, b² ≤
    n/2. theta: (p,). Raises ValueError for bad arguments.
    """
    return marchenko_pastur_at(Setting.of(problem, theta, sampling))


@one_blas_thread()
def spike(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """gap ≈ ρ(F(λ₁) − λ₁) with λ₁ an outlier of the batch spectrum (`outlier`).

    ρ = Σ_k mean D₁ₖ²/gₖ over Σ_k λ₁λ_k/gₖ, its value for Gaussian rows: the leading order is that of the samples, the
    higher ones those of Gaussian rows. error: |gap|·(|1 − F'| + |ρ − 1|) + the distance to the second order, to which
    the samples tend as b → n. Valid for rank-one samples with Gaussian-like moments (see `marchenko_pastur`) where
    F' > 0.3: the outlier clears the edge. theta: (p,). Raises ValueError for bad arguments. Source: as for `outlier`.
    """
    return spike_at(Setting.of(problem, theta, sampling))


@one_blas_thread()
def additive_noise(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """gap ≈ cσ²/λ₁, σ² = mean‖Dᵢ‖_F²/(p+1): batch noise as one Wigner matrix, λ₁ + (σ²/λ₁)(1/b − 1/n).

    σ is half the edge of that matrix at c = 1; c = (1/b − 1/n)·n/(n−1) without replacement. Valid where λ₁ clears the
    noise, λ₁² ≥ 4cσ², and all other eigenvalues of H are within a quarter of λ₁. error: twice the distance to the
    second-order value, which has the true variances instead of one number, plus c²σ⁴/λ₁³. theta: (p,). Raises
    ValueError for bad arguments. Source: Granziol, Zohren & Roberts, JMLR 2022.
    """
    return additive_noise_at(Setting.of(problem, theta, sampling))


def marchenko_pastur_at(s: Setting) -> Prediction:
    """`marchenko_pastur` of a setting."""
    method = "Marchenko–Pastur"
    if (refusal := _not_gaussian_rows(method, s)) is not None:
        return refusal
    a = _positive_eigenvalues(s)
    b, n = s.b - 0.5, math.inf if s.with_replacement else s.n - 1.0
    edge = _edge(a, b, n, min(len(a) - 0.5, n) / len(a))
    if edge.n_effective < 1.5:
        return Prediction.refused(method, f"needs at least 1.5 eigenvalues at the edge, {edge.n_effective:.3g} make it")
    value = b / s.b * edge.mean - s.sharpness
    if value <= 0.0:
        return Prediction.refused(method, "its edge is below the sharpness")
    error = edge.scale * abs(TRACY_WIDOM_MEAN) * (EDGE_ERROR + EDGE_ERROR_PER_EIGENVALUE / edge.n_effective)
    error += value * MISFIT_ERROR * abs(_misfit(s))
    misfit, n_effective = abs(_misfit(s)), edge.n_effective
    reason = f"rows of Gaussian scatter within {misfit:.0%}, {n_effective:.3g} eigenvalues at the edge"
    return s.predicted(method, value, error, reason, misfit=misfit, n_effective=n_effective)


def spike_at(s: Setting) -> Prediction:
    """`spike` of a setting."""
    method = "spike"
    if (refusal := _not_gaussian_rows(method, s)) is not None:
        return refusal
    a = _positive_eigenvalues(s)
    if len(a) > 1 and not a[0] - a[1] > s.rounding:
        return Prediction.refused(method, "needs a simple top eigenvalue")
    location, slope = outlier(a, s.b, math.inf if s.with_replacement else s.n)
    if slope <= SMALLEST_SLOPE:
        return Prediction.refused(
            method, f"needs an outlier clear of the edge, F' above {SMALLEST_SLOPE:g}, it is {slope:.3g}"
        )
    correction = _second_order_ratio(s)
    value = correction * (location - s.sharpness)
    error = abs(value) * (abs(1 - slope) + abs(correction - 1)) + abs(value - second_term(s))
    reason = f"an outlier clear of the edge, F' = {slope:.3g}; {correction:.3g} of the variances of Gaussian rows"
    return s.predicted(method, value, error, reason, slope=slope, variance_ratio=correction)


def _second_order_ratio(s: Setting) -> float:
    """Σ_k mean D₁ₖ²/gₖ of the samples over Σ_k λ₁λ_k/gₖ of Gaussian rows."""
    gaps = s.sharpness - s.eigenvalues[1:]
    gaussian = float((s.sharpness * np.maximum(s.eigenvalues[1:], 0.0) / gaps).sum())
    return float(((s.top_deviations[:, 1:] ** 2).mean(axis=0) / gaps).sum()) / gaussian if gaussian > 0 else 1.0


def additive_noise_at(s: Setting) -> Prediction:
    """`additive_noise` of a setting."""
    method = "additive noise"
    if s.p == 1 or s.c == 0.0:
        return s.predicted(method, 0.0, 0.0, "one parameter, or the full batch: no gap")
    variance = s.c * float(s.scatter.mean()) / (s.p + 1)
    if not s.sharpness > max(2 * math.sqrt(variance), s.rounding):
        return Prediction.refused(method, "needs a sharpness above the edge of the noise")
    if max(abs(float(s.eigenvalues[1])), abs(float(s.eigenvalues[-1]))) > s.sharpness / 4:
        return Prediction.refused(method, "needs all other eigenvalues of H within a quarter of the sharpness")
    value = variance / s.sharpness
    error = 2 * abs(second_term(s) - value) + variance**2 / s.sharpness**3
    return s.predicted(method, value, error, "one steep direction in noise spread over all others")


def _positive_eigenvalues(s: Setting) -> FloatArray:
    return s.eigenvalues[s.eigenvalues > s.rounding]


def _misfit(s: Setting) -> float:
    """mean‖Dᵢ‖_F²/((tr H)² + tr H²) − 1: for Gaussian rows E‖aaᵀ − H‖_F² is the denominator."""
    return float(s.scatter.mean()) / (float(np.trace(s.hessian)) ** 2 + float((s.eigenvalues**2).sum())) - 1


def _kurtosis_misfit(s: Setting) -> float:
    """The median over k of ((n+2)/n)·mean zₖ⁴/(3(mean zₖ²)²) − 1, zₖ = v_kᵀaᵢ: 0 for Gaussian rows.

    A Gaussian zₖ of known length is uniform on a sphere in ℝⁿ, where E zₖ⁴ = 3n/(n+2)·(mean zₖ²)².
    """
    keep = s.eigenvalues > s.rounding
    squares = (s.rows @ s.eigenvectors[:, keep]) ** 2
    fourth = (squares**2).mean(axis=0) / squares.mean(axis=0) ** 2
    return float(np.median(fourth)) / 3 * (s.n + 2) / s.n - 1


def _not_gaussian_rows(method: str, s: Setting) -> Prediction | None:
    if s.c == 0.0 or s.largest_norm == 0.0:
        return Prediction.refused(method, "needs batches that differ")
    if not s.rank_one:
        return Prediction.refused(method, "needs rank-one samples")
    if not abs(_misfit(s)) <= LARGEST_MISFIT:
        return Prediction.refused(
            method, f"needs rows of Gaussian scatter within {LARGEST_MISFIT:.0%}, it is off by {_misfit(s):+.0%}"
        )
    if not abs(_kurtosis_misfit(s)) <= LARGEST_KURTOSIS_MISFIT:
        return Prediction.refused(
            method,
            f"needs components of Gaussian kurtosis within {LARGEST_KURTOSIS_MISFIT:.0%}, it is off by "
            f"{_kurtosis_misfit(s):+.0%}",
        )
    if s.with_replacement and s.b**2 > s.n / 2:
        return Prediction.refused(
            method, f"needs few repeated rows with replacement, b² ≤ n/2, got b = {s.b}, n = {s.n}"
        )
    return None
