"""The published flows of full-batch descent: each against a closed form, and where two of them are the same."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import esssim as es
from esssim._validate import FloatArray, IntArray
from esssim.flow import rivals
from esssim.problems import NonlinearLeastSquares, Problem
from tests.pages import check_is_kept, copied

PUSH = 0.3


class Sharpening(Problem):
    """ℓ(x, y) = Σⱼ (½xⱼyⱼ² − a xⱼ), θ = (x, y): along y = 0 the eigenvalues xⱼ rise at the speed a."""

    def __init__(self, d: int) -> None:
        self.d = d
        super().__init__(1, 2 * d)

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        x, y = theta[..., None, : self.d], theta[..., None, self.d :]
        return np.asarray((x * y**2 / 2 - PUSH * x).sum(axis=-1) + 0.0 * indices)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        x, y = theta[..., None, : self.d], theta[..., None, self.d :]
        found = np.concatenate((y**2 / 2 - PUSH, x * y), axis=-1)
        return np.broadcast_to(found, (*np.broadcast_shapes(found.shape[:-1], indices.shape), 2 * self.d))

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        x, y, d = theta[..., None, : self.d], theta[..., None, self.d :], self.d
        found = np.zeros((*np.broadcast_shapes(x.shape[:-1], indices.shape), 2 * d, 2 * d))
        for j in range(d):
            found[..., j, d + j] = found[..., d + j, j] = y[..., j]
            found[..., d + j, d + j] = x[..., j]
        return found


class Wall(NonlinearLeastSquares):
    """f = (x, xy) with targets (T, 0): along y = 0 the residual part of the Hessian vanishes, λ = ½x² rises with x."""

    def __init__(self, target: float) -> None:
        self.target = target
        super().__init__(2, 2)

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        x, y = theta[..., None, 0], theta[..., None, 1]
        return np.where(indices == 0, x - self.target, x * y)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        x, y = theta[..., None, 0], theta[..., None, 1]
        one = np.ones(np.broadcast_shapes(x.shape, indices.shape))
        return np.stack((np.where(indices == 0, one, y), np.where(indices == 0, 0 * one, x)), axis=-1)

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return np.where((indices == 1)[..., None], vectors[..., ::-1], 0.0 * theta[..., None, :])


@pytest.mark.parametrize("d", [1, 2])
def test_the_central_flow_stops_at_the_edge_and_its_spread_is_what_stops_it(d: int) -> None:
    """x = min(x₀ + ηat, 2/η), then Σ = 2a in each direction."""
    eta, start = 0.1, np.concatenate((np.full(d, 19.0), np.zeros(d)))
    found = es.flow.central_flow(Sharpening(d), start, step_size=eta, n_steps=40, n_records=5)
    expected = np.minimum(19.0 + eta * PUSH * found["step"].values, 2 / eta)
    np.testing.assert_allclose(found["theta"].values[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(
        found["spread"].values, np.where(expected < 2 / eta - 1e-9, 0.0, 2 * PUSH * d), rtol=1e-5
    )


@pytest.mark.parametrize("flow", [es.flow.edge_flow, es.flow.rod_flow])
def test_edge_flow_and_rod_flow_overshoot_as_the_conserved_energy_says(flow: object) -> None:
    """z = ηx − 2 and the amplitude A: z' = η²(a − ½A²), A' = zA conserve ½z² + η²(¼A² − a log A)."""
    eta, floor = 0.1, 1e-3
    start = np.array([20.0 - 0.5, 0.0])
    found = flow(  # type: ignore[operator]
        Sharpening(1), start, step_size=eta, n_steps=110, n_records=111, smallest=floor / 19.5
    )
    energy = PUSH * np.log(np.sqrt(2 * PUSH) / floor) - PUSH / 2 + floor**2 / 4
    z = eta * found["theta"].values[:, 0] - 2
    assert z.max() == pytest.approx(eta * np.sqrt(2 * energy), rel=2e-3)
    assert found["sharpness"].values[0] == pytest.approx(19.5, rel=1e-6)


def test_one_step_of_euler_is_gradient_descent() -> None:
    rng = np.random.default_rng(3)
    problem, eta = es.Perceptron(rng.standard_normal((6, 2)), rng.standard_normal(6), 3), 0.7
    iterates = [problem.random_start(seed=2)]
    for _ in range(6):
        iterates.append(iterates[-1] - eta * problem.gradient(iterates[-1]))
    rods = [np.concatenate(((a + b) / 2, (a - b) / 2)) for a, b in itertools.pairwise(iterates)]
    for before, after in itertools.pairwise(rods):
        moved = before + rivals.rod_velocity(rivals.Gradients(problem), eta, before)[0]
        np.testing.assert_allclose(moved[:12], after[:12], atol=1e-14)
        np.testing.assert_allclose(moved[12:], -after[12:], atol=1e-14)


def test_our_flow_with_all_samples_and_weak_noise_is_the_central_flow() -> None:
    """x = min(T − (T−x₀)e^{−ηt/2}, 2/√η), where the Hessian is the Gauss–Newton matrix."""
    problem, eta, start = Wall(3.0), 1.0, np.array([1.0, 0.0])
    shared = {"step_size": eta, "n_steps": 8, "n_records": 9}
    central = es.flow.central_flow(problem, start, substeps=32, **shared)
    ours = es.flow.solve(
        problem,
        start,
        sampling=es.WithoutReplacement(2),
        label_noise=0.03,
        follow="mean",
        record=("sharpness",),
        **shared,
    )
    expected = np.minimum(3.0 - 2.0 * np.exp(-eta * central["step"].values / 2), 2 / np.sqrt(eta))
    np.testing.assert_allclose(ours["theta"].values[:, 0], expected, rtol=2e-3)
    np.testing.assert_allclose(central["theta"].values[:, 0], expected, rtol=5e-3)
    np.testing.assert_allclose(central["theta"].values[3:, 0], 2 / np.sqrt(eta), rtol=1e-4)


def test_the_complementary_covariance_satisfies_its_conditions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        third = rng.standard_normal((3, 3, 20))
        third += np.swapaxes(third, 0, 1)
        answer = np.einsum("ijp,klp->ijkl", third, third)
        room = rng.standard_normal((3, 3))
        room += room.T
        sigma = rivals.complementary(room, answer)
        left = room + np.einsum("ijkl,kl->ij", answer, sigma)
        size = np.abs(room).max()
        assert np.linalg.eigvalsh(sigma)[0] >= -1e-12
        assert np.linalg.eigvalsh(left)[0] >= -1e-6 * size
        assert abs((sigma * left).sum()) <= 1e-6 * size * np.trace(sigma)


def test_differences_of_gradients_are_the_derivatives() -> None:
    rng = np.random.default_rng(1)
    problem = es.Perceptron(rng.standard_normal((7, 2)), rng.standard_normal(7), 3)
    theta, frame = problem.random_start(seed=1), np.linalg.qr(rng.standard_normal((12, 2)))[0].T
    gradients = rivals.Gradients(problem)
    np.testing.assert_allclose(
        gradients.hessian_products(theta, frame), frame @ problem.hessian(theta), rtol=1e-6, atol=1e-8
    )
    step = 1e-5
    for found, direction in zip(np.moveaxis(gradients.third_derivatives(theta, frame), -1, 0), np.eye(12), strict=True):
        ahead, behind = (problem.hessian(theta + sign * step * direction) for sign in (1, -1))
        np.testing.assert_allclose(found, frame @ ((ahead - behind) / (2 * step)) @ frame.T, atol=2e-5)


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("full_batch", ("full_batch.py", "full_batch.md", "full_batch.json"), tmp_path, monkeypatch)
    content = json.loads((tmp_path / "full_batch.json").read_text(encoding="utf-8"))
    level = next(iter(content["runs"].values()))["descent"]["level"]
    check_is_kept("full_batch", run, tmp_path, (f"{level:.3f}", "9.999"), capsys)
