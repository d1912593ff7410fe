"""Leading modes of K that are carried from one evaluation of the flow to the next: against those found from nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import esssim as es
from esssim.flow.fast import FastMotion
from esssim.flow.mean import MeanLaw
from esssim.flow.slow import mean_velocity, push
from esssim.spectra import continued_pairs
from esssim.spectra import leading as module

RANK = 12


def factors(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((120, 90)) * np.exp(-np.arange(90) / 20.0)


@pytest.mark.parametrize("start", [None, "nearby", "unrelated"])
def test_continued_pairs_are_the_leading_eigenpairs(start: str | None) -> None:
    rows, rng = factors(0), np.random.default_rng(1)
    first = None
    if start == "nearby":
        first = continued_pairs(rows + 1e-3 * rng.standard_normal(rows.shape), RANK)[1]
    elif start == "unrelated":
        first = np.linalg.qr(rng.standard_normal((120, RANK + module.GUARDS)))[0]
    values, vectors = continued_pairs(rows, RANK, first, tolerance=1e-9)
    expected = np.linalg.eigvalsh(rows @ rows.T)[-RANK:]
    np.testing.assert_allclose(values[-RANK:], expected, rtol=1e-10)
    left = rows @ (rows.T @ vectors[:, -RANK:]) - vectors[:, -RANK:] * values[-RANK:]
    assert np.linalg.norm(left, axis=0).max() <= 1e-8 * expected[-1]


def law_and_start() -> tuple[MeanLaw, np.ndarray]:
    rng = np.random.default_rng(0)
    problem = es.Perceptron(rng.standard_normal((120, 6)), np.sign(rng.standard_normal(120)), 20)
    theta, sampling = problem.random_start(seed=1), es.WithoutReplacement(8)
    step_size = es.Ramp.of(1.4 / es.mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton"))
    return MeanLaw.of(problem, theta, sampling, step_size, 1000, 0.1, 0.0, RANK)


def test_the_flow_does_not_depend_on_where_its_modes_were_searched() -> None:
    law, theta = law_and_start()
    rng = np.random.default_rng(2)
    for _ in range(4):
        law.velocity(0.0, theta)
        theta = theta + 3e-3 * rng.standard_normal(len(theta))
    assert law.frame is not None
    point = law.at(theta)
    source = law.fast(0.0, point).source
    fresh = FastMotion.at(point, law.sampling, source, law.ramp.start, rank=RANK, with_tail=True)
    expected = mean_velocity(point, fresh, point.residuals)
    assert np.linalg.norm(law.velocity(0.0, theta) - expected) <= 1e-6 * np.linalg.norm(expected)


def test_a_search_that_is_continued_takes_no_diagonalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    law, theta = law_and_start()
    law.velocity(0.0, theta)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("all of K was diagonalised")

    monkeypatch.setattr(module.scipy.linalg, "eigh", refuse)
    law.velocity(0.0, theta * (1 + 1e-4))


def test_modes_off_the_solutions_are_enough_for_the_whole_velocity() -> None:
    """What half of them change of the push, relative to descent and push together."""
    law, theta = law_and_start()
    point = law.at(theta)
    pushes = [push(point, replace(law, rank=rank, frame=None).fast(0.0, point)) for rank in (RANK, RANK // 2)]
    whole = point.residuals @ point.jacobians + pushes[0]
    expected = np.linalg.norm(pushes[0] - pushes[1]) / np.linalg.norm(whole)
    assert law.error_of_rank(0.0, point) == pytest.approx(expected, rel=1e-3)


def test_continued_pairs_where_all_that_is_missing_lies_along_one_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The residuals of all vectors are then parallel: no rounding of theirs may be taken for a direction of its own."""
    rng = np.random.default_rng(3)
    held = RANK + module.GUARDS
    basis = np.linalg.qr(rng.standard_normal((120, 90)))[0]
    rows = basis * np.sqrt(np.linspace(1.0, 2.0, 90)) @ np.linalg.qr(rng.standard_normal((90, 90)))[0]
    # A space of `held` dimensions in that of one more eigenvector.
    start = basis[:, -held - 1 :] @ np.linalg.qr(rng.standard_normal((held + 1, held)))[0]
    monkeypatch.delattr("scipy.linalg.eigh")  # where it gives up, all is diagonalised
    values, vectors = continued_pairs(rows, RANK, start, tolerance=1e-12)
    np.testing.assert_allclose(values[-RANK:], np.linspace(1.0, 2.0, 90)[-RANK:], rtol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(held), atol=1e-12)
