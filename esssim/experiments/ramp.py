"""The step-size ramp: the experiment that shows where each statistic settles. Claims and figures share its runs."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

import xarray
from pydantic.dataclasses import dataclass

from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.experiment import Experiment
from esssim.experiments.sections import STRICT, Count, Natural, NotNegative, Positive, Scheme, Seed
from esssim.problems import DiagonalLinearNetwork
from esssim.sampling import Sampling
from esssim.settling import Level, level
from esssim.simulation import Ramp
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

# What is followed on a ramp: name in a record -> name in tables.
LEVELS = {
    name: STATISTICS[name].short
    for name in (
        "sharpness",
        "minibatch_sharpness",
        "batch_sharpness",
        "batch_sharpness_parts",
        "interaction_aware_sharpness",
        MEAN_SQUARE,
    )
}

Setting = Literal["gaussian-100x50", "gaussian-50x100", "diabetes"]
SETTINGS: dict[str, dict[str, Any]] = {
    "gaussian-100x50": {"kind": "gaussian", "n_samples": 100, "n_features": 50, "seed": 1},
    "gaussian-50x100": {"kind": "gaussian", "n_samples": 50, "n_features": 100, "seed": 2},
    "diabetes": {"kind": "diabetes"},
}
SAMPLES = {"gaussian-100x50": 100, "gaussian-50x100": 50, "diabetes": 442}
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# What a quick run of the claims and of the pictures covers.
QUICK = {("gaussian-100x50", 1), ("gaussian-100x50", 8), ("gaussian-100x50", 100), ("diabetes", 1)}
# Ten coordinates forget slowly: the diabetes runs wander as one, so that only many of them give their mean.
REPLICAS = {"gaussian-100x50": 12, "gaussian-50x100": 12, "diabetes": 96}
# At b = 32 one run in ten leaves the edge for a while: twelve of them are 37 effective samples. Full batches do not
# wander: each of their records counts, and a step of theirs costs the most.
OWN_REPLICAS = {("gaussian-100x50", 32): 48, ("diabetes", 442): 12}
RISE = 2.5
TOLERANCE = 0.05


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class RampExperiment(Configuration):
    """SGD with label noise ε on a diagonal network while η rises slowly: a preset of `Experiment`.

    Gradient flow from u = α·1, v = 0 leads to a sharp, unbalanced solution; η₀ = 2/Q_b there; then η rises linearly
    from 0.8η₀ to 2.5η₀ (n ≥ d: at most to 90 % of 2/Q_b of the flattest solution |u| = |v|, past which no stable
    solution is left to settle at). Levels are averages of (η/2)·statistic over η > 1.15η₀. `own_targets` keeps a
    table's noisy targets instead of their least-squares fit. scheme, kurtosis: as in a TOML file. n_replicas: 0 stands
    for the setting's own number.
    """

    kind: ClassVar[str] = "ramp"

    setting: Setting
    batch_size: Count
    label_noise: NotNegative = 1e-3
    own_targets: bool = False
    scheme: Scheme = "without_replacement"
    kurtosis: Positive | None = None
    initial_scale: Positive = 2.0
    n_steps: Count = 400_000
    n_replicas: Natural = 0
    n_records: Count = 61
    n_batches: Count = 64
    seed: Seed = 20261124

    def __post_init__(self) -> None:
        check_batch(self.batch_size, SAMPLES[self.setting])
        if self.n_replicas == 0:
            own = OWN_REPLICAS.get((self.setting, self.batch_size), REPLICAS[self.setting])
            object.__setattr__(self, "n_replicas", own)

    def quick(self) -> RampExperiment:
        """The same, a quarter as long; shorter runs hold fewer independent records, so there are ten at least."""
        return replace(self, n_steps=self.n_steps // 4, n_replicas=max(10, self.n_replicas), n_records=41)

    @cached_property
    def experiment(self) -> Experiment:
        """The run in sections."""
        return Experiment(
            problem={"kind": "diagonal_linear_network", "form": "product"},
            data=SETTINGS[self.setting] | {"targets": "own" if self.own_targets else "interpolating"},
            start={"kind": "solution", "scale": self.initial_scale},
            sampling={"scheme": self.scheme, "batch_size": self.batch_size}
            | ({} if self.kurtosis is None else {"kurtosis": self.kurtosis}),
            dynamics={
                "step_size": {"from": 0.8, "to": RISE, "unit": "first edge"},
                "n_steps": self.n_steps,
                "n_replicas": self.n_replicas,
                "label_noise": self.label_noise,
                "seed": self.seed,
            },
            records={
                "statistics": ("loss", *LEVELS),
                "n_records": self.n_records,
                "n_batches": self.n_batches,
            },
        )

    def to_toml(self) -> str:
        """The run in sections: what `esssim run` takes."""
        return self.experiment.to_toml()

    @property
    def problem(self) -> DiagonalLinearNetwork:
        """The network, on targets that it can fit unless `own_targets`."""
        return cast(DiagonalLinearNetwork, self.experiment.model)

    @property
    def sampling(self) -> Sampling:
        return self.experiment.batches

    @property
    def theta0(self) -> FloatArray:
        """The sharp solution that the run starts from."""
        return self.experiment.theta0

    @property
    def first_edge(self) -> float:
        """η₀ = 2/Q_b at theta0."""
        return self.experiment.first_edge

    @property
    def step_size(self) -> Ramp:
        """η from 0.8η₀ on."""
        return Ramp.of(self.experiment.step_size)

    @property
    def after(self) -> float:
        """The step at which η passes 1.15η₀."""
        return self.experiment.after

    @property
    def tasks(self) -> list[Task]:
        return [(run_once, self)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of the run, as `Experiment.run` gives them."""
        return self.experiment.run(progress)


def ramp_level(experiment: RampExperiment, statistic: str, tolerance: float = TOLERANCE) -> Level:
    """Where (η/2)·statistic settles on the ramp."""
    return level(run_once(experiment), statistic, after=experiment.after, tolerance=tolerance)


def ramp_experiment(setting: str, b: int, quick: bool) -> RampExperiment:
    """The ramp of a claim; a quick one is shorter."""
    full = RampExperiment(cast(Setting, setting), b)
    return full.quick() if quick else full


def one_step() -> Experiment:
    """The shortest run of a ramp: a process that makes it has compiled the steps."""
    return RampExperiment("gaussian-100x50", 8, n_steps=1, n_replicas=1, n_records=1).experiment.recording("loss")


def ramp_experiments(quick: bool, setting: str = "gaussian-100x50") -> list[RampExperiment]:
    """The runs of one setting that `verify` measures, by batch size."""
    sizes = [b for s, b in sorted(QUICK) if s == setting] if quick else [*BATCH_SIZES, SAMPLES[setting]]
    return [ramp_experiment(setting, b, quick) for b in sizes]
