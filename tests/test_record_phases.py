"""Runs that repeat themselves: records see every phase by default, and a level of one phase alone is refused.

Oracles are orbits in closed form, and plain averages over every step.
"""

from __future__ import annotations

import numpy as np
import pytest
import xarray
from numpy.testing import assert_array_equal

import esssim as es
from esssim._phases import (
    PERIODS_OF_DESCENT,
    equally_spaced,
    mean_over_phases,
    missed_period,
    possible_periods,
    random_phases,
)
from esssim.settling import level

# f = uv, target 1: gradient descent at η = 1.05 from u = v = 1.1 ends in an orbit of period 2, u = v throughout.
ORBIT_STEP = 1.05
SINGLE = es.DiagonalLinearNetwork(np.ones((1, 1)), np.ones(1))


def orbit() -> np.ndarray:
    """The two points of u ← u − η(u² − 1)u, by plain iteration."""
    u = 1.1
    for _ in range(4000):
        u -= ORBIT_STEP * (u * u - 1) * u
    return np.array([u, u - ORBIT_STEP * (u * u - 1) * u])


def sharpness_of(u: np.ndarray) -> np.ndarray:
    """Largest eigenvalue of the 2 × 2 Hessian [[u², 2u² − 1], [2u² − 1, u²]]."""
    return u**2 + np.abs(2 * u**2 - 1)


def descend(**options: object) -> xarray.Dataset:
    defaults = {
        "step_size": ORBIT_STEP, "sampling": es.WithoutReplacement(1), "n_steps": 4000, "record": ("sharpness",), "seed": 0,
    }  # fmt: skip
    return es.simulate(SINGLE, np.array([1.1, 1.1]), **(defaults | options))  # type: ignore[arg-type]


def both_phases() -> float:
    return float(ORBIT_STEP / 2 * sharpness_of(orbit()).mean())


# Which runs may repeat themselves


@pytest.mark.parametrize(
    ("scheme", "b", "n", "periods"),
    [
        ("WithoutReplacement", 8, 8, PERIODS_OF_DESCENT),
        ("Reshuffled", 8, 8, PERIODS_OF_DESCENT),
        ("WithReplacement", 3, 1, PERIODS_OF_DESCENT),
        ("WithReplacement", 8, 8, ()),
        ("WithoutReplacement", 2, 8, ()),
        ("Reshuffled", 2, 8, (4,)),
        ("Reshuffled", 3, 8, (2,)),
        ("Reshuffled", 5, 8, ()),
    ],
)
def test_possible_periods(scheme: str, b: int, n: int, periods: tuple[int, ...]) -> None:
    assert possible_periods(scheme, b, n) == periods


# The default records


@pytest.mark.parametrize("period", [2, 3, 4, 10, 97])
@pytest.mark.parametrize(("n_steps", "n_records"), [(4000, 101), (1000, 61), (997, 400), (50, 50), (50, 49), (7, 5)])
def test_random_phases(period: int, n_steps: int, n_records: int) -> None:
    """Increasing, from 0 to n_steps, one near each of the equally spaced steps, and every phase about as often."""
    steps = random_phases(n_steps, n_records, period, seed=3)
    assert (len(steps), steps[0], steps[-1]) == (n_records, 0, n_steps)
    assert (np.diff(steps) > 0).all()
    between = n_steps / (n_records - 1)
    assert np.abs(steps - between * np.arange(n_records)).max() <= between / 2 + 1
    if between > 2 * period:
        counts = np.bincount(steps[1:-1] % period, minlength=period)
        assert counts.max() - counts.min() <= 1


def test_random_phases_are_random_between_the_rounds() -> None:
    """Also the phases of periods that nobody named: uniform, by a χ² test that fails once in a thousand."""
    steps = np.concatenate([random_phases(10**6, 1001, 2, seed)[1:-1] for seed in range(20)])
    for period, bound in ((3, 13.8), (5, 18.5), (7, 22.5)):
        counts = np.bincount(steps % period)
        assert ((counts - counts.mean()) ** 2).sum() / counts.mean() < bound


