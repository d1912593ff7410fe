"""Lanczos on many batches at once, on matrices that are known: no torch needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from esssim.curvature import OperatorCurvature
from esssim.spectra import batched_lanczos as batched
from esssim.spectra import lanczos_top_pairs, largest_eigenvalues
from esssim.spectra import largest as batches_module
from esssim.spectra.lanczos import _from_a_second_start
from esssim.spectra.largest import prepare


class Known(OperatorCurvature):
    """Per-sample matrices (n, p, p) that are used by their products only; counts them."""

    def __init__(self, matrices: np.ndarray, tolerance: float = 1e-9) -> None:
        self.matrices, self.tolerance, self.products = matrices, tolerance, 0
        self.n_samples, self.n_params = matrices.shape[:2]

    def bound(self, batches: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        means = self.matrices[batches].mean(axis=1)

        def product(vectors: np.ndarray) -> np.ndarray:
            self.products += len(vectors)
            return np.einsum("mij,mj->mi", means, vectors)

        return product

    def images(self, vectors: np.ndarray) -> np.ndarray:
        return np.einsum("nij,...j->ni" if vectors.ndim == 1 else "nij,nj->ni", self.matrices, vectors)


ALONE = np.arange(3)[:, None]


def with_spectrum(*spectra: np.ndarray, seed: int = 0) -> np.ndarray:
    """A matrix with each spectrum, in a random basis of its own."""
    rng = np.random.default_rng(seed)
    bases = [np.linalg.qr(rng.standard_normal((len(s), len(s))))[0] for s in spectra]
    return np.stack([(q * s) @ q.T for q, s in zip(bases, spectra, strict=True)])


def check(curvature: Known, batches: np.ndarray) -> None:
    found = lanczos_top_pairs(curvature, batches)
    means = curvature.matrices[batches].mean(axis=1)
    exact = np.linalg.eigvalsh(means)[:, -1]
    residuals = np.linalg.norm(
        np.einsum("mij,mj->mi", means, found.vectors) - found.values[:, None] * found.vectors, axis=1
    )
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-12 * np.abs(means).max())
    rounding = 1e-13 * np.abs(means).max()
    assert (residuals <= 1.01 * curvature.tolerance * np.abs(found.values) + rounding).all()
    np.testing.assert_allclose(found.values, exact, rtol=1e-8, atol=rounding)


def test_random_matrices_of_any_signature() -> None:
    matrices = np.random.default_rng(0).standard_normal((6, 40, 40))
    check(Known(matrices + matrices.transpose(0, 2, 1)), np.array([[0, 1], [2, 3], [4, 4], [5, 0]]))


@pytest.mark.parametrize("power", [-900, -600, 600, 900])
def test_the_units_do_not_matter(power: int) -> None:
    """Matrices times 2ᵏ, whose squares are out of range: the same vectors, values times 2ᵏ to the last bit."""
    matrices = np.random.default_rng(1).standard_normal((3, 60, 60))
    matrices += matrices.transpose(0, 2, 1)
    found, scaled = lanczos_top_pairs(Known(matrices), ALONE), lanczos_top_pairs(Known(2.0**power * matrices), ALONE)
    np.testing.assert_allclose(scaled.values, 2.0**power * found.values, rtol=1e-14)
    np.testing.assert_allclose(scaled.residuals, 2.0**power * found.residuals, rtol=1e-3)
    np.testing.assert_allclose(scaled.vectors, found.vectors, atol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_a_second_start_finds_the_top_beside_the_first(size: int) -> None:
    """Where its few steps span all that is orthogonal to the vector that was found."""
    (matrix,) = with_spectrum(np.linspace(-3.0, 2.0, size), seed=size)
    values, vectors = np.linalg.eigh(matrix)
    for k in range(size):
        beside = np.delete(values, k).max()
        second = _from_a_second_start(lambda x: matrix @ x, vectors[:, k], np.random.default_rng(0))
        assert second == pytest.approx(beside, abs=1e-12)


def test_slow_spectra_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Top eigenvalues a thousandth apart in 300 dimensions, beside an easy batch: more products than a basis holds."""
    slow = np.linspace(0.0, 1.0, 300) ** 0.25
    easy = np.concatenate((np.zeros(299), [5.0]))
    curvature = Known(with_spectrum(slow, easy, -slow - 1.0))
    restarts = []
    restart = batched._Lanczos._restart
    monkeypatch.setattr(batched._Lanczos, "_restart", lambda self: restarts.append(self.size) or restart(self))
    check(curvature, ALONE)
    assert restarts
    assert set(restarts) == {batched.LARGEST_BASIS}


@pytest.mark.parametrize(
    "spectrum",
    [
        np.zeros(20),
        np.ones(20),
        np.concatenate((np.zeros(19), [2.0])),
        np.concatenate((np.zeros(18), [2.0, 2.0])),
        -np.arange(1.0, 21.0),
        np.array([3.0]),
        np.array([-1.0, 1.0]),
        np.concatenate((np.linspace(-1.0, 1.0, 150), 2.0 - 1e-7 * np.arange(10))),
    ],
    ids=["zero", "identity", "rank one", "degenerate top", "negative", "one dimension", "two dimensions", "cluster"],
)
def test_spectra_that_end_early(spectrum: np.ndarray) -> None:
    check(Known(with_spectrum(spectrum, 2 * spectrum, spectrum - 1.0)), ALONE)


