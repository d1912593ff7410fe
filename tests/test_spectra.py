"""λ_max of mini-batch Hessians against 50-digit arithmetic, on random and on nasty inputs.

The standard is a relative error of 1e-12. Where |λ_max| ≪ ‖H_B‖ by cancellation it is 1e-12·‖H_B‖ instead: the entries of
H_B are themselves rounded to eps relative to what was summed, and by Weyl's inequality that moves λ_max by as much; no
algorithm that sees only doubles can do better.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from types import ModuleType

import mpmath
import numpy as np
import pytest
import scipy.sparse.linalg
from hypothesis import given
from hypothesis import strategies as st

import esssim as es
from esssim import spectra
from esssim._kernels import certified as certified_kernel
from esssim._kernels import secular as secular_kernel
from esssim.curvature import BlockCurvature, Curvature, DenseCurvature, LowRankCurvature
from esssim.spectra import gram as gram_module
from esssim.spectra import lanczos as lanczos_module
from esssim.spectra import largest as batches_module
from esssim.testing import strategies
from tests import oracles


def exact_batch_hessian(curvature: Curvature, batch: np.ndarray) -> mpmath.matrix:
    """H_B with 50 digits from the doubles that the curvature holds."""
    with mpmath.workdps(50):
        p, b = curvature.n_params, len(batch)
        hessian = mpmath.zeros(p)
        for i in map(int, batch):
            for j in range(p):
                for k in range(p):
                    if isinstance(curvature, DenseCurvature):
                        hessian[j, k] += mpmath.mpf(float(curvature.hessians[i, j, k])) / b
                        continue
                    hessian[j, k] += mpmath.mpf(float(curvature.factors[i, j])) * float(curvature.factors[i, k]) / b
                    if j == k and curvature.diagonals is not None:
                        hessian[j, j] += mpmath.mpf(float(curvature.diagonals[i, j])) / b
        return hessian


def assert_accurate(value: float, exact: mpmath.matrix, summed: mpmath.matrix | None = None) -> None:
    """Relative error ≤ 1e-12, or ≤ 1e-12·‖H‖ under cancellation; `summed` bounds the terms of each entry."""
    with mpmath.workdps(50):
        top = oracles.exact_top_eigenvalue(exact)
        norm = max(mpmath.mnorm(exact, "f"), mpmath.mnorm(summed, "f") if summed is not None else 0)
        cancels = abs(top) < norm / 100
        allowed = mpmath.mpf("1e-12") * (norm if cancels else abs(top))
        error = abs(mpmath.mpf(float(value)) - top)
        assert error <= allowed, (
            f"{value!r} for {mpmath.nstr(top, 17)}, error {mpmath.nstr(error / (norm or 1), 3)}·‖H‖"
        )


def assert_accurate_batches(curvature: Curvature, batches: np.ndarray) -> None:
    values = spectra.largest_eigenvalues(curvature, batches)
    assert values.shape == (len(batches),)
    for value, batch in zip(values, batches, strict=True):
        terms = None
        if isinstance(curvature, LowRankCurvature) and curvature.diagonals is not None:
            # The diagonal of a batch is a sum of either sign, before it meets the other part.
            magnitudes = LowRankCurvature(np.abs(curvature.factors), np.abs(curvature.diagonals))
            terms = exact_batch_hessian(magnitudes, batch)
        elif isinstance(curvature, DenseCurvature):
            terms = exact_batch_hessian(DenseCurvature(np.abs(curvature.hessians)), batch)
        assert_accurate(value, exact_batch_hessian(curvature, batch), terms)


def random_batches(n: int, b: int, count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(n, size=(count, b))


NASTY_ROWS = {
    "random": lambda rows: rows,
    "duplicated rows": lambda rows: rows[np.arange(len(rows)) // 2],
    "all rows equal": lambda rows: rows[np.zeros(len(rows), dtype=int)],
    "nearly equal rows": lambda rows: rows[:1] + 1e-9 * rows,
    "zero rows": lambda rows: rows * (np.arange(len(rows)) % 3 > 0)[:, None],
    "only zero rows": lambda rows: 0.0 * rows,
    "repeated eigenvalues": lambda rows: np.eye(*rows.shape) * 1.3,
    "1e150": lambda rows: rows * 1e150,
    "1e-150": lambda rows: rows * 1e-150,
    "tiny rows beside a huge one": lambda rows: rows * np.where(np.arange(len(rows)) == 0, 1e150, 1e-150)[:, None],
    "every scale": lambda rows: rows * 10.0 ** np.linspace(-150, 150, len(rows))[:, None],
    "columns of every scale": lambda rows: rows * 10.0 ** np.linspace(0, -140, rows.shape[1]),
    "entries of every scale within a row": lambda rows: rows * 10.0 ** np.linspace(150, -150, rows.shape[1]),
    "unseen column": lambda rows: rows * (np.arange(rows.shape[1]) > 0),
}


def nasty_rows(name: str, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return NASTY_ROWS[name](np.random.default_rng(seed).standard_normal(shape))


# Everything except the first row is tiny in the corner with a huge row; the last batch has only such.
def corner_batches(n: int, b: int) -> np.ndarray:
    return np.concatenate((random_batches(n, b), 1 + random_batches(n - 1, b, count=1)))


@pytest.mark.parametrize("corner", NASTY_ROWS)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 9])
class TestGram:
    """Rank-one samples: p = 4 covers b < p, b = p + 1 and b > 2p."""

    def test_against_fifty_digits(self, corner: str, batch_size: int) -> None:
        curvature = LowRankCurvature(nasty_rows(corner, (6, 4)))
        batches = corner_batches(6, batch_size)
        assert_accurate_batches(curvature, batches)
        # Positive semidefinite matrices: no cancellation, the error is relative to λ_max itself at any scale.
        for value, batch in zip(spectra.gram_largest_eigenvalues(curvature.factors, batches), batches, strict=True):
            exact = oracles.exact_top_eigenvalue(exact_batch_hessian(curvature, batch))
            assert abs(value - exact) <= 1e-12 * exact

    def test_products_per_batch_equal_slices_of_the_gram_matrix(
        self, corner: str, batch_size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows = nasty_rows(corner, (6, 12))
        batches = corner_batches(6, batch_size)
        results = []
        for pays in (True, False):
            monkeypatch.setattr(gram_module, "_gram_pays", lambda *_, pays=pays: pays)
            results.append(spectra.gram_largest_eigenvalues(rows, batches))
        np.testing.assert_allclose(*results, rtol=1e-13, atol=0)
        expected = [
            oracles.exact_top_eigenvalue(exact_batch_hessian(LowRankCurvature(rows), batch)) for batch in batches[-2:]
        ]
        np.testing.assert_allclose(results[0][-2:], np.array(expected, dtype=float), rtol=1e-12, atol=0)


def test_gram_of_two_orthogonal_and_two_parallel_rows_in_closed_form() -> None:
    rows = np.array([[3.0, 0.0], [0.0, 4.0], [6.0, 0.0]])
    values = spectra.gram_largest_eigenvalues(rows, np.array([[0, 1], [0, 2], [1, 1]]))
    np.testing.assert_allclose(values, [16 / 2, (9 + 36) / 2, 16], rtol=1e-15)


DIAGONALS = {
    "random": lambda d: d,
    "zero": lambda d: 0.0 * d,
    "equal entries": lambda d: 0.0 * d - 0.7,
    "all negative, λ_max too": lambda d: -1e4 - np.abs(d),
    "much larger than the low rank": lambda d: d * 1e6,
    "much smaller than the low rank": lambda d: d * 1e-9,
    "poles close together": lambda d: 1.0 + 1e-13 * d,
    "opposite pairs": lambda d: np.concatenate((d[:, : d.shape[1] // 2], -d[:, : d.shape[1] // 2]), axis=1),
}


@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("corner", NASTY_ROWS)
def test_diagonal_plus_low_rank_against_fifty_digits(diagonal: str, corner: str) -> None:
    rows = nasty_rows(corner, (6, 4))
    # The squares of the rows and the diagonal are in the same units.
    scales = np.abs(rows).max(axis=1, keepdims=True)
    diagonals = DIAGONALS[diagonal](np.random.default_rng(1).standard_normal((6, 4)))
    diagonals = diagonals * np.where(scales > 0, scales, 1.0) ** 2
    for batch_size in (1, 2, 3, 6):
        assert_accurate_batches(LowRankCurvature(rows, diagonals), corner_batches(6, batch_size)[-2:])


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
def test_largest_eigenvalue_equal_to_the_largest_diagonal_entry(scale: float) -> None:
    """A coordinate that no row sees is an eigenvector; with a diagonal entry large enough, it is the top one."""
    rows = np.array([[0.0, 1.0, 2.0], [0.0, 3.0, 1.0]]) * scale
    diagonals = np.array([[99.0, 1.0, 2.0], [101.0, 0.0, 1.0]]) * scale**2
    values = spectra.diagonal_plus_low_rank_largest_eigenvalues(diagonals, rows, np.array([[0, 1], [0, 0]]))
    np.testing.assert_allclose(values, [100 * scale**2, 99 * scale**2], rtol=1e-15)
    # Seen by one sample of the batch only, and just below the others' eigenvalue.
    diagonals[:, 0] = 0.0
    assert_accurate_batches(LowRankCurvature(rows, diagonals), np.array([[0, 1], [1, 1]]))
    # No row sees anything at all.
    only_diagonal = spectra.diagonal_plus_low_rank_largest_eigenvalues(diagonals, 0.0 * rows, np.array([[0, 1]]))
    np.testing.assert_allclose(only_diagonal, [1.5 * scale**2], rtol=1e-15)


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_secular_equation_against_bisection(batch_size: int) -> None:
    rng = np.random.default_rng(3)
    factors, diagonals = rng.standard_normal((9, 7)), rng.standard_normal((9, 7)) * 3
    factors[:, 2] = 0.0
    batches = random_batches(9, batch_size, count=40)
    values = spectra.diagonal_plus_low_rank_largest_eigenvalues(diagonals, factors, batches)
    for value, batch in zip(values, batches, strict=True):
        expected = oracles.secular_root_by_bisection(
            diagonals[batch].mean(axis=0), factors[batch] / np.sqrt(batch_size)
        )
        assert abs(value - expected) <= 1e-13 * max(abs(expected), 1.0)


def test_every_batch_of_ordinary_size_is_certified_and_converges_by_newton() -> None:
    """The dense fallback is for what is not known to exist: ordinary batches certify their root themselves."""
    rng = np.random.default_rng(4)
    factors, diagonals = rng.standard_normal((20, 12)), rng.standard_normal((20, 12))
    for batch_size in (1, 3, 8):
        batches, values = random_batches(20, batch_size, count=50), np.empty(50)
        assert secular_kernel.largest_eigenvalues(diagonals, factors, batches, np.ones(50), values).all()
        again = np.empty(50)
        assert certified_kernel.largest_eigenvalues(diagonals, factors, batches, np.ones(50), again).all()
        np.testing.assert_allclose(again, values, rtol=1e-13)


@pytest.mark.parametrize("size", [1e-12, 1e-6, 1.0, 1e6])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 20])
def test_what_is_certified_is_the_largest_eigenvalue(batch_size: int, size: float) -> None:
    """Random rows, nearly equal rows, repeated and orthogonal ones: tops far apart, close, and equal."""
    rng = np.random.default_rng(6)
    random, basis = rng.standard_normal((40, 24)), np.linalg.qr(rng.standard_normal((24, 24)))[0]
    cases = (
        random,
        random[:1] + 1e-5 * random,
        np.tile(random[:4], (10, 1)),
        np.vstack((basis, basis[:16] * (1 + 1e-9))),
        np.kron(np.eye(2), random[:20, :12]),
    )
    for factors in cases:
        diagonals = size * rng.standard_normal((40, 24))
        batches, values = random_batches(40, batch_size, count=30), np.empty(30)
        certain = certified_kernel.largest_eigenvalues(diagonals, factors, batches, np.ones(30), values)
        assert certain.mean() > 0.9
        for value, batch, sure in zip(values, batches, certain, strict=True):
            diagonal, rows = diagonals[batch].mean(axis=0), factors[batch] / np.sqrt(batch_size)
            expected = np.linalg.eigvalsh(np.diag(diagonal) + rows.T @ rows)[-1]
            scale = max(np.abs(diagonal).max(), (rows**2).sum())
            assert not sure or abs(value - expected) <= 2e-13 * scale


def test_newton_converges_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quadratically: a wrong derivative would still find the root, but slowly."""
    monkeypatch.setattr(secular_kernel, "MAX_ITERATIONS", 9)
    rng = np.random.default_rng(4)
    for batch_size, spread in itertools.product((1, 3, 8), (0.1, 1.0, 10.0)):
        for _ in range(10):
            rows, delta = rng.standard_normal((batch_size, 12)), rng.standard_normal(12) * spread
            assert secular_kernel.secular_root.py_func(delta, rows / np.sqrt(batch_size))[1]


