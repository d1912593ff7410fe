"""The bursts near the wall: every number of the estimate against direct computation, and the estimate against its model."""

from __future__ import annotations

import json
from typing import Any

import mpmath
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

import esssim as es
from esssim import flow
from esssim.claims import flow_bursts
from esssim.claims.claim import Measurement
from esssim.claims.flow import name_of
from esssim.experiments.flow import FlowExperiment, run_flow
from esssim.experiments.flow_settings import AT_THE_WALL, GRID, SLOWER, STEEPER
from esssim.flow import bursts
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point
from esssim.flow.slow import velocity
from tests import oracles
from tests.pages import DOCS
from tests.several_outputs import Bilinear
from tests.test_flow import SCHEMES, edge, perceptron, schemes, solution, two_samples

MEASURES = (
    flow_bursts.flow_is_right_where_it_is_silent,
    flow_bursts.excess_is_less_than_the_correction,
    flow_bursts.typical_excess_is_the_correction,
)


def fast_motion(
    problem: Any, theta: np.ndarray, sampling: es.Sampling, part: float = 0.9, noise: float = 1e-5
) -> FastMotion:
    c = getattr(problem, "n_outputs", 1)
    source = noise * np.tile(np.eye(c).ravel(), problem.n_samples)
    return FastMotion.at(Point(problem, theta), sampling, source, part * edge(problem, theta, sampling))


def factors_of_steps(problem: Any, theta: np.ndarray, sampling: es.Sampling, eta: float) -> Any:
    """A = I − ηK diag(w) of every batch on the residuals, (m, n·c, n·c), and probabilities (m,)."""
    n = problem.n_samples
    jacobians = problem.sample_jacobians(theta, np.arange(n)).reshape(-1, problem.n_params)
    c = len(jacobians) // n
    batches, probabilities = oracles.all_batches(n, sampling)
    weights = np.zeros((len(batches), n))
    for m, batch in enumerate(batches):
        np.add.at(weights[m], batch, 1 / sampling.batch_size)
    gram = jacobians @ jacobians.T
    return np.eye(n * c) - eta * gram * np.repeat(weights, c, axis=1)[:, None, :], probabilities


def spectral_radius(problem: Any, theta: np.ndarray, sampling: es.Sampling, eta: float) -> float:
    """ϱ(E[A⊗A]), densely, on the range of K: elsewhere A is the identity."""
    factors, probabilities = factors_of_steps(problem, theta, sampling, eta)
    jacobians = problem.sample_jacobians(theta, np.arange(problem.n_samples)).reshape(-1, problem.n_params)
    left, singular, _ = np.linalg.svd(jacobians, full_matrices=False)
    basis = left[:, singular > 1e-9 * singular[0]]
    factors = basis.T @ factors @ basis
    operator = np.einsum("m,mij,mkl->ikjl", probabilities, factors, factors, optimize=True)
    return float(np.abs(np.linalg.eigvals(operator.reshape(basis.shape[1] ** 2, -1))).max())


def bilinear() -> tuple[Bilinear, np.ndarray]:
    rng = np.random.default_rng(2)
    inputs, theta = rng.standard_normal((3, 4)), rng.standard_normal(3 * (4 + 2))
    unfitted = Bilinear(inputs, np.zeros((3, 2)), 3)
    return Bilinear(inputs, unfitted.residuals(theta, np.arange(3)), 3), theta


def problems() -> list[tuple[Any, np.ndarray]]:
    return [solution(("product", 2), (5, 3)), solution(("difference", 3), (3, 5)), bilinear()]


