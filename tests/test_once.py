"""What a record computes once is what it would compute again."""

from __future__ import annotations

import numpy as np
import pytest

import esssim as es
from esssim._validate import FloatArray
from esssim.problems.once import one_record
from esssim.simulation.recorder import measure

NAMES = ("sharpness", "minibatch_sharpness", "batch_sharpness", "interaction_aware_sharpness")


@pytest.fixture
def network() -> es.problems.DiagonalLinearNetwork:
    rng = np.random.default_rng(0)
    return es.problems.DiagonalLinearNetwork(rng.standard_normal((12, 3)), rng.standard_normal(12))


def test_a_record_forms_the_hessians_once_for_each_point(
    network: es.problems.DiagonalLinearNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, rotate = list[int](), type(network)._rotate

    def counted(vectors: FloatArray) -> FloatArray:
        calls.append(1)
        return rotate(vectors)

    monkeypatch.setattr(type(network), "_rotate", staticmethod(counted))
    one, other = np.random.default_rng(1).standard_normal((2, 6))
    with one_record():
        assert network.curvature(one) is network.curvature(one.copy())
        assert network.curvature(other) is not network.curvature(one)
    assert len(calls) == 2
    assert network.curvature(one) is not network.curvature(one)


def test_a_record_is_what_each_statistic_gives_alone(network: es.problems.DiagonalLinearNetwork) -> None:
    theta, sampling, seed = np.full(6, 0.3), es.WithoutReplacement(4), np.random.SeedSequence(3)
    together = measure(network, theta, sampling, NAMES, 20, seed)
    alone = {
        key: value for name in NAMES for key, value in measure(network, theta, sampling, (name,), 20, seed).items()
    }
    assert together == alone


def test_batches_of_another_seed_scheme_or_number_are_others(network: es.problems.DiagonalLinearNetwork) -> None:
    theta, plain, replacement = np.full(6, 0.3), es.WithoutReplacement(4), es.WithReplacement(4)
    cases = [(plain, 20, 3), (plain, 20, 4), (replacement, 20, 3), (plain, 21, 3)]

    def estimates() -> list[float]:
        return [
            es.minibatch_sharpness(network, theta, sampling, n_batches=m, seed=seed, draws="uniform").value
            for sampling, m, seed in cases
        ]

    with one_record():
        together = estimates()
    assert together == estimates()
    assert len(set(together)) == len(cases)


@pytest.mark.parametrize("sampling", [es.WithoutReplacement(4), es.WithReplacement(4), es.Reshuffled(4)])
def test_a_record_draws_its_batches_once(
    network: es.problems.DiagonalLinearNetwork, sampling: es.Sampling, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds, drawn = (es.WithoutReplacement, es.WithReplacement), list[tuple[int, int]]()
    for kind in kinds:
        draw = kind.draw
        monkeypatch.setattr(
            kind, "draw", lambda self, n, m, rng, draw=draw: drawn.append((n, m)) or draw(self, n, m, rng)
        )
    names = ("minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts")
    theta = np.full(6, 0.3)
    for seed in (3, 4):
        measure(network, theta, sampling, names, 20, np.random.SeedSequence(seed))
    # Mini-batch sharpness and batch sharpness draw by shares outside a record only.
    assert drawn == [(12, 20)] * 2
