"""Batch Hessians that are known by their products: Lanczos on many batches at once, each eigenvalue with its residual."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems.operators import OperatorCurvature

# A basis of so many vectors is restarted from its best Ritz vectors, which are kept.
LARGEST_BASIS = 96
KEPT_AT_RESTART = 12
BASIS_AT_FIRST = 32
MAX_PRODUCTS = 3000
# Steps between looks at the Ritz values: a look costs about as much as a step.
STRIDE = 3
EPS = float(np.finfo(np.float64).eps)


class TopPairs(NamedTuple):
    """λ (m,), unit vectors x (m, p), and the residuals ‖H_Bx − λx‖ (m,): an eigenvalue lies within one residual of λ."""

    values: FloatArray
    vectors: FloatArray
    residuals: FloatArray


def lanczos_top_pairs(
    curvature: OperatorCurvature,
    batches: IntArray,
    *,
    start: FloatArray | None = None,
    tolerance: float | None = None,
    seed: int = 0,
) -> TopPairs:
    """The largest eigenvalue of every H_B and its vector, batches (m, b), by Lanczos on all batches at once.

    Full reorthogonalisation; a batch stops when its residual, which is computed in the end and not only estimated, is at
    most tolerance·|λ|: the error of λ is at most that, and of the order of its square over the gap. start: first vectors
    (p,) or (m, p), warm; they are mixed with a random direction, so that none is orthogonal to the top by structure.
    tolerance: that of the curvature if None. Raises RuntimeError, naming the batch, where the residual stays larger.
    Source: Lanczos 1950; thick restart, Wu & Simon 2000.
    """
    limit = curvature.tolerance if tolerance is None else tolerance
    m, p = len(batches), curvature.n_params
    found = TopPairs(np.empty(m), np.empty((m, p)), np.empty(m))
    active = np.arange(m)
    run = _Lanczos(curvature, batches, _first_vectors(start, m, p, seed))
    while len(active):
        run.extend(min(STRIDE, p - run.size) if run.size < p else 0)
        values, vectors, estimates = run.top()
        done = np.flatnonzero(estimates <= 0.5 * limit * np.abs(values))
        if len(done):
            ritz = run.combine(vectors, done)
            images = curvature.bound(batches[active[done]])(ritz)
            quotients = (images * ritz).sum(axis=1)
            residuals = np.linalg.norm(images - quotients[:, None] * ritz, axis=1)
            sure = residuals <= limit * np.abs(quotients)
            where = active[done[sure]]
            found.values[where], found.vectors[where], found.residuals[where] = (
                quotients[sure],
                ritz[sure],
                residuals[sure],
            )
            keep = np.setdiff1d(np.arange(len(active)), done[sure])
            active = active[keep]
            if len(active):
                run = run.restricted(keep, batches[active])
                values, estimates = values[keep], estimates[keep]
        if len(active) and (run.products >= MAX_PRODUCTS or run.is_stuck):
            worst = int(np.argmax(estimates / np.maximum(np.abs(values), EPS)))
            raise RuntimeError(
                f"Lanczos left a residual of {estimates[worst]:.2g} at λ = {values[worst]:.6g} of batch "
                f"{batches[active[worst]][:8].tolist()}… after {run.products} products, tolerance = {limit:g}"
            )
    return found


class _Lanczos:
    """Bases Q (m, k, p) and projections T = QHQᵀ (m, k, k) of the batches that have not converged."""

    def __init__(self, curvature: OperatorCurvature, batches: IntArray, first: FloatArray) -> None:
        self._curvature = curvature
        self._product = curvature.bound(batches)
        self._m, self._p = first.shape
        capacity = min(self._p, LARGEST_BASIS)
        self._basis = np.empty((self._m, min(capacity, BASIS_AT_FIRST), self._p))
        self._projection = np.zeros((self._m, capacity + 1, capacity + 1))
        self._capacity = capacity
        self._next = first
        self._beta = np.zeros(self._m)
        self.size = 0
        self.products = 0
        self.is_stuck = False

    def extend(self, steps: int) -> None:
        """So many more vectors in every basis."""
        for _ in range(steps):
            if self.size == self._capacity and self.size < self._p:
                self._restart()
            self._step()

    def _step(self) -> None:
        k = self.size
        if k == self._basis.shape[1]:
            larger = np.empty((self._m, min(2 * k, self._capacity), self._p))
            larger[:, :k] = self._basis
            self._basis = larger
        self._basis[:, k] = self._next
        self.size += 1
        self.products += 1
        images = self._product(self._next)
        basis = self._basis[:, : self.size]
        coefficients = np.matmul(basis, images[:, :, None])
        images = images - np.matmul(coefficients.transpose(0, 2, 1), basis)[:, 0]
        # Twice is enough (Kahan and Parlett), and what the second pass finds belongs to the projection as well.
        again = np.matmul(basis, images[:, :, None])
        images -= np.matmul(again.transpose(0, 2, 1), basis)[:, 0]
        column = (coefficients + again)[:, :, 0]
        self._projection[:, k, : k + 1] = self._projection[:, : k + 1, k] = column
        self._beta = np.linalg.norm(images, axis=1)
        # An invariant subspace is complete: its Ritz pairs are exact, and zeros keep the shapes.
        size = np.abs(self._projection[:, : k + 1, : k + 1]).max(axis=(1, 2))
        ended = self._beta <= EPS * self._p * size
        self._beta[ended] = 0.0
        self._next = np.where(ended[:, None], 0.0, images / np.where(ended, 1.0, self._beta)[:, None])

    def top(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The top Ritz values (m,), their coordinates (m, k) and residuals (m,)."""
        values, vectors = np.linalg.eigh(self._projection[:, : self.size, : self.size])
        self.is_stuck = self.size >= self._p
        return values[:, -1], vectors[:, :, -1], self._beta * np.abs(vectors[:, -1, -1])

    def combine(self, coordinates: FloatArray, which: IntArray) -> FloatArray:
        """Unit vectors (len(which), p) of those coordinates in the bases."""
        combined = np.matmul(coordinates[which, None], self._basis[which, : self.size])[:, 0]
        return np.asarray(combined / np.linalg.norm(combined, axis=1, keepdims=True))

    def restricted(self, keep: IntArray, batches: IntArray) -> _Lanczos:
        """The same for some of the batches."""
        rest = object.__new__(_Lanczos)
        rest.__dict__ = self.__dict__ | {
            "_m": len(keep),
            "_product": self._curvature.bound(batches),
            "_basis": self._basis[keep],
            "_projection": self._projection[keep],
            "_next": self._next[keep],
            "_beta": self._beta[keep],
        }
        return rest

    def _restart(self) -> None:
        values, vectors = np.linalg.eigh(self._projection[:, : self.size, : self.size])
        kept = vectors[:, :, -KEPT_AT_RESTART:]
        self._basis[:, :KEPT_AT_RESTART] = np.matmul(kept.transpose(0, 2, 1), self._basis[:, : self.size])
        self._projection[:] = 0.0
        index = np.arange(KEPT_AT_RESTART)
        self._projection[:, index, index] = values[:, -KEPT_AT_RESTART:]
        self.size = KEPT_AT_RESTART


def _first_vectors(start: FloatArray | None, m: int, p: int, seed: int) -> FloatArray:
    random = np.random.default_rng(seed).standard_normal(p)
    random /= np.linalg.norm(random)
    if start is None:
        return np.tile(random, (m, 1))
    norms = np.linalg.norm(start, axis=-1, keepdims=True)
    mixed = np.broadcast_to(start / np.where(norms > 0, norms, 1.0) + 1e-3 * random, (m, p))
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
