"""Cross-entropy with soft labels: against PyTorch, against squared loss at a solution, and its mean-square edge."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import expit, logit

import esssim as es
from esssim.problems import LogisticNetwork
from tests import oracles

N, D = 6, 4
source = np.random.default_rng(3)
INPUTS, LABELS = source.standard_normal((N, D)), np.where(source.standard_normal(N) > 0, 0.95, 0.05)
EVERYONE = np.arange(N)
FORMS = ({"form": "product"}, {"form": "difference", "depth": 2}, {"form": "difference", "depth": 3})
forms = pytest.mark.parametrize("options", FORMS, ids=str)


def solution() -> tuple[LogisticNetwork, np.ndarray]:
    """A network of more weights than samples, where every σᵢ = yᵢ."""
    inputs = source.standard_normal((3, 5))
    labels = np.array([0.05, 0.95, 0.6])
    weights = np.linalg.lstsq(inputs, logit(labels), rcond=None)[0]
    u = np.linspace(1.0, 2.0, 5)
    return LogisticNetwork(inputs, labels), np.concatenate([u, weights / u])


@forms
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_losses_and_derivatives_are_those_of_torch(options: dict[str, object], scale: float) -> None:
    torch = pytest.importorskip("torch")
    problem = LogisticNetwork(INPUTS, LABELS, **options)  # type: ignore[arg-type]
    theta = scale * source.standard_normal(2 * D)
    inputs, labels = torch.tensor(INPUTS), torch.tensor(LABELS)
    depth = options.get("depth", 2)

    def losses(point: torch.Tensor) -> torch.Tensor:
        first, second = point[:D], point[D:]
        weights = first * second if options["form"] == "product" else first**depth - second**depth
        return torch.nn.functional.binary_cross_entropy_with_logits(inputs @ weights, labels, reduction="none")

    point = torch.tensor(theta)
    found = losses(point)
    np.testing.assert_allclose(problem.sample_losses(theta, EVERYONE), found, rtol=1e-12)
    jacobian = torch.autograd.functional.jacobian(losses, point)
    np.testing.assert_allclose(problem.sample_gradients(theta, EVERYONE), jacobian, rtol=1e-10, atol=1e-12)
    hessians = np.stack([torch.autograd.functional.hessian(lambda p, i=i: losses(p)[i], point) for i in EVERYONE])
    np.testing.assert_allclose(problem.sample_hessians(theta, EVERYONE), hessians, rtol=1e-9, atol=1e-10)
    for batch in itertools.combinations(EVERYONE, 2):
        exact = np.linalg.eigvalsh(hessians[list(batch)].mean(axis=0))[-1]
        assert es.spectra.largest_eigenvalues(problem.curvature(theta), np.array([batch]))[0] == pytest.approx(
            exact, rel=1e-9
        )


class Own(LogisticNetwork):
    """A user's class takes the plain loop, and is looked at."""


class OwnAndWrong(LogisticNetwork):
    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return 1.1 * super().sample_jacobians(theta, indices)


@forms
@pytest.mark.parametrize("momentum", [{}, {"momentum": 0.5}, {"momentum": 0.5, "nesterov": True}], ids=str)
@pytest.mark.parametrize("label_noise", [0.0, 0.1])
def test_a_users_own_takes_the_same_steps(
    options: dict[str, object], momentum: dict[str, object], label_noise: float
) -> None:
    theta = source.uniform(0.3, 1.0, 2 * D)
    runs = [
        es.simulate(
            kind(INPUTS, LABELS, **options), theta, step_size=es.Ramp(0.05, 0.15), sampling=es.WithoutReplacement(2),
            n_steps=50, label_noise=label_noise, record=("theta",), n_records=3, seed=1, **momentum,
        )["theta"].values
        for kind in (LogisticNetwork, Own)
    ]  # fmt: skip
    np.testing.assert_allclose(*runs, rtol=1e-11)


def test_a_users_own_is_looked_at() -> None:
    with pytest.raises(es.problems.InvalidProblem, match=r"OwnAndWrong\.sample_jacobians must be"):
        es.sharpness(OwnAndWrong(INPUTS, LABELS), source.standard_normal(2 * D))


def test_gauss_newton_has_the_hessian_of_the_output() -> None:
    problem = LogisticNetwork(INPUTS, LABELS)
    theta = source.standard_normal(2 * D)
    sigma = expit(problem.logits(theta, EVERYONE))
    rows = problem.sample_jacobians(theta, EVERYONE)
    expected = (sigma * (1 - sigma))[:, None, None] * rows[:, :, None] * rows[:, None, :]
    found = problem.gauss_newton_curvature(theta).batch_matrices(EVERYONE[:, None])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("b", [1, 2, 3])
def test_at_a_solution_its_edge_is_that_of_squared_loss_on_scaled_rows(b: int) -> None:
    problem, theta = solution()
    scale = np.sqrt(problem.labels * (1 - problem.labels))
    squared = es.DiagonalLinearNetwork(scale[:, None] * problem.inputs, scale * logit(problem.labels))
    np.testing.assert_allclose(problem.sample_gradients(theta, np.arange(3)), 0.0, atol=1e-12)
    for statistic in (es.mean_square_sharpness, es.minibatch_sharpness):
        mine, other = (statistic(each, theta, es.WithoutReplacement(b)) for each in (problem, squared))
        assert float(mine) == pytest.approx(float(other), rel=1e-9)
    assert es.sharpness(problem, theta) == pytest.approx(es.sharpness(squared, theta), rel=1e-9)


def test_its_edge_is_where_the_dense_second_moment_stops_to_contract() -> None:
    problem, theta = solution()
    sampling = es.WithoutReplacement(1)
    hessians = problem.gauss_newton_curvature(theta).batch_matrices(np.arange(3)[:, None])
    expected = oracles.dense_pencil_top(hessians, sampling.variance_coefficient(3))
    assert es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton") == pytest.approx(
        expected, rel=1e-9
    )


def test_steps_far_out_do_not_overflow() -> None:
    problem, expected = LogisticNetwork(1e3 * INPUTS, LABELS), np.full(2 * D, 30.0)
    start = expected.copy()
    for _ in range(5):
        expected = expected - 1e-6 * problem.gradient(expected)
    options = {"step_size": 1e-6, "sampling": es.WithoutReplacement(N), "n_steps": 5, "record": ("theta",)}
    run = es.simulate(problem, start, n_records=1, **options)  # type: ignore[arg-type]
    np.testing.assert_allclose(run["theta"].values[0, -1], expected, rtol=1e-12)


@pytest.mark.parametrize("labels", [[0.0] * N, [1.0] * N, [0.5] * (N - 1) + [1.2]], ids=["0", "1", "above"])
def test_hard_labels_are_refused(labels: list[float]) -> None:
    with pytest.raises(ValueError, match="labels must lie between 0 and 1, got"):
        LogisticNetwork(INPUTS, labels)


def test_the_flow_refuses_it_by_name() -> None:
    problem, theta = solution()
    with pytest.raises(ValueError, match=r"problem must have squared loss, .* got LogisticNetwork"):
        es.flow.solve(problem, theta, step_size=0.1, sampling=es.WithoutReplacement(1), n_steps=10)  # type: ignore[arg-type]
