"""RMSProp and Adam on mini-batches: the steps of torch, replicas, and statistics in the metric of the preconditioner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import esssim as es
from tests import oracles
from tests.plain_loops import Network, both_loops

rng = np.random.default_rng(3)
INPUTS, TARGETS = rng.standard_normal((6, 3)), rng.standard_normal(6)
NETWORK = es.DiagonalLinearNetwork(INPUTS, TARGETS)
START = np.linspace(0.3, 1.1, 6)
PAIRS = es.WithoutReplacement(2)
METHODS = (es.RMSProp(), es.RMSProp(decay=0.9, epsilon=1e-2), es.Adam(), es.Adam(decay=0.8, epsilon=1e-3, momentum=0.5))
RUN = {"step_size": es.Ramp(0.01, 0.03), "n_steps": 60, "record": ("theta",), "n_records": 4, "seed": 4}


def torch_steps(method: es.RMSProp | es.Adam, n_steps: int) -> list[np.ndarray]:
    """θ after each step of torch's own optimiser on the full loss, with a step size that rises as in RUN."""
    theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    if isinstance(method, es.Adam):
        betas = (method.momentum, method.decay)
        optimizer: torch.optim.Optimizer = torch.optim.Adam([theta], betas=betas, eps=method.epsilon)
    else:
        optimizer = torch.optim.RMSprop([theta], alpha=method.decay, eps=method.epsilon)
    inputs, targets, found = torch.tensor(INPUTS), torch.tensor(TARGETS), []
    for step in range(n_steps):
        optimizer.param_groups[0]["lr"] = 0.01 + 0.02 * step / n_steps
        optimizer.zero_grad()
        (((inputs @ (theta[:3] * theta[3:]) - targets) ** 2).mean() / 2).backward()
        optimizer.step()
        found.append(theta.detach().numpy().copy())
    return found


@pytest.mark.parametrize("kind", [es.DiagonalLinearNetwork, Network])
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_full_batch_steps_are_those_of_torch(
    method: es.RMSProp | es.Adam, kind: type[es.DiagonalLinearNetwork]
) -> None:
    run = es.simulate(
        kind(INPUTS, TARGETS), START, adaptive=method, sampling=es.WithoutReplacement(6),
        **RUN | {"record_steps": range(1, 41)},
    )  # fmt: skip
    assert_allclose(run["theta"].values[0], torch_steps(method, 60)[:40], rtol=1e-10)
    assert np.abs(run["theta"].values[0, -1] - START).max() > 0.1
    assert repr(method) == run.attrs["adaptive"]


@pytest.mark.parametrize("label_noise", [0.0, 0.2])
@pytest.mark.parametrize("scheme", [PAIRS, es.WithReplacement(3), es.Reshuffled(2)], ids=repr)
@pytest.mark.parametrize("method", [METHODS[1], METHODS[3]], ids=repr)
@both_loops
def test_the_compiled_loop_is_the_plain_one(
    compiled: Any,
    plain: Any,
    form: dict[str, Any],
    method: es.RMSProp | es.Adam,
    scheme: es.Sampling,
    label_noise: float,
) -> None:
    options = RUN | {"adaptive": method, "sampling": scheme, "label_noise": label_noise}
    found = []
    for kind in (compiled, plain):
        problem = kind(INPUTS, TARGETS, **form)
        trace = es.simulate(problem, START[: problem.n_params], **options)
        assert trace["diverged_at"].values.tolist() == [-1]
        found.append(trace["theta"].values)
    assert_allclose(found[0], found[1], rtol=1e-9)


@pytest.mark.parametrize("method", [METHODS[0], METHODS[2]], ids=repr)
def test_batches_are_those_of_sgd(method: es.RMSProp | es.Adam) -> None:
    """The first step is −η·sign(g_B) up to ε, over √(1−β₂) where v is not corrected, g_B as SGD takes it."""
    problem, options = es.LinearRegression(INPUTS, TARGETS), {"sampling": PAIRS, "label_noise": 0.3, "seed": 9}
    one = {"n_steps": 1, "step_size": 1e-3, "record": ("theta",), "n_records": 2, "n_replicas": 5, **options}
    by_sgd = es.simulate(problem, np.zeros(3), **one)["theta"].values[:, -1]
    found = es.simulate(problem, np.zeros(3), adaptive=method, **one)["theta"].values[:, -1]
    memory = 1.0 if method.is_corrected else np.sqrt(1 - method.decay)
    assert_allclose(found, 1e-3 * np.sign(by_sgd) / memory, rtol=1e-4)


def test_records_and_replicas_do_not_change_the_run() -> None:
    options = RUN | {"adaptive": es.Adam(), "sampling": PAIRS, "label_noise": 0.1}
    one = es.simulate(NETWORK, START, **options)["theta"].values
    more = es.simulate(NETWORK, START, **options | {"n_replicas": 3, "n_records": 61})
    assert_array_equal(one[0, -1], more["theta"].values[0, -1])


def test_a_run_that_diverges_is_marked() -> None:
    options = RUN | {"adaptive": es.RMSProp(), "sampling": PAIRS, "step_size": 1e60}
    trace = es.simulate(NETWORK, START, **options)
    assert 0 < trace["diverged_at"] < 60
    assert np.isnan(trace["theta"].values[0, -1]).all()


# Statistics


def replayed_preconditioner(method: es.RMSProp | es.Adam, thetas: np.ndarray) -> np.ndarray:
    """P after the steps from each of `thetas` (m, p), of full batches, by its definition."""
    squares = np.zeros(6)
    for theta in thetas:
        squares = method.decay * squares + (1 - method.decay) * NETWORK.gradient(theta) ** 2
    if isinstance(method, es.Adam):
        squares = squares / (1 - method.decay ** len(thetas))
    return np.sqrt(squares) + method.epsilon


