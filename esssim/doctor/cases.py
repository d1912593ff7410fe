"""Problems of every kind at points of every kind, from a seed: generic ones, and the nasty ones by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esssim._validate import FloatArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, Quadratic
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement

KINDS = ("quadratic", "regression", "product", "difference 2", "difference 3", "difference 5")


@dataclass(frozen=True)
class Case:
    """A problem at a point; `name` says what is special about it."""

    name: str
    problem: Problem
    theta: FloatArray


Twist = Callable[[FloatArray, np.random.Generator], FloatArray]


def _duplicates(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rows[rng.integers(max(1, len(rows) // 2), size=len(rows))]


def _equal(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.repeat(rows[:1], len(rows), axis=0)


def _nearly_equal(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rows[:1] * (1 + 1e-12 * rng.standard_normal(rows.shape))


def _orthogonal(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Every eigenvalue of the mean is degenerate."""
    return np.eye(rows.shape[1])[np.arange(len(rows)) % rows.shape[1]]


def _graded(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rows * np.logspace(0, -12, rows.shape[1])


def _one_huge(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rows * np.where(np.arange(len(rows)) == 0, 1e3, 1.0)[:, None]


def _with_zeros(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rows * (rng.random(rows.shape) < 0.5)


TWISTS: dict[str, Twist] = {
    "generic": lambda rows, rng: rows,
    "duplicated samples": _duplicates,
    "equal samples": _equal,
    "nearly equal samples": _nearly_equal,
    "orthogonal samples": _orthogonal,
    "graded features": _graded,
    "one sample × 1000": _one_huge,
    "zeros": _with_zeros,
    "t(2) samples": lambda rows, rng: rows * rng.standard_t(2, size=(len(rows), 1)),
    "log-normal samples": lambda rows, rng: rows * rng.lognormal(0, 2, size=(len(rows), 1)),
    "scale 1e100": lambda rows, rng: rows * 1e100,
    "scale 1e-100": lambda rows, rng: rows * 1e-100,
}


def case(seed: int, most_params: int, most_samples: int, least_params: int = 1) -> Case:
    """The case of a seed: kinds and twists take turns, sizes are drawn."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(16,)))
    kind = KINDS[seed % len(KINDS)]
    twist = list(TWISTS)[seed // len(KINDS) % len(TWISTS)]
    n, p = int(rng.integers(2, most_samples + 1)), int(rng.integers(least_params, most_params + 1))
    name = f"{kind}, {twist}, seed {seed}"
    if kind == "quadratic":
        return Case(name, *_quadratic(twist, n, p, rng))
    d = p if kind == "regression" else max(1, p // 2)
    inputs = TWISTS[twist](rng.standard_normal((n, d)), rng)
    scale = float(np.abs(inputs).max()) or 1.0
    if kind == "regression":
        return Case(name, LinearRegression(inputs, rng.standard_normal(n) * scale), rng.standard_normal(d))
    theta = rng.standard_normal(2 * d) * (rng.random(2 * d) < 0.9)
    targets = rng.standard_normal(n) * scale
    if kind == "product":
        return Case(name, DiagonalLinearNetwork(inputs, targets), theta)
    depth = int(kind.split()[1])
    return Case(name, DiagonalLinearNetwork(inputs, targets, form="difference", depth=depth), theta)


def _quadratic(twist: str, n: int, p: int, rng: np.random.Generator) -> tuple[Problem, FloatArray]:
    """Symmetric Hessians RᵀSR, of signs S = ±1 for every other seed, of fewer than p rows R in each."""
    rank = int(rng.integers(1, p + 1))
    signs = rng.choice((-1.0, 1.0), size=(n, rank, 1)) if rng.random() < 0.5 else np.ones((n, rank, 1))
    rows = TWISTS[twist](rng.standard_normal((n * rank, p)), rng).reshape(n, rank, p)
    hessians = np.einsum("nri,nrj->nij", signs * rows, rows)
    return Quadratic((hessians + hessians.transpose(0, 2, 1)) / 2, rng.standard_normal((n, p))), rng.standard_normal(p)


def sampling(seed: int, n_samples: int) -> Sampling:
    """A scheme with 1 ≤ b ≤ n, the ends as often as the inside."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(17,)))
    b = int(rng.choice((1, n_samples, int(rng.integers(1, n_samples + 1)), int(rng.integers(1, n_samples + 1)))))
    return WithoutReplacement(b) if seed % 2 else WithReplacement(b)
