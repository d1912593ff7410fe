"""Moments of SGD on quadratics against enumeration of every batch, exact fractions and ensembles."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

import esssim as es
from esssim.moments import stationary
from esssim.moments.modes import quadratic_modes
from esssim.stability import critical_step_size
from esssim.testing import Case, strategies
from tests import oracles

OPTIMISERS = {"plain": (0.0, False), "heavy ball": (0.6, False), "Nesterov": (0.6, True)}
SCHEMES = (es.WithoutReplacement, es.WithReplacement)
rng = np.random.default_rng(20260404)


def quadratic(n: int, p: int, rank: int) -> es.Quadratic:
    factors = rng.standard_normal((n, p, rank))
    return es.Quadratic(factors @ factors.transpose(0, 2, 1), rng.standard_normal((n, p)))


def indefinite(n: int, p: int) -> es.Quadratic:
    matrices = rng.standard_normal((n, p, p))
    return es.Quadratic(matrices + matrices.transpose(0, 2, 1) + 3 * np.eye(p), rng.standard_normal((n, p)))


def regression(n: int, d: int) -> es.LinearRegression:
    return es.LinearRegression(rng.standard_normal((n, d)), rng.standard_normal(n))


def embedded(problem: es.Quadratic, p: int) -> es.Quadratic:
    """The same in a random subspace of p dimensions."""
    frame = np.linalg.qr(rng.standard_normal((p, problem.n_params)))[0]
    return es.Quadratic(frame @ problem.hessians @ frame.T, problem.minimizers @ frame.T)


PROBLEMS: dict[str, es.Problem] = {
    "regression n > p": regression(5, 3),
    "regression n < p": regression(3, 5),
    "regression with a kernel and noise": es.LinearRegression(
        rng.standard_normal((5, 2)) @ rng.standard_normal((2, 4)), rng.standard_normal(5)
    ),
    "regression of one parameter": regression(4, 1),
    "quadratic": quadratic(4, 3, 2),
    "quadratic with a kernel": embedded(quadratic(4, 3, 2), 5),
    "quadratic of indefinite samples": indefinite(5, 3),
    "quadratic that the last parameter does not enter": es.Quadratic(
        np.pad(quadratic(4, 2, 1).hessians, ((0, 0), (0, 1), (0, 1))), rng.standard_normal((4, 3))
    ),
    "quadratic of equal Hessians": es.Quadratic(
        np.tile(np.diag([0.5, 1.0, 2.0]), (4, 1, 1)), rng.standard_normal((4, 3))
    ),
}


def affine_steps(
    problem: es.Problem, sampling: es.Sampling, eta: float, beta: float, nesterov: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(probabilities, T_B, t_B): one step (θ, ηv) ↦ T_B (θ, ηv) + t_B for every batch."""
    p = problem.n_params
    batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
    hessians = oracles.batch_hessians(problem, np.zeros(p), batches)
    constants = problem.sample_gradients(np.zeros(p), np.arange(problem.n_samples))[batches].mean(axis=1)
    matrices, offsets = [], []
    for hessian, constant in zip(hessians * eta, constants * eta, strict=True):
        gradient = np.hstack((hessian, np.zeros((p, p))))
        velocity = np.hstack((hessian, beta * np.eye(p)))
        move, shift = (gradient + beta * velocity, (1 + beta) * constant) if nesterov else (velocity, constant)
        matrices.append(np.vstack((np.hstack((np.eye(p), np.zeros((p, p)))) - move, velocity)))
        offsets.append(np.concatenate((-shift, constant)))
    return probabilities, np.array(matrices), np.array(offsets)