def mean_square_step_size(factors: np.ndarray, scheme: es.Sampling, beta: float) -> float:
    """Where the spectral radius of E[T_B⊗T_B] is 1, from every batch, T_B of the state (φ, m) of rows `factors` (n, p).

    φ ← φ − ηm, m ← βm + (1−β)H_Bφ, on the range of H.
    """
    _, singular, right = np.linalg.svd(factors, full_matrices=False)
    rows = factors @ right[singular > 1e-10 * singular[0]].T
    r = rows.shape[1]
    batches, chances = oracles.all_batches(len(factors), scheme)

    def radius(eta: float) -> float:
        total = np.zeros((4 * r * r, 4 * r * r))
        for chance, batch in zip(chances, batches, strict=True):
            h = rows[batch].T @ rows[batch] / len(batch)
            new_m = np.hstack([(1 - beta) * h, beta * np.eye(r)])
            step = np.vstack([np.hstack([np.eye(r), np.zeros((r, r))]) - eta * new_m, new_m])
            total += chance * np.kron(step, step)
        return float(np.abs(np.linalg.eigvals(total)).max())

    low, high = 1e-9, 1e3
    for _ in range(60):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if radius(middle) < 1 - 1e-12 else (low, middle)
    return low


@pytest.mark.parametrize("method", [METHODS[1], METHODS[3]], ids=repr)
def test_records_are_of_the_preconditioner_of_their_step(method: es.RMSProp | es.Adam) -> None:
    """Q_b and the step size by brute force over all batches, λ_max(P⁻¹H) from the dense matrix."""
    mean_square = "preconditioned_mean_square_sharpness_gauss_newton"
    names = ("theta", "own_sharpness", "preconditioned_sharpness", mean_square)
    trace = es.simulate(
        NETWORK, START, adaptive=method, sampling=es.WithoutReplacement(6),
        **RUN | {"record": names, "record_steps": range(61)},
    ).isel(replica=0)  # fmt: skip
    assert np.isnan([float(trace[name][0]) for name in names[1:]]).all()
    step, thetas = 37, trace["theta"].values
    p = replayed_preconditioner(method, thetas[:step])
    hessian = NETWORK.hessian(thetas[step])
    top = np.linalg.eigvals(hessian / p[:, None]).real.max()
    assert float(trace["preconditioned_sharpness"][step]) == pytest.approx(top, rel=1e-9)
    rows = NETWORK.sample_jacobians(thetas[step], np.arange(6)) / np.sqrt(p)
    beta = method.first_decay
    # The full batch in closed form.
    largest = np.linalg.eigvalsh(rows.T @ rows / 6)[-1]
    assert float(trace[mean_square][step]) == pytest.approx(largest, rel=1e-9)
    assert float(trace["own_sharpness"][step]) == pytest.approx(largest * (1 - beta) / (1 + beta), rel=1e-9)


@pytest.mark.parametrize("method", [METHODS[1], METHODS[3]], ids=repr)
def test_own_sharpness_of_batches_is_the_second_moment(method: es.RMSProp | es.Adam) -> None:
    regression = es.LinearRegression(INPUTS, TARGETS)
    options = RUN | {"record": ("theta", "own_sharpness"), "record_steps": (1,), "n_steps": 1}
    trace = es.simulate(regression, np.zeros(3), adaptive=method, sampling=PAIRS, **options).isel(replica=0, record=0)
    # P of a first step from its own move: −θ₁ = η·g/P with |g| from P.
    move = np.abs(trace["theta"].values) / 0.01
    memory = 1.0 if method.is_corrected else np.sqrt(1 - method.decay)
    gradient = method.epsilon * move / (1 - memory * move)
    p = memory * gradient + method.epsilon
    eta = mean_square_step_size(INPUTS / np.sqrt(p), PAIRS, method.first_decay)
    assert float(trace["own_sharpness"]) == pytest.approx(2 / eta, rel=1e-6)
    expected = es.stability.preconditioned_step_size(
        regression, np.zeros(3), PAIRS, p, momentum=method.first_decay, hessian="gauss_newton"
    )
    assert eta == pytest.approx(expected, rel=1e-6)


def test_a_preconditioned_problem_is_the_same_in_other_coordinates() -> None:
    p, theta = np.linspace(0.5, 2.0, 6), START
    for problem, start in ((NETWORK, theta), (es.Perceptron(INPUTS, TARGETS, width=2), np.linspace(-1, 1, 10))):
        diagonal = np.resize(p, problem.n_params)
        changed, root = es.problems.preconditioned(problem, diagonal), np.sqrt(diagonal)
        assert_allclose(changed.hessian(root * start), problem.hessian(start) / np.outer(root, root), rtol=1e-12)
        assert_allclose(changed.gradient(root * start), problem.gradient(start) / root, rtol=1e-12)
        assert changed.loss(root * start) == pytest.approx(problem.loss(start), rel=1e-13)
        eta = es.stability.critical_step_size(changed, root * start, PAIRS, hessian="gauss_newton")
        expected = es.stability.preconditioned_step_size(problem, start, PAIRS, diagonal, hessian="gauss_newton")
        assert eta == pytest.approx(expected, rel=1e-7)
    quadratic = es.Quadratic([np.diag([1.0, 2.0])] * 2, np.zeros((2, 2)))
    assert es.sharpness(es.problems.preconditioned(quadratic, [1.0, 4.0]), np.zeros(2)) == pytest.approx(1.0)
