"""The arithmetic of estimates: errors against simulation and closed forms, and what may depend on what."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

import esssim as es

X, Y = es.Estimate(8.0, 0.3, 50, False), es.Estimate(-2.0, 0.1, 20, False)
EXACT = es.Estimate(3.0, 0.0, 10, True)


def errors(found: es.Estimate) -> tuple[float, float]:
    return found.value, found.standard_error


class TestNumbers:
    @pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2), np.int64(2), True + True])
    def test_on_both_sides(self, number: float) -> None:
        assert errors(X + number) == errors(number + X) == (10.0, 0.3)
        assert errors(X - number) == (6.0, 0.3)
        assert errors(number - X) == (-6.0, 0.3)
        assert errors(X * number) == errors(number * X) == (16.0, 0.6)
        assert errors(X / number) == (4.0, 0.15)
        assert errors(number / X) == pytest.approx((0.25, 2 * 0.3 / 64), rel=1e-15)
        assert isinstance(number * X, es.Estimate)

    def test_signs(self) -> None:
        assert errors(-X) == (-8.0, 0.3)
        assert errors(+X) == (8.0, 0.3)
        assert errors(abs(Y)) == (2.0, 0.1)
        assert errors(abs(X)) == (8.0, 0.3)
        assert (X * -2).standard_error == 0.6

    def test_keep_degrees_and_counts(self) -> None:
        found = replace(X, n_effective=33.0) * 2 + 1
        assert (found.n_batches, found.n_effective, found.exact) == (50, 33.0, False)
        assert found.half_width() == pytest.approx(t.ppf(0.975, 49) * 0.6, rel=1e-12)

    @pytest.mark.parametrize("other", ["a", None, [1.0], np.ones(2), 1j])
    def test_nothing_else(self, other: object) -> None:
        for operation in (
            lambda: X + other,
            lambda: other - X,
            lambda: X * other,
            lambda: other / X,
            lambda: X / other,
        ):
            with pytest.raises(TypeError):
                operation()

    def test_zero(self) -> None:
        assert (X * 0).exact
        assert errors(X * 0) == (0.0, 0.0)
        with pytest.raises(ZeroDivisionError, match="division of an Estimate by zero"):
            X / 0

    def test_bounds_follow(self) -> None:
        bounded = replace(X, value=1.1, lower=1.0)
        assert bounded.interval[0] == 1.0
        assert (bounded + 1).interval[0] == 2.0
        assert (2 * bounded).interval[0] == 2.0
        assert (-bounded).interval[1] == -1.0
        assert (bounded / 2).interval[0] == 0.5
        assert (bounded - 1.0).interval[0] == 0.0
        assert (bounded * X).lower == -math.inf


class TestExact:
    def test_stays_exact(self) -> None:
        for found in (EXACT + 1, EXACT * EXACT, EXACT / 4, 1 / EXACT, EXACT - EXACT, EXACT + EXACT, -EXACT):
            assert found.exact
            assert found.standard_error == 0.0
            assert found.interval == (found.value, found.value)
            assert found.n_batches == 10
        assert (EXACT + EXACT).value == 6.0

    def test_beside_a_sampled_one(self) -> None:
        for found, error in ((X + EXACT, 0.3), (EXACT * X, 0.9), (X / EXACT, 0.1), (EXACT / X, 3 * 0.3 / 64)):
            assert not found.exact
            assert found.standard_error == pytest.approx(error, rel=1e-15)
            assert found.n_batches == 50
            assert found.half_width() == pytest.approx(t.ppf(0.975, 49) * error, rel=1e-12)

    def test_a_sample_without_spread_is_not_exact(self) -> None:
        constant = es.Estimate(2.0, 0.0, 30, False)
        assert not (constant + 1).exact
        assert not (constant * X).exact
        assert (constant - constant).exact


OPERATIONS: dict[str, Callable[[object, object], object]] = {
    "sum": lambda x, y: x + y,
    "difference": lambda x, y: x - y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / y,
    "gap over level": lambda x, y: (x - y) / (x + y),
    "more": lambda x, y: 3 * x * y - x / y + 2,
}


class TestIndependent:
    @pytest.mark.parametrize("name", OPERATIONS)
    def test_against_simulation(self, name: str) -> None:
        """The spread of the operation on 400,000 pairs of normal numbers; relative errors of 4 % leave 1 % to second order."""
        rng = np.random.default_rng(0)
        x = X.value + X.standard_error * rng.standard_normal(400_000)
        y = Y.value + Y.standard_error * rng.standard_normal(400_000)
        found = OPERATIONS[name](X, Y)
        assert isinstance(found, es.Estimate)
        assert found.value == pytest.approx(float(OPERATIONS[name](X.value, Y.value)), rel=1e-14)
        assert found.standard_error == pytest.approx(np.std(OPERATIONS[name](x, y)), rel=0.012)
        assert found.n_batches == 20

    def test_product_of_two_zeros(self) -> None:
        """First order says 0; the product of two independent errors has the product of both deviations."""
        one, other = es.Estimate(0.0, 0.5, 100, False), es.Estimate(0.0, 0.2, 100, False)
        assert (one * other).standard_error == pytest.approx(0.1, rel=1e-14)
        assert (one * one).standard_error == pytest.approx(math.sqrt(2) * 0.25, rel=1e-14)

    def test_degrees_of_freedom(self) -> None:
        """Welch and Satterthwaite, as scipy has them for the difference of two means."""
        found = X - Y
        variances = np.array([0.3**2, 0.1**2])
        degrees = variances.sum() ** 2 / (variances**2 / np.array([49, 19])).sum()
        assert found.half_width() == pytest.approx(t.ppf(0.975, degrees) * math.sqrt(variances.sum()), rel=1e-12)
        assert found.half_width(0.5) < found.half_width()

    def test_coverage(self) -> None:
        """Of 2000 ratios of two sample means 95 % ± 1.5 % of the intervals hold the truth."""
        rng = np.random.default_rng(1)

        def mean_of(values: np.ndarray) -> es.Estimate:
            return es.Estimate(
                float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))), len(values), False
            )

        inside = 0
        for _ in range(2000):
            ratio = mean_of(5 + rng.standard_normal(12)) / mean_of(2 + 0.3 * rng.standard_normal(30))
            low, high = ratio.interval
            inside += low <= 2.5 <= high
        assert 0.935 <= inside / 2000 <= 0.965


class TestSameNumber:
    def test_cancels(self) -> None:
        for found, value in (
            (X - X, 0.0),
            (X / X, 1.0),
            (2 * X - X - X, 0.0),
            ((X + Y) - Y - X, 0.0),
            (2 * X / X, 2.0),
        ):
            assert found.exact
            assert found.value == value
            assert found.standard_error == 0.0
        assert errors(X + X) == errors(2 * X)
        assert (X * X).standard_error == pytest.approx(2 * 8 * 0.3, rel=1e-3)

    def test_is_known_after_copies(self) -> None:
        one, other = pickle.loads(pickle.dumps((X, X - Y)))
        assert (one - other).standard_error == pytest.approx(0.1, rel=1e-14)
        for same in copy.deepcopy([X, X])[1:]:
            assert same == X

    def test_equal_numbers_are_independent(self) -> None:
        assert (X - es.Estimate(8.0, 0.3, 50, False)).standard_error == pytest.approx(0.3 * math.sqrt(2), rel=1e-14)
        assert es.Estimate(8.0, 0.3, 50, False) == X


class TestSameDraws:
    problem = es.LinearRegression(
        np.random.default_rng(0).standard_normal((80, 6)), np.random.default_rng(1).standard_normal(80)
    )

    def minibs(self, b: int, seed: object = 0) -> es.Estimate:
        return es.minibatch_sharpness(self.problem, np.zeros(6), es.WithoutReplacement(b), n_batches=100, seed=seed)

    def test_the_same_call_is_the_same_number(self) -> None:
        assert self.minibs(8) == self.minibs(8)
        assert (self.minibs(8) - self.minibs(8)).exact
        assert (self.minibs(8) / self.minibs(8)).value == 1.0

    def test_one_seed_adds_errors(self) -> None:
        """Batches of one seed may move together or apart: |a|σ + |b|σ' bounds both."""
        one, other = self.minibs(4), self.minibs(8)
        assert (one - other).standard_error == pytest.approx(one.standard_error + other.standard_error, rel=1e-14)
        assert (one + other).standard_error == pytest.approx(one.standard_error + other.standard_error, rel=1e-14)
        equal = self.minibs(8, np.random.SeedSequence(0))
        assert (one + equal).standard_error == (one + other).standard_error

    @pytest.mark.parametrize("seed", [1, np.random.SeedSequence([0, 1]), np.random.SeedSequence(0).spawn(1)[0], None])
    def test_other_seeds_are_independent(self, seed: object) -> None:
        one, other = self.minibs(4), self.minibs(8, seed)
        assert (one - other).standard_error == pytest.approx(
            math.hypot(one.standard_error, other.standard_error), rel=1e-14
        )

    def test_default_seed(self) -> None:
        at = (self.problem, np.zeros(6), es.WithoutReplacement(8))
        for function in (es.minibatch_sharpness, es.batch_sharpness):
            assert function(*at, n_batches=50) == function(*at, n_batches=50) == function(*at, n_batches=50, seed=0)

    def test_gap(self) -> None:
        """An exact sharpness taken away leaves the error, and what is known of the sign."""
        found = self.minibs(70)
        gap = found - es.sharpness(self.problem, np.zeros(6))
        assert gap.standard_error == found.standard_error
        assert gap.interval[0] >= 0.0


