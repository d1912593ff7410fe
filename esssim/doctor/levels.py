"""(d): settling levels of series whose true level is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import xarray

import esssim as es
from esssim._rows import Row
from esssim._validate import FloatArray, IntArray
from esssim.doctor.check import Finding, at_least, at_most, check, steps
from esssim.doctor.intervals import autoregressive
from esssim.settling import Level

ESS = 200
LEAST_COVERAGE, MOST_MISLED = 0.93, 0.05
SPREAD = 0.01  # of the series about 1, so that the tolerance of 0.05 decides


class Series(NamedTuple):
    """A kind of series: its level for a seed, and the truth. honest: the interval itself must cover; else it may also
    refuse.
    """

    name: str
    level: Callable[[int], Level]
    true: float
    honest: bool = True
    repetitions: int = 400


@check(key="d", title="Settling levels cover at 200 effective samples", seconds=(8.0, 150.0))
def levels(quick: bool) -> Finding:
    """AR(1) series of 200 effective samples; losses of SGD on linear regression, whose stationary mean is exact by the
    moment recursion; and series that are thinned, periodic, or have a replica that is stuck. How often the interval
    holds the true level; for the last two kinds how often a verdict rests on an interval that does not hold it
    (misled), where a refusal is right.
    """
    rows = []
    for series in steps(kinds()):
        rows.append(measured(series, series.repetitions // 20 if quick else series.repetitions))
    honest = [row for row in rows if row["must_cover"]]
    others = [row for row in rows if not row["must_cover"]]
    figure = {
        "least_coverage": min(float(row["covered"]) for row in honest),
        "mean_coverage": float(np.mean([row["covered"] for row in honest])),
        "most_misled": max(float(row["misled"]) for row in others),
    }
    wanted = {"least_coverage": at_least(LEAST_COVERAGE), "most_misled": at_most(MOST_MISLED)}
    if quick:  # of few repetitions only all together say something
        wanted = {"mean_coverage": at_least(0.88), "most_misled": at_most(0.2)}
        return Finding(figure, wanted, rows)
    failed = [f"{row['series']}: covered" for row in honest if not float(row["covered"]) >= LEAST_COVERAGE]
    failed += [f"{row['series']}: misled" for row in others if not float(row["misled"]) <= MOST_MISLED]
    return Finding(figure, wanted, rows, failed)


def measured(series: Series, repetitions: int) -> Row:
    found = [series.level(seed) for seed in range(repetitions)]
    covered = [each.interval[0] <= series.true <= each.interval[1] for each in found]
    refused = [each.verdict == "inconclusive" for each in found]
    return {
        "series": series.name,
        "must_cover": series.honest,
        "covered": float(np.mean(covered)),
        "refused": float(np.mean(refused)),
        "misled": float(np.mean([not c and not r for c, r in zip(covered, refused, strict=True)])),
        "median_ess": float(np.median([each.ess for each in found])),
        "repetitions": repetitions,
    }


def kinds() -> list[Series]:
    """Every kind of series."""
    found = []
    for phi in (0.0, 0.5, 0.9, 0.99):
        for n_replicas in (1, 4):
            words = f"AR(1), φ = {phi:g}, {n_replicas} {'replica' if n_replicas == 1 else 'replicas'}"
            repetitions = 200 if phi == 0.99 else 400
            found.append(Series(words, partial(_ar, phi, n_replicas, 1), 1.0, repetitions=repetitions))
    found += [Series(f"AR(1), φ = {phi:g}, every 10th record", partial(_ar, phi, 1, 10), 1.0) for phi in (0.9, 0.99)]
    for name, (true, options) in regressions().items():
        found.append(Series(f"loss of SGD, {name}", partial(_sgd, options), true, repetitions=150))
    for n_replicas in (1, 2, 8):
        words = f"one of {n_replicas} stuck at another level"
        found.append(Series(words, partial(_stuck, n_replicas), 1.0, honest=False))
    for period, every in ((2, 2), (2, 1), (4, 4), (4, 2), (3, 2)):
        words = f"period {period}, every {every}. record" if every > 1 else f"period {period}, every record"
        found.append(Series(words, partial(_periodic, period, every), 1.0, honest=False))
    return found


def _ar(phi: float, n_replicas: int, every: int, seed: int) -> Level:
    """200 effective samples: N(1−ρ)/(1+ρ) with ρ = φ^every."""
    rho = phi**every
    n_records = math.ceil(ESS * (1 + rho) / (1 - rho) / n_replicas)
    series = autoregressive(phi, (n_replicas, n_records * every), seed)[:, ::every]
    return es.settling.summarise(1 + SPREAD * series, 0.05, 1.0)


def regressions() -> dict[str, tuple[float, dict[str, object]]]:
    """Runs of SGD and the mean of (η/2)·loss in their stationary state."""
    rng = np.random.default_rng(9)
    problem = es.LinearRegression(rng.standard_normal((30, 3)), rng.standard_normal(30))
    minimiser = np.linalg.lstsq(problem.inputs, problem.targets, rcond=None)[0]
    found: dict[str, tuple[float, dict[str, object]]] = {}
    for name, b, eta, momentum, every in (
        ("b = 1", 1, 0.1, 0.0, 5), ("b = 8", 8, 0.3, 0.0, 2), ("heavy ball", 4, 0.05, 0.8, 4),
        ("every step", 1, 0.2, 0.0, 1),
    ):  # fmt: skip
        sampling = es.WithoutReplacement(b)
        covariance = es.moments.stationary_covariance(problem, step_size=eta, sampling=sampling, momentum=momentum)
        loss = float(problem.loss(minimiser)) + np.trace(problem.hessian(minimiser) @ covariance) / 2
        n_records = 1500
        options = {
            "problem": problem, "theta0": minimiser, "step_size": eta, "sampling": sampling, "momentum": momentum,
            "n_steps": 500 + every * n_records, "record": ("loss",),
            "record_steps": range(500, 501 + every * n_records, every),
        }  # fmt: skip
        found[name] = (eta / 2 * loss, options)
    return found


def _sgd(options: dict[str, object], seed: int) -> Level:
    trace = es.simulate(**options, seed=seed)  # type: ignore[arg-type]
    return es.settling.level(trace, "loss", tolerance=10.0, target=float(trace["step_size"][0]))


def _stuck(n_replicas: int, seed: int) -> Level:
    """The first replica stands still, 0.2 away, from the first third on."""
    series = 1 + SPREAD * autoregressive(0.5, (n_replicas, 900), seed)
    series[0, 300:] = 1.2
    return es.settling.summarise(series, 0.05, 1.0)


def _periodic(period: int, every: int, seed: int) -> Level:
    """A full-batch run that alternates about 1: records at every `every`-th step may see some of its phases only."""
    cycle = np.cos(2 * np.pi * np.arange(period) / period) * 0.1
    steps_taken = np.arange(0, 1200, every)
    noise = 0.001 * np.random.default_rng(seed).standard_normal((4, len(steps_taken)))
    return es.settling.level(full_batch_trace(1 + cycle[steps_taken % period] + noise, steps_taken), "sharpness")


def full_batch_trace(values: FloatArray, steps_taken: IntArray) -> xarray.Dataset:
    """What `simulate` returns of a full-batch run with these values; η = 2, so that (η/2)·statistic is the value."""
    return xarray.Dataset(
        {"sharpness": (("replica", "record"), values), "diverged_at": ("replica", np.full(len(values), -1))},
        {"step": ("record", steps_taken), "step_size": ("record", np.full(len(steps_taken), 2.0))},
        {"scheme": "WithoutReplacement", "batch_size": 16, "n_samples": 16},
    )
