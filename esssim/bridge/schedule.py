"""Interventions: a step size or a sampling scheme that changes at given steps of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.gradient_noise import GradientNoise, check_noise
from esssim.sampling import Sampling
from esssim.simulation import Ramp

Value = TypeVar("Value")


@dataclass(frozen=True)
class Piecewise(Generic[Value]):
    """values[0] until step changes[0], then values[k] from step changes[k−1] on: step sizes, or what `sampling` takes.

    Raises ValueError unless there is one value more than changes, and these are increasing positive steps.
    """

    values: Sequence[Value]
    changes: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        steps = tuple(_validate.integer("changes", step, 1) for step in self.changes)
        object.__setattr__(self, "changes", steps)
        if len(self.values) != len(steps) + 1:
            raise ValueError(f"values must be one more than changes = {len(steps)}, got {len(self.values)}")
        if any(after <= before for before, after in pairwise(steps)):
            raise ValueError(f"changes must be increasing steps, got {_validate.shown(self.changes)}")

    def piece_at(self, step: int) -> int:
        """Which value holds at a step."""
        return int(np.searchsorted(self.changes, step, side="right"))

    def __str__(self) -> str:
        later = [f"{value} from step {step}" for step, value in zip(self.changes, self.values[1:], strict=True)]
        return ", ".join([str(self.values[0]), *later])


StepSize = float | Ramp | Piecewise[float]
# What a step knows of the gradient.
Scheme = Sampling | GradientNoise
Batches = Scheme | Piecewise[Sampling] | Piecewise[Scheme]


def step_size_function(step_size: StepSize, n_steps: int) -> Callable[[IntArray], FloatArray]:
    """steps ↦ η(steps). Raises ValueError for step sizes that are not positive and changes beyond the run."""
    if isinstance(step_size, Piecewise):
        etas = np.array([_validate.real("step_size", eta, above=0.0) for eta in step_size.values])
        _check_changes("step_size", step_size, n_steps)
        changes = np.array(step_size.changes, dtype=np.int64)
        return lambda steps: np.asarray(etas[np.searchsorted(changes, steps, side="right")])
    ramp = Ramp.of(step_size)
    return lambda steps: ramp.at(steps, n_steps)


def sampling_pieces(sampling: Batches, n_samples: int, n_steps: int) -> Piecewise[Scheme]:
    """The schemes of a run, each checked against the number of samples."""
    pieces = (
        Piecewise[Scheme](sampling.values, sampling.changes)
        if isinstance(sampling, Piecewise)
        else Piecewise[Scheme]((sampling,), ())
    )
    for scheme in pieces.values:
        check_noise(scheme, n_samples)
    _check_changes("sampling", pieces, n_steps)
    return pieces


def batches_of(scheme: Scheme) -> Sampling:
    """The batches themselves, or those whose gradient covariance the noise has."""
    return scheme.batches if isinstance(scheme, GradientNoise) else scheme


def _check_changes(name: str, pieces: Piecewise[Value], n_steps: int) -> None:
    for step in pieces.changes:
        _validate.integer(f"changes of {name}", step, 1, n_steps, "n_steps")
