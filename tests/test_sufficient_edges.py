"""Bounds, closures and other optimisers: each edge against the spectral radius of its second moment by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings

import esssim as es
from esssim.stability import (
    alignment_step_size,
    coherence_step_size,
    contraction_step_size,
    critical_step_size,
    noise_kernel_step_size,
    preconditioned_step_size,
    scalar_closure_step_size,
    zeroth_order_step_size,
)
from esssim.testing import strategies
from esssim.testing.case import Case

rng = np.random.default_rng(20261129)
STEP = Callable[[np.ndarray], np.ndarray]
REGRESSION = es.LinearRegression(rng.standard_normal((5, 3)), np.zeros(5))
FACTORS = rng.standard_normal((4, 3, 2))
QUADRATIC = es.Quadratic(FACTORS @ FACTORS.transpose(0, 2, 1), np.zeros((4, 3)))
THETA = np.array([1.0, 0.5, 1.5, 0.3, -0.2, 0.8])
INPUTS = rng.standard_normal((5, 3))
NETWORK = es.DiagonalLinearNetwork(INPUTS, INPUTS @ (THETA[:3] * THETA[3:]))
POINTS = {"regression": (REGRESSION, np.zeros(3)), "quadratic": (QUADRATIC, np.zeros(3)), "network": (NETWORK, THETA)}
by_point = pytest.mark.parametrize(("problem", "theta"), POINTS.values(), ids=POINTS)


def radius(step: STEP, size: int) -> float:
    """Spectral radius of a linear map of matrices (size, size)."""
    images = [step(unit.reshape(size, size)).ravel() for unit in np.eye(size * size)]
    return float(np.abs(np.linalg.eigvals(np.array(images).T)).max())


def crosses(step_of: Callable[[float], STEP], eta: float, size: int, kernel: bool = False) -> bool:
    """Whether the radius is 1 at eta; with a kernel of H it is 1 below as well."""
    below, above = (radius(step_of(factor * eta), size) for factor in (0.999, 1.001))
    return (abs(below - 1) < 1e-9 if kernel else below < 1) and above > 1 + 1e-6


def hessians_of(problem: es.Problem, theta: np.ndarray, b: int) -> np.ndarray:
    return problem.hessian(theta, np.array(list(itertools.combinations(range(problem.n_samples), b))))


def on_range(hessians: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eigh(hessian)
    basis = vectors[:, values > 1e-9 * values[-1]]
    return basis.T @ hessians @ basis, values[values > 1e-9 * values[-1]]


@by_point
@pytest.mark.parametrize("b", [1, 2])
def test_contraction_is_where_a_step_stops_shrinking_every_vector(
    problem: es.Problem, theta: np.ndarray, b: int
) -> None:
    eta = contraction_step_size(problem, theta, es.WithoutReplacement(b))
    hessians, values = on_range(hessians_of(problem, theta, b), problem.hessian(theta))
    steps = np.eye(len(values)) - eta * hessians
    assert np.linalg.eigvalsh((steps @ steps).mean(axis=0))[-1] == pytest.approx(1, abs=1e-10)
    assert eta <= critical_step_size(problem, theta, es.WithoutReplacement(b)) * (1 + 1e-12)


@by_point
@pytest.mark.parametrize("b", [1, 2])
def test_alignment_is_where_the_noise_alone_gives_the_loss_back_in_its_quietest_direction(
    problem: es.Problem, theta: np.ndarray, b: int
) -> None:
    eta = alignment_step_size(problem, theta, es.WithoutReplacement(b))
    hessians, values = on_range(hessians_of(problem, theta, b), problem.hessian(theta))
    hessian = np.diag(values)
    off = hessians - hessians.mean(axis=0)
    noise = (off @ hessian @ off).mean(axis=0)
    ratios = np.linalg.eigvals(np.linalg.solve(hessian, noise)).real
    if ratios.min() < 1e-9:
        assert eta > 1e4 * critical_step_size(problem, theta, es.WithoutReplacement(b))
    else:
        assert eta**2 * ratios.min() == pytest.approx(1, rel=1e-8)


def minimum(case: Case) -> es.Problem:
    """The case's Gauss–Newton Hessians as a problem with its minimum at 0, where they are not all zero."""
    rows = case.problem.gauss_newton_curvature(case.theta)
    samples = rows.batch_matrices(np.arange(case.problem.n_samples)[:, None])
    scale = np.abs(samples).max()
    assume(scale > 0)
    return es.Quadratic((samples + samples.transpose(0, 2, 1)) / 2 / scale, np.zeros(samples.shape[:2]))


