"""Hessians from their definition, and largest eigenvalues, in 50-digit arithmetic of mpmath."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mpmath
import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, Quadratic

DIGITS = 50
# Up to this size every eigenvalue is computed; above it the largest is enclosed.
SMALL = 16

Exact = Any  # an array of mpmath's numbers, of dtype object
exact = np.frompyfunc(mpmath.mpf, 1, 1)


@contextmanager
def digits() -> Iterator[None]:
    with mpmath.workdps(DIGITS):
        yield


def batch_hessian(problem: Problem, theta: FloatArray, batch: IntArray) -> Exact:
    """H_B = (1/b) Σ_{i∈B} ∇²ℓᵢ(θ) from the formulas of the losses, (p, p)."""
    total = sum(_sample_hessian(problem, exact(theta), int(i)) for i in batch)
    return total / mpmath.mpf(len(batch))


def _sample_hessian(problem: Problem, theta: Exact, i: int) -> Exact:
    if isinstance(problem, Quadratic):
        return exact(problem.hessians[i])
    assert isinstance(problem, LinearRegression | DiagonalLinearNetwork)
    x = exact(problem.inputs[i])
    if isinstance(problem, LinearRegression):
        return np.multiply.outer(x, x)
    u, v = np.split(theta, 2)
    nothing = np.full(len(x), mpmath.mpf(0))
    if problem.form == "product":
        slope = np.concatenate((x * v, x * u))
        residual = (x * u * v).sum() - mpmath.mpf(float(problem.targets[i]))
        cross = np.diag(x) + np.diag(nothing)
        bend = np.block([[np.diag(nothing), cross], [cross, np.diag(nothing)]])
    else:
        depth = problem.depth
        slope = np.concatenate((depth * x * u ** (depth - 1), -depth * x * v ** (depth - 1)))
        residual = (x * (u**depth - v**depth)).sum() - mpmath.mpf(float(problem.targets[i]))
        bend = np.diag(depth * (depth - 1) * np.concatenate((x * u ** (depth - 2), -x * v ** (depth - 2))))
    return np.multiply.outer(slope, slope) + residual * bend


def error_of(found: float, hessian: Exact) -> float:
    """|found − λ_max(H)|/‖H‖₂ for p ≤ 16; above that the power of ten that it is proven to lie below."""
    if len(hessian) <= SMALL:
        values = list(mpmath.eigsy(mpmath.matrix(hessian.tolist()), eigvals_only=True))
        scale = max(abs(value) for value in values)
        off = abs(mpmath.mpf(found) - max(values))
        return float(off / scale) if scale else float(off)
    return _enclosed_error(found, hessian)


def _enclosed_error(found: float, hessian: Exact) -> float:
    """The smallest power of ten 10⁻ᵏ for which (found + 10⁻ᵏ‖H‖)I − H is positive definite and H has a vector whose
    quotient exceeds found − 10⁻ᵏ‖H‖."""
    largest = max(abs(entry) for entry in hessian.ravel())
    if not largest:
        return float(abs(found))
    _, vectors = np.linalg.eigh((hessian / largest).astype(float))
    top = exact(vectors[:, -1])
    below = (top @ (hessian @ top)) / (top @ top) / largest
    # ‖H‖₂ is at least the largest entry: the error is not made smaller than it is.
    value = mpmath.mpf(found) / largest
    for exponent in range(-13, 1):
        margin = mpmath.mpf(10) ** exponent
        if value - below <= margin and _positive_definite(hessian / -largest, value + margin):
            return float(margin)
    return float("inf")


def _positive_definite(matrix: Exact, shift: Exact) -> bool:
    """Whether A + shift·I is, by elimination."""
    rest = matrix + np.diag(np.full(len(matrix), shift))
    for _ in range(len(matrix)):
        if not rest[0, 0] > 0:
            return False
        rest = rest[1:, 1:] - np.multiply.outer(rest[1:, 0] / rest[0, 0], rest[0, 1:])
    return True
