"""Every fast path against its slow, readable twin, and: how work is cut into pieces changes no bit."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse.linalg

import esssim as es
from esssim import _kernels, spectra
from esssim._kernels import eigenvalue, secular
from esssim._kernels.layout import in_cache_lines
from esssim.curvature import LowRankCurvature
from esssim.simulation import runner
from esssim.spectra import gram as gram_module
from esssim.spectra import lanczos as lanczos_module
from esssim.statistics import minibatch
from tests import oracles

N = 11


def problem_of(kind: str, d: int, seed: int = 0) -> tuple[es.Problem, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs, targets = rng.standard_normal((N, d)), rng.standard_normal(N)
    if kind == "regression":
        return es.LinearRegression(inputs, targets), rng.standard_normal(d)
    if kind.startswith("perceptron"):
        problem = es.Perceptron(inputs, targets, 3, activation=kind.split()[1])
        return problem, rng.uniform(-3, 3, problem.n_params)
    theta = rng.uniform(-1.5, 1.5, 2 * d)
    if kind == "product":
        return es.DiagonalLinearNetwork(inputs, targets), theta
    return es.DiagonalLinearNetwork(inputs, targets, form="difference", depth=int(kind[-1])), theta


KINDS = ("regression", "product", "difference 2", "difference 3", "difference 4")
every_kind = pytest.mark.parametrize("kind", KINDS)


def run(problem: es.Problem, theta0: np.ndarray, sampling: es.Sampling, label_noise: float = 0.0) -> np.ndarray:
    trace = es.simulate(
        problem,
        theta0,
        step_size=0.01,
        sampling=sampling,
        n_steps=40,
        label_noise=label_noise,
        record=("theta",),
        n_records=1,
        seed=5,
    )
    return np.asarray(trace.theta.values[0, -1])


class TestSteps:
    @pytest.mark.parametrize("kind", [*KINDS, "perceptron tanh", "perceptron gelu"])
    @pytest.mark.parametrize("d", [1, 7, 8, 9, 17])
    @pytest.mark.parametrize("b", [1, 3, 4, 5, 8, 11])
    def test_rows_in_fours_and_the_rest(self, kind: str, d: int, b: int) -> None:
        """Batches that are no multiple of four, widths that are no multiple of eight: the plain loop's steps."""
        problem, start = problem_of(kind, d)

        class Plain(type(problem)):  # a subclass is not trusted with the compiled loop
            pass

        plain = Plain.__new__(Plain)
        plain.__dict__.update(vars(problem))
        assert not isinstance(runner.loop_for(problem, start, es.WithoutReplacement(b)), runner.PlainLoop)
        assert isinstance(runner.loop_for(plain, start, es.WithoutReplacement(b)), runner.PlainLoop)
        # A full batch draws its noise in d numbers instead of n: see TestFullBatches.
        for noise in (0.0,) if b == N and kind in KINDS else (0.0, 0.1):
            expected = run(plain, 0.3 * start, es.WithoutReplacement(b), noise)
            found = run(problem, 0.3 * start, es.WithoutReplacement(b), noise)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(
        "sampling",
        [es.WithoutReplacement(3), es.WithoutReplacement(N), es.WithReplacement(3), es.Reshuffled(3)],
        ids=str,
    )
    @pytest.mark.parametrize("label_noise", [0.0, 0.1])
    @pytest.mark.parametrize("kind", ["product", "regression"])
    def test_drawing_ahead_changes_no_bit(
        self, kind: str, sampling: es.Sampling, label_noise: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        problem, start = problem_of(kind, 5)
        expected = run(problem, start, sampling, label_noise)
        for ahead in (1, 10, 33):
            monkeypatch.setattr(runner, "DRAWN_AHEAD", ahead)
            np.testing.assert_array_equal(run(problem, start, sampling, label_noise), expected)

    @every_kind
    @pytest.mark.parametrize("scale", [1.0, 1e20, 1e49, 1e60, 1e200, 1e300, np.inf, np.nan])
    def test_the_quick_look_never_overlooks_what_is_out_of_range(self, kind: str, scale: float) -> None:
        problem, start = problem_of(kind, 3)
        loop = runner.LeastSquaresLoop(problem, start * scale)
        with np.errstate(all="ignore"):
            gradients = np.abs(problem.sample_gradients(start * scale, np.arange(N)))
            losses = problem.sample_losses(start * scale, np.arange(N))
        inside = bool(gradients.max() <= 1e100 and np.isfinite(losses).all())
        assert inside or not loop.is_surely_in_range()
        assert loop.is_surely_in_range() or scale > 1.0 or np.isnan(scale)

    @pytest.mark.parametrize("feature", np.geomspace(1e49, 1e50, 25))
    def test_nor_what_is_just_out_of_range(self, feature: float) -> None:
        """θ = (1, −1), where β = u³ − v³ is as large as its entries let it be."""
        problem, theta = es.DiagonalLinearNetwork([[feature]], [0.0], form="difference", depth=3), np.array([1.0, -1.0])
        inside = np.abs(problem.sample_gradients(theta, np.arange(1))).max() <= 1e100
        assert inside or not runner.LeastSquaresLoop(problem, theta).is_surely_in_range()


class TestFullBatches:
    """d rows R of X = QR in place of n samples, against the loop over the samples."""

    @staticmethod
    def replica(problem: es.Problem, start: np.ndarray, step_size: float, momentum: float, noise: float) -> Any:
        options = (es.Ramp.of(step_size), es.WithoutReplacement(N), 1000, momentum, False, noise)
        return runner.Replica(problem, start, runner.Optimiser(*options), np.random.default_rng(4))

    @every_kind
    @pytest.mark.parametrize("d", [1, 5, 8, 10, 11, 12, 17])
    @pytest.mark.parametrize("momentum", [0.0, 0.6])
    def test_steps_are_those_of_the_samples(self, kind: str, d: int, momentum: float) -> None:
        problem, start = problem_of(kind, d)
        fast = self.replica(problem, 0.3 * start, 0.01, momentum, 0.2)
        slow = self.replica(problem, 0.3 * start, 0.01, momentum, 0.2)
        slow._loop = runner.LeastSquaresLoop(problem, 0.3 * start)
        rows = np.linalg.qr(problem.inputs)[0] if d < N else np.eye(N)
        everyone = np.arange(N)[None]
        stream = np.random.default_rng(4)
        for step in range(30):
            fast.advance(step + 1)
            noise = 0.2 * stream.standard_normal(min(d, N))
            slow._loop.run(everyone, (rows @ noise)[None], step, slow.optimiser)
            np.testing.assert_allclose(fast.theta, slow.theta, rtol=1e-11, atol=1e-12)

    @every_kind
    @pytest.mark.parametrize("d", [3, 10])
    @pytest.mark.parametrize("step_size", [30.0, 1e40])
    def test_a_run_diverges_at_the_step_of_its_samples(self, kind: str, d: int, step_size: float) -> None:
        problem, start = problem_of(kind, d)
        if kind == "regression" and step_size < 1e40:  # slowly: a residual of all samples at once comes steps too early
            step_size = 2.1 / np.linalg.eigvalsh(problem.hessian(start))[-1]
        fast, slow = (self.replica(problem, start, step_size, 0.0, 0.0) for _ in range(2))
        slow._loop = runner.LeastSquaresLoop(problem, start)
        for replica in (fast, slow):
            replica.optimiser = replace(replica.optimiser, n_steps=10_000)
            replica.advance(10_000)
        assert fast.diverged_at == slow.diverged_at > 0
        np.testing.assert_allclose(fast.theta, slow.theta, rtol=1e-7)

    @every_kind
    def test_going_on_with_the_samples_changes_nothing(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        problem, start = problem_of(kind, 5)
        expected = run(problem, 0.3 * start, es.WithoutReplacement(N), 0.2)
        limit = np.abs(problem.residuals(0.3 * start, np.arange(N))).max() / 2
        for doubtful, ahead in itertools.product((0.0, limit, 1.0), (1, 33, runner.DRAWN_AHEAD)):
            monkeypatch.setattr(runner, "DOUBTFUL", doubtful)
            monkeypatch.setattr(runner, "DRAWN_AHEAD", ahead)  # stretches that begin after it went over to the samples
            found = run(problem, 0.3 * start, es.WithoutReplacement(N), 0.2)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)

    def test_the_noise_has_its_covariance(self) -> None:
        """The covector of pure noise is −εXᵀz/n, of covariance ε²XᵀX/n²."""
        problem, _ = problem_of("regression", 4)
        problem = es.LinearRegression(problem.inputs, np.zeros(N))
        draws = np.empty((20_000, 4))
        replica = self.replica(problem, np.zeros(4), 1.0, 0.0, 0.5)
        for k in range(len(draws)):
            replica._loop._theta[:] = 0.0
            replica.advance(replica.step + 1)
            draws[k] = replica.theta
        expected = 0.25 * problem.inputs.T @ problem.inputs / N**2
        found = draws.T @ draws / len(draws)
        error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(draws))
        assert (np.abs(found - expected) < 4.5 * error).all()


