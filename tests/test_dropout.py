"""Dropout of inputs: runs against steps by hand and exact moments, and the edge against every batch and every mask."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import esssim as es
from esssim.claims import dropout as claims
from esssim.experiments.experiment import flattest
from esssim.experiments.rising import rising
from esssim.stability import critical_step_size, dropout_step_size
from tests import oracles
from tests.plain_loops import both_loops

rng = np.random.default_rng(12)
INPUTS, TARGETS = rng.standard_normal((4, 3)), rng.standard_normal(4)
SOLVED = es.LinearRegression(INPUTS, np.zeros(4))
PAIRS = es.WithoutReplacement(2)
RATE = 0.3
RUN = {"step_size": es.Ramp(0.01, 0.03), "n_steps": 40, "record": ("theta",), "n_records": 3, "seed": 4}


@pytest.mark.parametrize("label_noise", [0.0, 0.2])
@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3), es.Reshuffled(2), es.WithoutReplacement(4)], ids=repr)
@both_loops
def test_the_compiled_loop_is_the_plain_one(
    compiled: Any, plain: Any, form: dict[str, Any], scheme: es.Sampling, label_noise: float
) -> None:
    found = []
    for kind in (compiled, plain):
        problem = kind(INPUTS, TARGETS, **form)
        start = np.linspace(0.2, 1.0, problem.n_params)
        options = {"momentum": 0.5, "label_noise": label_noise, "sampling": es.Dropout(scheme, RATE)}
        found.append(es.simulate(problem, start, **options, **RUN)["theta"].values)
    assert_allclose(found[0], found[1], rtol=1e-9)
    assert np.abs(found[0][0, -1] - found[0][0, 0]).max() > 1e-3


def test_records_and_replicas_do_not_change_the_run() -> None:
    options = RUN | {"sampling": es.Dropout(PAIRS, RATE), "label_noise": 0.1}
    one = es.simulate(SOLVED, np.ones(3), **options)["theta"].values
    more = es.simulate(SOLVED, np.ones(3), **options | {"n_replicas": 3, "n_records": 41})
    assert_array_equal(one[0, -1], more["theta"].values[0, -1])


def law_of_steps(rows: np.ndarray, scheme: es.Sampling) -> tuple[np.ndarray, np.ndarray]:
    """H_B of every batch with every mask, (m, d, d), and their chances (m,)."""
    batches, chances = oracles.all_batches(len(rows), scheme)
    b, d = len(batches[0]), rows.shape[1]
    masks = np.array(list(itertools.product((0.0, 1.0), repeat=b * d))).reshape(-1, b, d)
    of_masks = np.prod(np.where(masks > 0, 1 - RATE, RATE), axis=(1, 2))
    masked = rows[batches][:, None] * masks / (1 - RATE)
    hessians = np.einsum("mkbi,mkbj->mkij", masked, masked) / b
    return hessians.reshape(-1, d, d), np.outer(chances, of_masks).ravel()


def step_of(rows: np.ndarray, scheme: es.Sampling, eta: float) -> np.ndarray:
    hessians, chances = law_of_steps(rows, scheme)
    steps = np.eye(rows.shape[1]) - eta * hessians
    return np.einsum("m,mij,mkl->ikjl", chances, steps, steps).reshape(2 * [rows.shape[1] ** 2])


def radius_of(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


@pytest.mark.parametrize(
    "scheme", [es.WithoutReplacement(1), PAIRS, es.WithoutReplacement(4), es.WithReplacement(2)], ids=repr
)
def test_the_edge_is_where_the_second_moment_neither_grows_nor_shrinks(scheme: es.Sampling) -> None:
    eta = dropout_step_size(SOLVED, np.zeros(3), scheme, RATE)
    radii = [radius_of(step_of(INPUTS, scheme, factor * eta)) for factor in (0.95, 1.0, 1.05)]
    assert radii[0] < 1 < radii[2]
    assert radii[1] == pytest.approx(1, abs=1e-9)
    assert eta < es.stability.critical_step_size(SOLVED, np.zeros(3), scheme)


def test_a_network_has_the_rows_of_its_jacobian() -> None:
    """By the step of the parameters themselves, whose masks drop coordinates of the product."""
    network, theta = es.DiagonalLinearNetwork(INPUTS, np.zeros(4), form="difference", depth=3), np.linspace(0.4, 1.2, 6)
    eta = dropout_step_size(network, theta, PAIRS, RATE)
    left, right = np.split(theta, 2)
    slopes = np.concatenate([np.diag(3 * left**2), np.diag(-3 * right**2)])
    hessians, chances = law_of_steps(INPUTS, PAIRS)
    steps = np.eye(6) - eta * slopes @ hessians @ slopes.T
    basis = np.linalg.qr(slopes)[0]
    steps = basis.T @ steps @ basis
    assert radius_of(np.einsum("m,mij,mkl->ikjl", chances, steps, steps).reshape(9, 9)) == pytest.approx(1, abs=1e-9)


def test_more_inputs_take_the_iterative_route_and_units_do_not_matter() -> None:
    """Between the edge of the mean and its own: fewer dropped inputs come to that of SGD."""
    table, theta = es.data.gaussian(30, 12, seed=2), np.zeros(12)
    problem = es.LinearRegression(table.inputs, np.zeros(30))
    small = dropout_step_size(problem, theta, PAIRS, 1e-9)
    assert small == pytest.approx(es.stability.critical_step_size(problem, theta, PAIRS), rel=1e-6)
    steps = [dropout_step_size(problem, theta, PAIRS, rate) for rate in (0.1, 0.3, 0.6)]
    assert steps == sorted(steps, reverse=True)
    scaled = es.LinearRegression(1e90 * table.inputs, np.zeros(30))
    assert dropout_step_size(scaled, theta, PAIRS, 0.3) == pytest.approx(1e-180 * steps[1], rel=1e-9)
    assert dropout_step_size(es.LinearRegression(np.zeros((2, 1)), np.zeros(2)), [0.0], PAIRS, 0.5) == np.inf


def test_runs_have_the_exact_second_moment() -> None:
    eta, n_steps, start = 0.5 * dropout_step_size(SOLVED, np.zeros(3), PAIRS, RATE), 3, np.array([1.0, -0.5, 0.3])
    expected = np.linalg.matrix_power(step_of(INPUTS, PAIRS, eta), n_steps) @ np.outer(start, start).ravel()
    trace = es.simulate(
        SOLVED, start, step_size=eta, sampling=es.Dropout(PAIRS, RATE), n_steps=n_steps, n_replicas=3000,
        record=("theta",), n_records=2, seed=0,
    )  # fmt: skip
    oracles.check_second_moment(trace["theta"].values[:, -1], expected)


def test_the_mean_gradient_is_that_of_ridge_regression() -> None:
    theta, eta = np.array([0.4, -0.2, 0.7]), 0.1
    problem = es.LinearRegression(INPUTS, TARGETS)
    trace = es.simulate(
        problem, theta, step_size=eta, sampling=es.Dropout(es.WithoutReplacement(4), RATE), n_steps=1, n_replicas=2000,
        record=("theta",), n_records=2, seed=1,
    )  # fmt: skip
    moves = (theta - trace["theta"].values[:, -1]) / eta
    penalty = RATE / (1 - RATE) * (INPUTS**2).mean(axis=0) * theta
    errors = moves.std(axis=0, ddof=1) / np.sqrt(len(moves))
    assert (np.abs(moves.mean(axis=0) - problem.gradient(theta) - penalty) <= 4 * errors).all()
    assert (errors < 0.3 * np.abs(penalty)).all()


def test_own_sharpness_is_recorded() -> None:
    trace = es.simulate(SOLVED, np.ones(3), sampling=es.Dropout(PAIRS, RATE), **RUN | {"record": ("own_sharpness",)})
    assert_allclose(trace["own_sharpness"], 2 / dropout_step_size(SOLVED, np.zeros(3), PAIRS, RATE), rtol=1e-12)


def test_a_run_that_diverges_is_marked() -> None:
    trace = es.simulate(SOLVED, np.ones(3), sampling=es.Dropout(PAIRS, RATE), **RUN | {"step_size": 1e4})
    assert np.isnan(trace["theta"].values[0, -1]).all()


def test_the_ramp_of_the_claims_starts_at_rest_and_its_predictions_are_those_of_the_edges() -> None:
    for targets, size in claims.SIZES.items():
        run = claims.ramp(targets, 4)
        network, theta = run.problem, run.theta0
        product, inputs = network.effective_weights(theta), network.inputs
        penalty = run.rate / (1 - run.rate) * (inputs**2).mean(axis=0) * product
        slope = inputs.T @ (inputs @ product - network.targets) / len(inputs) + penalty
        assert np.abs(slope).max() < 1e-13 * size
        assert np.sqrt((network.targets**2).mean()) == pytest.approx(size)
        left, right = np.split(theta, 2)
        assert_allclose(left**2 - right**2, 1, rtol=1e-12)

    def critical(theta: np.ndarray, b: int) -> float:
        return dropout_step_size(network, theta, es.WithoutReplacement(b), run.rate)

    for b, share in ((4, "0.52"), (claims.N_ROWS, "0.69")):
        ratio = critical(theta, b) / critical_step_size(
            network, theta, es.WithoutReplacement(b), hessian="gauss_newton"
        )
        small = claims.PREDICTED["small", "mean-square", b]
        # The start of the small targets has the same ratio to a per cent.
        assert small.words.startswith(share)
        assert ratio == pytest.approx(float(share), abs=0.01)
    ramp, steps = rising(network, theta, lambda theta: critical(theta, 4), claims.RAMP_STEPS[4], "target_size")
    etas = ramp.start + (ramp.stop - ramp.start) * steps / claims.RAMP_STEPS[4]
    assert etas.mean() / critical(flattest(network, theta), 4) == pytest.approx(0.29, abs=0.005)
