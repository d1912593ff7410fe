"""Every statistic against brute force over all batches, and sampled ones against their own intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given

import esssim as es
from esssim.curvature import blocks, dense
from esssim.spectra import mean
from esssim.statistics import ENUMERATION_LIMIT, Enclosure, estimate, mean_square, minibatch
from esssim.statistics.mean_square import top_of_pencil
from esssim.testing import Case, strategies
from tests import oracles

SCHEMES = (es.WithoutReplacement, es.WithReplacement, es.Reshuffled)


def some_problem(kind: str, n: int = 5, d: int = 2, seed: int = 0, scale: float = 1.0) -> Case:
    normal = np.random.default_rng(seed).standard_normal
    if kind == "quadratic":
        matrices = normal((n, d + 1, d + 1))
        return Case(es.Quadratic(matrices @ matrices.transpose(0, 2, 1) * scale**2, normal((n, d + 1))), normal(d + 1))
    inputs, targets = normal((n, d)) * scale, normal(n) * scale
    if kind == "regression":
        return Case(es.LinearRegression(inputs, targets), normal(d))
    form, _, depth = kind.partition(" ")
    return Case(es.DiagonalLinearNetwork(inputs, targets, form=form, depth=int(depth or 2)), normal(2 * d))


KINDS = ("quadratic", "regression", "product", "difference 2", "difference 3")
every_kind = pytest.mark.parametrize("kind", KINDS)
every_scheme = pytest.mark.parametrize(
    "sampling",
    [scheme(b) for scheme in SCHEMES for b in (1, 2, 4, 5)],
    ids=lambda s: f"{type(s).__name__}({s.batch_size})",
)


def batch_quantities(case: Case, sampling: es.Sampling) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities (m,), g_B (m, p), H_B (m, p, p) of every batch."""
    batches, probabilities = oracles.all_batches(case.problem.n_samples, sampling)
    gradients = case.problem.sample_gradients(case.theta, case.everyone)[batches].mean(axis=1)
    return probabilities, gradients, oracles.batch_hessians(case.problem, case.theta, batches)


class TestByHand:
    """Two samples of one parameter: x = 1, 2 and y = 0, so that h = 1, 4 and at θ = 1 g = 1, 4."""

    problem = es.LinearRegression([[1.0], [2.0]], [0.0, 0.0])
    one, both = es.WithoutReplacement(1), es.WithReplacement(2)

    def test_sharpness(self) -> None:
        assert es.sharpness(self.problem, [1.0]) == 2.5

    def test_minibatch_sharpness(self) -> None:
        assert es.minibatch_sharpness(self.problem, [1.0], self.one).value == 2.5

    def test_batch_sharpness(self) -> None:
        assert es.batch_sharpness(self.problem, [1.0], self.one).value == pytest.approx((1 + 4) / 2, rel=1e-15)
        parts = es.batch_sharpness(self.problem, [1.0], self.one, average="ratio_of_means").value
        assert parts == pytest.approx((1 * 1 + 16 * 4) / (1 + 16), rel=1e-15)

    def test_gradient_noise_interaction_and_interaction_aware_sharpness(self) -> None:
        # E g_B² is (1 + 16)/2 without replacement at b = 1, and (1 + 2·(5/2)² + 16)/4 with replacement at b = 2.
        assert es.gradient_noise_interaction(self.problem, [1.0], self.one) == pytest.approx(
            2.5 * 8.5 / 6.25, rel=1e-15
        )
        expected = 2.5 * (1 + 2 * 6.25 + 16) / 4 / 6.25
        assert es.gradient_noise_interaction(self.problem, [1.0], self.both) == pytest.approx(expected, rel=1e-15)
        assert es.interaction_aware_sharpness(self.problem, [1.0], self.one) == pytest.approx(2.5, rel=1e-15)

    def test_mean_square_sharpness(self) -> None:
        # E h_B²/E h_B.
        assert es.mean_square_sharpness(self.problem, [1.0], self.one) == pytest.approx(8.5 / 2.5, rel=1e-15)
        expected = (1 + 2 * 6.25 + 16) / 4 / 2.5
        assert es.mean_square_sharpness(self.problem, [1.0], self.both) == pytest.approx(expected, rel=1e-15)


