"""Runs of SGD against a plain loop that replays their draws; seeds, divergence, records, gradient flow, files."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from numpy.testing import assert_allclose, assert_array_equal

import esssim as es
from esssim import store
from esssim._kernels.sgd import is_bounded
from esssim.claims import Registry
from esssim.claims.verify import verify_claims
from esssim.measure import measure_table
from esssim.problems import LeastSquares, NonlinearLeastSquares
from esssim.statistics.table import STATISTICS
from tests.fake_claims import AS_PREDICTED
from tests.plain_loops import Regression

N = 7
source = np.random.default_rng(1)
inputs, targets = source.standard_normal((N, 3)), source.standard_normal(N)
matrices = source.standard_normal((N, 3, 3))
# Wider rows are taken four at a time: of nine samples two fours and one.
wide = source.standard_normal((9, 45)), source.standard_normal(9)
PROBLEMS: dict[str, es.Problem] = {
    "regression": es.LinearRegression(inputs, targets),
    "quadratic": es.Quadratic(matrices @ matrices.transpose(0, 2, 1) / 3, source.standard_normal((N, 3))),
    "product": es.DiagonalLinearNetwork(inputs, targets),
    "difference 2": es.DiagonalLinearNetwork(inputs, targets, form="difference"),
    "difference 3": es.DiagonalLinearNetwork(inputs, targets, form="difference", depth=3),
    "perceptron": es.Perceptron(inputs, targets, 2),
    "GELU perceptron": es.Perceptron(inputs, targets, 2, activation="gelu"),
    "cross-entropy": es.problems.LogisticNetwork(inputs, 1 / (1 + np.exp(-targets)), form="difference", depth=3),
}
STARTS = {name: np.linspace(0.4, 0.9, problem.n_params) for name, problem in PROBLEMS.items()}
SCHEMES = (es.WithoutReplacement(3), es.WithoutReplacement(N), es.WithReplacement(3), es.Reshuffled(3))
OPTIMISERS = {"plain": (0.0, False), "heavy ball": (0.7, False), "Nesterov": (0.7, True)}
STEP_SIZES = {"constant": 0.02, "linear": es.Ramp(0.01, 0.03), "geometric": es.Ramp(0.03, 0.005, "geometric")}
network, start = PROBLEMS["product"], STARTS["product"]


def replayed_batches(sampling: es.Sampling, n: int, stream: np.random.Generator) -> Iterator[list[int]]:
    """The batch of each step, in the order drawn: one uniform number per index, the permutation carried along."""
    b, order = sampling.batch_size, list(range(n))

    def shuffle(count: int) -> None:
        for i in range(count):
            j = i + int(stream.random() * (n - i))
            order[i], order[j] = order[j], order[i]

    while True:
        if isinstance(sampling, es.WithReplacement):
            yield [int(stream.random() * n) for _ in range(b)]
        elif isinstance(sampling, es.Reshuffled):
            shuffle(n)
            for first in range(0, n - b + 1, b):
                yield order[first : first + b]
        else:
            if b < n:
                shuffle(b)
            yield order[:b]


def step_size_at(step_size: float | es.Ramp, step: int, n_steps: int) -> float:
    if not isinstance(step_size, es.Ramp):
        return step_size
    a, b, t = step_size.start, step_size.stop, step / n_steps
    return a ** (1 - t) * b**t if step_size.shape == "geometric" else (1 - t) * a + t * b


def replay(
    problem: es.Problem,
    theta0: np.ndarray,
    *,
    step_size: float | es.Ramp,
    sampling: es.Sampling,
    n_steps: int,
    seed: int,
    momentum: float = 0.0,
    nesterov: bool = False,
    label_noise: float = 0.0,
    replica: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """θ after each number of steps (n_steps + 1, p), and s = X_Bᵀr_B/b of each step of a least-squares problem."""
    stream = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(replica,)))
    batches = replayed_batches(sampling, problem.n_samples, stream)
    # A full batch of n > d samples meets its noise only through Xᵀz = RᵀQᵀz: d numbers Qᵀz are drawn.
    full = isinstance(problem, LeastSquares) and sampling == es.WithoutReplacement(N)
    basis = np.linalg.qr(problem.inputs)[0] if full else None
    theta, velocity = theta0.copy(), np.zeros_like(theta0)
    thetas, covectors = [theta.copy()], []
    for step in range(n_steps):
        batch = np.array(next(batches))
        if isinstance(problem, NonlinearLeastSquares):
            residuals = problem.residuals(theta, batch)
            if label_noise > 0:
                drawn = [stream.standard_normal() for _ in range(len(batch) if basis is None else basis.shape[1])]
                residuals = residuals - label_noise * (np.array(drawn) if basis is None else basis @ drawn)
            if isinstance(problem, LeastSquares):
                covectors.append(problem.inputs[batch].T @ residuals / len(batch))
            gradient = problem.sample_jacobians(theta, batch).T @ residuals / len(batch)
        else:
            gradient = problem.sample_gradients(theta, batch).mean(axis=0)
            if label_noise > 0:
                assert isinstance(problem, es.problems.LogisticNetwork)
                drawn = [stream.standard_normal() for _ in batch]
                gradient -= label_noise * problem.sample_jacobians(theta, batch).T @ drawn / len(batch)
        eta = step_size_at(step_size, step, n_steps)
        velocity = momentum * velocity + gradient
        theta = theta - eta * (gradient + momentum * velocity if nesterov else velocity)
        thetas.append(theta.copy())
    return np.array(thetas), np.array(covectors)


class Plain(es.Problem):
    """Another problem's losses, gradients and Hessians, without a compiled loop of its own."""

    def __init__(self, inner: es.Problem) -> None:
        super().__init__(inner.n_samples, inner.n_params)
        self.inner = inner

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.inner.sample_losses(theta, indices)

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.inner.sample_gradients(theta, indices)

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.inner.sample_hessians(theta, indices)


