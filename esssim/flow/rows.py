"""A least-squares problem as the flow sees it: every output of every sample is a row of one long vector of residuals.

With one output a sample (`NonlinearLeastSquares`) there are n rows, with c outputs (`MultiOutputLeastSquares`) n·c,
sample by sample, and a c×c block for every sample where there was a number.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse.linalg import lsmr

from esssim._validate import FloatArray, IntArray
from esssim.curvature import BlockCurvature, LowRankCurvature
from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.perron import PerronMatrix, above_rounding

# Of the iterative solutions by products with J.
TOLERANCE = 1e-12
# What lsmr says when it ran out of iterations.
ITERATION_LIMIT = 7

LeastSquaresProblem = NonlinearLeastSquares | MultiOutputLeastSquares


def n_outputs(problem: LeastSquaresProblem) -> int:
    """c."""
    return problem.n_outputs if isinstance(problem, MultiOutputLeastSquares) else 1


def per_sample(problem: LeastSquaresProblem, vectors: FloatArray) -> FloatArray:
    """Vectors of the rows (n·c, p) as the model takes them: (n, p) for one output, else (n, c, p)."""
    if isinstance(problem, MultiOutputLeastSquares):
        return vectors.reshape(problem.n_samples, problem.n_outputs, problem.n_params)
    return vectors


def perron(jacobians: FloatArray, c: int, coefficient: float, rank: int | None = None) -> PerronMatrix:
    """η ↦ Ψ(η) of J (n·c, p), for a scheme of that variance coefficient; rank: of so many eigenvectors only."""
    blocks = jacobians.reshape(-1, c, jacobians.shape[1])
    if rank is not None:
        if c == 1:
            return PerronMatrix.leading(jacobians, coefficient, rank)
        return BlockPerron.leading_blocks(blocks, coefficient, rank)
    return PerronMatrix.of(jacobians, coefficient) if c == 1 else BlockPerron.of_blocks(blocks, coefficient)


def perron_of_pairs(eigenvalues: FloatArray, eigenvectors: FloatArray, c: int, coefficient: float) -> PerronMatrix:
    """The same from leading eigenvalues (r,) of K, ascending, and eigenvectors (n·c, r), without those that are
    rounding.
    """
    pairs = above_rounding(eigenvalues, eigenvectors)
    return PerronMatrix(*pairs, coefficient) if c == 1 else BlockPerron(*pairs, coefficient, n_rows=c)


def weighted(weights: FloatArray, rows: FloatArray, c: int) -> FloatArray:
    """diag(x)A, or block-diag(X)A, (n·c, m), for x (n,) or blocks (n·c²,) and A (n·c, m)."""
    if c == 1:
        return weights[:, None] * rows
    return np.asarray(weights.reshape(-1, c, c) @ rows.reshape(-1, c, rows.shape[1])).reshape(rows.shape)


def smallest_change(jacobians: FloatArray, vector: FloatArray) -> FloatArray:
    """JᵀK⁺v (p,), v (n·c,): the smallest change of θ that changes f by v, or by what J reaches of v, by products with
    J.
    """
    return _least_squares(jacobians, vector)


def along_solutions(jacobians: FloatArray, vector: FloatArray) -> FloatArray:
    """The part of a vector (p,) in ker J, by products with J."""
    return np.asarray(vector - _least_squares(jacobians.T, vector) @ jacobians)


def _least_squares(matrix: FloatArray, vector: FloatArray) -> FloatArray:
    """The x of smallest norm that brings Ax nearest to a vector. Raises RuntimeError where the iteration does not
    end.
    """
    found = lsmr(matrix, vector, atol=TOLERANCE, btol=TOLERANCE, conlim=0.0, maxiter=100 * min(matrix.shape))
    if found[1] == ITERATION_LIMIT:
        raise RuntimeError(
            "products with J do not reach what has to be projected: K is too ill-conditioned, take all modes"
        )
    return np.asarray(found[0])


def curvature(jacobians: FloatArray, c: int) -> LowRankCurvature | BlockCurvature:
    """The Gauss–Newton Hessians JᵢᵀJᵢ of J (n·c, p)."""
    if c == 1:
        return LowRankCurvature(jacobians)
    return BlockCurvature(jacobians.reshape(-1, c, jacobians.shape[1]))


def squares(residuals: FloatArray, c: int) -> FloatArray:
    """r∘r (..., n), or the blocks rᵢrᵢᵀ (..., n·c²), of residuals (..., n·c)."""
    if c == 1:
        return residuals**2
    samples = residuals.reshape(-1, c)
    return np.asarray((samples[:, :, None] * samples[:, None, :]).reshape(*residuals.shape[:-1], -1))


def identities(n: int, c: int) -> FloatArray:
    """Ones (n,), or identity blocks (n·c²,)."""
    return np.tile(np.eye(c).ravel(), n)


def of_batches(batches: IntArray, c: int) -> IntArray:
    """The rows of the samples of each batch: (m, b) -> (m, b·c)."""
    return (batches[:, :, None] * c + np.arange(c)).reshape(len(batches), -1)


def leading_sharpness(perron: PerronMatrix) -> float:
    """Q_b of the leading modes of K and of what they leave of it."""
    return perron.edge()[0] if perron.c > 0.0 else float(perron.eigenvalues[-1]) / perron.n_samples
