"""Settling levels: effective sample sizes against closed forms, intervals that cover, every verdict and its reason.

Oracles are closed forms, direct sums and scipy's t test; series of known autocorrelation stand in for runs.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import xarray
from numpy.testing import assert_allclose
from scipy.signal import lfilter
from scipy.stats import binom, ttest_1samp
from scipy.stats import t as student

from esssim import _intervals
from esssim._phases import PERIODS_OF_DESCENT
from esssim.settling import Level, _r_hat, _unless_in_step, effective_sample_size, level, summarise

N_SEEDS = 200


def autoregressive(phi: float, shape: tuple[int, int], seed: int) -> np.ndarray:
    """x_{t+1} = φx_t + √(1−φ²)z, stationary from the start: mean 0, variance 1, autocorrelation φᵏ; (replica, record)."""
    noise = np.random.default_rng([seed, round(100 * phi) % 2**32, *shape]).standard_normal(shape)
    noise[:, 1:] *= math.sqrt(1 - phi**2)
    return np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1))


def moving_average(width: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    """Means of `width` successive normals: Σ of the autocorrelations over all lags is `width`."""
    noise = np.random.default_rng([seed, width]).standard_normal((shape[0], shape[1] + width - 1))
    return np.lib.stride_tricks.sliding_window_view(noise, width, axis=1).mean(axis=2)


def direct_sum(series: np.ndarray) -> float:
    """n/(1 + 2Σρ_k), ρ_k summed one lag at a time up to five times the correlation time so far (Sokal's window)."""
    deviations = series - series.mean()
    n, variance, total, lag = series.shape[1], (deviations**2).mean(), 1.0, 1
    while lag < 5 * total and lag < n:
        total += 2 * (deviations[:, lag:] * deviations[:, :-lag]).sum() / series.size / variance
        lag += 1
    return series.size / total


def trace_of(
    values: np.ndarray, step_size: np.ndarray | float = 2.0, diverged_at: list[int] | None = None
) -> xarray.Dataset:
    """What `simulate` returns, with these values under the name of a statistic; η = 2 makes (η/2)·statistic the value."""
    n_replicas, n_records = values.shape
    return xarray.Dataset(
        {
            "statistic": (("replica", "record"), values),
            "diverged_at": ("replica", diverged_at or [-1] * n_replicas),
        },
        {
            "step": ("record", 10 * np.arange(n_records)),
            "step_size": ("record", np.broadcast_to(step_size, n_records)),
        },
    )


def half_width(found: Level) -> float:
    return (found.interval[1] - found.interval[0]) / 2


# Effective sample size


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.6, 0.9, 0.95])
@pytest.mark.parametrize("shape", [(1, 8000), (2, 4000), (8, 2000)])
def test_effective_sample_size_of_an_autoregressive_series(phi: float, shape: tuple[int, int]) -> None:
    """n(1−φ)/(1+φ), over many seeds: its bias is less than its own spread, and less than 5 %."""
    exact = shape[0] * shape[1] * (1 - phi) / (1 + phi)
    ratios = [effective_sample_size(autoregressive(phi, shape, seed)) / exact for seed in range(N_SEEDS)]
    assert abs(np.mean(ratios) - 1) < min(np.std(ratios), 0.05)
    assert np.std(ratios) < 0.3


@pytest.mark.parametrize("width", [2, 5, 20])
def test_effective_sample_size_of_a_moving_average(width: int) -> None:
    ratios = [width * effective_sample_size(moving_average(width, (1, 8000), seed)) / 8000 for seed in range(100)]
    assert abs(np.mean(ratios) - 1) < min(np.std(ratios), 0.05)


@pytest.mark.parametrize(("spread", "phi"), [(1.0, 0.95), (1.25, 0.9)])
def test_effective_sample_size_of_a_skewed_series(spread: float, phi: float) -> None:
    """Of the mean, not of the ranks: e^{σx} has the autocorrelation (e^{σ²φᵏ} − 1)/(e^{σ²} − 1), x the series above."""
    lags = phi ** np.arange(1, 2000)
    exact = 8000 / (1 + 2 * np.sum(np.expm1(spread**2 * lags)) / np.expm1(spread**2))
    ratios = [effective_sample_size(np.exp(spread * autoregressive(phi, (1, 8000), seed))) for seed in range(N_SEEDS)]
    assert abs(np.mean(ratios) / exact - 1) < min(np.std(ratios) / exact, 0.05)