def test_a_start_at_another_eigenvector_is_left() -> None:
    matrices = with_spectrum(np.arange(1.0, 61.0))
    values, vectors = np.linalg.eigh(matrices[0])
    found = lanczos_top_pairs(Known(matrices), np.array([[0]]), start=vectors[:, -2])
    assert found.values[0] == pytest.approx(values[-1], rel=1e-12)


def test_a_warm_start_saves_products() -> None:
    matrices = with_spectrum(np.linspace(0.0, 1.0, 200) ** 3)
    top = np.linalg.eigh(matrices[0])[1][:, -1]
    cold, warm = Known(matrices), Known(matrices)
    batch = np.array([[0]])
    first = lanczos_top_pairs(cold, batch)
    second = lanczos_top_pairs(warm, batch, start=top)
    assert second.values == pytest.approx(first.values, rel=1e-12)
    assert warm.products < cold.products / 1.5


def test_a_start_counts_by_its_direction_only() -> None:
    matrices = with_spectrum(np.linspace(0.0, 1.0, 200) ** 3)
    top = np.linalg.eigh(matrices[0])[1][:, -1]
    curvatures = {size: Known(matrices) for size in (1.0, 1e-6, 1e6)}
    for size, curvature in curvatures.items():
        lanczos_top_pairs(curvature, np.array([[0]]), start=size * top)
    assert len({curvature.products for curvature in curvatures.values()}) == 1
    # Without any direction, a random one.
    found = lanczos_top_pairs(Known(matrices), np.array([[0]]), start=np.zeros(200))
    assert found.values[0] == pytest.approx(1.0, rel=1e-12)


def test_the_batch_that_is_farthest_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "MAX_PRODUCTS", 1)
    easy, hard = np.array([1.0, *np.linspace(0.0, 0.3, 99)]), np.linspace(0.0, 1.0, 100)
    for order, worst in (((easy, hard, easy), 1), ((hard, easy, easy), 0)):
        with pytest.raises(RuntimeError, match=rf"of batch \[{worst}\]"):
            lanczos_top_pairs(Known(with_spectrum(*order), tolerance=1e-12), ALONE)


def test_chunks_and_the_pilot_change_no_digit_that_counts() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((80, 2, 60))
    curvature = Known(rows.transpose(0, 2, 1) @ rows)
    batches = rng.integers(0, 80, (40, 5))
    exact = np.linalg.eigvalsh(curvature.matrices[batches].mean(axis=1))[:, -1]
    for prepared in (curvature, prepare(curvature, 5, 40)):
        for chunk_numbers in (1, 10_000, 10**9):
            found = largest_eigenvalues(prepared, batches, chunk_numbers=chunk_numbers)
            np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_a_pilot_runs_for_many_batches_without_a_start() -> None:
    curvature = Known(with_spectrum(*np.random.default_rng(2).random((3, 30))))
    assert prepare(curvature, 2, batches_module.WORTH_A_PILOT - 1) is curvature
    piloted = prepare(curvature, 2, batches_module.WORTH_A_PILOT)
    assert isinstance(piloted, OperatorCurvature)
    top = np.linalg.eigh(curvature.matrices.mean(axis=0))[1][:, -1]
    assert piloted.start is not None
    assert abs(float(piloted.start @ top)) > 0.9
    assert prepare(piloted, 2, 10**6) is piloted


def test_structured_methods_are_those_of_the_matrices() -> None:
    """What a curvature of products offers beside λ_max, against plain sums."""
    rng = np.random.default_rng(2)
    matrices = rng.standard_normal((5, 7, 7))
    matrices += matrices.transpose(0, 2, 1)
    curvature, batches = Known(matrices), np.array([[0, 1], [2, 4]])
    basis, vectors = np.linalg.qr(rng.standard_normal((7, 3)))[0], rng.standard_normal((2, 7))
    np.testing.assert_allclose(curvature.mean(), matrices.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(curvature.batch_matrices(batches), matrices[batches].mean(axis=1), atol=1e-13)
    np.testing.assert_allclose(curvature.compressed(basis), basis.T @ matrices @ basis, atol=1e-13)
    np.testing.assert_allclose(curvature.traces(), np.trace(matrices, axis1=1, axis2=2), atol=1e-13)
    np.testing.assert_allclose(curvature.squared_norms(), (matrices**2).sum(axis=(1, 2)), rtol=1e-13)
    np.testing.assert_allclose(
        curvature.inner_products(matrices[0]), np.einsum("nij,ij->n", matrices, matrices[0]), atol=1e-12
    )
    forms = np.einsum("mi,mij,mj->m", vectors, matrices[batches].mean(axis=1), vectors)
    np.testing.assert_allclose(curvature.batch_quadratic_forms(batches, vectors), forms, atol=1e-12)
    np.testing.assert_allclose(
        curvature.mean_quadratic_forms(vectors),
        np.einsum("mi,ij,mj->m", vectors, matrices.mean(axis=0), vectors),
        atol=1e-12,
    )
    assert (curvature.smallest_eigenvalue_bounds() <= np.linalg.eigvalsh(matrices)[:, 0]).all()
    with pytest.raises(ValueError, match="too large for mean-square quantities of full Hessians"):
        curvature.mean_conjugation(np.eye(7))
