"""SGD with dropout of inputs, whose masks are a second noise, on a rising step size."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import xarray
from pydantic import Field
from pydantic.dataclasses import dataclass

from esssim import store
from esssim._progress import Progress
from esssim._validate import FloatArray, IntArray
from esssim.data import gaussian
from esssim.dropout import Dropout
from esssim.experiments.beside import free_cores
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.rising import Rising, rising
from esssim.experiments.sections import STRICT, Count, Positive, Seed
from esssim.problems import DiagonalLinearNetwork
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp, simulate
from esssim.stability import dropout_step_size
from esssim.statistics.table import MEAN_SQUARE, OWN

N_SAMPLES, N_FEATURES = 60, 30
IMBALANCE = 1.0  # u² − v² at the start


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class DropoutRamp(Rising):
    """A diagonal network (n = 60, d = 30) from the minimum of its loss with dropout, where u² − v² = 1.

    target_size: root mean square of the targets, to which the noise of the masks is proportional. rate: of dropout. η
    rises from 0.8 to at most 2.5 critical step sizes of the start, 90 % of that of the flattest solution.
    """

    kind: ClassVar[str] = "dropout_ramp"

    target_size: Positive
    batch_size: Count
    rate: Annotated[Positive, Field(lt=1)] = 0.5
    n_steps: Count = 100_000
    n_replicas: Count = 16
    seed: Seed = 14

    def __post_init__(self) -> None:
        check_batch(self.batch_size, N_SAMPLES)

    @cached_property
    def problem(self) -> DiagonalLinearNetwork:
        inputs = gaussian(N_SAMPLES, N_FEATURES, seed=3).inputs
        fitted = inputs @ np.random.default_rng(103).standard_normal(N_FEATURES)
        fitted *= self.target_size / np.sqrt((fitted**2).mean())
        return DiagonalLinearNetwork(inputs, fitted)

    @cached_property
    def theta0(self) -> FloatArray:
        """The product w = uv solves (H + rate/(1−rate)·diag H)w = Xᵀy/n."""
        inputs, targets = self.problem.inputs, self.problem.targets
        hessian = inputs.T @ inputs / N_SAMPLES
        penalty = self.rate / (1 - self.rate) * np.diag(np.diagonal(hessian))
        product = np.linalg.solve(hessian + penalty, inputs.T @ targets / N_SAMPLES)
        u = np.sqrt((IMBALANCE + np.sqrt(IMBALANCE**2 + 4 * product**2)) / 2)
        return np.concatenate([u, product / u])

    @cached_property
    def steps(self) -> Dropout:
        """Batches and masks; the masks are the only noise of full batches."""
        return Dropout(WithoutReplacement(self.batch_size), self.rate)

    def critical(self, theta: FloatArray) -> float:
        """The mean-square critical step size of batches and masks."""
        return dropout_step_size(self.problem, theta, self.steps.sampling, self.rate)

    @cached_property
    def _schedule(self) -> tuple[Ramp, IntArray]:
        return rising(self.problem, self.theta0, self.critical, self.n_steps, "target_size")

    def run(self, progress: Progress = False) -> xarray.Dataset:
        step_size, steps = self._schedule
        decides = [asdict(self), self.problem.fingerprint, self.theta0.tolist(), asdict(step_size)]
        return store.kept(self.kind, decides, lambda: simulate(
            self.problem, self.theta0, step_size=step_size, n_steps=self.n_steps, n_replicas=self.n_replicas,
            sampling=self.steps, record=(OWN, MEAN_SQUARE), record_steps=steps.tolist(), n_workers=free_cores(),
            progress=progress, seed=self.seed,
        ))  # fmt: skip
