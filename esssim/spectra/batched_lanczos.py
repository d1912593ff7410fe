"""Batch Hessians that are known by their products: Lanczos on many batches at once, each eigenvalue with its
residual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature import OperatorCurvature
from esssim.curvature.scale import unit_of_products
from esssim.spectra.lanczos import mixed

# A basis of so many vectors is restarted from its best Ritz vectors, which are kept.
LARGEST_BASIS = 96
KEPT_AT_RESTART = 12
# Where they would be more numbers than that, 2 GB, it has fewer vectors.
BASIS_NUMBERS, SMALLEST_BASIS = 2**28, 2 * KEPT_AT_RESTART
MAX_PRODUCTS = 3000
# Ritz values are looked at when a basis has so many vectors, and then after a sixth more each time: a look at k vectors
# costs as much as several steps. That a batch stops at one of them does not depend on its neighbours.
FIRST_LOOK = 9
# A pass that leaves less than this fraction is followed by another one, three in all.
ALMOST_ALL = 0.7
MAX_PASSES = 3
PILOT_SAMPLES = 64
PILOT_TOLERANCE = 0.03
EPS = float(np.finfo(np.float64).eps)


class TopPairs(NamedTuple):
    """λ (m,), unit vectors x (m, p), and the residuals ‖H_Bx − λx‖ (m,): an eigenvalue lies within one residual of
    λ.
    """

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

    Full reorthogonalisation; a batch stops when its residual, which is computed in the end and not only estimated, is
    at most tolerance·|λ| (or rounding in H_B): an eigenvalue is that close to λ, and its error of the order of the
    square over the gap. start: first vectors (p,) or (m, p), warm (that of the curvature if None); they are mixed with
    a random direction, so that none is orthogonal to the top by structure. tolerance: that of the curvature if None.
    Raises RuntimeError, naming the batch, where the residual stays larger. Source: Lanczos 1950; thick restart, Wu &
    Simon 2000.
    """
    limit = curvature.tolerance if tolerance is None else tolerance
    m, p = len(batches), curvature.n_params
    found = TopPairs(np.empty(m), np.empty((m, p)), np.empty(m))
    active = np.arange(m)
    run = _Lanczos(curvature, batches, _first_vectors(curvature.start if start is None else start, m, p, limit, seed))
    while len(active):
        run.extend()
        values, vectors, estimates = run.top()
        rounding = 8 * EPS * np.sqrt(p) * run.sizes()
        done = np.flatnonzero(estimates <= 0.5 * limit * np.abs(values) + rounding)
        if len(done):
            ritz = run.combine(vectors, done)
            images = curvature.bound(batches[active[done]])(ritz) / run.units[done, None]
            quotients = (images * ritz).sum(axis=1)
            residuals = np.linalg.norm(images - quotients[:, None] * ritz, axis=1)
            sure = residuals <= limit * np.abs(quotients) + 4 * rounding[done]
            where = active[done[sure]]
            units = run.units[done[sure]]
            found.values[where], found.residuals[where] = units * quotients[sure], units * residuals[sure]
            found.vectors[where] = ritz[sure]
            left = np.setdiff1d(np.arange(len(active)), done[sure])
            active, values, estimates = active[left], values[left], estimates[left]
            if len(active):
                run.keep(left, batches[active])
        if len(active) and (run.products >= MAX_PRODUCTS or run.is_complete):
            worst = int(np.argmax(estimates / np.maximum(np.abs(values), EPS)))
            raise RuntimeError(
                f"Lanczos left a residual of {estimates[worst] * run.units[worst]:.2g} "
                f"at λ = {values[worst] * run.units[worst]:.6g} of batch "
                f"{batches[active[worst]][:8].tolist()}… after {run.products} products, tolerance = {limit:g}"
            )
    return found


def pilot(curvature: OperatorCurvature, batch_size: int) -> OperatorCurvature:
    """The curvature with a warm start: the top vector, to a few per cent, of one batch of samples from all over."""
    n = curvature.n_samples
    some = np.linspace(0, n - 1, min(n, max(PILOT_SAMPLES, batch_size))).round().astype(np.int64)
    return curvature.starting_from(lanczos_top_pairs(curvature, some[None], tolerance=PILOT_TOLERANCE).vectors[0])


