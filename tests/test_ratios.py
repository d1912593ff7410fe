"""Ratios of runs to predictions: the intervals against scipy's t test, the verdicts at every end of an interval."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import ttest_1samp

from esssim.claims.ratios import ratio_of, verdict_of


def test_a_certain_prediction_leaves_the_interval_of_the_runs() -> None:
    runs = np.random.default_rng(0).normal(3.0, 0.2, size=9)
    interval = ttest_1samp(runs, 0.0).confidence_interval(0.95)
    assert_allclose(ratio_of(runs, 4.0), (runs.mean() / 4, interval.low / 4, interval.high / 4), rtol=1e-12)


def test_runs_that_agree_leave_twice_the_error_of_the_prediction() -> None:
    assert_allclose(ratio_of(np.full(5, 2.0), 4.0, error=0.1), (0.5, 0.4, 0.6), rtol=1e-12)


def test_both_errors_add_in_quadrature() -> None:
    runs = np.random.default_rng(1).normal(3.0, 0.2, size=9)
    value, low, _ = ratio_of(runs, 4.0)
    _, lower, upper = ratio_of(runs, 4.0, error=0.05)
    expected = np.sqrt((value - low) ** 2 + (2 * 0.05 * value) ** 2)
    assert_allclose((value - lower, upper - value), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [
        ((0.9, 1.1), "holds"),
        ((0.95, 1.0), "holds"),
        ((0.89, 1.0), "inconclusive"),
        ((1.0, 1.11), "inconclusive"),
        ((0.8, 0.9), "inconclusive"),
        ((0.8, 0.89), "refuted"),
        ((1.11, 1.2), "refuted"),
        ((0.5, 1.5), "inconclusive"),
    ],
)
def test_verdict(interval: tuple[float, float], verdict: str) -> None:
    assert verdict_of(*interval, 0.9, 1.1) == verdict