@pytest.mark.parametrize("batch_size", [2, 3, 8])
@pytest.mark.parametrize("unseen", [False, True])
def test_newton_starts_at_a_rayleigh_quotient(batch_size: int, unseen: bool) -> None:
    """vᵀHv/vᵀv for v = Aᵀu, u from eight power steps on AAᵀ: below the root, and near it where the diagonal is small."""
    rng = np.random.default_rng(8)
    rows, delta = rng.standard_normal((batch_size, 12)), 0.1 * rng.standard_normal(12)
    if unseen:
        rows[:, 5] = 0.0
    norms = (rows**2).sum(axis=0)
    seen = norms > 0
    top_seen = delta[seen].max()
    start = secular_kernel.rayleigh_quotient.py_func(
        delta, rows, norms, top_seen, np.empty_like(rows), np.empty_like(delta)
    )
    u = np.linalg.matrix_power(rows @ rows.T, secular_kernel.POWER_STEPS) @ np.ones(batch_size)
    v = rows.T @ u
    quotient = (v[seen] @ (delta[seen] * v[seen]) + ((rows @ v) ** 2).sum()) / (v @ v)
    assert start + top_seen == pytest.approx(quotient, rel=1e-11)
    root = np.linalg.eigvalsh(np.diag(delta) + rows.T @ rows)[-1]
    assert 0.9 * root <= start + top_seen < root


