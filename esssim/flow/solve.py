"""`solve`: the flow from one solution on, recorded like a run of `esssim.simulate`."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import xarray
from scipy.integrate import BDF

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.flow.law import Law, nearest_solution
from esssim.flow.observables import EXACT, SAMPLED, observe
from esssim.flow.validity import next_order_correction
from esssim.problems import NonlinearLeastSquares, Problem
from esssim.sampling import Reshuffled, Sampling
from esssim.simulation.schedule import Ramp

STATISTICS = (*EXACT, *SAMPLED, "next_order_correction", "error_estimate")
RELATIVE_TOLERANCE = 1e-6
# The solver's steps shrink without end at a wall that the flow cannot leave; this fraction of the time gone by is short.
SHORTEST_STEP = 1e-7


def solve(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float | Ramp,
    sampling: Sampling,
    n_steps: int,
    label_noise: float = 0.0,
    record: Sequence[str] = STATISTICS,
    n_records: int = 100,
    n_batches: int = 1024,
    seed: int = 0,
) -> xarray.Dataset:
    """The stochastic central flow: where SGD with label noise drifts along the solutions of a model, without SGD.

        dθ/dt = −(η/n) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ],   t in steps,

    P the projection on ker J, K = JJᵀ, R the stationary covariance of the residuals (`esssim.flow.fast`). R is singular
    exactly at the mean-square edge ηQ_b = 2: a wall, which the flow follows at a distance that shrinks as ε².

    problem: any `NonlinearLeastSquares`; theta0: (p,), a minimum of the loss. The other arguments are those of `simulate`:
    step_size η or a `Ramp`, label_noise ε. Residuals r* that are left at theta0 (targets that no θ fits) act as noise
    that is frozen in the targets. record: names from `STATISTICS`; n_batches: batches per record for sampled statistics,
    drawn from `seed`, each with its own r ~ N(0, R); MiniBS enumerates where there are no more.

    Returns a Dataset with dim record and coords step and step_size: theta; loss = E‖r* + r‖²/2n without the label noise;
    the statistics of `esssim.statistics` with Gauss–Newton Hessians (sampled ones with their standard error);
    distance_to_edge = 1 − ηQ_b/2; next_order_correction, the relative change of Q_b from the next order in the noise
    (`esssim.flow.validity`), and error_estimate, its absolute value; `diverged_at`, the step at which no stable
    solution is left in reach, −1 for none, and NaN from there on. Raises ValueError for bad arguments, for a theta0 that
    is no minimum or already beyond the edge. Source: esssim, theory/stochastic_central_flow.py; after Damian, Ma & Lee,
    NeurIPS 2021 (b = n) and Cohen et al., ICLR 2025 (central flow).
    """
    if not isinstance(problem, NonlinearLeastSquares):
        raise ValueError(f"problem must be a NonlinearLeastSquares, got {type(problem).__name__}")
    sampling.check(problem.n_samples)
    if isinstance(sampling, Reshuffled):
        raise ValueError("sampling must draw independent batches, the batches of a reshuffled epoch are dependent")
    n_steps = _validate.integer("n_steps", n_steps, 1)
    n_records = _validate.integer("n_records", n_records, 2)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    seed = _validate.integer("seed", seed, 0)
    if isinstance(record, str):
        raise ValueError(f"record must be a sequence of names, got the string {record!r}")
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    names = tuple(_validate.choice("record", name, STATISTICS) for name in record)
    law, start = Law.of(problem, problem.check_point(theta0), sampling, Ramp.of(step_size), n_steps, noise)
    if law.fast(0.0, start).noise is None:
        raise ValueError(f"step_size must start below the mean-square edge 2/Q_b, got {law.ramp.start:g}")
    steps = np.unique(np.linspace(0, n_steps, n_records).round().astype(np.int64))
    thetas, diverged_at = _integrate(law, start, steps)
    columns: dict[str, FloatArray] = {}
    for k, step in enumerate(steps):
        if np.isfinite(thetas[k]).all():
            key = np.random.SeedSequence(seed, spawn_key=(int(step),))
            fast = law.fast(float(step), thetas[k])
            row = observe(fast, law.frozen_residuals, sampling, names, n_batches, key)
            if {"next_order_correction", "error_estimate"} & set(names):
                correction = next_order_correction(problem, thetas[k], fast)
                both = {"next_order_correction": correction, "error_estimate": abs(correction)}
                row |= {name: value for name, value in both.items() if name in names}
            for name, value in row.items():
                columns.setdefault(name, np.full(len(steps), np.nan))[k] = value
    data: dict[str, Any] = {name: ("record", column) for name, column in columns.items()}
    data["theta"] = (("record", "parameter"), thetas)
    data["diverged_at"] = ((), diverged_at)
    coords = {"step": ("record", steps), "step_size": ("record", law.ramp.at(steps, n_steps))}
    return xarray.Dataset(data, coords, _provenance(law, start, noise, n_batches, seed))


def _provenance(law: Law, start: FloatArray, label_noise: float, n_batches: int, seed: int) -> dict[str, Any]:
    versions = {name: version(name) for name in ("esssim", "numpy", "scipy", "xarray")}
    return {
        "problem": type(law.problem).__name__,
        "problem_fingerprint": law.problem.fingerprint,
        "theta0_fingerprint": joblib.hash(start),
        "n_samples": law.problem.n_samples,
        "n_params": law.problem.n_params,
        "scheme": type(law.sampling).__name__,
        "batch_size": law.sampling.batch_size,
        "step_size_start": law.ramp.start,
        "step_size_stop": law.ramp.stop,
        "step_size_shape": law.ramp.shape,
        "n_steps": law.n_steps,
        "label_noise": label_noise,
        "frozen_noise": float(np.sqrt((law.frozen_residuals**2).mean())),
        "n_batches": n_batches,
        "seed": seed,
        "versions": json.dumps(versions | {"python": platform.python_version()}),
    }


def _integrate(law: Law, start: FloatArray, steps: IntArray) -> tuple[FloatArray, int]:
    """θ at `steps`, (m, p), and the step at which the flow meets a wall that it cannot leave, −1 for none.

    BDF, whose Newton iteration only has to know the part of the Jacobian that is stiff.
    """
    thetas = np.full((len(steps), len(start)), np.nan)
    thetas[0] = start
    jacobian = np.zeros((len(start), len(start)))

    def last_jacobian(step: float, theta: FloatArray) -> FloatArray:
        nonlocal jacobian
        found = law.stiff_jacobian(step, theta)
        jacobian = jacobian if found is None else found
        return jacobian

    solver = BDF(
        law.velocity,
        0.0,
        start,
        float(steps[-1]),
        rtol=RELATIVE_TOLERANCE,
        atol=1e-2 * RELATIVE_TOLERANCE * (float(np.abs(start).max()) or 1.0),
        jac=last_jacobian,
    )
    done = 1
    while solver.status == "running":
        solver.step()
        stuck = solver.status == "failed" or (solver.step_size or 0.0) < SHORTEST_STEP * solver.t
        if stuck and solver.t < steps[-1]:
            return thetas, math.ceil(solver.t)
        interpolant = solver.dense_output()
        while done < len(steps) and steps[done] <= solver.t:
            corrected = nearest_solution(law.problem, np.asarray(interpolant(float(steps[done]))))
            if corrected is None:
                raise RuntimeError(f"flow.solve left the set of solutions at step {steps[done]}")
            thetas[done] = corrected
            done += 1
    return thetas, -1
