"""`solve`: the flow from one solution on, recorded like a run of `esssim.simulate`."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._fingerprint import fingerprint, fingerprint_or_reason
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.bursts import bursts
from esssim.flow.integrate import integrate
from esssim.flow.law import Law
from esssim.flow.mean import MeanLaw
from esssim.flow.observables import MEASURED, observe
from esssim.flow.point import Point
from esssim.flow.rank import first_rank, with_enough_modes
from esssim.flow.rows import LeastSquaresProblem
from esssim.flow.validity import next_order_correction
from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares, Problem
from esssim.problems.boundary import divergence_is_expected
from esssim.sampling import Reshuffled, Sampling, check_sampling
from esssim.simulation.schedule import Ramp
from esssim.stability.edges import check_momentum
from esssim.statistics.table import MEAN_SQUARE

# Record -> field of the bursts at a point.
OF_BURSTS = {
    "burst_correction": "correction", "tail_index": "tail_index", "almost_sure_excess": "almost_sure_excess"
}  # fmt: skip
RECORDS = (*MEASURED, "next_order_correction", "error_estimate", *OF_BURSTS)


@one_blas_thread()
def solve(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float | Ramp,
    sampling: Sampling,
    n_steps: int,
    label_noise: float = 0.0,
    momentum: float = 0.0,
    follow: Literal["solutions", "mean"] = "solutions",
    record: Sequence[str] = RECORDS,
    n_records: int = 100,
    n_batches: int = 1024,
    rank: int | None = None,
    most_evaluations: int | None = None,
    progress: Progress = False,
    seed: int = 0,
) -> xarray.Dataset:
    """The stochastic central flow: where SGD with label noise drifts along the solutions of a model, without SGD.

        dθ/dt = −(η/n) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ],   t in steps,

    J = ∂f/∂θ, P the projection on ker J, K = JJᵀ, R the stationary covariance of the residuals, infinite at ηQ_b = 2.

    problem: a `NonlinearLeastSquares` or `MultiOutputLeastSquares`; theta0: (p,), a minimum. Other arguments: as for
    `simulate`. follow="mean": the mean of SGD off the solutions, from any theta0. n_batches: per record of sampled
    statistics. rank: leading modes of K for large problems. most_evaluations: of dθ/dt, then the flow gives up.

    Returns a Dataset with dim record and coords step and step_size: theta, the loss, statistics with Gauss–Newton
    Hessians, distance_to_edge, corrections, error estimates, `diverged_at` and `gave_up_at` (docs/flow.md). Raises
    ValueError for bad arguments and for a theta0 that is no minimum or beyond the edge. Source:
    theory/stochastic_central_flow.py; after Damian, Ma & Lee, NeurIPS 2021; Cohen et al., ICLR 2025.
    """
    if not isinstance(problem, (NonlinearLeastSquares, MultiOutputLeastSquares)):
        raise ValueError(
            "problem must have squared loss, a NonlinearLeastSquares or MultiOutputLeastSquares, "
            f"got {type(problem).__name__}"
        )
    check_sampling(sampling, problem.n_samples)
    if isinstance(sampling, Reshuffled):
        raise ValueError("sampling must draw independent batches, the batches of a reshuffled epoch are dependent")
    n_steps = _validate.integer("n_steps", n_steps, 1)
    n_records = _validate.integer("n_records", n_records, 2)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    seed = _validate.integer("seed", seed, 0)
    if isinstance(record, str) or not isinstance(record, Iterable):
        raise ValueError(f"record must be a sequence of names, got {_validate.shown(record)}")
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    limit = math.inf if most_evaluations is None else _validate.integer("most_evaluations", most_evaluations, 1)
    names = tuple(_record(name) for name in record)
    on_solutions = _validate.choice("follow", follow, ("solutions", "mean")) == "solutions"
    setting = (sampling, Ramp.of(step_size), n_steps, noise, check_momentum(momentum))
    kind, first = Law if on_solutions else MeanLaw, _moving_point(problem, theta0)
    law, start = kind.of(problem, first, *setting, first_rank(problem, rank))
    law = law if rank is not None else with_enough_modes(law, start)
    if law.fast(0.0, law.at(start)).noise is None:
        raise ValueError(f"step_size must start below the mean-square edge 2/Q_b, got {law.ramp.start:g}")
    steps = np.unique(np.linspace(0, n_steps, n_records).round().astype(np.int64))
    with shown(progress, len(steps) - 1, "flow") as advance, divergence_is_expected():
        course = integrate(law, start, steps, limit, advance)
    thetas = course.thetas
    points = [law.at(theta) for theta in thetas]
    finite = np.atleast_1d(np.isfinite(thetas).all(axis=1))
    corrections: dict[str, FloatArray] = {}
    if {"next_order_correction", "error_estimate"} & set(names):
        corrections["next_order_correction"] = next_order = next_order_correction(law, points, steps, limit)
        unknown = finite & np.isnan(next_order)
        corrections["error_estimate"] = np.where(unknown, np.inf, np.abs(next_order))
    columns = {name: column for name, column in corrections.items() if name in names}
    for k, (step, point) in enumerate(zip(steps, points, strict=True)):
        if finite[k]:
            key = np.random.SeedSequence(seed, spawn_key=(int(step),))
            fast = law.fast(float(step), point)
            row = observe(point, fast, law.mean_residuals(point), noise, sampling, names, n_batches, key)
            if set(OF_BURSTS) & set(names):
                found = bursts(point, fast, sampling, seed)
                row |= {name: getattr(found, field) for name, field in OF_BURSTS.items() if name in names}
            for name, value in row.items():
                columns.setdefault(name, np.full(len(steps), np.nan))[k] = value
    data: dict[str, Any] = {name: ("record", column) for name, column in columns.items()}
    data["theta"] = (("record", "parameter"), thetas)
    data |= {name: ((), getattr(course, name)) for name in ("diverged_at", "gave_up_at", "n_evaluations")}
    coords = {"step": ("record", steps), "step_size": ("record", law.ramp.at(steps, n_steps))}
    last = np.flatnonzero(finite)[-1]
    error_of_rank = law.error_of_rank(float(steps[last]), points[last])
    return xarray.Dataset(data, coords, _provenance(law, start, noise, n_batches, seed, error_of_rank))


def _record(name: str) -> str:
    if name == "mean_square_sharpness":
        raise ValueError(
            f"record 'mean_square_sharpness' is that of the full Hessians, which the flow does not know; that of its "
            f"Gauss–Newton Hessians is {MEAN_SQUARE!r}"
        )
    return _validate.choice("record", name, RECORDS)


def _moving_point(problem: LeastSquaresProblem, theta0: npt.ArrayLike) -> FloatArray:
    """theta0 (p,), where the model answers to a change of θ."""
    point = problem.check_point(theta0, "theta0")
    if not Point(problem, point).jacobians.any():
        raise ValueError(
            "theta0 must be a point where the model depends on it to first order, all gradients of f vanish"
        )
    return point


def _provenance(
    law: Law, start: FloatArray, label_noise: float, n_batches: int, seed: int, error_of_rank: float
) -> dict[str, Any]:
    versions = {name: version(name) for name in ("esssim", "numpy", "scipy", "xarray")}
    return {
        "problem": type(law.problem).__name__,
        "problem_fingerprint": fingerprint_or_reason(law.problem),
        "theta0_fingerprint": fingerprint(start),
        "n_samples": law.problem.n_samples,
        "n_params": law.problem.n_params,
        "n_outputs": rows.n_outputs(law.problem),
        "scheme": type(law.sampling).__name__,
        "batch_size": law.sampling.batch_size,
        "step_size_start": law.ramp.start,
        "step_size_stop": law.ramp.stop,
        "step_size_shape": law.ramp.shape,
        "n_steps": law.n_steps,
        "momentum": law.momentum,
        "label_noise": label_noise,
        "follow": "mean" if isinstance(law, MeanLaw) else "solutions",
        "frozen_noise": float(np.sqrt((law.mean_residuals(law.at(start)) ** 2).mean())),
        "rank": law.rank or 0,
        "error_of_rank": error_of_rank,
        "n_batches": n_batches,
        "seed": seed,
        "versions": json.dumps(versions | {"python": platform.python_version()}),
    }
