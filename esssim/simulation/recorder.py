"""What a run records: statistics of the table by their names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from esssim import _validate
from esssim._errors import Undefined
from esssim._validate import FloatArray
from esssim.adaptive import PreconditionedMethod
from esssim.batch_method import BatchMethod
from esssim.problems import Problem, preconditioned
from esssim.problems.once import one_record
from esssim.sampling import Reshuffled, Sampling
from esssim.sharpness_aware import SharpnessAware
from esssim.simulation.runner import HeavyBall, Method, Metric
from esssim.stability import critical_step_size
from esssim.stability.batch_method import step_size_of
from esssim.statistics import Estimate, momentum_batch_sharpness
from esssim.statistics.table import MEAN_SQUARE, MOMENTUM_BATCH, OWN, PRECONDITIONED, STATISTICS


def check_names(
    record: Sequence[str],
    problem: Problem,
    method: PreconditionedMethod | HeavyBall | BatchMethod | None = None,
    sampling: Sampling | None = None,
) -> tuple[str, ...]:
    """The names to record, each known, and defined for the problem at some point at least.

    method: None for a step along the gradient of a batch of `sampling`.
    """
    if isinstance(record, str) or not isinstance(record, Iterable):
        raise ValueError(f"record must be a sequence of names, got {_validate.shown(record)}")
    of_method: tuple[str, ...] = () if method is None else (OWN,)
    if isinstance(method, HeavyBall):
        of_method += (MOMENTUM_BATCH,)
    if isinstance(method, PreconditionedMethod):
        of_method += tuple(f"{PRECONDITIONED}{name}" for name in STATISTICS)
    names = tuple(_validate.choice("record", name, (*STATISTICS, "theta", *of_method)) for name in record)
    for name in names:
        known = MEAN_SQUARE if name == OWN else name.removeprefix(PRECONDITIONED)
        if known in STATISTICS and (reason := STATISTICS[known].refuses(problem)):
            raise ValueError(f"record {name!r} {reason}")
        if name == OWN and isinstance(sampling, Reshuffled):
            raise ValueError(f"record {name!r} needs independent batches, got {sampling!r}")
        if name == OWN and isinstance(method, SharpnessAware) and method.normalised:
            raise ValueError(
                f"record {name!r} needs normalised=False, got {method!r}: no edge of it is known on batches"
            )
    return names


def variables(record: Sequence[str]) -> list[str]:
    """The scalar variables that these names give: sampled ones come with their standard error."""
    names = [name for name in record if name != "theta"]
    return names + [f"{name}_standard_error" for name in names if _is_sampled(name)]


def _is_sampled(name: str) -> bool:
    return name == MOMENTUM_BATCH or (name != OWN and STATISTICS[name.removeprefix(PRECONDITIONED)].sampled)


def measure(
    problem: Problem,
    theta: FloatArray,
    sampling: Sampling,
    record: Sequence[str],
    n_batches: int,
    seed: np.random.SeedSequence,
    method: Method | None = None,
) -> dict[str, float]:
    """All variables at one theta; batches are the same for all sampled statistics of a record, NaN what is
    undefined, and what is of the preconditioner where method is None.
    """
    row: dict[str, float] = {}
    changed = (problem, theta)
    if isinstance(method, Metric):
        changed = (preconditioned(problem, method.preconditioner), np.sqrt(method.preconditioner) * theta)
    with one_record():
        for name in record:
            if name == "theta":
                continue
            key = name.removeprefix(PRECONDITIONED)
            is_of_metric = name == OWN or key != name
            where = changed if is_of_metric else (problem, theta)
            value: float | Estimate
            try:
                if is_of_metric and method is None:
                    raise Undefined(f"{name} needs a step of the method")
                if name == OWN and method is not None:
                    value = _own_sharpness(*where, sampling, method)
                elif name == MOMENTUM_BATCH and isinstance(method, HeavyBall):
                    count = None if sampling.has_at_most(problem.n_samples, n_batches) else n_batches
                    law = method._asdict()
                    value = momentum_batch_sharpness(
                        problem, theta, law.pop("velocity"), sampling, **law, n_batches=count, seed=seed
                    )
                else:
                    value = STATISTICS[key].measure(*where, sampling, n_batches, seed)
            except Undefined:
                value = Estimate(np.nan, np.nan, 0, False)
            row[name] = float(value)
            if _is_sampled(name):
                row[f"{name}_standard_error"] = value.standard_error if isinstance(value, Estimate) else 0.0
    return row


def _own_sharpness(problem: Problem, theta: FloatArray, sampling: Sampling, method: Method) -> float:
    """2/η_c of the Gauss–Newton linearisation; of a Metric in its own coordinates."""
    if isinstance(method, BatchMethod):
        return 2 / step_size_of(method, problem, theta, "gauss_newton")
    if isinstance(method, HeavyBall):
        momentum = {"momentum": method.momentum, "nesterov": method.nesterov}
        return 2 / critical_step_size(problem, theta, sampling, **momentum, hessian="gauss_newton")  # type: ignore[arg-type]
    # An average of gradients is heavy ball with the step (1−β)η.
    eta = critical_step_size(problem, theta, sampling, momentum=method.momentum, hessian="gauss_newton")
    return 2 * (1 - method.momentum) / eta