def enumerated_moments(
    steps: tuple[np.ndarray, np.ndarray, np.ndarray], theta0: np.ndarray, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of θ after n_steps by the law of total covariance over all batches."""
    probabilities, matrices, offsets = steps
    p = len(theta0)
    mean, covariance = np.concatenate((theta0, np.zeros(p))), np.zeros((2 * p, 2 * p))
    for _ in range(n_steps):
        ends = matrices @ mean + offsets
        mean = probabilities @ ends
        spread = np.einsum("m,mi,mj->ij", probabilities, ends - mean, ends - mean)
        covariance = np.einsum("m,mij,jk,mlk->il", probabilities, matrices, covariance, matrices) + spread
    return mean[:p], covariance[:p, :p]


# The course of the moments


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("b", [1, 2])
def test_moments_are_those_of_every_batch_enumerated(
    name: str, optimiser: tuple[float, bool], scheme: type[es.Sampling], b: int
) -> None:
    problem, sampling, (beta, nesterov) = PROBLEMS[name], scheme(b), optimiser
    theta0, eta = rng.standard_normal(problem.n_params), 0.05
    trace = es.moments.evolve(
        problem, theta0, step_size=eta, sampling=sampling, n_steps=30, momentum=beta, nesterov=nesterov,
        record_steps=[0, 1, 7, 30],
    )  # fmt: skip
    steps = affine_steps(problem, sampling, eta, beta, nesterov)
    assert_array_equal(trace["step"], [0, 1, 7, 30])
    for record, step in enumerate([0, 1, 7, 30]):
        mean, covariance = enumerated_moments(steps, theta0, step)
        found = trace.isel(record=record)
        assert_allclose(found["mean"], mean, rtol=0, atol=1e-12 * np.abs(mean).max())
        assert_allclose(found["covariance"], covariance, rtol=0, atol=1e-12 * np.abs(covariance).max())
        loss = float(problem.loss(mean)) + np.trace(problem.hessian(mean) @ covariance) / 2
        assert float(found["loss"]) == pytest.approx(loss, rel=1e-12)
    assert int(trace["diverged_at"]) == -1


@given(strategies.sampled_cases(kinds=("quadratic", "linear regression")), st.sampled_from([*OPTIMISERS.values()]))
def test_moments_of_nasty_problems(drawn: tuple[Case, es.Sampling], optimiser: tuple[float, bool]) -> None:
    (case, sampling), (beta, nesterov) = drawn, optimiser
    if isinstance(sampling, es.Reshuffled):
        return
    eta = 0.1 / (case.hessian_scale or 1.0)
    trace = es.moments.evolve(
        case.problem, case.theta, step_size=eta, sampling=sampling, n_steps=6, momentum=beta, nesterov=nesterov,
        n_records=1,
    ).isel(record=0)  # fmt: skip
    mean, covariance = enumerated_moments(affine_steps(case.problem, sampling, eta, beta, nesterov), case.theta, 6)
    reach = np.abs(case.theta).max() + np.abs(eta * case.problem.sample_gradients(case.theta, case.everyone)).max()
    assert_allclose(trace["mean"], mean, rtol=0, atol=1e-12 * reach)
    assert_allclose(trace["covariance"], covariance, rtol=0, atol=1e-12 * reach**2)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_moments_of_two_steps_in_exact_fractions(scheme: type[es.Sampling]) -> None:
    """Every sequence of two batches, in rational arithmetic: no recursion, no moment identity."""
    inputs, targets = [[1, 2], [3, -1], [0, 1], [2, 2]], [1, 0, -2, 3]
    eta, sampling, theta0 = Fraction(1, 8), scheme(2), [Fraction(1), Fraction(-1, 2)]
    law = oracles.law_of_batches(4, sampling)
    ends, weights = [], []
    for first, second in itertools.product(law, law):
        theta = list(theta0)
        for batch in (first, second):
            residuals = [sum(x * t for x, t in zip(inputs[i], theta, strict=True)) - targets[i] for i in batch]
            gradient = [sum(r * inputs[i][k] for r, i in zip(residuals, batch, strict=True)) / 2 for k in range(2)]
            theta = [t - eta * g for t, g in zip(theta, gradient, strict=True)]
        ends.append(theta)
        weights.append(law[first] * law[second])
    mean = [sum(w * e[k] for w, e in zip(weights, ends, strict=True)) for k in range(2)]
    covariance = [
        [sum(w * (e[j] - mean[j]) * (e[k] - mean[k]) for w, e in zip(weights, ends, strict=True)) for k in range(2)]
        for j in range(2)
    ]
    losses = [sum((x[0] * e[0] + x[1] * e[1] - y) ** 2 for x, y in zip(inputs, targets, strict=True)) / 8 for e in ends]
    problem = es.LinearRegression(inputs, targets)
    trace = es.moments.evolve(
        problem, [1.0, -0.5], step_size=0.125, sampling=sampling, n_steps=2, n_records=1
    ).isel(record=0)  # fmt: skip
    assert_allclose(trace["mean"], np.array(mean, dtype=float), rtol=1e-14)
    assert_allclose(trace["covariance"], np.array(covariance, dtype=float), rtol=1e-13)
    assert float(trace["loss"]) == pytest.approx(
        float(sum(w * x for w, x in zip(weights, losses, strict=True))), rel=1e-14
    )


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
def test_moments_of_a_ramp_with_label_noise(optimiser: tuple[float, bool]) -> None:
    """Label noise ε·z with z = ±1 has the moments of the normal one: enumerate batches and signs."""
    problem, sampling, (beta, nesterov), noise = PROBLEMS["regression n > p"], es.WithoutReplacement(2), optimiser, 0.4
    ramp, n_steps, p = es.Ramp(0.02, 0.2), 5, problem.n_params
    batches, _ = oracles.all_batches(problem.n_samples, sampling)
    signs = list(itertools.product((-1.0, 1.0), repeat=2))
    mean, covariance = np.concatenate((np.ones(p), np.zeros(p))), np.zeros((2 * p, 2 * p))
    for step in range(n_steps):
        eta = 0.02 + 0.18 * step / n_steps
        matrices, ends = [], []
        for batch, sign in itertools.product(batches, signs):
            rows = problem.inputs[batch]
            hessian, constant = rows.T @ rows / 2, -rows.T @ (problem.targets[batch] + noise * np.array(sign)) / 2
            velocity = np.hstack((hessian, beta * np.eye(p)))
            gradient = np.hstack((hessian, np.zeros((p, p))))
            move, shift = (gradient + beta * velocity, (1 + beta) * constant) if nesterov else (velocity, constant)
            matrices.append(np.vstack((np.hstack((np.eye(p), np.zeros((p, p)))) - eta * move, velocity)))
            ends.append(matrices[-1] @ mean + np.concatenate((-eta * shift, constant)))
        mean = np.mean(ends, axis=0)
        covariance = np.mean([m @ covariance @ m.T for m in matrices], axis=0) + np.cov(np.array(ends).T, bias=True)
    trace = es.moments.evolve(
        problem, np.ones(p), step_size=ramp, sampling=sampling, n_steps=n_steps, momentum=beta, nesterov=nesterov,
        label_noise=noise, n_records=2,
    )  # fmt: skip
    assert_allclose(trace["mean"][-1], mean[:p], rtol=1e-12)
    assert_allclose(trace["covariance"][-1], covariance[:p, :p], rtol=1e-11)
    assert_allclose(trace["step_size"], [0.02, 0.2])
    assert trace.attrs["label_noise"] == 0.4


def test_parameters_in_the_kernel_stay_where_they_are() -> None:
    problem = PROBLEMS["regression n < p"]
    kernel = np.linalg.svd(problem.inputs)[2][3:]
    theta0 = rng.standard_normal(5)
    trace = es.moments.evolve(problem, theta0, step_size=0.05, sampling=es.WithReplacement(1), n_steps=50, momentum=0.5)
    assert_allclose(trace["mean"].values @ kernel.T, np.tile(kernel @ theta0, (len(trace["step"]), 1)), atol=1e-14)
    covariance = trace["covariance"].values[-1]
    assert np.trace(covariance) > 0
    assert np.abs(kernel @ covariance).max() < 1e-14 * np.trace(covariance)


@pytest.mark.parametrize(
    ("problem", "rank"),
    [
        (PROBLEMS["regression n > p"], 3),
        (PROBLEMS["regression n < p"], 3),
        (PROBLEMS["regression with a kernel and noise"], 2),
        (PROBLEMS["quadratic with a kernel"], 3),
        (PROBLEMS["quadratic that the last parameter does not enter"], 2),
        (es.LinearRegression(np.zeros((3, 2)), np.ones(3)), 0),
        (es.Quadratic(np.zeros((3, 2, 2)), np.ones((3, 2))), 0),
        (es.Quadratic([np.diag([1.0, 1.0]), np.diag([1.0, -1.0])], np.ones((2, 2))), 2),
    ],
)
def test_only_directions_that_some_sample_moves_are_followed(problem: es.Problem, rank: int) -> None:
    modes = quadratic_modes(problem, es.WithReplacement(1), 0.0)
    assert modes.basis.shape == (problem.n_params, rank)
    hessians = problem.sample_hessians(np.zeros(problem.n_params), np.arange(problem.n_samples))
    others = np.eye(problem.n_params) - modes.basis @ modes.basis.T
    assert np.abs(hessians @ others).max() < 1e-14 * (np.abs(hessians).max() or 1)


def test_a_run_that_leaves_the_range_of_doubles_says_where() -> None:
    problem = es.LinearRegression([[1.0], [2.0]], [1.0, -1.0])
    run = dict(step_size=1e3, sampling=es.WithoutReplacement(1), n_steps=200, record_steps=[0, 10, 100, 200])
    trace = es.moments.evolve(problem, [0.5], **run)
    steps = affine_steps(problem, run["sampling"], 1e3, 0.0, False)
    diverged_at = int(trace["diverged_at"])
    assert np.isfinite(enumerated_moments(steps, np.array([0.5]), diverged_at - 1)[1]).all()
    with np.errstate(all="ignore"):
        assert not np.isfinite(enumerated_moments(steps, np.array([0.5]), diverged_at)[1]).all()
    assert_array_equal(np.isnan(trace["loss"]), [False, False, True, True])
    assert_array_equal(np.isnan(trace["mean"][:, 0]), [False, False, True, True])


def test_a_loss_that_overflows_before_the_moments_is_marked() -> None:
    """e ← −2e with h = 1e30: the square of e = 2ᵗ overflows at t = 512, and the loss ½·1e30·4ᵗ at t = 463."""
    course = es.moments.evolve(
        es.Quadratic([[[1e30]]], [[0.0]]), [1.0], step_size=3e-30, sampling=es.WithoutReplacement(1), n_steps=600,
        record_steps=range(601),
    )  # fmt: skip
    step = math.ceil((math.log2(2.0**1023) + 1 - math.log2(0.5e30)) / 2)
    assert int(course["diverged_at"]) == step == 463
    for name in ("loss", "mean", "covariance"):
        assert_array_equal(np.isnan(course[name]).any(axis=tuple(range(1, course[name].ndim))), np.arange(601) >= step)


def test_moments_where_nothing_moves() -> None:
    trace = es.moments.evolve(
        es.LinearRegression(np.zeros((3, 2)), np.ones(3)), [1.0, 2.0], step_size=1.0, sampling=es.WithoutReplacement(1), n_steps=3
    )  # fmt: skip
    assert_array_equal(trace["mean"], np.tile([1.0, 2.0], (4, 1)))
    assert_array_equal(trace["covariance"], np.zeros((4, 2, 2)))
    assert_array_equal(trace["loss"], np.full(4, 0.5))


def test_provenance_is_in_the_attributes() -> None:
    problem = PROBLEMS["quadratic"]
    trace = es.moments.evolve(
        problem, np.zeros(3), step_size=0.1, sampling=es.WithReplacement(2), n_steps=1000, momentum=0.5, nesterov=True
    )
    assert trace.attrs == {
        "problem": "Quadratic", "problem_fingerprint": problem.fingerprint, "scheme": "WithReplacement",
        "batch_size": 2, "momentum": 0.5, "nesterov": 1, "label_noise": 0.0,
    }  # fmt: skip
    assert trace["covariance"].dims == ("record", "parameter", "other_parameter")
    assert len(trace["step"]) == 100
    assert_allclose(trace["step_size"], 0.1)


# The stationary covariance


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "regression n < p"])
@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dense_rank", [0, 12])
def test_stationary_covariance_solves_the_enumerated_equation(
    name: str,
    optimiser: tuple[float, bool],
    scheme: type[es.Sampling],
    dense_rank: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stationary, "DENSE_RANK", dense_rank)
    problem, sampling, (beta, nesterov) = PROBLEMS[name], scheme(2), optimiser
    p = problem.n_params
    eta = 0.7 * critical_step_size(problem, np.zeros(p), sampling, momentum=beta, nesterov=nesterov)
    found = es.moments.stationary_covariance(
        problem, step_size=eta, sampling=sampling, momentum=beta, nesterov=nesterov
    )
    # On the range of H, with the state (θ, ηv): S = E[T_B S T_Bᵀ] + Cov(T_B m* + t_B) as one dense linear equation.
    probabilities, matrices, offsets = affine_steps(problem, sampling, eta, beta, nesterov)
    hessian = problem.hessian(np.zeros(p))
    values, vectors = np.linalg.eigh(hessian)
    keep = values > 1e-10 * values[-1]
    basis = np.kron(np.eye(2), vectors[:, keep])
    minimum = np.concatenate((-np.linalg.pinv(hessian) @ problem.gradient(np.zeros(p)), np.zeros(p)))
    kicks = (matrices @ minimum + offsets - minimum) @ basis
    reduced = basis.T @ matrices @ basis
    size = reduced.shape[1]
    operator = np.einsum("m,mij,mkl->ikjl", probabilities, reduced, reduced).reshape(size**2, size**2)
    noise = np.einsum("m,mi,mj->ij", probabilities, kicks, kicks)
    state = np.linalg.solve(np.eye(size**2) - operator, noise.ravel()).reshape(size, size)
    expected = (basis @ state @ basis.T)[:p, :p]
    assert_allclose(found, expected, rtol=0, atol=1e-11 * np.abs(expected).max())
    assert_array_equal(found, found.T)


def test_stationary_covariance_is_where_the_moments_settle() -> None:
    for nesterov, label_noise in itertools.product((False, True), (0.0, 0.3)):
        problem, sampling = PROBLEMS["regression n > p"], es.WithReplacement(2)
        run = dict(step_size=0.1, sampling=sampling, momentum=0.5, nesterov=nesterov, label_noise=label_noise)
        late = es.moments.evolve(problem, np.zeros(3), n_steps=3000, n_records=1, **run).isel(record=0)
        assert_allclose(es.moments.stationary_covariance(problem, **run), late["covariance"], rtol=1e-10)


def test_stationary_covariance_in_one_dimension_in_closed_form() -> None:
    """η²c·var/(2ηa − η²(a² + c·Var h)) with h = xᵢ², by hand."""
    problem, sampling, eta = es.LinearRegression([[1.0], [2.0], [3.0]], [1.0, 0.0, 2.0]), es.WithoutReplacement(2), 0.1
    c, h = 1 / 4, np.array([1.0, 4.0, 9.0])
    minimum = 7 / 14
    noise = (np.array([1.0, 2.0, 3.0]) * (np.array([1.0, 2.0, 3.0]) * minimum - np.array([1.0, 0.0, 2.0]))).var()
    expected = eta**2 * c * noise / (2 * eta * h.mean() - eta**2 * (h.mean() ** 2 + c * h.var()))
    assert es.moments.stationary_covariance(problem, step_size=eta, sampling=sampling)[0, 0] == pytest.approx(
        expected, rel=1e-14
    )


@pytest.mark.parametrize("momentum", [0.0, 0.95])
def test_stationary_covariance_of_many_parameters(momentum: float) -> None:
    """Matrix-free at rank 40 (MINRES with strong momentum): one exact step leaves it where it is."""
    table = es.data.gaussian(80, 40, seed=1, noise=0.5)
    problem, sampling, p = es.LinearRegression(table.inputs, table.targets), es.WithoutReplacement(8), 40
    eta = 0.9 * critical_step_size(problem, np.zeros(p), sampling, momentum=momentum)
    sigma = es.moments.stationary_covariance(problem, step_size=eta, sampling=sampling, momentum=momentum)
    assert np.linalg.eigvalsh(sigma)[0] > 0
    hessian = table.inputs.T @ table.inputs / 80
    residuals = table.inputs @ np.linalg.solve(hessian, table.inputs.T @ table.targets / 80) - table.targets
    c = sampling.variance_coefficient(80)

    def noise(covariance: np.ndarray) -> np.ndarray:
        weights = np.einsum("ni,ij,nj->n", table.inputs, covariance, table.inputs) + residuals**2
        return c * ((table.inputs.T * weights) @ table.inputs / 80 - hessian @ covariance @ hessian)

    identity = np.eye(p)
    step = np.block([[identity - eta * hessian, -eta * momentum * identity], [hessian, momentum * identity]])
    gain = np.vstack((-eta * identity, identity))
    # The covariance of θ alone fixes that of (θ, v): sum the response to the noise it causes.
    state = kick = gain @ noise(sigma) @ gain.T
    for _ in range(12):
        state, step = state + step @ state @ step.T, step @ step
    assert_allclose(state[:p, :p], sigma, rtol=0, atol=1e-9 * np.abs(sigma).max())
    assert kick.shape == (80, 80)


def test_there_is_no_noise_at_an_interpolating_minimum() -> None:
    problem = es.LinearRegression([[1.0, 2.0], [0.5, -1.0]], [1.0, 1.0])
    assert_allclose(
        es.moments.stationary_covariance(problem, step_size=0.1, sampling=es.WithReplacement(1)), 0, atol=1e-28
    )
    nothing = es.LinearRegression(np.zeros((2, 3)), [1.0, 2.0])
    assert_array_equal(
        es.moments.stationary_covariance(nothing, step_size=1.0, sampling=es.WithReplacement(1)), np.zeros((3, 3))
    )
    full = es.moments.stationary_covariance(PROBLEMS["quadratic"], step_size=0.1, sampling=es.WithoutReplacement(4))
    assert_allclose(full, 0, atol=1e-28)


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS.keys())
@pytest.mark.parametrize("b", [2, 4, 5])
def test_there_is_no_stationary_state_at_or_above_the_edge(optimiser: tuple[float, bool], b: int) -> None:
    problem, sampling, (beta, nesterov) = PROBLEMS["regression n > p"], es.WithoutReplacement(b), optimiser
    critical = critical_step_size(problem, np.zeros(3), sampling, momentum=beta, nesterov=nesterov)
    run = dict(sampling=sampling, momentum=beta, nesterov=nesterov)
    # Far above the edge the noise put back is below 1 again, which makes nothing stable (b = 4).
    for factor in (1.0, 1 + 1e-6, 1.5, 3.0, 10.0):
        with pytest.raises(
            ValueError, match=rf"step_size must be below the critical step size {critical:.6g}.*singular"
        ):
            es.moments.stationary_covariance(problem, step_size=factor * critical, **run)
    almost = es.moments.stationary_covariance(problem, step_size=(1 - 1e-6) * critical, **run)
    below = es.moments.stationary_covariance(problem, step_size=(1 - 2e-6) * critical, **run)
    # The covariance has a simple pole at the edge; without noise (b = n) there is none.
    assert np.trace(almost) == pytest.approx(2 * np.trace(below), rel=1e-4) if b < 5 else np.trace(almost) < 1e-15


@pytest.mark.parametrize("unit", [1e-150, 1e-3, 1e3, 1e150])
def test_moments_do_not_depend_on_the_unit_of_the_data(unit: float) -> None:
    """Inputs and targets times u, η over u²: the same θ; the loss u² times as large, the critical step size u⁻² times."""
    problem, sampling, eta = PROBLEMS["regression n > p"], es.WithReplacement(2), 0.1
    other = es.LinearRegression(problem.inputs * unit, problem.targets * unit)
    options = {"sampling": sampling, "momentum": 0.5, "nesterov": True}
    here = es.moments.stationary_covariance(problem, step_size=eta, label_noise=0.3, **options)
    there = es.moments.stationary_covariance(other, step_size=eta / unit / unit, label_noise=0.3 * unit, **options)
    assert_allclose(there, here, rtol=1e-11)
    runs = [
        es.moments.evolve(p, np.ones(3), step_size=eta / u / u, n_steps=9, n_records=1, label_noise=0.3 * u, **options)
        for p, u in ((problem, 1.0), (other, unit))
    ]
    assert_allclose(runs[1]["covariance"], runs[0]["covariance"], rtol=1e-11)
    assert_allclose(runs[1]["loss"] / unit / unit, runs[0]["loss"], rtol=1e-11)
    critical = critical_step_size(problem, np.zeros(3), sampling, momentum=0.5, nesterov=True)
    with pytest.raises(ValueError, match=re.escape(f"critical step size {critical / unit / unit:.6g}, where")):
        es.moments.stationary_covariance(other, step_size=2 * critical / unit / unit, **options)


def test_an_unsolved_covariance_equation_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stationary, "DENSE_RANK", 0)
    monkeypatch.setattr(stationary, "cg", lambda operator, right, rtol: (0.5 * right, 1))
    with pytest.raises(
        RuntimeError, match=r"the covariance equation was solved only to a residual of [1-9].[0-9]e-0[1-3]"
    ):
        es.moments.stationary_covariance(PROBLEMS["quadratic"], step_size=0.01, sampling=es.WithReplacement(1))


def test_a_solution_that_is_not_yet_good_enough_is_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, run = PROBLEMS["quadratic"], {"step_size": 0.05, "sampling": es.WithReplacement(1)}
    expected = es.moments.stationary_covariance(problem, **run)
    monkeypatch.setattr(stationary, "DENSE_RANK", 0)
    exact, calls = stationary.cg, []

    def careless(operator: object, right: np.ndarray, rtol: float) -> tuple[np.ndarray, int]:
        calls.append(rtol)
        return 0.9999 * exact(operator, right, rtol=rtol)[0], 0

    monkeypatch.setattr(stationary, "cg", careless)
    assert_allclose(
        es.moments.stationary_covariance(problem, **run), expected, rtol=0, atol=1e-11 * np.abs(expected).max()
    )
    assert 2 <= len(calls) <= 5


def test_a_minimum_far_away_is_found() -> None:
    """Rounding leaves a mean gradient there, which must not be taken for a slope without end."""
    inputs, far = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 0.0]]), np.array([1e8 / 3, 2e8 / 7, 0.0])
    problem = es.LinearRegression(inputs, inputs @ far)
    covariance = es.moments.stationary_covariance(problem, step_size=0.1, sampling=es.WithReplacement(1))
    assert np.abs(covariance).max() < 1e-13


def test_a_minimum_at_the_origin_is_found() -> None:
    """Neither the size of θ* nor the smallest gradient says what rounding leaves of the mean gradient."""
    inputs, targets = rng.standard_normal((6, 2)), rng.standard_normal(6)
    inputs[0] = 0.0
    targets -= inputs @ np.linalg.lstsq(inputs, targets, rcond=None)[0]
    problem, sampling = es.LinearRegression(inputs, targets), es.WithReplacement(1)
    found = es.moments.stationary_covariance(problem, step_size=0.01, sampling=sampling)
    moved = es.LinearRegression(inputs, targets + inputs @ np.ones(2))
    assert_allclose(es.moments.stationary_covariance(moved, step_size=0.01, sampling=sampling), found, rtol=1e-9)


NETWORK = es.DiagonalLinearNetwork([[1.0, 2.0]], [1.0])
SADDLE = es.Quadratic(np.array([np.diag([1.0, -1.0])] * 2), np.zeros((2, 2)))
CANCELLING = es.Quadratic(np.array([np.diag([1.0, 1.0]), np.diag([1.0, -1.0])]), np.zeros((2, 2)))
UNBOUNDED = es.Quadratic(np.array([np.diag([1.0, 1.0]), np.diag([1.0, -1.0])]), [[0.0, 1.0], [0.0, -1.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"problem": NETWORK},
            "problem must be a Quadratic or a LinearRegression for moments, got DiagonalLinearNetwork",
        ),
        ({"sampling": es.Reshuffled(1)}, "sampling must draw independent batches for moments .*, got Reshuffled"),
        ({"sampling": es.WithoutReplacement(9)}, "batch_size must be between 1 and n_samples = 5, got 9"),
        ({"step_size": 0.0}, "(step_size|start) must be a finite number above 0, got 0.0"),
        ({"step_size": np.nan}, "(step_size|start) must be a finite number above 0, got nan"),
        ({"momentum": 1.0}, "momentum must be a finite number at least 0 and below 1, got 1.0"),
        ({"label_noise": -1.0}, "label_noise must be a finite number at least 0, got -1.0"),
        (
            {"problem": PROBLEMS["quadratic"], "label_noise": 0.1},
            r"label_noise must be 0 without targets \(Quadratic\), got 0.1",
        ),
    ],
)
@pytest.mark.parametrize("function", ["evolve", "stationary_covariance"])
def test_bad_arguments_are_named(function: str, change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "problem": PROBLEMS["regression n > p"],
        "step_size": 0.1,
        "sampling": es.WithoutReplacement(2),
    }
    arguments |= change
    problem = arguments.pop("problem")
    if function == "evolve":
        arguments |= {"theta0": np.zeros(3), "n_steps": 3}
    with pytest.raises(ValueError, match=message):
        getattr(es.moments, function)(problem, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"theta0": [1.0]}, r"theta0 must have shape \(3,\), got \(1,\)"),
        ({"theta0": [1.0, np.inf, 0.0]}, "theta0 must be finite"),
        ({"n_steps": 0}, "n_steps must be an integer of at least 1, got 0"),
        ({"n_records": 0}, "n_records must be an integer of at least 1, got 0"),
        ({"record_steps": [5, 2]}, "record_steps must be increasing integers"),
        ({"record_steps": [0, 11]}, "record_steps must lie between 0 and n_steps = 10, got 0 to 11"),
    ],
)
def test_bad_arguments_of_evolve_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"theta0": np.zeros(3), "step_size": 0.1, "sampling": es.WithoutReplacement(2), "n_steps": 10} | change
    with pytest.raises(ValueError, match=message):
        es.moments.evolve(PROBLEMS["regression n > p"], **arguments)


@pytest.mark.parametrize(
    ("problem", "sampling", "message"),
    [
        (SADDLE, es.WithReplacement(1), "problem must have a minimum at which SGD can settle: H has the eigenvalue -1"),
        (
            es.Quadratic([[[1.0]], [[-1.0]]], [[0.0], [0.0]]),
            es.WithoutReplacement(2),
            "problem must have a minimum at which SGD can settle: .*positive eigenvalue",
        ),
        (CANCELLING, es.WithReplacement(1), "problem must have a minimum at which SGD can settle: along a direction"),
        (
            UNBOUNDED,
            es.WithoutReplacement(2),
            "problem must have a minimum: along the kernel of H the mean gradient is 1 ",
        ),
    ],
)
def test_there_is_no_stationary_state_without_a_minimum(
    problem: es.Problem, sampling: es.Sampling, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        es.moments.stationary_covariance(problem, step_size=0.1, sampling=sampling)


# An ensemble


def test_moments_agree_with_ten_thousand_replicas() -> None:
    table, sampling, size = es.data.gaussian(12, 3, seed=2, noise=0.5), es.WithoutReplacement(2), 10_000
    problem = es.LinearRegression(table.inputs, table.targets)
    run = dict(
        step_size=0.1, sampling=sampling, n_steps=15, momentum=0.6, nesterov=True, label_noise=0.1, record_steps=[15]
    )
    exact = es.moments.evolve(problem, np.ones(3), **run).isel(record=0)
    ensemble = es.simulate(problem, np.ones(3), n_replicas=size, record=("theta", "loss"), seed=5, **run)
    thetas, losses = ensemble["theta"].values[:, 0], ensemble["loss"].values[:, 0]
    mean, covariance = exact["mean"].values, exact["covariance"].values
    centred = thetas - mean
    products = np.stack([centred[:, j] * centred[:, k] for j in range(3) for k in range(j + 1)], axis=1)
    expected = np.array([covariance[j, k] for j in range(3) for k in range(j + 1)])
    observed = np.column_stack((thetas, products, losses))
    scores = (observed.mean(axis=0) - np.concatenate((mean, expected, [float(exact["loss"])]))) / (
        observed.std(axis=0) / np.sqrt(size)
    )
    # Ten numbers at once: 99.9 % by Bonferroni.
    assert np.abs(scores).max() < norm.isf(0.001 / 2 / len(scores))


class OwnQuadratic(es.Quadratic):
    """A subclass whose gradients may be anything."""

    added: Callable[[np.ndarray], np.ndarray] = staticmethod(lambda x: 0.0 * x)

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        gradients = np.array(super().sample_gradients(theta, indices))
        gradients[..., 2] += np.where(indices == 1, self.added(theta[..., 2:]), 0.0)
        return gradients


def test_a_subclass_has_moments_as_long_as_it_is_quadratic() -> None:
    """One sample and one coordinate that bend, by a size that no other entry hides, are enough to be refused."""
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((4, 3, 3))
    options = dict(step_size=0.05, sampling=es.WithoutReplacement(2), n_steps=5)
    arguments = (matrices @ matrices.transpose(0, 2, 1), rng.standard_normal((4, 3)))
    expected = es.moments.evolve(es.Quadratic(*arguments), np.ones(3), **options)
    own = OwnQuadratic(*arguments)
    assert_allclose(es.moments.evolve(own, np.ones(3), **options)["loss"], expected["loss"], rtol=1e-14)
    bend = float(np.random.default_rng(0).standard_normal(3)[2]) ** 2
    for size, refused in ((1.0, True), (1e-6 / bend, True), (1e-13 / bend, False)):
        own.added = lambda x, size=size: size * x[..., 0] ** 2
        if not refused:
            es.moments.evolve(own, np.ones(3), **options)
            continue
        with pytest.raises(ValueError, match="sample_gradients is not affine in theta for sample 1"):
            es.moments.evolve(own, np.ones(3), **options)
