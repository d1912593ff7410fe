"""What every run of the tests imports and warms up first, done once for all mutants: they are forked from here."""

from __future__ import annotations

import gc

import hypothesis.extra.numpy
import mpmath
import numba
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg
import scipy.special
import scipy.stats

__all__ = ["hypothesis", "mpmath", "pytest", "scipy"]


@numba.njit
def _compiled(matrix: np.ndarray, rng: np.random.Generator) -> float:
    values, _ = np.linalg.eigh(matrix @ matrix.T)
    return np.sqrt(values[-1]) + np.log(rng.random()) + max(matrix[0, 0], 0.0)


# The first compilation of a process loads most of numba.
_compiled(np.eye(2), np.random.default_rng(0))
# What is here stays: no fork needs to look through it again.
gc.freeze()
