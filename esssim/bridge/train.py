"""`train`: runs of SGD on a torch problem with statistics along the way, resumable, in the form of
`esssim.simulate`.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import numpy.typing as npt
import torch
import xarray
from threadpoolctl import threadpool_limits

from esssim import _validate
from esssim._fingerprint import fingerprint, fingerprint_or_reason
from esssim._progress import Progress, shown
from esssim._validate import FloatArray, IntArray
from esssim.bridge import resume
from esssim.bridge.checkpoint import Checkpoint
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.derivatives import NonFiniteDerivatives
from esssim.bridge.leading import RANK
from esssim.bridge.loops import Optimiser, Run
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import measure, variables
from esssim.bridge.resume import Records
from esssim.bridge.schedule import Batches, StepSize, batches_of, sampling_pieces, step_size_function
from esssim.simulation.ensemble import Result, check_starts, stacked
from esssim.simulation.recorder import check_names
from esssim.simulation.schedule import Phases, steps_to_record
from esssim.stability.edges import check_momentum


def train(
    problem: TorchProblem,
    theta0: npt.ArrayLike,
    *,
    step_size: StepSize,
    sampling: Batches,
    n_steps: int,
    n_replicas: int = 1,
    momentum: float = 0.0,
    label_noise: float = 0.0,
    record: Sequence[str] = ("loss", "sharpness"),
    n_records: int = 40,
    record_steps: Sequence[int] | None = None,
    n_batches: int = 32,
    rank: int = RANK,
    n_workers: int = 1,
    checkpoint: str | Path | None = None,
    progress: Progress = False,
    seed: int = 0,
) -> xarray.Dataset:
    """Train a torch problem by SGD θ ← θ − ηg_B, or heavy ball v ← βv + g_B, θ ← θ − ηv, and record statistics.

    theta0: (p,), or (n_replicas, p) for a start each. step_size: η, a `Ramp`, or `Piecewise`; sampling: a scheme, a
    `GradientNoise` in its place, or `Piecewise` ones (interventions). label_noise: ε, targets y + εz, z drawn in
    each step (squared error only). record, n_records, record_steps, n_batches, n_workers, progress: as for
    `esssim.simulate` (docs/simulation.md). rank: directions of the Gauss–Newton mean-square sharpness where all samples
    have more than 600 outputs; the value rises with the rank to the exact one. checkpoint: an NPZ file that each record
    renews; the same call goes on from it after a kill.

    Returns the Dataset of `esssim.simulate`, with the coord batch_size besides. The same seed gives the same numbers
    for any n_replicas, n_workers, records, and number of interruptions. Raises ValueError for bad arguments and for a
    checkpoint of another run.
    """
    _validate.instance("problem", problem, TorchProblem, "TorchProblem(module, inputs, targets)")
    n_steps = _validate.integer("n_steps", n_steps, 1)
    n_replicas = _validate.integer("n_replicas", n_replicas, 1)
    seed = _validate.integer("seed", seed, 0)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    rank = _validate.integer("rank", rank, 1)
    names = check_names(record, problem)
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    if noise > 0 and problem.loss_name != "squared":
        raise ValueError(f"label_noise must be 0 unless loss='squared', got {label_noise!r} with {problem.loss_name!r}")
    pieces = sampling_pieces(sampling, problem.n_samples, n_steps)
    optimiser = Optimiser(step_size_function(step_size, n_steps), pieces, check_momentum(momentum), noise)
    starts = check_starts(problem, theta0, n_replicas)
    phases = Phases.of([batches_of(piece) for piece in pieces.values], problem.n_samples, seed)
    steps = steps_to_record(n_steps, n_records, record_steps, phases)
    workers = min(_validate.integer("n_workers", n_workers, 1), n_replicas)
    words = {
        "step_size": str(step_size), "sampling": str(sampling), "n_steps": n_steps, "momentum": float(momentum),
        "label_noise": noise, "n_batches": n_batches, "rank": rank, "seed": seed,
    }  # fmt: skip
    path = _path(checkpoint)
    decides: dict[str, Any] = {}
    if path is not None:
        decides = resume.settings_of(
            problem, step_size, sampling, n_steps, momentum=float(momentum), label_noise=noise, record=sorted(names),
            n_batches=n_batches, rank=rank, seed=seed,
        )  # fmt: skip
    setting = _Setting(problem, optimiser, names, steps, n_batches, rank, seed, path, decides)
    results: list[Result] = []
    with shown(progress, n_replicas * len(steps), "training") as show:
        for result in _results(setting, starts, workers, show):
            results.append(result)
    data = stacked(results, variables(names), "theta" in names)
    sizes = [pieces.values[pieces.piece_at(int(step))].batch_size for step in steps]
    coords = {
        "step": ("record", steps),
        "step_size": ("record", optimiser.step_size(steps)),
        "batch_size": ("record", np.array(sizes)),
    }
    described = {
        "problem": type(problem).__name__,
        "problem_fingerprint": fingerprint_or_reason(problem),
        "theta0_fingerprint": fingerprint(starts[0] if (starts == starts[0]).all() else starts),
        "n_samples": problem.n_samples,
        "n_params": problem.n_params,
        "scheme": type(pieces.values[0]).__name__,
        "schemes": [type(scheme).__name__ for scheme in pieces.values],
        **words,
        "versions": json.dumps({name: version(name) for name in ("esssim", "numpy", "numba", "torch", "xarray")}
                               | {"python": platform.python_version()}),
    }  # fmt: skip
    return xarray.Dataset(data, coords, described)


@dataclass(frozen=True)
class _Setting:
    """What every replica shares; `decides`: the settings by name, where there is a checkpoint to compare them with."""

    problem: TorchProblem
    optimiser: Optimiser
    names: tuple[str, ...]
    steps: IntArray
    n_batches: int
    rank: int
    seed: int
    checkpoint: Path | None
    decides: dict[str, Any]

    def path(self, index: int) -> Path | None:
        """The checkpoint of a replica."""
        base = self.checkpoint
        return base if base is None or index == 0 else base.with_name(f"{base.stem}-{index}{base.suffix}")


def _results(setting: _Setting, starts: FloatArray, workers: int, show: Callable[[int], None]) -> Iterator[Result]:
    if workers == 1:
        for index, theta0 in enumerate(starts):
            yield _run_replica(setting, np.array(theta0), index, show)
        return
    jobs = (joblib.delayed(_run_replica)(setting, np.array(theta0), index) for index, theta0 in enumerate(starts))
    for result in joblib.Parallel(n_jobs=workers, return_as="generator")(jobs):
        show(len(setting.steps))
        yield result


def _run_replica(
    setting: _Setting, theta0: FloatArray, index: int, show: Callable[[int], None] = lambda _: None
) -> Result:
    """Replica `index`: its streams depend on the seed and on its own index only."""
    problem, steps = setting.problem, setting.steps
    run = Run(
        problem, theta0, setting.optimiser,
        np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(index,))),
    )  # fmt: skip
    records = Records.empty(steps, setting.names, problem.n_params)
    path, decides = setting.path(index), setting.decides | {"theta0": fingerprint(theta0), "replica": index}
    saved = None if path is None else resume.load(path, decides)
    if saved is not None:
        records.take_over(saved.extra or {})
    show(int(records.taken.sum()))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # One BLAS thread: the same bits on any number of workers.
        with threadpool_limits(limits=1):
            for k in np.flatnonzero(~records.taken):
                if saved is not None and run.step < saved.step <= steps[k]:
                    resume.restore(run, saved)
                run.advance(int(steps[k]))
                in_range = run.diverged_at < 0 and records.measured[:k].all()
                if in_range and _is_in_range(problem, run.theta):
                    _record(setting, run, index, int(k), records)
                records.taken[k] = True
                if path is not None:
                    resume.save(path, decides, run, saved, records)
                show(1)
    finally:
        torch.set_num_threads(threads)
    return records.columns, records.thetas, _diverged_at(run, saved, records)


def _diverged_at(run: Run, saved: Checkpoint | None, records: Records) -> int:
    """The step of divergence as a run up to the last record finds it; where θ is out of range at a record, that
    record.
    """
    undefined = np.flatnonzero(~records.measured)
    if not len(undefined):
        return -1
    found = max(run.diverged_at, -1 if saved is None else int((saved.extra or {})["diverged_at"]))
    first = int(records.steps[undefined[0]])
    return min(found, first) if found >= 0 else first


def _record(setting: _Setting, run: Run, index: int, k: int, records: Records) -> None:
    step = int(setting.steps[k])
    pieces = setting.optimiser.sampling
    scheme = batches_of(pieces.values[pieces.piece_at(step)])
    stream = np.random.SeedSequence(setting.seed, spawn_key=(index, step))
    row = measure(setting.problem, run.theta, scheme, setting.names, setting.n_batches, stream, setting.rank)
    for name, value in row.items():
        records.columns[name][k] = value
    if "theta" in setting.names:
        records.thetas[k] = run.theta
    records.measured[k] = True


def _is_in_range(problem: TorchProblem, theta: FloatArray) -> bool:
    """Whether the loss and its gradient are finite here; squares of what is beyond 1e100 need not be."""
    if not np.abs(theta).max() <= 1e100:
        return False
    try:
        with np.errstate(all="ignore"):
            gradient = TorchCurvature(problem, theta).gradients(np.arange(problem.n_samples)[None])
            return bool(np.isfinite(problem.loss(theta)) and np.isfinite(gradient).all())
    except NonFiniteDerivatives:
        raise
    except ValueError:  # activations that are not finite
        return False


def _path(checkpoint: str | Path | None) -> Path | None:
    if checkpoint is None:
        return None
    path = _validate.path("checkpoint", checkpoint)
    if path.suffix != ".npz":
        raise ValueError(f"checkpoint must end in .npz, got {str(path)!r}")
    return path