@settings(max_examples=40, deadline=None)
@given(strategies.sampled_cases(kinds=("linear regression", "product", "difference 3")))
def test_bounds_are_on_their_side_of_the_edge(sampled: tuple[Case, es.Sampling]) -> None:
    case, sampling = sampled
    assume(not isinstance(sampling, es.Reshuffled))
    problem = minimum(case)
    theta = np.zeros(problem.n_params)
    critical = critical_step_size(problem, theta, sampling)
    assert contraction_step_size(problem, theta, sampling) <= critical * (1 + 1e-9)
    assert alignment_step_size(problem, theta, sampling) >= critical * (1 - 1e-9)
    assert scalar_closure_step_size(problem, theta, sampling) <= 2 / es.sharpness(problem, theta) * (1 + 1e-9)


def drawn_one_by_one(problem: es.Problem, b: int) -> Callable[[float], STEP]:
    """The second moment where each sample is in the batch with probability b/n, by all 2ⁿ batches."""
    n, p = problem.n_samples, problem.n_params
    samples = problem.sample_hessians(np.zeros(p), np.arange(n))
    members = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    chances = (b / n) ** members.sum(axis=1) * (1 - b / n) ** (n - members.sum(axis=1))
    hessians = np.einsum("mi,ijk->mjk", members, samples) / b
    return lambda eta: (
        lambda state: np.einsum(
            "m,mij,jk,mlk->il", chances, np.eye(p) - eta * hessians, state, np.eye(p) - eta * hessians
        )
    )


@settings(max_examples=30, deadline=None)
@given(strategies.sampled_cases(kinds=("linear regression", "product"), max_samples=4, max_width=2))
def test_coherence_proves_divergence_where_samples_are_drawn_one_by_one(sampled: tuple[Case, es.Sampling]) -> None:
    case, sampling = sampled
    problem = minimum(case)
    eta = coherence_step_size(problem, np.zeros(problem.n_params), sampling.batch_size)
    assert radius(drawn_one_by_one(problem, sampling.batch_size)(1.0001 * eta), problem.n_params) >= 1


def test_coherence_is_no_bound_for_batches_of_a_fixed_size() -> None:
    """n = 2, b = 1, h = (1, √2 − 1): the condition for divergence holds at 2, and SGD is stable up to 2.41."""
    curvatures = np.array([1.0, np.sqrt(2) - 1])
    problem = es.Quadratic(curvatures[:, None, None], np.zeros((2, 1)))
    assert coherence_step_size(problem, [0.0], 1) == pytest.approx(2, rel=1e-12)
    assert critical_step_size(problem, [0.0], es.WithoutReplacement(1)) == pytest.approx(1 + np.sqrt(2), rel=1e-12)
    assert radius(drawn_one_by_one(problem, 1)(2.0), 1) > 1


def test_coherence_of_orthogonal_and_of_equal_samples() -> None:
    orthogonal = es.LinearRegression(2 * np.eye(4), np.zeros(4))
    assert coherence_step_size(orthogonal, np.zeros(4), 1) == pytest.approx(1 / np.sqrt(3), rel=1e-12)
    equal = es.LinearRegression(np.tile([[2.0, 0.0]], (16, 1)), np.zeros(16))
    # σ = n; past b where σ/√(n/b − 1) is 2 the edge of the full batch is the smaller one.
    assert coherence_step_size(equal, np.zeros(2), 1) == pytest.approx(2 / 4, rel=1e-12)
    with pytest.raises(ValueError, match="problem must have positive semidefinite sample Hessians"):
        coherence_step_size(es.Quadratic([[[3.0]], [[-1.0]]], np.zeros((2, 1))), [0.0], 1)


