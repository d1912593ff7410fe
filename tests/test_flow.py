"""The stochastic central flow: its algebra against direct computation, its predictions against SGD."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

import esssim as es
from esssim import flow
from esssim.flow.chains import stationary
from esssim.flow.fast import FastMotion
from esssim.flow.law import Law
from esssim.flow.point import Point
from esssim.flow.slow import project, push, stiffness, velocity
from esssim.problems import NonlinearLeastSquares
from esssim.testing import battery
from esssim.testing.strategies import arrays
from tests import oracles

FORMS = (("product", 2), ("difference", 2), ("difference", 3), ("difference", 4))
SHAPES = ((6, 4), (4, 6))
SCHEMES = (es.WithoutReplacement(1), es.WithoutReplacement(2), es.WithReplacement(2))
forms = pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f[0]}{f[1]}")
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
schemes = pytest.mark.parametrize("sampling", SCHEMES, ids=lambda s: f"{type(s).__name__}({s.batch_size})")
QuadraticNetwork = runpy.run_path(str(Path(__file__).parents[1] / "docs/examples/quadratic_network.py"))[
    "QuadraticNetwork"
]


def solution(
    form: tuple[str, int] = ("product", 2), shape: tuple[int, int] = (6, 4), seed: int = 0
) -> tuple[es.DiagonalLinearNetwork, np.ndarray]:
    """A network with targets that it fits at a random theta with positive entries (where all powers are defined)."""
    rng = np.random.default_rng(seed)
    n, d = shape
    inputs, theta = rng.standard_normal((n, d)), rng.uniform(0.5, 1.5, 2 * d)
    name, depth = form
    targets = es.DiagonalLinearNetwork(inputs, np.zeros(n), form=name, depth=depth).residuals(theta, np.arange(n))
    return es.DiagonalLinearNetwork(inputs, targets, form=name, depth=depth), theta


def edge(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    return 2 / es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")


def perceptron(activation: str = "tanh", n: int = 8, width: int = 4) -> tuple[es.Perceptron, np.ndarray]:
    """A small network with targets that it fits at a random theta."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((n, 2))
    theta = rng.standard_normal(4 * width)
    unfitted = es.Perceptron(inputs, np.zeros(n), width, activation=activation)
    return es.Perceptron(inputs, unfitted.residuals(theta, np.arange(n)), width, activation=activation), theta


class TestSecondDerivatives:
    @forms
    def test_products_are_the_derivative_of_the_jacobian(self, form: tuple[str, int]) -> None:
        problem, theta = solution(form)
        self.check(problem, theta)

    @pytest.mark.parametrize("activation", ["tanh", "gelu"])
    def test_of_a_perceptron(self, activation: str) -> None:
        self.check(*perceptron(activation))

    def test_of_a_model_of_ones_own(self) -> None:
        rng = np.random.default_rng(1)
        self.check(QuadraticNetwork(rng.standard_normal((5, 3)), rng.standard_normal(5), 2), rng.standard_normal(6))

    @staticmethod
    def check(problem: NonlinearLeastSquares, theta: np.ndarray) -> None:
        n, p, h = problem.n_samples, problem.n_params, 1e-5
        vectors = np.random.default_rng(2).standard_normal((n, p))
        everyone = np.arange(n)
        found = problem.model_hessian_products(theta, everyone, vectors)
        for i in range(n):
            ahead, behind = (problem.sample_jacobians(theta + sign * h * vectors[i], everyone) for sign in (1, -1))
            np.testing.assert_allclose(found[i], (ahead[i] - behind[i]) / (2 * h), atol=1e-7)

    @forms
    def test_leading_axes_broadcast(self, form: tuple[str, int]) -> None:
        problem, theta = solution(form)
        thetas = theta * np.array([1.0, 0.5])[:, None, None]
        batches = np.array([[0, 1], [2, 3], [4, 0]])
        vectors = np.random.default_rng(0).standard_normal((3, 2, problem.n_params))
        stacked = problem.model_hessian_products(thetas, batches, vectors)
        assert stacked.shape == (2, 3, 2, problem.n_params)
        for a in range(2):
            for b in range(3):
                one = problem.model_hessian_products(thetas[a, 0], batches[b], vectors[b])
                np.testing.assert_array_equal(stacked[a, b], one)

    def test_regression_has_none(self) -> None:
        problem = es.LinearRegression(np.eye(3), np.ones(3))
        assert not problem.model_hessian_products(np.ones(3), np.arange(3), np.ones((3, 3))).any()

    def test_a_model_of_ones_own_passes_the_battery(self) -> None:
        rng = np.random.default_rng(3)
        problem = QuadraticNetwork(rng.standard_normal((4, 3)), rng.standard_normal(4), 2)
        battery.check(battery.Case(problem, rng.standard_normal(6)))