def positive_matrices(kind: str, size: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(size)
    if kind == "random":
        rows = rng.standard_normal((count, size, size + 2))
        return rows @ rows.transpose(0, 2, 1)
    basis = np.linalg.qr(rng.standard_normal((count, size, size)))[0]
    spectrum = {
        "equal": np.ones(size),
        "double top": np.r_[np.linspace(0.1, 0.5, size)[: size - 2], 1.0, 1.0][-size:],
        "nearly double top": np.r_[np.linspace(0.1, 0.5, size)[: size - 2], 1.0 - 1e-9, 1.0][-size:],
        "wide": 10.0 ** -np.arange(size),
        "one": np.r_[np.zeros(size - 1), 1.0],
    }[kind]
    matrices = (basis * spectrum) @ basis.transpose(0, 2, 1)
    return (matrices + matrices.transpose(0, 2, 1)) / 2


class TestEigenvaluesInLanes:
    @pytest.mark.parametrize("kind", ["random", "equal", "double top", "nearly double top", "wide", "one"])
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 7, 16, 33, 64])
    def test_against_lapack(self, kind: str, size: int) -> None:
        matrices = positive_matrices(kind, size, eigenvalue.LANES)
        values, converged = np.empty(len(matrices)), np.zeros(len(matrices), dtype=bool)
        lanes = np.ascontiguousarray(matrices.transpose(1, 2, 0))
        eigenvalue.solve(lanes, eigenvalue.workspace(size), 0, values, converged)
        assert converged.all()
        np.testing.assert_allclose(values, oracles.top_eigenvalues(matrices), rtol=1e-13)

    @pytest.mark.parametrize("size", [3, 8])
    def test_the_iteration_starts_at_the_bound_of_wolkowicz_and_styan(self, size: int) -> None:
        rng = np.random.default_rng(3)
        diagonal, off = rng.random((size, eigenvalue.LANES)), rng.random((size, eigenvalue.LANES))
        bound = np.full(eigenvalue.LANES, np.nan)
        work = np.full((2, eigenvalue.LANES), np.nan)
        eigenvalue.upper_bound.py_func(diagonal, off**2, bound, work[0], work[1])
        for lane in range(eigenvalue.LANES):
            side = off[: size - 1, lane]
            values = np.linalg.eigvalsh(np.diag(diagonal[:, lane]) + np.diag(side, 1) + np.diag(side, -1))
            expected = values.mean() + np.sqrt((size - 1) / size * ((values - values.mean()) ** 2).sum())
            assert bound[lane] == pytest.approx(expected, rel=1e-13)
            assert bound[lane] > values[-1]

    @pytest.mark.parametrize("b", [2, 3, 6])
    def test_place_among_the_others_changes_no_bit(self, b: int) -> None:
        rng = np.random.default_rng(1)
        factors = rng.standard_normal((20, 9)) * 2.0 ** rng.integers(-40, 40, size=(20, 1))
        batches = np.array([rng.choice(20, b, replace=False) for _ in range(2 * eigenvalue.LANES + 5)])
        slices = spectra.gram.GramSlices.of(factors)
        for solve in (
            lambda chosen: gram_module.slice_largest_eigenvalues(slices, chosen),
            lambda chosen: gram_module.product_largest_eigenvalues(factors, chosen),
        ):
            values = solve(batches)
            order = rng.permutation(len(batches))
            np.testing.assert_array_equal(solve(batches[order]), values[order])
            for count in (1, eigenvalue.LANES - 1, eigenvalue.LANES, eigenvalue.LANES + 1):
                np.testing.assert_array_equal(solve(batches[:count]), values[:count])

    @pytest.mark.parametrize("name", ["largest_of_gram_slices", "largest_of_products"])
    def test_what_does_not_converge_is_left_to_lapack(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        rng = np.random.default_rng(2)
        factors = rng.standard_normal((9, 5)) * 1e100
        batches = rng.integers(9, size=(40, 3))
        slices = spectra.gram.GramSlices.of(factors)

        def solve() -> np.ndarray:
            if name == "largest_of_gram_slices":
                return gram_module.slice_largest_eigenvalues(slices, batches)
            return gram_module.product_largest_eigenvalues(factors, batches)

        expected, kernel = solve(), getattr(eigenvalue, name)

        def failing(*arguments: np.ndarray) -> np.ndarray:
            converged = kernel(*arguments)
            arguments[-1][::2], converged[::2] = np.nan, False
            return converged

        monkeypatch.setattr(eigenvalue, name, failing)
        np.testing.assert_allclose(solve(), expected, rtol=1e-13)

    def test_matrices_too_large_for_lanes(self) -> None:
        rng = np.random.default_rng(3)
        factors = rng.standard_normal((80, 70))
        batches = np.array([rng.choice(80, 68, replace=False) for _ in range(3)])
        expected = [np.linalg.svd(factors[batch], compute_uv=False)[0] ** 2 / 68 for batch in batches]
        np.testing.assert_allclose(spectra.gram_largest_eigenvalues(factors, batches), expected, rtol=1e-13)


def test_a_prepared_curvature_gives_the_same_bits_in_any_pieces() -> None:
    rng = np.random.default_rng(4)
    curvature = LowRankCurvature(rng.standard_normal((12, 30)))
    batches = rng.integers(12, size=(200, 4))
    prepared = spectra.prepare(curvature, 4, len(batches))
    assert isinstance(prepared, gram_module.GramSlices)
    whole = spectra.largest_eigenvalues(curvature, batches)
    pieces = [spectra.largest_eigenvalues(prepared, batches[i : i + 7]) for i in range(0, 200, 7)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)
    # Too few batches to be worth the Gram matrix of all samples.
    assert spectra.prepare(curvature, 4, 5) is curvature


class TestGradientForms:
    @every_kind
    @pytest.mark.parametrize("average", ["mean_of_ratios", "ratio_of_means"])
    @pytest.mark.parametrize("b", [1, 2, 4, 7])
    @pytest.mark.parametrize("model_curvature", [True, False])
    def test_against_gradients_and_curvature(self, kind: str, average: str, b: int, model_curvature: bool) -> None:
        problem, theta = problem_of(kind, 6)
        theta[0] = 0.0
        batches = np.random.default_rng(b).integers(N, size=(50, b))
        curvature = problem.curvature(theta) if model_curvature else problem.gauss_newton_curvature(theta)
        fast = minibatch._compiled_forms(problem, theta, average, model_curvature)
        assert fast is not None
        (quadratic, squared), (slow_quadratic, slow_squared) = (
            forms(batches) for forms in (fast, minibatch._plain_forms(problem, theta, curvature, average))
        )
        np.testing.assert_allclose(quadratic / squared, slow_quadratic / slow_squared, rtol=1e-12)
        # The two may scale a batch, or all of them, differently, and by one factor.
        if average == "ratio_of_means":
            np.testing.assert_allclose(squared / squared[0], slow_squared / slow_squared[0], rtol=1e-12)

    def test_a_subclass_takes_the_plain_path(self) -> None:
        class Tied(es.LinearRegression):
            """β = 2θ."""

            def effective_weights(self, theta: np.ndarray) -> np.ndarray:
                return 2 * theta

            def pull_back(self, theta: np.ndarray, covectors: np.ndarray) -> np.ndarray:
                return 2 * super().pull_back(theta, covectors)

            def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
                return 4 * super().sample_hessians(theta, indices)

            def curvature(self, theta: np.ndarray) -> LowRankCurvature:
                return LowRankCurvature(2 * self.inputs)

        problem, theta = problem_of("regression", 4)
        tied = Tied(problem.inputs, problem.targets)
        sampling = es.WithoutReplacement(2)
        found, expected = (
            es.batch_sharpness(one, point, sampling).value for one, point in ((tied, theta / 2), (problem, theta))
        )
        assert found == pytest.approx(4 * expected, rel=1e-12)


@pytest.mark.parametrize(("n", "b"), [(1, 1), (5, 1), (5, 5), (7, 3), (9, 6)])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_combinations_come_in_the_order_of_itertools(n: int, b: int, chunk: int) -> None:
    chunks = [batches for batches, _ in es.WithoutReplacement(b).enumerate(n, chunk)]
    assert max(map(len, chunks)) <= chunk
    assert np.concatenate(chunks).tolist() == [list(c) for c in itertools.combinations(range(n), b)]


@pytest.mark.parametrize("statistic", [es.minibatch_sharpness, es.batch_sharpness])
@pytest.mark.parametrize("n_batches", [None, 100])
@pytest.mark.parametrize("kind", ["regression", "product"])
class TestChunkSize:
    def test_changes_no_bit(self, statistic: object, n_batches: int | None, kind: str) -> None:
        problem, theta = problem_of(kind, 4)
        sampling = es.WithoutReplacement(3)
        expected = statistic(problem, theta, sampling, n_batches=n_batches, seed=1)
        for size in (1, 7, 10_000):
            assert statistic(problem, theta, sampling, n_batches=n_batches, seed=1, chunk_size=size) == expected

    def test_bad_input(self, statistic: object, n_batches: int | None, kind: str) -> None:
        problem, theta = problem_of(kind, 4)
        with pytest.raises(ValueError, match="chunk_size must be an integer of at least 1, got 0"):
            statistic(problem, theta, es.WithoutReplacement(3), n_batches=n_batches, seed=1, chunk_size=0)


class TestFewLanczosVectors:
    @staticmethod
    def matrix(gap: float, size: int = 300) -> np.ndarray:
        rng = np.random.default_rng(6)
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        return (basis * np.r_[np.linspace(-1, 1 - gap, size - 1), 1.0]) @ basis.T

    @pytest.mark.parametrize(("gap", "attempts"), [(0.5, 1), (1e-4, 2)])
    def test_more_of_them_where_the_top_hardly_stands_clear(
        self, gap: float, attempts: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        used: list[int] = []

        def eigsh(operator: object, **options: object) -> object:
            used.append(options["ncv"])
            return scipy.sparse.linalg.eigsh(operator, **options)

        monkeypatch.setattr(lanczos_module, "eigsh", eigsh)
        matrix = self.matrix(gap)
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, len(matrix))
        assert value == pytest.approx(1.0, rel=1e-12)
        assert np.linalg.norm(matrix @ vector - vector) < 1e-9
        assert used == [12, 40][:attempts]

    @pytest.mark.parametrize("scale", [1e-150, 1e-20, 1e150])
    def test_in_any_units(self, scale: float) -> None:
        matrix = self.matrix(0.5) * scale
        assert spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 300)[0] == pytest.approx(scale, rel=1e-12)


