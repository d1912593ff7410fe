"""Dense symmetric matrices."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import scipy.linalg

from esssim import _validate
from esssim._validate import FloatArray
from esssim.problems.base import check_symmetric


def largest_eigenvalue(matrix: npt.ArrayLike) -> float:
    """λ_max of one symmetric matrix (p, p), exact to rounding relative to its norm.

    Raises ValueError for a non-square, non-finite or asymmetric matrix. Source: LAPACK syevr, top eigenvalue only.
    """
    array = _validate.real_array("matrix", matrix, ("p", "p"))
    if array.shape[0] != array.shape[1]:
        raise ValueError(f"matrix must have shape (p, p), got {array.shape}")
    return top_of_symmetric(check_symmetric("matrix", array))


def top_of_symmetric(matrix: FloatArray) -> float:
    """The same of a matrix that is known to be finite and symmetric."""
    last, scale = len(matrix) - 1, power_of_two(matrix)
    top = scipy.linalg.eigh(matrix / scale, eigvals_only=True, subset_by_index=(last, last), check_finite=False)
    return float(top[0]) * scale


def stacked_largest_eigenvalues(matrices: FloatArray) -> FloatArray:
    """λ_max of each symmetric matrix of a stack (m, p, p)."""
    scales = _powers_of_two(np.abs(matrices).max(axis=(1, 2), initial=0.0))
    return np.asarray(np.linalg.eigvalsh(matrices / scales[:, None, None])[:, -1]) * scales


def power_of_two(matrix: FloatArray) -> float:
    """One near the largest entry, 1 without any: what is divided by it is far from under- and overflow."""
    largest = float(np.abs(matrix).max())
    return math.ldexp(1.0, math.frexp(largest)[1] - 1) if largest > 0 else 1.0


def _powers_of_two(largest: npt.ArrayLike) -> FloatArray:
    return np.where(np.asarray(largest) > 0, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