@pytest.mark.parametrize(("n_steps", "n_records"), [(10, 1), (10, 2), (10, 11), (10, 500), (1, 2)])
def test_short_runs_are_recorded_as_they_were(n_steps: int, n_records: int) -> None:
    assert_array_equal(random_phases(n_steps, n_records, 2, 0), equally_spaced(n_steps, n_records))


def test_records_belong_to_the_seed() -> None:
    first, again, several = descend(), descend(), descend(n_replicas=3)
    assert_array_equal(first["step"], again["step"])
    assert_array_equal(first["step"], several["step"])
    assert (first["step"].values != descend(seed=1)["step"].values).any()
    assert_array_equal(descend(record_steps=[0, 6, 8])["step"], [0, 6, 8])


def test_independent_batches_are_recorded_at_equal_distances() -> None:
    problem = es.LinearRegression(np.random.default_rng(0).standard_normal((8, 3)), np.ones(8))
    run = {"step_size": 0.01, "n_steps": 999, "record": ("loss",), "n_records": 30, "seed": 0}
    for sampling in (es.WithoutReplacement(2), es.WithReplacement(8)):
        trace = es.simulate(problem, np.zeros(3), sampling=sampling, **run)  # type: ignore[arg-type]
        assert_array_equal(trace["step"], np.linspace(0, 999, 30).round())
    for sampling in (es.WithoutReplacement(8), es.Reshuffled(2)):
        trace = es.simulate(problem, np.zeros(3), sampling=sampling, **run)  # type: ignore[arg-type]
        assert len(np.unique(np.diff(trace["step"]))) > 5


# Levels of an orbit


@pytest.mark.parametrize("options", [{}, {"n_replicas": 2}, {"n_replicas": 5}, {"n_records": 301}, {"seed": 4}])
def test_the_level_of_an_orbit_is_the_mean_of_its_phases(options: dict[str, object]) -> None:
    """Copies of the run add nothing: neither three nor five make the interval narrower."""
    found = level(descend(**options), "sharpness", after=500)
    assert both_phases() == pytest.approx(1.0125, abs=1e-4)
    assert found.value == pytest.approx(both_phases(), abs=0.03)
    assert found.interval[0] < both_phases() < found.interval[1]
    alone = level(descend(**options | {"n_replicas": 1}), "sharpness", after=500)
    assert found.interval == alone.interval


@pytest.mark.parametrize(("first", "stride", "period"), [(0, 2, 2), (1, 2, 2), (0, 40, 2), (0, 9, 3), (2, 6, 2)])
def test_records_in_step_are_refused(first: int, stride: int, period: int) -> None:
    found = level(descend(record_steps=range(first, 4001, stride)), "sharpness", after=500)
    assert (found.verdict, found.period) == ("inconclusive", period)
    assert found.interval == (-np.inf, np.inf)
    assert f"1 of the {period} steps of a possible period" in found.reason


def test_every_step_is_as_good_as_random_ones() -> None:
    found = level(descend(record_steps=range(4001)), "sharpness", after=500)
    assert (found.verdict, found.period) == ("settles", None)
    assert found.value == pytest.approx(both_phases(), abs=1e-3)


def test_records_that_favour_a_phase_are_refused() -> None:
    """Two odd steps for each even one: equal distances of 6666.7 steps are rounded to such ones."""
    rng = np.random.default_rng(0)
    even, odd = (2 * rng.choice(2000, size, replace=False) for size in (300, 600))
    found = level(descend(record_steps=np.sort(np.concatenate([even, odd + 1]))), "sharpness", after=500)
    phases = ORBIT_STEP / 2 * np.sort(sharpness_of(orbit()))
    assert found.value == pytest.approx((2 * phases[0] + phases[1]) / 3, abs=0.02)
    assert (found.verdict, found.period) == ("inconclusive", 2)
    words, balanced = found.reason.rsplit(" ", 1)
    assert words == "the records favour some of the 2 steps of a period: with equal weights they give"
    assert float(balanced) == pytest.approx(both_phases(), abs=2e-3)


