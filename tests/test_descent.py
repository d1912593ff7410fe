"""One step of SGD against brute force and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given

import esssim as es
from esssim.testing import Case, strategies
from tests import oracles

SCHEMES = [es.WithoutReplacement(1), es.WithoutReplacement(3), es.WithReplacement(2), es.WithoutReplacement(6)]
every_scheme = pytest.mark.parametrize("sampling", SCHEMES, ids=repr)
rng = np.random.default_rng(5)
REGRESSION = es.LinearRegression(rng.standard_normal((6, 4)), rng.standard_normal(6))
NETWORK = es.DiagonalLinearNetwork(REGRESSION.inputs, REGRESSION.targets)
POINTS = {id(REGRESSION): rng.standard_normal(4), id(NETWORK): rng.standard_normal(8)}


def gradients_of_batches(problem: es.Problem, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray]:
    batches, chances = oracles.all_batches(problem.n_samples, sampling)
    own = problem.sample_gradients(POINTS[id(problem)], np.arange(problem.n_samples))
    return own[batches].mean(axis=1), chances


@every_scheme
@pytest.mark.parametrize("problem", [REGRESSION, NETWORK], ids=["regression", "network"])
@pytest.mark.parametrize("k", [1, 3])
def test_the_share_along_the_top(problem: es.Problem, sampling: es.Sampling, k: int) -> None:
    theta = POINTS[id(problem)]
    top = np.linalg.eigh(problem.hessian(theta))[1][:, -k:]
    gradients, chances = gradients_of_batches(problem, sampling)
    expected = (chances @ ((gradients @ top) ** 2).sum(axis=1)) / (chances @ (gradients**2).sum(axis=1))
    assert es.gradient_along_top(problem, theta, sampling, k) == pytest.approx(expected, rel=1e-11)


def test_all_directions_hold_all_of_the_gradient() -> None:
    assert es.gradient_along_top(NETWORK, POINTS[id(NETWORK)], SCHEMES[1], 8) == pytest.approx(1.0, abs=1e-14)


@given(strategies.cases())
def test_the_share_grows_with_the_directions_and_stays_below_one(case: Case) -> None:
    problem, shares = case.problem, []
    for k in range(1, min(problem.n_params, 4) + 1):
        try:
            shares.append(es.gradient_along_top(problem, case.theta, es.WithoutReplacement(1), k))
        except es.Undefined:
            continue
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert all(after >= before * (1 - 1e-9) - 1e-12 for before, after in itertools.pairwise(shares))


@every_scheme
def test_one_step_changes_a_quadratic_loss_as_gni_says(sampling: es.Sampling) -> None:
    theta = POINTS[id(REGRESSION)]
    gradient = REGRESSION.gradient(theta)
    ratio = es.gradient_noise_interaction(REGRESSION, theta, sampling)
    for eta in (0.01, 2 / ratio, 1.0):
        expected = eta * (gradient @ gradient) * (eta * ratio - 2) / 2
        found = es.one_step_loss_change(REGRESSION, theta, sampling, eta)
        assert found.exact
        assert found.value == pytest.approx(expected, rel=1e-10, abs=1e-13 * REGRESSION.loss(theta))


@every_scheme
def test_one_step_changes_the_loss_of_a_network(sampling: es.Sampling) -> None:
    theta = POINTS[id(NETWORK)]
    gradients, chances = gradients_of_batches(NETWORK, sampling)
    losses = np.array([NETWORK.loss(theta - 0.1 * gradient) for gradient in gradients])
    expected = chances @ losses - NETWORK.loss(theta)
    assert es.one_step_loss_change(NETWORK, theta, sampling, 0.1).value == pytest.approx(expected, rel=1e-11)
    sampled = es.one_step_loss_change(NETWORK, theta, sampling, 0.1, n_batches=4000, seed=2)
    assert abs(sampled.value - expected) <= 4 * sampled.standard_error + 1e-12
    parts = es.one_step_loss_change(NETWORK, theta, sampling, 0.1, n_batches=4000, seed=2, chunk_size=7)
    assert parts.value == pytest.approx(sampled.value, rel=1e-13)


@every_scheme
@pytest.mark.parametrize("average", ["mean_of_ratios", "ratio_of_means"])
def test_batch_sharpness_of_gauss_newton_matrices(sampling: es.Sampling, average: str) -> None:
    theta, everyone = POINTS[id(NETWORK)], np.arange(6)
    jacobians = NETWORK.sample_jacobians(theta, everyone)
    batches, chances = oracles.all_batches(6, sampling)
    gradients, _ = gradients_of_batches(NETWORK, sampling)
    forms = (np.einsum("mbp,mp->mb", jacobians[batches], gradients) ** 2).mean(axis=1)
    norms = (gradients**2).sum(axis=1)
    expected = chances @ (forms / norms) if average == "mean_of_ratios" else (chances @ forms) / (chances @ norms)
    found = es.batch_sharpness(NETWORK, theta, sampling, average=average, hessian="gauss_newton")
    assert found.value == pytest.approx(expected, rel=1e-11)
    assert found.value != pytest.approx(es.batch_sharpness(NETWORK, theta, sampling, average=average).value, rel=1e-3)


def test_batch_sharpness_of_random_weights_takes_the_gauss_newton_matrices() -> None:
    theta, weights = POINTS[id(NETWORK)], es.TwoPointWeights(3)
    full, part = (
        es.batch_sharpness(NETWORK, theta, weights, hessian=kind, n_batches=50, seed=1).value
        for kind in ("full", "gauss_newton")
    )
    assert full != part
    at_fit = es.DiagonalLinearNetwork(NETWORK.inputs, NETWORK.inputs @ NETWORK.effective_weights(theta) + 1e-9)
    full, part = (
        es.batch_sharpness(at_fit, theta, weights, hessian=kind, n_batches=50, seed=1).value
        for kind in ("full", "gauss_newton")
    )
    assert full == pytest.approx(part, rel=1e-7)