@pytest.mark.parametrize("phi", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("shape", [(1, 20_000), (3, 7000)])
def test_effective_sample_size_against_a_direct_sum(phi: float, shape: tuple[int, int]) -> None:
    for seed in range(5):
        series = 3.0 + 0.01 * autoregressive(phi, shape, seed)
        assert effective_sample_size(series) == pytest.approx(direct_sum(series), rel=0.15)


def test_effective_sample_size_never_exceeds_the_number_of_records() -> None:
    """Antithetic series would promise n(1−φ)/(1+φ) > n: more than anyone has seen."""
    assert effective_sample_size(autoregressive(-0.7, (1, 4000), 0)) == 4000.0
    assert effective_sample_size(autoregressive(-0.7, (8, 500), 0)) == 4000.0


@pytest.mark.parametrize(("errors", "disagree"), [(1.5, False), (2.5, True)])
def test_two_replicas_disagree_beyond_two_of_their_own_errors(errors: float, disagree: bool) -> None:
    noise = 0.01 * np.random.default_rng(3).standard_normal((2, 400))
    noise -= noise.mean(axis=1, keepdims=True)
    own = math.hypot(*(run.std() / math.sqrt(effective_sample_size(run[None])) for run in noise)) / 2
    found = summarise(1 + noise + errors * own * np.array([[1.0], [-1.0]]), 0.05, 1.0)
    assert ("replicas disagree" in found.reason) is disagree
    assert found.verdict == ("inconclusive" if disagree else "settles")


@pytest.mark.parametrize(("n", "degrees"), [(12, 11.0), (9, 1.0)])
def test_the_interval_of_fewer_than_ten_values_is_that_of_two(n: int, degrees: float) -> None:
    series = np.random.default_rng(3).standard_normal((1, n))
    found, ess = summarise(series, 0.05, 1.0), effective_sample_size(series)
    assert (ess >= 10) is (n == 12)
    half = student.ppf(0.975, degrees) * series.std(ddof=1) / math.sqrt(ess)
    assert found.interval[1] - found.value == pytest.approx(half, rel=1e-12)


def test_ten_effective_values_have_nine_degrees_of_freedom() -> None:
    """A series that alternates is worth its ten records at most."""
    series = np.array([1.0, -1.1, 1.2, -0.9, 1.0, -1.2, 0.8, -1.0, 1.1, -0.7])[None]
    assert effective_sample_size(series) == 10.0
    half = student.ppf(0.975, 9.0) * series.std(ddof=1) / math.sqrt(10.0)
    assert half_width(summarise(series, 0.05, 1.0)) == pytest.approx(half, rel=1e-12)


def test_too_few_records_for_a_sample_size_leave_the_interval_open() -> None:
    found = summarise(np.array([[1.0, 1.1, 0.8]]), 0.05, 1.0)
    assert (found.ess, found.interval, found.verdict) == (0.0, (-math.inf, math.inf), "inconclusive")


@pytest.mark.parametrize("shape", [(2, 10), (5, 7), (8, 400)])
def test_r_hat_is_that_of_arviz(shape: tuple[int, int]) -> None:
    from arviz_stats.base.array import array_stats

    series = autoregressive(0.5, shape, 11) + np.arange(shape[0])[:, None]
    expected = array_stats.rhat(series, chain_axis=0, draw_axis=1, method="identity")
    assert _r_hat(series) == pytest.approx(float(expected), rel=1e-12)
    assert _r_hat(1e200 * series) == pytest.approx(_r_hat(series), rel=1e-12)


def test_r_hat_of_runs_that_do_not_move() -> None:
    assert _r_hat(np.array([[1.0, 2.0, 1.5]])) == 1.0
    assert _r_hat(np.ones((3, 5))) == 1.0
    assert _r_hat(np.array([[1.0] * 5, [2.0] * 5])) == math.inf


def test_replicas_that_disagree_are_no_evidence() -> None:
    series = autoregressive(0.0, (2, 1000), 0)
    assert effective_sample_size(series) > 1500
    assert effective_sample_size(series + np.array([[-3.0], [3.0]])) < 10


# The interval


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 4000), (8, 500)])
def test_the_interval_covers(phi: float, shape: tuple[int, int]) -> None:
    """Of 200 intervals of 95 %, 179 to 198 hold the truth: what a fair 95 % does in all but 3 of 1000 trials."""
    lower, upper = 179, 198
    assert binom.cdf(lower - 1, N_SEEDS, 0.95) + binom.sf(upper, N_SEEDS, 0.95) < 0.003
    covered = 0
    for seed in range(N_SEEDS):
        low, high = summarise(1.0 + 0.1 * autoregressive(phi, shape, seed), 0.05, 1.0).interval
        covered += low < 1.0 < high
    assert lower <= covered <= upper