def simulate(name: str = "product", **options: Any) -> xarray.Dataset:
    defaults = {
        "step_size": 0.02,
        "sampling": es.WithoutReplacement(3),
        "n_steps": 200,
        "record": ("theta",),
        "record_steps": (0, 1, 50, 200),
        "seed": 5,
    }
    return es.simulate(PROBLEMS[name], STARTS[name], **(defaults | options))


# The steps themselves


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("sampling", SCHEMES, ids=repr)
@pytest.mark.parametrize("name", PROBLEMS)
def test_compiled_loop_is_the_plain_loop(name: str, sampling: es.Sampling, optimiser: tuple[float, bool]) -> None:
    noises = (0.0,) if name == "quadratic" else (0.0, 0.3)
    for label_noise, step_size in itertools.product(noises, STEP_SIZES.values()):
        options = {
            "step_size": step_size,
            "sampling": sampling,
            "n_steps": 200,
            "momentum": optimiser[0],
            "nesterov": optimiser[1],
            "label_noise": label_noise,
            "seed": 12,
        }
        steps = np.array([0, 1, 2, 7, 60, 200])
        trace = simulate(name, n_replicas=2, record_steps=steps, **options)
        for replica in range(2):
            expected, _ = replay(PROBLEMS[name], STARTS[name], replica=replica, **options)
            assert_allclose(trace["theta"].values[replica], expected[steps], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("b", [2, 4, 6, 9])
@pytest.mark.parametrize("label_noise", [0.0, 0.3])
@pytest.mark.parametrize("kind", [es.LinearRegression, es.DiagonalLinearNetwork])
def test_rows_of_many_features(kind: type[es.LeastSquares], label_noise: float, b: int) -> None:
    problem = kind(*wide)
    theta = np.linspace(0.1, 0.3, problem.n_params)
    options: dict[str, Any] = {
        "step_size": 0.02, "sampling": es.WithReplacement(b), "n_steps": 30, "label_noise": label_noise, "seed": 6,
    }  # fmt: skip
    run = es.simulate(problem, theta, record=("theta",), n_records=2, **options)
    assert_allclose(run["theta"].values[0, -1], replay(problem, theta, **options)[0][-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sampling", SCHEMES, ids=repr)
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_without_a_compiled_loop_takes_the_same_steps(name: str, sampling: es.Sampling) -> None:
    problem = PROBLEMS[name]
    steps = np.array([0, 3, 100])
    for (momentum, nesterov), step_size in itertools.product(OPTIMISERS.values(), STEP_SIZES.values()):
        options = {"sampling": sampling, "momentum": momentum, "nesterov": nesterov, "step_size": step_size}
        options |= {"n_steps": 100, "record_steps": steps, "seed": 3}
        trace = es.simulate(Plain(problem), STARTS[name], record=("theta", "sharpness", "loss"), **options)
        compiled = simulate(name, record=("theta", "sharpness", "loss"), **options)
        for variable in trace.data_vars:
            assert_allclose(trace[variable], compiled[variable], rtol=1e-12, atol=1e-13)


def test_a_users_least_squares_problem_gets_its_label_noise() -> None:
    options = {"label_noise": 0.5, "sampling": es.WithReplacement(2), "n_steps": 100, "record_steps": (50, 100)}
    options |= {"step_size": 0.05, "momentum": 0.5, "seed": 8, "record": ("theta",)}
    own = es.simulate(Regression(inputs, targets), STARTS["regression"], **options)
    assert_allclose(own["theta"], simulate("regression", **options)["theta"], rtol=1e-12)


@pytest.mark.parametrize("label_noise", [0.0, 0.2])
@pytest.mark.parametrize("sampling", SCHEMES, ids=repr)
def test_imbalance_shrinks_by_exactly_one_minus_eta_squared_s_squared(
    sampling: es.Sampling, label_noise: float
) -> None:
    ramp, n_steps = es.Ramp(0.4, 0.7), 150
    options = {"step_size": ramp, "sampling": sampling, "n_steps": n_steps, "label_noise": label_noise, "seed": 2}
    trace = simulate(record_steps=range(n_steps + 1), **options)
    theta = trace["theta"].values[0]
    imbalance = theta[:, :3] ** 2 - theta[:, 3:] ** 2
    _, s = replay(network, start, **options)
    eta = trace["step_size"].values[:-1, None]
    assert_allclose(imbalance[1:], imbalance[:-1] * (1 - eta**2 * s**2), rtol=1e-11, atol=1e-13)
    assert (1 - eta**2 * s**2).min() < 0.99, "the factor must differ from 1 for this to say anything"


@pytest.mark.parametrize("sampling", [es.WithoutReplacement(2), es.WithReplacement(2)], ids=repr)
def test_label_noise_has_its_variance(sampling: es.Sampling) -> None:
    """In one dimension e ← (1 − ηh_B)e + ηε mean(x_i z_i), so that Var e = η²ε²a/b / (2ηa − η²(a² + s²)).

    Here a = E h_B = mean x² and s² = Var h_B; E[mean(x_i z_i)²] = a/b in both schemes.
    """
    x, eta, noise, b = np.array([0.5, 1.0, 1.5, 0.8]), 0.4, 0.3, sampling.batch_size
    a, s2 = (x**2).mean(), sampling.variance_coefficient(4) * (x**2).var()
    expected = eta**2 * noise**2 * a / b / (2 * eta * a - eta**2 * (a**2 + s2))
    trace = es.simulate(
        es.LinearRegression(x[:, None], 3.0 * x),
        np.array([3.0]),
        step_size=eta,
        sampling=sampling,
        n_steps=8_000,
        n_replicas=40,
        label_noise=noise,
        record=("theta",),
        record_steps=range(200, 8_001, 20),
        seed=4,
    )
    squares = (trace["theta"].values[:, :, 0] - 3.0) ** 2
    of_replicas = squares.mean(axis=1)
    error = of_replicas.std(ddof=1) / np.sqrt(len(of_replicas))
    assert error < 0.015 * expected
    assert abs(of_replicas.mean() - expected) < 4 * error


def test_ramp_goes_from_start_to_stop() -> None:
    steps = np.array([0, 25, 50, 100])
    assert_allclose(es.Ramp(1.0, 3.0).at(steps, 100), [1.0, 1.5, 2.0, 3.0], rtol=1e-15)
    assert_allclose(es.Ramp(1.0, 16.0, "geometric").at(steps, 100), [1.0, 2.0, 4.0, 16.0], rtol=1e-15)
    assert_array_equal(es.Ramp(0.3, 0.3).at(steps, 100), [0.3] * 4)
    trace = simulate(step_size=es.Ramp(0.01, 0.02), record_steps=(0, 50, 200))
    assert_allclose(trace["step_size"], [0.01, 0.0125, 0.02], rtol=1e-15)
    assert_array_equal(trace["step"], [0, 50, 200])


def test_each_name_may_have_steps_of_its_own() -> None:
    names = ("theta", "minibatch_sharpness", "batch_sharpness")
    steps = {"theta": (0, 50), "minibatch_sharpness": (50, 200), "batch_sharpness": range(0, 201, 10)}
    options: dict[str, Any] = {"record": names, "n_batches": 5, "n_replicas": 2}
    mixed = simulate(record_steps=steps, **options)
    assert_array_equal(mixed["step"], np.arange(0, 201, 10))
    every = simulate(record_steps=range(0, 201, 10), **options)
    for name in names:
        own = np.isin(mixed["step"], steps[name])
        for variable in (name, f"{name}_standard_error")[: 1 if name == "theta" else 2]:
            assert_array_equal(mixed[variable][:, own], every[variable][:, own])
            assert np.isnan(mixed[variable].values[:, ~own]).all()
    assert_array_equal(mixed["step_size"], every["step_size"])


# Seeds


@pytest.mark.parametrize("name", ["product", "quadratic"])
@pytest.mark.parametrize("sampling", SCHEMES, ids=repr)
def test_replica_count_and_records_change_no_bit(name: str, sampling: es.Sampling) -> None:
    options: dict[str, Any] = {"sampling": sampling, "record": ("theta", "minibatch_sharpness", "batch_sharpness")}
    options |= {"n_batches": 5, "record_steps": (0, 100, 200)}
    reference = simulate(name, n_replicas=1, **options)
    many = simulate(name, n_replicas=5, **options)
    for variable in ("theta", "minibatch_sharpness", "minibatch_sharpness_standard_error", "batch_sharpness"):
        assert_array_equal(many[variable][0], reference[variable][0])
    assert_array_equal(simulate(name, **(options | {"record": ("theta",)}))["theta"], reference["theta"])
    dense = simulate(name, **(options | {"record_steps": range(201)}))
    for variable in reference.data_vars:
        if variable != "diverged_at":
            assert_array_equal(dense[variable][:, [0, 100, 200]], reference[variable])
    few = simulate(name, **(options | {"record_steps": None, "n_records": 3}))
    assert_array_equal(few["theta"], dense["theta"][:, few["step"].values])
    assert_array_equal(simulate(name, **(options | {"n_batches": 9}))["theta"], reference["theta"])
    if sampling.batch_size < N:
        assert len(np.unique(many["theta"].values[:, 1], axis=0)) == 5, "replicas must differ"
        assert (simulate(name, **(options | {"seed": 6}))["theta"][0, 1] != reference["theta"][0, 1]).all()


def test_worker_count_changes_no_bit() -> None:
    options = {"n_replicas": 5, "record": ("theta", "sharpness", "minibatch_sharpness"), "label_noise": 0.1}
    alone, together = simulate(n_workers=1, **options), simulate(n_workers=2, **options)
    xarray.testing.assert_identical(alone, together)


def test_progress_counts_finished_replicas() -> None:
    """A function of what is done and how much there is, as for training and the flow, or of what is done alone."""
    alone: list[int] = []
    pairs: list[tuple[int, int]] = []
    simulate(n_replicas=20, n_steps=2, record_steps=(2,), progress=alone.append)
    simulate(n_replicas=20, n_steps=2, record_steps=(2,), progress=lambda done, total: pairs.append((done, total)))
    assert alone == sorted(set(alone))
    assert alone[-1] == 20
    assert pairs == [(done, 20) for done in alone]


def test_progress_is_a_bar_that_changes_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    silent = simulate(n_replicas=3)
    for progress in (True, False, None, np.True_):
        xarray.testing.assert_identical(simulate(n_replicas=3, progress=progress), silent)
    assert capsys.readouterr().out == ""


def test_a_bar_for_tables_and_claims_too(capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()
    registry.add(AS_PREDICTED[0])
    table = es.data.gaussian(6, 2, seed=0)
    silent = measure_table(table, batch_sizes=[2])
    assert measure_table(table, batch_sizes=[2], progress=True) == silent
    done: list[tuple[int, int]] = []
    tell = lambda *counts: done.append(counts)  # noqa: E731
    assert measure_table(table, batch_sizes=[2], progress=tell) == silent
    verify_claims(registry, progress=tell)
    assert done == [(1, 1), (0, 1), (1, 1)]
    for progress in (True, False, None):
        assert [verdict.claim for verdict in verify_claims(registry, progress=progress)] == [AS_PREDICTED[0]]
    assert capsys.readouterr().out == ""
    for call in (lambda: measure_table(table, progress="yes"), lambda: verify_claims(registry, progress="yes")):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"^progress must be True, False or a function, got 'yes'$"):
            call()


@pytest.mark.parametrize("progress", ["yes", 1, lambda: None, lambda a, b, c: None])
def test_what_cannot_be_told_is_refused_before_the_work(progress: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esssim.simulation.ensemble._run_replica", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(
        ValueError, match=r"^progress must be (True, False or a function|a function of \(done, total\)), got "
    ):
        simulate(progress=progress)


# Records


def test_records_hold_the_statistics_at_their_theta() -> None:
    sampling = es.WithoutReplacement(2)
    trace = simulate(sampling=sampling, record=(*STATISTICS, "theta"), n_batches=21, label_noise=0.3)
    assert set(trace.data_vars) == {
        *STATISTICS,
        "theta",
        "diverged_at",
        *(f"{name}_standard_error" for name, statistic in STATISTICS.items() if statistic.sampled),
    }
    for k in range(4):
        theta, row = trace["theta"].values[0, k], trace.isel(replica=0, record=k)
        expected = {
            "loss": network.loss(theta),
            "gradient_norm": np.linalg.norm(network.gradient(theta)),
            "sharpness": es.sharpness(network, theta),
            "minibatch_sharpness": es.minibatch_sharpness(network, theta, sampling).value,
            "batch_sharpness": es.batch_sharpness(network, theta, sampling).value,
            "batch_sharpness_parts": es.batch_sharpness(network, theta, sampling, average="ratio_of_means").value,
            "batch_sharpness_gauss_newton": es.batch_sharpness(network, theta, sampling, hessian="gauss_newton").value,
            "gradient_along_top": es.gradient_along_top(network, theta, sampling),
            "gradient_noise_interaction": es.gradient_noise_interaction(network, theta, sampling),
            "interaction_aware_sharpness": es.interaction_aware_sharpness(network, theta, sampling),
            "mean_square_sharpness": es.mean_square_sharpness(network, theta, sampling),
            "mean_square_sharpness_gauss_newton": es.mean_square_sharpness(
                network, theta, sampling, hessian="gauss_newton"
            ),
            "critical_sharpness": es.critical_sharpness(network, theta),
            "minibatch_critical_sharpness": es.minibatch_critical_sharpness(network, theta, sampling).value,
            "eigenvalue_2": es.top_eigenvalues(network, theta, 3)[1],
            "eigenvalue_3": es.top_eigenvalues(network, theta, 3)[2],
            "minibatch_eigenvalue_2": es.minibatch_top_eigenvalues(network, theta, sampling, 3)[1].value,
            "minibatch_eigenvalue_3": es.minibatch_top_eigenvalues(network, theta, sampling, 3)[2].value,
        }
        assert expected.keys() == STATISTICS.keys()
        for name, value in expected.items():
            assert float(row[name]) == value, name
        # C(7, 2) = 21 batches are all enumerated; one fewer must be sampled.
        assert float(row["minibatch_sharpness_standard_error"]) == 0.0
    sampled = simulate(sampling=sampling, record=("minibatch_sharpness",), n_batches=20, label_noise=0.3)
    assert (sampled["minibatch_sharpness_standard_error"] > 0).all()
    gap = np.abs(sampled["minibatch_sharpness"] - trace["minibatch_sharpness"])
    assert (gap < 5 * sampled["minibatch_sharpness_standard_error"]).all()
    assert (gap > 0).all()


def test_ratios_are_undefined_where_the_gradient_vanishes() -> None:
    origin = np.zeros(6)
    trace = es.simulate(
        network,
        origin,
        step_size=0.1,
        sampling=es.WithoutReplacement(3),
        n_steps=5,
        record=("loss", "sharpness", "batch_sharpness", "gradient_noise_interaction"),
        n_records=2,
        seed=0,
    )
    assert np.isfinite(trace["loss"]).all()
    assert np.isfinite(trace["sharpness"]).all()
    assert np.isnan(trace["batch_sharpness"]).all()
    assert np.isnan(trace["gradient_noise_interaction"]).all()
    assert (trace["diverged_at"] == -1).all()


def test_one_start_for_all_or_one_each() -> None:
    starts = np.stack([start, start + 0.1])
    each = es.simulate(
        network,
        starts,
        step_size=0.01,
        sampling=es.WithReplacement(2),
        n_steps=9,
        n_replicas=2,
        record=("theta",),
        seed=1,
    )
    assert_array_equal(each["theta"][:, 0], starts)
    shared = simulate(n_replicas=2, record_steps=(0,))
    assert_array_equal(shared["theta"][:, 0], np.stack([start, start]))


def test_provenance_says_how_to_repeat_the_run() -> None:
    ramp = es.Ramp(0.01, 0.02, "geometric")
    options = {"step_size": ramp, "momentum": 0.5, "nesterov": True, "label_noise": 0.1, "n_batches": 17}
    attrs = simulate(**options).attrs
    versions = json.loads(attrs.pop("versions"))
    assert versions.keys() == {"esssim", "numpy", "scipy", "numba", "xarray", "python"}
    assert versions["numpy"] == np.__version__
    assert versions["esssim"] == es.__version__
    fingerprints = {attrs.pop("problem_fingerprint"), attrs.pop("theta0_fingerprint")}
    assert attrs == {
        "problem": "DiagonalLinearNetwork",
        "n_samples": 7,
        "n_params": 6,
        "scheme": "WithoutReplacement",
        "batch_size": 3,
        "step_size_start": 0.01,
        "step_size_stop": 0.02,
        "step_size_shape": "geometric",
        "n_steps": 200,
        "momentum": 0.5,
        "nesterov": 1,
        "label_noise": 0.1,
        "n_batches": 17,
        "seed": 5,
    }
    again = simulate(**options).attrs
    assert {again["problem_fingerprint"], again["theta0_fingerprint"]} == fingerprints
    other = es.simulate(
        es.DiagonalLinearNetwork(inputs, targets + 1e-15 + 1e-12),
        start + 1e-12,
        step_size=ramp,
        sampling=es.WithoutReplacement(3),
        n_steps=1,
        seed=5,
    ).attrs
    assert not {other["problem_fingerprint"], other["theta0_fingerprint"]} & fingerprints


# Divergence


@pytest.mark.parametrize("problem", ["compiled", "plain"])
def test_divergence_is_marked_with_its_step(problem: str) -> None:
    """e ← (1 − ηh)e = −2e: the gradient 3·2ᵗ passes 1e100 at t = ⌈log₂(1e100/3)⌉ = 331."""
    quadratic: es.Problem = es.Quadratic([[[3.0]]], [[0.0]])
    quadratic = quadratic if problem == "compiled" else Plain(quadratic)
    options = {"step_size": 1.0, "sampling": es.WithoutReplacement(1), "n_steps": 400, "seed": 0}
    step = int(np.ceil(np.log2(1e100 / 3)))
    for record_steps in (range(401), (0, 330, 331, 400), (0, 400), (0, 332)):
        trace = es.simulate(
            quadratic, np.ones(1), record=("loss", "theta", "sharpness"), record_steps=record_steps, **options
        )
        assert int(trace["diverged_at"][0]) == step == 331
        for variable in ("loss", "theta", "sharpness"):
            values = trace[variable].values.reshape(-1)
            assert_array_equal(np.isnan(values), trace["step"].values >= step)
    # A run that ends before is not marked.
    short = es.simulate(quadratic, np.ones(1), record=("theta",), record_steps=(330,), **options)
    assert int(short["diverged_at"][0]) == -1
    assert abs(float(short["theta"][0, 0, 0])) == 2.0**330


def thrown_out(name: str, step_size: float) -> xarray.Dataset:
    """Every step recorded, every statistic asked for: no overflow, no exception, no infinity in a record."""
    record = [key for key, statistic in STATISTICS.items() if not statistic.refuses(PROBLEMS[name])] + ["theta"]
    trace = simulate(name, step_size=step_size, n_steps=250, record_steps=range(251), record=record)
    assert not np.isinf(trace.to_array()).any()
    assert np.isfinite(trace["sharpness"].values[0, :1]).all()
    return trace


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "GELU perceptron"])
@pytest.mark.parametrize("step_size", [30.0, 1e60, 1e250])
def test_any_record_of_a_diverging_run_is_finite_or_undefined(name: str, step_size: float) -> None:
    trace = thrown_out(name, step_size)
    marked = int(trace["diverged_at"][0])
    assert 0 < marked < 250
    assert np.isnan(trace["loss"].values[0, marked:]).all()


@pytest.mark.parametrize("step_size", [30.0, 1e60, 1e250])
def test_gelu_units_that_a_step_takes_far_out_are_silent_and_no_divergence(step_size: float) -> None:
    """The first step takes every unit to where it is 0, and nothing moves from there."""
    trace = thrown_out("GELU perceptron", step_size)
    assert int(trace["diverged_at"][0]) == -1
    assert trace["loss"].values[0, -1] == pytest.approx((targets**2).mean() / 2)


def test_a_run_out_of_range_at_its_last_record_counts_as_diverged() -> None:
    trace = simulate(step_size=1e250, n_steps=1, record_steps=(0, 1), record=("loss",))
    assert int(trace["diverged_at"][0]) == 1
    assert_array_equal(np.isnan(trace["loss"][0]), [False, True])


def test_a_run_is_marked_where_a_record_finds_any_sample_out_of_range() -> None:
    """Sample 0 grows past 1e100 in a coordinate of its own, of which a batch of the other sample sees nothing."""
    problem = es.LinearRegression([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    options = dict(step_size=3.0, sampling=es.WithoutReplacement(1), n_steps=1200, record=("loss", "theta"), seed=1)
    trace = es.simulate(problem, [1.0, 1e-60], n_replicas=5, record_steps=range(1201), **options)
    for loss, theta, marked in zip(
        trace["loss"].values, trace["theta"].values, trace["diverged_at"].values, strict=True
    ):
        assert np.abs(theta[marked - 1]).max() <= 1e100 < 2 * np.abs(theta[marked - 1]).max()
        assert_array_equal(np.isnan(loss), np.arange(1201) >= marked)
    # A residual beyond the limit counts where the gradient is still below it.
    small = es.LinearRegression([[0.1]], [0.0])
    trace = es.simulate(small, [0.9e101], **options | {"n_steps": 3, "step_size": 300.0}, record_steps=range(4))
    assert int(trace["diverged_at"][0]) == 1
    assert_array_equal(np.isnan(trace["loss"][0]), [False, True, True, True])


def test_other_replicas_do_not_notice_a_divergence() -> None:
    calm = np.stack([start, start, start])
    wild = np.stack([start, 1e3 * start, start])
    options = {"step_size": 0.05, "sampling": es.WithReplacement(2), "n_steps": 300, "n_replicas": 3, "seed": 3}
    traces = [es.simulate(network, starts, record=("theta", "sharpness"), **options) for starts in (calm, wild)]
    assert_array_equal(traces[1]["diverged_at"] >= 0, [False, True, False])
    assert_array_equal(traces[0]["diverged_at"], [-1, -1, -1])
    for variable in ("theta", "sharpness"):
        assert_array_equal(traces[0][variable][[0, 2]], traces[1][variable][[0, 2]])
        assert np.isfinite(traces[1][variable][[0, 2]]).all()


# Gradient flow


def test_gradient_flow_of_a_regression_ends_at_the_nearest_interpolant() -> None:
    wide = es.LinearRegression(inputs[:2], targets[:2])
    for theta0 in (np.zeros(3), np.array([1.0, -2.0, 0.5])):
        expected = theta0 + np.linalg.pinv(inputs[:2]) @ (targets[:2] - inputs[:2] @ theta0)
        assert_allclose(es.gradient_flow(wide, theta0), expected, rtol=1e-8)
    tall = np.linalg.lstsq(inputs, targets)[0]
    assert_allclose(es.gradient_flow(PROBLEMS["regression"], np.zeros(3)), tall, rtol=1e-8)


@pytest.mark.parametrize("scale", [1e-75, 1.0, 1e75])
def test_gradient_flow_works_in_any_units(scale: float) -> None:
    problem = es.LinearRegression(scale * inputs, targets)
    tall = np.linalg.lstsq(inputs, targets)[0]
    assert_allclose(scale * es.gradient_flow(problem, np.zeros(3)), tall, rtol=1e-8)


@pytest.mark.parametrize("form", ["product", "difference 2", "difference 3"])
def test_gradient_flow_conserves_the_imbalance_and_interpolates(form: str) -> None:
    """u² − v²; w₊w₋ at depth 2; 1/w₊ + 1/w₋ at depth 3 (dw± = ∓Dw±^{D−1}s dt)."""
    solution = np.array([0.7, -0.2, 0.4])
    shape = {"form": form.split()[0], "depth": int(form.split()[-1]) if " " in form else 2}
    problem = es.DiagonalLinearNetwork(inputs, inputs @ solution, **shape)
    theta0 = np.array([1.0, 0.8, 1.2, 0.5, 0.9, 0.3])

    def conserved(theta: np.ndarray) -> np.ndarray:
        a, b = np.split(theta, 2)
        return {"product": a**2 - b**2, "difference 2": a * b, "difference 3": 1 / a + 1 / b}[form]

    theta = es.gradient_flow(problem, theta0)
    assert_allclose(conserved(theta), conserved(theta0), rtol=1e-8)
    assert_allclose(problem.effective_weights(theta), solution, rtol=1e-8)
    assert np.linalg.norm(problem.gradient(theta)) <= 1.01e-10 * np.linalg.norm(problem.gradient(theta0))


def test_gradient_flow_reports_a_missing_minimum() -> None:
    saddle = es.Quadratic([np.diag([1.0, -1.0])], np.zeros((1, 2)))
    with pytest.raises(RuntimeError, match="did not reach a minimum from theta0: it escapes to infinity"):
        es.gradient_flow(saddle, np.ones(2))
    assert_array_equal(es.gradient_flow(saddle, np.zeros(2)), [0.0, 0.0])


# Bit patterns: infinity, a quiet NaN, and a signalling NaN, the one whose subtraction makes numpy warn.
@pytest.mark.parametrize("garbage", [0x7FF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001])
def test_gradient_flow_does_not_depend_on_what_lies_in_fresh_memory(
    monkeypatch: pytest.MonkeyPatch, garbage: int
) -> None:
    expected = es.gradient_flow(network, start)
    plain = np.empty

    def poisoned(shape: Any, dtype: Any = float, **options: Any) -> np.ndarray:
        array = plain(shape, dtype, **options)
        if array.dtype == np.float64:
            array.view(np.uint64).fill(garbage)
        return array

    monkeypatch.setattr(np, "empty", poisoned)
    assert_array_equal(es.gradient_flow(network, start), expected)


# Files


@pytest.fixture(scope="module")
def trace() -> xarray.Dataset:
    """Two replicas, one of which diverges, so that there are NaNs to keep."""
    return es.simulate(
        network,
        np.stack([start, 1e3 * start]),
        step_size=es.Ramp(0.02, 0.05),
        sampling=es.WithReplacement(2),
        n_steps=100,
        n_replicas=2,
        record=("loss", "minibatch_sharpness", "theta"),
        n_records=6,
        n_batches=4,
        seed=1,
    )


def test_a_saved_trace_loads_unchanged(trace: xarray.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "trace.nc"
    es.save(trace, path)
    loaded = es.load(path)
    xarray.testing.assert_identical(loaded, trace)
    assert {name: variable.dtype for name, variable in loaded.variables.items()} == {
        name: variable.dtype for name, variable in trace.variables.items()
    }
    assert os.listdir(tmp_path) == ["trace.nc"]
    # A loaded trace saves again, over itself, and stays the same.
    es.save(loaded, path)
    xarray.testing.assert_identical(es.load(str(path)), trace)
    assert os.listdir(tmp_path) == ["trace.nc"]


def test_a_damaged_file_is_refused(trace: xarray.Dataset, tmp_path: Path) -> None:
    """One bit flipped anywhere, one byte more or less, a truncated file: one line that says so."""
    path = tmp_path / "trace.nc"
    es.save(trace, path)
    content = path.read_bytes()
    places = [0, len(content) - 1, *np.random.default_rng(0).integers(len(content), size=50)]
    damaged = [content[:k] + bytes([content[k] ^ (1 << k % 8)]) + content[k + 1 :] for k in places]
    damaged += [content[: int(kept * len(content))] for kept in (0.0, 0.001, 0.5, 0.99)]
    damaged += [content[:-1], content[1:], content + b"\0", content + content]
    for each in damaged:
        path.write_bytes(each)
        with pytest.raises(ValueError, match=r"^path must name a saved trace, '.*trace.nc' is none or is damaged: .*$"):
            es.load(path)
    path.write_bytes(content)
    assert es.load(path).identical(trace)


def test_what_is_no_trace_is_refused(trace: xarray.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "trace.nc"
    for missing in (path, tmp_path):
        with pytest.raises(ValueError, match="there is no file"):
            es.load(missing)
    path.write_text("step,loss\n0,1\n")
    with pytest.raises(ValueError, match="is none or is damaged"):
        es.load(path)
    trace.to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="is none or is damaged"):
        es.load(path)


def test_a_run_is_kept_where_the_environment_names_a_folder(
    trace: xarray.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[int] = []

    def compute() -> xarray.Dataset:
        computed.append(1)
        return trace

    monkeypatch.delenv("ESSSIM_CACHE", raising=False)
    for _ in range(2):
        assert store.kept("run", {"seed": 1}, compute) is trace
    assert len(computed) == 2
    monkeypatch.setenv("ESSSIM_CACHE", str(tmp_path / "new"))
    for _ in range(3):
        xarray.testing.assert_identical(store.kept("run", {"seed": 1}, compute), trace)
    assert len(computed) == 3
    store.kept("run", {"seed": 2}, compute)
    assert len(computed) == 4
    for path in (tmp_path / "new").glob("run-*.nc"):
        path.write_bytes(b"damaged")
    xarray.testing.assert_identical(store.kept("run", {"seed": 1}, compute), trace)
    assert len(computed) == 5
    monkeypatch.setattr("esssim._source.digest", lambda: "other code")
    store.kept("run", {"seed": 1}, compute)
    assert len(computed) == 6


def test_other_readers_of_netcdf_read_a_saved_trace(trace: xarray.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "trace.nc"
    es.save(trace, path)
    with xarray.open_dataset(path, engine="h5netcdf") as opened:
        xarray.testing.assert_identical(opened.load(), trace)


def test_a_path_that_cannot_be_written_is_named(
    trace: xarray.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere" / "trace.nc", tmp_path / "file" / "trace.nc"):
        with pytest.raises(ValueError, match=r"path must lie in a writable folder, got '.*trace.nc': "):
            es.save(trace, path)
    with pytest.raises(ValueError, match="path must name a file, got the folder"):
        es.save(trace, tmp_path)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    with pytest.raises(ValueError, match=r"path must lie in a writable folder, got '.*trace.nc': Permission denied"):
        es.save(trace, tmp_path / "trace.nc")
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    trace: xarray.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "trace.nc"
    es.save(trace, path)
    before = path.read_bytes()

    def full(self: xarray.Dataset, target: Path, **_: Any) -> None:
        target.write_bytes(b"half of")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xarray.Dataset, "to_netcdf", full)
    with pytest.raises(OSError, match="No space left"):
        es.save(trace, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["trace.nc"]


def test_an_entry_of_a_gradient_that_is_no_number_is_not_forgotten_for_the_next_one() -> None:
    """After one step a·θ overflows with both signs in the first entry; the second one is 0."""
    hessians = [np.diag([1e60, 1.0]), np.diag([-1e60, 1.0])]
    trace = es.simulate(
        es.Quadratic(hessians, [[0.0, 0.0], [1e39, 0.0]]), [0.0, 0.0], step_size=1e155,
        sampling=es.WithoutReplacement(2), n_steps=9, record=("loss",), record_steps=(0, 9), seed=0,
    )  # fmt: skip
    assert int(trace["diverged_at"][0]) == 1
    for gradient, bounded in (
        ([np.nan, 1.0], False),
        ([1.0, np.nan], False),
        ([1e100, -1e100], True),
        ([2e100], False),
    ):
        assert is_bounded(np.array(gradient)) == bounded
