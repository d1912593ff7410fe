"""Step sizes that are constant or rise over a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._phases import equally_spaced, possible_periods, random_phases
from esssim._validate import FloatArray, IntArray
from esssim.sampling import Sampling


@dataclass(frozen=True)
class Ramp:
    """Step size from `start` at step 0 to `stop` at the last step: linearly, η₀ + (η₁−η₀)t/T, or geometrically,
    η₀(η₁/η₀)^(t/T).

    Raises ValueError unless both step sizes are positive.
    """

    start: float
    stop: float
    shape: str = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _validate.real("start", self.start, above=0.0))
        object.__setattr__(self, "stop", _validate.real("stop", self.stop, above=0.0))
        _validate.choice("shape", self.shape, ("linear", "geometric"))

    @classmethod
    def of(cls, step_size: float | Ramp) -> Ramp:
        """A constant step size as a flat ramp; a ramp as it is."""
        if isinstance(step_size, Ramp):
            return step_size
        eta = _validate.real("step_size", step_size, above=0.0)
        return cls(eta, eta)

    def at(self, steps: npt.ArrayLike, n_steps: int) -> FloatArray:
        """η at each of `steps` of a run of n_steps."""
        fraction = np.asarray(steps, dtype=np.float64) / _validate.integer("n_steps", n_steps, 1)
        if self.start == self.stop:
            return np.full_like(fraction, self.start)
        if self.shape == "geometric":
            return np.asarray(self.start * (self.stop / self.start) ** fraction)
        return np.asarray(self.start + (self.stop - self.start) * fraction)

    def for_kernel(self, n_steps: int) -> tuple[float, float, bool, int]:
        """What the compiled loop takes: (start, stop, geometric, n_steps)."""
        return self.start, self.stop, self.shape == "geometric", n_steps


@dataclass(frozen=True)
class Phases:
    """The period that a run may have, in steps, and the seed of the phases at which it is recorded."""

    period: int
    seed: int

    @classmethod
    def of(cls, schemes: Sequence[Sampling], n_samples: int, seed: int) -> Phases | None:
        """The longest first period of any scheme of a run; None where no scheme has one."""
        each = (possible_periods(type(scheme).__name__, scheme.batch_size, n_samples) for scheme in schemes)
        longest = max((periods[0] for periods in each if periods), default=0)
        return cls(longest, seed) if longest else None


def steps_to_record(
    n_steps: int, n_records: int, record_steps: Sequence[int] | None, phases: Phases | None = None
) -> IntArray:
    """n_records steps from 0 to n_steps, equally spaced or about so at random phases, or the given ones, checked."""
    if record_steps is None:
        n_records = _validate.integer("n_records", n_records, 1)
        if phases is None:
            return equally_spaced(n_steps, n_records)
        return random_phases(n_steps, n_records, phases.period, phases.seed)
    steps = _validate.array_of("record_steps", record_steps)
    integers = steps.dtype.kind in "iu" and steps.ndim == 1 and steps.size > 0
    if not integers or (np.diff(steps.astype(np.int64)) <= 0).any():
        raise ValueError(f"record_steps must be increasing integers, got {_validate.shown(record_steps)}")
    if steps[0] < 0 or steps[-1] > n_steps:
        raise ValueError(f"record_steps must lie between 0 and n_steps = {n_steps}, got {steps[0]} to {steps[-1]}")
    return steps.astype(np.int64)


def steps_of_names(
    names: Sequence[str],
    n_steps: int,
    n_records: int,
    record_steps: Sequence[int] | Mapping[str, Sequence[int]] | None,
    phases: Phases | None = None,
) -> tuple[IntArray, list[tuple[str, ...]]]:
    """The steps to record, and what to record at each of them: all names, or those whose own steps it is among."""
    if not isinstance(record_steps, Mapping):
        steps = steps_to_record(n_steps, n_records, record_steps, phases)
        return steps, [tuple(names)] * len(steps)
    if not names or set(record_steps) != set(names):
        raise ValueError(
            f"record_steps must have steps for each of {sorted(names)}, got {sorted(map(str, record_steps))}"
        )
    if any(record_steps[name] is None for name in names):
        raise ValueError("record_steps must have steps for each name, got None")
    own = {name: steps_to_record(n_steps, n_records, record_steps[name]) for name in names}
    steps = np.unique(np.concatenate(list(own.values())))
    present = {name: np.isin(steps, at) for name, at in own.items()}
    return steps, [tuple(name for name in names if present[name][k]) for k in range(len(steps))]
