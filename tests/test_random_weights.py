"""Weights without batches: their laws, and that nothing but their first two moments enters what the moment identity gives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.experiments import Experiment
from esssim.flow.bursts import burst_growth

N, D, B = 7, 3, 2
LAWS: tuple[es.RandomWeights, ...] = (
    es.GaussianWeights(B), es.TwoPointWeights(B), es.ThreePointWeights(B, 8.0), es.FullOrSingle(B)
)  # fmt: skip
by_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)


def data(n: int = N, d: int = D, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal(n)


def network(**options: Any) -> es.DiagonalLinearNetwork:
    return es.DiagonalLinearNetwork(*data(), **options)


def support(law: es.RandomWeights, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Every value of z of a law of finitely many, as weights (m, n) with their probabilities."""
    if isinstance(law, es.FullOrSingle):
        c = (n - B) / (B * (n - 1))
        return np.vstack([np.full(n, 1 / n), np.eye(n)]), np.array([1 - c, *[c / n] * n])
    if isinstance(law, es.TwoPointWeights):
        values, chances = [-1.0, 1.0], [0.5, 0.5]
    else:
        assert isinstance(law, es.ThreePointWeights)
        m4 = law.kurtosis
        values, chances = [-np.sqrt(m4), 0.0, np.sqrt(m4)], [1 / (2 * m4), 1 - 1 / m4, 1 / (2 * m4)]
    z = np.array(list(itertools.product(values, repeat=n)))
    probability = np.prod(list(itertools.product(chances, repeat=n)), axis=1)
    c = (n - B) / (B * (n - 1))
    return 1 / n + np.sqrt(c / n) * (z - z.mean(axis=1, keepdims=True)), probability


