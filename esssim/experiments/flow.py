"""Runs of SGD next to the stochastic central flow, on a rising step size; the claims about the flow share them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import xarray
from pydantic.dataclasses import dataclass

from esssim import data, flow, store
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration
from esssim.experiments.beside import Once, Task, free_cores
from esssim.experiments.build import solution_from
from esssim.experiments.errors import in_plain_words
from esssim.experiments.experiment import BELOW_THE_LAST_EDGE, flattest
from esssim.experiments.sections import STRICT, Count, Momentum, Natural, NotNegative, Seed
from esssim.problems import DiagonalLinearNetwork, Perceptron
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp, simulate
from esssim.simulation.schedule import steps_to_record
from esssim.stability import critical_step_size
from esssim.statistics.table import MEAN_SQUARE

RISE = 2.5
# What runs of SGD and the flow record.
RECORDED = (MEAN_SQUARE, "minibatch_sharpness", "batch_sharpness")
NEXT_ORDER = ("next_order_correction", "error_estimate")

Setting = Literal[
    "gaussian-40x20", "gaussian-20x40", "spiked-20x40", "two-clusters-20x40", "noisy-40x20", "spiked-40x20",
    "two-clusters-40x20", "diabetes", "tanh-30x5", "gelu-30x5",
]  # fmt: skip
SETTINGS: dict[str, Callable[[], data.Data]] = {
    "gaussian-40x20": lambda: data.gaussian(40, 20, seed=1),
    "gaussian-20x40": lambda: data.gaussian(20, 40, seed=1),
    "spiked-20x40": lambda: data.spiked(20, 40, seed=1),
    "two-clusters-20x40": lambda: data.two_clusters(20, 40, seed=1),
    "noisy-40x20": lambda: data.gaussian(40, 20, seed=1, noise=0.05),
    "spiked-40x20": lambda: data.spiked(40, 20, seed=1),
    "two-clusters-40x20": lambda: data.two_clusters(40, 20, seed=1),
    "diabetes": lambda: data.load("diabetes"),
}
# Perceptrons of 20 units: inputs, and targets of three tanh units that they can fit; or signs, for a training run.
PERCEPTRONS: dict[str, Literal["tanh", "gelu"]] = {"tanh-30x5": "tanh", "gelu-30x5": "gelu"}
WIDTH = 20
# Records of batch sharpness to one of the others.
OFTEN = 10


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class FlowExperiment(Configuration):
    """SGD and the flow from the same solution, while η rises linearly from 0.8η₀ to 2.5η₀, η₀ the mean-square edge
    there.

    The solution is that of gradient flow from u = 2, v = 0 (depth 2), w₊ = 1.3, w₋ = 0.6 (deeper), or random weights
    (perceptrons). With n ≥ d the ramp of a diagonal network ends at 90 % of the edge of the flattest solution, past
    which none is stable. own_targets keeps the targets' noise instead of what the model can fit. follow: which flow is
    compared. n_replicas: of SGD; 0 for the flow alone.
    """

    kind: ClassVar[str] = "flow"

    setting: Setting
    batch_size: Count
    label_noise: NotNegative
    depth: Count = 2
    own_targets: bool = False
    momentum: Momentum = 0.0
    follow: Literal["solutions", "mean"] = "solutions"
    n_steps: Count = 300_000
    n_replicas: Natural = 8
    n_records: Count = 31
    n_batches: Count = 128
    seed: Seed = 20261124

    def quick(self) -> FlowExperiment:
        """The same on a ramp five times as steep."""
        return replace(self, n_steps=self.n_steps // 5, n_records=19)

    @cached_property
    def problem(self) -> DiagonalLinearNetwork | Perceptron:
        if self.setting in PERCEPTRONS:
            return taught_perceptron(PERCEPTRONS[self.setting], 30, 5)
        table = SETTINGS[self.setting]()
        targets = table.targets if self.own_targets else data.interpolating_targets(table.inputs, table.targets)
        if self.depth == 2:
            return DiagonalLinearNetwork(table.inputs, targets)
        return DiagonalLinearNetwork(table.inputs, targets, form="difference", depth=self.depth)

    @cached_property
    def theta0(self) -> FloatArray:
        if isinstance(self.problem, Perceptron):
            return solution_from(self.problem, self.problem.random_start(seed=1))
        d = self.problem.n_params // 2
        first, second = (2.0, 0.0) if self.depth == 2 else (1.3, 0.6)
        return solution_from(self.problem, np.concatenate((np.full(d, first), np.full(d, second))))

    @property
    def needs_next_order(self) -> bool:
        """Where the flow may be off; elsewhere its own estimate is below 0.05 %, and the next order half of the
        work.
        """
        return self.setting in PERCEPTRONS or self.own_targets or self.label_noise >= 0.2

    @cached_property
    def sampling(self) -> WithoutReplacement:
        return WithoutReplacement(self.batch_size)

    @cached_property
    def step_size(self) -> Ramp:
        first = self._edge(self.theta0)
        stop = RISE * first
        network = self.problem
        if isinstance(network, DiagonalLinearNetwork) and network.n_samples >= network.n_params // 2:
            stop = min(stop, BELOW_THE_LAST_EDGE * self._edge(flattest(network, self.theta0)))
        return Ramp(0.8 * first, stop)

    @property
    def decides(self) -> list[object]:
        """Everything that decides the run."""
        return [asdict(self), self.problem.fingerprint, self.theta0.tolist(), asdict(self.step_size)]

    @property
    def after(self) -> float:
        """The step from which on levels are averaged: a third of the ramp."""
        return self.n_steps / 3

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of SGD, with those of the flow at the same steps as `flow_` and their name."""
        if self.n_replicas == 0:
            return run_flow(self).expand_dims("replica").assign_attrs(seed=self.seed)
        return with_flow(run_sgd(self, progress), run_flow(self))

    @property
    def tasks(self) -> list[Task]:
        if self.n_replicas == 0:
            return [(run_flow, self)]
        return [(_run_sgd, replace(self, follow="solutions")), (run_flow, self)]

    def _edge(self, theta: FloatArray) -> float:
        return critical_step_size(self.problem, theta, self.sampling, momentum=self.momentum, hessian="gauss_newton")


