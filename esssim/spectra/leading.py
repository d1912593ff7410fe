"""Several leading eigenvalues at once: Lanczos on a block of random vectors, which no symmetry of the operator holds
back.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from esssim._validate import FloatArray
from esssim.spectra.dense import power_of_two

# Vectors that are multiplied together, and that are kept at a restart beside the wanted ones.
BLOCK, SPARE = 8, 64
MAX_CYCLES = 200
# Vectors beyond the wanted ones that a continued search carries along, and its rounds.
GUARDS, MAX_CONTINUED = 32, 8
# A row that loses all but this fraction to the others is replaced by a random one.
DEPENDENT = 1e-10
# Rows that keep this fraction beside the others are orthogonal to a basis after one pass.
INDEPENDENT = 1e-3


def leading_pairs(
    factors: FloatArray, count: int, *, tolerance: float = 1e-10, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """The `count` largest eigenvalues of AAᵀ, ascending, and unit eigenvectors (n, count): factors A (n, p).

    Every residual is at most tolerance·λ_max. Copies of a multiple eigenvalue and blocks of A that share no column are
    all found. Dense where the basis would hold nearly all n vectors. Raises RuntimeError where the residuals stay
    larger.
    """
    unit, n = power_of_two(factors), len(factors)
    rows = factors / unit
    if largest_basis(count) + BLOCK > n:
        values, vectors = np.linalg.eigh(rows @ rows.T)
        values, vectors = values[-count:], vectors[:, -count:]
    else:
        values, vectors = block_lanczos(lambda block: (block @ rows) @ rows.T, n, count, tolerance=tolerance, seed=seed)
    return np.maximum(values, 0.0) * unit * unit, np.ascontiguousarray(vectors)


def continued_pairs(
    factors: FloatArray, count: int, start: FloatArray | None = None, *, tolerance: float = 1e-6
) -> tuple[FloatArray, FloatArray]:
    """As `leading_pairs`, with GUARDS more, from the vectors found for factors nearby: start (n, count + GUARDS),
    or more of them.

    Rayleigh–Ritz on these vectors and on the residuals of those that have not converged, again until the residuals of
    the `count` largest are at most tolerance·λ_max: a few products with a block where a search from random vectors
    needs dozens. Without a start, and where that does not converge in MAX_CONTINUED rounds, all of AAᵀ is diagonalised.
    """
    n = len(factors)
    held = min(count + GUARDS, n)
    if start is not None and start.shape[1] >= held and 2 * held <= n:
        vectors = np.ascontiguousarray(start[:, -held:].T)
        images = (vectors @ factors) @ factors.T
        for _ in range(MAX_CONTINUED):
            values, vectors, images = _ritz(vectors, images, held)
            residuals = images - values[:, None] * vectors
            norms = np.linalg.norm(residuals, axis=1)
            unfinished = norms > tolerance * values[-1]
            if not unfinished[-count:].any():
                return np.maximum(values, 0.0), np.ascontiguousarray(vectors.T)
            added = _orthonormal(residuals[unfinished] / norms[unfinished, None], vectors)
            vectors = np.concatenate((vectors, added))
            images = np.concatenate((images, (added @ factors) @ factors.T))
    values, vectors = scipy.linalg.eigh(factors @ factors.T, subset_by_index=(n - held, n - 1))
    return np.maximum(values, 0.0), np.ascontiguousarray(vectors)


def _orthonormal(block: FloatArray, basis: FloatArray) -> FloatArray:
    """Orthonormal rows that span what a block (s, n) of unit rows has beside the orthonormal rows of a basis (k, n)."""
    for _ in range(2):  # twice is enough (Parlett)
        orthonormal, triangle = np.linalg.qr((block - (block @ basis.T) @ basis).T)
        block = np.ascontiguousarray(orthonormal.T)
        # A row that depends on the others leaves rounding, which has parts along the basis.
        if np.abs(np.diag(triangle)).min() > INDEPENDENT:
            break
    return block


def _ritz(vectors: FloatArray, images: FloatArray, count: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The `count` largest Ritz values of A on orthonormal rows V (m, n), ascending, their vectors and images AV."""
    small = vectors @ images.T
    values, coordinates = np.linalg.eigh((small + small.T) / 2)
    best = np.ascontiguousarray(coordinates[:, -count:].T)
    return values[-count:], best @ vectors, best @ images


def block_lanczos(
    product: Callable[[FloatArray], FloatArray], n: int, count: int, *, tolerance: float = 1e-10, seed: int = 0
) -> tuple[FloatArray, FloatArray]:
    """The algebraically largest eigenvalues of a symmetric operator on blocks of rows (s, n), ascending; vectors (n,
    count).

    Every residual is at most tolerance·‖A‖, and a second block, drawn at random in the complement of what was found,
    has to leave the eigenvalues as they are. largest_basis(count) + BLOCK ≤ n. Raises RuntimeError where the residuals
    stay larger. Source: block Lanczos, Golub & Underwood 1977; thick restart, Wu & Simon 2000.
    """
    rng, size, kept = np.random.default_rng(seed), largest_basis(count), 0
    basis, images = np.empty((size, n)), np.empty((size, n))
    block, confirmed = rng.standard_normal((BLOCK, n)), None
    for _ in range(MAX_CYCLES):
        for first in range(kept, size, BLOCK):
            added = slice(first, first + BLOCK)
            basis[added] = _beside(basis[:first], block, rng)
            images[added] = block = product(basis[added])
        values, coordinates = np.linalg.eigh(basis @ images.T)
        limit = tolerance * float(np.abs(values).max())
        block, kept = _beside(basis, block, rng), size - BLOCK * ((size - count - SPARE // 2) // BLOCK)
        best = coordinates[:, -kept:].T
        basis[:kept], images[:kept] = best @ basis, best @ images
        found, vectors = values[-count:], basis[kept - count : kept]
        residual = float(np.linalg.norm(images[kept - count : kept] - found[:, None] * vectors, axis=1).max())
        if residual > limit:
            confirmed = None
            continue
        if confirmed is not None and np.abs(found - confirmed).max() <= limit:
            return found, np.asarray(vectors.T)
        confirmed, block = found, rng.standard_normal((BLOCK, n))
    raise RuntimeError(
        f"Lanczos left a residual of {residual:.2g} at {count} leading eigenvalues up to {found[-1]:.6g}"
    )


def largest_basis(count: int) -> int:
    """How many vectors are held, whole blocks of them: a part of one would lose what the others leave."""
    return BLOCK * -(-(2 * count + SPARE) // BLOCK)


def _beside(basis: FloatArray, block: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Orthonormal rows that span the block (s, n) beyond the orthonormal rows of a basis (k, n), k + s ≤ n."""
    norms = np.linalg.norm(block, axis=1, keepdims=True)
    block = block / np.where(norms > 0.0, norms, 1.0)
    while True:
        block = block - (block @ basis.T) @ basis
        orthonormal, triangle = np.linalg.qr(block.T)
        lost = np.abs(np.diag(triangle)) <= DEPENDENT
        if not lost.any():
            again = orthonormal.T - (orthonormal.T @ basis.T) @ basis
            return np.asarray(np.linalg.qr(again.T)[0].T)
        block[lost] = rng.standard_normal((int(lost.sum()), block.shape[1])) / np.sqrt(block.shape[1])
