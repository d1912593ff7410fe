"""Symmetric operators that are too large to be formed: Lanczos, with the checks that scipy leaves to its caller."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from esssim._validate import FloatArray


def lanczos_largest_eigenvalue(
    apply: Callable[[FloatArray], FloatArray],
    size: int,
    *,
    start: FloatArray | None = None,
    tolerance: float = 1e-12,
    n_vectors: int = 40,
    seed: int = 0,
) -> tuple[float, FloatArray]:
    """λ_max and its unit eigenvector of a symmetric operator v ↦ Av given as a function on (size,) vectors.

    start: first vector; without one, a random vector drawn from `seed` (never orthogonal to the top one by structure).
    n_vectors: dimension of the Krylov space between two restarts.
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
    operator = LinearOperator((size, size), matvec=apply, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="LA", v0=first, tol=tolerance, ncv=min(size, n_vectors))
    except ArpackError as error:
        raise RuntimeError(f"Lanczos did not converge to tolerance = {tolerance:g}: {error}") from error
    value, vector = float(values[0]), np.asarray(vectors[:, 0])
    residual = float(np.linalg.norm(apply(vector) - value * vector))
    size_of_operator = max(abs(value), float(np.linalg.norm(image_probe) / np.linalg.norm(probe)))
    if not residual <= 100 * tolerance * size_of_operator:
        raise RuntimeError(f"Lanczos left a residual of {residual:.2g} at λ = {value:.6g}, tolerance = {tolerance:g}")
    return value, vector
