"""The quadratic model of a problem: its derivatives, and a run that is continued on it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import esssim as es

rng = np.random.default_rng(14)
INPUTS = rng.standard_normal((8, 3))
NETWORK = es.DiagonalLinearNetwork(INPUTS, INPUTS @ [1.0, -0.5, 0.8])
POINT = np.array([1.2, 0.9, 1.1, 0.7, -0.4, 0.6])
EVERYONE = np.arange(8)


def test_it_has_the_same_derivatives_at_its_point() -> None:
    model = es.problems.QuadraticModel(NETWORK, POINT)
    for name in ("sample_losses", "sample_gradients", "sample_hessians"):
        assert_allclose(getattr(model, name)(POINT, EVERYONE), getattr(NETWORK, name)(POINT, EVERYONE), atol=1e-13)
    es.testing.check_problem(model)


def test_losses_part_in_the_third_order() -> None:
    model = es.problems.QuadraticModel(NETWORK, POINT)
    near, far = (POINT + step for step in (1e-3, 1e-2))
    apart = [NETWORK.sample_losses(at, EVERYONE) - model.sample_losses(at, EVERYONE) for at in (near, far)]
    assert np.abs(apart[1]).max() / np.abs(apart[0]).max() == pytest.approx(1000, rel=0.1)


def test_gauss_newton_is_linear_regression_on_the_jacobian() -> None:
    model = es.problems.QuadraticModel(NETWORK, POINT, hessian="gauss_newton")
    rows = NETWORK.sample_jacobians(POINT, EVERYONE)
    linear = es.LinearRegression(rows, rows @ POINT - NETWORK.residuals(POINT, EVERYONE))
    elsewhere = POINT + rng.standard_normal(6)
    for name in ("sample_losses", "sample_gradients", "sample_hessians"):
        assert_allclose(
            getattr(model, name)(elsewhere, EVERYONE), getattr(linear, name)(elsewhere, EVERYONE), rtol=1e-9
        )


def test_the_network_goes_on_where_its_model_diverges() -> None:
    solution = es.gradient_flow(NETWORK, np.array([2.0, 2.0, 2.0, 0.0, 0.0, 0.0]))
    eta = 1.1 * es.stability.critical_step_size(NETWORK, solution, es.WithoutReplacement(8))
    start = solution + 1e-3
    options = {"step_size": eta, "sampling": es.WithoutReplacement(8), "n_steps": 3000, "record": ("loss",)}
    ended = [
        int(es.simulate(problem, start, **options, n_records=2)["diverged_at"][0])
        for problem in (NETWORK, es.problems.QuadraticModel(NETWORK, solution))
    ]
    assert ended[0] == -1
    assert ended[1] > 0
