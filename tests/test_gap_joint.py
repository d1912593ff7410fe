"""The joint prediction against plain conditioning and enumerated gaps; bounds from a sample against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

import esssim as es
from esssim.gap import joint as joint_function
from esssim.gap.joint import FREE, JOINED, Joint, sizes
from esssim.gap.sample import _largest, gaps_of, mean_above, sampled_gaps
from esssim.gap.setting import Setting
from esssim.testing import Case, strategies
from tests import oracles


def regression(name: str, n: int, d: int, seed: int = 3) -> tuple[es.LinearRegression, np.ndarray]:
    table = getattr(es.data, name)(n, d, seed=seed)
    return es.LinearRegression(table.inputs, table.targets), np.zeros(d)


def matern(distance: np.ndarray, terms: int) -> np.ndarray:
    """By its definition as a product of an exponential and a polynomial: three halves or five halves."""
    r = math.sqrt(2 * terms + 1) * np.abs(distance) / 4.0
    return np.exp(-r) * (1 + r if terms == 1 else 1 + r + r**2 / 3)


class TestJoint:
    def test_it_is_what_conditioning_gives(self) -> None:
        """Generalised least squares for the level (universal kriging), in place of a large prior variance."""
        problem, theta = regression("power_law", 40, 12)
        s = Setting.of(problem, theta, es.WithoutReplacement(7))
        seen = Joint.of(s)
        exact = seen.formula == 0
        assert exact.sum() == 3
        scale = np.where(exact, 0.0, np.maximum(seen.error, 0.01))
        distance = seen.x[:, None] - seen.x
        same = seen.formula[:, None] == seen.formula
        covariance = 0.64 * matern(distance, 2) + same * np.outer(scale, scale) * matern(distance, 1)
        covariance += np.diag((0.2 * scale) ** 2 + np.where(exact, 1e-8, 1e-6))
        at = -math.log(s.c)
        towards, rest = 0.64 * matern(seen.x - at, 2), seen.y - 0.2 * seen.x
        inverse = np.linalg.inv(covariance)
        ones = np.ones(len(rest))
        level = ones @ inverse @ rest / (ones @ inverse @ ones)
        mean = 0.2 * at + level + towards @ inverse @ (rest - level)
        left = 1 - ones @ inverse @ towards
        variance = 0.64 - towards @ inverse @ towards + left**2 / (ones @ inverse @ ones)
        found = seen.posterior(at)
        assert found == pytest.approx((mean, math.sqrt(variance)), abs=2 / FREE * 0.1)
        predicted = joint_function(problem, theta, es.WithoutReplacement(7))
        assert predicted.value == pytest.approx(s.c * math.exp(found[0]) * s.unit)
        assert predicted.error == pytest.approx(predicted.value * math.expm1(2 * found[1]), rel=1e-6)
        assert predicted.details["log_deviation"] == pytest.approx(found[1])

    def test_it_meets_the_exact_values(self) -> None:
        problem, theta = regression("gaussian", 24, 10)
        for b in (1, 2, 23):
            found, exact = (f(problem, theta, es.WithoutReplacement(b)) for f in (joint_function, es.gap.exact))
            assert found.value == pytest.approx(exact.value, rel=1e-3)
            assert found.error < 2e-3 * found.value

    @pytest.mark.parametrize("name", ["spiked", "gaussian", "power_law"])
    def test_its_exponent_has_no_kink(self, name: str) -> None:
        """No step of b changes the local exponent by more than its neighbours do on the average, and 0.05."""
        problem, theta = regression(name, 48, 20)
        exponents = es.gap.scaling_exponents(problem, theta, range(3, 20))
        bends = np.diff(exponents)
        assert np.abs(np.diff(bends)).max() < 0.05

    @pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.WithReplacement])
    def test_it_covers_nine_in_ten_enumerated_gaps(self, scheme: type[es.Sampling]) -> None:
        covered = []
        for seed in range(30):
            problem, theta = regression("spiked", 12, 6, seed)
            for b in (3, 4):
                found, truth = joint_function(problem, theta, scheme(b)), gap(problem, theta, scheme(b))
                covered.append(abs(found.value - truth) <= found.error)
                assert found.error < 0.4 * truth
        assert np.mean(covered) >= 0.9

    def test_it_does_not_depend_on_the_basis_of_the_parameters(self) -> None:
        """Neither eigenvectors nor their signs, nor those of the covariance in a cluster, are in the prediction."""
        for form, d in (("spiked", 6), ("gaussian", 9)):
            problem, theta = regression(form, 30, d)
            basis = np.linalg.qr(np.random.default_rng(1).standard_normal((d, d)))[0]
            turned = es.LinearRegression(problem.inputs @ basis, problem.targets)
            for predict in (joint_function, es.gap.crossover):
                found = predict(problem, theta, es.WithoutReplacement(5))
                assert found.value == pytest.approx(
                    predict(turned, basis.T @ theta, es.WithoutReplacement(5)).value, rel=1e-9
                )

    def test_sizes(self) -> None:
        problem, theta = regression("gaussian", 30, 5)
        without = sizes(Setting.of(problem, theta, es.WithoutReplacement(4)))
        assert without == sizes(Setting.of(problem, theta, es.WithoutReplacement(20)))
        assert {1, 2, 29} <= set(without) <= set(range(1, 30))
        s = Setting.of(problem, theta, es.WithReplacement(4))
        last = sizes(s)[-1]
        # The fluctuation falls as √c.
        assert es.gap.second_order(problem, theta, es.WithReplacement(last)).details["fluctuation"] < 0.011
        far = Joint.of(s).at(s.at(3 * last))
        assert far.value == pytest.approx(
            es.gap.second_order(problem, theta, es.WithReplacement(3 * last)).value, rel=0.01
        )

    def test_it_refuses_where_there_is_nothing_to_join(self) -> None:
        equal = es.LinearRegression(np.ones((6, 2)), np.zeros(6))
        found = joint_function(equal, np.zeros(2), es.WithoutReplacement(3))
        assert found.reason == "needs a formula that is valid at some batch size"
        assert joint_function(equal, np.zeros(2), es.WithoutReplacement(6)).value == 0.0
        s = Setting.of(*regression("gaussian", 24, 10), es.WithoutReplacement(8))
        one = np.array([0.0])
        lonely = Joint(one, one, one, np.array([0]), 23)
        assert lonely.at(s).reason.startswith("needs a deviation of log gap of at most 0.5, it is ")
        assert len(JOINED) == 6


def gap(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    return es.minibatch_sharpness(problem, theta, sampling).value - es.sharpness(problem, theta)


class TestConfidenceBounds:
    @settings(max_examples=40)
    @given(strategies.sampled_cases())
    def test_they_hold_on_nasty_problems(self, case_and_sampling: tuple[Case, es.Sampling]) -> None:
        """At a level that leaves one failure in 10¹², against every batch."""
        case, sampling = case_and_sampling
        found = es.gap.confidence_bounds(case.problem, case.theta, sampling, n_batches=30, level=1 - 1e-12)
        always = es.gap.bounds(case.problem, case.theta, sampling)
        truth = gap(case.problem, case.theta, sampling)
        slack = 4 * Setting.of(case.problem, case.theta, sampling).rounding
        slack *= Setting.of(case.problem, case.theta, sampling).unit
        assert found.lower - slack <= truth <= found.upper + slack
        assert always.gap[0] <= found.lower
        assert found.upper <= always.gap[1]

    def test_each_batch_is_brute_force(self) -> None:
        problem, theta = regression("spiked", 9, 4)
        for sampling in (es.WithoutReplacement(3), es.WithReplacement(3)):
            s = Setting.of(problem, theta, sampling)
            batches, weights = oracles.all_batches(9, sampling)
            hessians = np.stack([problem.hessian(theta, batch[None])[0] for batch in batches])
            mean = np.tensordot(weights, hessians, 1)
            top = np.linalg.eigh(mean)[1][:, -1]
            expected = np.linalg.eigvalsh(hessians)[:, -1] - hessians @ top @ top
            assert gaps_of(s, batches) * s.unit == pytest.approx(expected, abs=1e-12)
            assert weights @ expected == pytest.approx(gap(problem, theta, sampling), rel=1e-10)
        epochs = Setting.of(problem, theta, es.Reshuffled(3))
        alone = Setting.of(problem, theta, es.WithoutReplacement(3))
        assert (sampled_gaps(epochs, 5, 1) == sampled_gaps(alone, 5, 1)).all()

    @pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.WithReplacement])
    def test_no_batch_is_above_the_largest(self, scheme: type[es.Sampling]) -> None:
        """The two rows beside the top direction make the batch that reaches it."""
        rows = np.array([[3.0, 0.0]] * 2 + [[0.0, 2.0]] * 8)
        s = Setting.of(es.LinearRegression(rows, np.zeros(10)), np.zeros(2), scheme(2))
        found = gaps_of(s, oracles.all_batches(10, s.sampling)[0]).max()
        assert found <= _largest(s) <= found * (1 + 1e-9)

    def test_the_level_is_kept_by_a_law_with_a_tail(self) -> None:
        """Nine values in ten small, one in fifty large: at δ = 0.2 the bound fails in no more than 0.2 of 1000 samples,
        and a tenth less data would not do: it comes within a fifth of the mean."""
        rng = np.random.default_rng(0)
        draws = np.where(rng.random((1000, 400)) < 0.02, 10.0, rng.random((1000, 400)))
        mean = 0.02 * 10 + 0.98 * 0.5
        found = np.array([mean_above(row, 0.2, 2.0) for row in draws])
        assert (found > mean).mean() <= 0.2 + 3 * math.sqrt(0.2 * 0.8 / 1000)
        assert np.median(found) > 0.8 * mean
        # One without a bet learns nothing.
        assert mean_above(np.zeros(9), 0.1, 1.0) == 0.0
        assert mean_above(np.ones(3), 1e-9, 1.0) == 0.0

    def test_more_batches_and_a_lower_level_are_tighter(self) -> None:
        problem, theta = regression("power_law", 60, 20)
        few, many, unsure = (
            es.gap.confidence_bounds(problem, theta, es.WithoutReplacement(16), n_batches=k, level=level)
            for k, level in ((200, 0.99), (4000, 0.99), (200, 0.5))
        )
        assert (few.level, few.n_batches, many.n_batches) == (0.99, 200, 4000)
        assert few.lower < unsure.lower < unsure.mean < unsure.upper < few.upper
        assert many.upper - many.lower < (few.upper - few.lower) / 3
        assert many.lower > 0.93 * many.mean
        assert many.standard_error < 0.02 * many.mean

    @pytest.mark.parametrize("scale", [1e75, 1e-75])
    def test_they_scale(self, scale: float) -> None:
        problem, theta = regression("spiked", 20, 6)
        other = es.LinearRegression(problem.inputs * scale, problem.targets)
        mine, theirs = (es.gap.confidence_bounds(p, theta, es.WithoutReplacement(5)) for p in (problem, other))
        for name in ("lower", "upper", "mean", "standard_error"):
            assert getattr(theirs, name) == pytest.approx(getattr(mine, name) * scale**2, rel=1e-5, abs=0.0)