class TestLanczosFromAGuess:
    @staticmethod
    def matrix(gap: float, size: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(6)
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        return (basis * np.r_[np.linspace(-0.9, 1 - gap, size - 1), 1.0]) @ basis.T, basis[:, -1]

    @pytest.mark.parametrize("tolerance", [1e-2, 1e-8, 1e-14])
    @pytest.mark.parametrize(("gap", "size"), [(0.5, 2), (0.5, 60), (1e-2, 60), (1e-4, 300)])
    @pytest.mark.parametrize("distance", [0.0, 1e-3, 1.0])
    def test_residual_is_as_small_as_asked(self, tolerance: float, gap: float, size: int, distance: float) -> None:
        matrix, top = self.matrix(gap, size)
        start = top + distance * np.random.default_rng(1).standard_normal(size)
        vector = spectra.lanczos_from(start, lambda v: matrix @ v, tolerance)
        value = vector @ matrix @ vector
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-13)
        # Lanczos hands over to ARPACK, which has no more than 10 digits of a residual, where its vectors do not suffice.
        assert np.linalg.norm(matrix @ vector - value * vector) <= max(1.01 * tolerance, 2e-10)
        assert value >= 1 - max(tolerance, 1e-9)

    def test_a_better_guess_and_fewer_digits_need_fewer_applications(self) -> None:
        matrix, top = self.matrix(0.3, 100)
        counts = []
        for distance, tolerance in ((1e-6, 1e-4), (1e-1, 1e-4), (1e-1, 1e-10)):
            applied: list[int] = []
            start = top + distance * np.random.default_rng(1).standard_normal(100)
            product = lambda v, seen=applied: seen.append(1) or matrix @ v  # noqa: E731
            spectra.lanczos_from(start, product, tolerance, inside=True)
            counts.append(len(applied))
        assert counts[0] == 1 < counts[1] < counts[2] < 40


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (5, 13), (4, 64)])
def test_rows_in_cache_lines(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(0).standard_normal(shape)
    padded = in_cache_lines(rows)
    np.testing.assert_array_equal(padded[:, : shape[1]], rows)
    assert not padded[:, shape[1] :].any()
    assert padded.flags.c_contiguous
    assert padded.ctypes.data % 64 == padded.strides[0] % 64 == 0


@pytest.mark.parametrize(
    ("process", "module", "silent", "said"),
    [
        ("MainProcess", "esssim._kernels.sgd", False, 1),
        ("MainProcess", "esssim._kernels.sgd", True, 0),
        ("LokyProcess-1", "esssim._kernels.sgd", False, 0),
        ("MainProcess", "other", False, 0),
    ],
)
def test_compiling_is_announced_once_by_the_process_that_people_started(
    process: str,
    module: str,
    silent: bool,
    said: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In a terminal, a log and a notebook."""
    monkeypatch.setattr(_kernels._Announcement, "said", False)
    monkeypatch.setattr(_kernels, "current_process", lambda: SimpleNamespace(name=process))
    if not silent:
        monkeypatch.delenv("ESSSIM_SILENT")
    event = SimpleNamespace(data={"dispatcher": SimpleNamespace(__module__=module)})
    for _ in range(2):
        _kernels._Announcement().on_start(event)
    assert capsys.readouterr().err.count("compiling its loops") == said


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("size", [1e-9, 1e-3, 1.0, 10.0])
def test_secular_equation_where_two_tops_nearly_meet(gap: float, size: float) -> None:
    """Two nearly equal blocks, hardly coupled: the top eigenvector of the b×b problem turns as λ moves."""
    rng = np.random.default_rng(8)
    for _ in range(20):
        block, diagonal = rng.standard_normal((2, 6)), size * rng.standard_normal(6)
        rows = np.zeros((4, 12))
        rows[:2, :6], rows[2:, 6:] = block, block * (1 + gap)
        rows[2:, :6] = 1e-7 * rng.standard_normal((2, 6))
        delta = np.r_[diagonal, diagonal]
        value, converged = secular.secular_root(delta, rows)
        assert converged
        expected = np.linalg.eigvalsh(np.diag(delta) + rows.T @ rows)[-1]
        assert abs(value - expected) <= 1e-13 * max(expected, np.abs(delta).max())
