"""The step-size ramp: the experiment that shows where each statistic settles. Claims and figures share its runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property

import numpy as np
import xarray

from esssim import _validate, data, store
from esssim._validate import FloatArray
from esssim.problems import DiagonalLinearNetwork
from esssim.sampling import WithoutReplacement
from esssim.settling import Level, level
from esssim.simulation import Ramp, gradient_flow, simulate
from esssim.statistics import mean_square_sharpness
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

SETTINGS: dict[str, Callable[[], data.Data]] = {
    "gaussian-100x50": lambda: data.gaussian(100, 50, seed=1),
    "gaussian-50x100": lambda: data.gaussian(50, 100, seed=2),
    "diabetes": lambda: data.load("diabetes"),
}
# Ten coordinates forget slowly: the diabetes runs wander as one, so that only many of them tell their mean.
REPLICAS = {"gaussian-100x50": 12, "gaussian-50x100": 12, "diabetes": 96}
# At b = 32 one run in ten leaves the edge for a while: twelve of them are 37 effective samples. Full batches do not
# wander: each of their records counts, and a step of theirs costs the most.
OWN_REPLICAS = {("gaussian-100x50", 32): 48, ("diabetes", 442): 12}
FOLLOWED = 1.15  # the window of averages opens once the step size is 15 % past the first edge
RISE = 2.5


@dataclass(frozen=True)
class RampExperiment:
    """SGD with label noise ε on a diagonal network while η rises slowly.

    Gradient flow from u = α·1, v = 0 leads to a sharp, unbalanced solution; η₀ = 2/Q_b there; then η rises linearly
    from 0.8η₀ to 2.5η₀ (n ≥ d: at most to 90 % of 2/Q_b of the flattest solution |u| = |v|, past which no stable
    solution is left to settle at). Levels are averages of (η/2)·statistic over η > 1.15η₀. `own_targets` keeps a
    table's noisy targets instead of their least-squares fit. n_replicas: 0 stands for the setting's own number.
    """

    setting: str
    batch_size: int
    label_noise: float = 1e-3
    own_targets: bool = False
    initial_scale: float = 2.0
    n_steps: int = 400_000
    n_replicas: int = 0
    n_records: int = 61
    n_batches: int = 64
    seed: int = 20261124

    def __post_init__(self) -> None:
        _validate.choice("setting", self.setting, tuple(SETTINGS))
        if self.n_replicas == 0:
            own = OWN_REPLICAS.get((self.setting, self.batch_size), REPLICAS[self.setting])
            object.__setattr__(self, "n_replicas", own)

    def quick(self) -> RampExperiment:
        """The same, a quarter as long; shorter runs hold fewer independent records, so there are ten at least."""
        return replace(self, n_steps=self.n_steps // 4, n_replicas=max(10, self.n_replicas), n_records=41)

    @cached_property
    def problem(self) -> DiagonalLinearNetwork:
        """The network, on targets that it can fit unless `own_targets`."""
        table = SETTINGS[self.setting]()
        targets = table.targets if self.own_targets else data.interpolating_targets(table.inputs, table.targets)
        return DiagonalLinearNetwork(table.inputs, targets)

    @cached_property
    def sampling(self) -> WithoutReplacement:
        return WithoutReplacement(self.batch_size)

    @cached_property
    def theta0(self) -> FloatArray:
        """The sharp solution that the run starts from."""
        d = self.problem.n_params // 2
        return gradient_flow(self.problem, np.concatenate([np.full(d, self.initial_scale), np.zeros(d)]))

    @cached_property
    def first_edge(self) -> float:
        """η₀ = 2/Q_b at theta0."""
        return 2.0 / self._mean_square(self.theta0)

    @cached_property
    def step_size(self) -> Ramp:
        stop = RISE * self.first_edge
        d = self.problem.n_params // 2
        if self.problem.n_samples >= d:
            weights = self.problem.effective_weights(self.theta0)
            root = np.sqrt(np.abs(weights))
            flattest = np.concatenate([root, np.sign(weights) * root])
            stop = min(stop, 0.9 * 2.0 / self._mean_square(flattest))
        return Ramp(0.8 * self.first_edge, stop)

    @property
    def after(self) -> float:
        """The step at which η passes 1.15η₀."""
        ramp = self.step_size
        return self.n_steps * (FOLLOWED * self.first_edge - ramp.start) / (ramp.stop - ramp.start)

    def _mean_square(self, theta: FloatArray) -> float:
        return mean_square_sharpness(self.problem, theta, self.sampling, hessian="gauss_newton")

    @property
    def decides(self) -> list[object]:
        """Everything that decides the run, the start and the step sizes that were computed for it included."""
        return [asdict(self), self.problem.fingerprint, self.theta0.tolist(), asdict(self.step_size), list(LEVELS)]


@cache
def run_ramp(experiment: RampExperiment) -> xarray.Dataset:
    """The run of an experiment; computed once a process, and kept on disk where ESSSIM_CACHE names a folder."""

    def run() -> xarray.Dataset:
        return simulate(
            experiment.problem,
            experiment.theta0,
            step_size=experiment.step_size,
            sampling=experiment.sampling,
            n_steps=experiment.n_steps,
            n_replicas=experiment.n_replicas,
            label_noise=experiment.label_noise,
            record=("loss", *LEVELS),
            n_records=experiment.n_records,
            n_batches=experiment.n_batches,
            n_workers=os.cpu_count() or 1,
            seed=experiment.seed,
        )

    return store.kept("ramp", experiment.decides, run)


def ramp_level(experiment: RampExperiment, statistic: str, tolerance: float = 0.05) -> Level:
    """Where (η/2)·statistic settles on the ramp."""
    return level(run_ramp(experiment), statistic, after=experiment.after, tolerance=tolerance)
