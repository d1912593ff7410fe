"""Zeroth-order descent on mini-batches: runs against each other and against exact moments, and the edge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.stability import zeroth_order_step_size
from tests import oracles
from tests.plain_loops import both_loops

rng = np.random.default_rng(8)
INPUTS, TARGETS = rng.standard_normal((6, 3)), rng.standard_normal(6)
SOLVED = es.LinearRegression(INPUTS, np.zeros(6))
PAIRS = es.WithoutReplacement(2)
RUN = {"step_size": es.Ramp(0.005, 0.015), "n_steps": 40, "record": ("theta",), "n_records": 3, "seed": 4}


@pytest.mark.parametrize("label_noise", [0.0, 0.2])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3), es.Reshuffled(2), es.WithoutReplacement(6)], ids=repr)
@both_loops
def test_the_compiled_loop_is_the_plain_one(
    compiled: Any, plain: Any, form: dict[str, Any], scheme: es.Sampling, momentum: float, label_noise: float
) -> None:
    found = []
    for kind in (compiled, plain):
        problem = kind(INPUTS, TARGETS, **form)
        start = np.linspace(0.2, 1.0, problem.n_params)
        options = {"momentum": momentum, "label_noise": label_noise, "sampling": es.ZerothOrder(scheme)}
        found.append(es.simulate(problem, start, **options, **RUN)["theta"].values)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    assert np.abs(found[0][0, -1] - found[0][0, 0]).max() > 1e-3


def test_records_and_replicas_do_not_change_the_run() -> None:
    options = RUN | {"sampling": es.ZerothOrder(PAIRS), "label_noise": 0.1}
    one = es.simulate(SOLVED, np.ones(3), **options)["theta"].values
    more = es.simulate(SOLVED, np.ones(3), **options | {"n_replicas": 3, "n_records": 41, "n_workers": 2})
    np.testing.assert_array_equal(one[0, -1], more["theta"].values[0, -1])


def step_of(scheme: es.Sampling, eta: float) -> np.ndarray:
    """M ↦ E[(I − ηuuᵀH_B)M(I − ηH_Buuᵀ)] as a matrix (p², p²), from every batch."""
    batches, chances = oracles.all_batches(6, scheme)
    total, eye = np.zeros((9, 9)), np.eye(3)
    for chance, h in zip(chances, SOLVED.hessian(np.zeros(3), batches), strict=True):
        pulled = np.einsum("ia,jb->ijab", h, h).reshape(9, 9)
        kick = 2 * pulled + np.outer(eye.ravel(), eye.ravel() @ pulled)
        total += chance * (np.eye(9) - eta * (np.kron(h, eye) + np.kron(eye, h)) + eta**2 * kick)
    return total


@pytest.mark.parametrize(
    "scheme", [es.WithoutReplacement(1), PAIRS, es.WithReplacement(3), es.WithoutReplacement(6)], ids=repr
)
def test_the_edge_is_where_the_second_moment_neither_grows_nor_shrinks(scheme: es.Sampling) -> None:
    eta = zeroth_order_step_size(SOLVED, np.zeros(3), scheme)
    radii = [np.abs(np.linalg.eigvals(step_of(scheme, factor * eta))).max() for factor in (0.98, 1.0, 1.02)]
    assert radii[0] < 1 < radii[2]
    assert radii[1] == pytest.approx(1, abs=1e-9)
    assert eta < 0.6 * es.stability.critical_step_size(SOLVED, np.zeros(3), scheme)


@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3)], ids=repr)
def test_own_sharpness_is_recorded(scheme: es.Sampling) -> None:
    """By bisection of the spectral radius of the exact second moment."""
    options = RUN | {"sampling": es.ZerothOrder(scheme), "record": ("own_sharpness",)}
    recorded = es.simulate(SOLVED, np.ones(3), **options)["own_sharpness"].values
    low, high = 1e-3, 10.0
    for _ in range(50):
        middle = np.sqrt(low * high)
        stable = np.abs(np.linalg.eigvals(step_of(scheme, middle))).max() < 1
        low, high = (middle, high) if stable else (low, middle)
    np.testing.assert_allclose(recorded, 2 / low, rtol=1e-8)


def test_more_parameters_take_the_iterative_route() -> None:
    table = es.data.gaussian(30, 9, seed=2)
    problem = es.LinearRegression(table.inputs, np.zeros(30))
    full = zeroth_order_step_size(problem, np.zeros(9))
    assert zeroth_order_step_size(problem, np.zeros(9), es.WithoutReplacement(30)) == pytest.approx(full, rel=1e-11)
    steps = [zeroth_order_step_size(problem, np.zeros(9), es.WithoutReplacement(b)) for b in (1, 4, 16)]
    assert steps == sorted(steps)
    assert steps[-1] < full


def test_runs_have_the_exact_second_moment() -> None:
    eta, n_steps = 0.5 * zeroth_order_step_size(SOLVED, np.zeros(3), PAIRS), 4
    start = np.array([1.0, -0.5, 0.3])
    expected = np.linalg.matrix_power(step_of(PAIRS, eta), n_steps) @ np.outer(start, start).ravel()
    trace = es.simulate(
        SOLVED, start, step_size=eta, sampling=es.ZerothOrder(PAIRS), n_steps=n_steps, n_replicas=4000,
        record=("theta",), n_records=2, seed=0,
    )  # fmt: skip
    oracles.check_second_moment(trace["theta"].values[:, -1], expected)


def test_a_run_that_diverges_is_marked() -> None:
    trace = es.simulate(SOLVED, np.ones(3), sampling=es.ZerothOrder(PAIRS), **RUN | {"step_size": 1e4, "n_steps": 400})
    assert 0 < trace["diverged_at"] < 400
    assert np.isnan(trace["theta"].values[0, -1]).all()
