"""A positive semidefinite matrix K between FFᵀ and FFᵀ + τI: block Krylov, and what it leaves.

B an orthonormal basis of a Krylov space, F = KB(BᵀKB)^{−½}: FFᵀ ≼ K for every B (Nyström). What is left, K − FFᵀ, is
positive semidefinite, and Lanczos from a vector at random finds at least (1 − ε) of its largest eigenvalue after k
steps, except with probability 1.648√N·exp(−√ε(2k − 1)).

Source: Halko, Martinsson & Tropp, SIAM Review 2011; Kuczyński & Woźniakowski, SIAM J. Matrix Anal. Appl. 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from esssim._validate import FloatArray
from esssim.spectra.leading import _beside

Rows = Callable[[FloatArray], FloatArray]
# Vectors that are multiplied together: a matrix that does not fit in the cache is read once for all of them.
BLOCK = 32
# Lanczos steps for what is left, and the probability that its bound fails.
STEPS, FAILURE = 30, 1e-9


class Krylov:
    """A growing basis of the block Krylov space of K, given by its products with rows (s, N)."""

    def __init__(self, product: Rows, size: int, *, seed: int = 0, block: int = BLOCK) -> None:
        self.product, self.size, self.block = product, size, block
        self._rng = np.random.default_rng(seed)
        self._basis, self._images = np.empty((0, size)), np.empty((0, size))

    def extend(self, rank: int) -> None:
        """Until the basis has `rank` vectors, N at most."""
        blocks, images = [self._basis], [self._images]
        known = len(self._basis)
        block = self._images[-self.block :] if known else self._rng.standard_normal((self.block, self.size))
        while known < min(rank, self.size):
            block = _beside(np.concatenate(blocks), block[: min(rank, self.size) - known], self._rng)
            blocks.append(block)
            block = self.product(block)
            images.append(block)
            known += len(block)
        self._basis, self._images = np.concatenate(blocks), np.concatenate(images)

    def factor(self, precision: float) -> FloatArray:
        """F (N, r), its columns orthogonal and longest last; precision: of the products, relative."""
        values, vectors = np.linalg.eigh(self._basis @ self._images.T)
        keep = values > precision * len(values) * values[-1]
        root = (vectors[:, keep] / np.sqrt(values[keep])).T @ self._images
        values, vectors = np.linalg.eigh(root @ root.T)
        keep = values > precision * values[-1]
        return np.ascontiguousarray((vectors[:, keep].T @ root).T)


def bound_of_rest(product: Rows, factor: FloatArray, *, seed: int = 1, steps: int = STEPS) -> float:
    """τ with K ≼ FFᵀ + τI, except with probability 1e-9 over the random start: F (N, r), N > 1."""
    size = len(factor)
    rng = np.random.default_rng(seed)
    steps = min(steps, size)
    basis, images = np.empty((steps, size)), np.empty((steps, size))
    block = rng.standard_normal((1, size))
    for k in range(steps):
        basis[k] = block = _beside(basis[:k], block, rng)
        images[k] = block = product(block) - (block @ factor) @ factor.T
    found = float(np.linalg.eigvalsh(basis @ images.T)[-1])
    if steps == size:
        return max(found, 0.0)
    missed = (math.log(1.648 * math.sqrt(size) / FAILURE) / (2 * steps - 1)) ** 2
    return max(found, 0.0) / (1.0 - missed)


def bound_of_top(product: Rows, factor: FloatArray, rest: float) -> float:
    """λ_max(K) at most, for K ≼ FFᵀ + τI and orthogonal columns of F, longest last.

    With v along the last one, θ = vᵀKv, r = ‖Kv − θv‖ and s = ‖f₂‖² + τ, which K is at most beside v, it is that of the
    matrix with θ and s on its diagonal and r beside it.
    """
    lengths = (factor**2).sum(axis=0)
    top = factor[:, -1:].T / math.sqrt(lengths[-1])
    image = product(top)
    value = float((image @ top.T)[0, 0])
    residual = float(np.linalg.norm(image - value * top))
    beside = (float(lengths[-2]) if len(lengths) > 1 else 0.0) + rest
    return (value + beside) / 2 + math.hypot((value - beside) / 2, residual)
