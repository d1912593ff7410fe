"""Perceptrons in training: one step size, no label noise, from an initialisation."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import xarray
from pydantic.dataclasses import dataclass

from esssim import flow, store
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration
from esssim.experiments.beside import Once, Task, free_cores
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.sections import STRICT, Count, Positive, Seed
from esssim.problems import Perceptron
from esssim.sampling import WithoutReplacement
from esssim.simulation import simulate
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

N_SAMPLES, N_INPUTS, WIDTH = 60, 5, 20
# Evaluations of dθ/dt that the flow may take.
MOST_EVALUATIONS = 5000


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class TrainedPerceptron(Configuration):
    """A network of 20 units that learns random ±1 of 60 inputs, at η = share·2/Q_b of its start.

    data_seed: of inputs and targets; start_seed: of the weights at step 0.
    """

    kind: ClassVar[str] = "trained_perceptron"

    activation: Literal["tanh", "gelu"]
    batch_size: Count
    share: Positive = 0.7
    n_steps: Count = 1000
    n_records: Count = 41
    n_replicas: Count = 16
    data_seed: Seed = 2
    start_seed: Seed = 2
    seed: Seed = 20261130

    def __post_init__(self) -> None:
        check_batch(self.batch_size, N_SAMPLES)

    @cached_property
    def problem(self) -> Perceptron:
        rng = np.random.default_rng(self.data_seed)
        inputs, targets = rng.standard_normal((N_SAMPLES, N_INPUTS)), np.sign(rng.standard_normal(N_SAMPLES))
        return Perceptron(inputs, targets, WIDTH, activation=self.activation)

    @cached_property
    def theta0(self) -> FloatArray:
        return self.problem.random_start(seed=self.start_seed)

    @cached_property
    def dynamics(self) -> dict[str, Any]:
        """What SGD and the flow share: the step size, and how batches are drawn."""
        sampling = WithoutReplacement(self.batch_size)
        q = mean_square_sharpness(self.problem, self.theta0, sampling, hessian="gauss_newton")
        return {"step_size": 2 * self.share / q, "sampling": sampling}

    @property
    def after(self) -> float:
        """The last three quarters of the steps."""
        return self.n_steps / 4

    @property
    def tasks(self) -> list[Task]:
        return [(run_trained, self), (_run_course, self._without_runs)]

    @property
    def _without_runs(self) -> TrainedPerceptron:
        """What the flow depends on."""
        return replace(self, n_replicas=1, seed=0)

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of SGD, with Q_b of the flow at the same steps as `flow_` and its name."""
        course = run_course(self)[MEAN_SQUARE].values
        return run_trained(self, progress).assign({f"flow_{MEAN_SQUARE}": ("record", course)})


@Once[TrainedPerceptron, xarray.Dataset]
def run_trained(experiment: TrainedPerceptron, progress: Progress = False) -> xarray.Dataset:
    """SGD, with θ and Q_b of Gauss–Newton matrices; once a process."""
    decides = [asdict(experiment), experiment.problem.fingerprint, experiment.theta0.tolist()]
    return store.kept(experiment.kind, decides, lambda: simulate(
        experiment.problem, experiment.theta0, **experiment.dynamics, n_steps=experiment.n_steps,
        n_records=experiment.n_records, n_replicas=experiment.n_replicas, record=(MEAN_SQUARE, "theta"),
        n_workers=free_cores(), progress=progress, seed=experiment.seed,
    ))  # fmt: skip


def run_course(experiment: TrainedPerceptron) -> xarray.Dataset:
    """The flow of the mean from the same start, with its next order; once a process."""
    return _run_course(experiment._without_runs)


@Once[TrainedPerceptron, xarray.Dataset]
def _run_course(experiment: TrainedPerceptron) -> xarray.Dataset:
    return flow.solve(
        experiment.problem, experiment.theta0, **experiment.dynamics, n_steps=experiment.n_steps,
        n_records=experiment.n_records, follow="mean", record=(MEAN_SQUARE, "next_order_correction"),
        most_evaluations=MOST_EVALUATIONS,
    )  # fmt: skip