@pytest.mark.parametrize("b", [1, 3])
def test_the_scalar_closure_is_exact_for_translation_invariant_data(b: int) -> None:
    row = rng.standard_normal(6)
    problem = es.LinearRegression([np.roll(row, k) for k in range(6)], np.zeros(6))
    sampling = es.WithoutReplacement(b)
    exact = critical_step_size(problem, np.zeros(6), sampling)
    assert scalar_closure_step_size(problem, np.zeros(6), sampling) == pytest.approx(exact, rel=1e-10)
    high = noise_kernel_step_size(problem, np.zeros(6), sampling, approximation="high_dimensional")
    assert scalar_closure_step_size(problem, np.zeros(6), sampling, tau_2=0.0) == pytest.approx(high, rel=1e-10)


@pytest.mark.parametrize(("tau_1", "tau_2"), [(1.0, -1.0), (0.4, -1.0), (2.5, 0.5)])
def test_the_scalar_closure_is_the_edge_of_its_own_noise(tau_1: float, tau_2: float) -> None:
    """τ₁tr(HM)H − τ₂HMH over b: of Gaussian inputs drawn anew it is the noise, E[xxᵀMxxᵀ] = tr(HM)H + 2HMH."""
    b, hessian = 3, REGRESSION.hessian(np.zeros(3))

    def step_of(eta: float) -> STEP:
        def step(state: np.ndarray) -> np.ndarray:
            pulled = hessian @ state @ hessian
            noise = (tau_1 * np.trace(hessian @ state) * hessian - tau_2 * pulled) / b
            return state - eta * (hessian @ state + state @ hessian) + eta**2 * (pulled + noise)

        return step

    eta = scalar_closure_step_size(REGRESSION, np.zeros(3), es.WithReplacement(b), tau_1=tau_1, tau_2=tau_2)
    assert crosses(step_of, eta, 3)


