"""The problems that are timed, and what 80-bit arithmetic says of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import esssim as es

Array = np.ndarray


@dataclass(frozen=True)
class Instance:
    """Standard normal inputs, reachable targets, a start that is no minimum; n samples, d inputs, batches of b."""

    n: int
    d: int
    b: int

    def __str__(self) -> str:
        return f"({self.n}, {self.d}, {self.b})"

    @property
    def sampling(self) -> es.WithoutReplacement:
        return es.WithoutReplacement(self.b)

    @cached_property
    def inputs(self) -> Array:
        return np.random.default_rng(self.n).standard_normal((self.n, self.d))

    @cached_property
    def targets(self) -> Array:
        return self.inputs @ np.random.default_rng(self.d).standard_normal(self.d) / np.sqrt(self.d)

    @cached_property
    def regression(self) -> es.LinearRegression:
        return es.LinearRegression(self.inputs, self.targets)

    @cached_property
    def network(self) -> es.DiagonalLinearNetwork:
        return es.DiagonalLinearNetwork(self.inputs, self.targets)

    @cached_property
    def theta(self) -> Array:
        """(u, v) of the network."""
        return 0.5 + 0.1 * np.random.default_rng(self.b).standard_normal(2 * self.d)

    @property
    def step_size(self) -> float:
        """Small enough that every batch's step contracts: ηλ_max(H_B) is near 0.1."""
        return 0.1 / self.d

    def batches(self, count: int) -> Array:
        return self.sampling.draw(self.n, count, np.random.default_rng(1))

    def network_hessian(self, batch: Array) -> Array:
        """H_B (2d, 2d), as one would write it from the formula."""
        u, v = np.split(self.theta, 2)
        rows = self.inputs[batch]
        residuals = rows @ (u * v) - self.targets[batch]
        jacobians = np.hstack((rows * v, rows * u))
        hessian = jacobians.T @ jacobians / len(batch)
        cross = rows.T @ residuals / len(batch)
        index = np.arange(self.d)
        hessian[index, self.d + index] += cross
        hessian[self.d + index, index] += cross
        return hessian

    def network_rayleigh(self, batch: Array, vector: Array) -> np.longdouble:
        """vᵀH_Bv/vᵀv in 80-bit arithmetic: the error of a double eigenvector enters it squared."""
        u, v = (part.astype(np.longdouble) for part in np.split(self.theta, 2))
        rows, w = self.inputs[batch].astype(np.longdouble), vector.astype(np.longdouble)
        residuals = rows @ (u * v) - self.targets[batch].astype(np.longdouble)
        projections = (rows * v) @ w[: self.d] + (rows * u) @ w[self.d :]
        cross = rows.T @ residuals / len(batch)
        return (projections @ projections / len(batch) + 2 * (w[: self.d] * cross) @ w[self.d :]) / (w @ w)

    def regression_rayleigh(self, batch: Array, vector: Array) -> np.longdouble:
        rows, w = self.inputs[batch].astype(np.longdouble), vector.astype(np.longdouble)
        return (rows @ w) @ (rows @ w) / len(batch) / (w @ w)


SMALL, MIDDLE, LARGE = Instance(100, 20, 4), Instance(1000, 100, 8), Instance(2000, 1000, 16)


def sizes(quick: bool) -> tuple[Instance, ...]:
    return (SMALL,) if quick else (SMALL, MIDDLE, LARGE)


def relative_error(values: Array, references: Array) -> float:
    """Largest relative error, the references in 80-bit arithmetic."""
    exact = np.asarray(references, dtype=np.longdouble)
    return float((np.abs(np.asarray(values, dtype=np.longdouble) - exact) / np.abs(exact)).max())
