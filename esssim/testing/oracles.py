"""Slow, readable twins of what the package computes fast. None of them calls the code under test."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems import Problem
from esssim.sampling import Sampling, WithReplacement


def law_of_batches(n: int, sampling: Sampling) -> dict[tuple[int, ...], Fraction]:
    """Every sorted batch with its exact probability, by going through all ordered draws."""
    b = sampling.batch_size
    with_replacement = isinstance(sampling, WithReplacement)
    draws = itertools.product(range(n), repeat=b) if with_replacement else itertools.permutations(range(n), b)
    law: dict[tuple[int, ...], Fraction] = {}
    total = n**b if with_replacement else math.perm(n, b)
    for draw in draws:
        batch = tuple(sorted(draw))
        law[batch] = law.get(batch, Fraction(0)) + Fraction(1, total)
    return law


def all_batches(n: int, sampling: Sampling) -> tuple[IntArray, FloatArray]:
    """The same as arrays: batches (m, b) and probabilities (m,)."""
    law = law_of_batches(n, sampling)
    return np.array(list(law)), np.array([float(probability) for probability in law.values()])


def batch_hessians(problem: Problem, theta: FloatArray, batches: IntArray) -> FloatArray:
    """H_B for each batch (m, p, p), as the plain mean of the per-sample Hessians."""
    return np.asarray(problem.sample_hessians(theta, np.arange(problem.n_samples))[batches].mean(axis=1))


def top_eigenvalues(matrices: FloatArray) -> FloatArray:
    """λ_max of each matrix of a stack, densely; divided by its largest entry first, so that no scale hurts."""
    largest = np.abs(matrices).max(axis=(1, 2))
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(np.linalg.eigvalsh(matrices / scale[:, None, None])[:, -1] * scale)


def dense_pencil(hessians: FloatArray, sampling: Sampling) -> tuple[FloatArray, FloatArray]:
    """(D, C) of Q_b = λ_max(C⁺D) as dense matrices on H's eigenvectors of positive eigenvalue; D by enumeration."""
    batches, probabilities = all_batches(len(hessians), sampling)
    mean = hessians.mean(axis=0)
    values, vectors = np.linalg.eigh(mean)
    basis = vectors[:, values > 1e-10 * values[-1]]
    reduced = basis.T @ hessians[batches].mean(axis=1) @ basis
    d = np.sum([w * np.kron(h, h) for w, h in zip(probabilities, reduced, strict=True)], axis=0)
    h, identity = basis.T @ mean @ basis, np.eye(basis.shape[1])
    return d, (np.kron(h, identity) + np.kron(identity, h)) / 2
