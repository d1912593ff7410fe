"""Slow, readable twins of what the package computes fast. None of them calls the code under test."""

from __future__ import annotations

import mpmath
import numpy as np
import scipy.linalg

import esssim as es
from esssim.testing.oracles import all_batches, batch_hessians, dense_pencil, law_of_batches, top_eigenvalues

__all__ = [
    "all_batches",
    "batch_hessians",
    "dense_pencil",
    "dense_pencil_top",
    "exact_top_eigenvalue",
    "law_of_batches",
    "mean_square_sharpness",
    "pencil",
    "secular_root_by_bisection",
    "top_eigenvalues",
]


def exact_top_eigenvalue(matrix: mpmath.matrix) -> mpmath.mpf:
    """λ_max of a symmetric matrix with 50 digits."""
    with mpmath.workdps(50):
        largest = max(abs(entry) for entry in matrix)
        if largest == 0:
            return mpmath.mpf(0)
        return max(mpmath.eigsy(matrix / largest, eigvals_only=True)) * largest


def secular_root_by_bisection(diagonal: np.ndarray, rows: np.ndarray) -> float:
    """λ_max of diag(δ) + rowsᵀrows: the λ above every δ_k at which λ_max(rows (λ−diag δ)⁻¹ rowsᵀ) falls through 1.

    Coordinates that no row sees are eigenvectors of their own.
    """
    seen = (rows != 0).any(axis=0)
    candidates = list(diagonal[~seen])
    if seen.any():
        delta, columns = diagonal[seen], rows[:, seen]
        low, high = delta.max(), delta.max() + (columns**2).sum()
        for _ in range(200):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            above = np.linalg.eigvalsh((columns / (middle - delta)) @ columns.T)[-1] > 1
            low, high = (middle, high) if above else (low, middle)
        candidates.append((low + high) / 2)
    return float(max(candidates))


def pencil(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray]:
    """(D, C) of Q_b = λ_max(C⁺D) as dense matrices on H's eigenvectors of positive eigenvalue; D by enumeration."""
    return dense_pencil(problem.sample_hessians(theta, np.arange(problem.n_samples)), sampling)


def dense_pencil_top(hessians: np.ndarray, c: float) -> float:
    """λ_max(C⁺D) from Kronecker products on the range of H, D by the moment identity."""
    mean = hessians.mean(axis=0)
    values, vectors = np.linalg.eigh(mean)
    basis = vectors[:, values > 1e-10 * values[-1]]
    h, reduced = basis.T @ mean @ basis, basis.T @ hessians @ basis
    d = (1 - c) * np.kron(h, h) + c * np.mean([np.kron(a, a) for a in reduced], axis=0)
    identity = np.eye(len(h))
    return float(scipy.linalg.eigh(d, (np.kron(h, identity) + np.kron(identity, h)) / 2, eigvals_only=True)[-1])


def mean_square_sharpness(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    """Q_b as the top of the dense r²×r² generalised eigenproblem Dx = Q Cx."""
    d, c = pencil(problem, theta, sampling)
    return float(scipy.linalg.eigh(d, c, eigvals_only=True)[-1])


def check_second_moment(ends: np.ndarray, expected: np.ndarray) -> None:
    """Whether the ends of many runs, (replicas, p), have the second moment `expected`, (p²,), and say so within 25 %."""
    squares = np.einsum("rj,rk->rjk", ends, ends).reshape(len(ends), -1)
    errors = squares.std(axis=0, ddof=1) / np.sqrt(len(ends))
    assert (np.abs(squares.mean(axis=0) - expected) <= 4.5 * errors).all()
    assert (errors < 0.25 * np.abs(expected).max()).all()
