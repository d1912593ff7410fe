"""Edges, critical step sizes and Lyapunov exponents against dense operators, closed forms and enumeration."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import esssim as es
from esssim.stability import (
    almost_sure_threshold,
    critical_step_size,
    edge,
    heavy_ball,
    lyapunov_exponent,
    small_batch_edge,
)
from esssim.stability.heavy_ball import heavy_ball_threshold
from esssim.stability.linearised import linearise
from esssim.stability.lyapunov import growth_rates
from esssim.stability.mean_square import noise_radius
from tests import oracles

OPTIMISERS = {
    "plain": (0.0, False),
    "heavy ball": (0.6, False),
    "Nesterov": (0.6, True),
    "strong heavy ball": (0.95, False),
}
SCHEMES = (es.WithoutReplacement, es.WithReplacement)
rng = np.random.default_rng(20260101)


def network(n: int, d: int, form: str = "product", depth: int = 2) -> tuple[es.Problem, np.ndarray]:
    """A diagonal network at a point where every residual is zero."""
    inputs, theta = rng.standard_normal((n, d)), rng.uniform(0.5, 1.5, 2 * d)
    unfitted = es.DiagonalLinearNetwork(inputs, np.zeros(n), form=form, depth=depth)
    targets = unfitted.residuals(theta, np.arange(n))
    return es.DiagonalLinearNetwork(inputs, targets, form=form, depth=depth), theta


def network_with_residuals(n: int, d: int) -> tuple[es.Problem, np.ndarray]:
    """A diagonal network where the residual part of H is positive across the valley: mean rᵢxᵢ > 0 and w₋ > w₊."""
    inputs, theta = rng.standard_normal((n, d)), np.concatenate((rng.uniform(0.4, 0.6, d), rng.uniform(1.4, 1.6, d)))
    residuals = np.linalg.lstsq(inputs.T / n, np.full(d, 0.1), rcond=None)[0] + 0.01 * rng.standard_normal(n)
    unfitted = es.DiagonalLinearNetwork(inputs, np.zeros(n), form="difference")
    fitted = unfitted.residuals(theta, np.arange(n))
    problem = es.DiagonalLinearNetwork(inputs, fitted - residuals, form="difference")
    assert np.linalg.eigvalsh(problem.hessian(theta))[0] > 0.01
    return problem, theta


def quadratic(n: int, p: int) -> tuple[es.Problem, np.ndarray]:
    """Positive semidefinite Hessians of rank two that commute with nothing."""
    factors = rng.standard_normal((n, p, 2))
    return es.Quadratic(factors @ factors.transpose(0, 2, 1), np.zeros((n, p))), np.zeros(p)


def regression(n: int, d: int) -> tuple[es.Problem, np.ndarray]:
    return es.LinearRegression(rng.standard_normal((n, d)), rng.standard_normal(n)), np.zeros(d)


def quadratic_of(curvatures: np.ndarray) -> es.Problem:
    """One parameter, hᵢ = curvatures[i]."""
    return es.Quadratic(curvatures[:, None, None], np.zeros((len(curvatures), 1)))


def regression_of(curvatures: np.ndarray) -> es.Problem:
    return es.LinearRegression(np.sqrt(curvatures)[:, None], np.zeros(len(curvatures)))


MINIMA = {
    "regression n < p": regression(3, 5),
    "regression n > p": regression(5, 4),
    "regression of two parameters": regression(5, 2),
    "quadratic": quadratic(5, 4),
    "product network n < p": network(4, 3),
    "product network n > d": network(5, 2),
    "difference network": network(4, 3, "difference", 3),
    "network with residuals": network_with_residuals(5, 2),
}


def steps_of(hessians: np.ndarray, eta: float, beta: float, nesterov: bool) -> np.ndarray:
    """T of (e, v) ↦ (e′, v′), written out from v′ = βv + He, e′ = e − ηv′ or e − η(He + βv′)."""
    identity = np.broadcast_to(np.eye(hessians.shape[-1]), hessians.shape)
    velocity = np.concatenate((hessians, beta * identity), axis=-1)
    keep = np.concatenate((identity, 0 * identity), axis=-1)
    gradient = np.concatenate((hessians, 0 * identity), axis=-1)
    move = gradient + beta * velocity if nesterov else velocity
    return np.concatenate((keep - eta * move, velocity), axis=-2)


def reduced_batches(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray]:
    """Every H_B on the range of H, where the kernel's neutral eigenvalue 1 does not hide the edge, and its probability."""
    batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
    values, vectors = np.linalg.eigh(problem.hessian(theta))
    basis = vectors[:, values > 1e-10 * values[-1]]
    return basis.T @ oracles.batch_hessians(problem, theta, batches) @ basis, probabilities


