"""Edges of sharpness-aware minimisation: the published one of the full loss, and the mean-square one on batches.

Without the norm a step of batch B is e ← (I − ηK_B)e, K_B = H_B + ρH_B². Means of K_B and of K_BMK_B hold up to four
batch Hessians. For Hᵢ = xᵢxᵢᵀ and H_B = XᵀWX, W = diag(w), they are sums over indices weighted by E[wᵢwⱼw_kw_l], which
depends only on which of the indices are equal: one sum for each partition of them.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.random_weights import check_draws_batches
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement
from esssim.stability.linearised import Linearised, linearise
from esssim.stability.symmetric import Moment, top_of_pencil_of

# Blocks of equal indices by the first index of each: (0, 1, 0) means i = k ≠ j, or i = k where the sum is not bound.
Partition = tuple[int, ...]
# Of other samples than rows every batch is formed, in no more numbers than so many.
MOST_NUMBERS = 20_000_000


def sharpness_aware_edge(step_size: float, radius: float, *, gradient_norm: float = 1.0) -> float:
    """The full-batch edge of sharpness-aware minimisation: the λ with λ + (ρ/‖g‖)λ² = 2/η.

    λ = (‖g‖/2ρ)(√(1 + 8ρ/(η‖g‖)) − 1), the sharpness at which a step along the top eigenvector turns e into −e. Without
    the norm in its steps ‖g‖ is replaced by 1, the default. It is below 2/η, and falls as the gradient does.

    step_size: η > 0; radius: ρ > 0; gradient_norm: ‖g‖ > 0. Returns a sharpness. Raises ValueError outside.
    Source: Long & Bartlett, JMLR 2024, arXiv 2309.12488.
    """
    eta, rho = _validate.real("step_size", step_size, above=0.0), _validate.real("radius", radius, above=0.0)
    reach = rho / _validate.real("gradient_norm", gradient_norm, above=0.0)
    # 2c/(1 + √(1 + 4ac)) solves λ + aλ² = c without cancellation.
    return 4 / eta / (1 + math.sqrt(1 + 8 * reach / eta))


@one_blas_thread()
def sharpness_aware_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    radius: float,
    *,
    hessian: HessianKind = "full",
) -> float:
    """The critical step size in mean square of θ ← θ − ηg_B(θ + ρg_B), sharpness-aware steps without the norm.

    2/Q, Q the top eigenvalue of M ↦ C⁻¹E[K_BMK_B], K_B = H_B + ρH_B², C(M) = ½(K̄M + MK̄), K̄ = E K_B. Exact: for
    samples of one row (linear regression; networks of one output with hessian="gauss_newton") from the fourth moments
    of the scheme, else from all batches. On the full loss it is 2/(λ_max + ρλ_max²).

    theta: (p,), a minimum. radius: ρ > 0. Infinite where H = 0. Raises ValueError as `critical_step_size`, for random
    weights, and where too many batches would have to be formed. Source: ours, `theory/sharpness_aware.py`.
    """
    rho = _validate.real("radius", radius, above=0.0)
    check_draws_batches(sampling, "sharpness-aware steps")
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return np.inf
    # In units of `scale` the Hessians are divided by it, and ρ is multiplied.
    rho *= linearised.scale
    if linearised.is_deterministic:
        top = float(linearised.pencil.eigenvalues[-1])
        return 2 / (top + rho * top**2) / linearised.scale
    rows = linearised.curvature.square_roots()
    if rows is not None and rows.shape[1] == 1 and type(sampling) in (WithoutReplacement, WithReplacement):
        mean, second_moment = _of_rows(rows[:, 0] @ linearised.pencil.eigenvectors, sampling, rho)
    else:
        mean, second_moment = _of_all_batches(linearised, sampling, rho)
    return 2 / top_of_pencil_of(mean, second_moment) / linearised.scale


def _of_all_batches(linearised: Linearised, sampling: Sampling, rho: float) -> tuple[FloatArray, Moment]:
    n, basis = linearised.curvature.n_samples, linearised.pencil.eigenvectors
    rank = basis.shape[1]
    most = max(MOST_NUMBERS // max(rank**2, n), 1)
    if not sampling.has_at_most(n, most):
        raise ValueError(
            f"sampling must have at most {most:,} batches where samples are not single rows, got "
            f"{sampling.count(n):,} (hessian='gauss_newton' needs none of a network of one output)"
        )
    ((batches, chances),) = sampling.enumerate(n, most)
    weights = np.zeros((len(batches), n))
    np.add.at(weights, (np.arange(len(batches))[:, None], batches), 1 / batches.shape[1])
    hessians = np.tensordot(weights, linearised.curvature.compressed(basis), 1)
    steps = hessians + rho * hessians @ hessians
    return np.tensordot(chances, steps, 1), lambda m: np.tensordot(chances, steps @ m @ steps, 1)


def _of_rows(rows: FloatArray, sampling: Sampling, rho: float) -> tuple[FloatArray, Moment]:
    """K̄ and M ↦ E[K_BMK_B] for Hᵢ = xᵢxᵢᵀ, `rows` (n, r).

    With G = XXᵀ and P = XMXᵀ: K_B = Xᵀ(W + ρWGW)X, K_BMK_B = Xᵀ(W + ρWGW)P(W + ρWGW)X.
    """
    n = len(rows)
    two, three, four = (_coefficients(order, n, sampling) for order in (2, 3, 4))
    gram = rows @ rows.T
    lengths = np.diagonal(gram)
    middle = np.eye(n) / n + rho * (two[0, 1] * gram + two[0, 0] * np.diag(lengths))

    def second_moment(matrix: FloatArray) -> FloatArray:
        p = rows @ matrix @ rows.T
        own = np.diagonal(p)
        gp = gram @ p
        gpg = gp @ gram
        crossed = np.diagonal(gp)
        total = two[0, 1] * p
        diagonal = two[0, 0] * own
        # E[W G W P W], and its transpose.
        once = three[0, 1, 2] * gp + three[0, 0, 1] * lengths[:, None] * p + three[0, 1, 1] * gram * own
        total = total + rho * (once + once.T)
        diagonal = diagonal + 2 * rho * (three[0, 1, 0] * crossed + three[0, 0, 0] * lengths * own)
        # E[W G W P W G W], of the indices i, j, k, l: those with i ≠ l, …
        twice = four[0, 1, 2, 3] * gpg + four[0, 1, 1, 2] * (gram * own) @ gram
        twice += four[0, 0, 1, 1] * lengths[:, None] * p * lengths + four[0, 1, 0, 1] * gram**2 * p
        half = four[0, 0, 1, 2] * lengths[:, None] * gp.T + four[0, 1, 0, 2] * crossed[:, None] * gram
        half += four[0, 0, 0, 1] * (lengths * own)[:, None] * gram
        total += rho**2 * (twice + half + half.T)
        # … and those with i = l.
        on = four[0, 1, 2, 0] * np.diagonal(gpg) + four[0, 1, 1, 0] * (gram**2 @ own)
        on = on + 2 * four[0, 0, 1, 0] * lengths * crossed + four[0, 0, 0, 0] * lengths**2 * own
        diagonal += rho**2 * on
        return np.asarray(rows.T @ (total @ rows + diagonal[:, None] * rows))

    return rows.T @ middle @ rows, second_moment


@cache
def _coefficients(order: int, n: int, sampling: Sampling) -> dict[Partition, float]:
    """a_σ with E Σ w_i w_j … f(i, j, …) = Σ_σ a_σ Σ f over indices that are equal within the blocks of σ.

    b^order·E of indices that are equal exactly as in π is (b)_k/(n)_k without replacement and (b)_k/n^k with, k the
    number of blocks; sums over different indices become free sums by Möbius inversion.
    """
    b, partitions = sampling.batch_size, _partitions(order)
    found = {}
    for coarse in partitions:
        total = Fraction(0)
        for fine in [coarse] if isinstance(sampling, WithReplacement) else partitions:
            blocks = {(i, j) for i, j in zip(fine, coarse, strict=True)}
            k = len(set(fine))
            if len(blocks) > k or k > b:
                continue
            among = n**k if isinstance(sampling, WithReplacement) else math.perm(n, k)
            inversion = 1
            for block in set(coarse):
                parts = sum(j == block for _, j in blocks)
                inversion *= (-1) ** (parts - 1) * math.factorial(parts - 1)
            total += Fraction(inversion * math.perm(b, k), b**order * among)
        found[coarse] = float(total)
    return found


def _partitions(order: int) -> list[Partition]:
    """All partitions of the first `order` indices, as strings that name each block by its order of appearance."""
    found: list[Partition] = [(0,)]
    for _ in range(order - 1):
        found = [(*start, block) for start in found for block in range(max(start) + 2)]
    return found
