"""What a sweep measures in each cell. To add a measure, write its two functions and one entry, or give a function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray

from esssim import _validate
from esssim._errors import Undefined
from esssim._validate import FloatArray
from esssim.experiments.base import with_an_edge
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.experiment import Experiment
from esssim.simulation import Ramp
from esssim.simulation.recorder import variables
from esssim.statistics.table import STATISTICS

# The sides of a variable beside those of the grid: {} for a number, {"replica": 8, "record": 61} for the records.
Sides = Mapping[str, int]
Values = dict[str, Any]
# What a code in a variable "verdict:…" means.
VERDICTS = ("settles", "below", "above", "inconclusive", "undefined")
TOLERANCE = 0.05
# Of the right-hand side of the flow in a cell, which mostly takes some hundreds: the flow is given up after them, and
# the cell has no prediction.
MOST_EVALUATIONS = 10_000


class Cell:
    """One experiment of a sweep; its run is computed once, for all measures that ask for it."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment

    @cached_property
    def trace(self) -> xarray.Dataset:
        return self.experiment.computed(n_workers=1)


@dataclass(frozen=True)
class Measure:
    """One measure. sides: variables and their sides, known before anything is computed; compute: their values."""

    name: str
    shows: str
    sides: Callable[[Experiment], dict[str, Sides]]
    compute: Callable[[Cell], Values]


def with_edge(experiment: Experiment) -> list[str]:
    """The recorded statistics that can be compared with 2/η."""
    held = with_an_edge(experiment.records.statistics)
    return [name for name in experiment.records.statistics if name in held]


def _level_sides(experiment: Experiment) -> dict[str, Sides]:
    parts = ("level", "level_low", "level_high", "ess", "verdict")
    sides: dict[str, Sides] = {f"{part}:{name}": {} for name in with_edge(experiment) for part in parts}
    return sides | {"n_diverged": {}, "first_divergence": {}}


def _levels(cell: Cell) -> Values:
    diverged = cell.trace["diverged_at"].values
    found: Values = {"n_diverged": np.count_nonzero(diverged >= 0)}
    found["first_divergence"] = diverged[diverged >= 0].min() if found["n_diverged"] else math.nan
    for name, level in cell.experiment.levels(cell.trace, tolerance=TOLERANCE).items():
        if isinstance(level, str):
            found[f"verdict:{name}"] = VERDICTS.index("undefined")
            continue
        found |= {
            f"level:{name}": level.value,
            f"level_low:{name}": level.interval[0],
            f"level_high:{name}": level.interval[1],
            f"ess:{name}": level.ess,
            f"verdict:{name}": VERDICTS.index(level.verdict),
        }
    return found


def _record_sides(experiment: Experiment) -> dict[str, Sides]:
    records = {"record": experiment.records.n_records}
    replicas = {"replica": experiment.dynamics.n_replicas}
    sides: dict[str, Sides] = {name: replicas | records for name in variables(experiment.records.statistics)}
    sides |= _theta_side("theta", experiment, replicas | records)
    return sides | {"step": records, "step_size": records, "diverged_at": replicas}


def _theta_side(name: str, experiment: Experiment, before: Sides) -> dict[str, Sides]:
    """Of θ, where it is recorded: a model is built to know its length."""
    recorded = "theta" in experiment.records.statistics
    return {name: {**before, "parameter": experiment.model.n_params}} if recorded else {}


def _records(cell: Cell) -> Values:
    return {name: cell.trace[name].values for name in _record_sides(cell.experiment)}


def _at_the_start(experiment: Experiment) -> list[str]:
    """What is recorded and known before the first step: a method has no preconditioner yet."""
    return [name for name in experiment.records.statistics if name == "theta" or name in STATISTICS]


def _has_an_edge(experiment: Experiment) -> bool:
    method = experiment.method
    return method is None or not method.without_an_edge(experiment.dynamics.momentum)


def _start_sides(experiment: Experiment) -> dict[str, Sides]:
    names = (*variables(_at_the_start(experiment)), *(("critical_step_size",) if _has_an_edge(experiment) else ()))
    sides: dict[str, Sides] = {f"start:{name}": {} for name in names}
    return sides | _theta_side("start:theta", experiment, {})


def _start(cell: Cell) -> Values:
    experiment = cell.experiment
    records, seed = experiment.records, experiment.dynamics.seed
    found: Values = {"start:critical_step_size": experiment.first_edge} if _has_an_edge(experiment) else {}
    for name in _at_the_start(experiment):
        if name == "theta":
            found["start:theta"] = experiment.theta0
            continue
        try:
            value = STATISTICS[name].measure(
                experiment.model, experiment.theta0, experiment.batches, records.n_batches, seed
            )
        except Undefined:
            continue
        found[f"start:{name}"] = float(value)
        if STATISTICS[name].sampled:
            found[f"start:{name}_standard_error"] = getattr(value, "standard_error", 0.0)
    return found


