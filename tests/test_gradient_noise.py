"""Gaussian noise in place of batches: its covariance, its steps, its exact moments and its edge, each by brute force."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import esssim as es

N, B = 6, 2
BATCHES = np.array(list(itertools.combinations(range(N), B)))
LAWS: tuple[es.GradientNoise, ...] = (es.IsotropicNoise(B), es.DiagonalNoise(B))
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)


def data(d: int, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, d)), rng.standard_normal(N)


def shaped(law: es.GradientNoise, covariance: np.ndarray) -> np.ndarray:
    """Cov ζ, written out."""
    p = len(covariance)
    return np.trace(covariance) / p * np.eye(p) if isinstance(law, es.IsotropicNoise) else np.diag(np.diag(covariance))


@by_law
def test_the_noise_has_the_trace_or_the_diagonal_of_the_covariance_over_all_batches(law: es.GradientNoise) -> None:
    problem = es.Perceptron(*data(2), 2)
    theta = np.linspace(0.4, 0.9, problem.n_params)
    covariance = np.cov(problem.gradient(theta, BATCHES).T, bias=True)
    deviations = law.deviations(problem.sample_gradients(theta, np.arange(N)))
    assert np.allclose(np.diag(deviations**2), shaped(law, covariance), rtol=1e-12)
    assert np.allclose(law.shaped(covariance), shaped(law, covariance), rtol=1e-12)


@by_law
@pytest.mark.parametrize(("momentum", "label_noise"), [(0.0, 0.0), (0.0, 0.05), (0.9, 0.05)])
@pytest.mark.parametrize("kind", ["product", "depth 3", "regression", "perceptron"])
def test_steps_against_plain_python(law: es.GradientNoise, momentum: float, label_noise: float, kind: str) -> None:
    problem: Any = {
        "product": es.DiagonalLinearNetwork(*data(3)), "regression": es.LinearRegression(*data(3)),
        "depth 3": es.DiagonalLinearNetwork(*data(3), form="difference", depth=3), "perceptron": es.Perceptron(*data(3), 2),
    }[kind]  # fmt: skip
    p, ramp, steps = problem.n_params, es.Ramp(0.01, 0.04), 7
    theta, velocity, everyone = np.linspace(0.4, 0.9, p), np.zeros(p), np.arange(N)
    run = es.simulate(
        problem, theta, step_size=ramp, sampling=law, n_steps=steps, momentum=momentum, label_noise=label_noise,
        record=("theta",), record_steps=[4, steps], seed=11,
    )  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence(11, spawn_key=(0,)))
    for eta in ramp.at(np.arange(steps), steps):
        normal = rng.standard_normal(p)
        gradients = problem.sample_gradients(theta, everyone)
        if label_noise:
            rows = problem.sample_jacobians(theta, everyone)
            gradients = gradients - label_noise * rng.standard_normal(N)[:, None] * rows
        of_batches = np.cov(gradients[BATCHES].mean(axis=1).T, bias=True)
        gradient = gradients.mean(axis=0) + np.sqrt(np.diag(shaped(law, of_batches))) * normal
        velocity = momentum * velocity + gradient
        theta = theta - eta * velocity
    assert np.allclose(run["theta"][0, -1], theta, rtol=1e-10)
    assert run.attrs["scheme"] == type(law).__name__


@by_law
@pytest.mark.parametrize("label_noise", [0.0, 0.3])
@pytest.mark.parametrize("d", [3, 8])
def test_exact_moments_against_a_recursion_over_all_batches(law: es.GradientNoise, label_noise: float, d: int) -> None:
    problem, theta, eta, steps = es.LinearRegression(*data(d)), np.linspace(-1.0, 1.0, d), 0.05, 6
    hessians, hessian = problem.hessian(theta, BATCHES), problem.hessian(theta)
    mean, covariance = theta, np.zeros((d, d))
    for _ in range(steps):
        of_batches = np.cov(problem.gradient(mean, BATCHES).T, bias=True)
        of_batches += np.mean([(h - hessian) @ covariance @ (h - hessian) for h in hessians], axis=0)
        of_batches += label_noise**2 * (1 / B - 1 / N) * hessian
        step = np.eye(d) - eta * hessian
        covariance = step @ covariance @ step + eta**2 * (shaped(law, of_batches) + label_noise**2 / N * hessian)
        mean = mean - eta * problem.gradient(mean)
    trace = es.moments.evolve(
        problem, theta, step_size=eta, sampling=law, n_steps=steps, label_noise=label_noise, record_steps=[steps]
    )
    assert np.allclose(trace["mean"][0], mean, rtol=1e-12)
    assert np.allclose(trace["covariance"][0], covariance, rtol=1e-10, atol=1e-15)


def radius(problem: es.Problem, theta: np.ndarray, law: es.GradientNoise, eta: float, beta: float) -> float:
    """Spectral radius of the step of the second moment of (e, v), as a matrix, by enumeration of all batches."""
    hessians, hessian, p = problem.hessian(theta, BATCHES), problem.hessian(theta), problem.n_params
    step = np.block([[np.eye(p) - eta * hessian, -eta * beta * np.eye(p)], [hessian, beta * np.eye(p)]])
    enters = np.vstack([-eta * np.eye(p), np.eye(p)])
    columns = []
    for unit in np.eye(4 * p * p):
        state = unit.reshape(2 * p, 2 * p)
        noise = np.mean([(h - hessian) @ state[:p, :p] @ (h - hessian) for h in hessians], axis=0)
        columns.append((step @ state @ step.T + enters @ shaped(law, noise) @ enters.T).ravel())
    return float(np.abs(np.linalg.eigvals(np.array(columns).T)).max())


POINTS = {
    "regression n > p": (es.LinearRegression(*data(4)), np.zeros(4)),
    "regression of two parameters": (es.LinearRegression(*data(2)), np.zeros(2)),
    "quadratic": (es.Quadratic(np.random.default_rng(1).uniform(0.2, 1.0, (N, 3, 1)) * np.eye(3), np.zeros((N, 3))), np.zeros(3)),
}  # fmt: skip


@by_law
@pytest.mark.parametrize("beta", [0.0, 0.6])
@pytest.mark.parametrize("name", POINTS)
def test_the_second_moment_grows_exactly_above_the_critical_step_size(
    law: es.GradientNoise, beta: float, name: str
) -> None:
    problem, theta = POINTS[name]
    critical = es.stability.critical_step_size(problem, theta, law, momentum=beta)
    assert radius(problem, theta, law, 0.999 * critical, beta) < 1 < radius(problem, theta, law, 1.001 * critical, beta)


@by_law
def test_the_edge_of_a_network_on_the_range_of_its_hessian(law: es.GradientNoise) -> None:
    inputs, _ = data(3)
    theta = np.array([1.0, 0.5, 1.5, 0.3, -0.2, 0.8])
    problem = es.DiagonalLinearNetwork(inputs, inputs @ (theta[:3] * theta[3:]))
    critical = es.stability.critical_step_size(problem, theta, law)
    # Along the kernel nothing shrinks: there the radius is 1, and above the edge it is larger.
    assert radius(problem, theta, law, 0.99 * critical, 0.0) == pytest.approx(1, abs=1e-9)
    assert radius(problem, theta, law, 1.01 * critical, 0.0) > 1.001


@by_law
def test_with_one_parameter_the_edge_is_that_of_sgd(law: es.GradientNoise) -> None:
    problem = es.LinearRegression(data(1)[0], np.zeros(N))
    of_batches = es.stability.critical_step_size(problem, [0.0], es.WithoutReplacement(B))
    assert es.stability.critical_step_size(problem, [0.0], law) == pytest.approx(of_batches, rel=1e-12)


@by_law
def test_full_batches_have_no_noise(law: es.GradientNoise) -> None:
    problem = es.LinearRegression(*data(3))
    found = es.stability.critical_step_size(problem, np.zeros(3), type(law)(N))
    assert found == pytest.approx(2 / es.sharpness(problem, np.zeros(3)), rel=1e-12)
    assert not type(law)(N).deviations(problem.sample_gradients(np.ones(3), np.arange(N))).any()


@by_law
def test_what_needs_batches_refuses_it(law: es.GradientNoise) -> None:
    problem = es.DiagonalLinearNetwork(*data(3))
    for call in (
        lambda: es.mean_square_sharpness(problem, np.ones(6), law),  # type: ignore[arg-type]
        lambda: es.gap.bounds(problem, np.ones(6), law),  # type: ignore[arg-type]
        lambda: es.flow.solve(problem, np.ones(6), step_size=0.1, sampling=law, n_steps=5),  # type: ignore[arg-type]
        lambda: es.moments.stationary_covariance(es.LinearRegression(*data(3)), step_size=0.1, sampling=law),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="sampling must be a Sampling such as WithoutReplacement"):
            call()
    with pytest.raises(ValueError, match="criterion must be 'mean_square' for a GradientNoise, got 'almost_sure'"):
        es.stability.critical_step_size(problem, np.ones(6), law, criterion="almost_sure")
    with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 6, got 7"):
        es.stability.critical_step_size(problem, np.ones(6), type(law)(7))
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got 0"):
        type(law)(0)


@by_law
def test_the_same_seed_gives_the_same_run_for_any_records_and_replicas(law: es.GradientNoise) -> None:
    problem = es.DiagonalLinearNetwork(*data(3))
    how: dict[str, Any] = {"step_size": 0.01, "sampling": law, "n_steps": 40, "label_noise": 0.1, "seed": 1}
    one = es.simulate(problem, np.ones(6), record=("theta",), n_records=2, **how)
    many = es.simulate(problem, np.ones(6), record=("theta", "minibatch_sharpness"), n_records=9, n_replicas=3, **how)
    assert np.array_equal(one["theta"][0, -1], many["theta"][0, -1])
    tops = np.linalg.eigvalsh(problem.hessian(np.ones(6), BATCHES))[:, -1]
    # Statistics of batches are those of the batches whose covariance the noise has.
    assert many["minibatch_sharpness"][0, 0] == pytest.approx(tops.mean(), rel=1e-9)
