"""Critical sharpness against exact rational polynomials, root searches on fine grids, and closed forms."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.optimize import brentq

import esssim as es
from esssim.statistics.critical import largest_sign_change
from esssim.testing import Case, strategies
from tests import oracles

Polynomial = list[Fraction]  # ascending
SCHEMES = (es.WithoutReplacement(2), es.WithReplacement(2), es.WithoutReplacement(1))


def product(first: Polynomial, second: Polynomial) -> Polynomial:
    found = [Fraction(0)] * (len(first) + len(second) - 1)
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            found[i + j] += a * b
    return found


def total(*many: Polynomial) -> Polynomial:
    length = max(map(len, many))
    return [sum((one[k] for one in many if k < len(one)), Fraction(0)) for k in range(length)]


def times(number: Fraction, one: Polynomial) -> Polynomial:
    return [number * entry for entry in one]


def weights_along(problem: es.Problem, lines: list[Polynomial]) -> list[Polynomial]:
    """β along θ − ηg, coordinate by coordinate, each parameter a polynomial of degree 1."""
    if isinstance(problem, es.LinearRegression):
        return lines
    half = len(lines) // 2
    pairs = list(zip(lines[:half], lines[half:], strict=True))
    if problem.form == "product":
        return [product(u, v) for u, v in pairs]
    powers = []
    for pair in pairs:
        one, other = ([Fraction(1)], [Fraction(1)])
        for _ in range(problem.depth):
            one, other = product(one, pair[0]), product(other, pair[1])
        powers.append(total(one, times(Fraction(-1), other)))
    return powers


def loss_along(problem: es.Problem, lines: list[Polynomial], batch: np.ndarray) -> Polynomial:
    """L_B with each parameter a polynomial in η."""
    losses = []
    for i in batch:
        if isinstance(problem, es.Quadratic):
            offset = [total(line, [-Fraction(c)]) for line, c in zip(lines, problem.minimizers[i], strict=True)]
            losses += [
                times(Fraction(problem.hessians[i, j, k]) / 2, product(offset[j], offset[k]))
                for j in range(len(lines))
                for k in range(len(lines))
            ]
        else:
            weights = weights_along(problem, lines)
            terms = [times(Fraction(x), w) for x, w in zip(problem.inputs[i], weights, strict=True)]
            residual = total(*terms, [-Fraction(problem.targets[i])])
            losses.append(times(Fraction(1, 2), product(residual, residual)))
    return times(Fraction(1, len(batch)), total(*losses))


def exact_change(case: Case, batch: np.ndarray) -> Polynomial | None:
    """(L_B(θ − ηg_B) − L_B(θ))/η, exactly, g_B by exact derivatives; None where g_B = 0."""
    theta = [[Fraction(float(t))] for t in case.theta]
    gradient = []
    for k in range(len(theta)):
        moved = [[*entry, Fraction(int(j == k))] for j, entry in enumerate(theta)]
        gradient.append(loss_along(case.problem, moved, batch)[1])
    if not any(gradient):
        return None
    lines = [[*entry, -slope] for entry, slope in zip(theta, gradient, strict=True)]
    return loss_along(case.problem, lines, batch)[1:]


def exact_critical(case: Case, batch: np.ndarray) -> float | None:
    """2 over the smallest η where that polynomial changes its sign, by all complex roots with 60 digits."""
    change = exact_change(case, batch)
    if change is None:
        return None
    while change and change[-1] == 0:
        change.pop()
    if len(change) == 1:
        return 0.0
    with mpmath.workdps(60):
        descending = [mpmath.mpf(c.numerator) / c.denominator for c in reversed(change)]
        roots = mpmath.polyroots(descending, maxsteps=2000, extraprec=2000)
        real = sorted(r.real for r in roots if abs(r.imag) < mpmath.mpf(10) ** -25 * abs(r) and r.real > 0)
        for low, high in pairwise([*real, 2 * real[-1]] if real else []):
            if mpmath.polyval(descending, (low + high) / 2) > 0:
                return float(2 / low)
    return 0.0


def everyone(case: Case) -> np.ndarray:
    return np.arange(case.problem.n_samples)


@given(case=strategies.generic_cases())
def test_is_that_of_exact_polynomials(case: Case) -> None:
    found = es.critical_sharpness(case.problem, case.theta)
    assert found == pytest.approx(exact_critical(case, everyone(case)), rel=1e-7, abs=1e-9 * case.hessian_scale)


@given(sampled=strategies.with_scheme(strategies.generic_cases(max_samples=4)))
def test_of_batches_is_the_mean_of_exact_polynomials(sampled: tuple[Case, es.Sampling]) -> None:
    case, sampling = sampled
    batches, probabilities = oracles.all_batches(case.problem.n_samples, sampling)
    exact = np.array([exact_critical(case, batch) for batch in batches], dtype=float)
    found = es.minibatch_critical_sharpness(case.problem, case.theta, sampling)
    assert found.exact
    assert found.value == pytest.approx(float(probabilities @ exact), rel=1e-7, abs=1e-9 * case.hessian_scale)


@given(case=strategies.cases())
def test_at_corners_no_smaller_step_raises_the_loss_and_a_larger_one_does(case: Case) -> None:
    """With the rounding of the polynomial at each step; and 0/0 exactly where the gradient vanishes."""
    change = exact_change(case, everyone(case))
    if change is None:
        if not case.problem.gradient(case.theta).any():
            with pytest.raises(es.Undefined, match=r"^critical_sharpness is 0/0 at theta: the full gradient is zero$"):
                es.critical_sharpness(case.problem, case.theta)
        return
    found = es.critical_sharpness(case.problem, case.theta)
    assert 0 <= found < np.inf

    def value(step: mpmath.mpf) -> mpmath.mpf:
        """The change, in units of the size of its terms."""
        terms = [mpmath.mpf(c.numerator) / c.denominator * step**k for k, c in enumerate(change)]
        return sum(terms) / sum(abs(term) for term in terms)

    with mpmath.workdps(40):
        critical = 2 / mpmath.mpf(found) if found else None
        if critical is None:  # nowhere: tried around every scale of the terms
            first = abs(mpmath.mpf(change[0].numerator) / change[0].denominator)
            scales = [
                (first * c.denominator / abs(c.numerator)) ** (mpmath.mpf(1) / k)
                for k, c in enumerate(change)
                if k and c
            ]
            assert all(value(scale * mpmath.mpf(2) ** j) < 1e-9 for scale in scales for j in range(-8, 40))
            return
        assert value(critical * (1 + mpmath.mpf(10) ** -6)) > -1e-9
        assert all(value(critical * k / 50) < 1e-9 for k in range(1, 50))


@given(
    roots=st.lists(st.integers(-6, 6), min_size=1, max_size=6, unique=True),
    power=st.sampled_from([-100, -10, 0, 17, 100]),
)
def test_largest_sign_change_is_the_largest_positive_root(roots: list[int], power: int) -> None:
    """Of integer roots in any unit: coefficients and unit are exact."""
    coefficients = np.poly(roots) * (2.0**power) ** np.arange(len(roots) + 1)
    found = largest_sign_change(coefficients[None])[0] / 2.0**power
    assert found == pytest.approx(max(0, *roots) if len(roots) > 1 else max(0, roots[0]), rel=1e-10, abs=1e-25)


def test_a_touch_is_no_sign_change() -> None:
    assert_array_equal(largest_sign_change(np.array([[1.0, -2.0, 1.0], [1.0, -4.0, 4.0]])), [0.0, 0.0])
    assert largest_sign_change(np.array([[1.0, -3.0, 3.0, -1.0]]))[0] == pytest.approx(1.0, rel=1e-4)  # three times 1


class TestClosedForms:
    def test_of_convex_quadratics_is_a_rayleigh_quotient(self) -> None:
        rng = np.random.default_rng(0)
        for problem, p in (
            (es.LinearRegression(rng.standard_normal((9, 4)), rng.standard_normal(9)), 4),
            (es.LinearRegression(rng.standard_normal((4, 9)), rng.standard_normal(4)), 9),
        ):
            theta = rng.standard_normal(p)
            g, h = problem.gradient(theta), problem.hessian(theta)
            found = es.critical_sharpness(problem, theta)
            assert found == pytest.approx(g @ h @ g / (g @ g), rel=1e-13)
            assert found < es.sharpness(problem, theta)

    def test_of_a_loss_that_only_falls_is_zero(self) -> None:
        problem = es.Quadratic([[[-1.0]]], [[0.0]])
        assert es.critical_sharpness(problem, [1.0]) == 0.0
        assert es.minibatch_critical_sharpness(problem, [1.0], es.WithoutReplacement(1)).value == 0.0

    def test_of_one_product_by_hand(self) -> None:
        """½(uv)² at u = v = 1: g = (1, 1), ½(1 − η)⁴ rises above ½ at η = 2."""
        problem = es.DiagonalLinearNetwork([[1.0]], [0.0])
        assert es.critical_sharpness(problem, [1.0, 1.0]) == pytest.approx(1.0, rel=1e-14)
        assert es.sharpness(problem, [1.0, 1.0]) == pytest.approx(3.0)

    @pytest.mark.parametrize("sampling", SCHEMES, ids=str)
    def test_of_batches_of_convex_quadratics_is_the_batch_sharpness(self, sampling: es.Sampling) -> None:
        rng = np.random.default_rng(1)
        problem, theta = es.LinearRegression(rng.standard_normal((6, 3)), rng.standard_normal(6)), np.zeros(3)
        found, known = (
            function(problem, theta, sampling) for function in (es.minibatch_critical_sharpness, es.batch_sharpness)
        )
        assert found.value == pytest.approx(known.value, rel=1e-12)
        assert found.value <= es.minibatch_sharpness(problem, theta, sampling).value * (1 + 1e-12)

    def test_a_batch_of_everything_is_the_full_batch(self) -> None:
        case = perceptron()
        found = es.minibatch_critical_sharpness(case.problem, case.theta, es.WithoutReplacement(8))
        assert found.value == pytest.approx(es.critical_sharpness(case.problem, case.theta), rel=1e-9)


def perceptron(seed: int = 0) -> Case:
    rng = np.random.default_rng(seed)
    problem = es.Perceptron(rng.standard_normal((8, 3)), rng.standard_normal(8), 4)
    return Case(problem, problem.random_start(seed=seed))


def on_a_grid(problem: es.Problem, theta: np.ndarray, batch: np.ndarray | None = None) -> float:
    """2 over the first rise of the loss on a fine grid of steps, made exact by brentq."""
    g, level = problem.gradient(theta, batch), float(problem.loss(theta, batch))

    def change(step: float) -> float:
        return float(problem.loss(theta - step * g, batch)) - level

    steps = np.geomspace(1e-4, 1e4, 20_001)
    first = int(np.argmax(problem.loss(theta - steps[:, None] * g, batch) > level))
    assert first > 0
    return 2 / brentq(change, steps[first - 1], steps[first], xtol=1e-14, rtol=1e-14)


class Quartic(es.Problem):
    """ℓᵢ = aᵢ|θ|⁴/4 for one parameter: η_c = 2/(aθ²) exactly, as for any even function."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = np.array(weights)
        super().__init__(len(weights), 1)

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.weights[indices] * theta**4 / 4

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return (self.weights[indices] * theta**3)[..., None]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return (3 * self.weights[indices] * theta**2)[..., None, None]


