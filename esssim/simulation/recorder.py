"""What a run records: each statistic of `esssim.statistics` under its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from esssim import _validate, statistics
from esssim._validate import FloatArray
from esssim.problems import InvalidProblem, Problem
from esssim.problems.curvature import power_of_two_near
from esssim.sampling import Sampling
from esssim.statistics import Estimate

Value = float | Estimate
Measure = Callable[[Problem, FloatArray, Sampling, int, np.random.SeedSequence], Value]


def _averaged(function: Callable[..., Estimate], **options: str) -> Measure:
    def measure(
        problem: Problem, theta: FloatArray, sampling: Sampling, n_batches: int, seed: np.random.SeedSequence
    ) -> Estimate:
        enumerable = sampling.count(problem.n_samples) <= n_batches
        count = None if enumerable else n_batches
        return function(problem, theta, sampling, n_batches=count, seed=seed, draws="uniform", **options)

    return measure


def _norm(vector: FloatArray) -> float:
    """‖v‖, by squares that stay in range."""
    unit = power_of_two_near(vector)
    return float(np.linalg.norm(vector / unit)) * unit


GAUSS_NEWTON = "mean_square_sharpness_gauss_newton"
# Every function here ignores what it does not need, so that the recorder can call them all alike.
STATISTICS: dict[str, Measure] = {
    "loss": lambda problem, theta, *_: float(problem.loss(theta)),
    "gradient_norm": lambda problem, theta, *_: _norm(problem.gradient(theta)),
    "sharpness": lambda problem, theta, *_: statistics.sharpness(problem, theta),
    "minibatch_sharpness": _averaged(statistics.minibatch_sharpness),
    "batch_sharpness": _averaged(statistics.batch_sharpness),
    "batch_sharpness_parts": _averaged(statistics.batch_sharpness, average="parts"),
    "gradient_noise_interaction": lambda p, t, s, *_: statistics.gradient_noise_interaction(p, t, s),
    "interaction_aware_sharpness": lambda p, t, s, *_: statistics.interaction_aware_sharpness(p, t, s),
    "mean_square_sharpness": lambda p, t, s, *_: statistics.mean_square_sharpness(p, t, s),
    GAUSS_NEWTON: lambda p, t, s, *_: statistics.mean_square_sharpness(p, t, s, hessian="gauss_newton"),
}
SAMPLED = ("minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts")
# Statistics that are ratios, or need positive curvature: undefined (NaN in a record) where those fail.
PARTIAL = (
    "batch_sharpness",
    "batch_sharpness_parts",
    "gradient_noise_interaction",
    "interaction_aware_sharpness",
    "mean_square_sharpness",
    GAUSS_NEWTON,
)


def check_names(record: Sequence[str], problem: Problem) -> tuple[str, ...]:
    """The names to record, each known, and defined for the problem at some point at least."""
    if isinstance(record, str) or not isinstance(record, Iterable):
        raise ValueError(f"record must be a sequence of names, got {_validate.shown(record)}")
    names = tuple(_validate.choice("record", name, (*STATISTICS, "theta")) for name in record)
    has_residuals = type(problem).gauss_newton_curvature is not Problem.gauss_newton_curvature
    if GAUSS_NEWTON in names and not has_residuals:
        raise ValueError(f"record {GAUSS_NEWTON!r} needs a problem with residuals, {type(problem).__name__} has none")
    return names


def variables(record: Sequence[str]) -> list[str]:
    """The scalar variables that these names give: sampled ones come with their standard error."""
    names = [name for name in record if name != "theta"]
    return names + [f"{name}_standard_error" for name in names if name in SAMPLED]


def measure(
    problem: Problem,
    theta: FloatArray,
    sampling: Sampling,
    record: Sequence[str],
    n_batches: int,
    seed: np.random.SeedSequence,
) -> dict[str, float]:
    """All variables at one theta; batches are the same for all sampled statistics of a record."""
    row: dict[str, float] = {}
    for name in record:
        if name == "theta":
            continue
        try:
            value = STATISTICS[name](problem, theta, sampling, n_batches, seed)
        except ValueError as error:
            if name not in PARTIAL or isinstance(error, InvalidProblem):
                raise
            value = Estimate(np.nan, np.nan, 0, False)
        row[name] = float(value)
        if name in SAMPLED:
            row[f"{name}_standard_error"] = value.standard_error if isinstance(value, Estimate) else 0.0
    return row