@every_kind
class TestSharpness:
    @pytest.mark.parametrize(("n", "d"), [(5, 2), (3, 6), (1, 3), (4, 4)])
    def test_dense(self, kind: str, n: int, d: int) -> None:
        case = some_problem(kind, n, d)
        expected = oracles.top_eigenvalues(case.hessians.mean(axis=0)[None])[0]
        assert es.sharpness(case.problem, case.theta) == pytest.approx(expected, rel=1e-13)

    @pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
    def test_lanczos_above_the_dense_limit(self, kind: str, scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
        case = some_problem(kind, 40, 15, scale=scale)
        dense = es.sharpness(case.problem, case.theta)
        called, original = [], mean.lanczos_largest_eigenvalue

        def lanczos(*arguments: Any) -> tuple[float, np.ndarray]:
            called.append(arguments)
            return original(*arguments)

        monkeypatch.setattr(mean, "lanczos_largest_eigenvalue", lanczos)
        for limit, used in ((case.problem.n_params, False), (case.problem.n_params - 1, kind != "quadratic")):
            monkeypatch.setattr(mean, "DENSE_LIMIT", limit)
            assert es.sharpness(case.problem, case.theta) == pytest.approx(dense, rel=1e-12, abs=0.0)
            assert bool(called) == used

    @pytest.mark.parametrize("scale", [1e150, 1e-150])
    def test_scale(self, kind: str, scale: float) -> None:
        one, other = some_problem(kind), some_problem(kind, scale=scale)
        expected = es.sharpness(one.problem, one.theta) * scale**2
        assert es.sharpness(other.problem, other.theta) == pytest.approx(expected, rel=1e-12, abs=0.0)


def test_sharpness_of_a_wide_regression_comes_from_its_gram_matrix() -> None:
    """n < p: p may be far too large for a p×p matrix."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((4, 200_000))
    expected = np.linalg.eigvalsh(inputs @ inputs.T / 4)[-1]
    assert es.sharpness(es.LinearRegression(inputs, np.zeros(4)), np.zeros(200_000)) == pytest.approx(
        expected, rel=1e-13
    )


@every_kind
@every_scheme
class TestAgainstEveryBatch:
    def test_minibatch_sharpness(self, kind: str, sampling: es.Sampling) -> None:
        case = some_problem(kind)
        probabilities, _, hessians = batch_quantities(case, sampling)
        found = es.minibatch_sharpness(case.problem, case.theta, sampling)
        assert found.value == pytest.approx(probabilities @ oracles.top_eigenvalues(hessians), rel=1e-13)
        assert (found.standard_error, found.n_batches, found.exact) == (0.0, len(probabilities), True)
        assert found.interval == (found.value, found.value)

    def test_batch_sharpness(self, kind: str, sampling: es.Sampling) -> None:
        case = some_problem(kind)
        probabilities, g, h = batch_quantities(case, sampling)
        forms, norms = np.einsum("mi,mij,mj->m", g, h, g), (g**2).sum(axis=1)
        scale = case.hessian_scale
        ratios = es.batch_sharpness(case.problem, case.theta, sampling)
        parts = es.batch_sharpness(case.problem, case.theta, sampling, average="ratio_of_means")
        assert abs(ratios.value - probabilities @ (forms / norms)) <= 1e-12 * scale
        assert abs(parts.value - (probabilities @ forms) / (probabilities @ norms)) <= 1e-12 * scale
        assert ratios.exact
        assert parts.exact
        assert ratios == es.batch_sharpness(case.problem, case.theta, sampling, average="mean_of_ratios")

    @pytest.mark.parametrize("d", [2, 7], ids=["n > p", "n < p"])
    def test_gradient_noise_interaction_and_interaction_aware_sharpness(
        self, kind: str, sampling: es.Sampling, d: int
    ) -> None:
        case = some_problem(kind, d=d)
        probabilities, g, _ = batch_quantities(case, sampling)
        full, hessian = probabilities @ g, case.hessians.mean(axis=0)
        forms = probabilities @ np.einsum("mi,ij,mj->m", g, hessian, g)
        found = es.gradient_noise_interaction(case.problem, case.theta, sampling)
        assert found == pytest.approx(forms / (full @ full), rel=1e-11)
        found = es.interaction_aware_sharpness(case.problem, case.theta, sampling)
        assert found == pytest.approx(forms / (probabilities @ (g**2).sum(axis=1)), rel=1e-11)

    def test_mean_square_sharpness(self, kind: str, sampling: es.Sampling) -> None:
        case = some_problem(kind)
        dense = oracles.mean_square_sharpness(case.problem, case.theta, sampling)
        assert es.mean_square_sharpness(case.problem, case.theta, sampling) == pytest.approx(dense, rel=1e-11)

    def test_certified_mean_square_sharpness(self, kind: str, sampling: es.Sampling) -> None:
        case = some_problem(kind)
        dense = oracles.mean_square_sharpness(case.problem, case.theta, sampling)
        found = es.mean_square_sharpness(case.problem, case.theta, sampling, certify=True)
        assert isinstance(found, Enclosure)
        assert found.value == es.mean_square_sharpness(case.problem, case.theta, sampling)
        # The oracle has an error of its own: eps times the condition number of C.
        assert found.lower <= dense * (1 + 1e-13)
        assert found.upper >= dense * (1 - 1e-13)
        if sampling.variance_coefficient(5) > 0:
            # Rounding has its margin on either side: the interval never closes on the value itself.
            # The enclosure of rank-one samples is as tight as their vectors of n numbers allow.
            margin = (1e-15 if kind == "regression" else 1e-11) * case.problem.curvature(case.theta).scale()
            assert found.lower + margin <= found.value <= found.upper - margin
        plain = top_of_pencil(case.problem.curvature(case.theta), sampling.variance_coefficient(5))
        if sampling.variance_coefficient(5) > 0:
            assert plain == (found.value, -np.inf, np.inf)

    def test_gauss_newton(self, kind: str, sampling: es.Sampling) -> None:
        case = some_problem(kind)
        if kind == "quadratic":
            with pytest.raises(
                ValueError, match="hessian='gauss_newton' needs a problem with residuals, Quadratic has none"
            ):
                es.mean_square_sharpness(case.problem, case.theta, sampling, hessian="gauss_newton")
            return
        # Jᵢ is the gradient of sample i divided by its residual.
        residuals = case.problem.residuals(case.theta, case.everyone)
        jacobians = case.problem.sample_gradients(case.theta, case.everyone) / residuals[:, None]
        d, c = oracles.dense_pencil(jacobians[:, :, None] * jacobians[:, None, :], sampling)
        found = es.mean_square_sharpness(case.problem, case.theta, sampling, hessian="gauss_newton")
        assert found == pytest.approx(scipy.linalg.eigh(d, c, eigvals_only=True)[-1], rel=1e-10)
        if kind == "regression":
            assert found == es.mean_square_sharpness(case.problem, case.theta, sampling)


@pytest.mark.parametrize("kind", ["quadratic", "regression", "one direction"])
@pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.WithReplacement])
def test_enclosure_of_a_well_conditioned_problem_is_tight(kind: str, scheme: type[es.Sampling]) -> None:
    if kind == "one direction":
        # Rank one, with an eigenvalue far above the largest entry.
        case = Case(es.LinearRegression(np.outer(np.arange(1.0, 9.0), np.ones(9)), np.zeros(8)), np.zeros(9))
    else:
        case = some_problem(kind, n=8, d=3, seed=4)
    found = es.mean_square_sharpness(case.problem, case.theta, scheme(3), certify=True)
    assert found.upper - found.lower <= 1e-4 * found.value
    assert found.lower > 0


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_collatz_wielandt_bounds_from_any_positive_matrix(rank: int, sign: float) -> None:
    """The extreme eigenvalues of M⁻¹T(M) enclose the spectral radius of T: M ↦ Σ BMBᵀ, however far M is from its top."""
    rng = np.random.default_rng(rank)
    maps = rng.standard_normal((4, rank, rank))
    radius = np.abs(np.linalg.eigvals(sum(np.kron(b, b) for b in maps))).max()
    for _ in range(20):
        root = rng.standard_normal((rank, rank))
        matrix = root @ root.T + 0.1 * np.eye(rank)
        image = sum(b @ matrix @ b.T for b in maps)
        extremes = scipy.linalg.eigh(image, matrix, eigvals_only=True)[[0, -1]]
        lower, upper = mean_square._collatz_wielandt(lambda m: sum(b @ m @ b.T for b in maps), sign * matrix)
        assert lower <= radius <= upper
        assert (lower, upper) == pytest.approx(tuple(extremes), rel=1e-8)


@pytest.mark.parametrize("scale", [2.0**-30, 2.0**30])
def test_collatz_wielandt_bounds_do_not_depend_on_the_scale_of_the_matrix(scale: float) -> None:
    """M⁻¹T(M) has no units: a power of two changes no bit, also where the floor on M's eigenvalues is needed."""
    rates = np.array([1.0, 2.0, 5.0])
    for matrix in (np.diag([0.0, 0.0, 1.0]), np.diag([3.0, 1e-9, 0.5])):
        one, other = (mean_square._collatz_wielandt(lambda m: np.diag(rates) @ m, k * matrix) for k in (1.0, scale))
        assert one == other


def test_collatz_wielandt_bounds_from_a_singular_matrix() -> None:
    """Orthogonal samples have a top matrix of rank one; a floor on its eigenvalues makes it positive definite."""
    rates = np.array([1.0, 2.0, 5.0])
    lower, upper = mean_square._collatz_wielandt(lambda m: np.diag(rates) @ m, np.diag([0.0, 0.0, 1.0]))
    assert (lower, upper) == pytest.approx((1.0, 5.0), rel=1e-6)


@every_kind
@every_scheme
def test_pencil_maps(kind: str, sampling: es.Sampling) -> None:
    """D(M) = E[H_B M H_B] and the part of it that is noise, V(M) = D(M) − HMH, in H's eigenbasis."""
    case = some_problem(kind)
    pencil = mean_square.Pencil.of(case.problem.curvature(case.theta))
    probabilities, _, hessians = batch_quantities(case, sampling)
    basis = pencil.eigenvectors
    in_basis = np.asarray(case.problem.curvature(case.theta).to_basis(np.eye(case.problem.n_params)))
    hessians = basis.T @ in_basis.T @ hessians @ in_basis @ basis
    np.testing.assert_allclose(
        np.einsum("m,mij->ij", probabilities, hessians), np.diag(pencil.eigenvalues), atol=1e-12 * case.hessian_scale
    )
    matrix = np.random.default_rng(0).standard_normal(basis.shape[1:] * 2)
    matrix = matrix + matrix.T
    second = np.einsum("m,mij,jk,mkl->il", probabilities, hessians, matrix, hessians)
    noise = second - np.diag(pencil.eigenvalues) @ matrix @ np.diag(pencil.eigenvalues)
    c, size = sampling.variance_coefficient(5), 10 * case.hessian_scale**2
    np.testing.assert_allclose(pencil.second_moment(matrix, c), second, atol=1e-12 * size)
    np.testing.assert_allclose(pencil.covariance(matrix, c), noise, atol=1e-12 * size)


@pytest.mark.parametrize(("n", "d"), [(30, 12), (12, 30)])
@pytest.mark.parametrize("sampling", [es.WithoutReplacement(4), es.WithReplacement(4)])
def test_mean_square_sharpness_of_rank_one_samples_by_its_positive_matrix(
    n: int, d: int, sampling: es.Sampling
) -> None:
    """An n×n route that shares nothing with the code: ηQ_b = 2 exactly where κ₂·Perron(Ψ(η)) = 1."""
    inputs = np.random.default_rng(1).standard_normal((n, d))
    value = es.mean_square_sharpness(es.LinearRegression(inputs, np.zeros(n)), np.zeros(d), sampling)
    c, eta = sampling.variance_coefficient(n), 2 / value
    spectrum, u = np.linalg.eigh(inputs @ inputs.T)
    spectrum, u = spectrum[spectrum > 1e-9], u[:, spectrum > 1e-9]
    product, total = np.outer(spectrum, spectrum), spectrum[:, None] + spectrum
    m = eta * product / (total / n - eta * (1 - c) / n**2 * product)
    psi = np.einsum("aj,cj,jk,ak,ck->ac", u, u, m, u, u, optimize=True)
    assert c / n * np.linalg.eigvalsh(psi)[-1] == pytest.approx(1.0, rel=1e-10)


class TestMeanSquareSharpnessAtTheEnds:
    @every_kind
    def test_full_batch_is_the_sharpness(self, kind: str) -> None:
        case = some_problem(kind)
        sampling = es.WithoutReplacement(5)
        sharpness = es.sharpness(case.problem, case.theta)
        found = es.mean_square_sharpness(case.problem, case.theta, sampling, certify=True)
        assert found.value == pytest.approx(sharpness, rel=1e-14)
        assert found.lower == found.value == found.upper

    def test_zero_hessian(self) -> None:
        for problem in (
            es.LinearRegression(np.zeros((3, 2)), np.ones(3)),
            es.Quadratic(np.zeros((3, 2, 2)), np.zeros((3, 2))),
        ):
            assert es.mean_square_sharpness(problem, [1.0, 2.0], es.WithoutReplacement(1)) == 0.0
            assert es.mean_square_sharpness(problem, [1.0, 2.0], es.WithoutReplacement(1), certify=True) == (
                0.0,
                0.0,
                0.0,
            )

    @pytest.mark.parametrize(
        "hessians", [[[[1.0]], [[-1.0]]], [[[1.0]], [[-3.0]]], [[[-1.0]], [[-1.0]]], [np.diag([-1.0, 0.0])] * 2]
    )
    def test_no_positive_curvature(self, hessians: object) -> None:
        p = len(hessians[0])
        problem = es.Quadratic(hessians, np.zeros((2, p)))
        with pytest.raises(ValueError, match="needs a Hessian with a positive eigenvalue at theta, it has none"):
            es.mean_square_sharpness(problem, np.ones(p), es.WithoutReplacement(1))

    @pytest.mark.parametrize("seed", range(10))
    @pytest.mark.parametrize("scale", [1.0, 1e-120, 1e120])
    def test_no_positive_curvature_but_rounding(self, seed: int, scale: float) -> None:
        """−vvᵀ has eigenvalues of either sign that are rounding; so has a mean that cancels."""
        rng = np.random.default_rng(seed)
        v = rng.standard_normal(6)
        for signs in ([-1.0, -1.0, -0.3], [1.0, -0.9, -0.1]):
            problem = es.Quadratic(np.multiply.outer(signs, np.outer(v, v)) * scale, np.zeros((3, 6)))
            with pytest.raises(es.Undefined, match="positive eigenvalue"):
                es.mean_square_sharpness(problem, np.ones(6), es.WithReplacement(1))

    def test_no_positive_curvature_of_a_network(self) -> None:
        problem = es.DiagonalLinearNetwork([[1.0, 2.0], [1.5, 1.0]], [1e4, 2e4], form="difference", depth=3)
        with pytest.raises(ValueError, match="positive eigenvalue"):
            es.mean_square_sharpness(problem, [0.1, 0.2, -0.1, -0.3], es.WithoutReplacement(1))

    def test_indefinite_hessian_is_taken_on_its_positive_part(self) -> None:
        rng = np.random.default_rng(2)
        matrices = rng.standard_normal((5, 4, 4))
        problem = es.Quadratic(matrices + matrices.transpose(0, 2, 1), np.zeros((5, 4)))
        assert np.linalg.eigvalsh(problem.hessian(np.zeros(4)))[0] < -0.1
        for sampling in (es.WithoutReplacement(2), es.WithReplacement(2)):
            dense = oracles.mean_square_sharpness(problem, np.zeros(4), sampling)
            assert es.mean_square_sharpness(problem, np.zeros(4), sampling) == pytest.approx(dense, rel=1e-11)

    def test_directions_that_no_sample_sees_do_not_count(self) -> None:
        rng = np.random.default_rng(3)
        inputs = rng.standard_normal((5, 2))
        wide = es.LinearRegression(inputs @ np.linalg.qr(rng.standard_normal((6, 6)))[0][:2], np.zeros(5))
        narrow = es.LinearRegression(inputs, np.zeros(5))
        values = [
            es.mean_square_sharpness(problem, np.zeros(problem.n_params), es.WithoutReplacement(2))
            for problem in (wide, narrow)
        ]
        assert values[0] == pytest.approx(values[1], rel=1e-12)


@every_kind
@pytest.mark.parametrize("scale", [1e150, 1e-150])
@pytest.mark.parametrize("sampling", [es.WithoutReplacement(2), es.WithReplacement(3)], ids=["WOR 2", "WR 3"])
def test_every_statistic_scales_with_the_loss(kind: str, scale: float, sampling: es.Sampling) -> None:
    one, other = some_problem(kind), some_problem(kind, scale=scale)
    for function in (
        lambda *at: es.minibatch_sharpness(*at).value,
        lambda *at: es.minibatch_sharpness(*at, n_batches=50, seed=3).value,
        lambda *at: es.minibatch_sharpness(*at, n_batches=50, seed=3).standard_error,
        lambda *at: es.batch_sharpness(*at).value,
        lambda *at: es.batch_sharpness(*at, n_batches=50, seed=3).standard_error,
        lambda *at: es.batch_sharpness(*at, average="ratio_of_means").value,
        lambda *at: es.batch_sharpness(*at, average="ratio_of_means", n_batches=50, seed=3).standard_error,
        es.gradient_noise_interaction,
        es.interaction_aware_sharpness,
        es.mean_square_sharpness,
        lambda *at: es.mean_square_sharpness(*at, certify=True).upper,
        lambda *at: es.mean_square_sharpness(*at, certify=True).lower,
    ):
        expected = function(one.problem, one.theta, sampling) * scale**2
        assert function(other.problem, other.theta, sampling) == pytest.approx(expected, rel=1e-9, abs=0.0)


def test_standard_error_of_huge_values_among_zeros() -> None:
    problems = [es.LinearRegression(np.diag([0.0, 1.0, 2.0]) * scale, np.zeros(3)) for scale in (1.0, 1e150)]
    errors = [
        es.minibatch_sharpness(
            problem, np.zeros(3), es.WithoutReplacement(1), n_batches=50, draws="uniform"
        ).standard_error
        for problem in problems
    ]
    assert errors[1] == pytest.approx(errors[0] * 1e300, rel=1e-12)


def test_standard_error_of_three_batches() -> None:
    """sd/√m with m − 1, against the standard library, of values that are no function of the batches."""
    values = [1.5, -2.0, 7.25]
    found = estimate.expectation(lambda batches: np.array(values), 9, es.WithoutReplacement(2), 3, seed=0)
    assert found.value == pytest.approx(statistics.fmean(values), rel=1e-15)
    assert found.standard_error == pytest.approx(statistics.stdev(values) / math.sqrt(3), rel=1e-15)


def test_gradients_in_stretches_share_one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest entry of all, wherever it stands: 1e100 in the first stretch, 1e-100 in the last."""
    minimizers = np.array([[1e100], [1.0], [1e-100]])
    problem = es.Quadratic(np.ones((3, 1, 1)), minimizers)
    monkeypatch.setattr(minibatch, "GRADIENT_NUMBERS", 1)
    for average in ("mean_of_ratios", "ratio_of_means"):
        found = es.batch_sharpness(problem, np.zeros(1), es.WithoutReplacement(1), average=average)
        assert found.value == pytest.approx(1.0, rel=1e-14)
    flat = es.Quadratic(np.ones((3, 1, 1)), np.array([[1.0], [-1.0], [1.0]]))
    # A batch without a gradient has no quotient of its own, and none of another's.
    with pytest.raises(ValueError, match="0/0"):
        es.batch_sharpness(flat, np.zeros(1), es.WithoutReplacement(2))


@pytest.mark.parametrize("size", [1e-3, 1e-90])
def test_batch_sharpness_next_to_the_saddle(size: float) -> None:
    """u = v → 0: g = (su, su) and H couples u and v by s = −Xᵀy/b alone, so that gᵀHg/‖g‖² = Σs³/Σs² per batch."""
    inputs, targets = np.array([[1.0, 0.5], [0.0, -2.0], [3.0, 1.0]]), np.array([1.0, -1.0, 2.0])
    problem, theta = es.DiagonalLinearNetwork(inputs, targets), np.full(4, size)
    s = -inputs * targets[:, None]
    expected = ((s**3).sum(axis=1) / (s**2).sum(axis=1)).mean()
    found = es.batch_sharpness(problem, theta, es.WithoutReplacement(1)).value
    assert found == pytest.approx(expected, rel=max(10 * size, 1e-14))


Function = Callable[..., es.Estimate]
SAMPLED: dict[str, Function] = {
    "minibatch_sharpness": es.minibatch_sharpness,
    "batch_sharpness, ratios": es.batch_sharpness,
    "batch_sharpness, parts": lambda *at, **how: es.batch_sharpness(*at, average="ratio_of_means", **how),
}
every_sampled = pytest.mark.parametrize("function", SAMPLED.values(), ids=SAMPLED)


@every_sampled
@pytest.mark.parametrize("sampling", [es.WithoutReplacement(3), es.WithReplacement(2)], ids=["WOR 3", "WR 2"])
class TestIntervals:
    @pytest.mark.parametrize("kind", ["regression", "product", "quadratic"])
    def test_coverage(self, function: Function, sampling: es.Sampling, kind: str) -> None:
        """The exact value lies inside the 95 % interval of 179 to 198 of 200 seeds: 190 ± 3.7 standard deviations."""
        case = some_problem(kind, n=12, d=3, seed=1)
        exact = function(case.problem, case.theta, sampling).value
        inside = 0
        for seed in range(200):
            low, high = function(case.problem, case.theta, sampling, n_batches=300, seed=seed, draws="uniform").interval
            inside += low <= exact <= high
        assert 179 <= inside <= 198

    def test_standard_error_is_that_of_the_law(self, function: Function, sampling: es.Sampling) -> None:
        """sd/√m with the exact standard deviation of one batch; for the ratio of means that of (f − Rg)/E[g]."""
        case = some_problem("regression", n=8, d=3)
        probabilities, g, h = batch_quantities(case, sampling)
        forms, norms = np.einsum("mi,mij,mj->m", g, h, g), (g**2).sum(axis=1)
        exact = function(case.problem, case.theta, sampling).value
        values = {
            "minibatch_sharpness": oracles.top_eigenvalues(h) - exact,
            "batch_sharpness, ratios": forms / norms - exact,
            "batch_sharpness, parts": (forms - exact * norms) / (probabilities @ norms),
        }[next(name for name, known in SAMPLED.items() if known is function)]
        found = function(case.problem, case.theta, sampling, n_batches=40_000, seed=0, draws="uniform").standard_error
        assert found == pytest.approx(np.sqrt(probabilities @ values**2 / 40_000), rel=0.05)

    def test_sampled_in_chunks_of_any_size(
        self, function: Function, sampling: es.Sampling, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for draws, n in (("uniform", 8), ("shares", 30)):
            case = some_problem("product", n=n)
            expected = function(case.problem, case.theta, sampling, n_batches=100, seed=4, draws=draws)
            for chunk in (1, 7, 100):
                with monkeypatch.context() as context:
                    context.setattr(estimate, "CHUNK", chunk)
                    found = function(case.problem, case.theta, sampling, n_batches=100, seed=4, draws=draws)
                assert found == expected
            assert found.n_batches == (0 if found.exact else 100)

    @pytest.mark.parametrize("kind", ["product", "quadratic", "regression"])
    def test_enumerated_in_chunks_of_any_size(self, function: Function, sampling: es.Sampling, kind: str) -> None:
        case = some_problem(kind)
        expected = function(case.problem, case.theta, sampling)

        class InChunks(type(sampling)):
            def enumerate(self, n_samples: int, chunk_size: int = 3) -> Any:
                return super().enumerate(n_samples, chunk_size)

        assert function(case.problem, case.theta, InChunks(sampling.batch_size)) == expected

    def test_seed(self, function: Function, sampling: es.Sampling) -> None:
        case = some_problem("regression", n=12)
        values = [
            function(case.problem, case.theta, sampling, n_batches=20, seed=seed, draws="uniform").value
            for seed in (0, 0, np.random.SeedSequence(0), 1)
        ]
        assert values[0] == values[1] == values[2] != values[3]

    def test_fewest_batches(self, function: Function, sampling: es.Sampling) -> None:
        case = some_problem("regression", n=12)
        assert function(case.problem, case.theta, sampling, n_batches=2, seed=0, draws="uniform").n_batches == 2
        for bad in (1, 0, -5, 2.5, "10"):
            with pytest.raises(ValueError, match="n_batches must be an integer of at least 2, got"):
                function(case.problem, case.theta, sampling, n_batches=bad)


@every_sampled
class TestTooManyToEnumerate:
    def test_names_the_count(self, function: Function) -> None:
        case = some_problem("regression", n=100)
        for sampling, count in ((es.WithoutReplacement(8), "186,087,894,300"), (es.WithReplacement(4), "4,421,275")):
            with pytest.raises(
                ValueError, match=f"n_batches must be given: there are {count} batches of {sampling.batch_size} "
            ):
                function(case.problem, case.theta, sampling)
            assert not function(case.problem, case.theta, sampling, n_batches=10, seed=0, draws="uniform").exact

    def test_limit_itself_is_enumerated(self, function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
        case = some_problem("regression", n=5)
        monkeypatch.setattr(estimate, "ENUMERATION_LIMIT", 10)
        assert function(case.problem, case.theta, es.WithoutReplacement(2)).n_batches == 10
        with pytest.raises(
            ValueError, match="there are 15 batches of 2 among 5 samples, and at most 10 are enumerated"
        ):
            function(case.problem, case.theta, es.WithReplacement(2))


def test_more_batches_than_one_chunk_are_enumerated() -> None:
    """C(15, 6) = 5005 batches, of which a chunk holds 4096: orthogonal rows, whose top is the largest of the batch."""
    assert ENUMERATION_LIMIT >= 100_000
    squares = np.arange(1.0, 16.0)
    problem = es.LinearRegression(np.diag(np.sqrt(squares)), np.zeros(15))
    found = es.minibatch_sharpness(problem, np.zeros(15), es.WithoutReplacement(6))
    expected = sum(k * math.comb(k - 1, 5) for k in range(6, 16)) / math.comb(15, 6) / 6
    assert found.value == pytest.approx(expected, rel=1e-13)
    assert found.n_batches == 5005


class TestZeroGradients:
    at_minimum = es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [1.0, 4.0]), [1.0, 2.0]
    one_fitted = es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [1.0, 0.0]), [1.0, 2.0]
    balanced = es.Quadratic([[[1.0]], [[1.0]]], [[-1.0], [1.0]]), [0.0]

    @pytest.mark.parametrize("average", ["mean_of_ratios", "ratio_of_means"])
    @pytest.mark.parametrize("how", [{}, {"n_batches": 20, "seed": 0}])
    def test_every_sample_is_fitted(self, average: str, how: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="batch_sharpness is 0/0 at theta: the gradient of every sample is zero"):
            es.batch_sharpness(*self.at_minimum, es.WithoutReplacement(1), average=average, **how)

    def test_one_batch_is_fitted(self) -> None:
        with pytest.raises(ValueError, match=r"batch_sharpness is 0/0 at theta: the gradient of batch \[0\] is zero"):
            es.batch_sharpness(*self.one_fitted, es.WithoutReplacement(1))
        # The ratio of means exists: only the other sample has a gradient, along its own row.
        parts = es.batch_sharpness(*self.one_fitted, es.WithoutReplacement(1), average="ratio_of_means").value
        assert parts == pytest.approx(4.0, rel=1e-15)

    def test_opposite_gradients_cancel_in_the_full_batch(self) -> None:
        with pytest.raises(ValueError, match=r"the gradient of batch \[0, 1\] is zero"):
            es.batch_sharpness(*self.balanced, es.WithoutReplacement(2))
        with pytest.raises(ValueError, match="gradient_noise_interaction is 0/0 at theta: the full gradient is zero"):
            es.gradient_noise_interaction(*self.balanced, es.WithoutReplacement(1))
        with pytest.raises(
            ValueError, match="interaction_aware_sharpness is 0/0 at theta: every batch gradient is zero"
        ):
            es.interaction_aware_sharpness(*self.balanced, es.WithoutReplacement(2))
        assert es.interaction_aware_sharpness(*self.balanced, es.WithoutReplacement(1)) == pytest.approx(1.0, rel=1e-15)

    def test_all_zero(self) -> None:
        for function in (es.gradient_noise_interaction, es.interaction_aware_sharpness):
            with pytest.raises(ValueError, match="0/0"):
                function(*self.at_minimum, es.WithoutReplacement(1))

    def test_tiny_gradient_beside_an_ordinary_one(self) -> None:
        problem = es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [1e-200, 1.0])
        assert es.batch_sharpness(problem, [0.0, 0.0], es.WithoutReplacement(1)).value == pytest.approx(2.5, rel=1e-15)

    def test_tiny_gradients_are_not_zero(self) -> None:
        """Their squares underflow, their directions do not."""
        problem = es.LinearRegression([[1.0, 0.0], [0.0, 2.0]], [1e-200, 1e-200])
        assert es.batch_sharpness(problem, [0.0, 0.0], es.WithoutReplacement(1)).value == pytest.approx(2.5, rel=1e-15)
        parts = es.batch_sharpness(problem, [0.0, 0.0], es.WithoutReplacement(1), average="ratio_of_means").value
        assert parts == pytest.approx((1 + 4 * 4) / (1 + 4), rel=1e-15)
        assert es.interaction_aware_sharpness(problem, [0.0, 0.0], es.WithoutReplacement(1)) == pytest.approx(
            (0.5 * 1 + 2 * 4) / 5, rel=1e-15
        )


def test_ratio_of_means_can_exceed_minibatch_sharpness() -> None:
    """Theory section 2: large gradients may sit on the sharp samples."""
    problem = es.LinearRegression([[1.0], [10.0]], [0.0, 0.0])
    sampling = es.WithoutReplacement(1)
    minibatch = es.minibatch_sharpness(problem, [1.0], sampling).value
    assert es.batch_sharpness(problem, [1.0], sampling, average="ratio_of_means").value > 1.9 * minibatch
    assert es.batch_sharpness(problem, [1.0], sampling).value <= minibatch * (1 + 1e-14)


def test_mean_square_sharpness_can_lie_below_minibatch_sharpness() -> None:
    """Theory section 4: MiniBS ≤ 2/η is neither necessary nor sufficient for stability."""
    found = set()
    for seed in range(40):
        case = some_problem("regression", n=4, d=3, seed=seed)
        at = (case.problem, case.theta, es.WithoutReplacement(3))
        found.add(es.mean_square_sharpness(*at) < es.minibatch_sharpness(*at).value)
    assert found == {True, False}


@pytest.mark.parametrize("numbers", [1, 30, 100])
def test_quadratic_forms_in_small_memory(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = some_problem("quadratic")
    at = (case.problem, case.theta, es.WithReplacement(3))
    expected = es.batch_sharpness(*at)
    for module in (blocks, dense):
        monkeypatch.setattr(module, "CHUNK_NUMBERS", numbers)
    assert es.batch_sharpness(*at) == expected


class TestEstimate:
    sampled = es.Estimate(2.0, 0.5, 100, False)

    def test_interval(self) -> None:
        """Student with 99 degrees of freedom: 1.984217 in printed tables."""
        low, high = self.sampled.interval
        assert low == pytest.approx(2 - 1.984217 * 0.5, rel=1e-6)
        assert high == pytest.approx(2 + 1.984217 * 0.5, rel=1e-6)
        few = es.Estimate(0.0, 1.0, 2, False)
        assert few.interval == pytest.approx((-12.706205, 12.706205), rel=1e-6)
        assert es.Estimate(0.0, 1.0, 10**9, False).confidence_interval(0.6826894921370859) == pytest.approx(
            (-1, 1), rel=1e-6
        )

    @pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95, np.nan, "high"])
    def test_bad_confidence(self, confidence: object) -> None:
        with pytest.raises(ValueError, match="confidence must be a finite number above 0 and below 1, got"):
            self.sampled.confidence_interval(confidence)

    def test_as_a_number_and_as_text(self) -> None:
        assert float(self.sampled) == 2.0
        assert str(self.sampled) == "2 ± 0.99 (95 %, 100 batches)"
        assert str(es.Estimate(1.23456789, 0.0, 12345, True)) == "1.23457 (exact, 12,345 batches)"


FUNCTIONS: dict[str, Callable[..., object]] = {
    "sharpness": lambda problem, theta, _: es.sharpness(problem, theta),
    "gradient_noise_interaction": es.gradient_noise_interaction,
    "interaction_aware_sharpness": es.interaction_aware_sharpness,
    "mean_square_sharpness": es.mean_square_sharpness,
    **SAMPLED,
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
class TestBadInput:
    @pytest.mark.parametrize(
        ("theta", "message"),
        [
            ([1.0], r"theta must have shape \(2,\), got \(1,\)"),
            (np.ones((3, 2)), r"theta must have shape \(2,\), got \(3, 2\)"),
            ([1.0, np.nan], "theta must be finite, got 1 NaN or infinite entries"),
            ([np.inf, -np.inf], "theta must be finite, got 2 NaN or infinite entries"),
            (["a", "b"], "theta must hold real numbers"),
            ([1.0, 2j], "theta must hold real numbers"),
            ([[1.0], [1.0, 2.0]], "theta must be an array of numbers, got ragged nested sequences"),
        ],
    )
    def test_theta(self, function: Callable[..., object], theta: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            function(some_problem("regression").problem, theta, es.WithoutReplacement(2))


@pytest.mark.parametrize("function", [FUNCTIONS[name] for name in FUNCTIONS if name != "sharpness"])
def test_batches_larger_than_the_data(function: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 5, got 6"):
        function(some_problem("regression").problem, [1.0, 2.0], es.WithoutReplacement(6))


def test_unknown_options_suggest_the_nearest() -> None:
    case, sampling = some_problem("regression"), es.WithoutReplacement(2)
    with pytest.raises(
        ValueError,
        match="average must be one of 'mean_of_ratios', 'ratio_of_means', got 'ratio_of_mean'; did you mean 'ratio_of_means'",
    ):
        es.batch_sharpness(case.problem, case.theta, sampling, average="ratio_of_mean")
    with pytest.raises(
        ValueError,
        match="hessian must be one of 'full', 'gauss_newton', got 'gauss-newton'; did you mean 'gauss_newton'",
    ):
        es.mean_square_sharpness(case.problem, case.theta, sampling, hessian="gauss-newton")


@given(sampled=strategies.sampled_cases(kinds=("linear regression", "quadratic", "product")))
def test_certificate_of_random_problems_holds(sampled: tuple[Case, es.Sampling]) -> None:
    """The enclosure contains the value of a dense 50-digit-free oracle up to that oracle's own rounding."""
    case, sampling = sampled
    if case.hessian_scale == 0 or not case.has_positive_curvature:
        return
    found = es.mean_square_sharpness(case.problem, case.theta, sampling, certify=True)
    d, c = oracles.dense_pencil(case.normalised, sampling)
    eigenvalues = np.linalg.eigvalsh(c)
    dense = scipy.linalg.eigh(d, c, eigvals_only=True)[-1] * case.hessian_scale
    slack = 1e-13 * eigenvalues[-1] / eigenvalues[0] * dense
    assert found.lower - slack <= dense <= found.upper + slack


@pytest.mark.parametrize("seed", range(4))
def test_the_enclosure_holds_where_the_mean_hessian_is_ill_conditioned(seed: int) -> None:
    """Eigenvalues 1, 1e-6 and 1e-9 of H, indefinite samples, against 60 digits: rounding in H decides the width."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, 3, 3))
    noise += noise.transpose(0, 2, 1)
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    hessians = noise - noise.mean(axis=0) + (basis * [1.0, 1e-6, 1e-9]) @ basis.T
    hessians = (hessians + hessians.transpose(0, 2, 1)) / 2
    problem = es.Quadratic(hessians, np.zeros((3, 3)))
    found = es.mean_square_sharpness(problem, np.zeros(3), es.WithReplacement(1), certify=True)
    with mpmath.workdps(60):
        exact = [mpmath.matrix(hessian.tolist()) for hessian in problem.hessians]
        mean, eye = (exact[0] + exact[1] + exact[2]) / 3, mpmath.eye(3)

        def kron(first: mpmath.matrix, second: mpmath.matrix) -> mpmath.matrix:
            return mpmath.matrix(9, 9) + mpmath.matrix(
                [[first[i // 3, j // 3] * second[i % 3, j % 3] for j in range(9)] for i in range(9)]
            )

        values, vectors = mpmath.eigsy((kron(mean, eye) + kron(eye, mean)) / 2)
        root = vectors * mpmath.diag([1 / mpmath.sqrt(value) for value in values]) * vectors.T
        moment = (kron(exact[0], exact[0]) + kron(exact[1], exact[1]) + kron(exact[2], exact[2])) / 3
        top = max(mpmath.eigsy(root * moment * root, eigvals_only=True))
    assert found.lower <= top <= found.upper
    assert found.upper - found.lower < 1e-4 * found.value
