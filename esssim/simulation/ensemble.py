"""`simulate`: replicas, records, provenance."""

from __future__ import annotations

import contextlib
import functools
import json
import platform
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._fingerprint import fingerprint, fingerprint_or_reason
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.adaptive import PreconditionedMethod
from esssim.batch_method import BatchMethod
from esssim.dropout import Dropout
from esssim.gradient_noise import GradientNoise, check_noise
from esssim.problems import DiagonalLinearNetwork, Labelled, LinearRegression, Problem, check_problem
from esssim.problems.derivatives import mark_checked
from esssim.random_weights import RandomWeights
from esssim.sampling import Sampling
from esssim.sharpness_aware import SharpnessAware
from esssim.simulation.adaptive import AdaptiveReplica
from esssim.simulation.dropout import DropoutReplica
from esssim.simulation.noisy import NoisyReplica
from esssim.simulation.recorder import check_names, measure, variables
from esssim.simulation.runner import HeavyBall, Optimiser, Replica
from esssim.simulation.schedule import Phases, Ramp, steps_of_names
from esssim.simulation.sharpness_aware import SharpnessAwareReplica
from esssim.simulation.weighted import WeightedReplica
from esssim.simulation.zeroth_order import ZerothOrderReplica
from esssim.stability.edges import check_momentum
from esssim.statistics.table import OWN
from esssim.zeroth_order import ZerothOrder

# What one replica gives: a column per variable, its thetas, and the step at which it diverged or −1.
Result = tuple[dict[str, FloatArray], FloatArray, int]


def simulate(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float | Ramp,
    sampling: Sampling | GradientNoise | BatchMethod,
    n_steps: int,
    n_replicas: int = 1,
    momentum: float = 0.0,
    nesterov: bool = False,
    adaptive: PreconditionedMethod | None = None,
    label_noise: float = 0.0,
    record: Sequence[str] = ("loss", "sharpness"),
    n_records: int = 100,
    record_steps: Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    n_batches: int = 256,
    n_workers: int = 1,
    progress: Progress = False,
    seed: int = 0,
) -> xarray.Dataset:
    """An ensemble of SGD runs θ ← θ − ηg_B (heavy ball v ← βv + g_B, θ ← θ − ηv; Nesterov θ ← θ − η(g_B + βv)).

    theta0: (p,), or (n_replicas, p) for a start each. step_size: η, or a `Ramp`. sampling: a scheme, or what replaces
    g_B: `GradientNoise`, `ZerothOrder`, `SharpnessAware`, `Dropout`. adaptive: `RMSProp` or `Adam`. label_noise: ε,
    targets y + εz, z drawn in each step. record: names of `esssim.statistics.STATISTICS`, "theta" (more:
    docs/simulation.md), at n_records or `record_steps`. n_batches: batches a record for sampled statistics. n_workers:
    processes. progress: True for a bar, or f(replicas done, all).

    Returns a Dataset with dims (replica, record), coords step (updates done) and step_size, a variable per name (with
    its standard error where sampled) and `diverged_at` (replica,), where a gradient or residual exceeds 1e100, or −1;
    records from there on are NaN. The same seed gives the same numbers for any n_replicas, n_workers and records.
    Raises ValueError for bad arguments.
    """
    check_problem(problem)
    n_steps = _validate.integer("n_steps", n_steps, 1)
    n_replicas = _validate.integer("n_replicas", n_replicas, 1)
    seed = _validate.integer("seed", seed, 0)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    if noise > 0 and not isinstance(problem, Labelled):
        raise ValueError(f"label_noise must be 0 without targets ({type(problem).__name__}), got {label_noise!r}")
    batches, in_place = _gradients(sampling, problem.n_samples)
    if isinstance(in_place, Dropout) and not isinstance(problem, LinearRegression | DiagonalLinearNetwork):
        raise ValueError(
            f"problem must be linear regression or a diagonal network for dropout, got {type(problem).__name__}"
        )
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    _check_adaptive(adaptive, sampling, beta)
    method = in_place if isinstance(in_place, BatchMethod) else adaptive
    draws_batches = in_place is None and not isinstance(batches, RandomWeights)
    if beta > 0 and draws_batches:
        names = check_names(record, problem, HeavyBall(np.empty(0), beta, nesterov), batches)
    else:
        names = check_names(record, problem, method, batches)
    if OWN in names and beta > 0 and not draws_batches:
        raise ValueError(f"record {OWN!r} needs momentum 0 under {method!r}, got {momentum!r}: its edge is not known")
    optimiser = Optimiser(Ramp.of(step_size), batches, n_steps, beta, nesterov, noise, in_place, adaptive)
    starts = check_starts(problem, theta0, n_replicas)
    phases = Phases.of((batches,), problem.n_samples, seed)
    steps, due = steps_of_names(names, n_steps, n_records, record_steps, phases)
    workers = min(_validate.integer("n_workers", n_workers, 1), n_replicas)
    # A few stretches of replicas per worker: enough to balance them, few enough to cost nothing.
    stretches = np.array_split(np.arange(n_replicas), min(n_replicas, 8 * workers))
    jobs = (
        joblib.delayed(_run_replicas)(problem, starts, optimiser, names, steps, due, n_batches, seed, stretch)
        for stretch in stretches
    )
    results: list[Result] = []
    with shown(progress, n_replicas, "replicas") as tell:
        with workers_without_interrupts():
            stretches_done = joblib.Parallel(n_jobs=workers, return_as="generator")(jobs)
        for finished in stretches_done:
            results.extend(finished)
            tell(len(finished))
    data = stacked(results, variables(names), "theta" in names)
    coords = {"step": ("record", steps), "step_size": ("record", optimiser.ramp.at(steps, n_steps))}
    return xarray.Dataset(data, coords, _provenance(problem, optimiser, starts, seed, n_batches))