def test_a_constant_full_batch_run_settles_where_all_phases_were_seen() -> None:
    """At η = 0.5 gradient descent comes to rest at uv = 1, of sharpness 2."""
    options = {"step_size": 0.5, "n_records": 301}
    found = level(descend(**options), "sharpness", after=500, target=0.5)
    assert (found.verdict, found.value) == ("settles", pytest.approx(0.5, rel=1e-12))
    thinned = level(descend(**options, record_steps=range(0, 4001, 10)), "sharpness", after=500, target=0.5)
    assert (thinned.verdict, thinned.period) == ("inconclusive", 2)
    odd = level(descend(**options, record_steps=range(0, 4001, 5)), "sharpness", after=500, target=0.5)
    assert (odd.verdict, odd.period) == ("inconclusive", 5)


def test_a_saved_run_is_refused_too(tmp_path: object) -> None:
    path = f"{tmp_path}/orbit.nc"
    es.save(descend(record_steps=range(0, 4001, 2)), path)
    assert level(es.load(path), "sharpness", after=500).period == 2


# Levels of reshuffled epochs


def reshuffled(**options: object) -> xarray.Dataset:
    rng = np.random.default_rng(0)
    problem = es.DiagonalLinearNetwork(rng.standard_normal((8, 3)), rng.standard_normal(8))
    defaults = {
        "step_size": 0.3, "sampling": es.Reshuffled(2), "n_steps": 20_000, "record": ("loss",), "seed": 0,
    }  # fmt: skip
    return es.simulate(problem, np.full(6, 0.5), **(defaults | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "stride", "seen"), [(0, 4, 1), (3, 4, 1), (1, 40, 1), (0, 2, 2), (1, 6, 2)])
def test_records_in_step_with_the_epoch_are_refused(first: int, stride: int, seen: int) -> None:
    found = level(reshuffled(record_steps=range(first, 20_001, stride)), "loss", after=500)
    assert (found.verdict, found.period) == ("inconclusive", 4)
    assert f"{seen} of the 4 steps" in found.reason


def test_two_neighbouring_phases_of_four_are_refused() -> None:
    steps = [step for start in range(0, 20_000, 40) for step in (start, start + 1)]
    assert level(reshuffled(record_steps=steps), "loss", after=500).period == 4


def test_default_records_of_epochs_cover_the_mean_of_every_step() -> None:
    """The loss differs by 3 % over the epoch, more than the interval: for 18 of 20 seeds at least it is covered."""
    rng = np.random.default_rng(0)
    problem = es.LinearRegression(rng.standard_normal((8, 3)), rng.standard_normal(8))
    run = {"step_size": 0.2, "sampling": es.Reshuffled(1), "n_steps": 20_000, "record": ("loss",)}
    every = es.simulate(problem, np.zeros(3), **run, record_steps=range(20_001), seed=0)  # type: ignore[arg-type]
    window = every.sel(record=every["step"].values >= 500)
    loss, steps = window["loss"].values[0] * 0.1, window["step"].values
    by_phase = np.array([loss[steps % 8 == phase].mean() for phase in range(8)])
    covered = 0
    for seed in range(20):
        found = level(es.simulate(problem, np.zeros(3), **run, n_records=801, seed=seed), "loss", after=500)  # type: ignore[arg-type]
        assert found.period is None
        assert (found.interval[1] - found.interval[0]) < np.ptp(by_phase)
        covered += found.interval[0] < loss.mean() < found.interval[1]
    assert np.ptp(by_phase) > 0.03 * loss.mean()
    assert covered >= 18


# The helpers


def test_missed_period_wants_as_many_phases_as_random_records_see() -> None:
    rng = np.random.default_rng(0)
    for period in (2, 3, 4, 8, 100):
        for n in (20, 100):
            steps = (np.sort(rng.choice(10**5, n, replace=False)) for _ in range(50))
            assert sum(missed_period(chosen, (period,)) is not None for chosen in steps) <= 1
        assert missed_period(np.arange(0, 100 * period, period), (period,)) == (period, 1)
    assert missed_period(np.arange(0, 12, 2), (2,)) == (2, 1)
    assert missed_period(np.array([s for s in range(400) if s % 4 != 3]), (4,)) == (4, 3)
    assert missed_period(np.arange(0, 1000, 2), ()) is None


def test_mean_over_phases_counts_each_alike() -> None:
    assert mean_over_phases(np.array([1.0, 1.0, 1.0, 5.0]), np.array([0, 2, 4, 5]), 2) == 3.0
