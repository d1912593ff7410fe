"""Sharpness-aware minimisation: runs against steps by hand and exact moments, its edges against every batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import esssim as es
from esssim.stability import sharpness_aware_edge, sharpness_aware_step_size
from tests import oracles
from tests.plain_loops import Network, Regression, both_loops

rng = np.random.default_rng(9)
INPUTS, TARGETS = rng.standard_normal((6, 3)), rng.standard_normal(6)
SOLVED = es.LinearRegression(INPUTS, np.zeros(6))
PAIRS = es.WithoutReplacement(2)
RADIUS = 0.3
RUN = {"step_size": es.Ramp(0.01, 0.03), "n_steps": 40, "record": ("theta",), "n_records": 3, "seed": 4}
SCHEMES = [es.WithoutReplacement(b) for b in (1, 2, 3, 4, 6)] + [es.WithReplacement(b) for b in (1, 2, 3, 4)]


@pytest.mark.parametrize("kind", [es.LinearRegression, es.DiagonalLinearNetwork, Network])
@pytest.mark.parametrize("normalised", [False, True])
def test_full_batch_steps_by_hand(kind: type[es.Problem], normalised: bool) -> None:
    problem = kind(INPUTS, TARGETS)  # type: ignore[call-arg]
    theta = np.linspace(0.2, 1.0, problem.n_params)
    start, velocity = theta.copy(), 0.0
    for eta in RUN["step_size"].at(np.arange(40), 40):  # type: ignore[attr-defined]
        gradient = problem.gradient(theta)
        uphill = theta + RADIUS * gradient / (np.linalg.norm(gradient) if normalised else 1.0)
        velocity = 0.5 * velocity + problem.gradient(uphill)
        theta = theta - eta * velocity
    sampling = es.SharpnessAware(es.WithoutReplacement(6), RADIUS, normalised)
    found = es.simulate(problem, start, sampling=sampling, momentum=0.5, **RUN)["theta"].values[0, -1]
    assert_allclose(found, theta, rtol=1e-10)
    plain = es.simulate(problem, start, sampling=es.WithoutReplacement(6), momentum=0.5, **RUN)["theta"].values[0, -1]
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3), es.Reshuffled(2)], ids=repr)
@both_loops
def test_the_compiled_loop_is_the_plain_one(
    compiled: Any, plain: Any, form: dict[str, Any], scheme: es.Sampling, normalised: bool
) -> None:
    found = []
    for kind in (compiled, plain):
        problem = kind(INPUTS, TARGETS, **form)
        start = np.linspace(0.2, 1.0, problem.n_params)
        options = {"label_noise": 0.2, "sampling": es.SharpnessAware(scheme, RADIUS, normalised)}
        found.append(es.simulate(problem, start, **options, **RUN)["theta"].values)
    assert_allclose(found[0], found[1], rtol=1e-9)


def test_records_and_replicas_do_not_change_the_run() -> None:
    options = RUN | {"sampling": es.SharpnessAware(PAIRS, RADIUS), "label_noise": 0.1}
    one = es.simulate(SOLVED, np.ones(3), **options)["theta"].values
    more = es.simulate(SOLVED, np.ones(3), **options | {"n_replicas": 3, "n_records": 41})
    assert_array_equal(one[0, -1], more["theta"].values[0, -1])


def test_nothing_moves_where_the_gradient_is_zero() -> None:
    for kind in (es.LinearRegression, Regression):
        options = RUN | {"sampling": es.SharpnessAware(PAIRS, RADIUS)}
        assert not es.simulate(kind(INPUTS, np.zeros(6)), np.zeros(3), **options)["theta"].values.any()


def step_of(hessians: np.ndarray, scheme: es.Sampling, eta: float, radius: float = RADIUS) -> np.ndarray:
    """M ↦ E[(I − ηK_B)M(I − ηK_B)] as a matrix (p², p²), from every batch."""
    batches, chances = oracles.all_batches(len(hessians), scheme)
    eye, total = np.eye(hessians.shape[1]), 0.0
    for chance, batch in zip(chances, batches, strict=True):
        h = hessians[batch].mean(axis=0)
        step = eye - eta * (h + radius * h @ h)
        total = total + chance * np.kron(step, step)
    return np.asarray(total)


def radius_of(matrix: np.ndarray) -> float:
    return float(np.abs(np.linalg.eigvals(matrix)).max())


ROWS = SOLVED.sample_hessians(np.zeros(3), np.arange(6))
MATRICES = np.einsum("nij,nkj->nik", *2 * [rng.standard_normal((6, 3, 3))])


@pytest.mark.parametrize("scheme", SCHEMES, ids=repr)
@pytest.mark.parametrize("hessians", [ROWS, MATRICES], ids=["rows", "matrices"])
def test_the_edge_is_where_the_second_moment_neither_grows_nor_shrinks(
    hessians: np.ndarray, scheme: es.Sampling
) -> None:
    problem = SOLVED if hessians is ROWS else es.Quadratic(hessians, np.zeros((6, 3)))
    eta = sharpness_aware_step_size(problem, np.zeros(3), scheme, RADIUS)
    radii = [radius_of(step_of(hessians, scheme, factor * eta)) for factor in (0.95, 1.0, 1.05)]
    assert radii[0] < 1 < radii[2]
    assert radii[1] == pytest.approx(1, abs=1e-9)
    assert eta < es.stability.critical_step_size(problem, np.zeros(3), scheme)


@pytest.mark.parametrize("scheme", [es.WithoutReplacement(3), es.WithReplacement(2)], ids=repr)
def test_rows_and_all_batches_agree_in_more_parameters(scheme: es.Sampling) -> None:
    """Twelve parameters take the iterative route, seven samples leave a kernel; units do not matter."""
    inputs = rng.standard_normal((7, 12))
    theta, unit = np.zeros(12), 1e3
    rows = sharpness_aware_step_size(es.LinearRegression(inputs, np.zeros(7)), theta, scheme, RADIUS)
    samples = es.Quadratic(np.einsum("ni,nj->nij", inputs, inputs), np.zeros((7, 12)))
    assert rows == pytest.approx(sharpness_aware_step_size(samples, theta, scheme, RADIUS), rel=1e-10)
    scaled = es.LinearRegression(unit * inputs, np.zeros(7))
    assert sharpness_aware_step_size(scaled, theta, scheme, RADIUS / unit**2) == pytest.approx(
        rows / unit**2, rel=1e-10
    )
    small = sharpness_aware_step_size(samples, theta, scheme, 1e-9)
    assert small == pytest.approx(es.stability.critical_step_size(samples, theta, scheme), rel=1e-7)


def test_the_full_batch_edge_is_the_closed_form() -> None:
    eta = sharpness_aware_step_size(SOLVED, np.zeros(3), es.WithoutReplacement(6), RADIUS)
    assert sharpness_aware_edge(eta, RADIUS) == pytest.approx(es.sharpness(SOLVED, np.zeros(3)), rel=1e-12)
    assert sharpness_aware_edge(0.1, 1e-12) == pytest.approx(20.0, rel=1e-9)
    assert sharpness_aware_step_size(es.LinearRegression(np.zeros((2, 1)), [0.0, 0.0]), [0.0], PAIRS, 1.0) == np.inf


def test_normalised_steps_bounce_where_the_published_edge_is_the_sharpness() -> None:
    line = es.LinearRegression(np.ones((2, 1)), np.zeros(2))
    options = {"step_size": 0.7, "n_steps": 200, "record": ("gradient_norm",), "record_steps": (199, 200)}
    run = es.simulate(line, [1.0], sampling=es.SharpnessAware(es.WithoutReplacement(2), 0.5), **options)
    for norm in run["gradient_norm"].values[0]:
        assert sharpness_aware_edge(0.7, 0.5, gradient_norm=norm) == pytest.approx(1.0, rel=1e-9)


def test_runs_have_the_exact_second_moment() -> None:
    n_steps, eta = 4, 0.5 * sharpness_aware_step_size(SOLVED, np.zeros(3), PAIRS, RADIUS)
    start = np.array([1.0, -0.5, 0.3])
    expected = np.linalg.matrix_power(step_of(ROWS, PAIRS, eta), n_steps) @ np.outer(start, start).ravel()
    trace = es.simulate(
        SOLVED, start, step_size=eta, sampling=es.SharpnessAware(PAIRS, RADIUS, normalised=False), n_steps=n_steps,
        n_replicas=2500, record=("theta",), n_records=2, seed=0,
    )  # fmt: skip
    oracles.check_second_moment(trace["theta"].values[:, -1], expected)


def test_runs_grow_above_the_edge_and_shrink_below() -> None:
    """By one step from a normal law with the second moments of the top eigenmatrix: without the tails of long runs."""
    for factor, grows in ((0.8, False), (1.2, True)):
        eta = factor * sharpness_aware_step_size(SOLVED, np.zeros(3), PAIRS, RADIUS)
        values, vectors = np.linalg.eig(step_of(ROWS, PAIRS, eta))
        top = vectors[:, np.abs(values).argmax()].real.reshape(3, 3)
        top = top * np.sign(np.trace(top))
        starts = np.random.default_rng(1).standard_normal((1500, 3)) @ np.linalg.cholesky(top + 1e-12 * np.eye(3)).T
        trace = es.simulate(
            SOLVED, starts, step_size=eta, sampling=es.SharpnessAware(PAIRS, RADIUS, normalised=False), n_steps=1,
            n_replicas=1500, record=("theta",), n_records=2, seed=0,
        )  # fmt: skip
        before, after = (trace["theta"].values ** 2).sum(axis=2).T
        growth = float(after.mean() / before.mean())
        assert growth == pytest.approx(np.abs(values).max(), rel=0.1)
        assert (growth > 1) is grows


def test_own_sharpness_is_recorded() -> None:
    sampling = es.SharpnessAware(PAIRS, RADIUS, normalised=False)
    trace = es.simulate(SOLVED, np.ones(3), sampling=sampling, **RUN | {"record": ("own_sharpness",)})
    low, high = 1e-4, 10.0
    for _ in range(50):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if radius_of(step_of(ROWS, PAIRS, middle)) < 1 else (low, middle)
    assert_allclose(trace["own_sharpness"].values, 2 / low, rtol=1e-8)
    assert "SharpnessAware" in trace.attrs["scheme"]


def test_a_run_that_diverges_is_marked() -> None:
    for normalised in (False, True):
        sampling = es.SharpnessAware(PAIRS, RADIUS, normalised)
        trace = es.simulate(SOLVED, np.ones(3), sampling=sampling, **RUN | {"step_size": 1e4, "n_steps": 400})
        assert 0 < trace["diverged_at"] < 400
        assert np.isnan(trace["theta"].values[0, -1]).all()
