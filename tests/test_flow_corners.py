"""The corners of the flow: scales, first and last steps, defaults, and the intervals and verdicts of levels."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import esssim as es
from esssim import flow
from esssim.flow.bursts import UNKNOWN
from esssim.flow.fast import FastMotion
from esssim.flow.law import Law
from esssim.flow.point import Point
from esssim.flow.settled import FOLLOWED, _judged
from esssim.settling import N_WINDOWS
from tests.test_flow import SCHEMES, edge, perceptron, solution, two_samples


class TestNoise:
    @pytest.mark.parametrize("momentum", [0.0, 0.5])
    def test_of_a_source_that_spares_a_sample(self, momentum: float) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        sampling = SCHEMES[1]
        eta = 0.5 * es.stability.critical_step_size(problem, theta, sampling, momentum=momentum, hessian="gauss_newton")
        source = np.array([0.0, 0.2, 1e-6, 3.0])
        fast = FastMotion.at(Point(problem, theta), sampling, source, eta, momentum=momentum)
        psi = np.stack([fast.feed_back(unit) for unit in np.eye(4)], axis=1)
        expected = np.linalg.solve(np.eye(4) - fast.perron.kappa_2 * psi, source)
        np.testing.assert_allclose(fast.noise, expected, rtol=1e-8)
        # From any first guess, the same.
        for guess in (expected, 100 * np.ones(4)):
            again = FastMotion.at(Point(problem, theta), sampling, source, eta, guess, momentum)
            np.testing.assert_allclose(again.noise, expected, rtol=1e-8)

    def test_found_last_is_the_first_guess(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        first = edge(problem, theta, SCHEMES[1])
        law, _ = Law.of(problem, theta, SCHEMES[1], es.Ramp(0.5 * first, 1.5 * first), 10, 0.1)
        before = law.fast(0.0, law.at(theta))
        assert before.guess is None
        after = law.fast(1.0, law.at(theta))
        assert after.guess is before.noise
        assert law.fast(10.0, law.at(theta)).noise is None  # beyond the edge: no guess comes from there
        assert law.fast(2.0, law.at(theta)).guess is after.noise

    @pytest.mark.parametrize("scale", [1e-60, 1e60])
    def test_has_the_scale_of_its_source(self, scale: float) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        eta, source = 0.5 * edge(problem, theta, SCHEMES[1]), np.array([0.1, 0.2, 0.3, 3.0])
        plain, scaled = (FastMotion.at(Point(problem, theta), SCHEMES[1], s * source, eta).noise for s in (1.0, scale))
        np.testing.assert_allclose(scaled / scale, plain, rtol=1e-9)

    @pytest.mark.parametrize("beyond", [1.0001, 1.2, 3.0])
    def test_none_beyond_the_pole_of_full_batches(self, beyond: float) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        sampling = es.WithoutReplacement(4)
        limit = 2 / es.sharpness(problem, theta)
        below, above = (
            FastMotion.at(Point(problem, theta), sampling, np.ones(4), limit * factor).noise
            for factor in (1 / beyond, beyond)
        )
        np.testing.assert_array_equal(below, np.ones(4))
        assert above is None


class TestFirstAndLastSteps:
    def test_a_flow_of_a_few_steps_begins_at_step_zero(self) -> None:
        problem, theta = solution(("product", 2), (3, 5), seed=3)
        sampling, noise = es.WithoutReplacement(1), 2.0
        first = edge(problem, theta, sampling)
        ramp = es.Ramp(0.5 * first, 0.9 * first)
        run = {"step_size": ramp, "sampling": sampling, "n_steps": 4, "label_noise": noise}
        found = flow.solve(problem, theta, n_records=5, record=(), **run)
        law, start = Law.of(problem, theta, sampling, ramp, 4, noise)
        exact = solve_ivp(law.velocity, (0, 4), start, t_eval=range(5), rtol=1e-11, atol=1e-13, method="DOP853").y.T
        # The solver is right to 1e-5 here; a flow that begins a step late is 1e-3 off.
        np.testing.assert_allclose(found["theta"], exact, atol=1e-4)
        assert np.abs(np.diff(exact, axis=0)).max(axis=1).min() > 1e-3
        np.testing.assert_array_equal(found["theta"][0], start)
        assert found["step"].values.tolist() == [0, 1, 2, 3, 4]
        assert int(found["diverged_at"]) == -1

    def test_only_the_first_step_has_to_be_below_the_edge(self) -> None:
        problem, theta = solution(("product", 2), (3, 5), seed=3)
        first = edge(problem, theta, SCHEMES[0])
        run = {"sampling": SCHEMES[0], "n_steps": 1, "n_records": 2, "record": ("loss",)}
        found = flow.solve(problem, theta, step_size=es.Ramp(0.9 * first, 2 * first), **run)
        assert int(found["diverged_at"]) == 1
        assert np.isfinite(found["loss"].values).tolist() == [True, False]
        with pytest.raises(ValueError, match="step_size must start below the mean-square edge 2/Q_b, got"):
            flow.solve(problem, theta, step_size=es.Ramp(1.01 * first, 0.5 * first), **run)

    @pytest.mark.parametrize("scale", [1e-6, 1e6])
    def test_has_no_scale_of_its_own(self, scale: float) -> None:
        # θ → sθ, f → s²f, ε → s²ε, η → η/s²: the same flow, s times as large.
        run = two_samples() | {"n_steps": 20_000, "n_records": 3, "record": ()}
        plain = flow.solve(**run, label_noise=0.05)["theta"].values
        inner, ramp = run["problem"], run["step_size"]
        problem = es.DiagonalLinearNetwork(inner.inputs, scale**2 * inner.targets)
        run |= {"problem": problem, "theta0": scale * run["theta0"]}
        run["step_size"] = es.Ramp(ramp.start / scale**2, ramp.stop / scale**2)
        found = flow.solve(**run, label_noise=0.05 * scale**2)["theta"].values
        np.testing.assert_allclose(found / scale, plain, atol=1e-5)
        assert np.linalg.norm(plain[-1] - plain[0]) > 0.05

    def test_defaults(self) -> None:
        def defaults(function: Any) -> dict[str, object]:
            parameters = inspect.signature(function).parameters.values()
            return {p.name: p.default for p in parameters if p.default is not p.empty}

        expected = {"label_noise": 0.0, "momentum": 0.0, "n_records": 100, "n_batches": 1024, "seed": 0}
        assert expected.items() <= defaults(flow.solve).items()
        assert defaults(flow.levels) == {"label_noise": 0.0, "after": 0, "tolerance": 0.05, "target": 1.0}
        assert defaults(flow.solve)["follow"] == "solutions"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"n_records": 1}, "n_records must be an integer of at least 2, got 1"),
            ({"n_batches": 1}, "n_batches must be an integer of at least 2, got 1"),
            ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ],
    )
    def test_refuses(self, change: dict[str, int], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            flow.solve(**(two_samples() | change))

    def test_batches_are_enumerated_where_there_are_no_more(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        sampling = es.WithoutReplacement(2)  # 6 batches
        run = {"step_size": 0.5 * edge(problem, theta, sampling), "sampling": sampling, "n_steps": 1, "n_records": 2}
        errors = [
            float(flow.solve(problem, theta, n_batches=m, record=("minibatch_sharpness",), **run)["minibatch_sharpness_standard_error"][0])
            for m in (5, 6, 7)
        ]  # fmt: skip
        assert errors[0] > 0
        assert errors[1:] == [0.0, 0.0]


class TestStart:
    def test_is_near_in_units_of_its_own_length(self) -> None:
        # Ten thousand times the weights, and a displacement of 5e-4 of them: still next to the solution, 5e-3 is not.
        rng = np.random.default_rng(0)
        for size in (1e-4, 1e4):
            inputs, theta = rng.standard_normal((3, 5)), size * rng.uniform(0.5, 1.5, 10)
            targets = es.DiagonalLinearNetwork(inputs, np.zeros(3)).residuals(theta, np.arange(3))
            problem = es.DiagonalLinearNetwork(inputs, targets)
            jacobians = problem.sample_jacobians(theta, np.arange(3))
            across = jacobians.T @ np.array([1.0, -1.0, 0.5])
            across *= np.linalg.norm(theta) / np.linalg.norm(across)
            ramp = es.Ramp.of(0.1 * edge(problem, theta, SCHEMES[0]))
            _, found = Law.of(problem, theta + 5e-4 * across, SCHEMES[0], ramp, 1, 0.0)
            assert np.linalg.norm(found - theta) <= 1e-5 * np.linalg.norm(theta)
            with pytest.raises(ValueError, match="theta0 must be a minimum of the loss"):
                Law.of(problem, theta + 5e-3 * across, SCHEMES[0], ramp, 1, 0.0)

    @pytest.mark.parametrize("size", [1e-7, 1e-2])
    def test_noise_that_bends_the_loss_is_refused_at_any_size(self, size: float) -> None:
        fitted, theta = perceptron(n=30, width=2)
        jacobians = fitted.sample_jacobians(theta, np.arange(30))
        noise = size * np.random.default_rng(9).standard_normal(30)
        noise -= jacobians @ np.linalg.pinv(jacobians) @ noise
        problem = es.Perceptron(fitted.inputs, fitted.targets + noise, 2)
        with pytest.raises(ValueError, match="is not the Gauss–Newton matrix"):
            flow.solve(problem, theta, step_size=0.01, sampling=es.WithoutReplacement(2), n_steps=10)

    @pytest.mark.parametrize("form", ["product", "difference"])
    @pytest.mark.parametrize("scale", [1.0, 1e-30, 1e20])
    @pytest.mark.parametrize(
        "kind", ["repeated", "opposite", "multiple", "zeros", "collinear features", "more rows than rank"]
    )
    def test_rounding_of_dependent_rows_bends_nothing(self, kind: str, scale: float, form: str) -> None:
        """Targets that the network fits: no residual is left, whatever J's rank, and the flow starts at its own Q_b."""
        rng = np.random.default_rng(2)
        rows, weights = rng.standard_normal((6, 8)), rng.random(8)
        if kind == "collinear features":
            rows[:, 1], rows[:, 2] = rows[:, 0], 2 * rows[:, 0] - rows[:, 3]
        extra = {
            "repeated": rows[:1], "opposite": -rows[:2], "multiple": 3 * rows[2:3], "zeros": np.zeros((2, 8)),
            "more rows than rank": rng.standard_normal((10, 8)),
        }  # fmt: skip
        rows = np.vstack((rows, extra.get(kind, rows[:0])))
        sampling = es.WithoutReplacement(2)
        network = es.DiagonalLinearNetwork(rows, scale * (rows @ weights), form=form)
        theta = es.gradient_flow(network, np.sqrt(scale) * np.linspace(0.5, 1.0, 16))
        top = es.mean_square_sharpness(network, theta, sampling, hessian="gauss_newton")
        found = flow.solve(
            network, theta, step_size=1.0 / top, sampling=sampling, n_steps=10, n_records=2, record=("mean_square_sharpness_gauss_newton",)
        )  # fmt: skip
        assert found.attrs["frozen_noise"] == 0.0
        assert found["mean_square_sharpness_gauss_newton"].values[0] == pytest.approx(top, rel=1e-6)

    @pytest.mark.parametrize("size", [1e-9, 1e-3])
    def test_targets_that_differ_on_equal_rows_are_frozen_noise(self, size: float) -> None:
        """r* = ±size/2 on both; their ∇²f are equal, so that nothing bends."""
        rng = np.random.default_rng(2)
        rows = rng.standard_normal((6, 8))
        rows = np.vstack((rows, rows[:1]))
        targets = rows @ rng.random(8)
        targets[-1] += size
        network = es.DiagonalLinearNetwork(rows, targets)
        theta = es.gradient_flow(network, np.linspace(0.5, 1.0, 16))
        found = flow.solve(network, theta, step_size=1e-3, sampling=es.WithoutReplacement(2), n_steps=10, n_records=2)
        assert found.attrs["frozen_noise"] == pytest.approx(size / 2 * np.sqrt(2 / 7), rel=1e-3)