class TestCovariance:
    @forms
    @shapes
    @schemes
    def test_is_where_the_exact_recursion_ends(
        self, form: tuple[str, int], shape: tuple[int, int], sampling: es.Sampling
    ) -> None:
        problem, theta = solution(form, shape)
        n, b = problem.n_samples, sampling.batch_size
        eta = 0.9 * edge(problem, theta, sampling)
        rng = np.random.default_rng(4)
        frozen, noise = rng.standard_normal(n), 0.3
        jacobians = problem.sample_jacobians(theta, np.arange(n))
        # Frozen residuals are what J cannot reach.
        frozen -= jacobians @ np.linalg.pinv(jacobians) @ frozen
        c = sampling.variance_coefficient(n)
        found = FastMotion.at(Point(problem, theta), sampling, c / n * frozen**2 + noise**2 / (b * n), eta)
        gram = jacobians @ jacobians.T
        batches, probabilities = oracles.all_batches(n, sampling)
        weights = np.zeros((len(batches), n))
        for m, batch in enumerate(batches):
            np.add.at(weights[m], batch, 1 / b)
        # r ← r − ηK(w∘(r + r*) − noise), every batch with its probability; the noise of each draw is independent.
        fresh = noise**2 / b**2 * np.diag(b * probabilities @ weights)
        transitions = np.eye(n) - eta * gram[None] * weights[:, None, :]
        kicks = eta * (weights * frozen) @ gram
        source = np.einsum("m,mi,mj->ij", probabilities, kicks, kicks) + eta**2 * gram @ fresh @ gram
        covariance = np.zeros((n, n))
        for _ in range(100_000):
            following = source + np.einsum(
                "m,mij,jk,mlk->il", probabilities, transitions, covariance, transitions, optimize=True
            )
            change, covariance = np.abs(following - covariance).max(), following
            if change <= 1e-14 * np.abs(covariance).max():
                break
        np.testing.assert_allclose(found.residual_covariance, covariance, atol=1e-8 * np.abs(covariance).max())

    @schemes
    def test_is_the_dense_solution_for_the_effective_weights(self, sampling: es.Sampling) -> None:
        # n ≥ d: the covariance S of β solves η(GH₀S + SH₀G) = η²G T(S) G + η²(ε²/b)GH₀G.
        problem, theta = solution(("product", 2), (6, 4))
        n, d, noise = 6, 4, 0.2
        eta = 0.8 * edge(problem, theta, sampling)
        u, v = np.split(theta, 2)
        g = np.diag(u**2 + v**2)
        rows = problem.inputs
        h = rows.T @ rows / n
        batches, probabilities = oracles.all_batches(n, sampling)
        means = np.einsum("mbi,mbj->mij", rows[batches], rows[batches]) / sampling.batch_size
        moment = sum(w * np.kron(a, a) for w, a in zip(probabilities, means, strict=True))
        gg, identity = np.kron(g, g), np.eye(d)
        left = eta * (np.kron(g @ h, identity) + np.kron(identity, g @ h)) - eta**2 * gg @ moment
        right = eta**2 * noise**2 / sampling.batch_size * g @ h @ g
        expected = np.linalg.solve(left, right.ravel()).reshape(d, d)
        source = np.full(n, noise**2 / (sampling.batch_size * n))
        found = FastMotion.at(Point(problem, theta), sampling, source, eta).residual_covariance
        np.testing.assert_allclose(found, rows @ expected @ rows.T, rtol=1e-9)

    @forms
    @shapes
    @pytest.mark.parametrize("b", [1, 3, "n"])
    def test_is_singular_exactly_at_the_mean_square_edge(
        self, form: tuple[str, int], shape: tuple[int, int], b: int | str
    ) -> None:
        problem, theta = solution(form, shape)
        n = problem.n_samples
        sampling = es.WithoutReplacement(n if b == "n" else b)
        limit, source = edge(problem, theta, sampling), np.full(n, 1.0)

        def trace(gap: float) -> float:
            return float(np.trace(FastMotion.at(Point(problem, theta), sampling, source, limit * (1 - gap)).rotated))

        # A simple pole.
        assert trace(1e-7) * 1e-7 == pytest.approx(trace(1e-6) * 1e-6, rel=1e-4)
        for beyond in (1e-9, 1e-3, 0.5, 10.0):
            for scale in (1.0, 0.0):
                assert (
                    FastMotion.at(Point(problem, theta), sampling, scale * source, limit * (1 + beyond)).noise is None
                )
        assert FastMotion.at(Point(problem, theta), sampling, 0 * source, limit * (1 - 1e-9)).noise is not None
        with pytest.raises(ValueError, match="step_size must be below the mean-square edge"):
            _ = FastMotion.at(Point(problem, theta), sampling, source, limit * 1.01).rotated

    def test_draws_have_it(self) -> None:
        problem, theta = solution(shape=(4, 6))
        fast = FastMotion.at(
            Point(problem, theta), SCHEMES[1], np.full(4, 0.01), 0.5 * edge(problem, theta, SCHEMES[1])
        )
        draws = fast.coordinates(np.eye(4)) @ fast.perron.eigenvectors.T
        np.testing.assert_allclose(draws.T @ draws, fast.residual_covariance, rtol=1e-9)