def with_flow(trace: xarray.Dataset, followed: xarray.Dataset) -> xarray.Dataset:
    """The runs of SGD, and what the flow predicts of them."""
    columns = {f"flow_{name}": ("record", followed[name].values) for name in RECORDED if name in followed}
    return trace.assign(columns)


def taught_perceptron(activation: Literal["tanh", "gelu"], n: int, d: int) -> Perceptron:
    rng = np.random.default_rng(0)
    inputs, teacher = rng.standard_normal((n, d)), rng.standard_normal((3, d)) / np.sqrt(d)
    return Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), WIDTH, activation=activation)


def run_sgd(experiment: FlowExperiment, progress: Progress = False) -> xarray.Dataset:
    """The ensemble of SGD; once a process. Of perceptrons with Gauss–Newton Hessians throughout, as on the flow."""
    every = _run_sgd(replace(experiment, follow="solutions"), progress)
    found = every.isel(record=np.flatnonzero(np.isin(every["step"].values, _steps(experiment))))
    # Row by row in memory, as if nothing had been left out: sums then have the same last bit.
    return found.assign(
        {name: (column.dims, np.ascontiguousarray(column.values)) for name, column in found.data_vars.items()}
    )


def run_batch_sharpness(experiment: FlowExperiment) -> xarray.Dataset:
    """The batch sharpness of the same runs, ten times as often: it fluctuates more than the others, and costs
    little.
    """
    return _run_sgd(replace(experiment, follow="solutions"))[["batch_sharpness", "diverged_at"]]


def _steps(experiment: FlowExperiment, often: int = 1) -> list[int]:
    return steps_to_record(experiment.n_steps, often * (experiment.n_records - 1) + 1, None).tolist()


