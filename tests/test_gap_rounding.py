"""The rounding allowance of the bounds against the same numbers with 60 digits, and what they cost."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence

import mpmath
import numpy as np
import pytest

import esssim as es
from esssim.gap.setting import Setting

rng = np.random.default_rng(20260408)
BASE = rng.standard_normal((6, 4))
ROWS = {
    "generic": BASE,
    "wide": rng.standard_normal((4, 6)),
    "equal": np.full((5, 3), 1 / 3),
    "nearly equal": 1 / 3 + 1e-9 * rng.standard_normal((6, 3)),
    "one huge": BASE * np.array([1e8, 1, 1, 1, 1, 1])[:, None],
    "degenerate top": np.kron(np.ones((2, 1)), np.eye(3)) / 3 * (1 + 1e-15 * rng.standard_normal((6, 1))),
    "tiny": BASE * 1e-150,
    "large": BASE * 1e150,
}


class Exact:
    """Spectra of sums of aᵢaᵢᵀ with 60 digits."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = [[mpmath.mpf(float(x)) for x in row] for row in rows]
        self.n, self.p = rows.shape

    def mean(self, batch: Sequence[int]) -> mpmath.matrix:
        total = mpmath.zeros(self.p)
        for i in batch:
            row = mpmath.matrix(self.rows[i])
            total += row * row.T
        return total / len(batch)

    def top(self, batch: Sequence[int]) -> mpmath.mpf:
        return max(mpmath.eigsy(self.mean(batch), eigvals_only=True))

    def minibs(self, b: int) -> mpmath.mpf:
        batches = list(itertools.combinations(range(self.n), b))
        return mpmath.fsum(self.top(batch) for batch in batches) / len(batches)

    def scatter(self) -> mpmath.mpf:
        whole = self.mean(range(self.n))
        return mpmath.fsum(mpmath.mnorm(self.mean([i]) - whole, "f") ** 2 for i in range(self.n)) / self.n


@pytest.mark.parametrize("name", ROWS)
def test_no_mean_or_eigenvalue_errs_by_more_than_the_allowance(name: str) -> None:
    """|computed − exact| ≤ γS for every number that a bound starts from, ≤ √γ·S for the root of a variance."""
    rows, b = ROWS[name], 3
    problem, theta = es.LinearRegression(rows, np.zeros(len(rows))), np.zeros(rows.shape[1])
    s = Setting.of(problem, theta, es.WithoutReplacement(b))
    with mpmath.workdps(60):
        exact, everyone = Exact(rows), range(len(rows))
        pairs = (exact.minibs(2), s.pair_sharpness), (exact.minibs(len(rows) - 1), s.left_out_sharpness)
        truth = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(b)).value
        found = [
            *((right, mpmath.mpf(computed) * s.unit) for right, computed in pairs),
            (exact.top(everyone), mpmath.mpf(s.sharpness) * s.unit),
            (exact.minibs(1), mpmath.mpf(float(s.sample_sharpness.mean())) * s.unit),
            (exact.minibs(b), mpmath.mpf(truth)),
        ]
        allowed = mpmath.mpf(s.rounding) * s.unit
        assert max(abs(right - computed) for right, computed in found) <= allowed
        root = mpmath.mpf(math.sqrt(float(s.scatter.mean()))) * s.unit
        largest = mpmath.mpf(math.sqrt(s.relative_rounding) * s.largest_norm) * s.unit
        assert abs(mpmath.sqrt(exact.scatter()) - root) <= largest
        # Not needlessly large either: what is allowed is below 1e-12 of the largest sample.
        assert allowed < 1e-12 * mpmath.mpf(s.largest_norm) * s.unit


def test_bounds_and_prediction_of_a_large_problem_take_less_than_a_second() -> None:
    table = es.data.gaussian(1000, 100, seed=0)
    problem, theta = es.LinearRegression(table.inputs, table.targets), np.zeros(100)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        found = es.gap.bounds(problem, theta, es.WithoutReplacement(8))
        predicted = es.gap.predict(problem, theta, es.WithoutReplacement(8))
        seconds.append(time.process_time() - start)
    assert found.gap[0] < predicted.value < found.gap[1]
    assert min(seconds) < 1.0
