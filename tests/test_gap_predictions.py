"""Predictions of the gap against enumerated and sampled truth, and their formulas against independent computations."""

from __future__ import annotations

import importlib
import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import scipy.special
from hypothesis import given

import esssim as es
from esssim.gap import Prediction
from esssim.gap.predict import predictions_at
from esssim.gap.random_matrix import TRACY_WIDOM_MEAN
from esssim.gap.setting import Setting
from esssim.testing import Case, strategies
from tests import oracles

FUNCTIONS = (
    "exact", "joint", "second_order", "third_order", "crossover", "degenerate", "marchenko_pastur", "spike", "additive_noise",
    "predict", "predictions",
)  # fmt: skip


def quadratic(matrices: np.ndarray) -> Case:
    return Case(es.Quadratic(matrices, np.zeros(matrices.shape[:2])), np.zeros(matrices.shape[1]))


def clear_top(seed: int = 0, n: int = 8, p: int = 4, noise: float = 0.1) -> Case:
    """Indefinite samples around diag(3, 1, 0.5, …) with skewed noise."""
    raw = np.random.default_rng(seed).exponential(size=(n, p, p)) - 1
    return quadratic(np.diag([3.0, *np.linspace(1, 0, p - 1)]) + noise * (raw + raw.transpose(0, 2, 1)))


def network(seed: int, form: str, solution: bool, n: int = 9, d: int = 2) -> Case:
    rng = np.random.default_rng(seed)
    inputs, theta = rng.standard_normal((n, d)), np.concatenate((rng.uniform(1, 2, d), rng.normal(size=d)))
    how = {"form": form} if form == "product" else {"form": form, "depth": 3}
    problem = es.DiagonalLinearNetwork(inputs, np.zeros(n), **how)
    targets = problem.residuals(theta, np.arange(n)) + (0 if solution else rng.standard_normal(n))
    return Case(es.DiagonalLinearNetwork(inputs, targets, **how), theta)


def regression(inputs: np.ndarray) -> Case:
    return Case(es.LinearRegression(inputs, np.zeros(len(inputs))), np.zeros(inputs.shape[1]))


def gap(case: Case, sampling: es.Sampling, **how: object) -> float:
    minibs = es.minibatch_sharpness(case.problem, case.theta, sampling, **how).value
    return minibs - es.sharpness(case.problem, case.theta)


def orders(case: Case, sampling: es.Sampling) -> tuple[float, float]:
    """Second and third order of E λ_max(H + t(H_B − H)) in t, read off its even and odd part."""
    batches, weights = oracles.all_batches(case.problem.n_samples, sampling)
    mean = case.hessians.mean(axis=0)
    deviations = case.hessians[batches].mean(axis=1) - mean
    top = np.linalg.eigvalsh(mean)[-1]

    def value(t: float) -> float:
        return float(weights @ np.linalg.eigvalsh(mean + t * deviations)[:, -1]) - top

    # Two steps each, so that the next even and odd order drop out.
    t = 2.0**-6
    even = [(value(h) + value(-h)) / 2 / h**2 for h in (t, t / 2)]
    odd = [(value(h) - value(-h)) / 2 / h**3 for h in (t, t / 2)]
    return (4 * even[1] - even[0]) / 3, (4 * odd[1] - odd[0]) / 3


CLEAR = {
    "quadratic": clear_top(),
    "product, solution": network(4, "product", True),
    "product": network(1, "product", False),
    "difference": network(2, "difference", False),
    "regression": regression(np.random.default_rng(3).standard_normal((8, 3)) * [4.0, 1.0, 0.5] + [6.0, 0, 0]),
}
SCHEMES = [es.WithoutReplacement(5), es.WithoutReplacement(2), es.WithReplacement(3)]