class TestAtTheEdge:
    @schemes
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_matrix_is_its_own_image(self, which: int, sampling: es.Sampling) -> None:
        problem, theta = problems()[which]
        fast = fast_motion(problem, theta, sampling)
        top, noise = fast.perron.edge()
        rooted = fast.perron.eigenvectors * np.sqrt(fast.perron.eigenvalues)
        covariance = rooted @ bursts.edge_matrix(fast.perron, top, noise) @ rooted.T
        factors, probabilities = factors_of_steps(problem, theta, sampling, 2 / top)
        image = np.einsum("m,mij,jk,mlk->il", probabilities, factors, covariance, factors, optimize=True)
        np.testing.assert_allclose(image, covariance, atol=1e-6 * np.abs(covariance).max())

    @schemes
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_slope_is_that_of_the_dense_spectral_radius(self, which: int, sampling: es.Sampling) -> None:
        problem, theta = problems()[which]
        fast = fast_motion(problem, theta, sampling)
        top, noise = fast.perron.edge()
        above, below = (spectral_radius(problem, theta, sampling, 2 / top * (1 + h)) for h in (1e-5, -1e-5))
        assert (above + below) / 2 == pytest.approx(1.0, abs=1e-6)
        assert bursts.edge_slope(fast.perron, top, noise) == pytest.approx((above - below) / 2e-5, rel=1e-4)

    @schemes
    @pytest.mark.parametrize("which", [0, 1, 2])
    def test_size_of_a_burst_keeps_its_mean(self, which: int, sampling: es.Sampling) -> None:
        """E[h(As)] = h(s) at every s: what lets g − 1 be subtracted."""
        problem, theta = problems()[which]
        fast = fast_motion(problem, theta, sampling)
        top, noise = fast.perron.edge()
        rows, weights = bursts.tilted_basis(fast.perron, top, noise)
        samples = rows.reshape(problem.n_samples, -1, len(weights))
        hessians = np.einsum("ncj,nck->njk", samples, samples)
        batches, probabilities = oracles.all_batches(problem.n_samples, sampling)
        state = np.random.default_rng(3).standard_normal(len(weights))
        moved = state - 2 / top * hessians[batches].mean(axis=1) @ state
        assert probabilities @ (moved**2 @ weights) == pytest.approx(state**2 @ weights, rel=1e-6)

    def test_push_is_what_the_flow_does_to_the_edge(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        fast = fast_motion(problem, theta, SCHEMES[1])
        step = 1e-3 / np.linalg.norm(velocity(Point(problem, theta), fast))
        ahead = edge(problem, theta + step * velocity(Point(problem, theta), fast), SCHEMES[1])
        distances = (1 - fast.step_size / ahead, 1 - fast.step_size / edge(problem, theta, SCHEMES[1]))
        expected = (distances[0] - distances[1]) / step
        assert expected > 0
        assert bursts.push_from_edge(Point(problem, theta), fast) == pytest.approx(expected, rel=1e-2)


def moment_growth(matrices: np.ndarray, power: float, n_angles: int = 1500) -> float:
    """L(q) of products of equally likely 2×2 matrices: log of the top eigenvalue of f ↦ E[|Au|^q f(Au)] on the circle."""
    angles = np.arange(n_angles) * np.pi / n_angles
    images = np.stack((np.cos(angles), np.sin(angles)), axis=-1) @ matrices.transpose(0, 2, 1)
    lengths = np.linalg.norm(images, axis=-1) ** power
    places = np.arctan2(images[..., 1], images[..., 0]) % np.pi / np.pi * n_angles
    low, part = np.floor(places).astype(int), places % 1.0
    values, growth = np.ones(n_angles), 0.0
    for _ in range(200):
        new = (lengths * ((1 - part) * values[low % n_angles] + part * values[(low + 1) % n_angles])).mean(axis=0)
        growth, values = float(new.max() / values.max()), new / new.max()
    return float(np.log(growth))


class TestGrowthOfABurst:
    @pytest.mark.parametrize("sampling", [es.WithoutReplacement(1), es.WithReplacement(2)], ids=str)
    @pytest.mark.parametrize("seed", [0, 1])
    def test_is_the_slope_of_the_moments(
        self, seed: int, sampling: es.Sampling, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem, theta = solution(("product", 2), (4, 2), seed=seed)
        fast = fast_motion(problem, theta, sampling)
        top, noise = fast.perron.edge()
        rows, weights = bursts.tilted_basis(fast.perron, top, noise)
        batches, probabilities = oracles.all_batches(4, sampling)
        times = np.round(probabilities * 16).astype(int)
        assert times.sum() == 16  # each batch as often as it is likely
        met = np.repeat(rows[batches], times, axis=0)
        matrices = np.eye(2) - 2 / top * np.einsum("mbj,mbk->mjk", met, met) / sampling.batch_size
        assert moment_growth(matrices, 2.0) == pytest.approx(0.0, abs=1e-5)
        expected = (moment_growth(matrices, 2.05) - moment_growth(matrices, 1.95)) / 0.1
        monkeypatch.setattr(bursts, "N_PARTICLES", 2048)
        found = [bursts.burst_growth(rows, weights, 2 / top, sampling, 1, key) for key in range(8)]
        assert np.std(found) < 0.05 * expected
        assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found, ddof=1) / 8**0.5 + 2e-3 * expected)

    def test_of_an_output_that_never_moves_is_that_of_the_others(self) -> None:
        problem, theta = solution(("product", 2), (6, 4))
        fast = fast_motion(problem, theta, SCHEMES[1])
        top, noise = fast.perron.edge()
        rows, weights = bursts.tilted_basis(fast.perron, top, noise)
        doubled = np.zeros((12, 4))
        doubled[1::2] = rows
        single = bursts.burst_growth(rows, weights, 2 / top, SCHEMES[1], 1, 5)
        assert bursts.burst_growth(doubled, weights, 2 / top, SCHEMES[1], 2, 5) == pytest.approx(single, rel=1e-12)


