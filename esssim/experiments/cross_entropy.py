"""SGD on cross-entropy with smoothed labels, whose minimum is finite, on a rising step size; and a flow beside it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Annotated, ClassVar

import numpy as np
import xarray
from pydantic import Field
from pydantic.dataclasses import dataclass
from scipy.special import logit

from esssim import flow, store
from esssim._progress import Progress
from esssim._validate import FloatArray, IntArray
from esssim.data import gaussian
from esssim.experiments.beside import free_cores
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.rising import Rising, rising
from esssim.experiments.sections import STRICT, Count, NotNegative, Positive, Seed
from esssim.problems import DiagonalLinearNetwork, LogisticNetwork
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp, gradient_flow, simulate
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

N_SAMPLES, N_FEATURES, INITIAL_SCALE = 50, 100, 2.0
RECORDED = (MEAN_SQUARE, "minibatch_sharpness", "sharpness")


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class CrossEntropyRamp(Rising):
    """A diagonal network (n = 50, d = 100) with random classes, from a solution in which every label is fitted.

    smoothing: labels are 1 − smoothing/2 or smoothing/2. η rises from 0.8 to at most 2.5 critical step sizes of the
    start, 90 % of that of the flattest solution, in slower·n_steps steps. label_noise: ε of the labels.
    """

    kind: ClassVar[str] = "cross_entropy_ramp"

    batch_size: Count
    label_noise: NotNegative = 2e-4
    smoothing: Annotated[Positive, Field(lt=1)] = 0.1
    n_steps: Count = 100_000
    slower: Count = 1
    n_replicas: Count = 14
    seed: Seed = 15

    def __post_init__(self) -> None:
        check_batch(self.batch_size, N_SAMPLES)

    @cached_property
    def problem(self) -> LogisticNetwork:
        inputs = gaussian(N_SAMPLES, N_FEATURES, seed=1).inputs
        classes = np.random.default_rng(101).random(N_SAMPLES) < 0.5
        return LogisticNetwork(inputs, np.where(classes, 1 - self.smoothing / 2, self.smoothing / 2))

    @cached_property
    def theta0(self) -> FloatArray:
        """Where gradient flow on the logits leads: with n < d every label can be fitted."""
        start = np.concatenate([np.full(N_FEATURES, INITIAL_SCALE), np.zeros(N_FEATURES)])
        return gradient_flow(DiagonalLinearNetwork(self.problem.inputs, logit(self.problem.labels)), start)

    @property
    def scale(self) -> float:
        """√(y(1−y)), the same for every label."""
        return float(np.sqrt(self.smoothing / 2 * (1 - self.smoothing / 2)))

    @cached_property
    def squared(self) -> DiagonalLinearNetwork:
        """Squared loss on rows times √(y(1−y)): the same solutions, and there the same Hessians."""
        return DiagonalLinearNetwork(self.scale * self.problem.inputs, self.scale * logit(self.problem.labels))

    @cached_property
    def sampling(self) -> WithoutReplacement:
        return WithoutReplacement(self.batch_size)

    def critical(self, theta: FloatArray) -> float:
        """2/Q_b of Gauss–Newton matrices."""
        return 2 / mean_square_sharpness(self.problem, theta, self.sampling, hessian="gauss_newton")

    @cached_property
    def _schedule(self) -> tuple[Ramp, IntArray]:
        step_size, steps = rising(self.squared, self.theta0, self.critical, self.n_steps, "smoothing")
        return step_size, self.slower * steps

    def run(self, progress: Progress = False) -> xarray.Dataset:
        step_size, steps = self._schedule
        decides = [asdict(self), self.problem.fingerprint, self.theta0.tolist(), asdict(step_size)]
        return store.kept(self.kind, decides, lambda: simulate(
            self.problem, self.theta0, step_size=step_size, n_steps=self.slower * self.n_steps,
            n_replicas=self.n_replicas, sampling=self.sampling, label_noise=self.label_noise,
            record=(*RECORDED, "theta"), record_steps=steps.tolist(), n_workers=free_cores(), progress=progress,
            seed=self.seed,
        ))  # fmt: skip

    def flow_of_squared_loss(self, *record: str) -> xarray.Dataset:
        """The stochastic central flow of squared loss on the scaled rows, on the same ramp: the prediction."""
        return flow.solve(
            self.squared, self.theta0, step_size=self._schedule[0], sampling=self.sampling,
            n_steps=self.slower * self.n_steps, label_noise=self.label_noise / self.scale, record=record, n_records=41,
        )  # fmt: skip