class TestAnyOtherProblem:
    @pytest.mark.parametrize("seed", range(4))
    def test_of_a_perceptron_is_that_of_a_grid(self, seed: int) -> None:
        case = perceptron(seed)
        assert es.critical_sharpness(case.problem, case.theta) == pytest.approx(
            on_a_grid(case.problem, case.theta), rel=1e-9
        )
        sampling = es.WithoutReplacement(7)
        batches, probabilities = oracles.all_batches(8, sampling)
        each = [on_a_grid(case.problem, case.theta, batch) for batch in batches]
        found = es.minibatch_critical_sharpness(case.problem, case.theta, sampling)
        assert found.value == pytest.approx(float(probabilities @ each), rel=1e-9)

    def test_of_a_problem_of_ones_own(self) -> None:
        """L(θ − ηaθ³) = L(θ) again at −θ: η_c = 2/(aθ²), λ_c = aθ², a third of λ_max."""
        problem = Quartic([1.0, 3.0])
        assert es.critical_sharpness(problem, [0.5]) == pytest.approx(2 * 0.25, rel=1e-10)
        single = es.minibatch_critical_sharpness(problem, [0.5], es.WithoutReplacement(1))
        assert single.value == pytest.approx(2 * 0.25, rel=1e-10)

    def test_a_subclass_is_searched_too_and_agrees(self) -> None:
        """What its methods may have changed is not known; here it is nothing."""

        class Same(es.DiagonalLinearNetwork):
            pass

        rng = np.random.default_rng(3)
        inputs, targets, theta = rng.standard_normal((6, 3)), rng.standard_normal(6), rng.standard_normal(6)
        plain, same = (kind(inputs, targets) for kind in (es.DiagonalLinearNetwork, Same))
        assert es.critical_sharpness(same, theta) == pytest.approx(es.critical_sharpness(plain, theta), rel=1e-9)

    def test_next_to_a_minimum_with_a_loss_it_is_the_limit(self) -> None:
        """Steps there change the loss by less than its rounding: gᵀHg/‖g‖² decides, and is the limit."""
        case = perceptron()
        theta = es.gradient_flow(case.problem, case.theta)
        rng = np.random.default_rng(0)
        near = theta + 1e-9 * rng.standard_normal(len(theta))
        assert float(case.problem.loss(near)) >= 0
        g, h = case.problem.gradient(near), case.problem.hessian(near)
        assert es.critical_sharpness(case.problem, near) == pytest.approx(max(g @ h @ g / (g @ g), 0), rel=1e-3)