class TestLaws:
    @by_law
    def test_mean_and_covariance_are_those_of_the_weights_of_a_batch(self, law: es.RandomWeights) -> None:
        drawn = law.draw_weights(N, 400_000, np.random.default_rng(0))
        of_batches = np.zeros((21, N))
        for row, batch in enumerate(itertools.combinations(range(N), B)):
            of_batches[row, list(batch)] = 1 / B
        wanted = np.cov(of_batches.T, bias=True)
        error = np.sqrt(np.var((drawn[:, :, None] - 1 / N) * (drawn[:, None] - 1 / N), axis=0) / len(drawn))
        assert (np.abs(drawn.mean(axis=0) - 1 / N) < 5 * drawn.std(axis=0) / np.sqrt(len(drawn))).all()
        assert (np.abs(np.cov(drawn.T, bias=True) - wanted) < 5 * error).all()
        assert np.allclose(drawn.sum(axis=1), 1.0, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("law", LAWS[1:], ids=lambda law: type(law).__name__)
    def test_the_first_four_moments_by_enumeration(self, law: es.RandomWeights) -> None:
        weights, chances = support(law, N)
        centred = weights - 1 / N
        c = law.variance_coefficient(N)
        wanted = c / N * (np.eye(N) - 1 / N)
        assert np.allclose(chances @ weights, 1 / N, atol=1e-14)
        assert np.allclose(np.einsum("m,mi,mj->ij", chances, centred, centred), wanted, atol=1e-14)
        second, fourth = (chances @ centred**k for k in (2, 4))
        assert np.allclose(fourth / second**2 - 3, law.excess_kurtosis(N), rtol=1e-12)
        # The third central moment of Σwᵢaᵢ over that of one sample.
        samples = np.random.default_rng(1).exponential(size=N)
        third = chances @ (centred @ samples) ** 3
        assert third == pytest.approx(
            law.third_moment_coefficient(N) * ((samples - samples.mean()) ** 3).mean(), abs=1e-14
        )

    def test_kurtosis_of_gaussian_weights_is_that_of_a_normal(self) -> None:
        assert es.GaussianWeights(B).excess_kurtosis(N) == 0.0

    @by_law
    def test_full_batches_have_constant_weights(self, law: es.RandomWeights) -> None:
        whole = type(law)(N) if not isinstance(law, es.ThreePointWeights) else es.ThreePointWeights(N, 8.0)
        assert np.allclose(whole.draw_weights(N, 5, np.random.default_rng(0)), 1 / N, atol=1e-16)

    @by_law
    def test_several_calls_draw_what_one_call_draws(self, law: es.RandomWeights) -> None:
        rng = np.random.default_rng(4)
        parts = np.vstack([law.draw_weights(N, k, rng) for k in (3, 1, 6)])
        assert np.array_equal(parts, law.draw_weights(N, 10, np.random.default_rng(4)))

    @by_law
    def test_a_function_of_batches_refuses_them_by_name(self, law: es.RandomWeights) -> None:
        with pytest.raises(ValueError, match=r"sampling must draw batches .*which draws weights"):
            law.draw(N, 3, np.random.default_rng(0))
        with pytest.raises(ValueError, match="sampling must draw batches for a gap"):
            es.gap.bounds(network(), np.ones(2 * D), law)
        with pytest.raises(ValueError, match="which draws weights"):
            es.minibatch_critical_sharpness(network(), np.ones(2 * D), law, n_batches=9)

    @pytest.mark.parametrize("kurtosis", [0.5, np.nan, "8"])
    def test_kurtosis_is_checked(self, kurtosis: Any) -> None:
        with pytest.raises((ValueError, TypeError), match="kurtosis must be"):
            es.ThreePointWeights(2, kurtosis)

    def test_batch_size_is_checked(self) -> None:
        with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 7, got 8"):
            es.GaussianWeights(8).draw_weights(7, 1, np.random.default_rng(0))


class TestStatistics:
    @by_law
    def test_what_second_moments_give_is_that_of_batches(self, law: es.RandomWeights) -> None:
        problem, theta = network(), np.linspace(0.5, 1.5, 2 * D)
        for statistic in (es.gradient_noise_interaction, es.interaction_aware_sharpness, es.mean_square_sharpness):
            assert statistic(problem, theta, law) == statistic(problem, theta, es.WithoutReplacement(B))

    @pytest.mark.parametrize("law", LAWS[1:], ids=lambda law: type(law).__name__)
    @pytest.mark.parametrize("problem", [network(), network(form="difference", depth=3), es.LinearRegression(*data())])
    def test_sampled_statistics_against_every_value_of_the_weights(
        self, law: es.RandomWeights, problem: es.Problem
    ) -> None:
        theta = np.linspace(0.5, 1.5, problem.n_params)
        weights, chances = support(law, N)
        hessians = problem.sample_hessians(theta, np.arange(N))
        gradients = weights @ problem.sample_gradients(theta, np.arange(N))
        weighted = np.einsum("mi,ijk->mjk", weights, hessians)
        forms = np.einsum("mi,mij,mj->m", gradients, weighted, gradients)
        norms = (gradients**2).sum(axis=1)
        exact = {
            "minibatch": chances @ np.linalg.eigvalsh(weighted)[:, -1],
            "mean_of_ratios": chances @ (forms / norms),
            "ratio_of_means": (chances @ forms) / (chances @ norms),
        }
        options: dict[str, Any] = {"n_batches": 4000, "seed": 1}
        found = {
            "minibatch": es.minibatch_sharpness(problem, theta, law, **options),
            "mean_of_ratios": es.batch_sharpness(problem, theta, law, **options),
            "ratio_of_means": es.batch_sharpness(problem, theta, law, average="ratio_of_means", **options),
        }
        for name, estimate in found.items():
            assert not estimate.exact
            assert abs(estimate.value - exact[name]) < 4 * estimate.standard_error, name

    def test_full_or_single_is_enumerated(self) -> None:
        problem, theta = network(), np.linspace(0.5, 1.5, 2 * D)
        c = (N - B) / (B * (N - 1))
        found = es.minibatch_sharpness(problem, theta, es.FullOrSingle(B))
        single = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(1)).value
        assert found.exact
        assert found.value == pytest.approx((1 - c) * es.sharpness(problem, theta) + c * single, rel=1e-12)

    def test_other_laws_ask_for_a_number(self) -> None:
        with pytest.raises(ValueError, match="n_batches must be given"):
            es.minibatch_sharpness(network(), np.ones(2 * D), es.GaussianWeights(B))

    def test_structured_hessians_are_the_dense_sum(self) -> None:
        weights = np.random.default_rng(2).standard_normal(N)
        problem, theta = network(), np.linspace(0.5, 1.5, 2 * D)
        curvature = problem.curvature(theta)
        found = curvature.weighted(weights)
        dense = np.einsum("n,nij->ij", weights, problem.sample_hessians(theta, np.arange(N)))
        assert np.allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(dense), atol=1e-12)

    def test_the_statistics_of_batches_and_of_weights_differ(self) -> None:
        problem = es.LinearRegression(*data(n=40, d=20))
        batches = es.minibatch_sharpness(problem, np.zeros(20), es.WithoutReplacement(2))
        gaussian = es.minibatch_sharpness(problem, np.zeros(20), es.GaussianWeights(2), n_batches=2000)
        assert batches.exact
        assert abs(gaussian.value - batches.value) > 10 * gaussian.standard_error


