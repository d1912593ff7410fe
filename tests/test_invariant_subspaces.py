"""Iterations that a symmetry of the data could hold in a subspace that misses the top: the dense value comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import esssim as es
from esssim import flow, spectra
from esssim.curvature import BlockCurvature, DenseCurvature, LowRankCurvature, OperatorCurvature
from esssim.spectra import lanczos, leading
from esssim.statistics import perron
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.mean_square import top_of_pencil
from esssim.statistics.perron import PerronMatrix
from tests import oracles
from tests.test_batched_lanczos import Known

SCHEMES = (0.02, 0.3, 1.0)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def together(*blocks: np.ndarray) -> np.ndarray:
    """Block diagonal."""
    whole = np.zeros(np.sum([block.shape for block in blocks], axis=0))
    row = column = 0
    for block in blocks:
        whole[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return whole


def mirrored(rows: np.ndarray) -> np.ndarray:
    """Rows in pairs ±a, whose sum is zero."""
    return np.stack((rows, -rows), axis=1).reshape(-1, rows.shape[1])


def symmetric(size: int, seed: int = 0) -> np.ndarray:
    root = normal(size, size, seed=seed)
    return root + root.T


FACTORS = {
    "a block of pairs": together(10 * mirrored(normal(10, 30)), normal(60, 60, seed=1)),
    "pairs alone": mirrored(normal(10, 30)),
    "an orthogonal design": 3 * np.eye(90),
    "twice an orthogonal design": np.vstack((np.eye(50), np.eye(50))),
    "repeated rows": np.repeat(normal(9, 30), 12, axis=0),
    "equal rows": np.ones((100, 4)),
    "rows of zeros": np.vstack((normal(30, 20), np.zeros((80, 20)))),
    "equal blocks": together(*[normal(12, 12)] * 10),
    "a Hadamard design": scipy.linalg.hadamard(128)[:, :100].astype(float),
    "one clear row": together(np.full((1, 3), 9.0), normal(100, 40)),
}
OPERATORS = {
    "blocks": together(symmetric(40), 3 * symmetric(60, 1)),
    "equal blocks": together(*[symmetric(30)] * 4),
    "identity": np.eye(80),
    "two eigenvalues": np.diag(np.r_[np.full(40, 1.0), np.full(60, 2.0)]),
    "rank one": np.ones((90, 90)),
    "zero at the top": -np.diag(np.r_[np.ones(40), np.zeros(60)]),
    "minus the identity": -np.eye(100),
    "one beside zeros": np.diag(np.r_[1.0, np.zeros(99)]),
    "small and of two eigenvalues": -np.diag(np.r_[np.ones(10), np.zeros(10)]),
}


def starts(matrix: np.ndarray) -> dict[str, np.ndarray | None]:
    """Vectors that span an invariant subspace by themselves or with a few others, and none."""
    n = len(matrix)
    vectors = np.linalg.eigh(matrix)[1]
    inside = np.zeros(n)
    inside[: n // 10] = 1.0
    return {"none": None, "zero": np.zeros(n), "ones": np.ones(n), "unit": np.eye(n)[0], "inside a block": inside,
            "lowest": vectors[:, 0], "a sum of two": vectors[:, 0] + vectors[:, n // 2]}  # fmt: skip


class TestSeveralLeadingPairs:
    @pytest.mark.parametrize("count", [1, 4, 6, 15])
    @pytest.mark.parametrize("name", FACTORS)
    def test_values_and_vectors_are_the_dense_ones(self, name: str, count: int) -> None:
        factors = FACTORS[name]
        values, vectors = spectra.leading_pairs(factors, count)
        exact = np.linalg.eigvalsh(factors @ factors.T)
        np.testing.assert_allclose(values, exact[-count:], rtol=1e-12, atol=1e-12 * exact[-1])
        np.testing.assert_allclose(vectors.T @ vectors, np.eye(count), atol=1e-13)
        residuals = factors @ (factors.T @ vectors) - vectors * values
        assert np.linalg.norm(residuals, axis=0).max() <= 1.1e-10 * exact[-1]

    @pytest.mark.parametrize("name", FACTORS)
    def test_in_small_blocks_without_help_of_the_dense_route(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Multiplicities far above the width of a block are all found: copies come from the second starts."""
        monkeypatch.setattr(leading, "BLOCK", 2)
        monkeypatch.setattr(leading, "SPARE", 12)
        factors = FACTORS[name]
        values, _ = spectra.leading_pairs(factors, 14)
        exact = np.linalg.eigvalsh(factors @ factors.T)
        np.testing.assert_allclose(values, exact[-14:], rtol=1e-12, atol=1e-12 * exact[-1])

    @pytest.mark.parametrize("scale", [1e-150, 1e-80, 1e150])
    def test_at_any_scale(self, scale: float) -> None:
        factors = FACTORS["a block of pairs"]
        values, _ = perron.leading_eigenvectors(factors * scale, 3)
        exact = np.linalg.eigvalsh(factors @ factors.T)[-3:]
        np.testing.assert_allclose(values / scale / scale, exact, rtol=1e-12)

    def test_no_more_than_the_rank(self) -> None:
        values, vectors = perron.leading_eigenvectors(FACTORS["rows of zeros"], 40)
        assert len(values) == vectors.shape[1] == 20

    def test_slow_spectra_restart(self) -> None:
        factors = np.diag(np.linspace(1.0, 2.0, 600))
        values, _ = spectra.leading_pairs(factors, 10)
        np.testing.assert_allclose(values, np.linspace(1.0, 2.0, 600)[-10:] ** 2, rtol=1e-11)

    def test_no_convergence_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leading, "MAX_CYCLES", 2)
        with pytest.raises(RuntimeError, match="at 10 leading eigenvalues up to"):
            spectra.leading_pairs(np.diag(np.linspace(1.0, 2.0, 600)), 10)