def test_newton_does_not_certify_what_is_not_a_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The iteration may only come to rest where μ = 1, and at a finite λ."""
    for mu, slope in ((1.5, np.inf), (np.nan, 1.0), (1.0, -np.inf), (np.inf, np.inf)):
        monkeypatch.setattr(secular_kernel, "top_of_secular_matrix", lambda *_, mu=mu, slope=slope: (mu, slope))
        converged = secular_kernel.secular_root.py_func(np.array([0.0, 1.0]), np.ones((2, 2)))[1]
        assert converged == (mu == 1.0)


def test_batches_that_do_not_converge_are_solved_densely(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    curvature = LowRankCurvature(rng.standard_normal((6, 5)) * 1e100, rng.standard_normal((6, 5)) * 1e200)
    batches = corner_batches(6, 3)
    expected = spectra.largest_eigenvalues(curvature, batches)

    def failing(kernel: ModuleType) -> Callable[..., np.ndarray]:
        solved = kernel.largest_eigenvalues

        def solve(*arguments: np.ndarray) -> np.ndarray:
            converged = solved(*arguments)
            arguments[-1][1:] = np.nan
            converged[1:] = False
            return converged

        return solve

    monkeypatch.setattr(certified_kernel, "largest_eigenvalues", failing(certified_kernel))
    np.testing.assert_allclose(spectra.largest_eigenvalues(curvature, batches), expected, rtol=1e-13)
    monkeypatch.setattr(secular_kernel, "largest_eigenvalues", failing(secular_kernel))
    np.testing.assert_allclose(spectra.largest_eigenvalues(curvature, batches), expected, rtol=1e-13)


@pytest.mark.parametrize("diagonal", DIAGONALS)
def test_dense_curvature_against_fifty_digits(diagonal: str) -> None:
    rng = np.random.default_rng(6)
    for scale in (1.0, 1e300, 1e-300):
        matrices = rng.standard_normal((5, 4, 4))
        matrices = matrices + matrices.transpose(0, 2, 1)
        matrices[:, np.arange(4), np.arange(4)] += DIAGONALS[diagonal](rng.standard_normal((5, 4)))
        matrices /= np.abs(matrices).max(axis=(1, 2), keepdims=True)
        for batch_size in (1, 2, 5):
            assert_accurate_batches(DenseCurvature(matrices * scale), random_batches(5, batch_size, count=2))


def test_dense_tiny_matrices_beside_a_huge_one() -> None:
    matrices = np.array([[[2.0, 1.0], [1.0, 2.0]]]) * np.array([1e300, 1e-300, -1e-300])[:, None, None]
    np.testing.assert_allclose(
        spectra.largest_eigenvalues(DenseCurvature(matrices), np.array([[1, 1], [2, 2], [0, 1]])),
        [3e-300, -1e-300, 1.5e300],
        rtol=1e-14,
    )


def exact_network_hessian(
    problem: es.DiagonalLinearNetwork, theta: np.ndarray, batch: np.ndarray
) -> tuple[mpmath.matrix, mpmath.matrix]:
    """∇²L_B of a diagonal network with 50 digits, term by term from its definition, and the sum of the terms' magnitudes."""
    with mpmath.workdps(50):
        d, depth, p, b = problem.inputs.shape[1], problem.depth, problem.n_params, len(batch)
        first, second = ([mpmath.mpf(float(x)) for x in half] for half in np.split(theta, 2))
        product = problem.form == "product"
        hessian, magnitudes = mpmath.zeros(p), mpmath.zeros(p)

        def add(j: int, k: int, term: mpmath.mpf) -> None:
            hessian[j, k] += term / b
            magnitudes[j, k] += abs(term) / b

        for i in map(int, batch):
            x = [mpmath.mpf(float(value)) for value in problem.inputs[i]]
            y = mpmath.mpf(float(problem.targets[i]))
            if product:
                residual = mpmath.fsum(a * u * v for a, u, v in zip(x, first, second, strict=True)) - y
                jacobian = [a * v for a, v in zip(x, second, strict=True)] + [
                    a * u for a, u in zip(x, first, strict=True)
                ]
            else:
                residual = mpmath.fsum(a * (u**depth - v**depth) for a, u, v in zip(x, first, second, strict=True)) - y
                jacobian = [depth * a * u ** (depth - 1) for a, u in zip(x, first, strict=True)]
                jacobian += [-depth * a * v ** (depth - 1) for a, v in zip(x, second, strict=True)]
            for j in range(p):
                for k in range(p):
                    add(j, k, jacobian[j] * jacobian[k])
            for j in range(d):
                if product:
                    add(j, d + j, residual * x[j])
                    add(d + j, j, residual * x[j])
                else:
                    add(j, j, depth * (depth - 1) * residual * x[j] * first[j] ** (depth - 2))
                    add(d + j, d + j, -depth * (depth - 1) * residual * x[j] * second[j] ** (depth - 2))
        return hessian, magnitudes