def _gradients(
    sampling: Sampling | GradientNoise | BatchMethod, n_samples: int
) -> tuple[Sampling, GradientNoise | BatchMethod | None]:
    """The batches of a run, and what takes the place of their gradient."""
    if isinstance(sampling, BatchMethod):
        return check_noise(sampling.sampling, n_samples)[0], sampling
    return check_noise(sampling, n_samples)


def _check_adaptive(adaptive: PreconditionedMethod | None, sampling: object, momentum: float) -> None:
    if adaptive is None:
        return
    _validate.instance("adaptive", adaptive, PreconditionedMethod, "RMSProp()")
    if not isinstance(sampling, Sampling) or isinstance(sampling, RandomWeights):
        raise ValueError(f"sampling must draw batches for an adaptive method, got {sampling!r}")
    if momentum > 0:
        raise ValueError(f"momentum must be 0 with adaptive={adaptive!r}, got {momentum!r}; Adam has one of its own")


def check_starts(problem: Problem, theta0: npt.ArrayLike, n_replicas: int) -> FloatArray:
    """A start for each replica, (n_replicas, p), from one for all or one for each."""
    starts = problem.check_theta(theta0, "theta0")
    if starts.shape not in ((problem.n_params,), (n_replicas, problem.n_params)):
        raise ValueError(
            f"theta0 must have shape ({problem.n_params},) or (n_replicas, n_params) = "
            f"({n_replicas}, {problem.n_params}), got {starts.shape}"
        )
    for start in starts.reshape(-1, problem.n_params):
        problem.check_start(start)
    return np.broadcast_to(starts, (n_replicas, problem.n_params))


def stacked(results: Sequence[Result], scalars: Sequence[str], with_theta: bool) -> dict[str, Any]:
    """The data variables of a run, from what each replica gave."""
    columns, thetas, diverged = zip(*results, strict=True)
    data: dict[str, Any] = {
        name: (("replica", "record"), np.stack([column[name] for column in columns])) for name in scalars
    }
    if with_theta:
        data["theta"] = (("replica", "record", "parameter"), np.stack(thetas))
    data["diverged_at"] = ("replica", np.array(diverged, dtype=np.int64))
    return data