class TestLargestEigenvalue:
    @pytest.mark.parametrize("name", OPERATORS)
    def test_from_any_start_and_in_any_units(self, name: str) -> None:
        matrix = OPERATORS[name]
        exact = np.linalg.eigvalsh(matrix)[-1]
        for start in starts(matrix).values():
            for scale in (1.0, 1e-200, 1e200, 1e300):
                scaled = matrix * scale
                value, vector = spectra.lanczos_largest_eigenvalue(lambda v, a=scaled: a @ v, len(matrix), start=start)
                assert value / scale == pytest.approx(exact, rel=1e-12, abs=1e-11 * np.abs(matrix).max())
                residual = np.linalg.norm(matrix @ vector - exact * vector)
                assert residual <= 1e-9 * np.linalg.norm(matrix, 2)

    @pytest.mark.parametrize("name", OPERATORS)
    def test_from_a_guess(self, name: str) -> None:
        matrix = OPERATORS[name]
        for start in starts(matrix).values():
            if start is not None:
                vector = spectra.lanczos_from(start, lambda v: matrix @ v, 1e-8)
                assert vector @ matrix @ vector == pytest.approx(
                    np.linalg.eigvalsh(matrix)[-1], rel=1e-9, abs=1e-8 * np.abs(matrix).max()
                )

    @pytest.mark.parametrize("name", OPERATORS)
    def test_on_many_batches_at_once(self, name: str) -> None:
        matrix = OPERATORS[name]
        for start in starts(matrix).values():
            found = spectra.lanczos_top_pairs(Known(matrix[None], 1e-8), np.array([[0]]), start=start)
            assert found.values[0] == pytest.approx(
                np.linalg.eigvalsh(matrix)[-1], rel=1e-12, abs=1e-12 * np.abs(matrix).max()
            )

    @pytest.mark.parametrize("tolerance", [1e-8, 1e-6, 1e-4])
    def test_a_guess_at_the_second_eigenvector_is_left_whatever_the_tolerance(self, tolerance: float) -> None:
        spectrum = np.r_[np.linspace(-1.0, 0.9, 998), 1.0, 1.05]
        basis = np.linalg.qr(normal(1000, 1000))[0]
        matrix = (basis * spectrum) @ basis.T
        vector = spectra.lanczos_from(basis[:, -2], lambda v: matrix @ v, tolerance)
        assert vector @ matrix @ vector == pytest.approx(1.05, rel=2 * tolerance)
        found = spectra.lanczos_top_pairs(Known(matrix[None], tolerance), np.array([[0]]), start=basis[:, -2])
        assert found.values[0] == pytest.approx(1.05, rel=2 * tolerance)

    def test_denormal_entries(self) -> None:
        matrix = together(symmetric(20), 2 * symmetric(30, 1)) * 1e-308
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 50)
        assert value * 2.0**500 == pytest.approx(np.linalg.eigvalsh(matrix * 2.0**500)[-1], rel=1e-9)

    def test_products_in_single_precision(self) -> None:
        matrix = OPERATORS["blocks"].astype(np.float32)
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v.astype(np.float32), 100)
        assert value == pytest.approx(np.linalg.eigvalsh(matrix.astype(float))[-1], rel=1e-6)
        matrix[0, 1] += 30.0
        with pytest.raises(ValueError, match="operator must be symmetric"):
            spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v.astype(np.float32), 100)

    @pytest.mark.parametrize("name", OPERATORS)
    def test_the_same_bits_each_time(self, name: str) -> None:
        matrix = OPERATORS[name]
        found = [spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, len(matrix)) for _ in range(3)]
        assert len({value for value, _ in found}) == len({vector.tobytes() for _, vector in found}) == 1

    def test_a_second_start_corrects_a_first_that_missed_the_top(self, monkeypatch: pytest.MonkeyPatch) -> None:
        matrix = OPERATORS["blocks"]
        values, vectors = np.linalg.eigh(matrix)

        def lower(operator: Any, start: np.ndarray, tolerance: float) -> tuple[float, np.ndarray]:
            """An eigenvector, with no residual, but not that of the top."""
            return float(vectors[:, 40] @ operator.matvec(vectors[:, 40])), vectors[:, 40]

        monkeypatch.setattr(lanczos, "_restarted", lower)
        value, _ = spectra.lanczos_largest_eigenvalue(lambda v: matrix @ v, 100)
        assert value == pytest.approx(values[-1], rel=1e-12)