class TestQuotients:
    def test_divisor_that_may_be_zero(self) -> None:
        with pytest.raises(ValueError, match=r"divisor of a quotient must differ from 0: its 95 % interval is \[-0.0"):
            X / es.Estimate(0.1, 0.09, 100, False)
        with pytest.raises(ValueError, match="divisor"):
            1 / (EXACT - EXACT)

    def test_undefined_stays_undefined(self) -> None:
        undefined = es.Estimate(math.nan, math.nan, 0, False)
        for found in (undefined + 1, undefined * X, X - undefined, 2 * undefined):
            assert math.isnan(found.value)
            assert math.isnan(found.standard_error)


class TestShown:
    def test_half_width_is_what_stands_after_the_sign(self) -> None:
        found = es.Estimate(7.831, 0.06, 500, False, n_effective=318.2)
        assert str(found) == "7.831 ± 0.12 (95 %, 500 batches, 318 effective)"
        assert found.half_width() == pytest.approx(0.06 * t.ppf(0.975, 499), rel=1e-12)
        assert str(es.Estimate(1.5, 0.0, 0, True)) == "1.5 (exact)"
        assert str(es.Estimate(1.5, 0.0, 1, True)) == "1.5 (exact, 1 batch)"
        assert str(es.Estimate(1.5, 0.0, 1200, True)) == "1.5 (exact, 1,200 batches)"

    def test_degrees_of_its_own(self) -> None:
        found = es.Estimate(0.0, 1.0, 1000, False, degrees=2.5)
        assert found.confidence_interval(0.9) == pytest.approx((-t.ppf(0.95, 2.5), t.ppf(0.95, 2.5)), rel=1e-10)
        assert es.Estimate(0.0, 1.0, 10**9, False).half_width() == pytest.approx(norm.ppf(0.975), rel=1e-6)

    def test_cut_interval_keeps_the_value(self) -> None:
        found = es.Estimate(1.0, 0.5, 100, False).within(1.2, 9.0)
        assert found.value == 1.2
        assert found.interval == (1.2, pytest.approx(1.2 + found.half_width()))


@pytest.mark.parametrize("factor", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_not_exact(factor: float) -> None:
    found = es.Estimate(2.0, 0.1, 50, False) * factor
    assert not found.exact
    assert not math.isfinite(found.value)
    assert not math.isfinite(found.half_width())