class TestExcess:
    @pytest.mark.parametrize("nu", [0.02, 0.3, 1.0, 4.0])
    @pytest.mark.parametrize("speed", [1e-5, 1e-2, 0.1])
    def test_gives_the_push_of_the_bursts_that_are_left(self, nu: float, speed: float) -> None:
        power = nu - bursts.excess(nu, speed)
        cut = (1 + nu) ** 2

        def moment(order: int) -> float:
            """∫₀^{W_c} W^order W^{−2−D}e^{−νV/W} dW, in log W, over its value at the mode of the density."""
            scale = nu * speed
            ends = np.log([scale / 200, cut])
            return float(
                quad(
                    lambda x: np.exp((order - 1 - power) * (x - np.log(scale)) - scale * np.exp(-x)) * scale**order,
                    *ends,
                    limit=500,
                    points=[np.log(scale)],
                    epsabs=0.0,
                    epsrel=1e-10,
                )[0]
            )

        assert moment(1) / moment(0) == pytest.approx(speed, rel=1e-4)

    def test_density_is_at_rest(self) -> None:
        """No current of dW = (2νV − 2DW)dτ + 2W dB: the drift times p is half the derivative of 4W²p."""
        nu, speed, power = 0.3, 0.01, 0.2

        def density(w: float) -> float:
            return float(w ** (-2 - power) * np.exp(-nu * speed / w))

        for w in (1e-3, 1e-2, 0.5):
            step = 1e-5 * w
            flux = 2 * ((w + step) ** 2 * density(w + step) - (w - step) ** 2 * density(w - step)) / (2 * step)
            assert (2 * nu * speed - 2 * power * w) * density(w) == pytest.approx(flux, rel=1e-6)

    def test_limits(self) -> None:
        # Near the wall ν = D/(1 − e^{−DΛ}), Λ = log W_c/(νV), for small νV.
        nu, speed = 0.05, 1e-200
        power, size = nu - bursts.excess(nu, speed), np.log((1 + nu) ** 2 / (nu * speed))
        assert power / (1 - np.exp(-power * size)) == pytest.approx(nu, rel=2e-3)
        assert bursts.excess(1e4, 1.0) == 0.0  # nearly full batches: no tail
        # Past the almost-sure edge: the push of bursts below the cut at D = −1 is νV·Γ(−1, z)/Γ(0, z).
        z = 0.1 * 0.2 / 1.1**2
        most = 0.1 * 0.2 * float(mpmath.gammainc(-1, z) / mpmath.gammainc(0, z))
        assert np.isfinite(bursts.excess(0.1, 0.2)) == (most > 0.2)
        assert bursts.excess(0.1, 1.0) == np.inf
        assert 0 < bursts.excess(0.1, 0.03) < bursts.excess(0.1, 0.1)

    def test_is_where_the_model_is_typically_and_not_its_mean(self) -> None:
        """dW = (2νV − 2DW)dτ + 2W dB, dD = (W − V)dτ, 800 times: median D = ν − excess within 20 %, mean D = ν."""
        nu, speed, step = 0.3, 0.01, 0.02
        rng = np.random.default_rng(1)
        distance, noise = np.full(800, nu), np.full(800, speed)
        seen = []
        for k in range(40_000):
            noise = (noise + nu * speed * step) * np.exp(
                -2 * (distance + 1) * step + 2 * np.sqrt(step) * rng.standard_normal(800)
            ) + nu * speed * step
            distance = distance + (noise - speed) * step
            if k >= 10_000 and k % 100 == 0:
                seen.append(distance)
        found = np.array(seen)
        error = found.mean(axis=0).std() / 800**0.5
        assert error < 0.1 * bursts.excess(nu, speed)
        assert found.mean() == pytest.approx(nu, abs=4 * error + step)
        assert nu - np.median(found) == pytest.approx(bursts.excess(nu, speed), rel=0.2)


