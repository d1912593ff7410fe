"""`Monitor`: the statistics of a network while a training loop of one's own runs, and the edge of its optimiser."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from torch import nn

from esssim import _validate, store
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.leading import RANK
from esssim.bridge.monitor.budget import Clock, Effort, efforts, first_costs
from esssim.bridge.monitor.enclosure import critical_sharpness_with_error, probed_enclosure, sharpness_with_error
from esssim.bridge.monitor.optimiser import Dynamics, dynamics, inner
from esssim.bridge.monitor.probe import probe
from esssim.bridge.monitor.subject import Subject
from esssim.bridge.monitor.untouched import untouched
from esssim.bridge.problem import DENSE_PARAMS, Dtype, TorchProblem
from esssim.bridge.recording import OF_GRADIENTS, measure
from esssim.bridge.stability_map import stability_map
from esssim.sampling import WithoutReplacement
from esssim.simulation.recorder import check_names
from esssim.statistics.table import MEAN_SQUARE, PRECONDITIONED

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from esssim.stability.map import StabilityMap

RECORD = (
    "loss", "gradient_norm", "sharpness", "minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts",
    "interaction_aware_sharpness", MEAN_SQUARE, "critical_sharpness",
)  # fmt: skip
# What does not depend on the metric of an optimiser, or is of interest without it.
PLAIN = ("loss", "gradient_norm")
# Intervals between calls that are due, over which a budget may be saved up for a larger measurement.
PATIENCE = 4
LINEAR = (
    "The mean-square sharpness is 0, as the loss is linear in the outputs of the network, which makes Gauss–Newton "
    "blocks zero: it says nothing about stability here."
)


class Monitor:
    """Records the statistics of a network at the calls `monitor(step)` of a training loop, which it leaves as it is.

    loss: as the loop has it (docs/how-to/watch_training.md); optimizer: any of torch; inputs, targets: the samples, or
    a Dataset or DataLoader in place of both, of which n_probe are drawn from `seed`; batch_size: b of the loop. every:
    steps between measurements; budget: the largest share of the training time to spend, which then decides how many
    of n_batches and of `rank` directions are used, and how often; None for all of them each time. writers: functions
    of the step and of each record, such as `CsvWriter(path)`.

    `dataset` has the variables of `esssim.simulate`, and the edge of the optimiser; with Adam, RMSprop or step sizes of
    their own for groups, `preconditioned_…` are the statistics of SHS, S² the current preconditioner. Raises ValueError
    for modules whose samples mix and losses that are neither mean nor sum.
    """

    def __init__(
        self,
        net: nn.Module,
        inputs: Any,
        targets: Any = None,
        *,
        loss: Any,
        optimizer: Any,
        batch_size: int | None = None,
        every: int = 1,
        record: Sequence[str] = RECORD,
        budget: float | None = None,
        n_probe: int | None = 512,
        n_batches: int = 32,
        rank: int = RANK,
        reduction: str | None = None,
        dtype: Dtype = "float64",
        seed: int = 0,
        writers: Sequence[Callable[[int, Mapping[str, float]], None]] = (),
        quiet: bool = False,
    ) -> None:
        self.every = _validate.integer("every", every, 1)
        self.n_batches = _validate.integer("n_batches", n_batches, 2)
        self.rank = _validate.integer("rank", rank, 1)
        self.seed = _validate.integer("seed", seed, 0)
        self.writers = tuple(writers)
        share = None if budget is None else _validate.real("budget", budget, above=0.0, below=1.0)
        self._optimizer = inner(optimizer)
        with untouched(), one_blas_thread():
            self.samples = probe(inputs, targets, n_probe, self.seed)
            size = batch_size if batch_size is not None else self.samples.batch_size
            if size is None:
                raise ValueError("batch_size must be given: that of the training loop")
            self.batch_size = _validate.integer(
                "batch_size", size, 1, self.samples.n_samples, "the size of the probe set, n_probe at most,"
            )
            trained = {id(part) for group in self._optimizer.param_groups for part in group["params"]}
            self._subject = Subject(
                net, self.samples, loss, self.batch_size, trained=trained, reduction=reduction, dtype=dtype
            )
            self.record = check_names(record, self.problem)
            if "theta" in self.record:
                raise ValueError("record must hold statistics, got 'theta': save the network itself")
            self.notes = list(self._subject.notes)
            self.sampling = WithoutReplacement(self.batch_size)
            self._efforts = efforts(self.n_batches, self.rank)
            theta = self._subject.look()
            # A budget has measurements tried, which say more than a forecast.
            self.seconds = dict.fromkeys(self.record, 0.0)
            if share is None:
                self.seconds = first_costs(self.problem, theta, self.sampling, self.record, self._efforts[0])
        self._rows: list[dict[str, float]] = []
        self._steps: list[int] = []
        self._calls, self._due, self._due_since = 0, 0, -1
        self._diverged_at = -1
        self.clock = Clock(share)
        if share is not None:
            self._try()
        self._plan()
        self.clock.started = time.perf_counter()
        if not _validate.flag("quiet", quiet):
            print(self._forecast(share), file=sys.stderr, flush=True)

    def _try(self) -> None:
        """Measure twice with the smallest effort: the first time compiles, the second one says what it costs."""
        with untouched(), one_blas_thread():
            for _ in range(2):
                self._measured(0, dynamics(self._optimizer, self._subject.parameters), self._efforts[-1])

    @property
    def problem(self) -> TorchProblem:
        """The network and its probe samples as a problem; its θ is the last one that was looked at."""
        return self._subject.problem

    def __call__(self, step: int | None = None) -> dict[str, float] | None:
        """Measure if it is due at this step (default: the number of earlier calls) and paid for; what was measured."""
        step = self._calls if step is None else _validate.integer("step", step, 0)
        self._calls += 1
        if self._due and step // self.every <= self._due_since:
            return None
        self._due_since = step // self.every
        self._due += 1
        effort = self.clock.affordable(self._efforts, PATIENCE * self.clock.trained / self._due)
        return None if effort is None else self.measure(step, effort)

    def measure(self, step: int, effort: Effort | None = None) -> dict[str, float]:
        """Measure now, whatever is due or paid for: the values by name."""
        began = time.perf_counter()
        level = effort or self._efforts[0]
        with untouched(), one_blas_thread():
            optimiser = dynamics(self._optimizer, self._subject.parameters)
            self._note(optimiser.notes)
            row = self._measured(step, optimiser, level)
        self.clock.spent += time.perf_counter() - began
        self.clock.measured += 1
        row |= {
            "step_size": optimiser.step_size, "momentum": optimiser.momentum,
            "edge": optimiser.edge, "small_batch_edge": optimiser.small_batch_edge,
            "weight_decay": optimiser.weight_decay or optimiser.decoupled_decay,
            "n_batches": level.n_batches, "rank": level.rank, "seconds": time.perf_counter() - began,
        }  # fmt: skip
        if self._steps and self._steps[-1] == step:
            self._rows.pop(), self._steps.pop()
        self._rows.append(row)
        self._steps.append(step)
        self._plan()
        for write in self.writers:
            write(step, row)
        return row

    def _measured(self, step: int, optimiser: Dynamics, effort: Effort) -> dict[str, float]:
        theta = self._subject.look()
        row: dict[str, float] = {}
        if not np.isfinite(theta).all():
            self._diverged_at = step if self._diverged_at < 0 else self._diverged_at
            return row
        stream = np.random.SeedSequence(self.seed, spawn_key=(0, step))
        problem, point = self._subject.as_seen_by(optimiser, theta)
        for names in self._groups():
            own = problem is not self.problem and names[0] not in PLAIN
            if own:
                row |= self._group(problem, point, names, effort, stream, PRECONDITIONED)
            if not own or names[0] == "sharpness":
                row |= self._group(self.problem, theta, names, effort, stream, "")
        return row

    def _groups(self) -> list[tuple[str, ...]]:
        """The names to record, those together that share their work."""
        together = tuple(name for name in self.record if name in OF_GRADIENTS and self.problem.n_params > DENSE_PARAMS)
        alone = [(name,) for name in self.record if name not in together]
        return alone + ([together] if together else [])

    def _group(
        self,
        problem: TorchProblem,
        theta: FloatArray,
        names: tuple[str, ...],
        effort: Effort,
        stream: np.random.SeedSequence,
        prefix: str,
    ) -> dict[str, float]:
        """Some statistics by name; NaN, with a warning that says why, where one is refused."""
        began = time.perf_counter()
        try:
            if names == (MEAN_SQUARE,):
                found = probed_enclosure(problem, theta, self.sampling, effort.rank, self.samples.n_train)
                if found.upper == 0.0:
                    self._note((LINEAR,))
                values = {
                    MEAN_SQUARE: found.value,
                    f"{MEAN_SQUARE}_lower": found.lower,
                    f"{MEAN_SQUARE}_upper": found.upper,
                    f"{MEAN_SQUARE}_standard_error": found.standard_error,
                }
            elif names == ("sharpness",):
                value, error = sharpness_with_error(problem, theta, self.samples.n_train)
                values = {"sharpness": value, "sharpness_standard_error": error}
            elif names == ("critical_sharpness",):
                value, error = critical_sharpness_with_error(
                    problem, theta, self.sampling, stream, self.samples.n_train
                )
                values = {"critical_sharpness": value, "critical_sharpness_standard_error": error}
            else:
                values = measure(problem, theta, self.sampling, names, effort.n_batches, stream, effort.rank)
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = f"{', '.join(names)}: {' '.join(str(error).split())}"
            self._note((reason,))
            warnings.warn(f"esssim.bridge.Monitor records NaN for {reason}", RuntimeWarning, stacklevel=2)
            values = dict.fromkeys(names, np.nan)
        scaled = effort.fraction if self._scales(names[0]) else 1.0
        for name in names:
            self.seconds[name] = (time.perf_counter() - began) / len(names) / scaled
        return {prefix + name: value for name, value in values.items()}

    @staticmethod
    def _scales(name: str) -> bool:
        return name == MEAN_SQUARE or name in OF_GRADIENTS or name.startswith("minibatch")

    def _plan(self) -> None:
        self.clock.fixed = sum(value for name, value in self.seconds.items() if not self._scales(name))
        self.clock.scaled = sum(value for name, value in self.seconds.items() if self._scales(name))

    def _note(self, notes: Sequence[str]) -> None:
        self.notes += [note for note in notes if note not in self.notes]

    def _forecast(self, share: float | None) -> str:
        full, least = (self.clock.seconds(effort) for effort in (self._efforts[0], self._efforts[-1]))
        costs = f"about {_seconds(full)}" + ("" if share is None else f", the smallest {_seconds(least)}")
        spends = "at every call that is due"
        if share is not None:
            first = self.clock.safe_seconds(self._efforts[-1]) / share
            spends = (
                f"at most {100 * share:.3g} % of the training time, first after about {_seconds(first)} of training"
            )
        return (
            f"esssim.bridge.Monitor: one measurement of {len(self.record)} statistics takes {costs} "
            f"({self.problem.n_params:,} parameters, {self.problem.n_samples:,} samples, {self.n_batches} batches of "
            f"{self.batch_size}); {spends}"
        )

    # --- what was recorded --------------------------------------------------------------------------------------------

    @property
    def dataset(self) -> xarray.Dataset:
        """All records, with dims (replica, record) as `esssim.simulate` has them, and the optimiser's settings as
        coords.
        """
        coords = ("step_size", "momentum", "weight_decay", "edge", "small_batch_edge", "n_batches", "rank", "seconds")
        names = dict.fromkeys(name for row in self._rows for name in row if name not in coords)
        data: dict[str, Any] = {
            name: (("replica", "record"), np.array([[row.get(name, np.nan) for row in self._rows]])) for name in names
        }
        data["diverged_at"] = ("replica", np.array([self._diverged_at]))
        columns: dict[str, Any] = {
            name: ("record", np.array([float(row[name]) for row in self._rows])) for name in coords
        }
        columns["step"] = ("record", np.array(self._steps, dtype=np.int64))
        columns["batch_size"] = ("record", np.full(len(self._steps), self.batch_size))
        return xarray.Dataset(data, columns, self._described())

    def _described(self) -> dict[str, Any]:
        packages = ("esssim", "numpy", "torch", "xarray")
        return {
            "problem": type(self.problem).__name__,
            "network": type(self._subject.net).__name__,
            "optimizer": type(self._optimizer).__name__,
            "scheme": type(self.sampling).__name__,
            "n_samples": self.problem.n_samples,
            "n_train": self.samples.n_train,
            "n_params": self.problem.n_params,
            "n_outputs": self.problem.n_outputs,
            "reduction": self._subject.loss.reduction,
            "every": self.every,
            "budget": "none" if self.clock.share is None else self.clock.share,
            "seconds_measuring": self.clock.spent,
            "skipped": self.clock.skipped,
            "seconds_training": self.clock.trained,
            "seed": self.seed,
            "notes": list(self.notes),
            "versions": json.dumps({name: version(name) for name in packages} | {"python": platform.python_version()}),
        }

    def stability_map(self, **options: Any) -> StabilityMap:
        """`esssim.bridge.stability_map` of the network as it is now, for the optimiser as it is now, with this run on
        it.

        The probe set stands for all training samples, from which batches of any size are drawn. options: those of
        `stability_map`, such as batch_sizes, rank and tolerance. Raises ValueError where the optimiser is not known.
        """
        with untouched(), one_blas_thread():
            optimiser = dynamics(self._optimizer, self._subject.parameters)
            if not optimiser.known:
                raise ValueError(f"optimizer must have an edge that is known for a stability map: {optimiser.notes[0]}")
            problem, point = self._subject.as_seen_by(optimiser, self._subject.look())
            settings = {
                "momentum": optimiser.momentum, "nesterov": optimiser.nesterov, "gain": optimiser.gain,
                "n_train": self.samples.n_train, "batch_size": self.batch_size, "rank": self.rank,
                "step_size": optimiser.step_size or None,
            }  # fmt: skip
            return stability_map(problem, point, **settings | options)

    def summary(self) -> DataFrame:
        """A row per statistic at the last record: value, standard error or bounds, the value over the edge, and the
        momentum that it is for: 0 for the mean-square sharpness, whatever the optimiser has.
        """
        from esssim.bridge.monitor.shown import summary

        return summary(self.dataset)

    def plot(self) -> Figure:
        """Each statistic over the edge of the optimiser, which is the line at 1, and the loss, against the step."""
        from esssim.bridge.monitor.shown import figure

        return figure(self.dataset)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `dataset` as NetCDF: `esssim.load` gives it back."""
        store.save(self.dataset, path)


def _seconds(value: float) -> str:
    """To the digits that a forecast has."""
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1g} s"
