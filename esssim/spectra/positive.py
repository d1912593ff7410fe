"""Positive maps: the top of their spectrum is an eigenvalue, with an eigenvector inside the cone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigs

from esssim._validate import FloatArray
from esssim.spectra.lanczos import SEEDED

# Up to so many numbers the map is formed: Arnoldi needs more than it wants eigenvalues.
DENSE = 9


def spectral_radius(positive_map: Callable[[FloatArray], FloatArray], start: FloatArray) -> float:
    """Of a positive map on vectors (N,), by Arnoldi from a start (N,) inside the cone; densely for N ≤ 9.

    Raises ArpackError, a RuntimeError, where Arnoldi does not converge.
    """
    size = len(start)
    if size <= DENSE:
        matrix = np.stack([positive_map(unit) for unit in np.eye(size)], axis=1)
        return float(np.abs(np.linalg.eigvals(matrix)).max())
    operator = LinearOperator((size, size), matvec=positive_map, dtype=np.float64)
    values = eigs(operator, 1, which="LR", v0=start, tol=1e-13, return_eigenvectors=False, **SEEDED)
    return float(values[0].real)
