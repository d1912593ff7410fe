"""The flow of heavy ball, and the mean of SGD off the solutions: against direct computation and against SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import esssim as es
from esssim import flow
from esssim.experiments.flow import FlowExperiment
from esssim.flow import validity
from esssim.flow.fast import FastMotion
from esssim.flow.integrate import Course
from esssim.flow.law import Law
from esssim.flow.mean import MeanLaw
from esssim.flow.point import Point
from esssim.flow.slow import mean_velocity, project, push, stiffness, velocity
from esssim.flow.validity import spread_correction
from esssim.flow.wall import wall
from esssim.problems import NonlinearLeastSquares
from tests import oracles
from tests.test_flow import SCHEMES, edge, perceptron, schemes, solution, two_samples

MOMENTA = (0.5, 0.9)
momenta = pytest.mark.parametrize("momentum", MOMENTA)


def momentum_edge(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling, momentum: float) -> float:
    return es.stability.critical_step_size(problem, theta, sampling, momentum=momentum, hessian="gauss_newton")


def fast_motion(
    problem: Any, theta: np.ndarray, sampling: es.Sampling, source: float, eta: float, momentum: float
) -> FastMotion:
    sources = np.full(problem.n_samples, source)
    return FastMotion.at(Point(problem, theta), sampling, sources, eta, momentum=momentum)


class TestHeavyBall:
    @momenta
    @schemes
    @pytest.mark.parametrize("shape", [(6, 4), (4, 6)], ids=str)
    def test_covariance_is_where_the_exact_recursion_ends(
        self, shape: tuple[int, int], sampling: es.Sampling, momentum: float
    ) -> None:
        problem, theta = solution(("product", 2), shape)
        n, b, noise = problem.n_samples, sampling.batch_size, 0.3
        eta = 0.8 * momentum_edge(problem, theta, sampling, momentum)
        found = fast_motion(problem, theta, sampling, noise**2 / (b * n), eta, momentum)
        jacobians = problem.sample_jacobians(theta, np.arange(n))
        gram = jacobians @ jacobians.T
        batches, probabilities = oracles.all_batches(n, sampling)
        weights = np.zeros((len(batches), n))
        for m, batch in enumerate(batches):
            np.add.at(weights[m], batch, 1 / b)
        # u ← βu + K(w∘r − noise), r ← r − ηu on the state (r, u).
        pulled, one = gram[None] * weights[:, None, :], np.broadcast_to(np.eye(n), (len(batches), n, n))
        transitions = np.concatenate(
            (
                np.concatenate((one - eta * pulled, -eta * momentum * one), axis=2),
                np.concatenate((pulled, momentum * one), axis=2),
            ),
            axis=1,
        )
        kick = np.concatenate((eta * gram, -gram))
        source = kick @ (noise**2 / b * np.diag(probabilities @ weights)) @ kick.T
        operator = np.einsum("m,mij,mkl->ikjl", probabilities, transitions, transitions, optimize=True)
        operator, covariance = operator.reshape(4 * n * n, 4 * n * n), source.ravel()
        for _ in range(30):  # the sum over 2³⁰ steps, by doubling
            covariance, operator = covariance + operator @ covariance, operator @ operator
        expected = covariance.reshape(2 * n, 2 * n)[:n, :n]
        np.testing.assert_allclose(found.residual_covariance, expected, atol=1e-5 * np.abs(expected).max())

    @momenta
    @pytest.mark.parametrize("b", [1, 3, 6])
    def test_is_singular_exactly_at_its_mean_square_edge(self, b: int, momentum: float) -> None:
        problem, theta = solution(("difference", 3), (6, 4))
        sampling = es.WithoutReplacement(b)
        limit = momentum_edge(problem, theta, sampling, momentum)

        def trace(gap: float) -> float:
            return float(np.trace(fast_motion(problem, theta, sampling, 1.0, limit * (1 - gap), momentum).rotated))

        assert trace(1e-6) * 1e-6 == pytest.approx(trace(1e-5) * 1e-5, rel=1e-3)
        for beyond in (1e-6, 1e-3, 0.5, 10.0):
            assert fast_motion(problem, theta, sampling, 1.0, limit * (1 + beyond), momentum).noise is None

    @momenta
    def test_full_batch_descends_its_log_barrier(self, momentum: float) -> None:
        # V = −(ηε²(1+β)/(2n(1−β)²)) Σ log(1 − ηλ/(2(1+β))).
        problem, theta = solution(("difference", 3), (4, 6))
        n, noise, sampling = 4, 0.1, es.WithoutReplacement(4)
        eta = 0.8 * momentum_edge(problem, theta, sampling, momentum)

        def barrier(point: np.ndarray) -> float:
            jacobians = problem.sample_jacobians(point, np.arange(n))
            logs = np.log(1 - eta * np.linalg.eigvalsh(jacobians @ jacobians.T) / n / (2 * (1 + momentum)))
            return float(-eta * noise**2 * (1 + momentum) / (2 * n * (1 - momentum) ** 2) * logs.sum())

        h = 1e-5
        gradient = np.array([(barrier(theta + h * e) - barrier(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
        fast = fast_motion(problem, theta, sampling, noise**2 / n**2, eta, momentum)
        found = velocity(Point(problem, theta), fast)
        np.testing.assert_allclose(found, -project(fast, gradient), atol=1e-7 * np.abs(found).max())

    @momenta
    def test_distance_is_to_its_own_edge(self, momentum: float) -> None:
        run = two_samples()
        problem, theta, sampling = run["problem"], run["theta0"], run["sampling"]
        eta = 0.7 * momentum_edge(problem, theta, sampling, momentum)
        options = run | {"step_size": eta, "n_steps": 10, "momentum": momentum}
        found = flow.solve(**options, n_records=2, record=("distance_to_edge",))
        assert float(found["distance_to_edge"][0]) == pytest.approx(0.3, rel=1e-9)
        assert found.attrs["momentum"] == momentum

    @pytest.mark.parametrize(("n", "d", "b", "momentum"), [(20, 10, 2, 0.9), (10, 20, 4, 0.5)])
    def test_levels_of_sgd_within_two_per_cent(self, n: int, d: int, b: int, momentum: float) -> None:
        table = es.data.gaussian(n, d, seed=1)
        problem = es.DiagonalLinearNetwork(table.inputs, table.targets)
        theta = es.gradient_flow(problem, np.repeat([2.0, 0.0], d))
        sampling = es.WithoutReplacement(b)
        first = momentum_edge(problem, theta, sampling, momentum)
        run = {
            "step_size": es.Ramp(0.8 * first, 1.3 * first), "sampling": sampling, "n_steps": 60_000,
            "label_noise": 0.03, "n_records": 41, "momentum": momentum,
        }  # fmt: skip
        name = "mean_square_sharpness_gauss_newton"
        trace = es.simulate(problem, theta, record=(name, "theta"), n_replicas=8, seed=2, **run)
        predicted = flow.solve(problem, theta, record=("mean_square_sharpness_gauss_newton",), **run)
        after = trace["step"].values > 10_000
        runs = trace[name].values[:, after].mean(axis=1)
        level = float(predicted["mean_square_sharpness_gauss_newton"].values[after].mean())
        assert abs(runs.mean() - level) <= 0.02 * level
        assert runs.std(ddof=1) / np.sqrt(8) <= 0.006 * level
        moved = trace["theta"].values.mean(axis=0)[-8:].mean(axis=0) - theta
        expected = predicted["theta"].values[-8:].mean(axis=0) - theta
        assert np.linalg.norm(moved - expected) <= 0.1 * np.linalg.norm(expected)

    def test_refuses(self) -> None:
        with pytest.raises(ValueError, match="momentum must be"):
            flow.solve(**two_samples(), momentum=1.0)
        with pytest.raises(ValueError, match="step_size must start below the mean-square edge"):
            flow.solve(**(two_samples() | {"step_size": 1.5}), momentum=0.9)


class TestMean:
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @schemes
    def test_velocity_is_the_mean_gradient_over_the_fast_motion(self, sampling: es.Sampling, momentum: float) -> None:
        # The product form is quadratic: over points ±√r a_k, a_k the columns of a root of Σ, its mean gradient is exact.
        problem, theta = solution(("product", 2), (4, 6))
        everyone = np.arange(4)
        eta = 0.5 * momentum_edge(problem, theta, sampling, momentum)
        fast = fast_motion(problem, theta, sampling, 0.02, eta, momentum)
        root = fast.parameter_factors @ np.linalg.cholesky(fast.rotated)
        points = theta + np.sqrt(4) * np.concatenate((root.T, -root.T))
        gradient = problem.gradient(points).mean(axis=0)
        residuals = problem.residuals(points, everyone).mean(axis=0)
        found = mean_velocity(Point(problem, theta), fast, residuals)
        np.testing.assert_allclose(found, -eta / (1 - momentum) * gradient, atol=1e-10 * np.abs(found).max())
        assert np.abs(residuals).max() > 1e-3

    @schemes
    def test_along_the_solutions_it_is_the_flow(self, sampling: es.Sampling) -> None:
        problem, theta = perceptron()
        fast = fast_motion(problem, theta, sampling, 0.01, 0.5 * edge(problem, theta, sampling), 0.0)
        found = mean_velocity(Point(problem, theta), fast, np.zeros(8))
        np.testing.assert_allclose(
            project(fast, found), velocity(Point(problem, theta), fast), atol=1e-9 * np.abs(found).max()
        )
        # And it rests across them where the gradient balances the push.
        balance = (
            -np.linalg.pinv(fast.jacobians @ fast.jacobians.T) @ fast.jacobians @ push(Point(problem, theta), fast)
        )
        found = mean_velocity(Point(problem, theta), fast, balance)
        np.testing.assert_allclose(found, velocity(Point(problem, theta), fast), atol=1e-9 * np.abs(found).max())

    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_against_another_solver(self, momentum: float) -> None:
        run = two_samples() | {"n_steps": 20_000}
        ramp = es.Ramp(run["step_size"].start / 2, run["step_size"].stop / 2)
        run |= {"step_size": ramp, "momentum": momentum}
        found = flow.solve(**run, label_noise=0.1, follow="mean", n_records=5, record=("loss",))
        law, start = MeanLaw.of(run["problem"], run["theta0"], run["sampling"], ramp, run["n_steps"], 0.1, momentum)
        times = found["step"].values
        exact = solve_ivp(law.velocity, (0, 20_000), start, method="LSODA", t_eval=times, rtol=1e-9, atol=1e-12).y.T
        np.testing.assert_allclose(found["theta"].values, exact, atol=1e-5)
        assert np.linalg.norm(exact[-1] - start) > 0.05
        residuals = run["problem"].residuals(exact[-1], np.arange(3))
        assert np.abs(residuals).max() > 1e-4
        fast = law.fast(20_000, law.at(found["theta"].values[-1]))
        mean = run["problem"].residuals(found["theta"].values[-1], np.arange(3))
        assert float(found["loss"][-1]) == pytest.approx((np.trace(fast.rotated) + mean @ mean) / 6, rel=1e-9)
        assert found.attrs["follow"] == "mean"

    def test_without_noise_it_is_gradient_flow_from_anywhere(self) -> None:
        problem, _ = perceptron()
        theta, eta = problem.random_start(seed=3), 0.02
        run = {"step_size": eta, "sampling": es.WithoutReplacement(8), "n_steps": 500, "n_records": 6}
        found = flow.solve(problem, theta, follow="mean", record=("loss",), **run)
        exact = solve_ivp(
            lambda _, point: -eta * problem.gradient(point), (0, 500), theta, t_eval=found["step"].values, rtol=1e-9,
            atol=1e-12,
        ).y.T  # fmt: skip
        np.testing.assert_allclose(found["theta"].values, exact, atol=1e-4)
        np.testing.assert_allclose(found["loss"], problem.loss(exact), rtol=1e-3)
        assert float(found["loss"][-1]) < float(found["loss"][0]) / 2

    def test_the_batches_see_the_running_residuals(self) -> None:
        problem, _ = perceptron()
        theta, sampling = problem.random_start(seed=3), es.WithoutReplacement(2)
        law, start = MeanLaw.of(problem, theta, sampling, es.Ramp.of(0.01), 10, 0.3)
        assert start is theta
        residuals = problem.residuals(theta, np.arange(8))
        np.testing.assert_allclose(
            law.fast(0, law.at(theta)).source, sampling.variance_coefficient(8) / 8 * residuals**2 + 0.09 / 16
        )

    def test_tends_to_the_flow_as_the_square_of_the_noise(self) -> None:
        run = two_samples()
        run |= {"step_size": run["step_size"].start / 2}

        def miss(noise: float) -> float:
            options = run | {"n_steps": int(20 / noise**2), "label_noise": noise, "n_records": 2, "record": ()}
            ends = [flow.solve(**options, follow=follow)["theta"].values[-1] for follow in ("mean", "solutions")]
            return float(np.linalg.norm(ends[0] - ends[1]) / np.linalg.norm(ends[1] - run["theta0"]))

        assert miss(0.1) / miss(0.05) == pytest.approx(4.0, rel=0.1)

    def test_a_coordinate_that_dies_stays_dead(self) -> None:
        # A weight far below its own fluctuation: u and v vanish, and with them an eigenvalue of K. So they do in SGD.
        rng = np.random.default_rng(4)
        inputs, noise = rng.standard_normal((60, 3)), rng.standard_normal(60)
        noise -= inputs @ np.linalg.lstsq(inputs, noise, rcond=None)[0]
        problem = es.DiagonalLinearNetwork(inputs, inputs @ np.array([1.0, -1.0, 1e-3]) + noise)
        theta = es.gradient_flow(problem, np.repeat([1.0, 0.0], 3))
        sampling = es.WithoutReplacement(1)
        run = {
            "step_size": 0.3 * edge(problem, theta, sampling), "sampling": sampling, "n_steps": 100_000, "n_records": 5,
        }  # fmt: skip
        found = flow.solve(problem, theta, follow="mean", record=("mean_square_sharpness_gauss_newton",), **run)
        assert int(found["diverged_at"]) == -1
        u, v = np.split(found["theta"].values[1:], 2, axis=1)
        assert np.abs((u, v))[..., 2].max() < 1e-4
        assert np.hypot(u, v)[:, :2].min() > 0.5
        trace = es.simulate(problem, theta, record=("theta",), seed=0, **run)
        assert np.abs(trace["theta"].values[0, 2:, [2, 5]]).max() < 1e-4

    def test_a_sample_without_noise_is_no_edge(self) -> None:
        """A row of zeros whose target is zero has no residual: its ρ is 0, on the boundary of the cone."""
        rng = np.random.default_rng(0)
        inputs, targets = rng.standard_normal((6, 4)), rng.standard_normal(6)
        inputs[5], targets[5] = 0.0, 0.0
        problem, theta, sampling = es.DiagonalLinearNetwork(inputs, targets), np.full(8, 0.5), es.WithoutReplacement(2)
        for gap in (0.5, 1e-6):
            eta = (1 - gap) * edge(problem, theta, sampling)
            law, _ = MeanLaw.of(problem, theta, sampling, es.Ramp.of(eta), 20, 0.0)
            fast = law.fast(0.0, law.at(theta))
            matrix = np.eye(6) - fast.perron.kappa_2 * np.array([fast.feed_back(unit) for unit in np.eye(6)]).T
            assert fast.noise is not None
            np.testing.assert_allclose(fast.noise, np.linalg.solve(matrix, fast.source), rtol=1e-4, atol=1e-14)
            assert fast.noise[5] == pytest.approx(0.0, abs=1e-14)
        found = flow.solve(problem, theta, step_size=0.05, sampling=sampling, n_steps=20, follow="mean", n_records=3)
        assert int(found["diverged_at"]) == -1
        law, _ = MeanLaw.of(problem, theta, sampling, es.Ramp.of(1.001 * edge(problem, theta, sampling)), 20, 0.0)
        assert law.fast(0.0, law.at(theta)).noise is None

    def test_single_samples_have_no_mode_at_the_edge(self) -> None:
        """At b = 1 no mode has an edge of its own: with directions of pairs the solver uses up its evaluations here."""
        run = FlowExperiment("diabetes", 1, 0.0, own_targets=True, n_steps=60_000)
        found = flow.solve(
            run.problem, run.theta0, step_size=run.step_size, sampling=run.sampling, n_steps=run.n_steps,
            follow="mean", record=("loss",), n_records=2, most_evaluations=2000,
        )  # fmt: skip
        assert int(found["gave_up_at"]) == int(found["diverged_at"]) == -1

    def test_a_kink_is_no_wall(self) -> None:
        """|θ| has its minimum at a kink, where dθ/dt jumps: the solver gives up there, a tenth of the way to the edge."""

        class Kinked(NonlinearLeastSquares):
            def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
                return np.abs(theta) * np.array([1.0, 2.0])[indices] + 1.0

            def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
                return np.sign(theta)[..., None, :] * np.array([1.0, 2.0])[indices][..., None]

            def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
                return np.zeros_like(vectors)

        problem, sampling = Kinked(2, 1), es.WithoutReplacement(1)
        eta = 0.1 * edge(problem, np.array([1.0]), sampling)
        found = flow.solve(problem, [1.0], step_size=eta, sampling=sampling, n_steps=1000, follow="mean", n_records=3)
        assert int(found["diverged_at"]) == -1
        assert 0 < int(found["gave_up_at"]) < 100
        assert np.isnan(found["theta"].values[1:]).all()

    def test_refuses_an_unknown_follow(self) -> None:
        with pytest.raises(
            ValueError, match="follow must be one of 'solutions', 'mean', got 'means'; did you mean 'mean'"
        ):
            flow.solve(**two_samples(), follow="means")


def modes_at_the_edge() -> tuple[es.DiagonalLinearNetwork, np.ndarray]:
    """A network and a point off its solutions, with three eigenvalues of K within 0.3 %, nine times the others."""
    rng = np.random.default_rng(0)
    n, d = 12, 20
    sizes = np.sqrt(np.array([1.0, 1.002, 0.999] + [0.3] * (n - 3)))
    turned = np.linalg.qr(rng.standard_normal((n, n)))[0] * sizes @ np.linalg.qr(rng.standard_normal((d, n)))[0].T
    theta = np.concatenate((np.ones(d), 0.05 * rng.standard_normal(d)))
    targets = 3 * turned @ (theta[:d] * theta[d:]) + 0.1 * rng.standard_normal(n)
    return es.DiagonalLinearNetwork(3 * turned, targets), theta


class TestStiffJacobian:
    @pytest.mark.parametrize("gap", [1e-3, 1e-4])
    @pytest.mark.parametrize("batch_size", [2, 6, 10, 11])
    def test_is_what_grows_at_the_edge(self, batch_size: int, gap: float) -> None:
        """Against differences of the velocity: what is left out is small beside it near the edge, in proportion to the
        distance, and a tenth of that where the three modes have directions of their own.
        """
        problem, theta = modes_at_the_edge()
        sampling = es.WithoutReplacement(batch_size)
        law, _ = MeanLaw.of(problem, theta, sampling, es.Ramp.of((1 - gap) * edge(problem, theta, sampling)), 10, 0.02)
        steps = 1e-6 * gap * np.eye(len(theta))
        differences = [law.velocity(0.0, theta + step) - law.velocity(0.0, theta - step) for step in steps]
        expected = np.array(differences).T / (2e-6 * gap)
        found = law.stiff_jacobian(0.0, theta)
        assert found is not None
        most = 5 * gap if batch_size >= 10 else 50 * gap
        assert np.linalg.norm(found.dense() - expected, 2) < most * np.linalg.norm(expected, 2)

    @pytest.mark.parametrize("gap", [0.5, 0.01])
    def test_of_the_mean_is_the_descent_and_the_wall(self, gap: float) -> None:
        """With one mode at the edge, or none."""
        problem, theta = solution(("difference", 3), (4, 6))
        eta = (1 - gap) * edge(problem, theta, SCHEMES[1])
        law, _ = MeanLaw.of(problem, theta, SCHEMES[1], es.Ramp.of(eta), 10, 0.01)
        fast = law.fast(0.0, law.at(theta))
        descent = -eta / 4 * fast.jacobians.T @ fast.jacobians
        wall = np.outer(-eta / 4 * push(Point(problem, theta), fast), stiffness(Point(problem, theta), fast))
        np.testing.assert_allclose(law.stiff_jacobian(0.0, theta).dense(), descent + wall, rtol=1e-9, atol=1e-15)

    def test_every_pair_of_modes_at_the_edge_has_a_direction(self) -> None:
        """With batches of nearly all samples the three modes meet it together: a single direction leaves a sixth."""
        problem, theta = modes_at_the_edge()
        sampling = es.WithoutReplacement(11)
        law, _ = MeanLaw.of(problem, theta, sampling, es.Ramp.of(0.999 * edge(problem, theta, sampling)), 10, 0.02)
        point = law.at(theta)
        # Six pairs, what is beyond them, and the source.
        assert len(wall(point, law.fast(0.0, point), point.residuals)[0]) == 8

    def test_the_source_moves_with_the_residuals(self) -> None:
        """The last direction is the gradient of log⟨ρ, source⟩ at a fixed ρ: against differences of the source."""
        problem, theta = modes_at_the_edge()
        sampling = es.WithoutReplacement(11)
        law, _ = MeanLaw.of(problem, theta, sampling, es.Ramp.of(0.999 * edge(problem, theta, sampling)), 10, 0.02)
        fast = law.fast(0.0, law.at(theta))
        assert fast.noise is not None
        sources = [
            [law.fast(0.0, law.at(theta + sign * step)).source for sign in (1, -1)] for step in 1e-5 * np.eye(40)
        ]
        expected = [fast.noise @ (above - below) / 2e-5 / (fast.noise @ fast.source) for above, below in sources]
        found = wall(law.at(theta), fast, law.at(theta).residuals)[1][-1]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())

    def test_without_noise_there_is_only_the_descent(self) -> None:
        problem, theta = solution(("difference", 3), (4, 6))
        law, _ = MeanLaw.of(problem, theta, SCHEMES[1], es.Ramp.of(0.5 * edge(problem, theta, SCHEMES[1])), 10, 0.0)
        jacobians = problem.sample_jacobians(theta, np.arange(4))
        descent = -float(law.ramp.start) / 4 * jacobians.T @ jacobians
        found = law.stiff_jacobian(0.0, theta)
        assert found is not None
        np.testing.assert_allclose(found.dense(), descent, rtol=1e-9, atol=1e-12)

    def test_none_beyond_the_edge(self) -> None:
        problem, theta = solution(("difference", 3), (4, 6))
        eta = 1.1 * edge(problem, theta, SCHEMES[1])
        for kind in (Law, MeanLaw):
            law, _ = kind.of(problem, theta, SCHEMES[1], es.Ramp.of(eta), 10, 0.01)
            assert law.stiff_jacobian(0.0, theta) is None
            assert np.isnan(law.velocity(0.0, theta)).all()


class TestNextOrderCorrection:
    def test_is_the_mean_flow_and_the_spread_about_it(self) -> None:
        run = two_samples() | {"n_steps": 30_000}
        options = {"label_noise": 0.05, "n_records": 4}
        names = ("mean_square_sharpness_gauss_newton", "next_order_correction", "error_estimate")
        plain = flow.solve(**run, **options, record=names)
        mean = flow.solve(**run, **options, record=names, follow="mean")
        levels = mean["mean_square_sharpness_gauss_newton"] * (1 + mean["next_order_correction"])
        np.testing.assert_allclose(
            plain["mean_square_sharpness_gauss_newton"] * (1 + plain["next_order_correction"]), levels, rtol=1e-6
        )
        for found in (plain, mean):
            np.testing.assert_array_equal(found["error_estimate"], np.abs(found["next_order_correction"]))
        problem, c = run["problem"], run["sampling"].variance_coefficient(3)
        law, _ = MeanLaw.of(problem, run["theta0"], run["sampling"], run["step_size"], 30_000, 0.05)
        point = mean["theta"].values[-1]
        spread = spread_correction(Point(problem, point), law.fast(30_000.0, law.at(point)))
        assert float(mean["next_order_correction"][-1]) == pytest.approx(spread, rel=1e-6)
        assert 0 < abs(spread) < 0.1
        # The mean over four pairs, in parameters: JᵀK⁺ of residuals ~ N(0, R).
        fast = law.fast(30_000.0, law.at(point))
        normal = np.random.default_rng(0).standard_normal((4, len(fast.jacobians)))
        draws = fast.coordinates(normal) @ fast.perron.eigenvectors.T
        steps = draws @ np.linalg.pinv(fast.jacobians).T
        around = [
            es.mean_square_sharpness(problem, point + step, run["sampling"], hessian="gauss_newton")
            for step in (*steps, *-steps)
        ]
        assert spread == pytest.approx(np.mean(around) / Point(problem, point).sharpness(c) - 1, rel=1e-6)
        assert Point(problem, point).sharpness(c) == pytest.approx(
            es.mean_square_sharpness(problem, point, run["sampling"], hessian="gauss_newton"), rel=1e-10
        )

    @pytest.mark.parametrize("shape", [(6, 4), (20, 12), (4, 6)])
    def test_does_not_depend_on_the_signs_of_eigenvectors(
        self, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
    ) -> None:
        problem, theta = solution(shape=shape)
        point, sampling = Point(problem, theta), es.WithoutReplacement(2)
        step_size = 0.9 * edge(problem, theta, sampling)
        eigh, signs = np.linalg.eigh, np.random.default_rng(0)

        def correction() -> float:
            return spread_correction(point, FastMotion.at(point, sampling, np.full(shape[0], 0.01), step_size))

        def flipped(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            values, vectors = eigh(matrix)
            return values, vectors * signs.choice([-1.0, 1.0], len(values))

        expected = correction()
        monkeypatch.setattr(np.linalg, "eigh", flipped)
        assert correction() == pytest.approx(expected, rel=1e-9)

    def test_is_infinite_where_the_mean_ends_before(self, monkeypatch: pytest.MonkeyPatch) -> None:
        integrate = validity.integrate

        def ends_at_once(law: Law, start: np.ndarray, steps: np.ndarray, *limit: Any) -> Course:
            course = integrate(law, start, steps, *limit)
            if isinstance(law, MeanLaw):
                course.thetas[1:] = np.nan
            return course

        monkeypatch.setattr(validity, "integrate", ends_at_once)
        found = flow.solve(**two_samples(), label_noise=0.05, n_records=3)
        assert np.isinf(found["error_estimate"].values).tolist() == [False, True, True]
        assert np.isnan(found["next_order_correction"].values).tolist() == [False, True, True]

    def test_a_sharpness_that_overflows_is_infinite(self) -> None:
        problem, theta = solution(("difference", 4), (4, 6))
        assert Point(problem, 1e200 * theta).sharpness(0.1) == np.inf
