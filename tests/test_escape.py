"""The probability of escape against an exact recursion and plain runs, and what it promises of its fields."""

from __future__ import annotations

import itertools
import json
import runpy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.claims import escapes
from esssim.stability import EscapeProbability, escape_probability
from tests.pages import DOCS, check_is_kept, copied

# One parameter: one sample of curvature 3.5 and nine of 0.3, so that with η = 1 a step multiplies by −2.5 or 0.7.
CURVATURES = np.array([3.5] + [0.3] * 9)
LINE = es.LinearRegression(np.sqrt(CURVATURES)[:, None], np.zeros(10))
ONE = es.WithoutReplacement(1)
N_STEPS = 15


def level_of(distance: float) -> float:
    """The loss at |θ| = distance, and just below it, so that no product of factors rounds to the other side."""
    return float(CURVATURES.mean() / 2 * distance**2 * (1 - 1e-9))


def exact(distance: float) -> float:
    """P(|θ_t| ≥ distance for a t ≤ N_STEPS | θ₀ = 1): |θ_t| = 2.5^k·0.7^(t−k), by a recursion over the law of k."""
    law, escaped = {0: 1.0}, 0.0
    for t in range(1, N_STEPS + 1):
        moved: dict[int, float] = {}
        for k, chance in law.items():
            for growths, part in ((k + 1, 0.1 * chance), (k, 0.9 * chance)):
                if 2.5**growths * 0.7 ** (t - growths) >= distance * (1 - 1e-9):
                    escaped += part
                else:
                    moved[growths] = moved.get(growths, 0.0) + part
        law = moved
    return escaped


@cache
def found(distance: float, **options: Any) -> EscapeProbability:
    return escape_probability(LINE, [1.0], ONE, 1.0, level=level_of(distance), n_steps=N_STEPS, **options)


def test_it_is_the_exact_probability_down_to_a_billionth() -> None:
    assert exact(1e4) < 1e-9
    for distance in (4.0, 100.0, 1e4):
        value = found(distance, n_repetitions=60)
        assert value.value == pytest.approx(exact(distance), abs=3.5 * value.standard_error)
        assert value.standard_error < 0.25 * exact(distance)


@pytest.mark.parametrize("distance", [1.5, 4.0])
def test_the_recursion_of_the_claim_is_the_sum_over_all_ways(monkeypatch: pytest.MonkeyPatch, distance: float) -> None:
    monkeypatch.setattr(escapes, "N_STEPS", 4)
    curvatures = [escapes.STEEP] * escapes.N_STEEP + [escapes.FLAT] * (escapes.N_LINE - escapes.N_STEEP)
    factors = [abs(1 - (curvatures[i] + curvatures[j]) / 2) for i, j in itertools.combinations(range(8), 2)]
    ways = np.cumprod(list(itertools.product(factors, repeat=4)), axis=1)
    expected = (ways >= distance).any(axis=1).mean()
    assert 0 < expected < 1
    assert escapes.exact_probability(distance) == pytest.approx(expected, rel=1e-12)


def test_few_particles_are_unbiased() -> None:
    value = found(30.0, n_particles=10, n_repetitions=1500)
    assert value.n_lost > 100
    assert value.value == pytest.approx(exact(30.0), abs=3.5 * value.standard_error)
    assert value.standard_error < 0.1 * exact(30.0)


@pytest.mark.parametrize("factor", [1.25, 0.8])
def test_a_wrong_weight_of_a_stage_would_be_noticed(factor: float) -> None:
    value = found(1e4, n_repetitions=60)
    wrong = value.value * factor ** len(value.levels)
    assert abs(wrong - exact(1e4)) > 3.5 * value.standard_error


def plain(problem: es.LinearRegression | es.DiagonalLinearNetwork, theta: np.ndarray, eta: float, noise: float,
          level: float, n_steps: int, n_runs: int) -> float:  # fmt: skip
    """The share of plain runs, by gradients of dense batches, whose loss reaches the level."""
    rng = np.random.default_rng(100)
    states, escaped = np.tile(theta, (n_runs, 1)), np.zeros(n_runs, dtype=bool)
    for _ in range(n_steps):
        batches = rng.permuted(np.tile(np.arange(problem.n_samples), (n_runs, 1)), axis=1)[:, :2]
        jacobians = problem.sample_jacobians(states, batches)
        residuals = problem.residuals(states, batches) - noise * rng.standard_normal(batches.shape)
        moved = states - eta * (residuals[..., None] * jacobians).mean(axis=1)
        states = np.where(escaped[:, None], states, moved)
        escaped |= problem.loss(states) >= level
    return float(escaped.mean())


