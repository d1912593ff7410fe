"""Estimates where a few samples outweigh all others: laws by enumeration, coverage, bounds, and what is said of them."""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy.stats import chisquare

import esssim as es
from esssim.statistics import minibatch, shares
from esssim.statistics.shares import Shares, Weights
from esssim.statistics.weights import sample_weights

SCHEMES = [es.WithoutReplacement, es.WithReplacement]
schemes = pytest.mark.parametrize("scheme", SCHEMES, ids=["WOR", "WR"])
sandwiches = pytest.mark.parametrize("sandwiched", [False, True], ids=["shares", "sandwich"])
# Weights that leave some batches of each sample uncrowded, with a tie and far from sorted.
WEIGHTS = np.array([3.0, 1e-3, 400.0, 0.2, 3.0, 90.0])


def batches_of(sampling: es.Sampling, n: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every ordered batch with its probability, from the definition of the scheme."""
    b = sampling.batch_size
    if isinstance(sampling, es.WithReplacement):
        every = list(itertools.product(range(n), repeat=b))
    else:
        every = list(itertools.permutations(range(n), b))
    return ((batch, 1 / len(every)) for batch in every)


def law_of_cells(sampling: es.Sampling, weights: np.ndarray, sandwiched: bool) -> dict[tuple[int, bool], Counter]:
    """{(sample, met another one): law of the sorted batch}, of total mass P(i ∈ B in this way) per draw, by brute force."""
    laws: dict[tuple[int, bool], Counter] = {}
    rank = {int(i): r for r, i in enumerate(np.argsort(-weights, kind="stable"))}
    for batch, probability in batches_of(sampling, len(weights)):
        for place, i in enumerate(batch):
            others = batch[:place] + batch[place + 1 :]
            if sandwiched:
                # Of t copies of i, one is the first.
                met = 1.0 if any(rank[j] < rank[i] for j in others) else 1 - 1 / batch.count(i)
            else:
                met = float(any(weights[j] > shares.COUNTS * weights[i] for j in others))
            for kind, chance in ((True, met), (False, 1 - met)):
                law = laws.setdefault((i, kind), Counter())
                law[tuple(sorted(batch))] += probability * chance / len(batch)
    return laws


def statistic(batch: tuple[int, ...]) -> float:
    """Any number of the set."""
    return math.sin(7.3 * sum((i + 1) ** 1.5 for i in batch)) + 2


@schemes
@sandwiches
@pytest.mark.parametrize("b", [1, 2, 3, 4])
class TestLaws:
    def test_chances_are_those_of_enumeration(self, scheme: type[es.Sampling], sandwiched: bool, b: int) -> None:
        """Of every cell; with what is known exactly they sum to the mean of the weights."""
        sampling = scheme(b)
        plan = Shares.of(Weights(WEIGHTS, sandwiched), sampling, 1000) if b > 1 or not sandwiched else None
        laws = law_of_cells(sampling, WEIGHTS, sandwiched)
        assert sum(sum(law.values()) for law in laws.values()) == pytest.approx(1, rel=1e-12)
        if plan is None:
            return
        for cell, share in enumerate(plan.shares):
            rank, met = cell % 6, cell < 6
            sample = int(plan.order[rank])
            expected = WEIGHTS[sample] * sum(laws[sample, met].values())
            if sandwiched and not met:
                expected = 0.0
            assert share == pytest.approx(expected, rel=1e-12, abs=1e-16)
        assert plan.known + plan.shares.sum() == pytest.approx(WEIGHTS.mean(), rel=1e-13)
        assert plan.totals.sum() == pytest.approx(plan.shares.sum(), rel=1e-13)

    def test_the_mean_is_unbiased(self, scheme: type[es.Sampling], sandwiched: bool, b: int) -> None:
        """The formula of the module with conditional means by enumeration is the mean over all batches."""
        sampling = scheme(b)
        value = 0.0
        for (sample, met), law in law_of_cells(sampling, WEIGHTS, sandwiched).items():
            for batch, probability in law.items():
                ascending = np.sort(WEIGHTS[list(batch)])
                known = ascending[-1] / b if sandwiched else 0.0
                shared = ascending[: -1 if sandwiched else None].sum() / b
                if sandwiched and not met:
                    value += probability * WEIGHTS[sample]
                elif probability > 0:
                    value += probability * WEIGHTS[sample] * (statistic(batch) - known) / shared
        exact = sum(p * statistic(batch) for batch, p in batches_of(sampling, 6))
        if sandwiched and b == 1:
            exact = WEIGHTS.mean()  # a single sample is known whatever the statistic
        assert value == pytest.approx(exact, rel=1e-11)

    def test_draws_follow_the_law(self, scheme: type[es.Sampling], sandwiched: bool, b: int) -> None:
        """χ² of the batches of every stratum against enumeration: p above 1e-5 for each of them, at a fixed seed."""
        if b == 1:
            pytest.skip("a single sample is its own batch")
        sampling, laws = scheme(b), law_of_cells(scheme(b), WEIGHTS, sandwiched)
        plan = Shares.of(Weights(WEIGHTS, sandwiched), sampling, 1000)
        n_draws = 20_000
        for stratum, (first, last) in enumerate(itertools.pairwise(plan.edges)):
            law: Counter = Counter()
            for cell in range(first, last):
                sample, met = int(plan.order[cell % 6]), cell < 6
                if plan.shares[cell] > 0:
                    for batch, probability in laws[sample, met].items():
                        law[batch] += probability * WEIGHTS[sample]
            batches, known, shared = plan.draw(np.full(n_draws, stratum), np.random.default_rng([5, stratum]))
            drawn = Counter(tuple(sorted(batch)) for batch in batches.tolist())
            assert set(drawn) <= {batch for batch, p in law.items() if p > 0}
            total = sum(law.values())
            expected = {batch: n_draws * p / total for batch, p in law.items()}
            common = [batch for batch, count in expected.items() if count >= 5]
            rest = n_draws - sum(drawn[batch] for batch in common)
            counts = [*(drawn[batch] for batch in common), rest]
            means = [*(expected[batch] for batch in common), n_draws - sum(expected[batch] for batch in common)]
            if means[-1] < 5:
                counts, means = counts[:-1], means[:-1]
                means = list(np.array(means) * sum(counts) / sum(means))
            if len(counts) > 1:
                assert chisquare(counts, means).pvalue > 1e-5
            top = WEIGHTS[batches].max(axis=1) / b if sandwiched else 0.0
            np.testing.assert_allclose(known, top, rtol=1e-14)
            np.testing.assert_allclose(known + shared, WEIGHTS[batches].mean(axis=1), rtol=1e-13)


N, D = 2000, 10


def heavy(design: str) -> es.LinearRegression:
    """The rows of docs/intervals.md, and two ×1000 that are not parallel."""
    rng = np.random.default_rng(0)
    normal, one, two = rng.standard_normal((N, D)), np.ones(N), np.ones(N)
    one[123] = two[7] = two[123] = 1000.0
    scales = {
        "one": one,
        "t(2)": rng.standard_t(2, N),
        "log-normal": rng.lognormal(0, 2, N),
        "normal": np.ones(N),
        "two": two,
    }
    return es.LinearRegression(normal * scales[design][:, None], rng.standard_normal(N))


DESIGNS = ("one", "t(2)", "log-normal", "normal", "two")
STATISTICS = {"MiniBS": es.minibatch_sharpness, "batch sharpness": es.batch_sharpness}


def mean_over_pairs(problem: es.LinearRegression, statistic: str) -> float:
    """b = 2 without replacement, from two inner products of each pair (i, j): the 2×2 Gram matrix in closed form."""
    x, y = problem.inputs, problem.targets
    gram = x @ x.T
    alpha = np.diagonal(gram)
    total = 0.0
    for i in range(N - 1):
        a, other, cross = alpha[i], alpha[i + 1 :], gram[i, i + 1 :]
        if statistic == "MiniBS":
            half = (a - other) / 2
            total += float(((a + other) / 2 + np.hypot(half, cross)).sum()) / 2
        else:  # g = −(y_i x_i + y_j x_j)/2
            one, two = y[i] * a + y[i + 1 :] * cross, y[i] * cross + y[i + 1 :] * other
            squares = y[i] * one + y[i + 1 :] * two
            total += float(((one**2 + two**2) / squares).sum()) / 2
    return total / math.comb(N, 2)


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("name", STATISTICS)
def test_coverage_at_two_samples(design: str, name: str) -> None:
    """Of 100 intervals from 2000 batches at least 90 hold the mean over all 1,999,000 pairs."""
    problem = heavy(design)
    truth = mean_over_pairs(problem, name)
    inside, errors = 0, []
    for seed in range(100):
        found = STATISTICS[name](problem, np.zeros(D), es.WithoutReplacement(2), n_batches=2000, seed=seed)
        low, high = found.interval
        inside += low <= truth <= high
        errors.append(found.value / truth - 1)
        assert not found.exact
        assert found.n_batches == 2000
    assert inside >= 90
    # No seed is far off: an interval that misses does so by little.
    assert np.abs(errors).max() < {"normal": 0.05, "t(2)": 0.05, "log-normal": 0.02}.get(design, 1e-3)


@pytest.mark.parametrize("scheme", SCHEMES, ids=["WOR", "WR"])
@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize("n_batches", [500, 5000])
def test_single_samples_are_enumerated(scheme: type[es.Sampling], name: str, n_batches: int) -> None:
    """b = 1: the mean of ‖xᵢ‖², which 500 uniform draws miss in three of four trials."""
    problem = heavy("one")
    found = STATISTICS[name](problem, np.zeros(D), scheme(1), n_batches=n_batches)
    assert found.exact
    assert found.n_batches == N
    assert found.interval == (found.value, found.value)
    assert found.value == pytest.approx((problem.inputs**2).sum() / N, rel=1e-12)


def test_no_more_batches_than_there_are() -> None:
    problem = es.LinearRegression(np.random.default_rng(0).standard_normal((12, 3)), np.ones(12))
    every = es.minibatch_sharpness(problem, np.zeros(3), es.WithoutReplacement(3))
    assert es.minibatch_sharpness(problem, np.zeros(3), es.WithoutReplacement(3), n_batches=220) == every
    assert not es.minibatch_sharpness(problem, np.zeros(3), es.WithoutReplacement(3), n_batches=219).exact


@schemes
@pytest.mark.parametrize("design", ["t(2)", "normal"])
def test_standard_errors_are_smaller_than_of_uniform_draws(scheme: type[es.Sampling], design: str) -> None:
    for b in (2, 8, 32):
        for function in STATISTICS.values():
            at = (heavy(design), np.zeros(D), scheme(b))
            own, uniform = (
                function(*at, n_batches=2000, draws=draws).standard_error for draws in ("shares", "uniform")
            )
            assert own < (1.02 if design == "normal" else 0.2) * uniform


KINDS: dict[str, Callable[[np.random.Generator], es.Problem]] = {
    "dense": lambda rng: es.Quadratic(_with_one_heavy(_symmetric(rng)), rng.standard_normal((60, 4))),
    "diagonal": lambda rng: es.DiagonalLinearNetwork(
        np.where(np.arange(60) == 9, 30.0, 1.0)[:, None] * rng.standard_normal((60, 3)), rng.standard_normal(60)
    ),
    "regression": lambda rng: es.LinearRegression(
        np.where(np.arange(60) == 9, 100.0, 1.0)[:, None] * rng.standard_normal((60, 3)), rng.standard_normal(60)
    ),
}


def _symmetric(rng: np.random.Generator) -> np.ndarray:
    matrices = rng.standard_normal((60, 4, 4))
    return matrices + matrices.transpose(0, 2, 1)


def _with_one_heavy(matrices: np.ndarray) -> np.ndarray:
    matrices[9] *= 1000
    return matrices


@schemes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STATISTICS)
def test_every_structure(scheme: type[es.Sampling], kind: str, name: str) -> None:
    """Against all batches of two or three of 60 samples, one of them heavy: 180 of 200 intervals hold the exact value."""
    rng = np.random.default_rng(3)
    problem = KINDS[kind](rng)
    theta, sampling = rng.standard_normal(problem.n_params), scheme(2 if scheme is es.WithReplacement else 3)
    exact = STATISTICS[name](problem, theta, sampling).value
    found = [STATISTICS[name](problem, theta, sampling, n_batches=400, seed=seed) for seed in range(200)]
    assert sum(low <= exact <= high for low, high in (estimate.interval for estimate in found)) >= 180
    spread = np.std([estimate.value for estimate in found])
    assert abs(np.mean([estimate.value for estimate in found]) - exact) < 4.5 * spread / math.sqrt(200)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_bound_the_eigenvalues(kind: str) -> None:
    """wᵢ ≥ |λ|_max(Hᵢ), with equality for rank one."""
    rng = np.random.default_rng(3)
    problem = KINDS[kind](rng)
    curvature = problem.curvature(rng.standard_normal(problem.n_params))
    found = sample_weights(curvature, 100)
    assert found is not None
    tops = np.abs(np.linalg.eigvalsh(curvature.batch_matrices(np.arange(60)[:, None]))).max(axis=1)
    assert (found.values >= tops * (1 - 1e-12)).all()
    assert found.sandwiched == (kind == "regression")
    if found.sandwiched:
        np.testing.assert_allclose(found.values, tops, rtol=1e-12)


def test_never_below_sharpness() -> None:
    """M_b ≥ λ_max(H), value and interval: of nearly all samples the two almost agree, and a plain interval crosses."""
    rng = np.random.default_rng(1)
    problem, theta = es.LinearRegression(rng.standard_normal((60, 5)), rng.standard_normal(60)), np.zeros(5)
    top, crossed = es.sharpness(problem, theta), 0
    for seed in range(40):
        found = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(56), n_batches=20, seed=seed)
        assert min(found.value, *found.interval) >= top
        assert found.interval[0] <= found.value <= found.interval[1]
        crossed += found.value - found.half_width() < top
    assert crossed > 0


def _ratio_of_means_by_enumeration(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    n = problem.n_samples
    gradients = problem.sample_gradients(theta, np.arange(n))
    hessians = problem.curvature(theta).batch_matrices(np.arange(n)[:, None])
    gradients = np.asarray(problem.curvature(theta).to_basis(gradients))
    forms = squares = 0.0
    for batch, probability in batches_of(sampling, n):
        g, h = gradients[list(batch)].mean(axis=0), hessians[list(batch)].mean(axis=0)
        forms, squares = forms + probability * g @ h @ g, squares + probability * g @ g
    return float(forms / squares)


@schemes
@pytest.mark.parametrize("b", [1, 2, 4])
@pytest.mark.parametrize("kind", ["regression", "product", "quadratic"])
def test_ratio_of_means_needs_no_batches(scheme: type[es.Sampling], b: int, kind: str) -> None:
    """By moments, against a sum over all ordered batches, however few are asked for and however heavy a sample is."""
    rng = np.random.default_rng(b)
    rows = np.array([1.0, 1.0, 50.0, 1.0, 1.0, 1.0])[:, None] * rng.standard_normal((6, 2))
    problem: es.Problem = es.LinearRegression(rows, rng.standard_normal(6))
    if kind == "product":
        problem = es.DiagonalLinearNetwork(rows, rng.standard_normal(6))
    if kind == "quadratic":
        matrices = rng.standard_normal((6, 3, 3))
        problem = es.Quadratic(matrices + matrices.transpose(0, 2, 1), rng.standard_normal((6, 3)))
    theta, sampling = rng.standard_normal(problem.n_params), scheme(b)
    found = es.batch_sharpness(problem, theta, sampling, average="ratio_of_means", n_batches=2)
    assert found.exact
    assert found.value == pytest.approx(_ratio_of_means_by_enumeration(problem, theta, sampling), rel=1e-10)


class TestWarning:
    def test_none_for_normal_rows(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for seed, (b, n_batches) in itertools.product(range(10), [(2, 500), (8, 20), (32, 100), (8, 2)]):
                for function in STATISTICS.values():
                    at = (heavy("normal"), np.zeros(D), es.WithoutReplacement(b))
                    function(*at, n_batches=n_batches, seed=seed)

    def test_says_what_carries_the_estimate(self) -> None:
        """Two heavy rows with replacement: few of the batches hold one of them twice, or both."""
        at = (heavy("two"), np.zeros(D), es.WithReplacement(8))
        with pytest.warns(es.HeavyTailWarning, match=r"batch_sharpness rests on \d+ of its 500 batches") as told:
            found = es.batch_sharpness(*at, n_batches=500)
        assert told[0].filename == __file__
        assert found.n_effective is not None
        assert found.n_effective < 30
        assert f"500 batches, {found.n_effective:.0f} effective)" in str(found)

    @pytest.mark.parametrize(
        ("deviations", "expected"),
        [([1.0, -1.0, 1.0, -1.0], 4.0), ([3.0, -1.0, -1.0, -1.0], 36 / 12), ([0.0, 0.0], 2.0), ([1e200, -1e200], 2.0)],
    )
    def test_effective_number(self, deviations: list[float], expected: float) -> None:
        assert shares.effective_number(np.array(deviations)) == pytest.approx(expected, rel=1e-14)

    def test_effective_number_of_normal_values(self) -> None:
        values = np.random.default_rng(0).standard_normal(100_000)
        assert shares.effective_number(values) == pytest.approx(2 / math.pi * 1e5, rel=0.01)


def test_scale_of_the_rows_does_not_matter() -> None:
    """Rows times a power of two: the same draws, values times its square, where squares of weights would overflow."""
    at = (np.zeros(D), es.WithoutReplacement(8))
    plain = heavy("one")
    values = es.minibatch_sharpness(plain, *at, n_batches=100)
    for exponent in (-400, 400):
        scaled = es.LinearRegression(np.ldexp(plain.inputs, exponent), plain.targets)
        found = es.minibatch_sharpness(scaled, *at, n_batches=100)
        assert found.value == pytest.approx(math.ldexp(values.value, 2 * exponent), rel=1e-13)
        assert found.standard_error == pytest.approx(math.ldexp(values.standard_error, 2 * exponent), rel=1e-6)


def test_no_weight_at_all() -> None:
    problem = es.LinearRegression(np.zeros((50, 3)), np.ones(50))
    assert es.minibatch_sharpness(problem, np.zeros(3), es.WithoutReplacement(8), n_batches=20).value == 0.0


@schemes
@pytest.mark.parametrize("statistic", [es.minibatch_sharpness, es.batch_sharpness], ids=lambda f: f.__name__)
def test_batches_of_one_where_there_are_too_many_to_list(
    scheme: Callable[[int], es.Sampling], statistic: Callable[..., es.Estimate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else is in a batch of one: all of it is known, and nothing is left to draw."""
    monkeypatch.setattr(minibatch, "SINGLE_SAMPLES", 0)
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((60, D))
    problem = es.LinearRegression(inputs, rng.standard_normal(60))
    found = statistic(problem, np.zeros(D), scheme(1), n_batches=20)
    assert found.value == pytest.approx((inputs**2).sum(axis=1).mean(), rel=1e-14)
    assert found.standard_error <= 1e-15 * found.value


@schemes
def test_one_sample_that_has_all_the_weight(scheme: Callable[[int], es.Sampling]) -> None:
    """The mean number of times that it is drawn, over b, times its λ: nothing, or little, is left to draw."""
    rows = np.zeros((30, 2))
    rows[7] = [3.0, 4.0]
    problem = es.LinearRegression(rows, np.ones(30))
    found = es.minibatch_sharpness(problem, np.zeros(2), scheme(8), n_batches=40)
    assert found.value == pytest.approx(25 / 30, rel=1e-13)
    assert found.standard_error <= 1e-13


@pytest.mark.parametrize("sampling", [es.WithoutReplacement(2), es.WithReplacement(2), es.Reshuffled(2)], ids=repr)
@pytest.mark.parametrize("kind", ["least squares", "quadratic"])
def test_a_batch_without_gradient_is_refused_though_it_is_never_drawn(sampling: es.Sampling, kind: str) -> None:
    """Rows of zeros have no weight: draws by shares do not see that the statistic is 0/0 for two of them."""
    rows = np.random.default_rng(0).standard_normal((40, 2))
    rows[:20] = 0
    problem: es.Problem = es.LinearRegression(rows, np.ones(40))
    if kind == "quadratic":
        problem = es.Quadratic(rows[:, :, None] * rows[:, None, :], np.ones((40, 2)))
    for draws in ("shares", "uniform"):
        with pytest.raises(es.Undefined, match="the gradient of batch"):
            es.batch_sharpness(problem, np.zeros(2), sampling, n_batches=500, draws=draws)  # type: ignore[arg-type]


def test_a_single_sample_without_gradient_is_never_alone_in_a_batch() -> None:
    rows = np.random.default_rng(0).standard_normal((40, 2))
    rows[0] = 0
    problem, at = es.LinearRegression(rows, np.ones(40)), (np.zeros(2), es.WithoutReplacement(2))
    found = es.batch_sharpness(problem, *at, n_batches=700)
    exact = es.batch_sharpness(problem, *at)
    assert abs(found.value - exact.value) < 4 * found.standard_error


def test_draws_are_named() -> None:
    with pytest.raises(ValueError, match="draws must be one of 'shares', 'uniform', got 'plain'"):
        es.minibatch_sharpness(heavy("normal"), np.zeros(D), es.WithoutReplacement(8), n_batches=20, draws="plain")


def test_values_are_plain_numbers() -> None:
    """numpy's own float, a subclass, draws a DeprecationWarning from float(estimate)."""
    found = es.minibatch_sharpness(heavy("normal"), np.zeros(D), es.WithoutReplacement(4), n_batches=40)
    for number in (found.value, found.standard_error, found.degrees, found.n_effective, *found.interval):
        assert type(number) is float
    assert type(found.n_batches) is int
