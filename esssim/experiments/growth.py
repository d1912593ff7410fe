"""An ensemble of SGD on a regression whose mean square grows, or shrinks, at the same rate at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import ClassVar

import numpy as np
import xarray
from pydantic.dataclasses import dataclass

from esssim import data, store
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.sections import STRICT, Count, Positive, Seed
from esssim.problems import LinearRegression, Problem
from esssim.sampling import Sampling, WithoutReplacement
from esssim.settling import Level
from esssim.simulation import simulate
from esssim.statistics import mean_square_sharpness

N_SAMPLES, N_FEATURES = 12, 3


def regression(seed: int, n: int = N_SAMPLES, d: int = N_FEATURES) -> LinearRegression:
    """Gaussian inputs, targets zero."""
    return LinearRegression(data.gaussian(n, d, seed=seed).inputs, np.zeros(n))


def second_moment_operator(
    problem: Problem, theta: FloatArray, sampling: Sampling, eta: float, momentum: float = 0.0
) -> FloatArray:
    """E[T_B⊗T_B] by enumeration of every batch, T_B = I − ηH_B, (p², p²), or the step of (θ, v) with momentum, (4p²,
    4p²): no moment identity, no structure.
    """
    p, eye = problem.n_params, np.eye(problem.n_params)
    total = np.zeros(((2 * p if momentum else p) ** 2,) * 2)
    for batches, weights in sampling.enumerate(problem.n_samples):
        for hessian, weight in zip(problem.hessian(theta, batches), weights, strict=True):
            step = eye - eta * hessian
            if momentum:
                step = np.block([[step, -eta * momentum * eye], [hessian, momentum * eye]])
            total += weight * np.kron(step, step)
    return total


def second_moment_radius(
    problem: Problem, theta: FloatArray, sampling: Sampling, eta: float, momentum: float = 0.0
) -> float:
    """ρ(E[T_B⊗T_B])."""
    return float(np.abs(np.linalg.eigvals(second_moment_operator(problem, theta, sampling, eta, momentum))).max())


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class GrowingEnsemble(Configuration):
    """SGD on a regression (n = 12, d = 3) at `factor` critical step sizes, from normal starts whose covariance one
    step only stretches.

    The runs are short: rare ones that no ensemble holds soon carry the mean square of a random product. data_seed: of
    the inputs; seed: of starts and batches.
    """

    kind: ClassVar[str] = "growing_ensemble"

    data_seed: Seed
    batch_size: Count
    factor: Positive
    n_steps: Count = 4
    n_replicas: Count = 8000
    seed: Seed = 0

    def __post_init__(self) -> None:
        check_batch(self.batch_size, N_SAMPLES)

    @cached_property
    def problem(self) -> LinearRegression:
        return regression(self.data_seed)

    @property
    def sampling(self) -> WithoutReplacement:
        return WithoutReplacement(self.batch_size)

    @cached_property
    def step_size(self) -> float:
        critical = 2 / mean_square_sharpness(self.problem, np.zeros(N_FEATURES), self.sampling)
        return self.factor * critical

    @property
    def starts(self) -> FloatArray:
        """(replicas, d)."""
        operator = second_moment_operator(self.problem, np.zeros(N_FEATURES), self.sampling, self.step_size)
        _, vectors = np.linalg.eigh((operator + operator.T) / 2)
        sign = np.sign(vectors[:: N_FEATURES + 1, -1].sum())
        values, root = np.linalg.eigh(vectors[:, -1].reshape(N_FEATURES, N_FEATURES) * sign)
        normals = np.random.default_rng(self.seed).normal(size=(self.n_replicas, N_FEATURES))
        return np.asarray((normals * np.sqrt(np.maximum(values, 0.0))) @ root.T)

    @property
    def after(self) -> float:
        return 0.0

    @property
    def tasks(self) -> list[Task]:
        return [(run_once, self)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The loss at the first and the last step."""
        decides = [asdict(self), self.problem.fingerprint, self.step_size]
        return store.kept(self.kind, decides, lambda: simulate(
            self.problem, self.starts, step_size=self.step_size, sampling=self.sampling, n_steps=self.n_steps,
            n_replicas=self.n_replicas, record=("loss",), record_steps=[0, self.n_steps], progress=progress,
            seed=self.seed,
        ))  # fmt: skip

    def levels(self, trace: xarray.Dataset, *, tolerance: float = 0.05) -> dict[str, Level | str]:
        """None: on a regression every statistic of the Hessians is constant."""
        return {}

    def growth_rate(self, trace: xarray.Dataset) -> tuple[float, float]:
        """log growth per step of the mean loss, and its standard error."""
        first, last = trace["loss"].values.T
        ratio = last.mean() / first.mean()
        # Delta method for a ratio of means over the same replicas.
        error = (last - ratio * first).std(ddof=1) / first.mean() / np.sqrt(self.n_replicas)
        return float(np.log(ratio)) / self.n_steps, float(error / ratio) / self.n_steps

    def results(self, trace: xarray.Dataset, progress: Progress = False) -> Mapping[str, tuple[float, float, float]]:
        """The rate, and the exact one."""
        rate, error = self.growth_rate(trace)
        exact = float(np.log(second_moment_radius(self.problem, np.zeros(N_FEATURES), self.sampling, self.step_size)))
        return {
            "growth of the mean loss per step": (rate, rate - 1.96 * error, rate + 1.96 * error),
            "log of the spectral radius": (exact, exact, exact),
        }
