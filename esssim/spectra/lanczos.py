"""Symmetric operators that are too large to be formed: Lanczos, with the checks that scipy leaves to its caller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dstev
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from esssim._validate import FloatArray


def lanczos_largest_eigenvalue(
    apply: Callable[[FloatArray], FloatArray],
    size: int,
    *,
    start: FloatArray | None = None,
    tolerance: float = 1e-12,
    seed: int = 0,
) -> tuple[float, FloatArray]:
    """λ_max and its unit eigenvector of a symmetric operator v ↦ Av given as a function on (size,) vectors.

    start: first vector; without one, a random vector drawn from `seed` (never orthogonal to the top one by structure).
    Raises ValueError if the operator is not symmetric, RuntimeError if ‖Av − λv‖ > 100·tolerance·max(|λ|, ‖Av₀‖/‖v₀‖).
    Source: implicitly restarted Lanczos (ARPACK), algebraically largest eigenvalue.
    """
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(size) if start is None else np.asarray(start, dtype=np.float64)
    probe = rng.standard_normal(size)
    image_first, image_probe = apply(first), apply(probe)
    scale = np.linalg.norm(image_probe) * np.linalg.norm(first) + np.linalg.norm(image_first) * np.linalg.norm(probe)
    asymmetry = abs(float(probe @ image_first - first @ image_probe))
    if not asymmetry <= 1e-9 * scale:
        raise ValueError(f"operator must be symmetric, got vᵀAw − wᵀAv = {asymmetry:.2g} against {scale:.2g}")
    if size <= 3:  # ARPACK needs more vectors than that
        dense = np.stack([apply(unit) for unit in np.eye(size)])
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return float(values[-1]), np.asarray(vectors[:, -1])
    if not scale > 0:
        return 0.0, probe / np.linalg.norm(probe)
    size_of_operator = float(np.linalg.norm(image_probe) / np.linalg.norm(probe))
    # ARPACK takes anything below 4e-11 for converged: the operator is brought near 1 by a power of two.
    unit = 2.0 ** np.frexp(size_of_operator)[1]
    operator = LinearOperator((size, size), matvec=lambda v: apply(v) / unit, dtype=np.float64)
    try:
        values, vectors = _restarted(operator, first, tolerance)
    except ArpackError as error:
        raise RuntimeError(f"Lanczos did not converge to tolerance = {tolerance:g}: {error}") from error
    value, vector = float(values[0] * unit), np.asarray(vectors[:, 0])
    residual = float(np.linalg.norm(apply(vector) - value * vector))
    if not residual <= 100 * tolerance * max(abs(value), size_of_operator):
        raise RuntimeError(f"Lanczos left a residual of {residual:.2g} at λ = {value:.6g}, tolerance = {tolerance:g}")
    return value, vector


def _restarted(operator: LinearOperator, start: FloatArray, tolerance: float) -> tuple[FloatArray, FloatArray]:
    """Few vectors between restarts where the top eigenvalue stands clear, which is usual; many where that fails."""
    size = operator.shape[0]
    try:
        pair = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, ncv=min(size, 12), maxiter=8)
    except ArpackNoConvergence:
        pair = eigsh(operator, k=1, which="LA", v0=start, tol=tolerance, ncv=min(size, 40))
    return np.asarray(pair[0]), np.asarray(pair[1])


def lanczos_from(
    start: FloatArray, apply: Callable[[FloatArray], FloatArray], tolerance: float, max_vectors: int = 40
) -> FloatArray:
    """The unit top eigenvector, with ‖Av − λv‖ ≤ tolerance·λ, of a symmetric operator of which `start` is a good guess.

    Lanczos with full reorthogonalisation, which stops as soon as it may: between nearby operators, and where a rough
    answer is enough, a third of the applications of a restarted one; handed to that one after max_vectors.
    """
    size = min(max_vectors, len(start))
    basis, diagonal, off = np.empty((size, len(start))), np.zeros(size), np.zeros(size)
    basis[0] = start / np.linalg.norm(start)
    for k in range(size):
        image, known = apply(basis[k]), basis[: k + 1]
        diagonal[k] = basis[k] @ image
        for _ in range(2):  # twice is enough (Parlett)
            image = image - (known @ image) @ known
        off[k] = np.linalg.norm(image)
        # Straight from LAPACK: around a matrix of five rows, the wrappers cost more than all the rest of a step.
        values, vectors, _ = dstev(diagonal[: k + 1], off[: max(k, 1)])
        if off[k] * abs(vectors[-1, -1]) <= tolerance * values[-1]:
            return np.asarray(vectors[:, -1] @ known)
        if k + 1 < size:
            basis[k + 1] = image / off[k]
    return lanczos_largest_eigenvalue(apply, len(start), start=start, tolerance=max(tolerance, 1e-12))[1]