class TestVelocity:
    @forms
    @shapes
    @schemes
    def test_equals_the_closed_form_of_diagonal_networks(
        self, form: tuple[str, int], shape: tuple[int, int], sampling: es.Sampling
    ) -> None:
        name, depth = form
        problem, theta = solution(form, shape)
        n, rows = problem.n_samples, problem.inputs
        source = np.full(n, 0.2**2 / (sampling.batch_size * n))
        fast = FastMotion.at(Point(problem, theta), sampling, source, 0.9 * edge(problem, theta, sampling))
        eta, first, second = fast.step_size, *np.split(theta, 2)
        if name == "product":  # it is the difference form with half the step
            eta, first, second = eta / 2, (first + second) / 2, (first - second) / 2
        moment = rows.T @ (fast.perron.kappa_1 * fast.residual_covariance + np.diag(fast.noise)) @ rows
        strength = (depth - 1) * depth**2 * eta**2 * np.diag(moment) / 2
        pushed = first ** (3 * depth - 4) - second ** (3 * depth - 4)
        g = depth**2 * (first ** (2 * depth - 2) + second ** (2 * depth - 2))
        multiplier = np.linalg.pinv(rows * g @ rows.T) @ (-depth * rows @ (strength * pushed))
        force = depth * rows.T @ multiplier
        expected_first = -(first ** (depth - 1)) * force - strength * first ** (2 * depth - 3)
        expected_second = second ** (depth - 1) * force - strength * second ** (2 * depth - 3)
        if name == "product":
            expected_first, expected_second = expected_first + expected_second, expected_first - expected_second
        expected = np.concatenate((expected_first, expected_second))
        np.testing.assert_allclose(velocity(Point(problem, theta), fast), expected, atol=1e-9 * np.abs(expected).max())

    @forms
    @shapes
    def test_full_batch_descends_the_log_barrier(self, form: tuple[str, int], shape: tuple[int, int]) -> None:
        # V = −(ηε²/2n) Σ log(1 − ηλ/2), λ the eigenvalues of H (Damian, Ma & Lee 2021).
        problem, theta = solution(form, shape)
        n, noise = problem.n_samples, 0.1
        sampling = es.WithoutReplacement(n)
        eta = 0.8 * edge(problem, theta, sampling)

        def barrier(point: np.ndarray) -> float:
            jacobians = problem.sample_jacobians(point, np.arange(n))
            eigenvalues = np.linalg.eigvalsh(jacobians @ jacobians.T) / n
            return float(-eta * noise**2 / (2 * n) * np.log(1 - eta * eigenvalues / 2).sum())

        h = 1e-5
        gradient = np.array([(barrier(theta + h * e) - barrier(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])
        fast = FastMotion.at(Point(problem, theta), sampling, np.full(n, noise**2 / n**2), eta)
        found = velocity(Point(problem, theta), fast)
        np.testing.assert_allclose(found, -project(fast, gradient), atol=1e-7 * np.abs(found).max())

    @schemes
    def test_stays_on_the_solutions_and_ignores_linear_models(self, sampling: es.Sampling) -> None:
        problem, theta = perceptron()
        fast = FastMotion.at(Point(problem, theta), sampling, np.full(8, 0.01), 0.5 * edge(problem, theta, sampling))
        found = velocity(Point(problem, theta), fast)
        assert np.abs(fast.jacobians @ found).max() <= 1e-9 * np.abs(found).max() * np.abs(fast.jacobians).max()
        assert np.abs(found).max() > 0
        linear = es.LinearRegression(np.random.default_rng(0).standard_normal((4, 6)), np.zeros(4))
        still = FastMotion.at(
            Point(linear, np.zeros(6)), sampling, np.full(4, 0.01), 0.1 * edge(linear, np.zeros(6), sampling)
        )
        assert not velocity(Point(linear, np.zeros(6)), still).any()

    @pytest.mark.parametrize("gap", [0.5, 0.01])
    @schemes
    def test_stiffness_is_the_gradient_of_the_noise_power(self, sampling: es.Sampling, gap: float) -> None:
        problem, theta = solution(("difference", 3), (4, 6))
        source = np.linspace(0.01, 0.02, 4)
        eta = (1 - gap) * edge(problem, theta, sampling)

        def log_power(point: np.ndarray) -> float:
            fast = FastMotion.at(Point(problem, point), sampling, source, eta)
            return float(np.log(source @ np.diag(fast.residual_covariance)))

        h = 1e-6 * gap
        expected = [(log_power(theta + h * e) - log_power(theta - h * e)) / (2 * h) for e in np.eye(len(theta))]
        found = stiffness(Point(problem, theta), FastMotion.at(Point(problem, theta), sampling, source, eta))
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(found).max())


class TestExactIdentities:
    """One step of SGD in the difference form of depth 2, and in the product form, for any weights and any batch."""

    @given(st.data())
    def test_each_step(self, data: Any) -> None:
        n, d = 3, 2
        inputs, targets, theta = data.draw(arrays((n, d))), data.draw(arrays((n,))), data.draw(arrays((2 * d,)))
        batch = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=4)))
        eta = data.draw(st.sampled_from((2.0**-3, 2.0**-6)))
        for form in ("difference", "product"):
            problem = es.DiagonalLinearNetwork(inputs, targets, form=form)
            s = problem.residuals(theta, batch) @ inputs[batch] / len(batch)
            (a, b), (c, e) = (np.split(x, 2) for x in (theta, theta - eta * problem.gradient(theta, batch)))
            size = 1e-13 * (1 + np.abs(theta).max() ** 2) * (1 + np.abs(eta * s).max() ** 2)
            if form == "difference":  # w₊w₋ shrinks by 1 − 4η²s²
                np.testing.assert_allclose(c * e, a * b * (1 - 4 * eta**2 * s**2), atol=size)
                np.testing.assert_allclose(
                    np.concatenate((c / 1, e / 1)), np.r_[a * (1 - 2 * eta * s), b * (1 + 2 * eta * s)], atol=size
                )
            else:  # the imbalance u² − v² shrinks by 1 − η²s²
                np.testing.assert_allclose(c**2 - e**2, (a**2 - b**2) * (1 - eta**2 * s**2), atol=size)


