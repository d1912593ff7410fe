"""The leading eigenvalues of H and of the batch Hessians, against dense algebra and enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from numpy.testing import assert_allclose

import esssim as es
from esssim.statistics import leading
from esssim.testing import Case, strategies
from tests import oracles


def dense(matrix: np.ndarray) -> np.ndarray:
    """All eigenvalues, descending."""
    return np.linalg.eigvalsh(matrix)[::-1]


@given(case=strategies.cases())
def test_are_those_of_the_dense_hessian(case: Case) -> None:
    mean = case.normalised.mean(axis=0)
    for k in {1, case.problem.n_params}:
        found = es.top_eigenvalues(case.problem, case.theta, k)
        assert found.shape == (k,)
        assert_allclose(found / (case.hessian_scale or 1.0), dense(mean)[:k], rtol=1e-12, atol=1e-12)


@given(sampled=strategies.sampled_cases(max_samples=4))
def test_of_batches_are_means_over_all_batches(sampled: tuple[Case, es.Sampling]) -> None:
    case, sampling = sampled
    batches, probabilities = oracles.all_batches(case.problem.n_samples, sampling)
    each = np.linalg.eigvalsh(case.normalised[batches].mean(axis=1))[:, ::-1]
    k = min(3, case.problem.n_params)
    found = es.minibatch_top_eigenvalues(case.problem, case.theta, sampling, k)
    values = np.array([estimate.value for estimate in found]) / (case.hessian_scale or 1.0)
    assert_allclose(values, (probabilities @ each)[:k], rtol=1e-11, atol=1e-11)
    assert all(estimate.exact for estimate in found)


rng = np.random.default_rng(0)
WIDE = es.LinearRegression(rng.standard_normal((5, 40)), rng.standard_normal(5))
NETWORK = es.DiagonalLinearNetwork(rng.standard_normal((9, 100)), rng.standard_normal(9))


def test_first_is_the_sharpness_and_the_sum_is_the_trace() -> None:
    theta = rng.standard_normal(200)
    found = es.top_eigenvalues(NETWORK, theta, 200)
    assert found[0] == pytest.approx(es.sharpness(NETWORK, theta), rel=1e-12)
    assert found.sum() == pytest.approx(np.trace(NETWORK.hessian(theta)), rel=1e-10)
    assert (np.diff(found) <= 0).all()
    mini = es.minibatch_top_eigenvalues(NETWORK, theta, es.WithoutReplacement(2), 1)[0]
    assert mini.value == pytest.approx(
        es.minibatch_sharpness(NETWORK, theta, es.WithoutReplacement(2)).value, rel=1e-12
    )


def test_beyond_the_rank_they_are_zero() -> None:
    found = es.top_eigenvalues(WIDE, np.zeros(40), 8)
    gram = dense(WIDE.inputs @ WIDE.inputs.T / 5)
    assert_allclose(found, [*gram, 0.0, 0.0, 0.0], rtol=1e-12, atol=1e-13)


def test_large_ones_come_from_products_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of a multiple eigenvalue included: eye samples have one of multiplicity nine."""
    repeated = es.LinearRegression(np.eye(9, 200) * 1.5, np.ones(9))
    theta = rng.standard_normal(200)
    samples = rng.standard_normal((3, 200, 200))
    quadratic = es.Quadratic(samples + samples.transpose(0, 2, 1), np.zeros((3, 200)))
    doubled = es.DiagonalLinearNetwork(np.repeat(NETWORK.inputs, 2, axis=1)[:, :100], NETWORK.targets)
    for problem in (NETWORK, doubled, quadratic, repeated):
        known = dense(problem.hessian(theta))[:6]
        monkeypatch.setattr(leading, "DENSE_LIMIT", 100)
        assert_allclose(es.top_eigenvalues(problem, theta, 6), known, rtol=1e-9, atol=1e-9 * known[0])
        monkeypatch.undo()


def test_all_come_from_the_same_batches_in_chunks_of_any_size() -> None:
    theta, sampling = rng.standard_normal(200), es.WithoutReplacement(3)
    options = {"n_batches": 20, "seed": 7}
    found = es.minibatch_top_eigenvalues(NETWORK, theta, sampling, 3, **options)
    one = es.minibatch_sharpness(NETWORK, theta, sampling, draws="uniform", **options)
    assert found[0].value == pytest.approx(one.value, rel=1e-10)
    assert found[0].standard_error == pytest.approx(one.standard_error, rel=1e-7)
    for chunk in (1, 7):
        again = es.minibatch_top_eigenvalues(NETWORK, theta, sampling, 3, chunk_size=chunk, **options)
        assert_allclose([e.value for e in again], [e.value for e in found], rtol=1e-12)
    assert es.minibatch_top_eigenvalues(NETWORK, theta, sampling, 2, **options) == found[:2]


@pytest.mark.parametrize("k", [0, 41, 1.5])
def test_bad_k(k: float) -> None:
    message = r"k must be an integer of at least 1" if k != 41 else r"k must be between 1 and n_params = 40, got 41"
    with pytest.raises(ValueError, match=message):
        es.top_eigenvalues(WIDE, np.zeros(40), k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        es.minibatch_top_eigenvalues(WIDE, np.zeros(40), es.WithoutReplacement(2), k)  # type: ignore[arg-type]


def test_of_torch_networks() -> None:
    torch = pytest.importorskip("torch")
    from esssim.bridge import TorchProblem, mlp

    module = mlp(6, (45,), 1, seed=0)  # 361 parameters: products with H alone
    inputs, targets = rng.standard_normal((4, 6)), rng.standard_normal(4)
    problem = TorchProblem(module, torch.tensor(inputs), torch.tensor(targets)[:, None], tolerance=1e-8)
    theta = problem.theta0
    known = dense(problem.hessian(theta))
    assert_allclose(es.top_eigenvalues(problem, theta, 5), known[:5], rtol=1e-6, atol=1e-7 * known[0])
    batches, probabilities = oracles.all_batches(4, es.WithoutReplacement(3))
    each = np.array([dense(problem.hessian(theta, batch)) for batch in batches])
    found = es.minibatch_top_eigenvalues(problem, theta, es.WithoutReplacement(3), 2)
    assert_allclose([e.value for e in found], (probabilities @ each)[:2], rtol=1e-6)