class _Lanczos:
    """Bases Q (k, p) and projections T = QHQᵀ (m, k, k) of the batches that have not converged, H in `units` (m,).

    The bases are an array for each batch: the four passes of a reorthogonalisation then find theirs in the cache.
    """

    def __init__(self, curvature: OperatorCurvature, batches: IntArray, first: FloatArray) -> None:
        self._curvature = curvature
        self._product = curvature.bound(batches)
        m, self._p = first.shape
        self._capacity = min(self._p, LARGEST_BASIS, max(SMALLEST_BASIS, BASIS_NUMBERS // self._p))
        self._bases = [np.empty((self._capacity, self._p)) for _ in range(m)]  # memory is used as it is filled
        self._projection = np.zeros((m, self._capacity, self._capacity))
        self._next = first
        self._beta = np.zeros(m)
        self.units = np.ones(m)
        self.size = 0
        self.products = 0

    @property
    def is_complete(self) -> bool:
        """Whether the bases span the whole space: nothing is left to be gained."""
        return self.size == self._p

    def extend(self) -> None:
        """More vectors in every basis, up to the next look or as many as there are."""
        stride = max(3, self.size // 6) if self.size else FIRST_LOOK
        for _ in range(min(stride, self._p - self.size)):
            if self.size == self._capacity:
                self._restart()
            self._step()

    def _step(self) -> None:
        k = self.size
        self.size += 1
        self.products += 1
        images = self._product(self._next)
        if self.products == 1:
            self.units = unit_of_products(images)
        if (self.units != 1.0).any():
            images /= self.units[:, None]
        for m, (basis, image) in enumerate(zip(self._bases, images, strict=True)):
            basis[k] = self._next[m]
            self._projection[m, k, : k + 1], self._beta[m] = _orthogonalise(image, basis[: k + 1])
            if self._beta[m] > 0.0:
                image /= self._beta[m]
            elif self.size < self._p:
                # The basis spans an invariant subspace, whose Ritz pairs are exact; on in its complement.
                image[:] = _direction_beside(basis[: k + 1])
        self._projection[:, : k + 1, k] = self._projection[:, k, : k + 1]
        self._next = images

    def top(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The top Ritz values (m,), their coordinates (m, k) and residuals (m,)."""
        values, vectors = np.linalg.eigh(self._projection[:, : self.size, : self.size])
        estimates = np.zeros(len(values)) if self.is_complete else self._beta * np.abs(vectors[:, -1, -1])
        return values[:, -1], vectors[:, :, -1], estimates

    def sizes(self) -> FloatArray:
        """A measure of ‖H_B‖ for each batch: the largest entry of T."""
        return np.asarray(np.abs(self._projection[:, : self.size, : self.size]).max(axis=(1, 2)))

    def combine(self, coordinates: FloatArray, which: IntArray) -> FloatArray:
        """Unit vectors (len(which), p) of those coordinates in the bases."""
        combined = np.stack([coordinates[m] @ self._bases[m][: self.size] for m in which])
        return np.asarray(combined / np.linalg.norm(combined, axis=1, keepdims=True))

    def keep(self, which: IntArray, batches: IntArray) -> None:
        """Go on with some of the batches only."""
        self._product = self._curvature.bound(batches)
        self._bases = [self._bases[m] for m in which]
        self._projection, self._next, self._beta = self._projection[which], self._next[which], self._beta[which]
        self.units = self.units[which]

    def _restart(self) -> None:
        values, vectors = np.linalg.eigh(self._projection)
        kept = vectors[:, :, -KEPT_AT_RESTART:].transpose(0, 2, 1)
        for basis, coordinates in zip(self._bases, kept, strict=True):
            basis[:KEPT_AT_RESTART] = coordinates @ basis
        self._projection[:] = 0.0
        index = np.arange(KEPT_AT_RESTART)
        self._projection[:, index, index] = values[:, -KEPT_AT_RESTART:]
        self.size = KEPT_AT_RESTART


def _orthogonalise(image: FloatArray, basis: FloatArray) -> tuple[FloatArray, float]:
    """Takes the part of a vector (p,) in the span of orthonormal rows (k, p) away; its coordinates, and what is left.

    The last two rows first, where almost all of it lies, so that one pass over all of them is as good as two; again
    where it is not, by the rule of Daniel, Gragg, Kaufman and Stewart; 0 where nothing but rounding is left.
    """
    whole = float(np.linalg.norm(image))
    coordinates = np.zeros(len(basis))
    last = basis[-2:]
    coordinates[-2:] = last @ image
    image -= coordinates[-2:] @ last
    left = float(np.linalg.norm(image))
    for _ in range(MAX_PASSES):
        before = left
        part = basis @ image
        image -= part @ basis
        coordinates += part
        left = float(np.linalg.norm(image))
        if left <= EPS * len(image) * whole:
            return coordinates, 0.0
        if left > ALMOST_ALL * before:
            break
    return coordinates, left


def _direction_beside(basis: FloatArray) -> FloatArray:
    """A unit vector (p,) orthogonal to the rows (k, p), k < p, always the same one."""
    vector = np.asarray(np.random.default_rng(len(basis)).standard_normal(basis.shape[1]))
    for _ in range(MAX_PASSES):
        vector -= (basis @ vector) @ basis
        vector /= np.linalg.norm(vector)
    return vector


def _first_vectors(start: FloatArray | None, m: int, p: int, tolerance: float, seed: int) -> FloatArray:
    random = np.random.default_rng(seed).standard_normal(p)
    if start is None:
        return np.tile(random / np.linalg.norm(random), (m, 1))
    first = mixed(start, random, tolerance)
    return np.array(np.broadcast_to(first / np.linalg.norm(first, axis=-1, keepdims=True), (m, p)))