class TestLevels:
    def test_interval_is_the_error_estimate_twice_the_sampling_error_and_the_bursts(self) -> None:
        run = two_samples()
        options = {"label_noise": 0.003, "n_records": 11, "n_batches": 2}
        found = flow.levels(**run, **options, after=50_000)
        trace = flow.solve(**run, **options)
        late = slice(5, None)
        half_step = trace["step_size"].values[late] / 2
        relative = float(trace["error_estimate"].values[late].mean())
        bursts = float(trace["burst_correction"].values[late].mean())
        assert relative > 1e-6
        assert bursts > 1e-6
        assert set(found) == set(FOLLOWED)
        for name, level in found.items():
            half = level.value * relative
            if f"{name}_standard_error" in trace:
                errors = trace[f"{name}_standard_error"].values[late] * half_step
                assert errors.max() > 0
                half += 2 * np.sqrt((errors**2).mean() / len(errors))
            above = half + level.value * bursts
            assert level.interval == pytest.approx((level.value - half, level.value + above), rel=1e-12)
            windows = [part.mean() for part in np.array_split(trace[name].values[late] * half_step, N_WINDOWS)]
            assert level.drift == pytest.approx(max(windows) - min(windows), rel=1e-12)
            assert (level.ess, level.n_replicas, level.n_diverged) == (np.inf, 1, 0)

    def test_bursts_that_are_not_known_leave_no_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.modules["esssim.flow.solve"], "bursts", lambda *args: UNKNOWN)
        options = {"label_noise": 0.02, "n_records": 11, "n_batches": 2, "after": 50_000}
        assert flow.levels(**two_samples(), **options)["sharpness"].interval == (-np.inf, np.inf)
        run = two_samples()
        run["step_size"] = es.Ramp(run["step_size"].start / 4, run["step_size"].start / 3)
        assert np.isfinite(flow.levels(**run, **options, momentum=0.5)["sharpness"].interval).all()

    def test_six_records_are_enough(self) -> None:
        found = flow.levels(**two_samples(), label_noise=0.02, n_records=11, n_batches=2, after=50_000)
        assert np.isfinite(found["sharpness"].value)
        with pytest.raises(ValueError, match="after must leave at least 6 records, got 50001, which leaves 5"):
            flow.levels(**two_samples(), label_noise=0.02, n_records=11, n_batches=2, after=50_001)

    def test_of_a_flow_that_meets_its_wall(self) -> None:
        for level in flow.levels(**two_samples(), n_records=11).values():
            assert np.isnan([level.value, *level.interval, level.drift]).all()
            assert (level.ess, level.verdict) == (0.0, "inconclusive")
            assert (level.n_replicas, level.n_diverged) == (0, 1)

    @pytest.mark.parametrize(
        ("value", "half", "windows", "verdict"),
        [
            (1.00, 0.01, [0.99, 1.00, 1.01], "settles"),
            (1.00, 0.06, [1.00, 1.00, 1.00], "inconclusive"),
            (1.04, 0.02, [1.04, 1.04, 1.04], "inconclusive"),
            (0.96, 0.02, [0.96, 0.96, 0.96], "inconclusive"),
            (1.00, 0.01, [0.94, 1.00, 1.04], "inconclusive"),
            (1.00, 0.01, [0.96, 1.00, 1.06], "inconclusive"),
            (0.90, 0.04, [0.90, 0.90, 0.90], "below"),
            (0.90, 0.06, [0.90, 0.90, 0.90], "inconclusive"),
            (1.10, 0.04, [1.10, 1.10, 1.10], "above"),
            (1.10, 0.06, [1.10, 1.10, 1.10], "inconclusive"),
        ],
    )
    def test_verdict(self, value: float, half: float, windows: list[float], verdict: str) -> None:
        level = _judged(value, (value - half, value + half), windows, 0.05, 1.0)
        assert level.verdict == verdict
        assert level.value == value
        assert level.interval == (value - half, value + half)
        assert level.drift == max(windows) - min(windows)
        twice = _judged(
            2 * value, (2 * (value - half), 2 * (value + half)), [2 * window for window in windows], 0.1, 2.0
        )
        assert twice.verdict == verdict