class TestRuns:
    @by_law
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("label_noise", [0.0, 0.05])
    @pytest.mark.parametrize("kind", ["product", "depth 3", "regression", "perceptron"])
    def test_steps_against_plain_python(
        self, law: es.RandomWeights, momentum: float, label_noise: float, kind: str
    ) -> None:
        problem: Any = {
            "product": network(), "depth 3": network(form="difference", depth=3),
            "regression": es.LinearRegression(*data()), "perceptron": es.Perceptron(*data(), 2),
        }[kind]  # fmt: skip
        theta = np.linspace(0.4, 0.9, problem.n_params)
        ramp, steps = es.Ramp(0.01, 0.04), 9
        run = es.simulate(
            problem, theta, step_size=ramp, sampling=law, n_steps=steps, momentum=momentum, label_noise=label_noise,
            record=("theta",), record_steps=[4, steps], seed=11,
        )  # fmt: skip
        rng = np.random.default_rng(np.random.SeedSequence(11, spawn_key=(0,)))
        velocity = np.zeros_like(theta)
        everyone = np.arange(N)
        for eta in ramp.at(np.arange(steps), steps):
            weights = law.draw_weights(N, 1, rng)[0]
            gradient = weights @ problem.sample_gradients(theta, everyone)
            if label_noise:
                z = rng.standard_normal(N)
                gradient = gradient - label_noise * (weights * z) @ problem.sample_jacobians(theta, everyone).reshape(
                    N, -1
                )
            velocity = momentum * velocity + gradient
            theta = theta - eta * velocity
        assert np.allclose(run["theta"].values[0, -1], theta, rtol=1e-10, atol=1e-12)

    @by_law
    def test_the_first_two_moments_follow_those_of_batches(self, law: es.RandomWeights) -> None:
        problem = es.LinearRegression(*data(n=6, d=2))
        options: dict[str, Any] = {"step_size": 0.1, "sampling": law, "n_steps": 12}
        exact = es.moments.evolve(problem, np.ones(2), **options)
        run = es.simulate(problem, np.ones(2), n_replicas=4000, record=("theta",), n_records=2, seed=5, **options)
        last = run["theta"].values[:, -1]
        error = last.std(axis=0) / np.sqrt(len(last))
        assert (np.abs(last.mean(axis=0) - exact["mean"].values[-1]) < 4 * error).all()
        squares = last - exact["mean"].values[-1]
        spread = (squares**2).std(axis=0) / np.sqrt(len(last))
        assert (np.abs((squares**2).mean(axis=0) - np.diag(exact["covariance"].values[-1])) < 4 * spread).all()

    @by_law
    def test_the_same_numbers_for_any_replicas_and_records(self, law: es.RandomWeights) -> None:
        options: dict[str, Any] = {
            "step_size": 0.05, "sampling": law, "n_steps": 40, "record": ("loss", "minibatch_sharpness"), "seed": 7,
            "n_batches": 8, "label_noise": 0.01,
        }  # fmt: skip
        one = es.simulate(network(), np.ones(2 * D), n_replicas=1, n_records=3, **options)
        many = es.simulate(network(), np.ones(2 * D), n_replicas=3, n_records=5, **options)
        for name in ("loss", "minibatch_sharpness"):
            assert np.array_equal(one[name].values[0], many[name].values[0, ::2])

    def test_a_run_that_diverges_is_marked(self) -> None:
        run = es.simulate(
            network(), np.ones(2 * D), step_size=50.0, sampling=es.GaussianWeights(B), n_steps=300, seed=0
        )
        assert run["diverged_at"].values[0] > 0
        assert np.isnan(run["loss"].values[0, -1])

    def test_the_flow_is_that_of_batches(self) -> None:
        problem = es.DiagonalLinearNetwork(*data(n=5, d=8))
        start = es.gradient_flow(problem, np.concatenate([np.full(8, 1.5), np.zeros(8)]))
        eta = 1.0 / es.mean_square_sharpness(problem, start, es.WithoutReplacement(B), hessian="gauss_newton")
        options: dict[str, Any] = {
            "step_size": eta, "n_steps": 2000, "label_noise": 0.05, "n_records": 3, "record": ("sharpness",),
        }  # fmt: skip
        found = [
            es.flow.solve(problem, start, sampling=sampling, **options)["sharpness"].values
            for sampling in (es.WithoutReplacement(B), es.GaussianWeights(B))
        ]
        assert np.array_equal(*found)


