"""Where the gap has an exact finite form: the full batch or all but one, one parameter, one or two samples, orthogonal
rows.
"""

from __future__ import annotations

import numpy.typing as npt

from esssim._threads import one_blas_thread
from esssim.gap.elementary import FEW_ENOUGH, FEW_PAIRS, LARGEST_N_OF_PAIRS
from esssim.gap.results import Prediction
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling


@one_blas_thread()
def exact(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """The gap in a finite form, where there is one:

    b = n without replacement and p = 1: 0; b = 1: (1/n)Σᵢ λ_max(Hᵢ) − λ₁; b = 2: the mean of λ_max(½Hᵢ + ½Hⱼ) over
    pairs less λ₁, for rank-one samples ¼(α+α') + ½√(¼(α−α')² + (a·a')²), α = ‖a‖²; b = n − 1 without replacement: the
    mean of λ_max((nH − Hᵢ)/(n−1)) less λ₁; orthogonal rows without replacement: Σ_k C(k−1, b−1)/C(n, b)·‖a_k‖²/b − λ₁,
    ‖a₁‖ ≤ ‖a₂‖ ≤ …: the k-th smallest is the largest of a batch with this (hypergeometric) probability.

    error: rounding. theta: (p,). Raises ValueError for bad arguments.
    """
    return exact_at(Setting.of(problem, theta, sampling))


def exact_at(s: Setting) -> Prediction:
    """`exact` of a setting."""
    if s.c == 0.0:
        return _found(0.0, "the full batch", s)
    if s.p == 1:
        return _found(0.0, "one parameter", s)
    if s.b == 1:
        return _found(float(s.sample_sharpness.mean()) - s.sharpness, "b = 1", s)
    if s.b == 2 and FEW_PAIRS.holds(s):
        return _found(s.pair_sharpness - s.sharpness, "b = 2", s)
    if not s.with_replacement and s.b == s.n - 1 and FEW_ENOUGH.holds(s):
        return _found(s.left_out_sharpness - s.sharpness, "b = n − 1", s)
    if s.rank_one and not s.with_replacement and s.n <= LARGEST_N_OF_PAIRS and s.rows_are_orthogonal:
        return _found(s.maximum_over_batch(s.sample_sharpness) / s.b - s.sharpness, "orthogonal rows", s)
    return Prediction.refused(
        "exact", "needs b = 1, 2, n − 1 or n, p = 1, or orthogonal rows without replacement, and few enough samples"
    )


def _found(value: float, reason: str, s: Setting) -> Prediction:
    return s.predicted("exact", max(value, 0.0), s.rounding, reason)
