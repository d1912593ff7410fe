"""The Perron matrix of rank-one samples against the pencil that it replaces, dense and by Lanczos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, given
from hypothesis import strategies as st

import esssim as es
from esssim.curvature import LowRankCurvature
from esssim.statistics import mean_square
from esssim.statistics.mean_square import Pencil, top_of_pencil, tops_of_pencil
from esssim.statistics.perron import PerronMatrix
from esssim.testing import strategies
from tests import oracles

SHAPES = ((5, 2), (4, 6), (6, 6), (12, 3))
SCHEMES = (es.WithoutReplacement(1), es.WithoutReplacement(3), es.WithReplacement(1), es.WithReplacement(3))
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
schemes = pytest.mark.parametrize("sampling", SCHEMES, ids=lambda s: f"{type(s).__name__}({s.batch_size})")


def rows(n: int, p: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, p))


def dense_pencil_top(factors: np.ndarray, c: float) -> float:
    return oracles.dense_pencil_top(factors[:, :, None] * factors[:, None, :], c)


def lanczos_top(factors: np.ndarray, c: float, monkeypatch: pytest.MonkeyPatch) -> float:
    """The same route as for samples of full rank: the Perron matrix is kept out of it, and the formed pencil."""
    monkeypatch.setattr(mean_square, "perron_of", lambda curvature, c: None)
    monkeypatch.setattr(mean_square, "SMALL_RANK", 0)
    value = top_of_pencil(LowRankCurvature(factors), c).value
    monkeypatch.undo()
    return value


@shapes
@schemes
def test_edge_is_the_top_of_the_dense_pencil(shape: tuple[int, int], sampling: es.Sampling) -> None:
    factors, c = rows(*shape), sampling.variance_coefficient(shape[0])
    value, _ = PerronMatrix.of(factors, c).edge()
    assert value == pytest.approx(dense_pencil_top(factors, c), rel=1e-12)


@pytest.mark.parametrize("shape", [(9, 1), (40, 3), (150, 12), (200, 13)], ids=str)
@pytest.mark.parametrize("grades", [0.0, 4.0])
@pytest.mark.parametrize("c", [1.0, 0.2, 1e-3])
def test_the_pencil_of_few_features_is_that_of_lanczos(
    shape: tuple[int, int], grades: float, c: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formed up to rank 12, Lanczos from 13 on; rows of equal size, and of sizes over four decades."""
    factors = rows(*shape) * np.logspace(0, -grades, shape[1])
    found = top_of_pencil(LowRankCurvature(factors), c).value
    assert found == pytest.approx(lanczos_top(factors, c, monkeypatch), rel=1e-12)
    if shape[1] <= 3:
        assert found == pytest.approx(dense_pencil_top(factors, c), rel=1e-12)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 2)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-75, 1e75])
def test_several_schemes_share_one_factorisation(shape: tuple[int, int], scale: float) -> None:
    factors, coefficients = rows(*shape), (1.0, 0.25, 0.02, 0.0)
    found = tops_of_pencil(LowRankCurvature(scale * factors), coefficients)
    expected = [scale**2 * dense_pencil_top(factors, c) for c in coefficients]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_start_of_one_scheme_does_not_decide_the_next() -> None:
    # Two blocks that no sample joins: for single samples the long rows decide, for large batches the many.
    many = np.tile([[1.0, 0.0]], (40, 1)) * np.linspace(1.0, 1.5, 40)[:, None]
    factors = np.vstack([many, [[0.0, 8.0]]])
    coefficients = (1.0, 0.3, 0.003)
    expected = [dense_pencil_top(factors, c) for c in coefficients]
    for order in (coefficients, coefficients[::-1]):
        found = dict(zip(order, tops_of_pencil(LowRankCurvature(factors), order), strict=True))
        np.testing.assert_allclose([found[c] for c in coefficients], expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (60, 60)], ids=str)
@pytest.mark.parametrize("b", [1, 2, 8, 19])
def test_edge_equals_lanczos(shape: tuple[int, int], b: int, monkeypatch: pytest.MonkeyPatch) -> None:
    factors, c = rows(*shape), es.WithoutReplacement(b).variance_coefficient(shape[0])
    value, _ = PerronMatrix.of(factors, c).edge()
    assert value == pytest.approx(lanczos_top(factors, c, monkeypatch), rel=1e-10)


@shapes
@schemes
def test_matrix_by_its_definition(shape: tuple[int, int], sampling: es.Sampling) -> None:
    factors = rows(*shape)
    n, c = shape[0], sampling.variance_coefficient(shape[0])
    perron = PerronMatrix.of(factors, c)
    assert perron.kappa_1 == pytest.approx((1 - c) / n**2, abs=1e-18)
    assert perron.kappa_2 == pytest.approx(c / n)
    eta = 1.3 / perron.edge()[0]
    left, singular, _ = np.linalg.svd(factors, full_matrices=False)
    values = singular**2
    kernel = (
        eta
        * np.outer(values, values)
        / (np.add.outer(values, values) / n - eta * perron.kappa_1 * np.outer(values, values))
    )
    psi = np.einsum("aj,cj,jk,ak,ck->ac", left, left, kernel, left, left)
    found = np.stack([perron.at(eta)(unit) for unit in np.eye(n)])
    np.testing.assert_allclose(found, psi, rtol=1e-10, atol=1e-12 * psi.max())
    # Entrywise non-negative and positive semidefinite, as a Schur product of such.
    assert psi.min() >= -1e-12 * psi.max()
    assert np.linalg.eigvalsh(psi).min() >= -1e-12 * psi.max()


