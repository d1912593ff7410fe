"""What a training run keeps on disk, and how a later call goes on from it: the same bits as without a break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from esssim import _source
from esssim._fingerprint import fingerprint
from esssim._validate import FloatArray, IntArray
from esssim.bridge.checkpoint import Checkpoint, differences, load_checkpoint, save_checkpoint
from esssim.bridge.loops import Run
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import variables
from esssim.bridge.schedule import Piecewise, StepSize
from esssim.simulation import Ramp


@dataclass
class Records:
    """The columns of one replica; `taken`: which records are made; `measured`: where θ was in range."""

    steps: IntArray
    columns: dict[str, FloatArray]
    thetas: FloatArray
    taken: npt.NDArray[np.bool_]
    measured: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, steps: IntArray, names: Sequence[str], n_params: int) -> Records:
        columns = {name: np.full(len(steps), np.nan) for name in variables(names)}
        thetas = np.full((len(steps), n_params) if "theta" in names else (0, 0), np.nan)
        return cls(steps, columns, thetas, *np.zeros((2, len(steps)), dtype=bool))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it by name, for a file."""
        columns = {f"column_{name}": column for name, column in self.columns.items()}
        return columns | {"steps": self.steps, "thetas": self.thetas, "taken": self.taken, "measured": self.measured}

    def take_over(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Fill in what another run, with steps of its own, has recorded at steps of this one."""
        done = arrays["steps"][arrays["taken"]]
        there = np.flatnonzero(arrays["taken"])[np.isin(done, self.steps)]
        here = np.searchsorted(self.steps, arrays["steps"][there])
        for name, column in self.columns.items():
            column[here] = arrays[f"column_{name}"][there]
        if len(self.thetas):
            self.thetas[here] = arrays["thetas"][there]
        self.taken[here], self.measured[here] = True, arrays["measured"][there]


def settings_of(
    problem: TorchProblem, step_size: StepSize, sampling: object, n_steps: int, **others: object
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, by the names of the arguments.

    A ramp depends on the number of steps; other runs are only longer with more of them.
    Raises `Unfingerprintable`, a ValueError, for a problem with a part that cannot be looked into.
    """
    return {
        "problem": problem._fingerprints(),
        "step_size": _in_words(step_size),
        "sampling": str(sampling),
        "n_steps": n_steps,
        **others,
        "versions": {name: _source.version_of(name) for name in ("numba", "numpy", "scipy", "torch")},
        "code of esssim": _source.digest(),
    }


def _in_words(step_size: StepSize) -> str:
    """One spelling for each schedule: a flat ramp is a constant."""
    if isinstance(step_size, Piecewise):
        return str(Piecewise([float(eta) for eta in step_size.values], step_size.changes))
    ramp = Ramp.of(step_size)
    return str(ramp.start) if ramp.start == ramp.stop else str(ramp)


def load(path: Path, settings: dict[str, Any]) -> Checkpoint | None:
    """The checkpoint of this run, shorter or not; None where there is no file. ValueError names what differs."""
    if not path.is_file():
        return None
    try:
        saved = load_checkpoint(path)
    except ValueError as error:
        raise ValueError(f"checkpoint must be a new file or belong to this very run: {error}") from None
    there = dict(saved.settings)
    if there.get("n_steps", 0) <= settings["n_steps"] and not settings["step_size"].startswith("Ramp"):
        there["n_steps"] = settings["n_steps"]
    found = list(differences(there, settings))
    if found:
        raise ValueError(
            f"checkpoint must be a new file or belong to this very run: {'; '.join(found)} ({str(path)!r})"
        )
    return saved


def restore(run: Run, saved: Checkpoint) -> None:
    """Put a run where the saved one stood."""
    extra = saved.extra or {}
    run.theta[:], run.velocity[:], run.order[:] = saved.theta, saved.velocity, extra["order"]
    run.step, run.diverged_at = saved.step, int(extra["diverged_at"])
    run.rng.bit_generator.state = saved.rng_state


def save(path: Path, settings: dict[str, Any], run: Run, saved: Checkpoint | None, records: Records) -> None:
    """Keep the records and the state of whichever got farther, this run or the one it goes on from."""
    if saved is not None and saved.step > run.step:
        extra = {name: (saved.extra or {})[name] for name in ("order", "diverged_at")}
        theta, velocity, step, state = saved.theta, saved.velocity, saved.step, saved.rng_state
    else:
        extra = {"order": run.order, "diverged_at": np.array(run.diverged_at)}
        theta, velocity, step, state = run.theta, run.velocity, run.step, dict(run.rng.bit_generator.state)
    kept = Checkpoint(theta, velocity, step, state, fingerprint(settings), extra | records.arrays(), settings)
    save_checkpoint(kept, path)