@pytest.mark.parametrize("form", ["product", "difference 2", "difference 3", "difference 4", "difference 5"])
@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
@pytest.mark.parametrize("corner", ["random", "duplicated rows", "zero rows", "repeated eigenvalues", "unseen column"])
def test_networks_end_to_end_against_fifty_digits(form: str, scale: float, corner: str) -> None:
    """From inputs, targets and θ: nothing in between is trusted."""
    kind, _, depth = form.partition(" ")
    rng = np.random.default_rng(8)
    problem = es.DiagonalLinearNetwork(
        nasty_rows(corner, (5, 2)) * scale, rng.standard_normal(5) * scale, form=kind, depth=int(depth or 2)
    )
    theta = rng.standard_normal(4)
    curvature = problem.curvature(theta)
    for batch_size in (1, 2, 3, 5):
        batch = random_batches(5, batch_size, count=1)
        value = spectra.largest_eigenvalues(curvature, batch)[0]
        assert_accurate(value, *exact_network_hessian(problem, theta, batch[0]))


def test_negative_largest_eigenvalue_of_a_deep_network() -> None:
    """At depth 3 the residual part D(D−1) r diag(x∘w₊, −x∘w₋) can be negative throughout, and win."""
    problem = es.DiagonalLinearNetwork([[1.0, 2.0], [1.5, 1.0]], [1e4, 2e4], form="difference", depth=3)
    theta = np.array([0.1, 0.2, -0.1, -0.3])
    values = spectra.largest_eigenvalues(problem.curvature(theta), np.array([[0], [1]]))
    assert (values < 0).all()
    for value, index in zip(values, (0, 1), strict=True):
        assert_accurate(value, *exact_network_hessian(problem, theta, np.array([index])))