@st.composite
def designs(draw: Any) -> np.ndarray:
    """Rows (n, p) with structure: blocks, pairs ±a, repetitions, orthogonal or equal rows, zeros; hardly coupled or not."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    first, second = (rng.standard_normal(draw(st.tuples(st.integers(1, 5), st.integers(1, 4)))) for _ in range(2))
    size = draw(st.sampled_from([0.2, 1.0, 3.0]))
    kinds: dict[str, Callable[[], np.ndarray]] = {
        "blocks": lambda: together(first, size * second),
        "pairs": lambda: together(mirrored(first), size * second),
        "repeated": lambda: together(np.repeat(first, 2, axis=0), size * second),
        "orthogonal": lambda: together(np.eye(3), size * np.eye(2)),
        "equal rows": lambda: together(np.ones(first.shape), size * np.ones(second.shape)),
        "zeros": lambda: together(np.zeros((2, 1)), first),
        "equal blocks": lambda: together(first, first),
    }
    rows = kinds[draw(st.sampled_from(sorted(kinds)))]()
    return rows + draw(st.sampled_from([0.0, 1e-3])) * rng.standard_normal(rows.shape)


class TestMeanSquareSharpness:
    @given(designs(), st.sampled_from(SCHEMES))
    def test_both_routes_are_the_dense_pencil(self, rows: np.ndarray, c: float) -> None:
        hessians = rows[:, :, None] * rows[:, None, :]
        exact = oracles.dense_pencil_top(hessians, c)
        assert PerronMatrix.of(rows, c).edge()[0] == pytest.approx(exact, rel=2e-8)
        assert top_of_pencil(LowRankCurvature(rows), c).value == pytest.approx(exact, rel=2e-8)
        assert top_of_pencil(DenseCurvature(hessians), c).value == pytest.approx(exact, rel=1e-9)
        found = top_of_pencil(LowRankCurvature(rows), c, certify=True)
        assert found.lower <= exact * (1 + 1e-9)
        assert exact * (1 - 1e-9) <= found.upper

    @given(designs(), st.sampled_from(SCHEMES))
    def test_blocks_of_two_rows(self, rows: np.ndarray, c: float) -> None:
        blocks = rows[: 2 * (len(rows) // 2)].reshape(-1, 2, rows.shape[1])
        if not blocks.any():
            return
        exact = oracles.dense_pencil_top(blocks.transpose(0, 2, 1) @ blocks, c)
        assert BlockPerron.of_blocks(blocks, c).edge()[0] == pytest.approx(exact, rel=2e-8)
        assert top_of_pencil(BlockCurvature(blocks), c).value == pytest.approx(exact, rel=2e-8)

    def test_an_eigenvector_of_one_block_is_looked_at_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the iteration ends in a block that is not the top, the raised vector leads out of it."""
        rows = together(np.full((4, 1), 1.0), np.full((4, 1), 1.2))
        exact = oracles.dense_pencil_top(rows[:, :, None] * rows[:, None, :], 0.3)
        one_block = np.r_[np.ones(4), np.zeros(4)]
        monkeypatch.setattr(PerronMatrix, "first_vector", lambda self: one_block)
        assert PerronMatrix.of(rows, 0.3).edge()[0] == pytest.approx(exact, rel=1e-10)

    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    def test_critical_step_size_of_an_orthogonal_design(self, momentum: float) -> None:
        """Each direction by itself: SGD on ½λw(θ)² with weights w of mean 1/n, whose threshold is a scalar recursion."""
        lengths = np.r_[np.full(4, 2.0), np.full(3, 1.0)]
        problem = es.LinearRegression(np.diag(lengths), np.zeros(7))
        alone = es.LinearRegression(np.diag(np.r_[2.0, np.zeros(6)]), np.zeros(7))
        sampling = es.WithoutReplacement(2)
        found, expected = (
            es.stability.critical_step_size(each, np.zeros(7), sampling, momentum=momentum) for each in (problem, alone)
        )
        assert found == pytest.approx(expected, rel=1e-10)