def _check_sgd(measure: str, experiment: Experiment) -> None:
    """Refuse a method that has no theory of this kind."""
    if experiment.method is not None:
        words = f"must not hold {measure!r}, which is that of SGD, beside method.kind = {experiment.method.kind!r}"
        raise ConfigurationError(("sweep", "measures"), words)


def _growth_sides(experiment: Experiment) -> dict[str, Sides]:
    _check_sgd("growth_rate", experiment)
    return {"growth_rate": {}, "growth_rate_standard_error": {}}


def _growth(cell: Cell) -> Values:
    from esssim.stability import lyapunov_exponent

    experiment = cell.experiment
    dynamics = experiment.dynamics
    rate = lyapunov_exponent(
        experiment.model,
        experiment.theta0,
        experiment.batches,
        Ramp.of(experiment.step_size).stop,
        momentum=dynamics.momentum,
        nesterov=dynamics.nesterov,
        n_steps=dynamics.n_steps,
        n_replicas=max(2, dynamics.n_replicas),
        seed=dynamics.seed,
    )
    return {"growth_rate": rate.value, "growth_rate_standard_error": rate.standard_error}


def _followed(experiment: Experiment) -> list[str]:
    from esssim.flow.observables import MEASURED

    return [name for name in with_edge(experiment) if name in MEASURED]


def _flow_sides(experiment: Experiment) -> dict[str, Sides]:
    _check_sgd("flow", experiment)
    names = _followed(experiment)
    sides: dict[str, Sides] = {f"{part}:{name}": {} for name in names for part in ("flow_level", "flow_verdict")}
    return sides | {"flow_diverged_at": {}, "flow_gave_up_at": {}}


def _flow(cell: Cell) -> Values:
    from esssim import flow

    experiment = cell.experiment
    dynamics, records = experiment.dynamics, experiment.records
    solved = flow.solve(
        experiment.model,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=experiment.batches,
        n_steps=dynamics.n_steps,
        label_noise=dynamics.label_noise,
        momentum=dynamics.momentum,
        record=_followed(experiment),
        n_records=max(2, records.n_records),
        n_batches=records.n_batches,
        most_evaluations=MOST_EVALUATIONS,
        seed=dynamics.seed,
    )
    window = solved.isel(record=np.flatnonzero(solved["step"].values >= experiment.after))
    found: Values = {f"flow_{name}": float(solved[name]) for name in ("diverged_at", "gave_up_at")}
    for name in _followed(experiment):
        series = (window[name] * window["step_size"] / 2).values
        found[f"flow_level:{name}"] = float(series.mean())
        found[f"flow_verdict:{name}"] = VERDICTS.index(_verdict_without_error(series))
    return found


def _verdict_without_error(series: FloatArray) -> str:
    """The verdict of `settling.level` on a series that has no noise."""
    windows = [float(part.mean()) for part in np.array_split(series, 3)]
    if not np.isfinite(series).all():
        return "undefined"
    value, low, high = float(series.mean()), 1 - TOLERANCE, 1 + TOLERANCE
    if not low <= value <= high:
        return "below" if value < low else "above"
    stays = low <= min(windows) and max(windows) <= high and max(windows) - min(windows) <= TOLERANCE
    return "settles" if stays else "inconclusive"


_ALL = (
    Measure("levels", "where (η/2)·statistic settles: level, 95 % interval, verdict", _level_sides, _levels),
    Measure("records", "every record of every replica", _record_sides, _records),
    Measure("start", "the statistics and the critical step size at the start", _start_sides, _start),
    Measure("growth_rate", "the Lyapunov exponent at the start, at the last step size", _growth_sides, _growth),
    Measure("flow", "the levels that the stochastic central flow predicts", _flow_sides, _flow),
)  # fmt: skip
MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}


def chosen(given: Iterable[str | Callable[[Experiment], Mapping[str, Any]]], first: Experiment) -> tuple[Measure, ...]:
    """The measures named, and functions of an experiment that give numbers or arrays by name.

    first: an experiment that a function is tried on, to see what it gives.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"measures must be a sequence of names or functions, got {_validate.shown(given)}")
    found = tuple(
        _of_function(each, first) if callable(each) else MEASURES[_validate.choice("measures", each, tuple(MEASURES))]
        for each in given
    )
    if not found or len({measure.name for measure in found}) < len(found):
        names = ", ".join(measure.name for measure in found) or "none"
        raise ValueError(f"measures must have at least one name, each once, got {names}")
    return found


def _of_function(function: Callable[[Experiment], Mapping[str, Any]], first: Experiment) -> Measure:
    name = getattr(function, "__name__", type(function).__name__)
    given = function(first)
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"measures: {name} must return numbers or arrays by name, got {_validate.shown(given)}")
    sides: dict[str, Sides] = {
        str(key): {f"{key}_{axis}": side for axis, side in enumerate(np.shape(value))} for key, value in given.items()
    }
    return Measure(name, "a function", lambda _: sides, lambda cell: dict(function(cell.experiment)))
