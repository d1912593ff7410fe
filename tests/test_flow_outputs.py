"""The stochastic central flow of several outputs: against direct computation, one output at a time, and against SGD."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from scipy.integrate import solve_ivp

import esssim as es
from esssim import flow
from esssim.curvature import BlockCurvature
from esssim.flow import rows
from esssim.flow.chains import stationary
from esssim.flow.fast import FastMotion
from esssim.flow.law import Law
from esssim.flow.mean import MeanLaw
from esssim.flow.point import Point
from esssim.flow.slow import mean_velocity, project, push, stiffness, velocity
from esssim.problems import MultiOutputLeastSquares
from esssim.spectra import largest_eigenvalues
from esssim.testing import battery
from tests import oracles
from tests.several_outputs import Bilinear, Stacked, Turned
from tests.test_flow import SCHEMES, edge, schemes, solution

TanhNetwork = runpy.run_path(str(Path(__file__).parents[1] / "docs/examples/several_outputs.py"))["TanhNetwork"]


def fitted(kind: Any = TanhNetwork, n: int = 4, d: int = 3, c: int = 2, width: int = 4) -> tuple[Any, np.ndarray]:
    """A small model with targets that it fits at a random theta."""
    rng = np.random.default_rng(2)
    inputs = rng.standard_normal((n, d))
    blank = kind(inputs, np.zeros((n, c)), width)
    theta = rng.standard_normal(blank.n_params)
    return kind(inputs, blank.residuals(theta, np.arange(n)), width), theta


def unreachable(kind: Any, d: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A model of fewer parameters than residuals at a minimum, and the residuals (n, c) that are left there."""
    fit, theta = fitted(kind, n=6, d=d, width=2)
    jacobians = fit.sample_jacobians(theta, np.arange(6)).reshape(12, -1)
    left = np.random.default_rng(3).standard_normal(12)
    left = (left - jacobians @ np.linalg.pinv(jacobians) @ left).reshape(6, 2)
    return kind(fit.inputs, fit.targets - left, 2), theta, left