def test_flow_in_leading_modes_of_separate_blocks() -> None:
    rows = together(10 * mirrored(normal(10, 30)), normal(60, 60, seed=1))
    weights = np.abs(normal(90, seed=2))
    network, sampling = es.DiagonalLinearNetwork(rows, rows @ weights), es.WithoutReplacement(4)
    theta = np.concatenate((np.sqrt(weights), np.sqrt(weights)))
    exact = es.mean_square_sharpness(network, theta, sampling, hessian="gauss_newton")
    found = flow.solve(
        network, theta, step_size=1.0 / exact, sampling=sampling, n_steps=4, label_noise=0.01, n_records=2,
        rank=15, record=("sharpness", "mean_square_sharpness_gauss_newton"),
    )  # fmt: skip
    assert found["sharpness"].values[0] == pytest.approx(es.sharpness(network, theta), rel=1e-10)
    assert found["mean_square_sharpness_gauss_newton"].values[0] == pytest.approx(exact, rel=1e-4)


class TestNetworksOfSeparateBlocks:
    def test_minibatch_sharpness_by_products_is_the_dense_one(self) -> None:
        """Batches whose top lies in the one block or in the other, each from the pilot of them all."""
        rows = np.stack([together(symmetric(30, seed) * (seed % 3), symmetric(30, seed + 50)) for seed in range(24)])
        curvature: OperatorCurvature = Known(rows, 1e-8)
        batches = np.random.default_rng(0).integers(0, 24, (40, 2))
        exact = np.linalg.eigvalsh(rows[batches].mean(axis=1))[:, -1]
        np.testing.assert_allclose(spectra.largest_eigenvalues(curvature, batches), exact, rtol=1e-12)