def test_a_direction_of_normal_numbers_has_the_moments_that_the_zeroth_order_step_needs() -> None:
    """E[uuᵀAuuᵀ] = 2A + tr(A)I, by quadrature that is exact for polynomials of degree four."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    matrix = np.array([[2.0, 0.7], [0.7, -1.0]])
    total = np.zeros((2, 2))
    for (x, w), (y, v) in itertools.product(zip(nodes, weights, strict=True), repeat=2):
        u = np.array([x, y])
        total += w * v * (u @ matrix @ u) * np.outer(u, u)
    assert np.allclose(total / weights.sum() ** 2, 2 * matrix + np.trace(matrix) * np.eye(2), rtol=1e-12)


def zeroth_order(hessian: np.ndarray, beta: float, precondition: np.ndarray, average: bool) -> Callable[[float], STEP]:
    """The second moment of (e, v): v ← βv + (1 or 1−β)g, e ← e − ηP⁻¹v, Cov g = HMH + tr(HMH)I for E eeᵀ = M."""
    p, scale = len(hessian), 1 - beta if average else 1.0
    inverse = np.diag(1 / precondition)

    def step_of(eta: float) -> STEP:
        enters = np.vstack([-eta * scale * inverse, scale * np.eye(p)])
        linear = np.block([[np.eye(p), -eta * beta * inverse], [np.zeros((p, p)), beta * np.eye(p)]])
        linear[:, :p] += enters @ hessian

        def step(state: np.ndarray) -> np.ndarray:
            pulled = hessian @ state[:p, :p] @ hessian
            return linear @ state @ linear.T + enters @ (pulled + np.trace(pulled) * np.eye(p)) @ enters.T

        return step

    return step_of


@pytest.mark.parametrize("beta", [0.0, 0.7])
@pytest.mark.parametrize("scale", [None, 3.0])
def test_zeroth_order_descent(beta: float, scale: float | None) -> None:
    hessian = REGRESSION.hessian(np.zeros(3))
    diagonal = None if scale is None else np.full(3, scale)
    eta = zeroth_order_step_size(REGRESSION, np.zeros(3), momentum=beta, preconditioner=diagonal)
    assert crosses(zeroth_order(hessian, beta, np.full(3, scale or 1.0), scale is not None), eta, 6)
    if beta == 0.0 and scale is None:
        trace, top = np.trace(hessian), np.linalg.eigvalsh(hessian)[-1]
        assert 2 / (trace + 2 * top) <= eta <= 2 / trace


def test_zeroth_order_descent_with_a_preconditioner() -> None:
    """The eigenvalues of P⁻¹H are enough where P and H commute, and else they are not."""
    diagonal, beta = np.array([0.5, 1.0, 4.0]), 0.6
    axes = es.Quadratic([np.diag([1.0, 2.0, 3.0])], np.zeros((1, 3)))
    eta = zeroth_order_step_size(axes, np.zeros(3), momentum=beta, preconditioner=diagonal)
    assert crosses(zeroth_order(np.diag([1.0, 2.0, 3.0]), beta, diagonal, True), eta, 6)
    eta = zeroth_order_step_size(REGRESSION, np.zeros(3), momentum=beta, preconditioner=diagonal)
    assert not crosses(zeroth_order(REGRESSION.hessian(np.zeros(3)), beta, diagonal, True), eta, 6)


def test_zeroth_order_descent_of_a_network_sees_its_parameters() -> None:
    diagonal = np.linspace(0.5, 2.0, 6)
    eta = zeroth_order_step_size(NETWORK, THETA, preconditioner=diagonal)
    values = np.linalg.eigvals(NETWORK.hessian(THETA) / diagonal[:, None]).real
    values = values[values > 1e-9]
    assert (eta * values / (2 * (1 - eta * values))).sum() == pytest.approx(1, rel=1e-9)


@by_point
@pytest.mark.parametrize(("beta", "decay"), [(0.0, 0.0), (0.6, 0.0), (0.6, 0.3)])
def test_a_frozen_preconditioner(problem: es.Problem, theta: np.ndarray, beta: float, decay: float) -> None:
    p, b = problem.n_params, 2
    diagonal = np.linspace(0.5, 2.0, p)
    hessians = hessians_of(problem, theta, b) + decay * np.eye(p)

    def step_of(eta: float) -> STEP:
        inverse = np.diag(1 / diagonal)
        momentum = np.concatenate([(1 - beta) * hessians, np.broadcast_to(beta * np.eye(p), hessians.shape)], axis=2)
        moves = np.concatenate([np.broadcast_to(np.eye(p), hessians.shape), 0 * hessians], axis=2)
        steps = np.concatenate([moves - eta * inverse @ momentum, momentum], axis=1)
        return lambda state: np.einsum("mij,jk,mlk->il", steps, state, steps) / len(steps)

    eta = preconditioned_step_size(
        problem, theta, es.WithoutReplacement(b), diagonal, momentum=beta, weight_decay=decay
    )
    assert crosses(step_of, eta, 2 * p, kernel=problem is NETWORK and decay == 0.0)


def test_a_frozen_preconditioner_of_the_full_batch_is_the_adaptive_edge() -> None:
    diagonal = np.array([0.5, 1.0, 4.0])
    top = np.linalg.eigvals(REGRESSION.hessian(np.zeros(3)) / diagonal[:, None]).real.max()
    eta = preconditioned_step_size(REGRESSION, np.zeros(3), es.WithoutReplacement(5), diagonal, momentum=0.9)
    assert eta * top == pytest.approx(38, rel=1e-9)


def test_little_weight_decay_makes_noisy_sgd_more_stable() -> None:
    """In one dimension Q_b of the penalised loss is a + μ + s²/(a + μ), which falls with μ as long as a + μ < s."""
    problem, sampling = es.Quadratic([[[0.0]], [[0.0]], [[0.0]], [[2.0]]], np.zeros((4, 1))), es.WithReplacement(1)
    for mu, sharpness in ((0.0, 0.5 + 0.75 / 0.5), (0.3, 0.8 + 0.75 / 0.8), (1.0, 1.5 + 0.75 / 1.5)):
        eta = preconditioned_step_size(problem, [0.0], sampling, [1.0], weight_decay=mu)
        assert eta == pytest.approx(2 / sharpness, rel=1e-12)
