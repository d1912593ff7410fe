"""Symmetric operators that are too large to be formed: Lanczos, with the checks that scipy leaves to its caller."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.linalg.lapack import dstev
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from esssim._validate import FloatArray
from esssim.spectra.dense import power_of_two
from esssim.spectra.leading import BLOCK, block_lanczos, largest_basis

Product = Callable[[FloatArray], FloatArray]
# A guess is mixed with at least so much of a random direction.
LEAST_RANDOM = 1e-3
# Operators whose products leave the range of doubles are looked at from so many powers of two away.
FAR = 900
SECOND_STEPS = 6
# Where its space ends early, ARPACK goes on from random vectors, which older versions of scipy seed by themselves.
SEEDED: dict[str, Any] = {"rng": 0} if "rng" in inspect.signature(eigsh).parameters else {}


def lanczos_largest_eigenvalue(
    apply: Product,
    size: int,
    *,
    start: FloatArray | None = None,
    inside: bool = False,
    tolerance: float = 1e-12,
    seed: int = 0,
) -> tuple[float, FloatArray]:
    """λ_max and its unit eigenvector of a symmetric operator v ↦ Av given as a function on (size,) vectors.

    start: first vector, of which only the direction counts; it is mixed with a random one drawn from `seed`, so that it
    is never orthogonal to the top one by structure, and a few steps from a second start must not exceed what is found.
    inside: that the start is known to have a part along the top, as a vector inside the cone of a positive map; it is
    then taken as it is, and alone. A may have any scale, and may return float32: symmetry and residual are then checked
    to that precision. Raises ValueError if the operator is not symmetric, RuntimeError if ‖Av − λv‖ >
    100·tolerance·max(|λ|, ‖Av₀‖/‖v₀‖). Source: implicitly restarted Lanczos (ARPACK), algebraically largest eigenvalue.
    """
    rng = np.random.default_rng(seed)
    random = rng.standard_normal(size)
    if start is None or not np.any(start):
        first = random
    else:
        first = np.asarray(start, dtype=np.float64) if inside else mixed(start, random, tolerance)
    probe = rng.standard_normal(size)
    image_probe, exponent, precision = _image_near_one(apply, probe)
    scaled = partial(_applied, apply, exponent)
    tolerance = max(tolerance, 8 * precision)
    image_first = scaled(first)
    scale = np.linalg.norm(image_probe) * np.linalg.norm(first) + np.linalg.norm(image_first) * np.linalg.norm(probe)
    asymmetry = abs(float(probe @ image_first - first @ image_probe))
    if not asymmetry <= max(1e-9, 1e3 * precision) * scale:
        raise ValueError(f"operator must be symmetric, got vᵀAw − wᵀAv = {asymmetry:.2g} against {scale:.2g}")
    if size <= 3:  # ARPACK needs more vectors than that
        value, vector = _in_small_spaces(scaled, size, tolerance)
        return float(np.ldexp(value, exponent)), vector
    if not scale > 0:
        return 0.0, probe / np.linalg.norm(probe)
    size_of_operator = float(np.linalg.norm(image_probe) / np.linalg.norm(probe))
    operator = LinearOperator((size, size), matvec=scaled, dtype=np.float64)
    try:
        value, vector = _restarted(operator, first, tolerance)
    except ArpackNoConvergence as error:
        raise RuntimeError(f"Lanczos did not converge to tolerance = {tolerance:g}: {error}") from error
    except ArpackError:
        value, vector = -np.inf, first
    if not (inside and np.isfinite(value)) and _from_a_second_start(scaled, vector, rng) > value + tolerance * max(
        abs(value), size_of_operator
    ):
        value, vector = _in_small_spaces(scaled, size, tolerance)
    residual = float(np.linalg.norm(scaled(vector) - value * vector))
    if not residual <= 100 * tolerance * max(abs(value), size_of_operator):
        raise RuntimeError(
            f"Lanczos left a residual of {residual:.2g} at λ = {value:.6g} (in units of 2^{exponent}), "
            f"tolerance = {tolerance:g}"
        )
    return float(np.ldexp(value, exponent)), vector


def mixed(start: FloatArray, random: FloatArray, tolerance: float) -> FloatArray:
    """A guess (..., p), whose length does not count, with a part w of a random direction (p,) beside it.

    The top has a part w/√p of it. Before that part has grown to 1, Lanczos takes a wrong guess for the top, with a
    residual of w/√p or somewhat less: w = 100·√p·tolerance keeps it above the tolerance.
    """
    weight = min(1.0, max(LEAST_RANDOM, 100.0 * tolerance * len(random) ** 0.5))
    guess = np.ldexp(start, -np.frexp(np.abs(start).max(axis=-1, keepdims=True))[1])
    norms = np.linalg.norm(guess, axis=-1, keepdims=True)
    return np.asarray(guess / np.where(norms > 0.0, norms, 1.0) + weight * random / np.linalg.norm(random))


def _image_near_one(apply: Product, probe: FloatArray) -> tuple[FloatArray, int, float]:
    """2⁻ᵉAv with entries near 1, whose squares are in range, for v = probe; e; the precision of what `apply`
    returns.
    """
    for shift in (0, -FAR, FAR):
        with np.errstate(over="ignore", invalid="ignore"):
            image = np.asarray(apply(np.ldexp(probe, shift)))
        largest = float(np.abs(image).max())
        precision = float(np.finfo(image.dtype).eps) if image.dtype.kind == "f" else 0.0
        if 0.0 < largest < np.inf:
            exponent = int(np.frexp(largest)[1])
            return np.ldexp(image.astype(np.float64), -exponent), exponent - shift, precision
    return np.zeros_like(probe), 0, precision


def _applied(apply: Product, exponent: int, vector: FloatArray) -> FloatArray:
    """2⁻ᵉAv: the vector is scaled before its image can leave the range of doubles."""
    before = min(max(-exponent, -FAR), FAR)
    return np.ldexp(np.asarray(apply(np.ldexp(vector, before)), dtype=np.float64), -exponent - before)


def _restarted(operator: LinearOperator, start: FloatArray, tolerance: float) -> tuple[float, FloatArray]:
    """Few vectors between restarts where the top eigenvalue stands clear, which is usual; many where that fails."""
    size = operator.shape[0]
    try:
        values, vectors = eigsh(
            operator, k=1, which="LA", v0=start, tol=tolerance, ncv=min(size, 12), maxiter=8, **SEEDED
        )
    except ArpackNoConvergence:
        values, vectors = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, ncv=min(size, 40), **SEEDED)
    return float(values[0]), np.asarray(vectors[:, 0])


def _from_a_second_start(apply: Product, found: FloatArray, rng: np.random.Generator) -> float:
    """The largest Ritz value of a few steps from a random vector beside the one that was found: never above λ_max.

    ARPACK misses the top where its Krylov space ends early, in operators of few different eigenvalues.
    """
    second = rng.standard_normal(len(found))
    basis = (second - (second @ found) * found)[None]
    basis /= np.linalg.norm(basis)
    images = apply(basis[0])[None]
    for _ in range(min(SECOND_STEPS, len(found)) - 1):
        left = images[-1].copy()
        for _ in range(2):
            left -= (basis @ left) @ basis
        size = float(np.linalg.norm(left))
        if size <= 1e-8 * float(np.linalg.norm(images[-1])):
            break
        basis = np.vstack((basis, left / size))
        images = np.vstack((images, apply(basis[-1])))
    projection = basis @ images.T
    return float(np.linalg.eigvalsh((projection + projection.T) / 2)[-1])


def _in_small_spaces(apply: Product, size: int, tolerance: float) -> tuple[float, FloatArray]:
    """The same for operators of few different eigenvalues, by blocks of random vectors, or densely."""

    def product(block: FloatArray) -> FloatArray:
        return np.stack([apply(vector) for vector in block])

    if size < largest_basis(1) + BLOCK:
        dense = product(np.eye(size))
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    else:
        values, vectors = block_lanczos(product, size, 1, tolerance=max(tolerance, 1e-12))
    return float(values[-1]), np.asarray(vectors[:, -1])


def lanczos_from(
    start: FloatArray, apply: Product, tolerance: float, max_vectors: int = 40, *, inside: bool = False
) -> FloatArray:
    """The unit top eigenvector, with ‖Av − λv‖ ≤ tolerance·|λ|, of a symmetric operator of which `start` is a good
    guess.

    Lanczos with full reorthogonalisation, which stops as soon as it may: between nearby operators, and where a rough
    answer is enough, a third of the applications of a restarted one; handed to that one after max_vectors. inside: that
    the start is known to have a part along the top, as a vector inside the cone of a positive map; any other is mixed
    with a random direction.
    """
    p = len(start)
    first = start if inside else mixed(start, np.random.default_rng(0).standard_normal(p), tolerance)
    size = min(max_vectors, p)
    basis, diagonal, off = np.empty((size, p)), np.zeros(size), np.zeros(size)
    basis[0] = first / np.linalg.norm(first)
    unit = 1.0
    for k in range(size):
        image, known = np.asarray(apply(basis[k]), dtype=np.float64), basis[: k + 1]
        if k == 0:
            unit = power_of_two(image)
            if not np.isfinite(image).all():
                break
        image = image / unit
        diagonal[k] = basis[k] @ image
        for _ in range(2):  # twice is enough (Parlett)
            image = image - (known @ image) @ known
        off[k] = np.linalg.norm(image)
        # Straight from LAPACK: around a matrix of five rows, the wrappers cost more than all the rest of a step.
        values, vectors, _ = dstev(diagonal[: k + 1], off[: max(k, 1)])
        if off[k] * abs(vectors[-1, -1]) <= tolerance * abs(values[-1]):
            return np.asarray(vectors[:, -1] @ known)
        if k + 1 < size:
            basis[k + 1] = image / off[k]
    return lanczos_largest_eigenvalue(apply, p, start=start, tolerance=max(tolerance, 1e-12))[1]