def spectral_radius(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def second_moment_radius(
    hessians: np.ndarray, probabilities: np.ndarray, eta: float, optimiser: tuple[float, bool]
) -> float:
    """ρ(E[T_B ⊗ T_B]) by going through all batches."""
    transitions = steps_of(hessians, eta, *optimiser)
    size = transitions.shape[-1] ** 2
    moment = np.einsum("m,mij,mkl->ikjl", probabilities, transitions, transitions).reshape(size, size)
    return spectral_radius(moment)


# Edges


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("eta", [1e-150, 0.01, 3.0, 1e150])
def test_edge_is_where_the_deterministic_step_stops_contracting(beta: float, nesterov: bool, eta: float) -> None:
    def radius(sharpness: float) -> float:
        # In units of the step size: (e, ηv), so that no entry over- or underflows.
        return spectral_radius(steps_of(np.array([[sharpness * eta]]), 1.0, beta, nesterov))

    limit = edge(eta, momentum=beta, nesterov=nesterov)
    assert radius(limit * (1 - 1e-6)) < 1 < radius(limit * (1 + 1e-6))
    assert radius(limit / 2) < 1


def test_edges_of_the_literature() -> None:
    assert edge(0.1) == 20.0
    assert edge(0.1, momentum=0.9) == pytest.approx(38.0, rel=1e-15)
    assert edge(0.1, momentum=0.5, nesterov=True) == pytest.approx(15.0, rel=1e-15)
    assert small_batch_edge(0.1, momentum=0.9) == pytest.approx(2.0, rel=1e-15)
    assert small_batch_edge(0.1) == edge(0.1)


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1.5, np.nan, "0.9", None])
def test_bad_momentum(bad: object) -> None:
    at = (regression_of(np.array([0.8, 1.3])), np.zeros(1), es.WithReplacement(1))
    for call in (
        lambda: edge(0.1, momentum=bad), lambda: small_batch_edge(0.1, momentum=bad),
        lambda: critical_step_size(*at, momentum=bad), lambda: almost_sure_threshold(*at, momentum=bad),
        lambda: lyapunov_exponent(*at, 0.1, momentum=bad),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"momentum must be a finite number at least 0 and below 1, got"):
            call()


@pytest.mark.parametrize("bad", [-0.1, 0.0, np.inf, "0.9", None])
def test_bad_step_size(bad: object) -> None:
    at = (regression_of(np.array([0.8, 1.3])), np.zeros(1), es.WithReplacement(1))
    for call in (lambda: edge(bad), lambda: small_batch_edge(bad), lambda: lyapunov_exponent(*at, bad)):
        with pytest.raises(ValueError, match=r"step_size must be a finite number above 0, got"):
            call()


# Mean-square thresholds


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("b", [1, 2])
def test_mean_square_threshold_is_where_the_second_moment_operator_crosses_one(
    name: str, optimiser: tuple[float, bool], scheme: type[es.Sampling], b: int
) -> None:
    problem, theta = MINIMA[name]
    sampling = scheme(b)
    beta, nesterov = optimiser
    eta = critical_step_size(problem, theta, sampling, momentum=beta, nesterov=nesterov)
    hessians, probabilities = reduced_batches(problem, theta, sampling)

    def radius(factor: float) -> float:
        return second_moment_radius(hessians, probabilities, factor * eta, optimiser)

    assert radius(1 - 1e-3) < 1 < radius(1 + 1e-3)
    # The first crossing, not a later one.
    assert max(radius(factor) for factor in (0.03, 0.1, 0.3, 0.5, 0.7, 0.9)) < 1
    assert min(radius(factor) for factor in (1.1, 1.5, 3.0)) > 1
    assert abs(radius(1.0) - 1) < 1e-8


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.9, 0.99])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("b", [1, 3])
def test_one_dimensional_formula(beta: float, scheme: type[es.Sampling], b: int) -> None:
    curvatures = np.array([0.3, 0.0, 2.0, 1.1, 4.0])
    batches, probabilities = oracles.all_batches(5, scheme(b))
    of_batch = curvatures[batches].mean(axis=1)
    a = probabilities @ of_batch
    variance = probabilities @ (of_batch - a) ** 2
    expected = 1 / (a / (2 * (1 + beta)) + variance / (2 * a * (1 - beta)))
    quadratic = es.Quadratic(curvatures[:, None, None], np.zeros((5, 1)))
    regression = es.LinearRegression(np.sqrt(curvatures)[:, None], np.ones(5))
    for problem in (quadratic, regression):
        assert_allclose(critical_step_size(problem, np.zeros(1), scheme(b), momentum=beta), expected, rtol=1e-11)


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_full_batch_threshold_is_the_edge(name: str, optimiser: tuple[float, bool]) -> None:
    problem, theta = MINIMA[name]
    beta, nesterov = optimiser
    limit = edge(1.0, momentum=beta, nesterov=nesterov) / np.linalg.eigvalsh(problem.hessian(theta))[-1]
    everything = es.WithoutReplacement(problem.n_samples)
    for criterion in ("mean_square", "almost_sure"):
        eta = critical_step_size(problem, theta, everything, momentum=beta, nesterov=nesterov, criterion=criterion)
        assert_allclose(eta, limit, rtol=1e-11)
    # With replacement the noise never vanishes, but falls with b.
    assert_allclose(
        critical_step_size(problem, theta, es.WithReplacement(10**9), momentum=beta, nesterov=nesterov),
        limit,
        rtol=1e-6,
    )