def test_an_interval_that_ignores_correlation_would_not_cover() -> None:
    """The coverage test can fail: with n for the effective sample size it would."""
    covered = 0
    for seed in range(N_SEEDS):
        low, high = ttest_1samp(autoregressive(0.9, (1, 4000), seed)[0], 0.0).confidence_interval()
        covered += low < 0.0 < high
    assert covered < 120


@pytest.mark.parametrize("n_replicas", [1, 2, 3])
def test_standard_error_of_few_replicas(n_replicas: int) -> None:
    """t·s/√ess with s² = Σ(x − x̄)²/(n − 1) and ess − 1 degrees of freedom."""
    series = 1.0 + autoregressive(0.8, (n_replicas, 1000), 1)
    found = summarise(series, 0.05, 1.0)
    expected = student.ppf(0.975, found.ess - 1) * series.std(ddof=1) / math.sqrt(found.ess)
    assert half_width(found) == pytest.approx(expected, rel=1e-12)
    assert sum(found.interval) / 2 == pytest.approx(found.value, rel=1e-12)
    assert found.value == pytest.approx(series.mean(), rel=1e-12)


def test_standard_error_around_the_common_trend() -> None:
    """The variance between replicas at one record, pooled over the records; replicas of equal mean leave it alone."""
    series = autoregressive(0.5, (6, 200), 2) + np.linspace(0.0, 9.0, 200)
    series -= series.mean(axis=1, keepdims=True)
    found = summarise(series, 0.05, 1.0)
    pooled = math.sqrt(series.var(axis=0, ddof=1).mean())
    expected = student.ppf(0.975, found.ess - 1) * pooled / math.sqrt(found.ess)
    assert half_width(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n_replicas", [4, 5, 12])
def test_spread_between_replicas_is_used_when_it_is_larger(n_replicas: int) -> None:
    """A t interval of the replicas' own means, with one degree of freedom less than there are replicas."""
    series = autoregressive(0.0, (n_replicas, 400), 3)
    series -= series.mean(axis=1, keepdims=True)
    within = half_width(summarise(series, 0.05, 1.0))
    series += 0.2 * (np.arange(n_replicas)[:, None] / (n_replicas - 1) - 0.5)
    found = summarise(series, 0.05, 1.0)
    low, high = ttest_1samp(series.mean(axis=1), 0.0).confidence_interval(0.95)
    assert_allclose(found.interval, (low, high), rtol=1e-10)
    assert half_width(found) > 1.3 * within


@pytest.mark.parametrize("n_replicas", [1, 5])
@pytest.mark.parametrize("power", [-600, -60, 60, 600])
def test_the_units_do_not_matter(n_replicas: int, power: int) -> None:
    """Series, target and tolerance times 2ᵏ: the same sample size and verdict, everything else times 2ᵏ exactly."""
    series, scale = 1.0 + 0.01 * autoregressive(0.5, (n_replicas, 1000), 4), 2.0**power
    found, scaled = summarise(series, 0.05, 1.0), summarise(scale * series, scale * 0.05, scale)
    assert found.verdict == "settles"
    assert scaled == replace(
        found,
        value=scale * found.value,
        interval=(scale * found.interval[0], scale * found.interval[1]),
        drift=scale * found.drift,
        reason=scaled.reason,
    )


# The common trend


def test_a_common_trend_is_no_noise() -> None:
    """With four replicas it changes neither sample size nor interval width, only the mean and the drift."""
    noise = 0.1 * autoregressive(0.6, (8, 600), 5)
    noise -= noise.mean(axis=1, keepdims=True)
    trend = np.linspace(0.8, 1.2, 600)
    still, moving = summarise(1.0 + noise, 0.05, 1.0), summarise(trend + noise, 0.05, 1.0)
    assert moving.ess == pytest.approx(still.ess, rel=1e-9)
    assert half_width(moving) == pytest.approx(half_width(still), rel=1e-9)
    windows = (trend + noise).reshape(8, 3, 200).mean(axis=(0, 2))
    assert moving.drift == pytest.approx(windows[2] - windows[0], rel=1e-12)
    assert moving.drift == pytest.approx(0.4 * 2 / 3, abs=0.02)
    assert still.drift < 0.02


@pytest.mark.parametrize(("n_replicas", "told_apart"), [(1, False), (3, False), (4, True), (8, True)])
def test_fewer_than_four_replicas_cannot_tell_a_trend_from_noise(n_replicas: int, told_apart: bool) -> None:
    series = np.linspace(0.0, 4.0, 600) + 0.1 * autoregressive(0.0, (n_replicas, 600), 6)
    ess = effective_sample_size(series)
    assert (ess > 0.8 * series.size) if told_apart else (ess < 10)


def test_drift_is_the_range_of_three_windows() -> None:
    """In whatever order: here the middle one is the highest, and 1000 records leave windows of 334, 333, 333."""
    series = np.concatenate([np.full(334, 1.0), np.full(333, 1.5), np.full(333, 1.25)])[None]
    assert summarise(series, 0.05, 1.0).drift == 0.5


# Verdicts


@pytest.mark.parametrize(
    ("mean", "slope", "verdict", "reason"),
    [
        (1.0, 0.0, "settles", "interval and windows lie within 1 ± 0.05"),
        (0.96, 0.0, "settles", "interval and windows lie within 1 ± 0.05"),
        (1.04, 0.0, "settles", "interval and windows lie within 1 ± 0.05"),
        (0.94, 0.0, "below", "the interval ends below 0.95"),
        (1.06, 0.0, "above", "the interval begins above 1.05"),
        (0.95, 0.0, "inconclusive", "the interval crosses the border of 1 ± 0.05"),
        (1.05, 0.0, "inconclusive", "the interval crosses the border of 1 ± 0.05"),
        (1.0, 0.18, "inconclusive", "it drifts from 0.94 to 1.06 over the window"),
        (1.0, -0.18, "inconclusive", "it drifts from 1.06 to 0.94 over the window"),
        (0.97, 0.12, "inconclusive", "it drifts from 0.93 to 1.01 over the window"),
        (1.03, 0.12, "inconclusive", "it drifts from 0.99 to 1.07 over the window"),
        (1.5, 0.6, "above", "the interval begins above 1.05"),
    ],
)
def test_verdict(mean: float, slope: float, verdict: str, reason: str) -> None:
    noise = 0.02 * autoregressive(0.5, (6, 600), 7)
    noise -= noise.mean()
    found = summarise(mean + slope * (np.arange(600) - 299.5) / 600 + noise, 0.05, 1.0)
    assert found.ess > 100
    assert half_width(found) < 0.005
    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(("n_records", "verdict"), [(99, "inconclusive"), (100, "settles")])
def test_a_verdict_needs_100_effective_samples(n_records: int, verdict: str) -> None:
    assert summarise(np.ones((1, n_records)), 0.05, 1.0).verdict == verdict


@pytest.mark.parametrize("value", [0.5, 1.5])
def test_the_border_belongs_to_the_target(value: float) -> None:
    """A constant that is exactly target ± tolerance."""
    found = summarise(np.full((1, 128), value), 0.5, 1.0)
    assert (found.interval, found.verdict) == ((value, value), "settles")


@pytest.mark.parametrize("mean", [0.5, 1.0, 2.0])
def test_too_few_effective_samples_are_no_evidence_for_anything(mean: float) -> None:
    """800 records of φ = 0.9 are worth 42."""
    found = summarise(mean + 1e-3 * autoregressive(0.9, (1, 800), 8), 0.05, 1.0)
    assert 20 < found.ess < 100
    assert found.interval[0] < mean < found.interval[1]
    assert (found.verdict, found.reason) == ("inconclusive", f"{found.ess:.0f} effective samples, 100 are needed")


@pytest.mark.parametrize("n_replicas", [1, 5])
@pytest.mark.parametrize("value", [0.0, 0.1, 1.0, 1e9])
def test_a_constant_series_is_known_exactly(n_replicas: int, value: float) -> None:
    """0.1 has no exact mean: rounding must not pass for noise."""
    found = summarise(np.full((n_replicas, 150), value), 0.05, value)
    assert found.ess == 150.0 * n_replicas
    assert_allclose((found.value, *found.interval), value, rtol=1e-12)
    assert found.drift == pytest.approx(0.0, abs=1e-12 * value)
    assert found.verdict == "settles"


def test_replicas_that_move_as_one_are_known_but_for_their_noise() -> None:
    """And the drift decides."""
    series = np.linspace(0.9, 1.1, 150) + 1e-9 * autoregressive(0.0, (5, 150), 0)
    found = summarise(series, 0.05, 1.0)
    assert found.ess > 500
    assert half_width(found) < 1e-9
    assert found.reason == "it drifts from 0.933 to 1.07 over the window"


# From a trace


def test_level_is_half_the_step_size_times_the_statistic() -> None:
    step_size = np.linspace(0.1, 0.4, 120)
    found = level(trace_of(np.broadcast_to(2 / step_size, (2, 120)), step_size), "statistic")
    assert_allclose((found.value, *found.interval), 1.0, rtol=1e-12)
    assert (found.verdict, found.n_replicas, found.n_diverged) == ("settles", 2, 0)


def test_level_is_the_summary_of_the_window() -> None:
    """Records with step ≥ after: 10 steps apart, so that 2000 leaves out exactly 200 records."""
    values = 1.0 + 0.1 * autoregressive(0.5, (5, 1000), 9)
    values[:, :200] = 7.0
    found = level(trace_of(values), "statistic", after=2000, tolerance=0.1, target=1.1)
    assert found == summarise(values[:, 200:], 0.1, 1.1)
    assert found == level(trace_of(values), "statistic", after=1990.5, tolerance=0.1, target=1.1)
    assert found == level(
        trace_of(values).transpose("record", "replica"), "statistic", after=2000, tolerance=0.1, target=1.1
    )
    assert level(trace_of(values), "statistic", after=1990).value > found.value
    assert found.verdict == "inconclusive"


def test_the_smallest_window_has_six_records() -> None:
    values = np.ones((20, 10))
    assert level(trace_of(values), "statistic", after=40).verdict == "settles"
    with pytest.raises(ValueError, match=r"^after must leave at least 6 records, got 50, which leaves 5$"):
        level(trace_of(values), "statistic", after=50)


@pytest.mark.parametrize("diverged_at", [0, 3, 10_000])
def test_diverged_replicas_are_left_out_and_counted(diverged_at: int) -> None:
    """Also one that diverged after the window, and whatever its records say."""
    values = 1.0 + 0.1 * autoregressive(0.5, (6, 500), 10)
    values[2], values[4] = np.nan, 1e6
    found = level(trace_of(values, diverged_at=[-1, -1, diverged_at, -1, diverged_at, -1]), "statistic")
    assert found == summarise(values[[0, 1, 3, 5]], 0.05, 1.0, n_diverged=2)
    assert (found.n_replicas, found.n_diverged) == (4, 2)


def test_the_few_that_survive_do_not_speak_for_the_rest() -> None:
    values = 1.0 + 0.01 * autoregressive(0.5, (5, 200), 12)
    assert level(trace_of(values, diverged_at=[-1, 9, -1, 9, -1]), "statistic").verdict == "settles"
    found = level(trace_of(values, diverged_at=[9, 9, -1, 9, -1]), "statistic")
    assert (found.verdict, found.reason) == ("inconclusive", "3 of 5 replicas diverged")
    assert np.isnan(found.value)


@pytest.mark.parametrize(("slope", "verdict"), [(0.07, "settles"), (0.08, "inconclusive")])
def test_a_line_that_crosses_the_edge_does_not_settle(slope: float, verdict: str) -> None:
    """The means of its thirds lie within the tolerance of the edge, but differ by 2/3 of its rise."""
    noise = 1e-9 * autoregressive(0.0, (5, 300), 0)
    found = summarise(np.linspace(1 - slope / 2, 1 + slope / 2, 300) + noise, 0.05, 1.0)
    assert found.drift == pytest.approx(2 * slope / 3, rel=0.01)
    assert found.verdict == verdict


def test_nothing_is_left_when_all_diverged() -> None:
    found = level(trace_of(np.full((3, 50), np.nan), diverged_at=[5, 0, 8]), "statistic")
    assert (found.verdict, found.reason) == ("inconclusive", "every replica diverged")
    assert (found.n_replicas, found.n_diverged, found.ess) == (0, 3, 0.0)
    assert np.isnan([found.value, *found.interval, found.drift]).all()


def test_an_undefined_record_counts_within_the_window_only() -> None:
    values = np.ones((2, 200))
    values[1, 3] = np.nan
    assert level(trace_of(values), "statistic", after=40).verdict == "settles"
    with pytest.raises(ValueError, match=r"^statistic 'statistic' must be finite from step 30 on, got 1 undefined "):
        level(trace_of(values), "statistic", after=30)


@pytest.mark.parametrize("shape", [(2,), (7,), (12, 3)])
def test_interval_of_independent_runs_is_that_of_the_t_test(shape: tuple[int, ...]) -> None:
    runs = np.random.default_rng(0).normal(size=shape)
    low, high = ttest_1samp(runs, 0.0).confidence_interval(0.95)
    assert_allclose(_intervals.half_width(runs), (high - low) / 2, rtol=1e-13)


# Few replicas, stuck ones, and copies


def covers(found: Level, truth: float = 1.0) -> bool:
    return found.interval[0] < truth < found.interval[1]


def test_two_stuck_runs_that_need_not_agree_tell_next_to_nothing() -> None:
    """Student's t with one degree of freedom: 12.7 times the standard error of two means."""
    values = np.array([[0.9], [1.1]]) + 1e-3 * autoregressive(0.0, (2, 100), 0)
    found = level(trace_of(values), "statistic", replicas_agree=False)
    low, high = ttest_1samp(values.mean(axis=1), 0.0).confidence_interval(0.95)
    assert_allclose(found.interval, (low, high), rtol=1e-10)
    assert (found.verdict, found.reason) == (
        "inconclusive", "the interval crosses the border of 1 ± 0.05; it rests on the spread of 2 replicas",
    )  # fmt: skip


@pytest.mark.parametrize("n_replicas", [2, 3, 4, 32])
@pytest.mark.parametrize("own", [0.0, 0.1, 1.0, 10.0])
def test_runs_with_levels_of_their_own_are_covered(n_replicas: int, own: float) -> None:
    """own: the spread of the runs' levels over that within a run."""
    covered = 0
    for seed in range(100):
        levels = 0.1 * own * np.random.default_rng([seed, 9]).standard_normal((n_replicas, 1))
        series = 1.0 + levels + 0.1 * autoregressive(0.5, (n_replicas, 100), seed)
        covered += covers(summarise(series, 0.05, 1.0, replicas_agree=False))
    assert covered >= 90


def test_one_run_says_nothing_about_others() -> None:
    noise = 1e-3 * autoregressive(0.0, (2, 300), 0)
    for found in (
        level(trace_of(1.0 + noise[:1]), "statistic", replicas_agree=False),
        level(trace_of(1.0 + noise, diverged_at=[-1, 7]), "statistic", replicas_agree=False),
        level(trace_of(1.0 + noise[[0, 0]]), "statistic", replicas_agree=False),
    ):
        assert found.interval == (-math.inf, math.inf)
        assert found.reason == "one replica says nothing about others that need not agree with it"
        assert found.verdict == "inconclusive"
    assert level(trace_of(1.0 + noise[:1]), "statistic").verdict == "settles"


@pytest.mark.parametrize("n_replicas", [2, 3])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_replicas_that_should_agree_and_plainly_do_not(n_replicas: int, noise: float) -> None:
    """Also constant ones: stuck, each at a value of its own."""
    stuck = 1.0 + 0.01 * np.arange(n_replicas)[:, None]
    found = summarise(stuck + noise * autoregressive(0.0, (n_replicas, 400), 0), 0.05, 1.0)
    assert (found.verdict, found.reason) == (
        "inconclusive", f"the {n_replicas} replicas disagree by more than each fluctuates",
    )  # fmt: skip
    low, high = ttest_1samp(stuck[:, 0], 0.0).confidence_interval(0.95)
    assert half_width(found) >= 0.98 * (high - low) / 2


def test_many_stuck_replicas_are_as_many_samples() -> None:
    stuck = 1.0 + 0.01 * np.random.default_rng(0).standard_normal((12, 1))
    found = summarise(stuck + 1e-4 * autoregressive(0.0, (12, 200), 0), 0.05, 1.0)
    assert found.verdict == "inconclusive"
    assert "effective samples, 100 are needed: the replicas disagree (R-hat = " in found.reason
    low, high = ttest_1samp(stuck[:, 0], 0.0).confidence_interval(0.95)
    assert_allclose(found.interval, (low, high), rtol=1e-3)


@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(("n_replicas", "n_records"), [(1, 2000), (2, 500), (3, 500), (4, 500), (32, 200)])
def test_the_interval_covers_at_every_correlation(phi: float, n_replicas: int, n_records: int) -> None:
    """Nine in ten at least, also where so few samples are independent that no verdict is given."""
    found = [summarise(1 + 0.1 * autoregressive(phi, (n_replicas, n_records), seed), 0.05, 1.0) for seed in range(100)]
    assert sum(map(covers, found)) >= 88


@pytest.mark.parametrize("n_replicas", [2, 3, 4, 9])
def test_copies_of_a_run_add_nothing(n_replicas: int) -> None:
    """Runs without noise from one start are one run, however chaotic."""
    alone = 1.0 + 0.1 * autoregressive(0.9, (1, 800), 0)
    copies = summarise(np.tile(alone, (n_replicas, 1)), 0.05, 1.0)
    assert copies == replace(summarise(alone, 0.05, 1.0), n_replicas=n_replicas)
    two = 1.0 + 0.1 * autoregressive(0.9, (2, 800), 0)
    assert summarise(np.repeat(two, n_replicas, axis=0), 0.05, 1.0).interval == summarise(two, 0.05, 1.0).interval


@pytest.mark.parametrize("n_replicas", [4, 12])
def test_phases_that_replicas_share_are_noise(n_replicas: int) -> None:
    """An oscillation of ±0.3, all see the same random phases, is known to 0.3/√n however many replicas there are."""
    covered, n_records = 0, 200
    for seed in range(100):
        signs = np.random.default_rng([seed, 5]).choice([-0.3, 0.3], n_records)
        series = 1.0 + signs + 1e-3 * autoregressive(0.0, (n_replicas, n_records), seed)
        assert not half_width(summarise(series, 0.05, 1.0)) > 1e-3
        found = summarise(series, 0.05, 1.0, phases_are_shared=True)
        assert half_width(found) == pytest.approx(1.97 * 0.3 / math.sqrt(n_records), rel=0.25)
        covered += covers(found)
    assert covered >= 88


# Records that favour a phase


def of_half_width(half: float, value: float = 1.0) -> Level:
    return Level(value, (value - half, value + half), 1000.0, "settles", 0.0, 1, 0, "")


def phases(amplitude: float, value: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the steps of 60 records at even steps, value + amplitude, and 40 at odd ones, value − amplitude."""
    steps = np.sort(np.concatenate([np.arange(0, 120, 2), np.arange(1, 80, 2)]))
    return value + np.where(steps % 2 == 0, amplitude, -amplitude), steps


@pytest.mark.parametrize(("half", "period"), [(0.0199, 2), (0.0201, None)])
def test_records_that_favour_a_phase_by_more_than_the_interval(half: float, period: int | None) -> None:
    """60 of 100 records in one of two phases of ±0.1 move the mean by 0.02."""
    found = of_half_width(half)
    expected = found if period is None else replace(found, verdict="inconclusive", period=period)
    assert replace(_unless_in_step(found, *phases(0.1), (2,)), reason="") == expected


def test_rounding_favours_no_phase() -> None:
    found = of_half_width(0.0)
    assert _unless_in_step(found, *phases(1e-9), (2,)) == found
    assert _unless_in_step(found, *phases(1e-8), (2,)).period == 2


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_run_at_rest_may_have_the_period_of_its_records(value: float) -> None:
    """Every fifth step shows both phases of a period of two, and one of five."""
    steps, found = 5 * np.arange(200), of_half_width(0.0, value)
    assert _unless_in_step(found, np.full(200, value), steps, PERIODS_OF_DESCENT).period == 5
    assert _unless_in_step(found, np.full(200, value), steps, (2,)) == found
