"""Runs of SGD next to the stochastic central flow, on a rising step size; the claims about the flow share them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import xarray

from esssim import data, flow
from esssim._validate import FloatArray
from esssim.problems import DiagonalLinearNetwork
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp, gradient_flow, simulate
from esssim.statistics import mean_square_sharpness

RISE = 2.5
# Name on the flow -> name of what a run of SGD records.
STATISTICS = {
    "mean_square_sharpness": "mean_square_sharpness_gauss_newton",
    "minibatch_sharpness": "minibatch_sharpness",
    "batch_sharpness": "batch_sharpness",
}

SETTINGS: dict[str, Callable[[], data.Data]] = {
    "gaussian-40x20": lambda: data.gaussian(40, 20, seed=1),
    "gaussian-20x40": lambda: data.gaussian(20, 40, seed=1),
    "spiked-20x40": lambda: data.spiked(20, 40, seed=1),
    "two-clusters-20x40": lambda: data.two_clusters(20, 40, seed=1),
    "noisy-40x20": lambda: data.gaussian(40, 20, seed=1, noise=0.05),
    "diabetes": lambda: data.load("diabetes"),
}


@dataclass(frozen=True)
class FlowExperiment:
    """SGD and the flow from the same solution, while η rises linearly from 0.8η₀ to 2.5η₀, η₀ = 2/Q_b there.

    The solution is that of gradient flow from u = 2, v = 0 (depth 2), or w₊ = 1.3, w₋ = 0.6 (deeper). With n ≥ d and
    depth 2 the ramp ends at 90 % of 2/Q_b of the flattest solution, past which none is stable. own_targets keeps the
    targets' noise instead of what the model can fit.
    """

    setting: str
    batch_size: int
    label_noise: float
    depth: int = 2
    own_targets: bool = False
    n_steps: int = 300_000
    n_replicas: int = 8
    n_records: int = 31
    n_batches: int = 128
    seed: int = 20261124

    def quick(self) -> FlowExperiment:
        """The same on a ramp five times as steep."""
        return replace(self, n_steps=self.n_steps // 5, n_records=19)

    @cached_property
    def problem(self) -> DiagonalLinearNetwork:
        table = SETTINGS[self.setting]()
        targets = table.targets if self.own_targets else data.interpolating_targets(table.inputs, table.targets)
        if self.depth == 2:
            return DiagonalLinearNetwork(table.inputs, targets)
        return DiagonalLinearNetwork(table.inputs, targets, form="difference", depth=self.depth)

    @cached_property
    def theta0(self) -> FloatArray:
        d = self.problem.n_params // 2
        first, second = (2.0, 0.0) if self.depth == 2 else (1.3, 0.6)
        return gradient_flow(self.problem, np.concatenate((np.full(d, first), np.full(d, second))))

    @cached_property
    def sampling(self) -> WithoutReplacement:
        return WithoutReplacement(self.batch_size)

    @cached_property
    def step_size(self) -> Ramp:
        first = self._edge(self.theta0)
        stop = RISE * first
        if self.depth == 2 and self.problem.n_samples >= self.problem.n_params // 2:
            weights = self.problem.effective_weights(self.theta0)
            root = np.sqrt(np.abs(weights))
            stop = min(stop, 0.9 * self._edge(np.concatenate((root, np.sign(weights) * root))))
        return Ramp(0.8 * first, stop)

    def _edge(self, theta: FloatArray) -> float:
        return 2.0 / mean_square_sharpness(self.problem, theta, self.sampling, hessian="gauss_newton")


@cache
def run_sgd(experiment: FlowExperiment) -> xarray.Dataset:
    """The ensemble of SGD; once a process."""
    return simulate(
        experiment.problem,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=experiment.sampling,
        n_steps=experiment.n_steps,
        n_replicas=experiment.n_replicas,
        label_noise=experiment.label_noise,
        record=(*STATISTICS.values(), "theta"),
        n_records=experiment.n_records,
        n_batches=experiment.n_batches,
        n_workers=os.cpu_count() or 1,
        seed=experiment.seed,
    )


@cache
def run_flow(experiment: FlowExperiment) -> xarray.Dataset:
    """The flow of the same run; once a process."""
    return flow.solve(
        experiment.problem,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=experiment.sampling,
        n_steps=experiment.n_steps,
        label_noise=experiment.label_noise,
        record=(*STATISTICS, "next_order_correction", "error_estimate"),
        n_records=experiment.n_records,
    )