class TestInvariance:
    @given(case=strategies.generic_cases(), power=st.integers(-60, 60))
    def test_units_of_the_loss(self, case: Case, power: int) -> None:
        """With inputs and targets (or Hessians) in other units L scales, and λ_c with it."""
        problem, factor = case.problem, 2.0**power
        if isinstance(problem, es.Quadratic):
            scaled: es.Problem = es.Quadratic(problem.hessians * factor**2, problem.minimizers)
        elif isinstance(problem, es.LinearRegression):
            scaled = es.LinearRegression(problem.inputs * factor, problem.targets * factor)
        else:
            options = {"form": problem.form, "depth": problem.depth}
            scaled = es.DiagonalLinearNetwork(problem.inputs * factor, problem.targets * factor, **options)
        plain = es.critical_sharpness(problem, case.theta)
        found = es.critical_sharpness(scaled, case.theta)
        assert found == pytest.approx(factor**2 * plain, rel=1e-9, abs=1e-12 * factor**2 * case.hessian_scale)

    def test_order_of_samples(self) -> None:
        rng = np.random.default_rng(5)
        inputs, targets, theta = rng.standard_normal((7, 3)), rng.standard_normal(7), rng.standard_normal(6)
        order = rng.permutation(7)
        one, other = es.DiagonalLinearNetwork(inputs, targets), es.DiagonalLinearNetwork(inputs[order], targets[order])
        assert es.critical_sharpness(one, theta) == pytest.approx(es.critical_sharpness(other, theta), rel=1e-12)