@pytest.mark.parametrize("criterion", ["mean_square", "almost_sure"])
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("p", [1, 2, 5])
def test_equal_samples_have_no_noise(criterion: str, optimiser: tuple[float, bool], p: int) -> None:
    beta, nesterov = optimiser
    hessian = np.diag(np.arange(1.0, p + 1))
    problem = es.Quadratic(np.repeat(hessian[None], 6, axis=0), np.zeros((6, p)))
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(1)):
        eta = critical_step_size(problem, np.zeros(p), sampling, momentum=beta, nesterov=nesterov, criterion=criterion)
        assert_allclose(eta, edge(1.0, momentum=beta, nesterov=nesterov) / p, rtol=1e-11)


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_isotropic_samples_do_not_stall_arnoldi(optimiser: tuple[float, bool]) -> None:
    """The identity is an exact eigenvector of the noise operator here: the Krylov space is one-dimensional."""
    beta, nesterov = optimiser
    problem, sampling = es.LinearRegression(2.0 * np.eye(5), np.zeros(5)), es.WithReplacement(1)
    eta = critical_step_size(problem, np.zeros(5), sampling, momentum=beta, nesterov=nesterov)
    hessians, probabilities = reduced_batches(problem, np.zeros(5), sampling)
    radii = [second_moment_radius(hessians, probabilities, factor * eta, optimiser) for factor in (0.999, 1.001)]
    assert radii[0] < 1 < radii[1]


quarters = st.integers(1, 12).map(lambda k: k / 4)


@given(
    curvatures=st.lists(st.tuples(quarters, quarters), min_size=2, max_size=5),
    scale=st.sampled_from((1e-150, 2.0**-40, 3.0, 1e150)),
    optimiser=st.sampled_from(tuple(OPTIMISERS.values())),
    scheme=st.sampled_from(SCHEMES),
)
def test_scaling_the_hessian_scales_the_threshold(
    curvatures: list[tuple[float, float]], scale: float, optimiser: tuple[float, bool], scheme: type[es.Sampling]
) -> None:
    beta, nesterov = optimiser
    hessians = np.array([[[a, a / 2], [a / 2, b]] for a, b in curvatures])
    n = len(hessians)
    one, many = (es.Quadratic(k * (hessians + 3 * np.eye(2)), np.zeros((n, 2))) for k in (1.0, scale))
    eta = critical_step_size(one, np.zeros(2), scheme(1), momentum=beta, nesterov=nesterov)
    scaled = critical_step_size(many, np.zeros(2), scheme(1), momentum=beta, nesterov=nesterov)
    assert_allclose(scaled * scale, eta, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-75, 1e75])