def test_bursts_of_full_or_single_by_the_exact_moment() -> None:
    """In one dimension L(q) = log E|1 − ηh|^q, so that μ = L′(2) = E[A² log|A|]/E[A²] at the edge E[A²] = 1."""
    factors = np.sqrt(np.array([0.3, 1.0, 2.0, 0.5, 0.2]))[:, None]
    law = es.FullOrSingle(B)
    n = len(factors)
    rows, chances = law.every(n)
    h = rows @ factors[:, 0] ** 2
    eta = 2 * (chances @ h) / (chances @ h**2)
    squares = (1 - eta * h) ** 2
    exact = chances @ (squares * np.log(squares)) / 2
    found = [burst_growth(factors, np.ones(1), eta, law, 1, seed) for seed in range(40)]
    assert np.mean(found) == pytest.approx(exact, abs=4 * np.std(found) / np.sqrt(40))


@pytest.mark.parametrize(
    ("section", "wanted"),
    [
        ({"scheme": "gaussian_weights"}, es.GaussianWeights(2)),
        ({"scheme": "two_point_weights"}, es.TwoPointWeights(2)),
        ({"scheme": "three_point_weights", "kurtosis": 8.0}, es.ThreePointWeights(2, 8.0)),
        ({"scheme": "full_or_single"}, es.FullOrSingle(2)),
    ],
)
def test_in_toml(section: dict[str, Any], wanted: es.RandomWeights) -> None:
    experiment = Experiment(
        problem={"kind": "linear_regression"}, data={"kind": "gaussian", "n_samples": 5, "n_features": 2},
        sampling=section | {"batch_size": 2}, dynamics={"step_size": 0.1, "n_steps": 4},
    )  # fmt: skip
    assert experiment.batches == wanted
    again = Experiment.from_toml(experiment.to_toml())
    assert again == experiment
    assert again.run()["loss"].equals(experiment.run()["loss"])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"scheme": "three_point_weights"}, "kurtosis is missing"),
        ({"scheme": "gaussian_weights", "kurtosis": 3.0}, "kurtosis is for 'three_point_weights'"),
    ],
)
def test_kurtosis_belongs_to_one_scheme(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Experiment(
            problem={"kind": "linear_regression"}, data={"kind": "gaussian", "n_samples": 5, "n_features": 2},
            sampling=section | {"batch_size": 2}, dynamics={"step_size": 0.1, "n_steps": 4},
        )  # fmt: skip


def test_oracles_agree_on_the_operator() -> None:
    """E[H_w⊗H_w] by every value of the weights is that of the moment identity, and of all batches."""
    problem, theta = es.LinearRegression(*data()), np.zeros(D)
    hessians = problem.sample_hessians(theta, np.arange(N))
    batches = [np.mean(hessians[list(batch)], axis=0) for batch in itertools.combinations(range(N), B)]
    wanted = np.mean([np.kron(matrix, matrix) for matrix in batches], axis=0)
    for law in LAWS[1:]:
        weights, chances = support(law, N)
        matrices = np.einsum("mi,ijk->mjk", weights, hessians)
        found = sum(p * np.kron(matrix, matrix) for p, matrix in zip(chances, matrices, strict=True))
        assert np.allclose(found, wanted, atol=1e-12)


def test_the_two_averages_of_batch_sharpness_are_those_of_brute_force() -> None:
    table = es.data.gaussian(12, 5, seed=1)
    problem, sampling = es.DiagonalLinearNetwork(table.inputs, table.targets), es.GaussianWeights(3)
    theta = np.random.default_rng(0).standard_normal(10)
    weights = sampling.draw_weights(12, 64, np.random.default_rng(3))
    hessians = np.einsum("mi,ijk->mjk", weights, problem.sample_hessians(theta, np.arange(12)))
    gradients = weights @ problem.sample_gradients(theta, np.arange(12))
    forms, norms = np.einsum("mj,mjk,mk->m", gradients, hessians, gradients), (gradients**2).sum(axis=1)
    mean, ratio = ((forms / norms).mean(), forms.mean() / norms.mean())
    assert abs(mean / ratio - 1) > 1e-3
    found = es.batch_sharpness(problem, theta, sampling, n_batches=64, seed=3)
    parts = es.batch_sharpness(problem, theta, sampling, average="ratio_of_means", n_batches=64, seed=3)
    np.testing.assert_allclose([found.value, parts.value], [mean, ratio], rtol=1e-12)
