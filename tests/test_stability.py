"""Critical step sizes against the enumerated second-moment operator."""

from __future__ import annotations

import numpy as np
import pytest

import esssim as es


def second_moment_radius(
    problem: es.Problem, sampling: es.Sampling, eta: float, momentum: float, nesterov: bool
) -> float:
    p, eye, total = problem.n_params, np.eye(problem.n_params), 0.0
    for batches, weights in sampling.enumerate(problem.n_samples):
        for hessian, weight in zip(problem.hessian(np.zeros(p), batches), weights, strict=True):
            if nesterov:
                top = [eye - eta * (1 + momentum) * hessian, -eta * momentum**2 * eye]
            else:
                top = [eye - eta * hessian, -eta * momentum * eye]
            step = np.block([top, [hessian, momentum * eye]])
            total = total + weight * np.kron(step, step)
    return float(np.abs(np.linalg.eigvals(total)).max())


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("sampling", [es.WithoutReplacement(2), es.WithReplacement(2)])
def test_the_second_moment_crosses_one_at_the_critical_step_size(momentum, nesterov, sampling):
    inputs = np.random.default_rng(0).normal(size=(8, 3))
    problem = es.LinearRegression(inputs, np.zeros(8))
    eta = es.stability.critical_step_size(problem, np.zeros(3), sampling, momentum=momentum, nesterov=nesterov)
    assert second_moment_radius(problem, sampling, 0.999 * eta, momentum, nesterov) < 1
    assert second_moment_radius(problem, sampling, 1.001 * eta, momentum, nesterov) > 1


def test_the_lyapunov_exponent_in_one_dimension_is_the_mean_log_factor():
    curvatures = np.array([0.5, 1.0, 3.0])
    problem = es.Quadratic(curvatures[:, None, None], np.zeros((3, 1)))
    exact = float(np.log(np.abs(1 - 0.4 * curvatures)).mean())
    estimate = es.stability.lyapunov_exponent(problem, np.zeros(1), es.WithoutReplacement(1), 0.4, seed=3)
    assert abs(estimate.value - exact) < 4 * estimate.standard_error < 0.02


def test_almost_sure_is_weaker_than_mean_square():
    problem = es.LinearRegression(np.random.default_rng(1).normal(size=(12, 3)), np.zeros(12))
    sampling = es.WithoutReplacement(2)
    sure = es.stability.almost_sure_threshold(problem, np.zeros(3), sampling)
    assert es.stability.critical_step_size(problem, np.zeros(3), sampling) < sure.lower < sure.value < sure.upper