@pytest.mark.parametrize("criterion", ["mean_square", "almost_sure"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_scaling_the_inputs_scales_both_thresholds(scale: float, criterion: str, momentum: float) -> None:
    inputs = np.random.default_rng(3).standard_normal((8, 3))
    options = {"sampling": es.WithoutReplacement(2), "criterion": criterion, "momentum": momentum}
    etas = [
        critical_step_size(es.LinearRegression(k * inputs, np.zeros(8)), np.zeros(3), **options) for k in (1.0, scale)
    ]
    assert_allclose(etas[1] * scale**2, etas[0], rtol=1e-6)


@given(
    rows=st.lists(st.tuples(quarters, quarters), min_size=3, max_size=6),
    optimiser=st.sampled_from(tuple(OPTIMISERS.values())),
)
def test_more_noise_never_helps(rows: list[tuple[float, float]], optimiser: tuple[float, bool]) -> None:
    beta, nesterov = optimiser
    problem, theta = es.LinearRegression(rows, np.zeros(len(rows))), np.zeros(2)

    def eta(sampling: es.Sampling) -> float:
        return critical_step_size(problem, theta, sampling, momentum=beta, nesterov=nesterov)

    sizes = range(1, len(rows) + 1)
    without, with_ = [eta(es.WithoutReplacement(b)) for b in sizes], [eta(es.WithReplacement(b)) for b in sizes]
    slack = 1 + 1e-9
    assert all(small <= large * slack for small, large in pairwise(without))
    assert all(small <= large * slack for small, large in pairwise(with_))
    assert all(more <= less * slack for more, less in zip(with_, without, strict=True))
    # A strict one, so that a threshold that ignores the noise fails.
    if np.ptp([a * a + b * b for a, b in rows]) > 1:
        assert eta(es.WithReplacement(1)) < without[-1] * (1 - 1e-6)


def test_gauss_newton_threshold_leaves_the_residual_part_out() -> None:
    problem, theta = MINIMA["product network n > d"]
    sampling = es.WithoutReplacement(2)
    full = critical_step_size(problem, theta, sampling, momentum=0.5)
    assert_allclose(critical_step_size(problem, theta, sampling, momentum=0.5, hessian="gauss_newton"), full, rtol=1e-9)
    elsewhere = theta + 0.3
    jacobians = problem.sample_jacobians(elsewhere, np.arange(5))
    as_regression = es.LinearRegression(jacobians, np.zeros(5))
    for momentum in (0.0, 0.5):
        assert_allclose(
            critical_step_size(problem, elsewhere, sampling, momentum=momentum, hessian="gauss_newton"),
            critical_step_size(as_regression, np.zeros(4), sampling, momentum=momentum),
            rtol=1e-10,
        )


def test_flat_problem_is_stable_at_any_step_size() -> None:
    flat = es.Quadratic(np.zeros((4, 2, 2)), np.zeros((4, 2)))
    for criterion in ("mean_square", "almost_sure"):
        assert critical_step_size(flat, np.zeros(2), es.WithReplacement(2), criterion=criterion) == np.inf
    with pytest.raises(ValueError, match="nonzero Hessian for a Lyapunov exponent"):
        lyapunov_exponent(flat, np.zeros(2), es.WithReplacement(2), 0.1)


def test_samples_that_cancel_in_the_mean_are_refused() -> None:
    """H = diag(1, 0), but the second coordinate of one step is multiplied by 1 ∓ η: E[T⊗T] has the eigenvalue 1 + η²."""
    hessians = np.array([np.diag([1.0, 1.0]), np.diag([1.0, -1.0])])
    problem = es.Quadratic(hessians, np.zeros((2, 2)))
    assert second_moment_radius(hessians, np.array([0.5, 0.5]), 1e-2, (0.0, False)) > 1
    for criterion in ("mean_square", "almost_sure"):
        with pytest.raises(ValueError, match="direction without curvature the samples' own Hessians fluctuate by 1"):
            critical_step_size(problem, np.zeros(2), es.WithoutReplacement(1), criterion=criterion)
    # Both together are harmless: the step is deterministic and the direction neutral.
    assert critical_step_size(problem, np.zeros(2), es.WithoutReplacement(2)) == 2.0


def test_samples_that_cancel_everywhere_or_almost_are_refused() -> None:
    everywhere = np.array([np.diag([1.0, 2.0]), np.diag([-1.0, -2.0])])
    # A mean of 1e-14 is what rounding leaves of 0.
    almost = np.array([np.diag([1.0, 1.0]), np.diag([1.0, -1.0 + 2e-14])])
    for hessians in (everywhere, almost):
        problem = es.Quadratic(hessians, np.zeros((2, 2)))
        with pytest.raises(ValueError, match="along a direction without curvature"):
            critical_step_size(problem, np.zeros(2), es.WithoutReplacement(1))


def test_a_weak_but_genuine_curvature_is_accepted() -> None:
    """Diagonal samples: the pencil is diagonal too, E[h_j h_k]/½(λ_j + λ_k) for each pair of coordinates."""
    curvatures = np.array([[1.0, 0.0], [0.5, 0.0], [0.7, 1e-5], *([[0.8, 0.0]] * 5)])
    mean, product = curvatures.mean(axis=0), curvatures.T @ curvatures / 8
    assert 1e-12 * mean[0] < mean[1] < 2e-6 * mean[0]
    expected = 2 / (product / ((mean[:, None] + mean) / 2)).max()
    problem = es.Quadratic([np.diag(pair) for pair in curvatures], np.zeros((8, 2)))
    assert_allclose(critical_step_size(problem, np.zeros(2), es.WithReplacement(1)), expected, rtol=1e-12)


def test_a_minimum_reached_by_training_is_accepted() -> None:
    problem, theta = MINIMA["product network n < p"]
    found = es.gradient_flow(problem, theta + 0.1)
    assert np.linalg.eigvalsh(problem.hessian(found))[0] < 0, "residuals of 1e-10 leave negative rounding"
    full = critical_step_size(problem, found, es.WithoutReplacement(2))
    assert_allclose(
        full, critical_step_size(problem, found, es.WithoutReplacement(2), hessian="gauss_newton"), rtol=1e-6
    )


# Lyapunov exponents


def exponent_of_one_dimension(curvatures: np.ndarray, eta: float, sampling: es.Sampling) -> float:
    """E log|1 − ηh_B| by enumeration."""
    batches, probabilities = oracles.all_batches(len(curvatures), sampling)
    return float(probabilities @ np.log(np.abs(1 - eta * curvatures[batches].mean(axis=1))))


@pytest.mark.parametrize("sampling", [es.WithoutReplacement(1), es.WithoutReplacement(3), es.WithReplacement(2)])
@pytest.mark.parametrize("eta", [0.3, 1.4, 2.2])
def test_lyapunov_exponent_in_one_dimension(sampling: es.Sampling, eta: float) -> None:
    curvatures = np.array([0.2, 1.0, 1.7, 0.6, 2.1])
    exact = exponent_of_one_dimension(curvatures, eta, sampling)
    for problem in (
        es.Quadratic(curvatures[:, None, None], np.zeros((5, 1))),
        es.LinearRegression(np.sqrt(curvatures)[:, None], np.zeros(5)),
    ):
        estimate = lyapunov_exponent(problem, np.zeros(1), sampling, eta, seed=5)
        assert abs(estimate.value - exact) < 4 * estimate.standard_error
        # The log of each factor is independent of the others: the standard error is known too.
        batches, probabilities = oracles.all_batches(5, sampling)
        logs = np.log(np.abs(1 - eta * curvatures[batches].mean(axis=1)))
        spread = np.sqrt(probabilities @ (logs - exact) ** 2 / (64 * 2000))
        assert_allclose(estimate.standard_error, spread, rtol=0.35)
        assert not estimate.exact
        assert estimate.n_batches == 64


def test_lyapunov_interval_covers_the_exact_exponent() -> None:
    curvatures = np.array([0.2, 1.0, 1.7, 0.6, 2.1])
    problem, sampling = es.LinearRegression(np.sqrt(curvatures)[:, None], np.zeros(5)), es.WithoutReplacement(2)
    exact = exponent_of_one_dimension(curvatures, 1.2, sampling)
    inside = 0
    for seed in range(200):
        low, high = lyapunov_exponent(problem, np.zeros(1), sampling, 1.2, n_steps=50, seed=seed).interval
        inside += low <= exact <= high
    assert 179 <= inside <= 198  # 1 % bounds of a binomial of 200 at 95 %


@pytest.mark.parametrize("eta", [0.3, 1.3])
def test_lyapunov_exponent_of_commuting_samples_is_that_of_the_slowest_coordinate(eta: float) -> None:
    curvatures = np.array([[0.1, 1.5], [0.3, 1.1], [0.2, 1.9], [0.15, 0.4]])
    sampling = es.WithoutReplacement(2)
    problem = es.Quadratic([np.diag(pair) for pair in curvatures], np.zeros((4, 2)))
    exponents = [exponent_of_one_dimension(curvatures[:, k], eta, sampling) for k in range(2)]
    estimate = lyapunov_exponent(problem, np.zeros(2), sampling, eta, n_steps=4000, seed=2)
    assert abs(max(exponents) - min(exponents)) > 10 * estimate.standard_error
    assert abs(estimate.value - max(exponents)) < 4 * estimate.standard_error


@pytest.mark.parametrize("name", ["regression n > p", "quadratic", "product network n < p"])
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_full_batch_exponent_is_the_logarithm_of_the_spectral_radius(name: str, optimiser: tuple[float, bool]) -> None:
    problem, theta = MINIMA[name]
    hessians, _ = reduced_batches(problem, theta, es.WithoutReplacement(problem.n_samples))
    for eta in (0.05, 2.0):
        estimate = lyapunov_exponent(
            problem, theta, es.WithoutReplacement(problem.n_samples), eta, momentum=optimiser[0], nesterov=optimiser[1]
        )
        assert estimate.exact
        assert (estimate.standard_error, estimate.n_batches) == (0.0, 1)
        assert_allclose(estimate.value, np.log(spectral_radius(steps_of(hessians[0], eta, *optimiser))), rtol=1e-8)


def test_full_batch_step_that_annihilates_has_the_exponent_minus_infinity() -> None:
    estimate = lyapunov_exponent(quadratic_of(np.array([1.0, 3.0])), np.zeros(1), es.WithoutReplacement(2), 0.5)
    assert (estimate.value, estimate.exact) == (-np.inf, True)


def test_neutral_directions_stay_out_of_a_long_contracting_product() -> None:
    """A network of one input: hᵢ = xᵢ²(u² + v²) along (v, u), and no curvature across. Rounding must not leak there."""
    inputs, theta = np.array([[1.0], [0.9], [1.1]]), np.array([1.0, 0.5])
    problem, sampling = es.DiagonalLinearNetwork(inputs, 0.5 * inputs[:, 0]), es.WithReplacement(2)
    curvatures = inputs[:, 0] ** 2 * (theta @ theta)
    exact = exponent_of_one_dimension(curvatures, 0.6, sampling)
    assert exact < -1
    estimate = lyapunov_exponent(problem, theta, sampling, 0.6)
    assert abs(estimate.value - exact) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.01


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("sampling", [es.WithoutReplacement(2), es.WithReplacement(3)])
def test_compiled_product_against_plain_matrices(
    name: str, optimiser: tuple[float, bool], sampling: es.Sampling
) -> None:
    """The oracle multiplies dense T_B of the problem's own batch Hessians, with the same draws."""
    problem, theta = MINIMA[name]
    linearised = linearise(problem, theta, sampling, "full")
    assert linearised is not None
    eta, n_steps, seed = 0.8 / linearised.scale, 40, 11
    rates = growth_rates(linearised, sampling, eta * linearised.scale, *optimiser, n_steps, 3, seed)
    # The range of H in parameter space: a curvature's own basis may be a rotated one, by its own inverse.
    basis = linearised.curvature.to_basis(linearised.pencil.eigenvectors.T).T
    p, on_range = problem.n_params, np.kron(np.eye(2), basis @ basis.T)
    for replica in range(3):
        stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(replica,)))
        start = basis @ stream.standard_normal(basis.shape[1])
        state = np.concatenate((start, np.zeros(p)))
        batches = sampling.draw(problem.n_samples, n_steps + n_steps // 5, stream)
        transitions = steps_of(oracles.batch_hessians(problem, theta, batches), eta, *optimiser)
        norms = []
        for transition in transitions:
            state = on_range @ transition @ state
            norms.append(np.hypot(np.linalg.norm(state[:p]), eta * np.linalg.norm(state[p:])))
        expected = np.log(norms[-1] / norms[n_steps // 5 - 1]) / n_steps
        assert_allclose(rates[replica], expected, rtol=1e-9, atol=1e-11)


def test_a_replica_has_the_same_rate_beside_any_number_of_others() -> None:
    problem, theta = MINIMA["product network n > d"]
    sampling = es.WithoutReplacement(2)
    linearised = linearise(problem, theta, sampling, "full")
    assert linearised is not None
    few, many = (growth_rates(linearised, sampling, 0.5, 0.3, False, 100, count, 7) for count in (2, 9))
    assert (few == many[:2]).all()
    assert len(np.unique(many)) == 9
    assert (growth_rates(linearised, sampling, 0.5, 0.3, False, 100, 2, 8) != few).all()


def test_products_far_from_the_edge_neither_overflow_nor_vanish() -> None:
    problem, theta = MINIMA["regression n > p"]
    sampling = es.WithReplacement(1)
    huge = lyapunov_exponent(problem, theta, sampling, 1e100, n_steps=50)
    assert 150 < huge.value < 250
    tiny = lyapunov_exponent(problem, theta, sampling, 1e-12, n_steps=50)
    assert -1e-9 < tiny.value < 0


@pytest.mark.parametrize("build", [quadratic_of, regression_of], ids=["dense", "low rank"])
def test_products_that_vanish(build: Callable[[np.ndarray], es.Problem]) -> None:
    """η = 1/h annihilates the only coordinate each time that sample comes up; one product that vanishes is enough."""
    always = lyapunov_exponent(build(np.array([1.0, 4.0])), np.zeros(1), es.WithReplacement(1), 1.0, n_steps=50)
    assert (always.value, always.standard_error, always.n_batches) == (-np.inf, 0.0, 64)
    # One sample in 20, in 12 steps: half of the products vanish, and some in the burn-in already.
    curvatures = np.array([1.0] + [0.5] * 19)
    linearised = linearise(build(curvatures), np.zeros(1), es.WithReplacement(1), "full")
    assert linearised is not None
    rates = growth_rates(linearised, es.WithReplacement(1), linearised.scale, 0.0, False, 10, 64, 0)
    streams = [np.random.default_rng(np.random.SeedSequence(0, spawn_key=(replica,))) for replica in range(64)]
    for stream in streams:
        stream.standard_normal(1)
    drawn = np.array([es.WithReplacement(1).draw(20, 12, stream)[:, 0] for stream in streams])
    # The velocity outlives the position by one step.
    assert (np.isneginf(rates) == (drawn[:, :-1] == 0).any(axis=1)).all()
    assert (drawn[:, :2] == 0).any()
    never = (drawn != 0).all(axis=1)
    assert never.any()
    assert_allclose(rates[never], np.log(0.5), rtol=1e-12)
    sometimes = lyapunov_exponent(build(curvatures), np.zeros(1), es.WithReplacement(1), 1.0, n_steps=10)
    assert (sometimes.value, sometimes.standard_error, sometimes.n_batches) == (-np.inf, 0.0, 64)
    assert not sometimes.exact


def test_standard_error_of_few_replicas() -> None:
    problem, theta = MINIMA["quadratic"]
    sampling = es.WithReplacement(2)
    linearised = linearise(problem, theta, sampling, "full")
    assert linearised is not None
    rates = growth_rates(linearised, sampling, 0.1 * linearised.scale, 0.3, False, 50, 3, 6)
    found = lyapunov_exponent(problem, theta, sampling, 0.1, momentum=0.3, n_steps=50, n_replicas=3, seed=6)
    assert found.value == pytest.approx(statistics.fmean(rates), rel=1e-13)
    assert found.standard_error == pytest.approx(statistics.stdev(rates) / math.sqrt(3), rel=1e-10)


@pytest.mark.parametrize("function", [lyapunov_exponent, almost_sure_threshold])
@pytest.mark.parametrize(("name", "least"), [("n_steps", 10), ("n_replicas", 2), ("seed", 0)])
def test_bad_counts(function: Callable[..., object], name: str, least: int) -> None:
    problem = regression_of(np.array([0.8, 1.0, 1.3]))
    where = (problem, np.zeros(1), es.WithReplacement(1), *([0.5] if function is lyapunov_exponent else []))
    few = {"n_steps": 10, "n_replicas": 2, "seed": 0}
    function(*where, **few)
    for bad in (least - 1, -5, 2.5, "10", None):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least {least}, got"):
            function(*where, **(few | {name: bad}))


# Almost-sure thresholds


def exact_root_of_one_dimension(curvatures: np.ndarray, sampling: es.Sampling) -> float:
    return float(brentq(lambda eta: exponent_of_one_dimension(curvatures, eta, sampling), 1.3, 5.0, xtol=1e-12))


def test_almost_sure_interval_covers_the_exact_root() -> None:
    """Curvatures within a factor of two: beyond η = 1/0.8 the exponent has no singularity and rises to its only root."""
    curvatures = np.array([0.8, 1.0, 1.1, 1.3, 1.6])
    sampling = es.WithoutReplacement(1)
    exact = exact_root_of_one_dimension(curvatures, sampling)
    problem = es.LinearRegression(np.sqrt(curvatures)[:, None], np.zeros(5))
    inside = 0
    for seed in range(200):
        threshold = almost_sure_threshold(problem, np.zeros(1), sampling, n_steps=100, n_replicas=16, seed=seed)
        assert threshold.lower <= threshold.value <= threshold.upper
        inside += threshold.lower <= exact <= threshold.upper
    assert 179 <= inside <= 198  # 1 % bounds of a binomial of 200 at 95 %


def test_ends_of_the_almost_sure_interval() -> None:
    """Where γ ± t·standard error = 0, by the exponent's own estimate there; Student's t of 2 degrees in closed form."""
    problem, theta, sampling = regression_of(np.array([0.8, 1.0, 1.1, 1.3, 1.6])), np.zeros(1), es.WithoutReplacement(1)
    t = 0.95 * np.sqrt(2 / (1 - 0.95**2))
    options = {"n_steps": 400, "n_replicas": 3, "seed": 1}
    threshold = almost_sure_threshold(problem, theta, sampling, **options)
    assert critical_step_size(problem, theta, sampling) < threshold.lower, "an end at the floor would not be a root"
    for end, sign in ((threshold.lower, 1), (threshold.value, 0), (threshold.upper, -1)):
        there = lyapunov_exponent(problem, theta, sampling, end, **options)
        assert abs(there.value + sign * t * there.standard_error) < 1e-3 * t * there.standard_error


def test_exponent_and_threshold_have_the_same_defaults() -> None:
    """The same batches: the exponent is zero at the threshold far below its standard error."""
    problem, theta, sampling = regression_of(np.array([0.8, 1.0, 1.1, 1.3, 1.6])), np.zeros(1), es.WithoutReplacement(1)
    threshold = almost_sure_threshold(problem, theta, sampling)
    there = lyapunov_exponent(problem, theta, sampling, threshold.value)
    assert abs(there.value) < 1e-4 * there.standard_error
    assert critical_step_size(problem, theta, sampling, criterion="almost_sure") == threshold.value


def test_first_of_two_almost_sure_crossings() -> None:
    """h = 1 or 6: E log|1 − ηh| = ½ log|(1 − η)(1 − 6η)| is positive from η = 1/2 to 2/3 and again from 7/6."""
    threshold = almost_sure_threshold(regression_of(np.array([1.0, 6.0])), np.zeros(1), es.WithoutReplacement(1))
    assert threshold.value == pytest.approx(1 / 2, abs=0.03)


@pytest.mark.parametrize("name", MINIMA)
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_almost_sure_stability_is_weaker_than_mean_square(name: str, momentum: float) -> None:
    problem, theta = MINIMA[name]
    sampling = es.WithReplacement(2)
    options = {"momentum": momentum, "seed": 4}
    mean_square = critical_step_size(problem, theta, sampling, momentum=momentum)
    threshold = almost_sure_threshold(problem, theta, sampling, n_steps=1000, n_replicas=32, **options)
    assert mean_square <= threshold.lower <= threshold.value <= threshold.upper
    assert threshold.value > 1.02 * mean_square
    rates = [
        lyapunov_exponent(problem, theta, sampling, k * threshold.value, n_steps=1000, n_replicas=32, **options).value
        for k in (0.98, 1.0, 1.02)
    ]
    assert rates[0] < 0 < rates[2]
    assert abs(rates[1]) < 1e-4 * (rates[2] - rates[0])


def test_critical_step_size_returns_the_almost_sure_threshold() -> None:
    problem, theta = MINIMA["regression of two parameters"]
    sampling = es.WithoutReplacement(2)
    options = {"momentum": 0.3, "nesterov": True, "seed": 9}
    value = critical_step_size(problem, theta, sampling, criterion="almost_sure", **options)
    assert value == almost_sure_threshold(problem, theta, sampling, **options).value
    assert value != critical_step_size(problem, theta, sampling, criterion="almost_sure", **(options | {"seed": 10}))


def test_a_saddle_is_measured_against_its_own_curvature() -> None:
    """Samples of size 1 that cancel to H = diag(1e-3, −1e-8): negative by 1e-5 of its top, not by 1e-8."""
    samples = np.array([np.diag([1.0, 1.0]), np.diag([-1 + 2e-3, -1 - 2e-8])])
    problem = es.Quadratic(samples, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="H has the eigenvalue -1e-08"):
        critical_step_size(problem, np.zeros(2), es.WithoutReplacement(2))


def test_both_ends_of_a_threshold_without_noise_are_in_the_units_of_the_problem() -> None:
    problem = quadratic_of(np.array([10.0, 30.0]))
    threshold = almost_sure_threshold(problem, np.zeros(1), es.WithoutReplacement(2))
    assert_allclose(threshold, 0.1, rtol=1e-12)


@st.composite
def momentum_cases(draw: st.DrawFn) -> tuple[es.LinearRegression, es.Sampling, float]:
    """Regressions with blocks, duplicates and scales of their own, any batch size, β up to 0.99."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 6))
    inputs = rng.standard_normal((n, d)) * 10.0 ** rng.uniform(-draw(st.sampled_from([0, 2])), 0, (n, 1))
    kind = draw(st.sampled_from(["plain", "blocks", "duplicates", "zero row"]))
    if kind == "blocks":
        inputs = np.kron(np.diag([1.0, draw(st.sampled_from([1.0, 1.001, 3.0]))]), inputs)
    elif kind == "duplicates":
        inputs = np.repeat(inputs, 2, axis=0)
    elif kind == "zero row":
        inputs[0] = 0.0
    scale = draw(st.sampled_from([1.0, 1e-60, 1e60]))
    scheme = draw(st.sampled_from([es.WithoutReplacement, es.WithReplacement]))
    sampling = scheme(draw(st.integers(1, len(inputs) - 1)))
    beta = draw(st.sampled_from([0.01, 0.5, 0.9, 0.99]))
    return es.LinearRegression(inputs * scale, np.zeros(len(inputs))), sampling, beta


@given(momentum_cases())
def test_heavy_ball_threshold_is_the_root_of_the_radius(case: tuple[es.LinearRegression, es.Sampling, float]) -> None:
    """The pencil against the spectral radius of K∘V, by Arnoldi, and a root search over the step size."""
    problem, sampling, beta = case
    linearised = linearise(problem, np.zeros(problem.n_params), sampling, "full")
    assume(linearised is not None and not linearised.is_deterministic)
    pencil, c = linearised.pencil, linearised.c
    limit = 2 * (1 + beta) / pencil.eigenvalues[-1]

    def log_radius(eta: float) -> float:
        return float(np.log(noise_radius(pencil, c, eta, beta, False)))

    lower = limit / 2
    while log_radius(lower) > 0:
        lower /= 4
    beyond = log_radius(limit * (1 - 1e-12)) < 0
    expected = limit if beyond else brentq(log_radius, lower, limit * (1 - 1e-12), xtol=1e-300, rtol=4e-15)
    assert_allclose(heavy_ball_threshold(pencil, c, beta), expected, rtol=1e-10)


def test_heavy_ball_threshold_where_the_tops_of_two_blocks_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from the edge the top is in one block, and at the edge in the other. A guess has nothing of that one here."""
    draws = np.random.default_rng(0)
    calm, noisy = draws.standard_normal((12, 2)), draws.standard_normal((12, 2))
    noisy *= 0.4 * np.exp(draws.standard_normal((12, 1)))
    blocks = np.pad(calm, ((0, 12), (0, 0))), np.pad(noisy, ((12, 0), (0, 0)))
    both = linearise(es.LinearRegression(np.hstack(blocks), np.zeros(24)), np.zeros(4), es.WithReplacement(2), "full")
    assert both is not None
    pencil, search = both.pencil, heavy_ball.lanczos_from
    of_calm = (pencil.eigenvectors[:2] ** 2).sum(axis=0) > 0.5

    def confined(start: np.ndarray, *arguments: object, **options: object) -> np.ndarray:
        # Half the identity is no guess; what is mainly in the calm block loses all of the other.
        if np.abs(start.reshape(4, 4)[of_calm]).max() > 0.51:
            start = start * np.outer(of_calm, of_calm).ravel()
        return search(start, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(heavy_ball, "lanczos_from", confined)
        found = heavy_ball_threshold(pencil, both.c, 0.9) / both.scale
    edges = [
        critical_step_size(es.LinearRegression(block, np.zeros(24)), np.zeros(2), es.WithReplacement(2), momentum=0.9)
        for block in blocks
    ]
    assert edges[1] < edges[0]
    assert_allclose(found, edges[1], rtol=1e-11)