@contextlib.contextmanager
def workers_without_interrupts() -> Iterator[None]:
    """Processes that start here ignore Ctrl-C, which a terminal sends to all: this one ends them, without noise."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)


@functools.cache
def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("esssim", "numpy", "scipy", "numba", "xarray")}
    return packages | {"python": platform.python_version()}


def _run_replicas(
    problem: Problem,
    starts: FloatArray,
    optimiser: Optimiser,
    names: Sequence[str],
    steps: IntArray,
    due: Sequence[tuple[str, ...]],
    n_batches: int,
    seed: int,
    indices: IntArray,
) -> list[Result]:
    mark_checked(problem)
    # One BLAS thread: the same bits on any number of workers.
    with one_blas_thread():
        options = (optimiser, names, steps, due, n_batches, seed)
        return [_run_replica(problem, starts[i], *options, int(i)) for i in indices]


def _run_replica(
    problem: Problem,
    theta0: FloatArray,
    optimiser: Optimiser,
    names: Sequence[str],
    steps: IntArray,
    due: Sequence[tuple[str, ...]],
    n_batches: int,
    seed: int,
    index: int,
) -> Result:
    """Replica `index`: its streams depend on the seed and on its own index only."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    replica = _kind_of(optimiser)(problem, theta0, optimiser, rng)
    columns = {name: np.full(len(steps), np.nan) for name in variables(names)}
    thetas = np.full((len(steps), problem.n_params) if "theta" in names else (0, 0), np.nan)
    for k, step in enumerate(steps):
        replica.advance(int(step))
        if replica.diverged_at >= 0:
            break
        if replica.is_out_of_range():
            # By a sample that the next batches need not have: nothing can be measured from here on.
            replica.diverged_at = int(step)
            break
        statistic_seed = np.random.SeedSequence(seed, spawn_key=(index, int(step)))
        row = measure(problem, replica.theta, optimiser.sampling, due[k], n_batches, statistic_seed, replica.method)
        for name, value in row.items():
            columns[name][k] = value
        if "theta" in due[k]:
            thetas[k] = replica.theta
    return columns, thetas, replica.diverged_at


def _kind_of(optimiser: Optimiser) -> type[Replica]:
    if optimiser.adaptive is not None:
        return AdaptiveReplica
    if isinstance(optimiser.noise, ZerothOrder):
        return ZerothOrderReplica
    if isinstance(optimiser.noise, SharpnessAware):
        return SharpnessAwareReplica
    if isinstance(optimiser.noise, Dropout):
        return DropoutReplica
    if optimiser.noise is not None:
        return NoisyReplica
    return WeightedReplica if isinstance(optimiser.sampling, RandomWeights) else Replica


def _provenance(
    problem: Problem, optimiser: Optimiser, starts: FloatArray, seed: int, n_batches: int
) -> dict[str, Any]:
    return {
        "problem": type(problem).__name__,
        "problem_fingerprint": fingerprint_or_reason(problem),
        "theta0_fingerprint": fingerprint(starts[0] if (starts == starts[0]).all() else starts),
        "n_samples": problem.n_samples,
        "n_params": problem.n_params,
        "scheme": type(optimiser.noise or optimiser.sampling).__name__,
        "batch_size": optimiser.sampling.batch_size,
        "step_size_start": optimiser.ramp.start,
        "step_size_stop": optimiser.ramp.stop,
        "step_size_shape": optimiser.ramp.shape,
        "n_steps": optimiser.n_steps,
        "momentum": optimiser.momentum,
        "nesterov": int(optimiser.nesterov),
        "label_noise": optimiser.label_noise,
        "n_batches": n_batches,
        "seed": seed,
        "versions": json.dumps(_versions()),
    } | ({} if optimiser.adaptive is None else {"adaptive": repr(optimiser.adaptive)})
