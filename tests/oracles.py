"""Slow, readable twins of what the package computes fast. None of them calls the code under test."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import mpmath
import numpy as np
import scipy.linalg

import esssim as es

Batches = tuple[np.ndarray, np.ndarray]


def law_of_batches(n: int, sampling: es.Sampling) -> dict[tuple[int, ...], Fraction]:
    """Every sorted batch with its exact probability, by going through all ordered draws."""
    b = sampling.batch_size
    with_replacement = isinstance(sampling, es.WithReplacement)
    draws = itertools.product(range(n), repeat=b) if with_replacement else itertools.permutations(range(n), b)
    law: dict[tuple[int, ...], Fraction] = {}
    total = n**b if with_replacement else math.perm(n, b)
    for draw in draws:
        batch = tuple(sorted(draw))
        law[batch] = law.get(batch, Fraction(0)) + Fraction(1, total)
    return law


def all_batches(n: int, sampling: es.Sampling) -> Batches:
    """The same as arrays: batches (m, b) and probabilities (m,)."""
    law = law_of_batches(n, sampling)
    return np.array(list(law)), np.array([float(probability) for probability in law.values()])


def batch_hessians(problem: es.Problem, theta: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """H_B for each batch (m, p, p), as the plain mean of the per-sample Hessians."""
    return problem.sample_hessians(theta, np.arange(problem.n_samples))[batches].mean(axis=1)


def top_eigenvalues(matrices: np.ndarray) -> np.ndarray:
    """λ_max of each matrix of a stack, densely; divided by its largest entry first, so that no scale hurts."""
    largest = np.abs(matrices).max(axis=(1, 2))
    scale = np.where(largest > 0, largest, 1.0)
    return np.linalg.eigvalsh(matrices / scale[:, None, None])[:, -1] * scale


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


def dense_pencil(hessians: np.ndarray, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray]:
    batches, probabilities = all_batches(len(hessians), sampling)
    mean = hessians.mean(axis=0)
    values, vectors = np.linalg.eigh(mean)
    basis = vectors[:, values > 1e-10 * values[-1]]
    reduced = basis.T @ hessians[batches].mean(axis=1) @ basis
    d = sum(w * np.kron(h, h) for w, h in zip(probabilities, reduced, strict=True))
    h, identity = basis.T @ mean @ basis, np.eye(basis.shape[1])
    return d, (np.kron(h, identity) + np.kron(identity, h)) / 2


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
