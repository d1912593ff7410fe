"""The k largest eigenvalues of the Hessian, and those of the mini-batch Hessians on average."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature
from esssim.curvature.scale import CHUNK_NUMBERS
from esssim.problems import Problem, check_problem
from esssim.sampling import Sampling
from esssim.spectra.leading import BLOCK, block_lanczos, largest_basis
from esssim.spectra.mean import DENSE_LIMIT
from esssim.statistics.estimate import expectation
from esssim.statistics.uncertainty import Estimate

# From here on a p×p matrix that is formed column by column loses to block Lanczos.
COLUMNS_LIMIT = 300
# Numbers in the Lanczos vectors of several eigenvalues: 8 GB.
BASIS_NUMBERS = 2**30
Seed = int | np.random.SeedSequence | None


@one_blas_thread()
def top_eigenvalues(problem: Problem, theta: npt.ArrayLike, k: int) -> FloatArray:
    """The k algebraically largest eigenvalues λ₁ ≥ … ≥ λ_k of H, the Hessian of the full loss, (k,); λ₁ is the
    sharpness.

    theta: (p,); k: from 1 to p. Copies of a multiple eigenvalue are all counted. Dense where H is affordable, otherwise
    by block Lanczos on products. Raises ValueError for bad arguments.
    """
    check_problem(problem)
    point, k = problem.check_point(theta), check_k(k, problem)
    return _of_batches(problem.curvature(point), np.arange(problem.n_samples)[None], k)[0]


@one_blas_thread()
def minibatch_top_eigenvalues(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    k: int,
    *,
    n_batches: int | None = None,
    seed: Seed = 0,
    chunk_size: int | None = None,
) -> tuple[Estimate, ...]:
    """E_B λⱼ(H_B) for j = 1, …, k, the eigenvalues of each batch Hessian in descending order: the first is MiniBS.

    theta: (p,); k: from 1 to p. n_batches=None enumerates every batch (exact), and raises where there are too many; a
    number draws so many batches from `seed`, as SGD draws them, the same for all k. chunk_size: batches held in memory
    at a time, 4096 by default. Raises ValueError for bad arguments and for too many batches to enumerate.
    """
    check_problem(problem)
    curvature, k = problem.curvature(problem.check_point(theta)), check_k(k, problem)
    scale = curvature.scale()
    scaled = curvature.scaled(scale)

    @cache
    def values(flat: bytes) -> FloatArray:
        return _of_batches(scaled, np.frombuffer(flat, dtype=np.int64).reshape(-1, sampling.batch_size), k)

    def column(j: int) -> Callable[[IntArray], FloatArray]:
        return lambda batches: values(np.ascontiguousarray(batches, dtype=np.int64).tobytes())[:, j]

    n = problem.n_samples
    return tuple(expectation(column(j), n, sampling, n_batches, seed, chunk_size=chunk_size) * scale for j in range(k))


def check_k(k: int, problem: Problem) -> int:
    """k as a number of eigenvalues, from 1 to p; ValueError otherwise."""
    _validate.integer("k", k, 1)
    if k > problem.n_params:
        raise ValueError(f"k must be between 1 and n_params = {problem.n_params}, got {k}")
    return k


def _of_batches(curvature: Curvature, batches: IntArray, k: int) -> FloatArray:
    """The k largest eigenvalues of H_B, descending, for each batch: (m, b) -> (m, k)."""
    scale = curvature.scale()
    scaled, p, b = curvature.scaled(scale), curvature.n_params, batches.shape[1]
    rows = scaled.square_roots()
    found: Callable[[IntArray], FloatArray]
    if rows is not None and b * rows.shape[1] < p:
        numbers, found = b * rows.shape[1] * p, partial(_of_grams, rows, k=k)
    elif takes_products(scaled, k):
        numbers, found = CHUNK_NUMBERS, partial(_by_products, scaled, k=k)
    else:
        numbers, found = (b + p) * p, partial(_densely, scaled, k=k)
    size = max(1, CHUNK_NUMBERS // numbers)
    return np.concatenate([found(batches[i : i + size]) for i in range(0, len(batches), size)]) * scale


def _densely(curvature: Curvature, batches: IntArray, k: int) -> FloatArray:
    return np.asarray(np.linalg.eigvalsh(curvature.batch_matrices(batches))[:, : -k - 1 : -1])


def _of_grams(rows: FloatArray, batches: IntArray, k: int) -> FloatArray:
    """By AAᵀ/b of the rows of each batch, which lacks zeros of H_B at most."""
    of_batch = rows[batches].reshape(len(batches), -1, rows.shape[2])
    values = np.linalg.eigvalsh(of_batch @ of_batch.transpose(0, 2, 1) / batches.shape[1])[:, ::-1][:, :k]
    padded = np.zeros((len(batches), k))
    padded[:, : values.shape[1]] = np.maximum(values, 0.0)
    return padded


def _by_products(curvature: Curvature, batches: IntArray, k: int) -> FloatArray:
    (batch,) = batches
    return pairs_by_products(curvature, batch, k)[0][None, ::-1]


def takes_products(curvature: Curvature, k: int) -> bool:
    """Whether the k largest eigenvalues are found by products, p×p matrices being too large."""
    p, limit = curvature.n_params, DENSE_LIMIT if curvature.is_formed else COLUMNS_LIMIT
    return p > limit and p >= largest_basis(k) + BLOCK


def pairs_by_products(curvature: Curvature, batch: IntArray, k: int) -> tuple[FloatArray, FloatArray]:
    """The k largest eigenvalues of H_B, ascending, and eigenvectors (p, k); ValueError where they take too much
    memory.
    """
    numbers = 2 * largest_basis(k) * curvature.n_params
    if numbers > BASIS_NUMBERS:
        raise ValueError(
            f"k = {k} eigenvalues of {curvature.n_params:,} parameters would take {numbers:,} numbers "
            f"({8 * numbers / 1e9:.1f} GB) of Lanczos vectors, at most {BASIS_NUMBERS:,}: take fewer, or "
            "esssim.sharpness and esssim.minibatch_sharpness for the largest alone"
        )
    tolerance = max(1e-10, curvature.tolerance)
    return block_lanczos(curvature.product(batch), curvature.n_params, k, tolerance=tolerance)