def full_batch_paths() -> Iterator[tuple[str, Curvature]]:
    rng = np.random.default_rng(9)
    matrices = rng.standard_normal((4, 3, 3))
    yield "dense", DenseCurvature(matrices + matrices.transpose(0, 2, 1))
    yield "rank one", LowRankCurvature(rng.standard_normal((4, 3)))
    yield "diagonal plus rank one", LowRankCurvature(rng.standard_normal((4, 6)), rng.standard_normal((4, 6)))


@pytest.mark.parametrize("curvature", dict(full_batch_paths()).values(), ids=dict(full_batch_paths()))
class TestOneEntryPoint:
    def test_chunks_change_nothing(self, curvature: Curvature) -> None:
        batches = random_batches(4, 3, count=17)
        expected = spectra.largest_eigenvalues(curvature, batches)
        for numbers in (1, 40, 200):
            np.testing.assert_array_equal(
                spectra.largest_eigenvalues(curvature, batches, chunk_numbers=numbers), expected
            )

    def test_no_chunk_is_larger_than_asked(self, curvature: Curvature, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes, original = [], batches_module._largest_eigenvalues

        def recorded(this: Curvature, chunk: np.ndarray) -> np.ndarray:
            sizes.append(len(chunk))
            return original(this, chunk)

        monkeypatch.setattr(batches_module, "_largest_eigenvalues", recorded)
        spectra.largest_eigenvalues(curvature, random_batches(4, 3, count=17), chunk_numbers=100)
        p = curvature.n_params
        per_batch = 3 * p * p if isinstance(curvature, DenseCurvature) else 3 * max(3, p)
        assert sum(sizes) == 17
        assert sizes[0] == 100 // per_batch
        assert max(sizes) == sizes[0]
        sizes.clear()
        spectra.largest_eigenvalues(curvature, random_batches(4, 3, count=5), chunk_numbers=1)
        assert sizes == [1] * 5

    def test_full_batches_in_any_order_are_solved_once(
        self, curvature: Curvature, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        batches = np.array([[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
        expected = oracles.exact_top_eigenvalue(exact_batch_hessian(curvature, batches[0]))
        original = batches_module._largest_eigenvalues
        monkeypatch.setattr(
            batches_module,
            "_largest_eigenvalues",
            lambda c, chunk: original(c, chunk) if len(chunk) == 1 else pytest.fail("more than one batch at once"),
        )
        np.testing.assert_allclose(spectra.largest_eigenvalues(curvature, batches), float(expected), rtol=1e-14)
        # Of the right size, but with a repeated index: not the full batch.
        monkeypatch.undo()
        repeated = np.array([[0, 0, 1, 2], [3, 2, 1, 0]])
        assert_accurate_batches(curvature, repeated)

    def test_single_samples_asked_for_many_times(self, curvature: Curvature) -> None:
        batches = random_batches(4, 1, count=30)
        singles = [float(oracles.exact_top_eigenvalue(exact_batch_hessian(curvature, np.array([i])))) for i in range(4)]
        np.testing.assert_allclose(
            spectra.largest_eigenvalues(curvature, batches), np.array(singles)[batches[:, 0]], rtol=1e-13
        )

    def test_no_batches(self, curvature: Curvature) -> None:
        assert spectra.largest_eigenvalues(curvature, np.empty((0, 2), dtype=np.int64)).shape == (0,)


@pytest.mark.parametrize("shape", [(6, 2, 11), (6, 3, 4)], ids=["wide", "tall"])
@pytest.mark.parametrize("chunk_numbers", [1, 100, 10**9])
def test_samples_of_several_rows(shape: tuple[int, int, int], chunk_numbers: int) -> None:
    """Hᵢ = AᵢᵀAᵢ: the smaller of the two products of the batch's rows, against the batch's Hessian itself."""
    curvature = BlockCurvature(np.random.default_rng(0).standard_normal(shape))
    for batch_size in (1, 2, 4):
        batches = random_batches(6, batch_size, count=5)
        hessians = [sum(curvature.factors[i].T @ curvature.factors[i] for i in b) / batch_size for b in batches]
        np.testing.assert_allclose(
            spectra.largest_eigenvalues(curvature, batches, chunk_numbers=chunk_numbers),
            np.linalg.eigvalsh(hessians)[:, -1],
            rtol=1e-13,
        )


def test_unknown_structure_is_refused() -> None:
    class Other:
        n_samples, n_params = 3, 2

    with pytest.raises(TypeError, match="no algorithm for a curvature of type Other"):
        spectra.largest_eigenvalues(Other(), np.array([[0, 1]]))


def test_wide_batches_of_a_network_use_the_smaller_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """b ≥ p: one p×p eigenproblem instead of several b×b ones; b < p: the secular equation."""
    used = []
    for name in ("stacked_largest_eigenvalues", "secular_largest_eigenvalues"):
        original = getattr(batches_module, name)
        monkeypatch.setattr(
            batches_module, name, lambda *a, name=name, original=original: used.append(name) or original(*a)
        )
    rng = np.random.default_rng(0)
    curvature = LowRankCurvature(rng.standard_normal((9, 4)), rng.standard_normal((9, 4)))
    for batch_size in (3, 4, 5):
        assert_accurate_batches(curvature, random_batches(9, batch_size, count=2))
    assert used == ["secular_largest_eigenvalues", *["stacked_largest_eigenvalues"] * 2]


class TestDenseMatrix:
    @pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150, 1e300, 1e-300])
    @pytest.mark.parametrize("shift", [0.0, -100.0])
    def test_against_fifty_digits(self, scale: float, shift: float) -> None:
        matrix = np.random.default_rng(0).standard_normal((5, 5))
        matrix = (matrix + matrix.T + shift * np.eye(5)) * scale
        with mpmath.workdps(50):
            assert_accurate(spectra.largest_eigenvalue(matrix), mpmath.matrix(matrix.tolist()))

    def test_repeated_top_and_zero_and_one_by_one(self) -> None:
        assert spectra.largest_eigenvalue(np.diag([2.0, 2.0, -5.0])) == pytest.approx(2.0, rel=1e-15)
        assert spectra.largest_eigenvalue(np.zeros((3, 3))) == 0.0
        assert spectra.largest_eigenvalue([[-3.0]]) == -3.0

    @pytest.mark.parametrize(
        ("matrix", "message"),
        [
            (np.ones((2, 3)), r"matrix must have shape \(p, p\), got \(2, 3\)"),
            (np.ones(3), r"matrix must have shape \(p, p\), got \(3,\)"),
            ([[1.0, np.nan], [np.nan, 1.0]], "matrix must be finite, got 2 NaN"),
            ([[1.0, 2.0], [2.0001, 1.0]], "matrix must be symmetric, got a relative asymmetry of 5e-05"),
            (np.empty((0, 0)), "matrix must not be empty"),
            ([["a", "b"], ["b", "c"]], "matrix must hold real numbers"),
        ],
    )
    def test_bad_input(self, matrix: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            spectra.largest_eigenvalue(matrix)


class TestLanczos:
    def symmetric(self, p: int = 60, seed: int = 0) -> np.ndarray:
        matrix = np.random.default_rng(seed).standard_normal((p, p))
        return matrix + matrix.T

    @pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
    def test_value_and_vector(self, scale: float) -> None:
        matrix = self.symmetric() * scale
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 60)
        values, vectors = np.linalg.eigh(matrix)
        assert abs(value - values[-1]) <= 1e-12 * values[-1]
        assert abs(abs(vector @ vectors[:, -1]) - 1) <= 1e-10
        assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-12)

    def test_the_algebraically_largest_although_another_is_larger_in_magnitude(self) -> None:
        """The trap of the default which="LM": −100 instead of 3."""
        diagonal = np.concatenate(([-100.0], np.linspace(0, 3, 49)))
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: diagonal * v, 50)
        assert value == pytest.approx(3.0, rel=1e-12)
        assert abs(vector[-1]) == pytest.approx(1.0, abs=1e-9)
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: (diagonal - 10) * v, 50)
        assert value == pytest.approx(-7.0, rel=1e-11)

    def test_largest_eigenvalue_far_below_the_norm_is_no_error(self) -> None:
        """Its residual is rounding against the norm of the operator, not against the eigenvalue."""
        diagonal = np.concatenate((np.linspace(-100, -1, 49), [1e-9]))
        rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 50)))[0]
        matrix = (rotation * diagonal) @ rotation.T
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 50)
        assert abs(value - 1e-9) <= 1e-10 * 100

    def test_default_start_is_never_orthogonal_to_the_top_by_structure(self) -> None:
        """Ones are orthogonal to the top eigenvector e₁ − e₂ and find the second one; the random start does not."""
        diagonal = np.linspace(1, 2, 40)
        top = np.zeros(40)
        top[:2] = 1 / np.sqrt(2), -1 / np.sqrt(2)
        projection = np.outer(top, top)
        matrix = (np.eye(40) - projection) @ np.diag(diagonal) @ (np.eye(40) - projection) + 5 * projection
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 40)
        assert value == pytest.approx(5.0, rel=1e-12)
        assert abs(vector @ top) == pytest.approx(1.0, abs=1e-9)

    def test_a_given_start_is_used(self) -> None:
        """From the top eigenvector itself it takes fewer products than from a random vector."""
        counts = []
        for start in (None, np.eye(300)[-1]):
            applied: list[int] = []
            spectra.lanczos_largest_eigenvalue(
                lambda v, seen=applied: seen.append(1) or np.linspace(1, 2, 300) * v, 300, start=start
            )
            counts.append(len(applied))
        assert counts[1] < counts[0]

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_sizes_too_small_for_arpack(self, size: int) -> None:
        matrix = self.symmetric(size)
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, size)
        assert value == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-13)
        np.testing.assert_allclose(matrix @ vector, value * vector, atol=1e-12)

    @pytest.mark.parametrize("size", [2, 20])
    def test_zero_operator(self, size: int) -> None:
        value, vector = spectra.lanczos_largest_eigenvalue(lambda v: 0.0 * v, size)
        assert value == 0.0
        assert np.linalg.norm(vector) == pytest.approx(1.0)

    @pytest.mark.parametrize("size", [2, 30])
    @pytest.mark.parametrize("scale", [1.0, 1e-100])
    def test_asymmetric_operator_is_refused(self, size: int, scale: float) -> None:
        matrix = self.symmetric(size)
        matrix[0, 1] += 1e-4
        with pytest.raises(ValueError, match="operator must be symmetric, got vᵀAw − wᵀAv = "):
            spectra.lanczos_largest_eigenvalue(lambda v: scale * (matrix @ v), size)

    @pytest.mark.parametrize("length", [1e-6, 1.0, 1e6])
    def test_length_of_the_start_changes_nothing(self, length: float) -> None:
        matrix, start = self.symmetric(30), np.ones(30)
        expected = np.linalg.eigvalsh(matrix)[-1]
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 30, start=length * start)
        assert value == pytest.approx(expected, rel=1e-12)
        matrix[0, 1] += 1e-4
        with pytest.raises(ValueError, match="operator must be symmetric"):
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 30, start=length * start)

    @pytest.mark.parametrize("wrong", ["vector", "value"])
    def test_residual_check_catches_a_wrong_answer(self, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
        matrix = self.symmetric()

        def eigsh(*arguments: object, **options: object) -> tuple[np.ndarray, np.ndarray]:
            assert options["which"] == "LA"
            values, vectors = scipy.sparse.linalg.eigsh(*arguments, **options)
            if wrong == "value":
                return values * (1 + 1e-8), vectors
            return values, vectors + 1e-8 * np.eye(60)[:, :1]

        monkeypatch.setattr(lanczos_module, "eigsh", eigsh)
        with pytest.raises(RuntimeError, match=r"Lanczos left a residual of .* tolerance = 1e-12"):
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 60)

    @pytest.mark.parametrize(("error", "raises"), [(0.5e-10, False), (1.9e-10, True)])
    def test_residual_check_is_as_strict_as_it_says(
        self, error: float, raises: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """‖Av − λv‖ > 100·tolerance·max(|λ|, ‖Av₀‖/‖v₀‖), tolerance = 1e-12."""
        matrix = self.symmetric()

        def eigsh(*arguments: object, **options: object) -> tuple[np.ndarray, np.ndarray]:
            values, vectors = scipy.sparse.linalg.eigsh(*arguments, **options)
            return values * (1 + error), vectors

        monkeypatch.setattr(lanczos_module, "eigsh", eigsh)
        with pytest.raises(RuntimeError, match="residual") if raises else contextlib.nullcontext():
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 60)

    def test_no_convergence_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def eigsh(operator: object, **options: object) -> object:
            return scipy.sparse.linalg.eigsh(operator, **{**options, "maxiter": 1, "ncv": 3})

        monkeypatch.setattr(lanczos_module, "eigsh", eigsh)
        matrix = self.symmetric(200)
        with pytest.raises(RuntimeError, match="Lanczos did not converge to tolerance = 1e-12"):
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 200)

    def test_same_seed_same_bits(self) -> None:
        matrix = self.symmetric()
        first, again, other = (
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 60, seed=s)[1] for s in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


@given(data=st.data())
def test_structured_spectra_of_random_problems_against_fifty_digits(data: st.DataObject) -> None:
    """The shared strategy: every kind of problem, its corners and scales, one random batch with repetitions."""
    case = data.draw(strategies.cases())
    n = case.problem.n_samples
    batch = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=4))
    assert_accurate_batches(case.problem.curvature(case.theta), np.array([batch]))


@pytest.mark.parametrize("largest", [5e-324, 1e-300, 0.3, 1.0, 3.0, 1.7e308])
def test_a_power_of_two_is_one_and_next_to_the_largest_entry(largest: float) -> None:
    unit = spectra.dense.power_of_two(np.array([[0.0, -largest], [largest / 2, 0.0]]))
    assert np.frexp(unit)[0] == 0.5
    assert unit <= largest < 2 * unit
    assert spectra.dense.power_of_two(np.zeros((2, 2))) == 1.0