class TestPerturbation:
    @pytest.mark.parametrize("name", CLEAR)
    @pytest.mark.parametrize("sampling", SCHEMES, ids=str)
    def test_orders(self, name: str, sampling: es.Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("esssim.gap.perturbation.LARGEST_FLUCTUATION", math.inf)
        case = CLEAR[name]
        second = es.gap.second_order(case.problem, case.theta, sampling)
        third = es.gap.third_order(case.problem, case.theta, sampling)
        expected_second, expected_third = orders(case, sampling)
        assert second.value == pytest.approx(expected_second, rel=1e-5)
        assert third.value - second.value == pytest.approx(expected_third, rel=1e-3, abs=1e-5 * expected_second)

    def test_fluctuation_and_errors(self) -> None:
        case, sampling = clear_top(noise=0.05), es.WithReplacement(2)
        values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
        rotated = vectors[:, ::-1].T @ case.hessians @ vectors[:, ::-1]
        deviations, gaps = rotated - np.diag(values[::-1]), values[-1] - values[-2::-1]
        approach = max(
            float(((deviations[:, 0, 0] - deviations[:, k, k]) ** 2).mean()) / gaps[k - 1] ** 2 for k in range(1, 4)
        )
        rotation = sum(float((deviations[:, 0, k] ** 2).mean()) / gaps[k - 1] ** 2 for k in range(1, 4))
        epsilon = math.sqrt((approach + rotation) / 2)
        second, third = (f(case.problem, case.theta, sampling) for f in (es.gap.second_order, es.gap.third_order))
        assert f"the fluctuation is {epsilon:.3g} of the eigengap" in second.reason
        term = third.value - second.value
        assert second.error == pytest.approx(abs(term) + 4 * epsilon**2 * second.value, rel=1e-9)
        assert third.error == pytest.approx(epsilon * abs(term) + 4 * epsilon**2 * second.value, rel=1e-9)

    def test_third_order_is_closer(self) -> None:
        ratios = []
        for seed in range(12):
            case, sampling = clear_top(seed, noise=0.05), es.WithoutReplacement(3)
            truth = gap(case, sampling)
            second, third = (f(case.problem, case.theta, sampling) for f in (es.gap.second_order, es.gap.third_order))
            assert abs(second.value - truth) <= second.error
            assert abs(third.value - truth) <= third.error
            ratios.append(abs(third.value - truth) / abs(second.value - truth))
        assert np.median(ratios) < 0.5

    def test_a_small_eigengap_is_refused(self) -> None:
        for case in (clear_top(noise=3.0), quadratic(np.array([np.diag([2.0, 1.0]), np.diag([1.0, 2.0])]))):
            for function in (es.gap.second_order, es.gap.third_order):
                found = function(case.problem, case.theta, es.WithoutReplacement(1))
                assert not found.valid
                assert math.isnan(found.value)
                assert found.reason.startswith("needs a fluctuation of at most 0.3 of the eigengap")

    def test_no_gap(self) -> None:
        for case, sampling in ((clear_top(), es.WithoutReplacement(8)), (clear_top(p=1), es.WithoutReplacement(2))):
            for function in (es.gap.second_order, es.gap.third_order):
                found = function(case.problem, case.theta, sampling)
                assert found.valid
                assert abs(found.value) <= found.error < 1e-11

    def test_memory(self) -> None:
        rng = np.random.default_rng(0)
        n, d = 1000, 100
        inputs = rng.standard_normal((n, d))
        inputs[:, 0] = 30 + rng.standard_normal(n)
        tracemalloc.start()
        found = es.gap.third_order(es.LinearRegression(inputs, np.zeros(n)), np.zeros(d), es.WithoutReplacement(500))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert found.valid
        assert peak < n * d * d * 8 / 4


def gaussian_terms(case: Case, sampling: es.Sampling, mean: np.ndarray) -> tuple[float, float, float]:
    """Standard error of 1024 antithetic pairs, skewness term and kurtosis term of λ_max(mean + √c·G), from other draws."""
    r, n = len(mean), case.problem.n_samples
    c, c3 = sampling.variance_coefficient(n), sampling.third_moment_coefficient(n)
    values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
    basis = vectors[:, ::-1][:, :r]
    upper = np.triu_indices(r)
    entries = (basis.T @ case.hessians @ basis - np.diag(values[::-1][:r]))[:, *upper]
    variances, axes = np.linalg.eigh(entries.T @ entries / n)
    keep = variances > 1e-10 * variances[-1]
    whitened = entries @ (axes[:, keep] / np.sqrt(variances[keep]))
    k = int(keep.sum())
    half = np.random.default_rng(7).standard_normal((50_000, k))
    z = np.concatenate((half, -half))
    matrices = np.zeros((len(z), r, r))
    matrices[:, *upper] = math.sqrt(c) * (z * np.sqrt(variances[keep])) @ axes[:, keep].T
    matrices += matrices.transpose(0, 2, 1) * (1 - np.eye(r))
    tops = np.linalg.eigvalsh(matrices + mean)[:, -1]
    kappa = np.einsum("na,nb,nc->abc", whitened, whitened, whitened) / n
    hermite = np.einsum("abc,ma,mb,mc->m", kappa, z, z, z, optimize=True) - 3 * z @ np.einsum("aac->c", kappa)
    weights = hermite * c3 / (6 * c**1.5)
    reduced = (tops - z @ np.linalg.lstsq(z, tops, rcond=None)[0]) * (1 + weights)
    noise = float((reduced[:50_000] + reduced[50_000:]).std()) / 2 / 32
    kurtosis = abs(((whitened**2).sum(axis=1) ** 2).mean() / (k * (k + 2)) - 1) * c / 8
    return noise, float((tops * weights).mean()), kurtosis


class TestCrossover:
    @pytest.mark.parametrize("sampling", [es.WithReplacement(3), es.WithoutReplacement(4)], ids=str)
    def test_all_eigenvectors_against_its_own_gaussian_matrix(self, sampling: es.Sampling) -> None:
        """Symmetric samples ±D have no skewness: 200,000 other draws of the Gaussian matrix must give the same."""
        raw = np.random.default_rng(5).standard_normal((4, 3, 3))
        deviations = np.concatenate((raw + raw.transpose(0, 2, 1), -raw - raw.transpose(0, 2, 1)))
        mean = np.diag([1.0, 0.8, 0.5])
        case = quadratic(mean + deviations)
        found = es.gap.crossover(case.problem, case.theta, sampling)
        weights = np.random.default_rng(1).standard_normal((200_000, 8))
        c = sampling.variance_coefficient(8)
        draws = np.tensordot(weights, deviations, 1) * math.sqrt(c / 8)
        expected = float(np.linalg.eigvalsh(mean + draws)[:, -1].mean()) - 1
        assert found.value == pytest.approx(expected, rel=0.02)
        assert abs(gap(case, sampling) - found.value) <= found.error
        assert "cluster of 3 with a leak of 0" in found.reason
        # error = 3 standard errors of 1024 antithetic pairs, and the excess kurtosis of the samples.
        pairs = np.linalg.eigvalsh(mean + draws)[:, -1] + np.linalg.eigvalsh(mean - draws)[:, -1]
        noise = float((pairs / 2).std()) / 32
        entries = np.array([d[np.triu_indices(3)] for d in deviations])
        values, vectors = np.linalg.eigh(entries.T @ entries / 8)
        keep = values > 1e-10 * values[-1]
        lengths = ((entries @ vectors[:, keep] / np.sqrt(values[keep])) ** 2).sum(axis=1)
        k = int(keep.sum())
        kurtosis = abs((lengths**2).mean() / (k * (k + 2)) - 1) * c / 8
        assert found.error == pytest.approx(3 * noise + kurtosis * found.value, rel=0.1)

    def test_skewness(self) -> None:
        """Against the exact gap of skewed samples: with the skewness term closer than without."""
        raw = np.random.default_rng(2).exponential(size=(7, 2, 2)) - 1
        case = quadratic(np.eye(2) + np.array([a @ a.T for a in raw]))
        sampling = es.WithReplacement(6)
        truth, found = gap(case, sampling), es.gap.crossover(case.problem, case.theta, sampling)
        deviations = case.hessians - case.hessians.mean(axis=0)
        draws = np.tensordot(np.random.default_rng(1).standard_normal((400_000, 7)), deviations, 1) / math.sqrt(6 * 7)
        gaussian = float(np.linalg.eigvalsh(case.hessians.mean(axis=0) + draws)[:, -1].mean())
        gaussian -= np.linalg.eigvalsh(case.hessians.mean(axis=0))[-1]
        assert abs(found.value - truth) < 0.6 * abs(gaussian - truth)
        assert abs(found.value - truth) <= found.error

    def test_skewness_is_the_first_edgeworth_term(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """(c₃/6c^{3/2})·Σ κ_abc E[He_abc(z) λ_max], He_abc = z_a z_b z_c − δ_ab z_c − δ_bc z_a − δ_ca z_b, other draws."""
        raw = np.random.default_rng(8).exponential(size=(9, 2, 2))
        case, sampling = quadratic(raw + raw.transpose(0, 2, 1)), es.WithReplacement(3)
        monkeypatch.setattr("esssim.gap.cluster.N_DRAWS", 100_000)
        found = es.gap.crossover(case.problem, case.theta, sampling)
        values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
        deviations = vectors.T @ case.hessians @ vectors - np.diag(values)
        entries = deviations[:, [0, 0, 1], [0, 1, 1]]
        variances, axes = np.linalg.eigh(entries.T @ entries / 9)
        u = entries @ (axes / np.sqrt(variances))
        kappa = np.einsum("na,nb,nc->abc", u, u, u) / 9
        z = np.random.default_rng(1).standard_normal((200_000, 3))
        z = np.concatenate((z, -z))
        first, coupling, second = (z * np.sqrt(variances / 3) @ axes.T).T
        top = (first + second + values.sum()) / 2 + np.hypot((first - second + values[0] - values[1]) / 2, coupling)
        trace = np.einsum("aac->c", kappa)
        hermite = np.einsum("abc,ma,mb,mc->m", kappa, z, z, z, optimize=True) - 3 * z @ trace
        skewness = float((top * hermite).mean()) / (6 * math.sqrt(3))
        gaussian = float(top.mean()) - values[1]
        assert abs(skewness) > 0.05 * gaussian
        assert found.value == pytest.approx(gaussian + skewness, rel=0.005)

    def test_a_cluster_of_one_is_second_order(self) -> None:
        case, sampling = clear_top(noise=0.02), es.WithoutReplacement(4)
        found, second = (f(case.problem, case.theta, sampling) for f in (es.gap.crossover, es.gap.second_order))
        assert "cluster of 1" in found.reason
        assert found.value == pytest.approx(second.value, rel=1e-9)

    def test_the_others_count_to_second_order(self) -> None:
        """Two close eigenvalues on top of two far ones: the two alone would miss their coupling."""
        raw = np.random.default_rng(0).standard_normal((9, 4, 4))
        raw = np.concatenate((raw, -raw))
        case = quadratic(np.diag([5.0, 4.98, 1.0, 0.0]) + 0.3 * (raw + raw.transpose(0, 2, 1)))
        sampling = es.WithReplacement(2)
        truth, found = gap(case, sampling), es.gap.crossover(case.problem, case.theta, sampling)
        assert "cluster of 2" in found.reason
        assert abs(found.value - truth) <= found.error
        basis = np.linalg.eigh(case.hessians.mean(axis=0))[1][:, 2:]
        alone = gap(quadratic(basis.T @ case.hessians @ basis), sampling)
        assert abs(found.value - truth) < 0.3 * abs(alone - truth)
        values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
        top = (vectors[:, 1:].T @ case.hessians @ vectors[:, 1:]) - np.diag(values[1:])
        leak = math.sqrt((top**2).sum(axis=(1, 2)).mean() / 3 / 2) / (values[-1] - values[1])
        assert found.reason == f"a cluster of 2 with a leak of {leak:.2g}"
        assert 2 * leak * 0.03 < found.error < truth / 2

    def test_errors_are_the_sum_of_their_terms(self) -> None:
        """3 standard errors + the skewness (half of it where the cluster is whole) + spread or leak + kurtosis, other draws."""
        raw = np.random.default_rng(1).standard_normal((12, 3, 1))
        samples = raw @ raw.transpose(0, 2, 1)
        inverse = np.linalg.inv(np.linalg.cholesky(samples.mean(axis=0)))
        case, sampling = quadratic(inverse @ samples @ inverse.T + np.diag([0.0, 0.0, -0.04])), es.WithReplacement(3)
        found = es.gap.degenerate(case.problem, case.theta, sampling)
        noise, skewness, kurtosis = gaussian_terms(case, sampling, np.zeros((3, 3)))
        assert abs(skewness) > 0.3 * found.error
        assert found.error == pytest.approx(3 * noise + abs(skewness) + 0.04 + kurtosis * found.value, rel=0.1)
        found = es.gap.crossover(case.problem, case.theta, sampling)
        noise, skewness, kurtosis = gaussian_terms(case, sampling, np.diag([0.0, 0.0, -0.04]))
        assert found.error == pytest.approx(3 * noise + abs(skewness) / 2 + kurtosis * found.value, rel=0.1)
        # Samples on a circle: |uᵢ|² = 2, far from the 2·4 that a normal vector's fourth power has.
        flip, sign = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
        case, sampling = quadratic(np.eye(2) + np.array([flip, -flip, sign, -sign])), es.WithReplacement(1)
        found = es.gap.degenerate(case.problem, case.theta, sampling)
        noise, _, kurtosis = gaussian_terms(case, sampling, np.zeros((2, 2)))
        assert kurtosis == pytest.approx(1 / 16)
        assert found.error == pytest.approx(3 * noise + kurtosis * found.value, rel=0.1)
        raw = np.random.default_rng(0).exponential(size=(9, 4, 4))
        deviations = 0.3 * (raw + raw.transpose(0, 2, 1) - 2 * raw.mean(axis=0))
        deviations = (deviations + deviations.transpose(0, 2, 1)) / 2
        values = np.array([5.0, 4.98, 1.0, 0.0])
        case, sampling = quadratic(np.diag(values) + deviations), es.WithReplacement(2)
        found = es.gap.crossover(case.problem, case.theta, sampling)
        shift = np.zeros((2, 2))
        for j, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
            products = (deviations[:, j, 2:] * deviations[:, k, 2:]).mean(axis=0)
            shift[j, k] = (products / ((values[j] + values[k]) / 2 - values[2:])).sum() / 2
        noise, skewness, kurtosis = gaussian_terms(case, sampling, np.diag([0.0, -0.02]) + shift)
        leak = math.sqrt((deviations[:, :3, :3] ** 2).sum(axis=(1, 2)).mean() / 2 / 3) / 4
        terms = 3 * noise + abs(skewness) / 2 + 2 * leak * np.trace(shift) / 2 + kurtosis * found.value
        assert found.error == pytest.approx(terms, rel=0.05)
        assert 2 * leak * np.trace(shift) / 2 > 0.2 * found.error

    def test_the_spread_of_a_degenerate_cluster_is_a_tenth_of_the_fluctuation(self) -> None:
        flip, sign = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
        # ‖D‖_F² = 2 for each sample: the fluctuation is √(2/2/4) = ½ at b = 4.
        for spread, valid in ((0.049, True), (0.051, False)):
            case = quadratic(np.diag([1.0, 1.0 - spread]) + np.array([flip, -flip, sign, -sign]))
            assert es.gap.degenerate(case.problem, case.theta, es.WithReplacement(4)).valid == valid

    def test_one_cluster_or_none(self) -> None:
        inputs = np.random.default_rng(0).standard_normal((60, 30))
        found = es.gap.crossover(*(lambda c: (c.problem, c.theta))(regression(inputs)), es.WithoutReplacement(3))
        assert not found.valid
        assert found.reason == "needs at most 14 top eigenvalues that are clear of the others: a leak of at most 0.25"
        full = clear_top()
        assert es.gap.crossover(full.problem, full.theta, es.WithoutReplacement(8)).value == 0.0

    def test_degenerate_limit_in_two_dimensions(self) -> None:
        """I ± σ_x, I ± σ_z: G = xσ_x + zσ_z with variance ½, E λ_max = E√(x²+z²) = √(π/4); the gap follows √c of it."""
        flip, sign = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
        case = quadratic(np.eye(2) + np.array([flip, -flip, sign, -sign]))
        for b in (4, 16):
            sampling = es.WithReplacement(b)
            found = es.gap.degenerate(case.problem, case.theta, sampling)
            assert found.value == pytest.approx(math.sqrt(math.pi / 4 / b), rel=0.03)
            assert abs(found.value - gap(case, sampling)) <= found.error
        joined = es.gap.crossover(case.problem, case.theta, es.WithReplacement(16))
        assert joined.value == pytest.approx(found.value, rel=1e-12)

    def test_degenerate_limit_is_refused_elsewhere(self) -> None:
        case = clear_top()
        found = es.gap.degenerate(case.problem, case.theta, es.WithoutReplacement(2))
        assert not found.valid
        assert found.reason.startswith("needs top eigenvalues within a tenth of the fluctuation")
        flip, sign = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
        apart = quadratic(np.diag([1.0, 0.8]) + np.array([flip, -flip, sign, -sign]))
        found = es.gap.degenerate(apart.problem, apart.theta, es.WithReplacement(4))
        # ‖·‖_F² = 2 for each sample, so that the fluctuation of the two is √(2/2/4).
        assert found.reason.endswith(f"their spread is {0.2 / 0.5:.3g} of it")


# --- random matrices --------------------------------------------------------------------------------------------------


def tracy_widom_mean() -> float:
    """E of F₁(s) = det(I − K) on L²(s, ∞), K(x, y) = ½Ai((x+y)/2), by Gauss–Legendre (Ferrari & Spohn 2005)."""
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def distribution(s: float) -> float:
        half = 8 + max(0.0, -s) / 2  # far enough for the Airy function to vanish
        x, w = s + half * (nodes + 1), half * weights
        kernel = scipy.special.airy((x[:, None] + x) / 2)[0] / 2
        root = np.sqrt(w)
        return float(np.linalg.det(np.eye(60) - root[:, None] * kernel * root))

    # E = ∫₀^∞ (1 − F) ds − ∫_{−∞}^0 F ds.
    s, w = (nodes + 1) * 5, weights * 5
    above = sum(weight * (1 - distribution(point)) for point, weight in zip(s, w, strict=True))
    below = sum(weight * distribution(-point) for point, weight in zip(s, w, strict=True))
    return above - below


def silverstein_density(eigenvalues: np.ndarray, b: int, x: float) -> float:
    """Density of the b×b Gram matrix at x, by iterating m = −1/(z − (1/b)Σ a/(1+am)) near the real axis."""
    z, m = complex(x, 1e-5), 1j
    for _ in range(20_000):
        m = (m - 1 / (z - (eigenvalues / (1 + eigenvalues * m)).sum() / b)) / 2
    return m.imag / math.pi


class TestSpectralEdge:
    def test_tracy_widom_mean(self) -> None:
        assert pytest.approx(tracy_widom_mean(), abs=1e-8) == TRACY_WIDOM_MEAN

    @pytest.mark.parametrize(("p", "b"), [(100, 10), (30, 30), (20, 400)])
    def test_white_population(self, p: int, b: int) -> None:
        """Marchenko–Pastur: (√b+√p)²/b and Johnstone's scale (√b+√p)(1/√b+1/√p)^{1/3}/b."""
        found, root = es.gap.spectral_edge(np.ones(p), b), math.sqrt(b) + math.sqrt(p)
        assert found.value == pytest.approx(root**2 / b, rel=1e-12)
        assert found.scale == pytest.approx(root * (1 / math.sqrt(b) + 1 / math.sqrt(p)) ** (1 / 3) / b, rel=1e-9)
        assert found.w == pytest.approx(1 + math.sqrt(p / b), rel=1e-9)
        assert found.n_effective == pytest.approx(p, rel=1e-12)
        assert found.mean == pytest.approx(found.value - 1.2065335745820 * found.scale, rel=1e-12)

    @pytest.mark.parametrize(("p", "b", "n"), [(30, 20, 100), (10, 50, 80), (40, 5, 60)])
    def test_white_sample(self, p: int, b: int, n: int) -> None:
        """Two free projections of trace α = b/n, β = p/n: edge (√(α(1−β)) + √(β(1−α)))², here over α."""
        alpha, beta = b / n, p / n
        expected = (math.sqrt(alpha * (1 - beta)) + math.sqrt(beta * (1 - alpha))) ** 2 / alpha
        assert es.gap.spectral_edge(np.ones(p), b, n).value == pytest.approx(expected, rel=1e-12)

    def test_direct_stieltjes_inversion(self) -> None:
        eigenvalues = np.repeat([3.0, 2.0, 1.0, 0.2], 10)
        found = es.gap.spectral_edge(eigenvalues, 25)
        near, nearer = (silverstein_density(eigenvalues, 25, found.value * (1 - step)) for step in (0.02, 0.005))
        assert silverstein_density(eigenvalues, 25, found.value * 1.01) < 1e-4
        assert near / nearer == pytest.approx(2.0, rel=0.05)  # a square root
        # b∫ρ = 2/(3π)·(s/scale)^{3/2} for a depth s, so ρ = √s/(π b scale^{3/2}).
        expected = math.sqrt(0.005 * found.value) / (math.pi * 25 * found.scale**1.5)
        assert nearer == pytest.approx(expected, rel=0.03)

    def test_scale_of_a_sample_by_the_density_of_its_compression(self) -> None:
        """The free compression by its own equation, n finite: ρ = √s/(π b scale^{3/2}) below the edge."""
        eigenvalues, b, n = np.repeat([3.0, 1.0], 15), 20, 50
        found = es.gap.spectral_edge(eigenvalues, b, n)

        def total(v: complex) -> complex:
            return complex((eigenvalues / (v - eigenvalues)).sum())

        def image(v: complex) -> complex:
            return v / b * (b + total(v)) / (1 + total(v) / n)

        depth = 2e-4
        x, w, h = complex(found.value * (1 - depth), 1e-9), complex(found.w, found.w / 50), 1e-6
        for _ in range(100):  # Newton's method for F(w) = x
            w -= (image(w) - x) / ((image(w + h) - image(w - h)) / (2 * h))
        density = abs(((1 + total(w) / n) / w).imag) / math.pi
        expected = math.sqrt(depth * found.value) / (math.pi * b * found.scale**1.5)
        assert density == pytest.approx(expected, rel=0.01)

    def test_sampled_spectra(self) -> None:
        rng, eigenvalues, b = np.random.default_rng(0), np.linspace(0.5, 2, 120), 60
        tops = []
        for _ in range(60):
            rows = rng.standard_normal((b, 120)) * np.sqrt(eigenvalues)
            tops.append(np.linalg.eigvalsh(rows @ rows.T / b)[-1])
        assert es.gap.spectral_edge(eigenvalues, b).mean == pytest.approx(np.mean(tops), rel=0.02)

    def test_b_next_to_n(self) -> None:
        found = es.gap.spectral_edge([2.0, 1.0], 10, 10.0000001)
        assert found.value == pytest.approx(2.0, rel=1e-3)
        nothing_left = es.gap.spectral_edge([2.0, 1.0], 10, math.nextafter(10, 11))
        assert nothing_left.value == pytest.approx(2.0, rel=1e-12)
        assert (nothing_left.scale, nothing_left.w, nothing_left.n_effective) == (0.0, 2.0, 1.0)

    def test_outlier(self) -> None:
        """A spike ℓ over white noise of ratio γ: ℓ(1 + γ/(ℓ−1)), clear of the bulk exactly for ℓ > 1 + √γ."""
        gamma, b = 0.5, 80
        for spike in (1 + math.sqrt(gamma) - 0.01, 1 + math.sqrt(gamma) + 0.01, 6.0):
            location, slope = es.gap.outlier([spike, *np.ones(40)], b)
            assert location == pytest.approx(spike * (1 + gamma / (spike - 1)), rel=1e-12)
            assert slope == pytest.approx(1 - gamma / (spike - 1) ** 2, rel=1e-9)
            assert (slope > 0) == (spike > 1 + math.sqrt(gamma))
        assert es.gap.outlier([3.0], 5) == (3.0, 1.0)

    def test_outlier_of_a_sample(self) -> None:
        """Its first order is c·a₁Σ a_k/(a₁−a_k), and at b = n nothing moves."""
        tiny = np.array([1.0, 1e-6, 2e-6])
        b, n = 7, 20
        location, slope = es.gap.outlier(tiny, b, n)
        c = (n - b) / (b * (n - 1))
        assert location - 1 == pytest.approx(c * 3e-6, rel=1e-4)
        h = 1e-6
        shifted = [es.gap.outlier([x, 0.5, 0.3], b, n)[0] for x in (2 + h, 2 - h)]
        assert es.gap.outlier([2.0, 0.5, 0.3], b, n)[1] == pytest.approx((shifted[0] - shifted[1]) / (2 * h), rel=1e-6)
        assert slope == pytest.approx(1, abs=1e-5)
        assert es.gap.outlier([2.0, 1.0], n, n)[0] == pytest.approx(2.0, rel=1e-12)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([0.0, 0.0], 3), "eigenvalues must be non-negative and not all zero"),
            (([1.0, -1.0], 3), "eigenvalues must be non-negative and not all zero, got -1 to 1"),
            (([1.0], 0), "batch_size must be a finite number above 0"),
            (([1.0], 5, 5), "n_samples must be above batch_size = 5, got 5"),
            (([1.0], 5, math.nan), "n_samples must be above batch_size"),
            ((np.ones(7), 5, 6), "eigenvalues must hold at most n_samples = 6 positive ones, got 7"),
        ],
    )
    def test_bad_arguments(self, arguments: tuple, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            es.gap.spectral_edge(*arguments)

    def test_bad_outlier(self) -> None:
        with pytest.raises(ValueError, match="with a simple top one, got 1 and 1"):
            es.gap.outlier([1.0, 1.0], 3)


def numerical_edge(a: np.ndarray, b: float, n: float, weight: float) -> tuple[float, float, float]:
    """The edge, its scale and the participation number by minimising F on a grid and differentiating numerically."""

    def total(w: float) -> float:
        return weight * float((a / (w - a)).sum())

    def image(w: float) -> float:
        return w / b * (b + total(w)) / (1 + total(w) / n)

    def green(w: float) -> float:
        return (1 + total(w) / n) / w

    low = math.log(1e-4)
    found = scipy.optimize.minimize_scalar(
        lambda z: image(a[0] * (1 + math.exp(z))), bounds=(low, 8.0), method="bounded", options={"xatol": 1e-9}
    )
    w = a[0] * (1 + math.exp(found.x))
    h = 1e-3 * (w - a[0])
    second = (image(w + h) - 2 * image(w) + image(w - h)) / h**2
    slope = (green(w + h) - green(w - h)) / (2 * h)
    shares = a / (w - a) ** 2
    return image(w), (b * abs(slope) * math.sqrt(2 / second)) ** (-2 / 3), shares.sum() ** 2 / (shares**2).sum()


class TestRandomMatrixPredictions:
    @pytest.mark.parametrize("sampling", [es.WithoutReplacement(7), es.WithReplacement(6)], ids=str)
    @pytest.mark.parametrize("shape", [(90, 25), (90, 120)], ids=str)
    def test_marchenko_pastur_is_its_formula(self, shape: tuple[int, int], sampling: es.Sampling) -> None:
        case, b = regression(es.data.gaussian(*shape, seed=3).inputs), sampling.batch_size
        found = es.gap.marchenko_pastur(case.problem, case.theta, sampling)
        a = np.linalg.eigvalsh(case.hessians.mean(axis=0))[::-1]
        a = a[: min(shape)]
        n = math.inf if isinstance(sampling, es.WithReplacement) else 89.0
        edge, scale, participants = numerical_edge(a, b - 0.5, n, min(len(a) - 0.5, n) / len(a))
        value = (b - 0.5) / b * (edge - 1.2065335745820 * scale) - a[0]
        assert found.value == pytest.approx(value, rel=1e-4)
        scatter = ((case.hessians - case.hessians.mean(axis=0)) ** 2).sum(axis=(1, 2)).mean()
        misfit = abs(scatter / (a.sum() ** 2 + (a**2).sum()) - 1)
        assert found.error == pytest.approx(
            1.2065 * scale * (0.1 + 0.5 / participants) + 1.2 * misfit * value, rel=1e-3
        )
        assert f"within {misfit:.0%}, {participants:.3g} eigenvalues" in found.reason

    def test_errors_of_spike_and_additive_noise(self) -> None:
        case, sampling = regression(es.data.spiked(200, 12, seed=1, spike=60.0).inputs), es.WithoutReplacement(12)
        values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
        gaps = values[-1] - values[:-1]
        variances = ((case.hessians @ vectors[:, -1] @ vectors[:, :-1]) ** 2).mean(axis=0)
        ratio = (variances / gaps).sum() / (values[-1] * values[:-1] / gaps).sum()
        location, slope = es.gap.outlier(values, 12, 200)
        found = es.gap.spike(case.problem, case.theta, sampling)
        second = sampling.variance_coefficient(200) * (variances / gaps).sum()
        own = found.value * (abs(1 - slope) + abs(ratio - 1)) + abs(found.value - second)
        assert found.error == pytest.approx(own, rel=1e-6)
        assert found.value == pytest.approx(ratio * (location - values[-1]), rel=1e-9)
        noise = es.gap.additive_noise(case.problem, case.theta, sampling)
        c = sampling.variance_coefficient(200)
        scatter = c * ((case.hessians - case.hessians.mean(axis=0)) ** 2).sum(axis=(1, 2)).mean() / 13
        assert noise.value == pytest.approx(scatter / values[-1], rel=1e-9)
        true = c * (variances / gaps).sum()
        assert noise.error == pytest.approx(2 * abs(true - noise.value) + scatter**2 / values[-1] ** 3, rel=1e-6)

    def test_the_limit_of_additive_noise(self) -> None:
        """One steep direction in Wigner matrices that do not know of it: right as p → ∞."""

        def off(p: int) -> float:
            ratios = []
            for seed in range(3):
                raw = np.random.default_rng([seed, p]).standard_normal((8, p, p)) / math.sqrt(2 * p)
                matrices = raw + raw.transpose(0, 2, 1)
                matrices[:, 0, 0] += 5.0
                case, sampling = quadratic(matrices), es.WithoutReplacement(2)
                found = es.gap.additive_noise(case.problem, case.theta, sampling)
                ratios.append(found.value / gap(case, sampling))
            return float(np.abs(np.array(ratios) - 1).max())

        assert off(160) < 0.1 < off(10)

    @pytest.mark.parametrize(
        "sampling", [es.WithoutReplacement(8), es.WithReplacement(6), es.WithoutReplacement(60)], ids=str
    )
    def test_gaussian_rows(self, sampling: es.Sampling) -> None:
        table = es.data.gaussian(150, 60, seed=3)
        case = regression(table.inputs)
        truth = gap(case, sampling, n_batches=1500, seed=0)
        found = es.gap.marchenko_pastur(case.problem, case.theta, sampling)
        assert abs(found.value - truth) <= found.error
        assert found.value == pytest.approx(truth, rel=0.04)
        assert found.error < 0.12 * truth

    def test_solution_of_a_network(self) -> None:
        case = network(0, "product", True, n=100, d=40)
        sampling = es.WithoutReplacement(5)
        truth = gap(case, sampling, n_batches=1500, seed=0)
        found = es.gap.predict(case.problem, case.theta, sampling)
        assert found.method == "joint"
        assert abs(found.value - truth) <= found.error
        assert found.value == pytest.approx(truth, rel=0.05)

    @pytest.mark.parametrize("sampling", [es.WithoutReplacement(12), es.WithReplacement(8)], ids=str)
    def test_spike(self, sampling: es.Sampling) -> None:
        table = es.data.spiked(200, 40, seed=1, spike=40.0)
        case = regression(table.inputs)
        truth = es.minibatch_sharpness(case.problem, case.theta, sampling, n_batches=8000, seed=0)
        expected = truth.value - es.sharpness(case.problem, case.theta)
        found = es.gap.spike(case.problem, case.theta, sampling)
        assert found.valid
        assert abs(found.value - expected) <= found.error + 2 * truth.standard_error
        assert found.error < 0.3 * expected
        values, vectors = np.linalg.eigh(case.hessians.mean(axis=0))
        n = math.inf if isinstance(sampling, es.WithReplacement) else 200
        location, _ = es.gap.outlier(values, sampling.batch_size, n)
        variances = ((case.hessians @ vectors[:, -1] @ vectors[:, :-1]) ** 2).mean(axis=0)
        gaps = values[-1] - values[:-1]
        ratio = (variances / gaps).sum() / (values[-1] * values[:-1] / gaps).sum()
        assert found.value == pytest.approx(ratio * (location - values[-1]), rel=1e-8)

    def test_a_spike_is_valid_where_the_outlier_clears_the_edge(self) -> None:
        """F' rises with the spike: valid from 0.3 on."""
        rows, found = np.random.default_rng(4).standard_normal((300, 30)), []
        for size in np.linspace(1.65, 1.95, 13):
            case = regression(rows * np.array([size, *np.ones(29)]))
            values = np.linalg.eigvalsh(case.hessians.mean(axis=0))
            _, slope = es.gap.outlier(values, 10, 300)
            assert es.gap.spike(case.problem, case.theta, es.WithoutReplacement(10)).valid == (slope > 0.3)
            found.append(slope)
        assert any(0.15 < slope < 0.3 for slope in found)
        assert any(0.3 < slope < 0.45 for slope in found)

    def test_no_noise_to_add(self) -> None:
        single, several = clear_top(p=1), clear_top()
        for case, sampling in ((single, es.WithReplacement(3)), (several, es.WithoutReplacement(8))):
            for function in (es.gap.additive_noise, es.gap.crossover):
                found = function(case.problem, case.theta, sampling)
                assert (found.valid, found.value) == (True, 0.0)
                assert found.error < 1e-11

    def test_spike_of_one_direction_and_of_none(self) -> None:
        two = np.random.default_rng(1).standard_normal((400, 2))
        two = regression(two @ np.linalg.inv(np.linalg.cholesky(two.T @ two / 400)).T)
        assert es.gap.spike(two.problem, two.theta, es.WithoutReplacement(5)).reason == "needs a simple top eigenvalue"
        normal = np.random.default_rng(0).standard_normal
        for direction in ([[3.0, 4.0]], [[3.0, 0.0]]):
            parallel = regression(normal((60, 1)) * direction)
            found = es.gap.spike(parallel.problem, parallel.theta, es.WithoutReplacement(5))
            assert found.valid
            assert abs(found.value) <= found.error < 1e-9
        rows = normal((60, 4))
        white = regression(rows @ np.linalg.inv(np.linalg.cholesky(rows.T @ rows / 60)).T)
        found = es.gap.spike(white.problem, white.theta, es.WithoutReplacement(5))
        assert found.reason == "needs a simple top eigenvalue"

    def test_refusals(self) -> None:
        valley = quadratic(np.diag([8.0, 0.0, -7.0]) + 0.1 * clear_top(p=3, noise=1.0).hessians)
        gaussian = regression(es.data.gaussian(40, 20, seed=0).inputs)
        orthogonal = regression(es.data.orthogonal(20, 20, seed=0).inputs)
        heavy = regression(es.data.gaussian(40, 20, seed=0).inputs * np.linspace(0.1, 4, 40)[:, None])
        spiked = regression(es.data.spiked(100, 10, seed=1, spike=200.0).inputs)
        expectations = [
            ("marchenko_pastur", clear_top(), es.WithoutReplacement(2), "needs rank-one samples"),
            ("marchenko_pastur", gaussian, es.WithoutReplacement(40), "needs batches that differ"),
            ("marchenko_pastur", orthogonal, es.WithoutReplacement(3), "needs components of Gaussian kurtosis"),
            ("marchenko_pastur", heavy, es.WithoutReplacement(3), "needs rows of Gaussian scatter within 35%"),
            ("marchenko_pastur", gaussian, es.WithReplacement(5), "needs few repeated rows with replacement, b² ≤ n/2, got b = 5, n = 40"),
            ("marchenko_pastur", spiked, es.WithoutReplacement(50), "needs at least 1.5 eigenvalues at the edge"),
            ("spike", gaussian, es.WithoutReplacement(3), "needs an outlier clear of the edge"),
            ("additive_noise", gaussian, es.WithoutReplacement(3), "needs a sharpness above the edge of the noise"),
            ("additive_noise", clear_top(), es.WithoutReplacement(3), "needs all other eigenvalues of H within a quarter"),
            ("additive_noise", valley, es.WithoutReplacement(3), "needs all other eigenvalues of H within a quarter"),
            ("exact", clear_top(p=9, n=900), es.WithoutReplacement(2), "needs b = 1, 2, n − 1 or n, p = 1, or orthogonal rows"),
        ]  # fmt: skip
        for name, case, sampling, reason in expectations:
            found = getattr(es.gap, name)(case.problem, case.theta, sampling)
            assert not found.valid, name
            assert math.isnan(found.value)
            assert math.isnan(found.error)
            assert found.reason.startswith(reason), found.reason

    @pytest.mark.parametrize("sampling", [es.WithoutReplacement(4), es.WithReplacement(6)], ids=str)
    def test_additive_noise(self, sampling: es.Sampling) -> None:
        """One steep direction and GOE noise: λ₁ + (σ²/λ₁)c, σ half the noise's edge at c = 1."""
        rng, n, p = np.random.default_rng(0), 60, 30
        raw = rng.standard_normal((n, p, p))
        noise = (raw + raw.transpose(0, 2, 1)) / math.sqrt(8 * p)  # semicircle of radius 1: σ = ½
        noise -= noise.mean(axis=0)
        mean = np.zeros((p, p))
        mean[0, 0], mean[1, 1] = 2.0, 0.4
        case = quadratic(mean + noise)
        found = es.gap.additive_noise(case.problem, case.theta, sampling)
        assert found.value == pytest.approx(sampling.variance_coefficient(n) * 0.25 / 2, rel=0.05)
        truth = gap(case, sampling, n_batches=3000, seed=0)
        assert abs(found.value - truth) <= found.error
        assert found.error < 0.5 * truth


# --- exact forms and the best prediction ------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.WithReplacement])
@pytest.mark.parametrize("b", [1, 2])
@pytest.mark.parametrize("name", CLEAR)
def test_exact_for_one_and_two_samples(name: str, b: int, scheme: type[es.Sampling]) -> None:
    case = CLEAR[name]
    found = es.gap.exact(case.problem, case.theta, scheme(b))
    assert found.valid
    assert abs(found.value - gap(case, scheme(b))) <= found.error <= 1e-9 * found.value


@pytest.mark.parametrize("name", CLEAR)
def test_exact_for_all_but_one_sample(name: str) -> None:
    case = CLEAR[name]
    b = case.problem.n_samples - 1
    found = es.gap.exact(case.problem, case.theta, es.WithoutReplacement(b))
    assert (found.valid, found.reason) == (True, "b = n − 1")
    truth = gap(case, es.WithoutReplacement(b))
    assert abs(found.value - truth) <= found.error <= 1e-10 * es.sharpness(case.problem, case.theta)
    assert not es.gap.exact(case.problem, case.theta, es.WithReplacement(b)).valid
    assert not es.gap.exact(case.problem, case.theta, es.WithoutReplacement(b - 1)).valid


@pytest.mark.parametrize("b", [1, 2, 3, 7, 8])
def test_exact_for_orthogonal_rows(b: int) -> None:
    case, sampling = regression(es.data.orthogonal(8, 11, seed=2).inputs), es.WithoutReplacement(b)
    found = es.gap.exact(case.problem, case.theta, sampling)
    assert found.valid
    assert abs(found.value - gap(case, sampling)) <= found.error <= 1e-10 * es.sharpness(case.problem, case.theta)
    nearly = regression(case.problem.inputs + 1e-6 * case.problem.inputs[0])
    assert es.gap.exact(nearly.problem, nearly.theta, sampling).valid == (b in (1, 2, 7, 8))
    # Two short rows that are parallel: short of rounding beside the others, not beside each other.
    short = regression(np.concatenate((case.problem.inputs[:6], np.full((2, 11), 1e-7))))
    assert es.gap.exact(short.problem, short.theta, sampling).valid == (b in (1, 2, 7, 8))
    repeated = es.gap.exact(case.problem, case.theta, es.WithReplacement(3))
    assert not repeated.valid


def test_exact_without_a_gap() -> None:
    case = clear_top()
    found = es.gap.exact(case.problem, case.theta, es.WithoutReplacement(8))
    assert (found.value, found.reason) == (0.0, "the full batch")
    single = clear_top(p=1)
    assert es.gap.exact(single.problem, single.theta, es.WithReplacement(5)).reason == "one parameter"


def test_predict_takes_the_joint_prediction_within_the_bounds() -> None:
    for case, sampling in (
        (clear_top(), es.WithoutReplacement(3)),
        (regression(es.data.gaussian(60, 30, seed=0).inputs), es.WithoutReplacement(5)),
        (network(3, "product", False, n=12, d=20), es.WithoutReplacement(3)),
    ):
        found = es.gap.predictions(case.problem, case.theta, sampling)
        joint, middle = found[-2:]
        chosen = es.gap.predict(case.problem, case.theta, sampling)
        best = joint if joint.valid and joint.error <= middle.error else middle
        lower, upper = es.gap.bounds(case.problem, case.theta, sampling).gap
        assert (middle.method, middle.interval) == ("bounds", pytest.approx((lower, upper)))
        assert (chosen.method, chosen.error, float(chosen)) == (best.method, best.error, chosen.value)
        assert chosen.value == min(max(best.value, lower), upper)
        assert [p.method for p in found] == [
            "exact", "third order", "second order", "crossover", "Marchenko–Pastur", "spike", "additive noise", "joint",
            "bounds",
        ]  # fmt: skip


def test_a_prediction_outside_the_bounds_is_moved_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    case, sampling = clear_top(), es.WithoutReplacement(3)
    _, upper = es.gap.bounds(case.problem, case.theta, sampling).gap

    def wrong(_: Setting) -> Prediction:
        return Prediction("wrong", 1e3, 1e-30, True, "")

    # The function has the name of its module.
    module = importlib.import_module("esssim.gap.predict")
    monkeypatch.setattr(module.Joint, "at", lambda self, _: wrong(_))
    assert es.gap.predict(case.problem, case.theta, sampling).value == upper
    # Where there is nothing to join, the surest of the formulas is taken, and the middle of the bounds after them.
    refused = Prediction.refused("joint", "needs something")
    monkeypatch.setattr(module.Joint, "at", lambda self, _: refused)
    surest = min((p for p in es.gap.predictions(case.problem, case.theta, sampling) if p.valid), key=lambda p: p.error)
    assert es.gap.predict(case.problem, case.theta, sampling).method == surest.method == "third order"
    monkeypatch.setattr(module, "FORMULAS", (wrong,))
    assert es.gap.predict(case.problem, case.theta, sampling).value == upper


@given(strategies.sampled_cases())
def test_predictions_never_pretend(case_and_sampling: tuple[Case, es.Sampling]) -> None:
    """On every nasty problem: a finite number with a finite error, or a reason; exact forms are exact."""
    case, sampling = case_and_sampling
    setting = Setting.of(case.problem, case.theta, sampling)
    truth = gap(case, sampling)
    for found in predictions_at(setting):
        if found.valid:
            assert math.isfinite(found.value)
            assert found.error >= 0
            if found.method in ("exact", "bounds"):
                assert abs(found.value - truth) <= found.error + 2 * setting.rounding * setting.unit
        else:
            assert math.isnan(found.value)
            assert found.reason.startswith("needs") or found.reason.startswith("its ")
    assert es.gap.predict(case.problem, case.theta, sampling).valid


def test_exponents() -> None:
    case = clear_top(n=40, noise=0.05)
    sizes = [4, 8, 16]
    found = es.gap.scaling_exponents(case.problem, case.theta, sizes, es.WithReplacement)
    assert found.shape == (2,)
    assert found == pytest.approx([1.0, 1.0], abs=0.02)
    without = es.gap.scaling_exponents(case.problem, case.theta, sizes)
    expected = -np.diff(np.log([(40 - b) / b for b in sizes])) / math.log(2)
    assert without == pytest.approx(expected, abs=0.02)
    flip, sign = np.array([[0.0, 1.0], [1.0, 0.0]]), np.diag([1.0, -1.0])
    degenerate = quadratic(np.eye(2) + np.array([flip, -flip, sign, -sign]))
    half = es.gap.scaling_exponents(degenerate.problem, degenerate.theta, sizes, es.WithReplacement)
    assert half == pytest.approx([0.5, 0.5], abs=0.01)
    assert np.isnan(es.gap.scaling_exponents(case.problem, case.theta, [20, 40])).all()


@pytest.mark.parametrize("sizes", [[4], [4, 4], [8, 4], [0, 4], [1.5, 2]])
def test_bad_batch_sizes(sizes: list) -> None:
    case = clear_top()
    with pytest.raises(ValueError, match="batch_sizes must be"):
        es.gap.scaling_exponents(case.problem, case.theta, sizes)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_arguments(name: str) -> None:
    problem, function = es.LinearRegression(np.eye(3), np.zeros(3)), getattr(es.gap, name)
    with pytest.raises(ValueError, match=r"theta must have shape \(3,\), got \(2,\)"):
        function(problem, np.zeros(2), es.WithoutReplacement(1))
    with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 3, got 4"):
        function(problem, np.zeros(3), es.WithoutReplacement(4))


ScaledFunction = Callable[[es.Problem, np.ndarray, es.Sampling], Prediction]


@pytest.mark.parametrize("scale", [1e150, 1e-150])
def test_predictions_scale_with_the_hessians(scale: float) -> None:
    one, sampling = clear_top(), es.WithoutReplacement(3)
    other = quadratic(one.hessians * scale**2)
    for mine, theirs in zip(
        es.gap.predictions(one.problem, one.theta, sampling),
        es.gap.predictions(other.problem, other.theta, sampling),
        strict=True,
    ):
        assert mine.valid == theirs.valid
        if mine.valid:
            assert theirs.value == pytest.approx(mine.value * scale**2, rel=1e-6, abs=0.0)
            assert theirs.error == pytest.approx(mine.error * scale**2, rel=1e-6, abs=0.0)


def test_tracy_widom_density_has_the_published_moments() -> None:
    s = np.linspace(-8.9, 10.9, 397)
    density = es.gap.tracy_widom_density(s)
    moments = [float(np.sum(density * s**k) * (s[1] - s[0])) for k in range(3)]
    # Bornemann, Math. Comp. 2010, table 10: mean and variance for β = 1.
    assert moments[0] == pytest.approx(1, abs=1e-9)
    assert moments[1] == pytest.approx(-1.2065335745820, abs=1e-8)
    assert moments[2] - moments[1] ** 2 == pytest.approx(1.607781034581, abs=1e-8)
    assert es.gap.tracy_widom_density([-20.0, 30.0]).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="points must be finite"):
        es.gap.tracy_widom_density([np.nan])
