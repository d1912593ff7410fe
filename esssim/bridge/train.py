"""`train`: runs of SGD on a torch problem with statistics along the way, resumable, in the form of `esssim.simulate`."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import numpy.typing as npt
import torch
import xarray
from threadpoolctl import threadpool_limits

from esssim import _validate
from esssim._progress import Progress, shown
from esssim._validate import FloatArray, IntArray
from esssim.bridge.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.derivatives import NonFiniteDerivatives
from esssim.bridge.leading import RANK
from esssim.bridge.loops import Optimiser, Run
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import measure, variables
from esssim.bridge.schedule import Batches, StepSize, sampling_pieces, step_size_function
from esssim.simulation.ensemble import Result, check_starts, stacked
from esssim.simulation.recorder import check_names
from esssim.simulation.schedule import steps_to_record
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
    seed: int,
) -> xarray.Dataset:
    """Train a torch problem by SGD θ ← θ − ηg_B, or heavy ball v ← βv + g_B, θ ← θ − ηv, and record statistics.

    theta0: (p,), or (n_replicas, p) for a start each. step_size: η, a `Ramp`, or `Piecewise` step sizes; sampling: a
    scheme or `Piecewise` ones (interventions). momentum: β. label_noise: ε, targets y + εz with z drawn anew at each
    step (squared error only). record: names from `esssim.simulation.STATISTICS`, and "theta"; at n_records equally
    spaced steps from 0 to n_steps or at `record_steps`; n_batches: batches per record for sampled statistics.
    rank: directions of the Gauss–Newton mean-square sharpness where there are more than 600 outputs of all samples (it
    rises with the rank towards its value). n_workers: processes. checkpoint: an NPZ file that each record renews (run.npz; run-1.npz for a second replica): the
    same call after a kill goes on from it, bit for bit. progress: True for a bar on a terminal, or a function of the
    records done and their number.

    Returns the Dataset of `simulate`: dims (replica, record), coords step, step_size and batch_size, a variable per
    name, with its standard error where sampled, `diverged_at` (replica,), the step at which a gradient left 1e100 or was
    not finite, −1 for none; records from there on are NaN. The same seed gives the same numbers for any n_replicas,
    n_workers, records, and number of interruptions. Raises ValueError for bad arguments and a checkpoint of another run.
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
    steps = steps_to_record(n_steps, n_records, record_steps)
    workers = min(_validate.integer("n_workers", n_workers, 1), n_replicas)
    words = {
        "step_size": str(step_size), "sampling": str(sampling), "n_steps": n_steps, "momentum": float(momentum),
        "label_noise": noise, "n_batches": n_batches, "rank": rank, "seed": seed,
    }  # fmt: skip
    setting = _Setting(problem, optimiser, names, steps, n_batches, rank, seed, json.dumps(words), _path(checkpoint))
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
    first = pieces.values[0]
    described = {
        "problem": type(problem).__name__,
        "problem_fingerprint": problem.fingerprint,
        "theta0_fingerprint": joblib.hash(np.ascontiguousarray(starts[0] if (starts == starts[0]).all() else starts)),
        "n_samples": problem.n_samples,
        "n_params": problem.n_params,
        "scheme": type(first).__name__,
        **words,
        "versions": json.dumps({name: version(name) for name in ("esssim", "numpy", "numba", "torch", "xarray")}
                               | {"python": platform.python_version()}),
    }  # fmt: skip
    return xarray.Dataset(data, coords, described)


class _Setting:
    """What every replica shares."""

    def __init__(
        self, problem: TorchProblem, optimiser: Optimiser, names: tuple[str, ...], steps: IntArray, n_batches: int,
        rank: int, seed: int, words: str, checkpoint: Path | None,
    ) -> None:  # fmt: skip
        self.problem, self.optimiser, self.names, self.steps = problem, optimiser, names, steps
        self.n_batches, self.rank, self.seed = n_batches, rank, seed
        self.words, self.checkpoint = words, checkpoint

    def fingerprint(self, theta0: FloatArray, index: int) -> str:
        """Hash of everything that decides replica `index`."""
        decided = [
            self.problem.fingerprint,
            joblib.hash(theta0),
            index,
            list(self.names),
            self.steps.tolist(),
            self.words,
        ]
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()

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
    problem, steps, names = setting.problem, setting.steps, setting.names
    run = Run(
        problem, theta0, setting.optimiser,
        np.random.default_rng(np.random.SeedSequence(setting.seed, spawn_key=(index,))),
    )  # fmt: skip
    columns = {name: np.full(len(steps), np.nan) for name in variables(names)}
    thetas = np.full((len(steps), problem.n_params) if "theta" in names else (0, 0), np.nan)
    path, fingerprint = setting.path(index), setting.fingerprint(theta0, index)
    done = _restore(path, fingerprint, run, columns, thetas)
    show(done)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        # One BLAS thread: the same bits on any number of workers.
        with threadpool_limits(limits=1):
            for k in range(done, len(steps)):
                run.advance(int(steps[k]))
                if run.diverged_at < 0 and _is_in_range(problem, run.theta):
                    _record(setting, run, index, k, columns, thetas)
                elif run.diverged_at < 0 and k == len(steps) - 1:
                    run.diverged_at = int(steps[k])
                if path is not None:
                    _save(path, fingerprint, run, k + 1, columns, thetas)
                show(1)
    finally:
        torch.set_num_threads(threads)
    return columns, thetas, run.diverged_at


def _record(
    setting: _Setting, run: Run, index: int, k: int, columns: dict[str, FloatArray], thetas: FloatArray
) -> None:
    step = int(setting.steps[k])
    pieces = setting.optimiser.sampling
    scheme = pieces.values[pieces.piece_at(step)]
    stream = np.random.SeedSequence(setting.seed, spawn_key=(index, step))
    row = measure(setting.problem, run.theta, scheme, setting.names, setting.n_batches, stream, setting.rank)
    for name, value in row.items():
        columns[name][k] = value
    if "theta" in setting.names:
        thetas[k] = run.theta


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


def _save(
    path: Path, fingerprint: str, run: Run, done: int, columns: dict[str, FloatArray], thetas: FloatArray
) -> None:
    extra = {"order": run.order, "done": np.array(done), "diverged_at": np.array(run.diverged_at), "thetas": thetas}
    extra |= {f"column_{name}": column for name, column in columns.items()}
    save_checkpoint(
        Checkpoint(run.theta, run.velocity, run.step, dict(run.rng.bit_generator.state), fingerprint, extra), path
    )


def _restore(path: Path | None, fingerprint: str, run: Run, columns: dict[str, FloatArray], thetas: FloatArray) -> int:
    """How many records the checkpoint already holds; run, columns and thetas are filled from it."""
    if path is None or not path.is_file():
        return 0
    try:
        saved = load_checkpoint(path, fingerprint=fingerprint)
    except ValueError as error:
        raise ValueError(f"checkpoint must be a new file or belong to this very run: {error}") from None
    extra = saved.extra or {}
    run.theta[:], run.velocity[:], run.order[:] = saved.theta, saved.velocity, extra["order"]
    run.step, run.diverged_at = saved.step, int(extra["diverged_at"])
    run.rng.bit_generator.state = saved.rng_state
    thetas[:] = extra["thetas"]
    for name, column in columns.items():
        column[:] = extra[f"column_{name}"]
    return int(extra["done"])


def _path(checkpoint: str | Path | None) -> Path | None:
    if checkpoint is None:
        return None
    path = _validate.path("checkpoint", checkpoint)
    if path.suffix != ".npz":
        raise ValueError(f"checkpoint must end in .npz, got {str(path)!r}")
    return path