class TestKnownBias:
    """Small steps: label noise leads to the flattest solution, here the least Σ‖x_k‖²|β_k| (Damian, Ma & Lee 2021)."""

    @pytest.mark.parametrize("b", [2, 6])
    def test_small_steps_end_at_weighted_basis_pursuit(self, b: int) -> None:
        table = es.data.gaussian(6, 10, seed=3)
        problem = es.DiagonalLinearNetwork(table.inputs, table.targets)
        theta = es.gradient_flow(problem, np.repeat([2.0, 0.0], 10))
        weights, rows = (table.inputs**2).sum(axis=0), table.inputs
        program = linprog(np.tile(weights, 2), A_eq=np.hstack((rows, -rows)), b_eq=table.targets)
        sampling, noise = es.WithoutReplacement(b), 0.1
        eta = 0.02 * edge(problem, theta, sampling)
        found = flow.solve(
            problem, theta, step_size=eta, sampling=sampling, n_steps=int(300 * b / (eta * noise) ** 2),
            label_noise=noise, n_records=3, record=("sharpness",),
        )  # fmt: skip
        solutions = problem.effective_weights(found["theta"].values)
        norms = (weights * np.abs(solutions)).sum(axis=1)
        assert norms[0] > 1.1 * program.fun
        assert norms[-1] == pytest.approx(program.fun, rel=1e-4)
        optimum = program.x[:10] - program.x[10:]
        assert np.linalg.norm(solutions[-1] - optimum) <= 1e-3 * np.linalg.norm(solutions[0] - optimum)