class TestCorrection:
    def test_is_made_of_its_parts(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        sampling = SCHEMES[1]
        fast = fast_motion(problem, theta, sampling, 0.95, 1e-2)
        top = es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")
        rows, weights = bursts.tilted_basis(fast.perron, *fast.perron.edge())
        growth = bursts.burst_growth(rows, weights, 2 / top, sampling, 1, 7)
        radii = [spectral_radius(problem, theta, sampling, 2 / top * (1 + h)) for h in (1e-5, -1e-5)]
        kappa = (radii[0] - radii[1]) / 2e-5 / (2 * growth)
        push = bursts.push_from_edge(Point(problem, theta), fast)
        expected = bursts.excess(0.05 * kappa, kappa * push / growth) / kappa / 0.95
        assert 1e-4 < expected < 1.0
        assert bursts.burst_correction(Point(problem, theta), fast, sampling, 7) == pytest.approx(expected, rel=1e-3)

    @pytest.mark.parametrize("law", [es.WithoutReplacement(2), es.WithReplacement(2), es.FullOrSingle(2)], ids=str)
    def test_tail_index_solves_the_moment_equation(self, law: es.Sampling) -> None:
        """One parameter: the law of |r| has the exponent α of E|1 − ηh|^α = 1, to second order in α − 2."""
        inputs = np.sqrt([0.3, 1.0, 2.0, 0.5, 0.2])[:, None]
        problem, theta = es.LinearRegression(inputs, np.zeros(5)), np.zeros(1)
        fast = fast_motion(problem, theta, law, 0.98)
        if isinstance(law, es.FullOrSingle):
            weights, chances = law.every(5)
            h = weights @ inputs[:, 0] ** 2
        else:
            batches, chances = oracles.all_batches(5, law)
            h = (inputs[batches, 0] ** 2).mean(axis=1)
        exact = brentq(lambda a: np.log(chances @ np.abs(1 - fast.step_size * h) ** a), 1.5, 6.0)
        found = np.mean([bursts.bursts(Point(problem, theta), fast, law, seed).tail_index for seed in range(20)])
        assert found - 2 == pytest.approx(exact - 2, rel=0.1)
        known = bursts.bursts(Point(problem, theta), fast, law)
        kappa = (known.tail_index / 2 - 1) / 0.02
        assert known.almost_sure_excess == pytest.approx((1 + 1 / kappa) / 0.98 - 1, rel=1e-9)

    def test_does_not_depend_on_the_units_of_the_targets(self) -> None:
        """θ → sθ, y → s²y and η → η/s² leave a product network's flow as it is, with noise s²ε."""
        problem, theta = solution(("product", 2), (4, 6))
        larger = es.DiagonalLinearNetwork(problem.inputs, 100 * problem.targets)
        found = []
        for one, point, size in ((problem, theta, 1.0), (larger, 10 * theta, 1e4)):
            eta = 0.95 * edge(one, point, SCHEMES[1])
            fast = FastMotion.at(Point(one, point), SCHEMES[1], np.full(4, 1e-2 * size), eta)
            found.append(bursts.burst_correction(Point(one, point), fast, SCHEMES[1]))
        assert 1e-4 < found[0] < 1.0
        assert found[1] == pytest.approx(found[0], rel=1e-5)

    def test_is_none_for_full_batches_and_without_noise(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        full = es.WithoutReplacement(4)
        assert bursts.burst_correction(Point(problem, theta), fast_motion(problem, theta, full), full) == 0.0
        eta = 0.9 * edge(problem, theta, SCHEMES[0])
        silent = FastMotion.at(Point(problem, theta), SCHEMES[0], np.zeros(4), eta)
        assert bursts.burst_correction(Point(problem, theta), silent, SCHEMES[0]) == 0.0

    def test_is_not_said_with_momentum(self) -> None:
        problem, theta = solution(("product", 2), (4, 6))
        eta = 0.5 * edge(problem, theta, SCHEMES[0])
        heavy = FastMotion.at(Point(problem, theta), SCHEMES[0], np.ones(4), eta, momentum=0.5)
        assert np.isnan(bursts.burst_correction(Point(problem, theta), heavy, SCHEMES[0]))

    def test_is_none_where_nothing_moves(self) -> None:
        problem, _ = solution(("product", 2), (4, 6))
        linear = es.LinearRegression(problem.inputs, problem.targets)
        fast = fast_motion(linear, np.linalg.lstsq(problem.inputs, problem.targets)[0], SCHEMES[1])
        assert bursts.burst_correction(Point(linear, np.ones(6)), fast, SCHEMES[1]) == 0.0

    @pytest.mark.parametrize(
        ("form", "shape", "batch_size", "part", "noise"),
        [(("product", 2), (4, 6), 2, 0.95, 1e-2), (("difference", 3), (12, 30), 3, 0.9, 3e-3)],
        ids=str,
    )
    def test_has_the_sign_of_the_push(
        self,
        form: tuple[str, int],
        shape: tuple[int, int],
        batch_size: int,
        part: float,
        noise: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Where solutions leave a direction to move in, the noise pushes away from the edge, and SGD is above the flow."""
        (problem, theta), sampling = solution(form, shape), es.WithoutReplacement(batch_size)
        fast = fast_motion(problem, theta, sampling, part, noise)
        push = bursts.push_from_edge(Point(problem, theta), fast)
        assert push > 1e-4
        above = bursts.burst_correction(Point(problem, theta), fast, sampling)
        assert 1e-4 < above < 1.0
        monkeypatch.setattr(bursts, "push_from_edge", lambda *arguments: -push)
        assert bursts.burst_correction(Point(problem, theta), fast, sampling) == pytest.approx(-above, rel=1e-12)

    def test_is_none_where_a_solution_stands_alone(self) -> None:
        """As many parameters as targets: nothing can move, not even by rounding."""
        problem, theta = perceptron(n=12, width=3)
        fast = fast_motion(problem, theta, SCHEMES[1], 0.95, 0.1)
        assert not velocity(Point(problem, theta), fast).any()
        assert bursts.push_from_edge(Point(problem, theta), fast) == 0.0
        assert bursts.burst_correction(Point(problem, theta), fast, SCHEMES[1]) == 0.0

    def test_of_leading_modes_is_nearly_that_of_all(self) -> None:
        problem, theta = solution(("difference", 3), (12, 30))
        sampling = es.WithoutReplacement(3)
        full = fast_motion(problem, theta, sampling, 0.9, 3e-3)
        some = FastMotion.at(Point(problem, theta), sampling, full.source, full.step_size, rank=9)
        expected = bursts.burst_correction(Point(problem, theta), full, sampling)
        assert 1e-4 < expected < 1.0
        assert bursts.burst_correction(Point(problem, theta), some, sampling) == pytest.approx(expected, rel=0.1)

    def test_of_several_outputs(self) -> None:
        problem, theta = bilinear()
        fast = fast_motion(problem, theta, SCHEMES[1], 0.95)
        found = bursts.burst_correction(Point(problem, theta), fast, SCHEMES[1])
        push = bursts.push_from_edge(Point(problem, theta), fast)
        assert np.sign(found) == np.sign(push)
        assert np.isfinite(found)
        assert abs(found) > 1e-6

    def test_is_recorded_by_solve(self) -> None:
        run = two_samples()
        found = flow.solve(**run, label_noise=0.02, n_records=4, seed=3, record=("burst_correction",))
        for k in (1, 3):
            eta, theta = float(found["step_size"][k]), found["theta"].values[k]
            fast = FastMotion.at(Point(run["problem"], theta), run["sampling"], np.full(3, 0.02**2 / 3), eta)
            expected = bursts.burst_correction(Point(run["problem"], theta), fast, run["sampling"], 3)
            assert found["burst_correction"].values[k] == pytest.approx(expected, rel=1e-4, nan_ok=True)
        assert np.nanmax(found["burst_correction"].values) > 0
        assert "burst_correction" not in flow.solve(**run, label_noise=0.02, n_records=2, record=("sharpness",))


class TestWarning:
    """The published runs of SGD next to the estimate, which knows none of them."""

    @pytest.mark.parametrize("experiment", [STEEPER, AT_THE_WALL, SLOWER, *GRID[:4]], ids=name_of)
    def test_tells_where_the_level_is_off(self, experiment: FlowExperiment) -> None:
        published = json.loads((DOCS / "results.json").read_text(encoding="utf-8"))["claims"]
        (claim,) = [entry for entry in published if entry["id"] == f"flow-levels/{name_of(experiment)}"]
        ratio = float(claim["reason"].split("sharpness ")[1].split(",")[0])
        late = experiment.n_records // 3
        estimate = float(run_flow(experiment)["burst_correction"].values[late:].mean())
        assert (estimate >= flow_bursts.WARNING) == (ratio - 1 >= flow_bursts.WARNING)
        assert ratio - 1 < estimate + 2e-3  # SGD is in between

    @pytest.mark.parametrize(
        ("excesses", "silent", "warned", "typical"),
        [
            ((0.004, -0.009, 0.03, 0.0301), "holds", "holds", "holds"),
            ((0.004, 0.012, 0.03, 0.0301), "inconclusive", "holds", "holds"),
            ((0.004, -0.013, 0.06, 0.0601), "refuted", "refuted", "refuted"),
            ((0.02, 0.0, 0.06, 0.01), "refuted", "inconclusive", "inconclusive"),
            ((0.0, 0.0, -0.03, -0.0301), "holds", "refuted", "refuted"),
        ],
    )
    def test_verdicts(
        self,
        excesses: tuple[float, ...],
        silent: str,
        warned: str,
        typical: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Two silent settings and two warned ones, whose estimate is 0.04 and whose median is 0.01 above the mean."""
        found = [
            flow_bursts.Compared("x", estimate, excess, excess - 0.0025, excess + 0.0025, excess + 0.01)
            for estimate, excess in zip((0.0, 0.0099, 0.04, 0.04), excesses, strict=True)
        ]
        monkeypatch.setattr(flow_bursts, "SETTINGS", range(4))
        monkeypatch.setattr(flow_bursts, "_compared", lambda setting, quick: found[setting])
        measured = [measure(quick=False) for measure in MEASURES]
        assert [one.verdict for one in measured] == [silent, warned, typical]
        assert measured[1].value == pytest.approx(np.mean(excesses[2:]) / 0.04)
        assert measured[2].value == pytest.approx(np.mean(excesses[2:]) / 0.04 + 0.25)
        assert [row["warned"] for row in measured[0].rows] == [False, False, True, True]

    @pytest.mark.parametrize(
        ("estimates", "words"),
        [
            ((0.0, np.nan, 0.04, 0.04), "x1 has no finite estimate or level"),
            ((0.0, 0.001, 0.04, np.inf), "x3 has no finite estimate or level"),
            ((0.04, 0.04, 0.04, 0.04), "fewer than two settings are warned, or none is silent"),
            ((0.0, 0.0, 0.0, -0.04), "fewer than two settings are warned, or none is silent"),
        ],
    )
    def test_no_verdict_on_what_is_not_known(
        self, estimates: tuple[float, ...], words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = [flow_bursts.Compared(f"x{k}", value, 0.0, -0.001, 0.001, 0.0) for k, value in enumerate(estimates)]
        monkeypatch.setattr(flow_bursts, "SETTINGS", range(4))
        monkeypatch.setattr(flow_bursts, "_compared", lambda setting, quick: found[setting])
        for measure in MEASURES:
            assert measure(quick=False) == Measurement("inconclusive", words)

    def test_a_push_the_other_way_warns_too(self) -> None:
        assert flow_bursts.Compared("x", -0.04, 0.0, 0.0, 0.0, 0.0).warned
