"""`Experiment`: one run of SGD, written down in sections."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import xarray
from pydantic import PrivateAttr, ValidationError, model_validator

from esssim import settling, store
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.batch_method import BatchMethod
from esssim.data import Data
from esssim.experiments import build, methods, toml
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task, free_cores
from esssim.experiments.errors import ConfigurationError, explained, refused
from esssim.experiments.methods import DropoutSection, MethodSection, NoiseSection
from esssim.experiments.sections import (
    DataSection,
    DiagonalSection,
    DynamicsSection,
    FileSection,
    LinearRegressionSection,
    LogisticSection,
    MlpSection,
    ProblemSection,
    QuadraticSection,
    RecordsSection,
    SamplingSection,
    ScheduleSection,
    Section,
    StartSection,
)
from esssim.problems import DiagonalLinearNetwork, Problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling
from esssim.simulation import Ramp, simulate
from esssim.stability import critical_step_size
from esssim.stability.batch_method import step_size_of
from esssim.statistics import mean_square_sharpness

FOLLOWED = 1.15  # the window of averages opens once the step size is 15 % past the first edge
BELOW_THE_LAST_EDGE = 0.9
LONG = 300_000  # steps of all replicas


class Experiment(Section, Configuration):
    """SGD on a problem: one TOML file, one fingerprint, one stream of random numbers.

    Sections: problem, data, start, sampling, dynamics, method, records; each is a table of keys, given as a dictionary
    or as TOML (docs/experiments.md lists the keys). `Experiment.from_toml(path).run()` gives the Dataset of `simulate`.
    Raises `ConfigurationError`, a ValueError, for an unknown key (with the nearest), a wrong type, and for keys that
    cannot stand together.
    """

    kind: ClassVar[str] = "experiment"

    problem: ProblemSection
    data: DataSection
    start: StartSection = StartSection()
    sampling: SamplingSection
    dynamics: DynamicsSection
    method: MethodSection | None = None
    records: RecordsSection = RecordsSection()
    _folder: Path = PrivateAttr(default=Path())

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise explained(error, sections) from None

    @classmethod
    def from_source(cls, source: toml.Source) -> Self:
        found = cls(**source.given)
        if isinstance(found.data, FileSection):
            found._folder = source.folder
            build.file_of(found.data, source.folder)
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        diagonal = isinstance(self.problem, DiagonalSection | LogisticSection)
        name, start, n = self.problem.kind, self.start, getattr(self.data, "n_samples", None)
        if start.kind == "zeros" and not isinstance(self.problem, LinearRegressionSection | QuadraticSection):
            raise refused(("start", "kind"), f"must not be 'zeros' for {name!r}, whose gradient is zero there")
        if start.kind == "scale" and not diagonal:
            raise refused(("start", "kind"), f"'scale' is for diagonal linear networks, got problem {name!r}")
        if start.second_scale and not (diagonal and start.kind in ("scale", "solution")):
            raise refused(("start", "second_scale"), "is for the second half of a diagonal linear network")
        if start.scale is not None and (
            start.kind == "zeros" or (start.kind == "solution" and name in ("linear_regression", "quadratic"))
        ):
            raise refused(("start", "scale"), f"has no meaning for {name!r} from {start.kind!r}; leave it out")
        if self.dynamics.label_noise and isinstance(self.problem, QuadraticSection):
            words = f"must be 0 for 'quadratic', which has no targets, got {self.dynamics.label_noise:g}"
            raise refused(("dynamics", "label_noise"), words)
        b, scheme = self.sampling.batch_size, self.sampling.scheme
        if n is not None and b > n and scheme != "with_replacement":
            raise refused(("sampling", "batch_size"), f"must be between 1 and n_samples = {n}, got {b}")
        schedule = self.dynamics.step_size
        if isinstance(schedule, ScheduleSection) and schedule.unit == "first edge" and scheme == "reshuffled":
            words = "must be 'absolute' for reshuffled batches, which depend on each other: their edge is not known"
            raise refused(("dynamics", "step_size", "unit"), words)
        if self.method is not None:
            unit = schedule.unit if isinstance(schedule, ScheduleSection) else "absolute"
            if found := methods.why_not(self.method, scheme, self.dynamics.momentum, unit):
                raise refused(*found)
            if isinstance(self.problem, MlpSection) and not isinstance(self.method, NoiseSection):
                words = f"must be 'isotropic_noise' or 'diagonal_noise' for problem 'mlp', got {self.method.kind!r}"
                raise refused(("method", "kind"), words)
            masked = isinstance(self.problem, DiagonalSection | LinearRegressionSection)
            if isinstance(self.method, DropoutSection) and not masked:
                raise refused(("method", "kind"), f"'dropout' is not for problem {name!r}")
        for place, recorded in enumerate(self.records.statistics):
            if words := methods.why_not_recorded(recorded, self.method, scheme, self.dynamics.momentum):
                raise refused(("records", "statistics", place), words)
        if self.dynamics.nesterov and isinstance(self.problem, MlpSection):
            raise refused(("dynamics", "nesterov"), "must be false for 'mlp', got true")
        n_steps, steps = self.dynamics.n_steps, self.records.steps
        if self.records.after is not None and self.records.after > n_steps:
            words = f"must be at most n_steps = {n_steps}, got {self.records.after:g}"
            raise refused(("records", "after"), words)
        if isinstance(steps, tuple) and steps[-1] > n_steps:
            raise refused(("records", "steps"), f"must be at most n_steps = {n_steps}, got {steps[-1]}")
        return self

    def plain(self) -> dict[str, Any]:
        return {
            name: section.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name in type(self).model_fields
            if (section := getattr(self, name)) is not None
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every key and its value, and of the data's file where there is one."""
        own = super().fingerprint
        if not isinstance(self.data, FileSection):
            return own
        content = build.file_of(self.data, self._folder).read_bytes()
        return hashlib.sha256(own.encode() + hashlib.sha256(content).digest()).hexdigest()

    @cached_property
    def table(self) -> Data:
        """Inputs and targets."""
        return build.table_of(self.data, self._folder)

    @cached_property
    def model(self) -> Problem:
        """The problem that is trained."""
        return build.problem_of(self.problem, self.table, self.start)

    @cached_property
    def batches(self) -> Sampling:
        """How batches are drawn."""
        return build.sampling_of(self.sampling)

    @property
    def steps(self) -> methods.Steps:
        """What `simulate` takes as its `sampling`: the batches, or a method that takes the place of their gradient."""
        return self.batches if self.method is None else self.method.steps(self.batches)

    @cached_property
    def theta0(self) -> FloatArray:
        """θ at step 0, (p,)."""
        return build.start_of(self.start, self.model)

    @cached_property
    def first_edge(self) -> float:
        """η₀, the critical step size of mean-square stability at the start: 2/Q_b without momentum.

        Raises ConfigurationError where every step size is stable there, the Hessians being zero, and for a method
        whose edge is not known at the start.
        """
        words = "" if self.method is None else self.method.without_an_edge(self.dynamics.momentum)
        if words:
            raise ConfigurationError(("method", "kind"), f"has no first edge: {words}")
        edge = self._edge(self.theta0)
        if not np.isfinite(edge):
            words = "in units of the first edge needs Hessians that are not all zero at the start"
            raise ConfigurationError(("dynamics", "step_size"), words)
        return edge

    @cached_property
    def step_size(self) -> float | Ramp:
        """η, or from where to where it goes."""
        given = self.dynamics.step_size
        if not isinstance(given, ScheduleSection):
            return given
        if given.unit == "absolute":
            return Ramp(given.start, given.stop, given.shape)
        stop = given.stop * self.first_edge
        network = self.model
        if given.cap == "flattest solution" and isinstance(network, DiagonalLinearNetwork):
            d = network.n_params // 2
            if network.n_samples >= d:
                stop = min(stop, self._edge(self._flattest(network), BELOW_THE_LAST_EDGE))
        return Ramp(given.start * self.first_edge, stop, given.shape)

    @property
    def after(self) -> float:
        """The step from which on levels are averaged."""
        # Records that begin there begin at a whole step, and all count.
        return float(np.round(self._opens)) if self.records.steps == "after" else self._opens

    @property
    def _opens(self) -> float:
        n_steps, given, ramp = self.dynamics.n_steps, self.dynamics.step_size, self.step_size
        if self.records.after is not None:
            return self.records.after
        if isinstance(given, ScheduleSection) and given.unit == "first edge" and isinstance(ramp, Ramp):
            opens = FOLLOWED * self.first_edge
            if given.shape == "linear" and ramp.start < opens < ramp.stop:
                return n_steps * (opens - ramp.start) / (ramp.stop - ramp.start)
            if ramp.start < opens < ramp.stop:
                return n_steps * float(np.log(opens / ramp.start) / np.log(ramp.stop / ramp.start))
        return n_steps / 2

    @property
    def record_steps(self) -> list[int] | None:
        """The steps that are recorded; None where the run has n_records of them from its first to its last."""
        steps, n_steps = self.records.steps, self.dynamics.n_steps
        if steps == "after":
            return np.unique(np.linspace(self._opens, n_steps, self.records.n_records).round()).astype(int).tolist()
        return None if steps is None else list(steps)

    @property
    def tasks(self) -> list[Task]:
        # A shorter one is done before a process has begun with it.
        long = self.dynamics.n_steps * self.dynamics.n_replicas >= LONG
        return [(run_once, self)] if long else []

    @property
    def decides(self) -> list[object]:
        """Everything that decides the run, the start and the step sizes that were computed for it included."""
        ramp = Ramp.of(self.step_size)
        return [self.fingerprint, self.model.fingerprint, self.theta0.tolist(), asdict(ramp)]

    def recording(self, *statistics: str) -> Experiment:
        """The same run with other records."""
        sections = self.plain()
        sections["records"] |= {"statistics": statistics}
        found = Experiment(**sections)
        found._folder = self._folder
        return found

    def start_from(self, other: Experiment) -> None:
        """Use table, model and θ₀ as far as `other`, with the same problem, data and start, has computed them."""
        vars(self).update({name: vars(other)[name] for name in ("table", "model", "theta0") if name in vars(other)})

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The Dataset of `simulate` (of `bridge.train` for a torch network), with this configuration in its attributes.

        progress: True for a bar on a terminal, or a function of what is done and how much there is.
        """
        return store.kept("experiment", self.decides, lambda: self.computed(progress))

    def level(self, statistic: str, *, tolerance: float = 0.05) -> settling.Level:
        """Where (η/2)·statistic settles from step `after` on."""
        return settling.level(self.run(), statistic, after=self.after, tolerance=tolerance)

    def computed(self, progress: Progress = False, n_workers: int | None = None) -> xarray.Dataset:
        """What `run` gives, computed here and now; n_workers: processes, by default one for each core."""
        dynamics, records = self.dynamics, self.records
        options: dict[str, Any] = {
            "step_size": self.step_size,
            "n_steps": dynamics.n_steps,
            "n_replicas": dynamics.n_replicas,
            "momentum": dynamics.momentum,
            "label_noise": dynamics.label_noise,
            "record": records.statistics,
            "n_records": records.n_records,
            "record_steps": self.record_steps,
            "n_batches": records.n_batches,
            "n_workers": n_workers or free_cores(),
            "progress": progress,
            "seed": dynamics.seed,
        }
        if isinstance(self.problem, MlpSection):
            from esssim import bridge

            trace = bridge.train(self.model, self.theta0, sampling=self.steps, **options)  # type: ignore[arg-type]
        else:
            adaptive = None if self.method is None else self.method.adaptive
            options |= {"sampling": self.steps, "adaptive": adaptive, "nesterov": dynamics.nesterov}
            trace = simulate(self.model, self.theta0, **options)
        return trace.assign_attrs(experiment=self.to_toml(), experiment_fingerprint=self.fingerprint)

    def _flattest(self, network: DiagonalLinearNetwork) -> FloatArray:
        """The flattest solution with n ≥ d, where the weights of all solutions are those of least squares."""
        if self.start.kind == "solution":
            return flattest(network, self.theta0)
        weights = np.asarray(np.linalg.lstsq(network.inputs, network.targets, rcond=None)[0], dtype=np.float64)
        return balanced(network, weights)

    def _edge(self, theta: FloatArray, fraction: float = 1.0) -> float:
        """A fraction of the critical step size at theta."""
        beta, nesterov = self.dynamics.momentum, self.dynamics.nesterov
        hessian: HessianKind = "full" if isinstance(self.problem, QuadraticSection) else "gauss_newton"
        steps = self.steps
        if isinstance(steps, BatchMethod):
            return fraction * step_size_of(steps, self.model, theta, hessian)
        if beta == 0 and isinstance(steps, Sampling):
            sharpness = mean_square_sharpness(self.model, theta, steps, hessian=hessian)
            return fraction * 2.0 / sharpness if sharpness > 0 else np.inf
        return fraction * critical_step_size(
            self.model, theta, steps, momentum=beta, nesterov=nesterov, hessian=hessian
        )


def flattest(network: DiagonalLinearNetwork, theta: FloatArray) -> FloatArray:
    """The balanced parameters with the effective weights of theta."""
    return balanced(network, network.effective_weights(theta))


def balanced(network: DiagonalLinearNetwork, weights: FloatArray) -> FloatArray:
    """The parameters of effective weights (d,) that are flattest: |u| = |v|, or one of w₊ and w₋ zero."""
    root = np.abs(weights) ** (1 / network.depth)
    if network.form == "product":
        return np.concatenate([root, np.sign(weights) * root])
    return np.concatenate([root * (weights > 0), root * (weights < 0)])