@Once[FlowExperiment, xarray.Dataset]
def _run_sgd(experiment: FlowExperiment, progress: Progress = False) -> xarray.Dataset:
    return store.kept("flow", experiment.decides, lambda: _measured_sgd(experiment, progress))


def _measured_sgd(experiment: FlowExperiment, progress: Progress) -> xarray.Dataset:
    gauss_newton = isinstance(experiment.problem, Perceptron)
    seldom = _steps(experiment)
    names = (MEAN_SQUARE,) if gauss_newton else RECORDED
    steps = dict.fromkeys((*names, "theta"), seldom)
    steps["theta" if gauss_newton else "batch_sharpness"] = _steps(experiment, OFTEN)
    trace = simulate(
        experiment.problem,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=experiment.sampling,
        n_steps=experiment.n_steps,
        n_replicas=experiment.n_replicas,
        label_noise=experiment.label_noise,
        momentum=experiment.momentum,
        record=tuple(steps),
        record_steps=steps,
        n_batches=experiment.n_batches,
        n_workers=free_cores(),
        progress=progress,
        seed=experiment.seed,
    )
    if gauss_newton:
        thetas, at = trace["theta"].values, np.isin(trace["step"].values, seldom)
        for name, statistic, when in (
            ("minibatch_sharpness", _largest, at),
            ("batch_sharpness", _quotient, np.ones_like(at)),
        ):
            column = np.full(thetas.shape[:2], np.nan)
            points = thetas[:, when].reshape(-1, thetas.shape[-1])
            column[:, when] = np.reshape(
                [_over_batches(experiment, point, k, statistic) for k, point in enumerate(points)], (len(thetas), -1)
            )
            trace[name] = (("replica", "record"), column)
    return trace


def _over_batches(
    experiment: FlowExperiment, theta: FloatArray, key: int, statistic: Callable[[FloatArray, FloatArray], FloatArray]
) -> float:
    """The mean over batches of what depends on k = J_BJ_Bᵀ (m, b, b) and r_B (m, b), for H_B = J_BᵀJ_B/b."""
    problem, sampling = experiment.problem, experiment.sampling
    if not np.isfinite(theta).all():
        return np.nan
    rng = np.random.default_rng(np.random.SeedSequence(experiment.seed, spawn_key=(key,)))
    batches = sampling.draw(problem.n_samples, experiment.n_batches, rng)
    everyone = np.arange(problem.n_samples)
    jacobians, residuals = problem.sample_jacobians(theta, everyone), problem.residuals(theta, everyone)
    grams = (jacobians @ jacobians.T)[batches[:, :, None], batches[:, None, :]]
    return float(statistic(grams, residuals[batches]).mean()) / sampling.batch_size


def _largest(grams: FloatArray, residuals: FloatArray) -> FloatArray:
    """λ_max(k), b times λ_max(H_B)."""
    return np.asarray(np.linalg.eigvalsh(grams)[:, -1])


def _quotient(grams: FloatArray, residuals: FloatArray) -> FloatArray:
    """‖kr_B‖²/(r_Bᵀkr_B), b times g_BᵀH_Bg_B/‖g_B‖²."""
    images = np.einsum("mij,mj->mi", grams, residuals)
    with np.errstate(invalid="ignore"):  # 0/0 at a solution
        return np.asarray((images**2).sum(axis=1) / (residuals * images).sum(axis=1))


@Once[FlowExperiment, xarray.Dataset]
def run_flow(experiment: FlowExperiment) -> xarray.Dataset:
    """The flow of the same run, alone with its distance to the edge; once a process."""
    more = () if experiment.n_replicas else ("distance_to_edge",)
    return flow.solve(
        experiment.problem,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=experiment.sampling,
        n_steps=experiment.n_steps,
        label_noise=experiment.label_noise,
        momentum=experiment.momentum,
        follow=experiment.follow,
        record=(*RECORDED, "burst_correction", *more, *(NEXT_ORDER if experiment.needs_next_order else ())),
        n_records=experiment.n_records,
    )
