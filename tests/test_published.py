"""Published edges against enumeration of every batch, restricted operators and finite differences."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit

import esssim as es
from esssim.stability import (
    critical_step_size,
    heavy_ball_ends,
    interaction_aware_step_size,
    noise_kernel_norm,
    noise_kernel_step_size,
    self_stabilisation,
)
from tests import oracles

SCHEMES = (es.WithoutReplacement, es.WithReplacement)
rng = np.random.default_rng(20260406)


def quadratic(n: int, p: int, rank: int) -> es.Quadratic:
    """Positive semidefinite samples of `rank`; H has a kernel where n·rank < p."""
    factors = rng.standard_normal((n, p, rank))
    return es.Quadratic(factors @ factors.transpose(0, 2, 1), rng.standard_normal((n, p)))


def regression(n: int, d: int) -> es.LinearRegression:
    return es.LinearRegression(rng.standard_normal((n, d)), rng.standard_normal(n))


SPIKED = es.data.spiked(8, 3, seed=0, spike=20.0)
TALL = regression(5, 3)
EDGE_PROBLEMS = [
    TALL,
    regression(3, 5),
    quadratic(4, 3, 2),
    quadratic(2, 5, 2),
    es.LinearRegression(SPIKED.inputs, SPIKED.targets),
]


@pytest.mark.parametrize("problem", EDGE_PROBLEMS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("b", [1, 2])
def test_interaction_aware_step_leaves_the_expected_loss_unchanged(
    problem: es.Problem, scheme: type[es.Sampling], b: int
) -> None:
    theta = rng.standard_normal(problem.n_params)
    batches, probabilities = oracles.all_batches(problem.n_samples, scheme(b))
    gradients = problem.sample_gradients(theta, np.arange(problem.n_samples))[batches].mean(axis=1)

    def change(eta: float) -> float:
        return float(probabilities @ problem.loss(theta - eta * gradients) - problem.loss(theta))

    eta = interaction_aware_step_size(problem, theta, scheme(b))
    assert abs(change(eta)) < 1e-12 * float(probabilities @ problem.loss(theta - eta * gradients))
    assert change(0.99 * eta) < 0 < change(1.01 * eta)


def test_interaction_aware_edge_at_the_critical_covariance_is_the_mean_square_edge() -> None:
    """D(Σ) = Q_b·C(Σ) gives tr(H D(Σ)) = Q_b tr(H²Σ): there, and not elsewhere, the two edges are one."""
    for problem in EDGE_PROBLEMS:
        sampling, p = es.WithoutReplacement(1), problem.n_params
        samples = problem.sample_hessians(np.zeros(p), np.arange(problem.n_samples))
        d, c = oracles.dense_pencil(samples, sampling)
        values, vectors = np.linalg.eig(np.linalg.solve(c, d))
        rank = round(np.sqrt(len(values)))
        basis = np.linalg.eigh(samples.mean(axis=0))[1][:, -rank:]
        sigma = basis @ vectors[:, np.argmax(values.real)].real.reshape(rank, rank) @ basis.T
        sigma *= np.sign(np.trace(sigma))
        # θ* ± √(r·σ_j) w_j, equally likely, has this covariance; noise-free targets put the minimum at zero.
        weights, axes = np.linalg.eigh(sigma)
        assert weights[0] > -1e-10
        rest = es.Quadratic(samples, np.zeros((problem.n_samples, p)))
        forms = []
        for weight, axis in zip(weights, axes.T, strict=True):
            gradient = rest.gradient(axis)
            if weight > 1e-10:
                forms.append((weight * gradient @ gradient, 2 / interaction_aware_step_size(rest, axis, sampling)))
        norms, interactions = np.array(forms).T
        average = norms @ interactions / norms.sum()
        assert average == pytest.approx(oracles.mean_square_sharpness(problem, np.zeros(p), sampling), rel=1e-8)


def test_interaction_aware_step_size_without_positive_curvature_along_the_gradients() -> None:
    falling = es.Quadratic(np.full((2, 1, 1), -1.0), np.zeros((2, 1)))
    assert interaction_aware_step_size(falling, [1.0], es.WithReplacement(1)) == np.inf
    with pytest.raises(ValueError, match="0/0 at theta"):
        interaction_aware_step_size(falling, [0.0], es.WithReplacement(1))


def restricted_operator(problem: es.Problem, sampling: es.Sampling, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """E[(I−ηH_B)⊗(I−ηH_B)] on covariances that are diagonal in H's eigenbasis, (r, r), and H's eigenvalues; enumerated."""
    p = problem.n_params
    batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
    values, vectors = np.linalg.eigh(problem.hessian(np.zeros(p)))
    keep = values > 1e-10 * values[-1]
    hessians = vectors[:, keep].T @ oracles.batch_hessians(problem, np.zeros(p), batches) @ vectors[:, keep]
    steps = np.eye(keep.sum()) - eta * hessians
    return np.einsum("m,mjk->jk", probabilities, steps**2), values[keep]


@pytest.mark.parametrize("problem", EDGE_PROBLEMS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("b", [1, 2])
def test_diagonal_noise_kernel_is_the_restricted_second_moment_operator(
    problem: es.Problem, scheme: type[es.Sampling], b: int
) -> None:
    theta, sampling = np.zeros(problem.n_params), scheme(b)
    critical = noise_kernel_step_size(problem, theta, sampling)
    for eta in (0.3 * critical, 0.9 * critical):
        operator, values = restricted_operator(problem, sampling, eta)
        deterministic = (1 - eta * values) ** 2
        kernel = (operator - np.diag(deterministic)) / (1 - deterministic)[:, None]
        expected = np.abs(np.linalg.eigvals(kernel)).max()
        assert noise_kernel_norm(problem, theta, sampling, eta) == pytest.approx(expected, rel=1e-10)
    for factor, side in ((1 - 1e-6, -1), (1 + 1e-6, 1)):
        operator, _ = restricted_operator(problem, sampling, factor * critical)
        assert np.sign(np.abs(np.linalg.eigvals(operator)).max() - 1) == side
    # A restriction of a self-adjoint operator: the paper's edge is never too cautious.
    assert critical >= critical_step_size(problem, theta, sampling) * (1 - 1e-12)
    assert noise_kernel_norm(problem, theta, sampling, 2.0001 / es.sharpness(problem, theta)) == np.inf


def test_noise_kernel_in_high_dimensions_and_as_a_trace() -> None:
    """Eigenvectors of entries ±1/√n (a Hadamard matrix): mean (Hᵢ)_jk² = λⱼλ_k, one rank-one kernel."""
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    eigenvalues, sampling, eta = np.array([0.5, 1.0, 1.5, 3.0]), es.WithoutReplacement(2), 0.3
    problem, theta = es.LinearRegression(hadamard * np.sqrt(eigenvalues), np.zeros(4)), np.zeros(4)
    c = 1 / 3
    gains = 1 / (eigenvalues * (2 - eta * eigenvalues))
    rank_one = c * eta * gains[:, None] * np.outer(eigenvalues, eigenvalues)
    diagonal = rank_one - c * eta * np.diag(gains * eigenvalues**2)
    high = noise_kernel_norm(problem, theta, sampling, eta, approximation="high_dimensional")
    assert high == pytest.approx(np.linalg.eigvals(rank_one).real.max(), rel=1e-12)
    assert noise_kernel_norm(problem, theta, sampling, eta) == pytest.approx(
        np.linalg.eigvals(diagonal).real.max(), rel=1e-12
    )
    trace = noise_kernel_norm(problem, theta, sampling, eta, approximation="trace")
    assert trace == pytest.approx(c * 0.3 * 6 / 2, rel=1e-14)
    for approximation in ("high_dimensional", "trace"):
        step = noise_kernel_step_size(problem, theta, sampling, approximation=approximation)
        if approximation == "trace":
            assert step == pytest.approx(2 / 3, rel=1e-12)  # 2/λ_max, below 2/(c tr H) = 1
        else:
            assert noise_kernel_norm(problem, theta, sampling, step, approximation=approximation) == pytest.approx(
                1, rel=1e-10
            )
    single = es.WithReplacement(1)
    assert noise_kernel_step_size(problem, theta, single, approximation="trace") == pytest.approx(2 / 6, rel=1e-12)


def test_noise_kernel_without_noise_or_curvature() -> None:
    problem, theta = TALL, np.zeros(3)
    everyone = es.WithoutReplacement(5)
    assert noise_kernel_norm(problem, theta, everyone, 0.1) == pytest.approx(0, abs=1e-15)
    assert noise_kernel_step_size(problem, theta, everyone) == pytest.approx(
        2 / es.sharpness(problem, theta), rel=1e-14
    )
    flat = es.LinearRegression(np.zeros((2, 2)), [1.0, 1.0])
    assert noise_kernel_step_size(flat, np.zeros(2), es.WithReplacement(1)) == np.inf
    assert noise_kernel_norm(flat, np.zeros(2), es.WithReplacement(1), 1.0) == 0.0
    with pytest.raises(ValueError, match="step_size must be a finite number above 0, got -1"):
        noise_kernel_norm(problem, theta, everyone, -1)
    with pytest.raises(ValueError, match=r"approximation must be one of 'diagonal', .*; did you mean 'diagonal'"):
        noise_kernel_norm(problem, theta, everyone, 1.0, approximation="diagonals")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hessian must be one of"):
        noise_kernel_step_size(problem, theta, everyone, hessian="half")  # type: ignore[arg-type]


def test_noise_kernel_of_a_network_uses_the_hessian_asked_for() -> None:
    problem = es.DiagonalLinearNetwork(rng.standard_normal((4, 3)), rng.standard_normal(4))
    theta, sampling = rng.uniform(0.5, 1.5, 6), es.WithReplacement(1)
    with pytest.raises(ValueError, match="theta must be a minimum"):
        noise_kernel_step_size(problem, theta, sampling)
    found = noise_kernel_step_size(problem, theta, sampling, hessian="gauss_newton")
    jacobians = problem.sample_jacobians(theta, np.arange(4))
    assert found == pytest.approx(
        noise_kernel_step_size(es.LinearRegression(jacobians, np.zeros(4)), np.zeros(6), sampling), rel=1e-10
    )
    # At an interpolating point the full Hessians are those matrices, stored with a zero diagonal.
    fitted = es.DiagonalLinearNetwork(problem.inputs, problem.residuals(theta, np.arange(4)) + problem.targets)
    assert found == pytest.approx(noise_kernel_step_size(fitted, theta, sampling), rel=1e-8)


def test_noise_kernel_of_a_network_with_residuals() -> None:
    """Samples that are diagonal plus rank one, at a minimum that does not interpolate: every entry counts."""
    inputs, theta = rng.standard_normal((5, 2)), np.concatenate((rng.uniform(0.4, 0.6, 2), rng.uniform(1.4, 1.6, 2)))
    unfitted = es.DiagonalLinearNetwork(inputs, np.zeros(5), form="difference")
    residuals = np.linalg.lstsq(inputs.T / 5, np.full(2, 0.1), rcond=None)[0] + 0.01 * rng.standard_normal(5)
    targets = unfitted.residuals(theta, np.arange(5)) - residuals
    problem = es.DiagonalLinearNetwork(inputs, targets, form="difference")
    hessians = problem.sample_hessians(theta, np.arange(5))
    dense = es.Quadratic(hessians, np.zeros((5, 4)))
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(1)):
        eta = 0.5 * noise_kernel_step_size(dense, np.zeros(4), sampling)
        operator, values = restricted_operator(dense, sampling, eta)
        deterministic = (1 - eta * values) ** 2
        kernel = (operator - np.diag(deterministic)) / (1 - deterministic)[:, None]
        expected = np.abs(np.linalg.eigvals(kernel)).max()
        assert noise_kernel_norm(problem, theta, sampling, eta) == pytest.approx(expected, rel=1e-9)


def test_self_stabilisation_from_finite_differences_of_the_sharpness() -> None:
    inputs = rng.standard_normal((8, 3))
    targets = inputs @ np.ones(3) + 0.1 * rng.standard_normal(8)
    theta0 = np.random.default_rng(0).uniform(1.0, 1.5, (6, 6))
    grow = {"product": np.ones(6), "difference": np.repeat((1.0, 0.2), 3)}
    rising = 0
    for form, depth in (("product", 2), ("difference", 2), ("difference", 3)):
        problem = es.DiagonalLinearNetwork(inputs, 3 * targets, form=form, depth=depth)
        for seed in range(6):
            theta, sampling, eta = theta0[seed] * grow[form], es.WithReplacement(2), 0.05
            h = 1e-5
            slope = np.array(
                [
                    (es.sharpness(problem, theta + h * e) - es.sharpness(problem, theta - h * e)) / (2 * h)
                    for e in np.eye(6)
                ]
            )
            alpha = -problem.gradient(theta) @ slope
            if alpha <= 0:
                with pytest.raises(ValueError, match="theta must be where gradient descent raises the sharpness"):
                    self_stabilisation(problem, theta, sampling, eta)
                continue
            rising += 1
            top = np.linalg.eigh(problem.hessian(theta))[1][:, -1]
            beta = np.sum((slope - (slope @ top) * top) ** 2)
            batches, probabilities = oracles.all_batches(8, sampling)
            along = problem.gradient(theta, batches) @ top
            variance = probabilities @ along**2 - (probabilities @ along) ** 2
            found = self_stabilisation(problem, theta, sampling, eta)
            expected = (eta * beta * variance / (4 * alpha), alpha, beta, variance)
            assert_allclose(
                (found.gap, found.sharpening_rate, found.strength, found.noise_variance), expected, rtol=1e-6
            )
            assert found.sharpness == pytest.approx(es.sharpness(problem, theta), rel=1e-12)
            there = self_stabilisation(problem, theta, sampling, found.step_size)
            assert there.gap == pytest.approx(2 / found.step_size - found.sharpness, rel=1e-9)
    assert rising >= 6


def test_self_stabilisation_of_a_loss_that_is_no_polynomial() -> None:
    """Logistic regression where most labels are wrong: ∇S = mean w′(m)·y x (x·u)², w = σ(m)σ(−m)."""
    logistic = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "examples" / "logistic_regression.py"))
    inputs, theta = np.random.default_rng(3).standard_normal((12, 3)), np.array([0.6, -0.4, 0.2])
    labels = -np.sign(inputs @ theta)
    problem, sampling = logistic["LogisticRegression"](inputs, labels), es.WithReplacement(2)
    sigma = expit(labels * (inputs @ theta))
    top = np.linalg.eigh(problem.hessian(theta))[1][:, -1]
    slopes = sigma * (1 - sigma) * (1 - 2 * sigma) * labels * (inputs @ top) ** 2
    rise = slopes @ inputs / 12
    alpha = -problem.gradient(theta) @ rise
    assert 0 < alpha < 1
    found = self_stabilisation(problem, theta, sampling, 0.1)
    assert found.sharpening_rate == pytest.approx(alpha, rel=1e-5)
    assert found.strength == pytest.approx(rise @ rise - (rise @ top) ** 2, rel=1e-5)


def test_self_stabilisation_has_nothing_to_say_on_a_quadratic() -> None:
    with pytest.raises(ValueError, match="its rate −∇L·∇S is"):
        self_stabilisation(
            es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [0.0, 0.0]), [1.0, 1.0], es.WithReplacement(1), 0.1
        )


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_the_rounding_of_a_quadratic_is_not_taken_for_a_rising_sharpness(unit: float) -> None:
    inputs, targets = unit * rng.standard_normal((6, 3)), unit * rng.standard_normal(6)
    for theta in rng.standard_normal((40, 3)) * np.logspace(-1, 2, 40)[:, None]:
        with pytest.raises(ValueError, match="its rate −∇L·∇S is"):
            self_stabilisation(es.LinearRegression(inputs, targets), theta, es.WithReplacement(1), 0.1 / unit**2)


def test_heavy_ball_ends_are_the_edges_of_their_paper() -> None:
    small, large = heavy_ball_ends(4.0, 0.9)
    assert small == pytest.approx(0.05, rel=1e-14)
    assert large == pytest.approx(0.95, rel=1e-14)
    assert heavy_ball_ends(4.0, 0.0) == (0.5, 0.5)
    with pytest.raises(ValueError, match="sharpness must be a finite number above 0, got 0"):
        heavy_ball_ends(0, 0.5)
    with pytest.raises(ValueError, match="momentum must be"):
        heavy_ball_ends(1.0, 1.0)