@shapes
@schemes
def test_the_perron_eigenvalue_crosses_one_at_the_edge(shape: tuple[int, int], sampling: es.Sampling) -> None:
    factors = rows(*shape)
    perron = PerronMatrix.of(factors, sampling.variance_coefficient(shape[0]))
    value, vector = perron.edge()

    def top(factor: float) -> float:
        apply = perron.at(factor * 2.0 / value)
        return perron.kappa_2 * float(np.linalg.eigvalsh(np.stack([apply(unit) for unit in np.eye(shape[0])]))[-1])

    assert top(1.0) == pytest.approx(1.0, abs=1e-11)
    # Ψ grows at least as fast as η.
    assert top(1.01) >= 1.01 * (1 - 1e-11)
    assert top(0.99) <= 0.99 * (1 + 1e-11)
    assert vector.min() >= 0


@shapes
@schemes
def test_enclosure_holds_for_any_positive_vector(shape: tuple[int, int], sampling: es.Sampling) -> None:
    factors, c = rows(*shape), sampling.variance_coefficient(shape[0])
    perron, exact = PerronMatrix.of(factors, c), dense_pencil_top(factors, c)
    value, vector = perron.edge(tolerance=1e-14)
    lower, upper = perron.enclosure(value, vector)
    assert lower <= exact * (1 + 1e-13)
    assert exact * (1 - 1e-13) <= upper
    assert upper - lower <= 1e-12 * value
    # Far from the answer in either direction and with a poor vector, it is wide and still true.
    crude = np.linspace(1.0, 2.0, shape[0])
    for guess in (0.9 * value, value, 1.2 * value):
        lower, upper = perron.enclosure(guess, crude)
        assert lower <= exact * (1 + 1e-13)
        assert exact * (1 - 1e-13) <= upper


@given(st.data())
def test_public_function_against_brute_force(data: Any) -> None:
    case = data.draw(strategies.cases(kinds=("linear regression", "product", "difference 3")))
    n = case.problem.n_samples
    sampling = data.draw(strategies.samplings(n))
    jacobians = case.problem.sample_jacobians(case.theta, np.arange(n))
    scale = np.abs(jacobians).max()
    # A power of a tiny weight can leave the range of a double: there the Jacobian is zero.
    assume(scale > 1e-160)
    unit = jacobians / scale
    expected_d, expected_c = oracles.dense_pencil(unit[:, :, None] * unit[:, None, :], sampling)
    expected = float(scipy.linalg.eigh(expected_d, expected_c, eigvals_only=True)[-1])
    found = es.mean_square_sharpness(case.problem, case.theta, sampling, hessian="gauss_newton", certify=True)
    assert found.value / scale / scale == pytest.approx(expected, rel=1e-9)
    assert found.lower / scale / scale <= expected * (1 + 1e-9)
    assert found.upper / scale / scale >= expected * (1 - 1e-9)


@pytest.mark.parametrize("b", [1, 2, 7, 8])
def test_certified_intervals_are_narrow(b: int) -> None:
    problem = es.LinearRegression(rows(8, 5), np.zeros(8))
    found = es.mean_square_sharpness(problem, np.zeros(5), es.WithoutReplacement(b), certify=True)
    assert found.lower <= found.value <= found.upper
    assert found.upper - found.lower <= 1e-12 * found.value


def test_orthogonal_samples_in_closed_form() -> None:
    # Ψ is diagonal: M_aa = 1/(2/(λ_a n η) − κ₁) and κ₂M = 1 give Q = nλ_a(κ₁ + κ₂).
    lengths = np.array([3.0, 1.0, 2.0, 0.5])
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(3)):
        c = sampling.variance_coefficient(4)
        expected = 4 * lengths.max() ** 2 * ((1 - c) / 16 + c / 4)
        value, vector = PerronMatrix.of(np.diag(lengths), c).edge()
        assert value == pytest.approx(expected, rel=1e-13)
        np.testing.assert_allclose(vector / vector.max(), [1, 0, 0, 0], atol=1e-9)


@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (400, 13)], ids=str)
def test_route_is_chosen_by_the_shorter_vector(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def pencil(apply: Any, size: int, **options: Any) -> Any:
        sizes.append(size)
        return whole(apply, size, **options)

    def matrix(start: np.ndarray, *arguments: Any, **options: Any) -> Any:
        sizes.append(len(start))
        return guided(start, *arguments, **options)

    from esssim.statistics import perron

    whole, guided = mean_square.lanczos_largest_eigenvalue, perron.lanczos_from
    monkeypatch.setattr(mean_square, "lanczos_largest_eigenvalue", pencil)
    for module in (mean_square, perron):
        monkeypatch.setattr(module, "lanczos_from", matrix)
    top_of_pencil(LowRankCurvature(rows(*shape)), 0.3)
    # The pencil of few features is formed, and needs no search.
    assert set(sizes) == (set() if shape == (30, 4) else {min(shape[0], min(shape) ** 2)})


def test_pencil_agrees_on_the_eigenvalues() -> None:
    factors = rows(6, 4)
    pencil = Pencil.of(LowRankCurvature(factors))
    assert pencil is not None
    np.testing.assert_allclose(PerronMatrix.of(factors, 0.2).eigenvalues / 6, pencil.eigenvalues, rtol=1e-12)