def two_samples() -> dict[str, Any]:
    """A run of a small network, long enough to feel the wall."""
    problem, theta = solution(("product", 2), (3, 5), seed=3)
    sampling = es.WithoutReplacement(1)
    first = edge(problem, theta, sampling)
    return {
        "problem": problem, "theta0": theta, "sampling": sampling, "step_size": es.Ramp(0.8 * first, 1.6 * first),
        "n_steps": 100_000,
    }  # fmt: skip


class TestSolve:
    def test_against_an_explicit_solver(self) -> None:
        run = two_samples()
        noise, n_steps = 0.05, run["n_steps"]
        found = flow.solve(**run, label_noise=noise, n_records=5, record=("sharpness",))
        law, start = Law.of(run["problem"], run["theta0"], run["sampling"], run["step_size"], n_steps, noise)
        times = found["step"].values
        exact = solve_ivp(law.velocity, (0, n_steps), start, method="DOP853", t_eval=times, rtol=1e-10, atol=1e-12).y.T
        np.testing.assert_allclose(found["theta"].values, exact, atol=1e-5)
        assert np.linalg.norm(found["theta"].values[-1] - start) > 0.05
        residuals = run["problem"].residuals(found["theta"].values, np.arange(3))
        assert np.abs(residuals).max() <= 1e-12

    def test_the_offset_from_the_wall_is_quadratic_in_the_noise_over_the_speed(self) -> None:
        run = two_samples()
        names = ("distance_to_edge",)
        gaps = [
            float(flow.solve(**run, label_noise=noise, n_records=3, record=names)["distance_to_edge"][1])
            for noise in (0.003, 0.001)
        ]
        assert np.log(gaps[0] / gaps[1]) / np.log(3.0) == pytest.approx(2.0, abs=0.02)
        slower = run | {"n_steps": 3 * run["n_steps"]}
        slow = float(flow.solve(**slower, label_noise=0.001, n_records=3, record=names)["distance_to_edge"][1])
        assert np.log(slow / gaps[1]) / np.log(3.0) == pytest.approx(1.0, abs=0.02)
        assert 0 < gaps[1] < 1e-3

    def test_variables_are_those_of_the_statistics(self) -> None:
        run = two_samples()
        problem, sampling = run["problem"], run["sampling"]
        found = flow.solve(**run, label_noise=0.03, n_records=3)
        point, eta = found["theta"].values[1], float(found["step_size"][1])
        assert float(found["mean_square_sharpness_gauss_newton"][1]) == pytest.approx(
            es.mean_square_sharpness(problem, point, sampling, hessian="gauss_newton"), rel=1e-10
        )
        assert float(found["distance_to_edge"][1]) == pytest.approx(
            1 - eta / 2 * float(found["mean_square_sharpness_gauss_newton"][1])
        )
        assert float(found["sharpness"][1]) == pytest.approx(es.sharpness(problem, point), rel=1e-9)
        # All residuals vanish on the solutions: the full Hessian is the Gauss–Newton one.
        assert float(found["minibatch_sharpness"][1]) == pytest.approx(
            es.minibatch_sharpness(problem, point, sampling).value, rel=1e-9
        )
        law, _ = Law.of(problem, run["theta0"], sampling, run["step_size"], run["n_steps"], 0.03)
        expected = np.trace(law.fast(float(found["step"][1]), law.at(point)).residual_covariance) / 6
        assert float(found["loss"][1]) == pytest.approx(expected, rel=1e-9)
        # One sample at a time: gᵀHg/‖g‖² is ‖Jᵢ‖², whatever the residual.
        quotient, error = float(found["batch_sharpness"][1]), float(found["batch_sharpness_standard_error"][1])
        assert abs(quotient - float(found["minibatch_sharpness"][1])) <= 4 * error
        assert found.attrs["problem_fingerprint"] == problem.fingerprint
        assert found.attrs["label_noise"] == 0.03
        assert int(found["diverged_at"]) == -1

    def test_batch_sharpness_is_that_of_sgd_at_random_residuals(self) -> None:
        # At points θ + δ with J frozen, over many draws of r and every batch.
        problem, theta = solution(shape=(5, 8))
        sampling = es.WithReplacement(3)
        noise, eta = 1e-4, 0.9 * edge(problem, theta, sampling)
        found = flow.solve(
            problem,
            theta,
            step_size=eta,
            sampling=sampling,
            n_steps=1,
            label_noise=noise,
            n_records=2,
            n_batches=20_000,
        )
        fast = FastMotion.at(Point(problem, theta), sampling, np.full(5, noise**2 / 15), eta)
        draws = stationary(fast, np.zeros(5), noise, sampling, (2000, 1), np.random.SeedSequence(5))[:, 0]
        points = theta + draws @ fast.parameter_factors.T
        for average, name in (("mean_of_ratios", "batch_sharpness"), ("ratio_of_means", "batch_sharpness_parts")):
            values = [
                es.batch_sharpness(problem, point, sampling, average=average).value
                for point in points  # type: ignore[arg-type]
            ]
            error = np.hypot(np.std(values) / np.sqrt(len(values)), float(found[f"{name}_standard_error"][0]))
            assert abs(np.mean(values) - float(found[name][0])) <= 4 * error + 1e-3 * np.mean(values)

    def test_without_noise_nothing_moves_until_the_wall(self) -> None:
        run = two_samples()
        found = flow.solve(**run, n_records=11, record=("distance_to_edge",))
        assert float(found["distance_to_edge"][0]) == pytest.approx(0.2)
        # The wall is met where η = η₀, at a quarter of the way from 0.8η₀ to 1.6η₀.
        assert int(found["diverged_at"]) == pytest.approx(25_000, abs=10)
        alive = found["step"].values < 25_000
        assert np.isfinite(found["theta"].values).all(axis=1).tolist() == alive.tolist()
        np.testing.assert_allclose(found["theta"].values[alive], np.broadcast_to(run["theta0"], (alive.sum(), 10)))

    def test_same_arguments_same_bits(self) -> None:
        run = two_samples()
        first, second = (flow.solve(**run, label_noise=0.03, n_records=3, seed=1) for _ in range(2))
        assert first.identical(second)

    def test_replacing_the_network_by_a_perceptron(self) -> None:
        problem, theta = perceptron()
        sampling = es.WithoutReplacement(2)
        first = edge(problem, theta, sampling)
        ramp = es.Ramp(0.8 * first, 1.3 * first)
        found = flow.solve(
            problem, theta, step_size=ramp, sampling=sampling, n_steps=50_000, label_noise=0.003, n_records=4
        )
        assert np.isfinite(found["mean_square_sharpness_gauss_newton"]).all()
        assert (found["distance_to_edge"].values > 0).all()
        assert np.abs(problem.residuals(found["theta"].values, np.arange(8))).max() <= 1e-10

    def test_is_given_up_after_its_evaluations(self) -> None:
        """The records before are those of the whole flow, also of the mean flow behind the error estimate."""
        run = two_samples() | {"n_steps": 20_000, "label_noise": 0.05, "n_records": 21}
        whole = flow.solve(**run)
        count = int(whole["n_evaluations"])
        assert int(flow.solve(**run, most_evaluations=count)["gave_up_at"]) == int(whole["gave_up_at"]) == -1
        found = flow.solve(**run, most_evaluations=count // 2)
        end, steps = int(found["gave_up_at"]), found["step"].values
        assert count // 2 < int(found["n_evaluations"]) < count
        assert 0 < end < 20_000
        for name in ("theta", "mean_square_sharpness_gauss_newton"):
            np.testing.assert_array_equal(found[name][steps <= end - 1], whole[name][steps <= end - 1])
            assert np.isnan(found[name][steps > end]).all()
        assert int(found["diverged_at"]) == -1
        one = flow.solve(**run, most_evaluations=1)
        assert np.isfinite(one["theta"]).all(axis=1).values.tolist() == [True] + 20 * [False]
        assert np.isnan(one["error_estimate"][1:]).all()

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"sampling": es.Reshuffled(1)}, "sampling must draw independent batches"),
            ({"sampling": es.WithoutReplacement(4)}, "batch_size must be between 1 and n_samples = 3"),
            ({"step_size": 100.0}, "step_size must start below the mean-square edge"),
            ({"theta0": np.ones(10)}, "theta0 must be a minimum"),
            ({"n_steps": 0}, "n_steps must be an integer of at least 1"),
            ({"most_evaluations": 0}, "most_evaluations must be an integer of at least 1"),
            ({"record": ("sharpnes",)}, "did you mean 'sharpness'"),
            ({"record": "sharpness"}, "record must be a sequence of names"),
            ({"label_noise": -1.0}, "label_noise must be a finite number at least 0"),
            ({"record": None}, "record must be a sequence of names, got None"),
            ({"theta0": np.ones(3)}, r"theta0 must have shape \(10,\), got \(3,\)"),
            ({"theta0": np.zeros(10)}, "theta0 must be a point where the model depends on it to first order"),
            ({"theta0": np.zeros(10), "follow": "mean"}, "theta0 must be a point where the model depends on it"),
            ({"sampling": 2}, "sampling must be"),
        ],
    )
    def test_refuses(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            flow.solve(**(two_samples() | change))

    def test_refuses_problems_without_residuals(self) -> None:
        problem = es.Quadratic(np.eye(2)[None], np.zeros((1, 2)))
        with pytest.raises(ValueError, match=r"problem must have squared loss, .*, got Quadratic"):
            flow.solve(problem, np.zeros(2), step_size=0.1, sampling=es.WithoutReplacement(1), n_steps=10)


class TestFrozenNoise:
    @staticmethod
    def noisy(form: str = "product") -> tuple[es.DiagonalLinearNetwork, np.ndarray]:
        problem, theta = solution((form, 2), (12, 3))
        noise = 0.3 * np.random.default_rng(8).standard_normal(12)
        noisy = es.DiagonalLinearNetwork(problem.inputs, problem.targets + noise, form=form)
        return noisy, es.gradient_flow(noisy, theta)

    def test_is_the_unreachable_part_of_the_targets(self) -> None:
        problem, theta = self.noisy()
        sampling = es.WithoutReplacement(2)
        law, _ = Law.of(problem, theta, sampling, es.Ramp.of(0.01), 10, 0.1)
        fit = np.linalg.lstsq(problem.inputs, problem.targets, rcond=None)[0]
        left = problem.inputs @ fit - problem.targets
        np.testing.assert_allclose(law.frozen_residuals, left, atol=1e-9)
        c = sampling.variance_coefficient(12)
        np.testing.assert_allclose(law.fast(0, law.at(theta)).source, c / 12 * left**2 + 0.1**2 / 24, rtol=1e-7)
        found = flow.solve(problem, theta, step_size=0.01, sampling=sampling, n_steps=10, n_records=2)
        assert found.attrs["frozen_noise"] == pytest.approx(np.sqrt((left**2).mean()))
        assert float(found["loss"][0]) > (left @ left) / 24

    def test_refused_where_it_bends_the_loss(self) -> None:
        fitted, theta = perceptron(n=30, width=2)
        jacobians = fitted.sample_jacobians(theta, np.arange(30))
        noise = 0.01 * np.random.default_rng(9).standard_normal(30)
        noise -= jacobians @ np.linalg.pinv(jacobians) @ noise  # a minimum stays a minimum
        problem = es.Perceptron(fitted.inputs, fitted.targets + noise, 2)
        with pytest.raises(ValueError, match="is not the Gauss–Newton matrix"):
            flow.solve(problem, theta, step_size=0.01, sampling=es.WithoutReplacement(2), n_steps=10)


class TestLevels:
    def test_are_the_averages_of_the_flow(self) -> None:
        run = two_samples()
        options = {"label_noise": 0.003, "n_records": 21, "n_batches": 64}
        found = flow.levels(**run, **options, after=50_000)
        trace = flow.solve(**run, **options)
        window = trace.isel(record=trace["step"].values >= 50_000)
        for name, level in found.items():
            expected = float((window[name] * window["step_size"] / 2).mean())
            assert level.value == pytest.approx(expected, rel=1e-12)
            assert level.interval[0] < level.value < level.interval[1]
        assert found["mean_square_sharpness_gauss_newton"].verdict == "settles"
        assert found["sharpness"].verdict == "below"
        assert flow.levels(**run, **options, target=3.0)["sharpness"].verdict == "below"
        assert flow.levels(**run, **options, target=0.01, tolerance=0.005)["sharpness"].verdict == "above"

    def test_of_a_flow_that_meets_its_wall(self) -> None:
        found = flow.levels(**two_samples(), n_records=11)
        assert found["sharpness"].verdict == "inconclusive"
        assert "wall at step 25000" in found["sharpness"].reason

    def test_refuses_too_few_records(self) -> None:
        with pytest.raises(ValueError, match="after must leave at least 6 records"):
            flow.levels(**two_samples(), label_noise=0.1, n_records=10, after=90_000)


class TestErrorEstimate:
    def test_is_quadratic_in_the_noise_and_zero_for_a_linear_model(self) -> None:
        run = two_samples() | {"step_size": 0.7 * two_samples()["step_size"].start, "n_steps": 1}
        small, large = (
            float(flow.solve(**run, label_noise=noise, record=("error_estimate",), n_records=2)["error_estimate"][0])
            for noise in (0.001, 0.01)
        )
        assert large == pytest.approx(100 * small, rel=0.01)
        assert 0 < large < 0.01
        linear = es.LinearRegression(np.eye(3), np.zeros(3))
        run = {"step_size": 0.1, "sampling": es.WithoutReplacement(1), "n_steps": 1, "n_records": 2}
        none = flow.solve(linear, np.zeros(3), label_noise=1.0, **run)
        np.testing.assert_allclose(none["error_estimate"], 0.0, atol=1e-12)
        assert float(none["mean_square_sharpness_gauss_newton"][0]) > 0
        silent = flow.solve(**two_samples(), n_records=2, record=("error_estimate", "next_order_correction"))
        assert float(silent["error_estimate"][0]) == float(silent["next_order_correction"][0]) == 0.0

    def test_the_mean_of_sgd_is_displaced_as_it_says(self) -> None:
        # u = v stays so: a point, no flow. Only the next order says how far SGD is from the solution on average.
        table = es.data.gaussian(12, 4, seed=5)
        weights = np.array([0.5, 0.8, 1.1, 1.4])
        problem = es.DiagonalLinearNetwork(table.inputs, table.inputs @ weights)
        theta = np.tile(np.sqrt(weights), 2)
        sampling, noise = es.WithoutReplacement(2), 0.4
        eta = 0.5 * edge(problem, theta, sampling)
        fast = FastMotion.at(Point(problem, theta), sampling, np.full(12, noise**2 / 24), eta)
        assert np.abs(velocity(Point(problem, theta), fast)).max() <= 1e-15
        reach = fast.jacobians @ push(Point(problem, theta), fast)
        expected = -np.linalg.pinv(fast.jacobians @ fast.jacobians.T) @ reach
        trace = es.simulate(
            problem, theta, step_size=eta, sampling=sampling, n_steps=200_000, label_noise=noise, n_replicas=8,
            n_records=4001, record=("theta",), seed=3,
        )  # fmt: skip
        late = trace.isel(record=slice(400, None))
        means = problem.residuals(late["theta"].values, np.arange(12)).mean(axis=1)
        shifts = means @ expected / (expected @ expected)
        error = shifts.std(ddof=1) / np.sqrt(8)
        assert shifts.mean() == pytest.approx(1.0, abs=0.05 + 3 * error)
        assert error < 0.05


class TestAgainstSGD:
    """Nothing is fitted: eight runs of SGD, and the flow."""

    @pytest.mark.parametrize(
        ("n", "d", "b", "depth", "noise"), [(20, 10, 2, 2, 0.03), (10, 20, 4, 2, 0.03), (10, 20, 2, 3, 0.03), (10, 20, 10, 2, 0.05)]
    )  # fmt: skip
    def test_levels_within_two_per_cent(self, n: int, d: int, b: int, depth: int, noise: float) -> None:
        table = es.data.gaussian(n, d, seed=1)
        problem = es.DiagonalLinearNetwork(table.inputs, table.targets, form="difference", depth=depth)
        theta = es.gradient_flow(problem, np.concatenate((np.full(d, 1.3), np.full(d, 0.6))))
        sampling = es.WithoutReplacement(b)
        first = edge(problem, theta, sampling)
        run = {
            "step_size": es.Ramp(0.8 * first, 1.4 * first), "sampling": sampling, "n_steps": 60_000,
            "label_noise": noise, "n_records": 41,
        }  # fmt: skip
        name = "mean_square_sharpness_gauss_newton"
        trace = es.simulate(problem, theta, record=(name, "theta"), n_replicas=8, seed=2, **run)
        predicted = flow.solve(problem, theta, record=("mean_square_sharpness_gauss_newton",), **run)
        after = trace["step"].values > 10_000
        runs = (trace[name] * trace["step_size"] / 2).values[:, after].mean(axis=1)
        level = float(
            (predicted["mean_square_sharpness_gauss_newton"] * predicted["step_size"] / 2).values[after].mean()
        )
        error = runs.std(ddof=1) / np.sqrt(8)
        assert abs(runs.mean() - level) <= 0.02 * level
        assert error <= 0.006 * level
        # The drift itself, not only one number: the parameters move where the flow says.
        moved = trace["theta"].values.mean(axis=0)[-8:].mean(axis=0) - theta
        expected = predicted["theta"].values[-8:].mean(axis=0) - theta
        assert np.linalg.norm(moved - expected) <= 0.1 * np.linalg.norm(expected)
