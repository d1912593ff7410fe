"""Mean-square sharpness of networks with too many outputs for the exact route: on growing eigenspaces, from below."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.problem import TorchProblem
from esssim.curvature import BlockCurvature
from esssim.sampling import Sampling, check_sampling
from esssim.statistics.mean_square import top_of_pencil

ITERATIONS = 3


class SubspaceSharpness(NamedTuple):
    """Q_b on the top `rank` eigenvectors; `increment` is what the last doubling of the rank added, relative to it.

    ranks and values: every rank that was tried, and Q_b there. complete: whether the last one holds the whole range, so
    that the value is Q_b itself.
    """

    value: float
    rank: int
    increment: float
    ranks: tuple[int, ...]
    values: tuple[float, ...]
    complete: bool


@one_blas_thread()
def mean_square_sharpness_in_subspace(
    problem: TorchProblem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    first_rank: int = 50,
    tolerance: float = 1e-3,
    max_rank: int = 800,
) -> SubspaceSharpness:
    """Mean-square sharpness with Gauss–Newton blocks JᵢᵀSᵢJᵢ, on the top r eigenvectors of their mean.

    max ⟨M, D(M)⟩/⟨M, C(M)⟩ over M = VNVᵀ, V (p, r): a lower bound on Q_b that grows with r, which is doubled from
    first_rank until a doubling adds at most `tolerance` of the value. One application of D costs O(n·c·r²).

    theta: (p,). Raises ValueError for bad arguments, RuntimeError where max_rank is not enough, with the values so far.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850 (D and C).
    """
    _validate.instance("problem", problem, TorchProblem, "TorchProblem(module, inputs, targets)")
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    rank = _validate.integer("first_rank", first_rank, 1)
    _validate.real("tolerance", tolerance, above=0.0, below=1.0)
    _validate.integer("max_rank", max_rank, rank)
    curvature = problem.gauss_newton_curvature(point)
    scale = curvature.scale()
    roots = curvature.scaled(scale).square_roots()
    assert roots is not None
    blocks = BlockCurvature(roots)
    c = sampling.variance_coefficient(problem.n_samples)
    largest = min(blocks.rows().shape)
    basis = np.empty((problem.n_params, 0))
    ranks: list[int] = []
    values: list[float] = []
    while True:
        rank = min(rank, largest)
        basis = _top_subspace(blocks.rows(), rank, basis)
        ranks.append(rank)
        values.append(top_of_pencil(blocks.in_basis(basis), c).value * scale)
        increment = 1.0 - values[-2] / values[-1] if len(values) > 1 else np.inf
        complete = rank == largest
        if complete or increment <= tolerance:
            return SubspaceSharpness(values[-1], rank, max(increment, 0.0), tuple(ranks), tuple(values), complete)
        if 2 * rank > max_rank:
            tried = ", ".join(f"{value:.6g} (r = {r})" for r, value in zip(ranks, values, strict=True))
            raise RuntimeError(
                f"mean_square_sharpness_in_subspace did not converge to tolerance = {tolerance:g} "
                f"within max_rank = {max_rank}: {tried}"
            )
        rank *= 2


def _top_subspace(rows: FloatArray, rank: int, start: FloatArray) -> FloatArray:
    """Orthonormal (p, r) next to the top r eigenvectors of AᵀA, rows A (m, p): subspace iteration from `start` (p, s).

    Any orthonormal V gives a lower bound, so that what the iteration leaves is part of the increment of the next rank.
    Source: Halko, Martinsson & Tropp, SIAM Review 2011.
    """
    p = rows.shape[1]
    width = min(*rows.shape, rank + max(10, rank // 10))
    if 2 * width >= p:
        _, vectors = scipy.linalg.eigh(rows.T @ rows, driver="evd")
        return np.ascontiguousarray(vectors[:, : -rank - 1 : -1])
    random = np.random.default_rng(0).standard_normal((p, width - start.shape[1]))
    basis = np.hstack((start, random))
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    images = rows @ basis
    _, vectors = np.linalg.eigh(images.T @ images)
    return np.asarray(basis @ vectors[:, : -rank - 1 : -1])
