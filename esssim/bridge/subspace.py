"""Mean-square sharpness of networks with too many outputs for the exact route: on growing eigenspaces, from below."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh

from esssim import _validate
from esssim._validate import FloatArray
from esssim.bridge.problem import TorchProblem
from esssim.problems import BlockCurvature, LowRankCurvature
from esssim.sampling import Sampling, check_sampling
from esssim.statistics.mean_square import top_of_pencil

# The smaller side of the Jacobian up to which its Gram matrix is decomposed at once.
DENSE_SIDE = 4000


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
    blocks = BlockCurvature(curvature.factors[:, None]) if isinstance(curvature, LowRankCurvature) else curvature
    assert isinstance(blocks, BlockCurvature)
    c = sampling.variance_coefficient(problem.n_samples)
    largest = min(blocks.rows().shape)
    eigenvectors = _TopEigenvectors(blocks.rows())
    ranks: list[int] = []
    values: list[float] = []
    while True:
        rank = min(rank, largest)
        basis = eigenvectors(rank)
        ranks.append(rank)
        values.append(top_of_pencil(BlockCurvature(blocks.factors @ basis), c).value)
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


class _TopEigenvectors:
    """r ↦ the top r eigenvectors (p, r) of AᵀA, rows A (m, p); decomposed once where a side of A is short."""

    def __init__(self, rows: FloatArray) -> None:
        self._rows = rows
        self._all: FloatArray | None = None
        m, p = rows.shape
        if min(m, p) <= DENSE_SIDE:
            _, vectors = scipy.linalg.eigh(rows.T @ rows if p <= m else rows @ rows.T, driver="evd", overwrite_a=True)
            self._all = np.ascontiguousarray(vectors[:, ::-1])

    def __call__(self, rank: int) -> FloatArray:
        m, p = self._rows.shape
        if self._all is None:
            operator = LinearOperator((p, p), matvec=lambda v: self._rows.T @ (self._rows @ v), dtype=np.float64)
            start = np.random.default_rng(0).standard_normal(p)
            return np.asarray(eigsh(operator, k=rank, which="LA", v0=start, ncv=min(p, 2 * rank + 20))[1])
        if p <= m:
            return self._all[:, :rank]
        # Orthonormal again: directions of tiny singular values come out of the product with few digits.
        return np.asarray(np.linalg.qr(self._rows.T @ self._all[:, :rank])[0])