class TestEstimates:
    case = Case(
        es.DiagonalLinearNetwork(np.random.default_rng(2).standard_normal((9, 3)), np.ones(9)), np.linspace(0.5, 1.0, 6)
    )

    def test_the_same_call_gives_the_same_number_in_chunks_of_any_size(self) -> None:
        first, second, third = (
            es.minibatch_critical_sharpness(
                self.case.problem, self.case.theta, es.WithoutReplacement(3), n_batches=50, seed=4, **options
            )
            for options in ({}, {}, {"chunk_size": 7})
        )
        assert first == second
        assert third.value == pytest.approx(first.value, rel=1e-13)
        assert not first.exact
        assert first.n_batches == 50

    def test_sampled_values_lie_around_the_exact_one(self) -> None:
        sampling = es.WithoutReplacement(3)
        exact = es.minibatch_critical_sharpness(self.case.problem, self.case.theta, sampling).value
        inside = 0
        for seed in range(200):
            low, high = es.minibatch_critical_sharpness(
                self.case.problem, self.case.theta, sampling, n_batches=100, seed=seed
            ).interval
            inside += low <= exact <= high
        assert 177 <= inside <= 199

    def test_a_batch_without_a_gradient_is_named(self) -> None:
        problem = es.LinearRegression([[1.0], [2.0]], [0.0, 1.0])
        message = r"^minibatch_critical_sharpness is 0/0 at theta: the gradient of batch \[0\] is zero$"
        with pytest.raises(es.Undefined, match=message):
            es.minibatch_critical_sharpness(problem, [0.0], es.WithoutReplacement(1))

    def test_bad_input(self) -> None:
        problem = self.case.problem
        with pytest.raises(ValueError, match=r"theta must have shape \(6,\), got \(1,\)"):
            es.critical_sharpness(problem, [1.0])
        with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 9, got 10"):
            es.minibatch_critical_sharpness(problem, self.case.theta, es.WithoutReplacement(10))
        with pytest.raises(ValueError, match="n_batches must be an integer of at least 2, got 1"):
            es.minibatch_critical_sharpness(problem, self.case.theta, es.WithoutReplacement(2), n_batches=1)