def stationary_covariance(
    problem: MultiOutputLeastSquares, theta: np.ndarray, sampling: es.Sampling, eta: float, momentum: float,
    noise: float, left: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Of the residuals, by iterating the exact second moments of (r, u) over every batch: u ← βu + K(w∘(r + r*) − noise)."""
    n, c, b = problem.n_samples, problem.n_outputs, sampling.batch_size
    jacobians = problem.sample_jacobians(theta, np.arange(n)).reshape(n * c, -1)
    gram = jacobians @ jacobians.T
    batches, probabilities = oracles.all_batches(n, sampling)
    weights = np.zeros((len(batches), n))
    for m, batch in enumerate(batches):
        np.add.at(weights[m], batch, 1 / b)
    weights = np.repeat(weights, c, axis=1)
    size = n * c
    total = np.zeros((4 * size * size, 4 * size * size))
    source = np.zeros((2 * size, 2 * size))
    lift = np.concatenate((-eta * np.eye(size), np.eye(size)))
    for w, probability in zip(weights, probabilities, strict=True):
        pulled = gram * w
        step = np.block(
            [[np.eye(size) - eta * pulled, -eta * momentum * np.eye(size)], [pulled, momentum * np.eye(size)]]
        )
        total += probability * np.kron(step, step)
        kick = lift @ pulled @ left.ravel()
        source += probability * (np.outer(kick, kick) + noise**2 / b * lift @ gram @ np.diag(w) @ gram @ lift.T)
    # What no gradient moves, the kernel of K, stays out: the sum over 2³⁰ steps, by doubling.
    covariance = source.ravel()
    for _ in range(30):
        covariance, total = covariance + total @ covariance, total @ total
    return covariance.reshape(2 * size, 2 * size)[:size, :size]


class TestProblems:
    @pytest.mark.parametrize("kind", [TanhNetwork, Bilinear])
    def test_products_are_the_derivative_of_the_jacobian(self, kind: Any) -> None:
        problem, theta = fitted(kind)
        every, h = np.arange(4), 1e-5
        vectors = np.random.default_rng(0).standard_normal((4, 2, problem.n_params))
        found = problem.model_hessian_products(theta, every, vectors)
        for i in range(4):
            for a in range(2):
                ahead, behind = (problem.sample_jacobians(theta + s * h * vectors[i, a], every) for s in (1, -1))
                np.testing.assert_allclose(found[i, a], (ahead - behind)[i, a] / (2 * h), atol=1e-7)

    @pytest.mark.parametrize("kind", [TanhNetwork, Bilinear])
    def test_pass_the_battery(self, kind: Any) -> None:
        problem, theta = fitted(kind, n=3, d=2, width=2)
        battery.check(battery.Case(problem, theta + 0.3))

    def test_gauss_newton_is_the_sum_over_outputs(self) -> None:
        problem, theta = fitted()
        jacobians = problem.sample_jacobians(theta, np.arange(4))
        expected = np.einsum("nap,naq->npq", jacobians, jacobians)
        assert isinstance(problem.gauss_newton_curvature(theta), BlockCurvature)
        np.testing.assert_allclose(
            problem.gauss_newton_curvature(theta).batch_matrices(np.arange(4)[:, None]), expected, rtol=1e-13
        )

    def test_label_noise_of_sgd_is_of_every_output(self) -> None:
        problem, theta = fitted()
        sampling, noise, eta = es.WithReplacement(3), 0.4, 0.05
        trace = es.simulate(
            problem, theta, step_size=eta, sampling=sampling, n_steps=1, label_noise=noise, record=("theta",),
            record_steps=(1,), n_replicas=3, seed=7,
        )  # fmt: skip
        for replica in range(3):
            stream = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(replica,)))
            batch = np.floor(stream.random(3) * 4).astype(int)
            off = noise * stream.standard_normal((3, 2))
            residuals = problem.residuals(theta, batch) - off
            gradient = np.einsum("ba,bap->p", residuals, problem.sample_jacobians(theta, batch)) / 3
            np.testing.assert_allclose(trace["theta"].values[replica, 0], theta - eta * gradient, rtol=1e-12)


class TestCovariance:
    @pytest.mark.parametrize("momentum", [0.0, 0.6])
    @schemes
    def test_is_where_the_exact_recursion_ends(self, sampling: es.Sampling, momentum: float) -> None:
        problem, theta = fitted(n=3, d=2, width=3)
        noise, n = 0.3, 3
        eta = 0.8 * es.stability.critical_step_size(problem, theta, sampling, momentum=momentum, hessian="gauss_newton")
        source = noise**2 / (sampling.batch_size * n) * rows.identities(n, 2)
        found = FastMotion.at(Point(problem, theta), sampling, source, eta, momentum=momentum).residual_covariance
        expected = stationary_covariance(problem, theta, sampling, eta, momentum, noise, np.zeros((3, 2)))
        np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())

    def test_frozen_residuals_act_as_blocks(self) -> None:
        problem, theta = fitted(Bilinear, n=3, d=1, c=2, width=1)
        jacobians = problem.sample_jacobians(theta, np.arange(3)).reshape(6, -1)
        left = np.random.default_rng(4).standard_normal(6)
        left -= jacobians @ np.linalg.pinv(jacobians) @ left
        sampling, noise = es.WithReplacement(2), 0.1
        eta = 0.7 * edge(problem, theta, sampling)
        law = Law(problem, sampling, es.Ramp.of(eta), 1, 0.0, noise**2 / 6, left)
        expected = stationary_covariance(problem, theta, sampling, eta, 0.0, noise, left)
        np.testing.assert_allclose(
            law.fast(0.0, law.at(theta)).residual_covariance, expected, atol=1e-6 * np.abs(expected).max()
        )

    def test_frozen_residuals_are_what_regression_leaves(self) -> None:
        # VW is any matrix: the least squares of a two-layer linear network bend nothing.
        problem, theta, left = unreachable(Bilinear, 2)
        sampling = es.WithoutReplacement(2)
        law, _ = Law.of(problem, theta, sampling, es.Ramp.of(1e-3), 10, 0.1)
        np.testing.assert_allclose(law.frozen_residuals.reshape(6, 2), left, atol=1e-12)
        assert np.abs(left.T @ problem.inputs).max() <= 1e-12
        blocks = sampling.variance_coefficient(6) / 6 * left[:, :, None] * left[:, None, :] + 0.01 / 12 * np.eye(2)
        np.testing.assert_allclose(law.fast(0.0, law.at(theta)).source, blocks.ravel(), atol=1e-14)
        found = flow.solve(problem, theta, step_size=1e-3, sampling=sampling, n_steps=10, n_records=2, record=("loss",))
        assert found.attrs["frozen_noise"] == pytest.approx(np.sqrt((left**2).mean()))
        assert float(found["loss"][0]) > (left**2).sum() / 12

    @pytest.mark.parametrize("b", [1, 2, 4])
    def test_is_singular_exactly_at_the_mean_square_edge(self, b: int) -> None:
        problem, theta = fitted()
        sampling = es.WithoutReplacement(b)
        d, half_sum = oracles.dense_pencil(
            problem.gauss_newton_curvature(theta).batch_matrices(np.arange(4)[:, None]), sampling
        )
        limit = 2 / float(scipy.linalg.eigh(d, half_sum, eigvals_only=True)[-1])
        assert limit == pytest.approx(edge(problem, theta, sampling), rel=1e-9)
        source = rows.identities(4, 2)

        def trace(gap: float) -> float:
            return float(np.trace(FastMotion.at(Point(problem, theta), sampling, source, limit * (1 - gap)).rotated))

        assert trace(1e-6) * 1e-6 == pytest.approx(trace(1e-5) * 1e-5, rel=1e-3)
        for beyond in (1e-7, 1e-3, 0.5, 10.0):
            for scale in (1.0, 0.0):
                assert (
                    FastMotion.at(Point(problem, theta), sampling, scale * source, limit * (1 + beyond)).noise is None
                )
        assert FastMotion.at(Point(problem, theta), sampling, 0 * source, limit * (1 - 1e-7)).noise is not None


class TestVelocity:
    @schemes
    def test_is_the_definition(self, sampling: es.Sampling) -> None:
        """−(η/n) P Σᵢₐ ∇²fᵢₐ[JᵀK⁺R eᵢₐ] with R by brute force, dense pseudo-inverses, and ∇²f by differences."""
        problem, theta = fitted(n=3, d=2, width=3)
        noise, n, h = 0.3, 3, 1e-4
        eta = 0.8 * edge(problem, theta, sampling)
        cov = stationary_covariance(problem, theta, sampling, eta, 0.0, noise, np.zeros((3, 2)))
        every = np.arange(n)
        jacobians = problem.sample_jacobians(theta, every).reshape(6, -1)
        pulled = np.linalg.pinv(jacobians) @ cov  # JᵀK⁺R
        hessians = [
            (problem.sample_jacobians(theta + h * e, every) - problem.sample_jacobians(theta - h * e, every)) / (2 * h)
            for e in np.eye(problem.n_params)
        ]
        stacked = np.stack(hessians, axis=-1).reshape(6, problem.n_params, problem.n_params)
        total = sum(stacked[i] @ pulled[:, i] for i in range(6))
        expected = -eta / n * (total - np.linalg.pinv(jacobians) @ (jacobians @ total))
        source = noise**2 / (sampling.batch_size * n) * rows.identities(n, 2)
        fast = FastMotion.at(Point(problem, theta), sampling, source, eta)
        np.testing.assert_allclose(velocity(Point(problem, theta), fast), expected, atol=1e-5 * np.abs(expected).max())
        assert np.abs(jacobians @ velocity(Point(problem, theta), fast)).max() <= 1e-12

    @schemes
    def test_of_the_mean_is_the_mean_gradient_over_the_fast_motion(self, sampling: es.Sampling) -> None:
        problem, theta = fitted(Bilinear)
        eta = 0.5 * edge(problem, theta, sampling)
        fast = FastMotion.at(Point(problem, theta), sampling, rows.identities(4, 2), eta)
        root = fast.parameter_factors @ np.linalg.cholesky(fast.rotated)
        points = theta + np.sqrt(root.shape[1]) * np.concatenate((root.T, -root.T))
        gradient = problem.gradient(points).mean(axis=0)
        residuals = problem.residuals(points, np.arange(4)).mean(axis=0)
        found = mean_velocity(Point(problem, theta), fast, residuals.ravel())
        np.testing.assert_allclose(found, -eta * gradient, atol=1e-10 * np.abs(found).max())
        assert np.abs(residuals).max() > 1e-3

    @schemes
    def test_outputs_that_share_nothing_are_one_output_each(self, sampling: es.Sampling) -> None:
        singles = [solution(("product", 2), (4, 6), seed=1), solution(("difference", 3), (4, 6), seed=2)]
        problem = Stacked([single for single, _ in singles])
        theta = np.concatenate([point for _, point in singles])
        eta = 0.8 * min(edge(single, point, sampling) for single, point in singles)
        assert edge(problem, theta, sampling) == pytest.approx(eta / 0.8, rel=1e-9)
        source = np.linspace(0.01, 0.02, 4)
        joint = FastMotion.at(Point(problem, theta), sampling, (source[:, None, None] * np.eye(2)).ravel(), eta)
        found = problem.parts(velocity(Point(problem, theta), joint))
        for a, (single, point) in enumerate(singles):
            alone = FastMotion.at(Point(single, point), sampling, source, eta)
            expected = velocity(Point(single, point), alone)
            np.testing.assert_allclose(found[a], expected, atol=1e-8 * np.abs(expected).max())
            own = joint.residual_covariance[a::2, a::2]
            np.testing.assert_allclose(own, alone.residual_covariance, atol=1e-9 * np.abs(own).max())
        assert np.abs(joint.residual_covariance[0::2, 1::2]).max() <= 1e-12 * np.abs(joint.residual_covariance).max()

    @schemes
    def test_a_rotation_of_the_outputs_changes_nothing(self, sampling: es.Sampling) -> None:
        problem, theta = fitted(c=3, width=6)
        turn = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
        turned = Turned(problem, turn)
        eta = 0.8 * edge(problem, theta, sampling)
        left = 0.1 * np.random.default_rng(6).standard_normal((4, 3))
        laws = [
            MeanLaw(kind, sampling, es.Ramp.of(eta), 1, 0.0, 0.01, residuals.ravel())
            for kind, residuals in ((problem, left), (turned, left @ turn.T))
        ]
        # Off the solutions, so that the residuals which the batches see turn too.
        plain, other = (law.velocity(0.0, theta + 0.01) for law in laws)
        np.testing.assert_allclose(other, plain, atol=1e-8 * np.abs(plain).max())
        frozen = [
            Law(kind, sampling, es.Ramp.of(eta), 1, 0.0, 0.01, residuals.ravel()).velocity(0.0, theta)
            for kind, residuals in ((problem, left), (turned, left @ turn.T))
        ]
        np.testing.assert_allclose(frozen[1], frozen[0], atol=1e-8 * np.abs(frozen[0]).max())
        assert np.abs(frozen[0]).max() > 0

    @pytest.mark.parametrize("gap", [0.5, 0.01])
    def test_stiffness_is_the_gradient_of_the_noise_power(self, gap: float) -> None:
        problem, theta = fitted()
        sampling = SCHEMES[1]
        roots = np.random.default_rng(7).standard_normal((4, 2, 2))
        source = (roots @ roots.transpose(0, 2, 1)).ravel()
        eta = (1 - gap) * edge(problem, theta, sampling)

        def log_power(point: np.ndarray) -> float:
            cov = FastMotion.at(Point(problem, point), sampling, source, eta).residual_covariance
            blocks = [cov[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] for i in range(4)]
            return float(np.log(sum(np.trace(a @ b) for a, b in zip(blocks, source.reshape(4, 2, 2), strict=True))))

        h = 1e-6 * gap
        expected = [(log_power(theta + h * e) - log_power(theta - h * e)) / (2 * h) for e in np.eye(len(theta))]
        found = stiffness(Point(problem, theta), FastMotion.at(Point(problem, theta), sampling, source, eta))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(found).max())

    def test_full_batch_descends_the_log_barrier(self) -> None:
        problem, theta = fitted()
        n, noise, sampling = 4, 0.1, es.WithoutReplacement(4)
        eta = 0.8 * edge(problem, theta, sampling)

        def barrier(point: np.ndarray) -> float:
            jacobians = problem.sample_jacobians(point, np.arange(n)).reshape(8, -1)
            eigenvalues = np.linalg.eigvalsh(jacobians @ jacobians.T) / n
            return float(-eta * noise**2 / (2 * n) * np.log(1 - eta * eigenvalues / 2).sum())

        h = 1e-5
        gradient = np.array([(barrier(theta + h * e) - barrier(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
        fast = FastMotion.at(Point(problem, theta), sampling, noise**2 / n**2 * rows.identities(n, 2), eta)
        found = velocity(Point(problem, theta), fast)
        np.testing.assert_allclose(found, -project(fast, gradient), atol=1e-7 * np.abs(found).max())
        assert np.abs(push(Point(problem, theta), fast)).max() > 0


def short_run() -> dict[str, Any]:
    problem, theta = fitted()
    sampling = es.WithoutReplacement(2)
    first = edge(problem, theta, sampling)
    return {
        "problem": problem, "theta0": theta, "sampling": sampling, "step_size": es.Ramp(0.8 * first, 1.2 * first),
        "n_steps": 20_000, "label_noise": 0.02,
    }  # fmt: skip


class TestSolve:
    def test_against_an_explicit_solver(self) -> None:
        run = short_run()
        found = flow.solve(**run, n_records=5, record=("distance_to_edge",))
        law, start = Law.of(*(run[k] for k in ("problem", "theta0", "sampling", "step_size", "n_steps", "label_noise")))
        exact = solve_ivp(
            law.velocity, (0, run["n_steps"]), start, method="DOP853", t_eval=found["step"].values, rtol=1e-9, atol=1e-11
        ).y.T  # fmt: skip
        np.testing.assert_allclose(found["theta"].values, exact, atol=1e-5)
        assert np.linalg.norm(exact[-1] - start) > 0.02
        residuals = run["problem"].residuals(found["theta"].values, np.arange(4))
        assert np.abs(residuals).max() <= 1e-11
        assert (found["distance_to_edge"].values > 0).all()
        assert found.attrs["n_outputs"] == 2

    def test_of_outputs_that_share_nothing(self) -> None:
        singles = [solution(("product", 2), (3, 5), seed=seed) for seed in (3, 4)]
        sampling = es.WithoutReplacement(1)
        first = min(edge(single, point, sampling) for single, point in singles)
        run = {
            "step_size": es.Ramp(0.8 * first, 1.1 * first), "sampling": sampling, "n_steps": 20_000,
            "label_noise": 0.05, "n_records": 4, "record": ("loss",),
        }  # fmt: skip
        problem = Stacked([single for single, _ in singles])
        joint = flow.solve(problem, np.concatenate([point for _, point in singles]), **run)
        alone = [flow.solve(single, point, **run) for single, point in singles]
        parts = problem.parts(joint["theta"].values)
        for part, own, (_, point) in zip(parts, alone, singles, strict=True):
            np.testing.assert_allclose(part, own["theta"], atol=2e-5)
            assert np.linalg.norm(part[-1] - point) > 1e-2
        np.testing.assert_allclose(joint["loss"], alone[0]["loss"] + alone[1]["loss"], rtol=1e-3)

    def test_variables_are_those_of_the_statistics(self) -> None:
        run = short_run()
        problem, sampling = run["problem"], run["sampling"]
        found = flow.solve(**run, n_records=3)
        point, eta = found["theta"].values[1], float(found["step_size"][1])
        jacobians = problem.sample_jacobians(point, np.arange(4)).reshape(8, -1)
        value = float(found["mean_square_sharpness_gauss_newton"][1])
        assert value == pytest.approx(
            es.mean_square_sharpness(problem, point, sampling, hessian="gauss_newton"), rel=1e-9
        )
        assert value == pytest.approx(Point(problem, point).sharpness(sampling.variance_coefficient(4)), rel=1e-9)
        assert float(found["distance_to_edge"][1]) == pytest.approx(1 - eta / 2 * value)
        assert float(found["sharpness"][1]) == pytest.approx(np.linalg.norm(jacobians, 2) ** 2 / 4, rel=1e-10)
        batches, probabilities = oracles.all_batches(4, sampling)
        tops = largest_eigenvalues(problem.gauss_newton_curvature(point), batches)
        assert float(found["minibatch_sharpness"][1]) == pytest.approx(probabilities @ tops, rel=1e-10)
        law, _ = Law.of(problem, run["theta0"], sampling, run["step_size"], run["n_steps"], 0.02)
        expected = np.trace(law.fast(float(found["step"][1]), law.at(point)).residual_covariance) / 8
        assert float(found["loss"][1]) == pytest.approx(expected, rel=1e-8)
        assert (found["error_estimate"].values > 0).all()

    def test_batch_sharpness_is_that_of_sgd_at_random_residuals(self) -> None:
        problem, theta = fitted(n=5)
        sampling, noise = es.WithReplacement(3), 1e-4
        eta = 0.9 * edge(problem, theta, sampling)
        found = flow.solve(
            problem, theta, step_size=eta, sampling=sampling, n_steps=1, label_noise=noise, n_records=2,
            n_batches=20_000, record=("batch_sharpness", "batch_sharpness_parts"),
        )  # fmt: skip
        fast = FastMotion.at(Point(problem, theta), sampling, noise**2 / 15 * rows.identities(5, 2), eta)
        draws = stationary(fast, np.zeros(10), noise, sampling, (1000, 1), np.random.SeedSequence(5))[:, 0]
        points = theta + draws @ fast.parameter_factors.T
        for average, name in (("mean_of_ratios", "batch_sharpness"), ("ratio_of_means", "batch_sharpness_parts")):
            values = [es.batch_sharpness(problem, point, sampling, average=average).value for point in points]
            error = np.hypot(np.std(values) / np.sqrt(len(values)), float(found[f"{name}_standard_error"][0]))
            assert abs(np.mean(values) - float(found[name][0])) <= 4 * error + 1e-3 * np.mean(values)

    def test_momentum_has_its_own_edge(self) -> None:
        run = short_run()
        problem, sampling = run["problem"], run["sampling"]
        limit = es.stability.critical_step_size(problem, run["theta0"], sampling, momentum=0.9, hessian="gauss_newton")
        options = run | {"step_size": 0.7 * limit, "n_steps": 10, "momentum": 0.9}
        found = flow.solve(**options, n_records=2, record=("distance_to_edge",))
        assert float(found["distance_to_edge"][0]) == pytest.approx(0.3, rel=1e-6)

    def test_levels_and_drift_of_sgd(self) -> None:
        """Nothing is fitted: eight runs of SGD, and the mean flow."""
        problem, theta = fitted()
        sampling = es.WithoutReplacement(2)
        first = edge(problem, theta, sampling)
        run = {
            "step_size": es.Ramp(0.8 * first, 1.1 * first), "sampling": sampling, "n_steps": 4_000,
            "label_noise": 0.03, "n_records": 33,
        }  # fmt: skip
        name = "mean_square_sharpness_gauss_newton"
        trace = es.simulate(problem, theta, record=(name,), n_replicas=8, seed=2, **run)
        predicted = flow.solve(problem, theta, follow="mean", record=("mean_square_sharpness_gauss_newton",), **run)
        after = trace["step"].values > 1_000
        runs = trace[name].values[:, after].mean(axis=1)
        level = float(predicted["mean_square_sharpness_gauss_newton"].values[after].mean())
        error = runs.std(ddof=1) / np.sqrt(8)
        assert abs(runs.mean() - level) <= 0.02 * level + 3 * error
        assert error <= 0.01 * level

    def test_refuses(self) -> None:
        run = short_run()
        with pytest.raises(ValueError, match="theta0 must be a minimum"):
            flow.solve(**(run | {"theta0": run["theta0"] + 1.0}))
        with pytest.raises(ValueError, match="step_size must start below the mean-square edge"):
            flow.solve(**(run | {"step_size": 100.0}))
        bent, theta, _ = unreachable(TanhNetwork, 1)
        with pytest.raises(ValueError, match="is not the Gauss–Newton matrix"):
            flow.solve(bent, theta, step_size=1e-3, sampling=es.WithoutReplacement(2), n_steps=10)