@pytest.mark.parametrize("make", [es.LinearRegression, es.DiagonalLinearNetwork])
def test_it_is_the_share_of_plain_runs_with_label_noise(make: Callable[..., Any]) -> None:
    inputs = np.random.default_rng(2).standard_normal((6, 4))
    theta = np.array([1.0, 0.8, -0.9, 1.1, 0.3, -0.4, 0.2, 0.5])[: 8 if make is es.DiagonalLinearNetwork else 4]
    problem = make(inputs, inputs @ (theta[:4] * theta[4:] if len(theta) == 8 else theta))
    eta = 0.9 * es.stability.critical_step_size(problem, theta, es.WithoutReplacement(2), hessian="gauss_newton")
    level, n_runs = 0.06, 10_000
    value = escape_probability(problem, theta, es.WithoutReplacement(2), eta, level=level, n_steps=40, label_noise=0.05)
    share = plain(problem, theta, eta, 0.05, level, 40, n_runs)
    assert 1e-3 < share < 0.2
    assert abs(value.value - share) < 3.5 * np.hypot(value.standard_error, np.sqrt(share / n_runs))


def test_states_are_where_the_level_was_passed() -> None:
    value = found(100.0)
    losses = CURVATURES.mean() / 2 * value.theta[:, 0] ** 2
    assert (losses >= level_of(100.0)).all()
    assert ((value.steps > 0) & (value.steps <= N_STEPS)).all()
    assert value.weights.sum() == pytest.approx(value.value, rel=1e-12)
    assert value.per_step == value.value / N_STEPS
    assert value.levels[-1] == level_of(100.0)
    assert (np.diff(value.levels) > 0).all()


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, two, other = (found.__wrapped__(50.0, seed=seed, n_particles=20) for seed in (4, 4, 5))
    assert np.array_equal(one.estimates, two.estimates)
    assert np.array_equal(one.theta, two.theta)
    assert one.value != other.value


def test_progress_counts_levels() -> None:
    told: list[tuple[int, int]] = []
    seen = found.__wrapped__(50.0, n_particles=20, progress=lambda done, total: told.append((done, total)))
    k = len(seen.levels)
    assert told == [(done, k) for done in range(1, k + 1)]
    assert np.array_equal(seen.estimates, found(50.0, n_particles=20).estimates)
    with pytest.raises(ValueError, match="progress must be True, False or a function, got 3"):
        found.__wrapped__(50.0, progress=3)


def test_nothing_escapes_where_every_batch_is_stable() -> None:
    value = escape_probability(LINE, [1.0], ONE, 0.5, level=level_of(2.0), n_steps=N_STEPS)
    assert value.value == 0.0
    assert value.n_lost == 20
    assert 0 < value.interval[1] <= 3 / 5000
    assert value.theta.shape == (0, 1)


def test_a_problem_with_gradients_only_has_the_same_law() -> None:
    quadratic = es.Quadratic(CURVATURES[:, None, None], np.zeros((10, 1)))
    value = escape_probability(quadratic, [1.0], ONE, 1.0, level=level_of(20.0), n_steps=N_STEPS)
    assert value.value == pytest.approx(exact(20.0), abs=3.5 * value.standard_error)


def test_the_page_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied("escapes", ("escapes.py", "escapes.md", "escapes.json"), tmp_path, monkeypatch)
    check_is_kept("escapes", run, tmp_path, ("0 of 400", "9 of 400"), capsys)


def test_the_script_measures_what_the_page_shows() -> None:
    script = runpy.run_path(str(DOCS / "escapes.py"))
    script["measured"].__globals__.update(HORIZON=15, N_LANDINGS=5, LANDED=1e-3, STEPS_ALONE=5, FEW=(100, 4))
    stored = json.loads((DOCS / "escapes.json").read_text(encoding="utf-8"))
    row, far = stored["rows"][0], stored["far"][1]
    found, farther = script["measured"](row), script["far_measured"](far, stored["rows"][1])
    assert {key for key in row if "predicted" not in key} == found.keys() | {
        "start", "step_size", "distance", "unstable", "tail_index"
    }  # fmt: skip
    assert far.keys() == farther.keys() | {"start", "factor", "per_step_predicted", "predicted_on"}
    assert found["network_per_step"] > farther["network_per_step"] > 0
