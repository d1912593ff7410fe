"""Samples of several rows: the positive map on blocks against the dense pencil, and its enclosure."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import esssim as es
from esssim.curvature import BlockCurvature
from esssim.spectra import mean_largest_eigenvalue
from esssim.statistics import block_perron
from esssim.statistics.block_perron import BlockPerron
from esssim.statistics.mean_square import top_of_pencil
from esssim.statistics.perron import PerronMatrix
from tests import oracles

SHAPES = ((5, 2, 4), (4, 3, 20), (6, 1, 3), (3, 2, 2))
SCHEMES = (es.WithoutReplacement(1), es.WithoutReplacement(2), es.WithReplacement(2))
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
schemes = pytest.mark.parametrize("sampling", SCHEMES, ids=repr)


def factors_of(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape)


def dense_top(factors: np.ndarray, c: float) -> float:
    return oracles.dense_pencil_top(factors.transpose(0, 2, 1) @ factors, c)


@shapes
@schemes
def test_edge_is_the_top_of_the_dense_pencil(shape: tuple[int, int, int], sampling: es.Sampling) -> None:
    factors, c = factors_of(shape), sampling.variance_coefficient(shape[0])
    perron, exact = BlockPerron.of_blocks(factors, c), dense_top(factors, c)
    value, blocks = perron.edge(tolerance=1e-13)
    assert value == pytest.approx(exact, rel=1e-12)
    assert perron.n_samples == shape[0]
    # The Perron blocks are positive semidefinite, and fixed by κ₂Ψ at the edge.
    cubes = blocks.reshape(shape[0], shape[1], shape[1])
    assert np.linalg.eigvalsh(cubes).min() >= 0
    np.testing.assert_allclose(perron.kappa_2 * perron.at(2 / value)(blocks), blocks, atol=1e-11 * np.abs(blocks).max())
    lower, upper = perron.enclosure(value, blocks)
    assert lower <= exact * (1 + 1e-13)
    assert exact * (1 - 1e-13) <= upper
    assert upper - lower <= 1e-9 * value


@shapes
@schemes
def test_enclosure_holds_for_poor_blocks(shape: tuple[int, int, int], sampling: es.Sampling) -> None:
    """Collatz–Wielandt: any positive definite blocks bound the edge, at any guess of it, and by the exact ratio."""
    (n, rows, _), factors = shape, factors_of(shape)
    c = sampling.variance_coefficient(n)
    perron, exact = BlockPerron.of_blocks(factors, c), dense_top(factors, c)
    roots = np.random.default_rng(4).standard_normal((n, rows, rows))
    poor = roots @ roots.transpose(0, 2, 1) + 0.1 * np.eye(rows)
    for guess in (0.9 * exact, exact, 1.2 * exact):
        lower, upper = perron.enclosure(guess, poor.ravel())
        assert lower <= exact * (1 + 1e-13)
        assert exact * (1 - 1e-13) <= upper
    image = perron.at(2 / exact)(poor.ravel())
    ratios = [
        scipy.linalg.eigh(i, x, eigvals_only=True)[-1] for i, x in zip(image.reshape(poor.shape), poor, strict=True)
    ]
    assert perron.ratio_bound(image, poor.ravel()) == pytest.approx(max(ratios), rel=1e-11)


def test_blocks_on_the_border_of_the_cone_bound_nothing_until_they_are_raised() -> None:
    perron = BlockPerron.of_blocks(factors_of((4, 2, 5)), 0.2)
    border = np.tile(np.diag([1.0, 0.0]).ravel(), 4)
    assert perron.ratio_bound(perron.at(0.01)(border), border) == np.inf
    assert np.isfinite(perron.ratio_bound(perron.at(0.01)(border), 0.5 * border + 0.25 * perron.first_vector()))
    np.testing.assert_allclose(
        perron.raised(2 * border, 0.25).reshape(4, 2, 2), np.tile(np.diag([2.5, 0.5]), (4, 1, 1)), rtol=1e-15
    )


def test_positive_blocks_have_the_magnitudes_of_their_eigenvalues() -> None:
    perron = BlockPerron.of_blocks(factors_of((2, 2, 5)), 0.2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    given, wanted = (np.tile(turn @ np.diag(d) @ turn.T, (2, 1, 1)) for d in ((-3.0, 2.0), (3.0, 2.0)))
    np.testing.assert_allclose(perron.positive(given.ravel()), wanted.ravel(), rtol=1e-14)


@schemes
def test_one_row_a_sample_is_the_perron_matrix(sampling: es.Sampling) -> None:
    factors, c = factors_of((6, 1, 3)), sampling.variance_coefficient(6)
    blocks, plain = BlockPerron.of_blocks(factors, c), PerronMatrix.of(factors[:, 0], c)
    weights = np.random.default_rng(5).random(6)
    np.testing.assert_allclose(blocks.at(0.05)(weights), plain.at(0.05)(weights), rtol=1e-12)
    assert blocks.edge()[0] == pytest.approx(plain.edge()[0], rel=1e-13)


def test_diagonals_and_their_cone() -> None:
    blocks, plain = BlockPerron.of_blocks(factors_of((4, 2, 5)), 0.2), PerronMatrix.of(factors_of((4, 1, 5))[:, 0], 0.2)
    rng = np.random.default_rng(6)
    for perron, c in ((blocks, 2), (plain, 1)):
        size, rank = perron.eigenvectors.shape
        root = rng.standard_normal((size, size))
        images = rng.standard_normal((size, rank))
        cut = [slice(c * i, c * i + c) for i in range(4)]
        product = images @ perron.eigenvectors.T
        expected = np.ravel([(product[k, k] + product[k, k].T) / 2 for k in cut])
        np.testing.assert_allclose(perron.folded(images), expected, rtol=1e-12, atol=1e-14)
        inside = np.ravel([(root @ root.T)[k, k] for k in cut])
        assert perron.is_inside(inside)
        assert perron.is_inside(1e-9 * inside)
        assert not perron.is_inside(np.concatenate((inside[: c * c], 0 * inside[c * c :])))
        assert not perron.is_inside(np.concatenate((inside[: c * c], -inside[c * c :])))
    # One negative eigenvalue of one block is enough, whatever the other one is.
    assert not blocks.is_inside(np.ravel([np.eye(2), np.eye(2), [[1.0, 2.0], [2.0, 1.0]], np.eye(2)]))


@shapes
def test_the_curvature_picks_its_route(shape: tuple[int, int, int]) -> None:
    """Through `top_of_pencil`, at any scale, against the dense pencil; at c = 0 the sharpness; 0 where all is 0."""
    factors = factors_of(shape)
    for c in (0.0, 0.3, 1.0):
        exact = dense_top(factors, c)
        for scale in (1.0, 1e-60, 1e70):
            found = top_of_pencil(BlockCurvature(factors * scale), c, certify=True)
            assert found.value == pytest.approx(exact * scale**2, rel=1e-11)
            assert found.lower <= found.value * (1 + 1e-13) <= found.upper * (1 + 2e-13)
    assert dense_top(factors, 0.0) == pytest.approx(np.linalg.eigvalsh(BlockCurvature(factors).mean())[-1], rel=1e-12)
    assert top_of_pencil(BlockCurvature(0.0 * factors), 0.3) == (0.0, 0.0, 0.0)


@shapes
def test_pointwise_statistics_of_samples_of_several_rows(shape: tuple[int, int, int]) -> None:
    """λ_max(H) and vᵀHv without H, against H: more rows than parameters, and fewer."""
    curvature = BlockCurvature(factors_of(shape))
    hessian = np.mean([a.T @ a for a in curvature.factors], axis=0)
    assert mean_largest_eigenvalue(curvature) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-13)
    vectors = np.random.default_rng(6).standard_normal((3, shape[2]))
    expected = [v @ hessian @ v for v in vectors]
    np.testing.assert_allclose(curvature.mean_quadratic_forms(vectors), expected, rtol=1e-13)


def test_either_side_may_be_large_but_not_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_perron, "LARGEST_GRAM", 8)
    for shape in ((5, 2, 4), (2, 2, 30)):
        factors = factors_of(shape)
        assert top_of_pencil(BlockCurvature(factors), 0.3).value == pytest.approx(dense_top(factors, 0.3), rel=1e-10)
    with pytest.raises(ValueError, match="n_samples·n_outputs = 10 and n_params = 9, one of them at most 8"):
        top_of_pencil(BlockCurvature(factors_of((5, 2, 9))), 0.3)


def test_a_vector_is_raised_by_a_fraction_of_its_size() -> None:
    raised = PerronMatrix.of(np.eye(3), 0.2).raised(np.array([0.0, 1.0, 4.0]), 0.25)
    np.testing.assert_allclose(raised, [1.0, 2.0, 5.0], rtol=1e-15)
