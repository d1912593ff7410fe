"""Momentum batch sharpness against every batch, and the records of heavy ball."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import esssim as es
from tests import oracles
from tests.plain_loops import Network

rng = np.random.default_rng(11)
INPUTS, TARGETS = rng.standard_normal((6, 3)), rng.standard_normal(6)
PROBLEMS = {
    "regression": es.LinearRegression(INPUTS, TARGETS),
    "network": es.DiagonalLinearNetwork(INPUTS, TARGETS),
    "quadratic": es.Quadratic([np.diag(row) for row in rng.uniform(0.1, 2.0, (6, 3))], rng.standard_normal((6, 3))),
}
PAIRS, EVERYONE = es.WithoutReplacement(2), es.WithoutReplacement(6)
RUN = {"step_size": 0.02, "n_steps": 30, "record_steps": (0, 7, 30), "seed": 4}


def by_hand(
    problem: es.Problem, theta: np.ndarray, velocity: np.ndarray, scheme: es.Sampling, beta: float, nesterov: bool
) -> float:
    curved = along = 0.0
    for chance, batch in zip(*reversed(oracles.all_batches(6, scheme)), strict=True):
        gradient = problem.sample_gradients(theta, batch).mean(axis=0)
        step = beta * velocity + gradient
        if nesterov:
            step = gradient + beta * step
        curved += chance * step @ problem.sample_hessians(theta, batch).mean(axis=0) @ step
        along += chance * gradient @ step
    return curved / along


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3), EVERYONE], ids=repr)
@pytest.mark.parametrize("name", PROBLEMS)
def test_it_is_the_ratio_over_every_batch(name: str, scheme: es.Sampling, nesterov: bool) -> None:
    problem = PROBLEMS[name]
    theta, velocity = np.random.default_rng(2).standard_normal((2, problem.n_params))
    law = {"momentum": 0.7, "nesterov": nesterov}
    found = es.momentum_batch_sharpness(problem, theta, velocity, scheme, **law)
    assert found.exact
    assert found.value == pytest.approx(by_hand(problem, theta, velocity, scheme, 0.7, nesterov), rel=1e-11)
    rescaled = es.momentum_batch_sharpness(problem, theta, velocity, scheme, n_batches=40_000, seed=1, **law)
    assert abs(rescaled.value - found.value) < 5 * rescaled.standard_error + 1e-9


def test_without_velocity_it_is_batch_sharpness() -> None:
    for problem in PROBLEMS.values():
        theta = np.linspace(0.2, 1.0, problem.n_params)
        for hessian in ("full", "gauss_newton") if isinstance(problem, es.LinearRegression) else ("full",):
            found = es.momentum_batch_sharpness(
                problem,
                theta,
                0 * theta,
                PAIRS,
                momentum=0.9,
                hessian=hessian,  # type: ignore[arg-type]
            )
            expected = es.batch_sharpness(problem, theta, PAIRS, average="ratio_of_means")
            assert found.value == pytest.approx(expected.value, rel=1e-11)


def test_nothing_moves_at_a_minimum() -> None:
    solved = es.LinearRegression(INPUTS, np.zeros(6))
    with pytest.raises(es.Undefined, match="momentum_batch_sharpness is 0/0"):
        es.momentum_batch_sharpness(solved, np.zeros(3), np.zeros(3), PAIRS, momentum=0.9)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("kind", [es.DiagonalLinearNetwork, Network])
def test_a_run_records_it_with_its_own_velocity(kind: type[es.DiagonalLinearNetwork], nesterov: bool) -> None:
    problem, law = kind(INPUTS, TARGETS), {"momentum": 0.6, "nesterov": nesterov}
    theta, velocity, expected = np.linspace(0.2, 1.0, 6), np.zeros(6), []
    start = theta.copy()
    for step in range(31):
        if step in RUN["record_steps"]:  # type: ignore[operator]
            value = es.momentum_batch_sharpness(problem, theta, velocity, EVERYONE, **law).value
            eta = es.stability.critical_step_size(problem, theta, EVERYONE, hessian="gauss_newton", **law)
            expected.append((value, 2 / eta))
        gradient = problem.gradient(theta)
        velocity = 0.6 * velocity + gradient
        theta = theta - 0.02 * (gradient + 0.6 * velocity if nesterov else velocity)
    names = ("momentum_batch_sharpness", "own_sharpness")
    trace = es.simulate(problem, start, sampling=EVERYONE, record=names, **law, **RUN)
    assert_allclose(np.stack([trace[name].values[0] for name in names], axis=1), expected, rtol=1e-9)


def test_batches_of_a_record_are_those_of_its_seed() -> None:
    traces = [
        es.simulate(
            kind(INPUTS, TARGETS),
            np.linspace(0.2, 1.0, 6),
            sampling=PAIRS,
            momentum=0.6,
            n_batches=5,
            record=("momentum_batch_sharpness", "own_sharpness"),
            **RUN,
        )
        for kind in (es.DiagonalLinearNetwork, Network)
    ]
    for name in traces[0]:
        assert_allclose(traces[0][name], traces[1][name], rtol=1e-8)
    assert (traces[0]["momentum_batch_sharpness_standard_error"] > 0).all()
