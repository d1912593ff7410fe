"""How rarely SGD leaves a minimum that is stable in mean square, and the rate that its linearisation predicts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import xarray
from pydantic import Field
from pydantic.dataclasses import dataclass

from esssim import store
from esssim._particles import moment_exponent, root_of_exponent
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration
from esssim.experiments.beside import Once, Task, free_cores
from esssim.experiments.errors import in_plain_words
from esssim.experiments.sections import STRICT, Count, NotNegative, Positive, Seed
from esssim.problems import DiagonalLinearNetwork
from esssim.sampling import WithoutReplacement
from esssim.simulation import simulate
from esssim.stability import EscapeProbability, escape_probability
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

# A diagonal network of which three samples are nearly the same and twice as long as the others; batches of three.
N_SAMPLES, N_INPUTS, BATCH_SIZE, N_COPIES, LENGTH, JITTER = 12, 16, 3, 3, 2.0, 0.3
BATCHES = WithoutReplacement(BATCH_SIZE)
LABEL_NOISE, HORIZON = 0.02, 100
# The escape: the loss at which a step of the three takes a quarter of the imbalance of one coordinate, (η·s)² = 1/4 at
# the edge.
TAKEN = 0.25
# The tail index: particles and their steps. The prefactor: plain runs, and the share of them that passes its loss.
ORDERS = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
N_TAIL, TAIL_STEPS, BURN_IN = 2000, 300, 60
N_PLAIN, SHARE = 10_000, 0.01


class Minimum(NamedTuple):
    """The network at its minimum: Q_b, the largest λ_max(H_B), and how many batches have more than Q_b."""

    problem: DiagonalLinearNetwork
    theta: FloatArray
    rows: FloatArray
    edge: float
    largest: float
    n_steeper: int

    @property
    def level(self) -> float:
        """The loss with a residual r of the three at which η²r²·max x² = TAKEN for η = 2/Q_b."""
        largest_input = float(np.abs(self.problem.inputs[:N_COPIES]).max())
        return N_COPIES * TAKEN * (self.edge / 2 / largest_input) ** 2 / (2 * N_SAMPLES)


@cache
def minimum() -> Minimum:
    rng = np.random.default_rng(4)
    inputs = rng.standard_normal((N_SAMPLES, N_INPUTS))
    inputs /= np.linalg.norm(inputs, axis=1)[:, None]
    for k in range(1, N_COPIES):
        row = inputs[0] + JITTER * rng.standard_normal(N_INPUTS) / np.sqrt(N_INPUTS)
        inputs[k] = row / np.linalg.norm(row)
    inputs[:N_COPIES] *= LENGTH
    u = rng.uniform(0.8, 1.2, N_INPUTS) * rng.choice([-1.0, 1.0], N_INPUTS)
    v = 0.4 * rng.standard_normal(N_INPUTS)
    problem, theta = DiagonalLinearNetwork(inputs, inputs @ (u * v)), np.concatenate([u, v])
    rows = problem.sample_jacobians(theta, np.arange(N_SAMPLES))
    edge = own_edge(problem, theta)
    batches = itertools.combinations(range(N_SAMPLES), BATCH_SIZE)
    largest = np.array([np.linalg.norm(rows[list(batch)], 2) ** 2 / BATCH_SIZE for batch in batches])
    return Minimum(problem, theta, rows, edge, float(largest.max()), int((largest > edge).sum()))


def own_edge(problem: DiagonalLinearNetwork, theta: FloatArray) -> float:
    """Q_b of Gauss–Newton matrices."""
    return float(mean_square_sharpness(problem, theta, BATCHES, hessian="gauss_newton"))


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class EscapeExperiment(Configuration):
    """SGD from a minimum of a diagonal network (n = 12, d = 16) with 28 unstable batches of 220, b = 3.

    start: (η/2)·Q_b at the minimum. An escape is a loss at which a step takes a quarter of the imbalance of one
    coordinate; its probability within n_steps is found by importance splitting, n_particles at each level. n_replicas:
    plain runs, whose records are kept.
    """

    kind: ClassVar[str] = "escapes"

    start: Annotated[Positive, Field(lt=1)]
    n_particles: Annotated[Count, Field(ge=2)] = 500
    n_repetitions: Annotated[Count, Field(ge=2)] = 20
    n_steps: Count = HORIZON
    label_noise: NotNegative = LABEL_NOISE
    n_replicas: Count = 20
    n_records: Count = 11
    seed: Seed = 6

    @property
    def problem(self) -> DiagonalLinearNetwork:
        return minimum().problem

    @property
    def step_size(self) -> float:
        return 2 * self.start / minimum().edge

    @property
    def after(self) -> float:
        return 0.0

    @property
    def tasks(self) -> list[Task]:
        return [(escapes, self)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The plain runs."""
        decides = [asdict(self), self.problem.fingerprint]
        return store.kept(self.kind, decides, lambda: simulate(
            self.problem, minimum().theta, step_size=self.step_size, sampling=BATCHES, n_steps=self.n_steps,
            n_replicas=self.n_replicas, label_noise=self.label_noise, record=("loss", MEAN_SQUARE),
            n_records=self.n_records, n_workers=free_cores(), progress=progress, seed=self.seed,
        ))  # fmt: skip

    def results(self, trace: xarray.Dataset, progress: Progress = False) -> Mapping[str, tuple[float, float, float]]:
        """Escapes per step, with their interval, and the power law of the linearised process."""
        found, rate = escapes(self, progress), power_law(self)[0]
        lower, upper = found.interval
        return {
            "escapes per step": (found.per_step, lower / self.n_steps, upper / self.n_steps),
            "the power law": (rate, rate, rate),
        }


@Once[EscapeExperiment, EscapeProbability]
def escapes(experiment: EscapeExperiment, progress: Progress = False) -> EscapeProbability:
    """The probability of an escape, and where SGD was then; once a process."""
    here = minimum()
    return escape_probability(
        here.problem, here.theta, BATCHES, experiment.step_size, level=here.level, n_steps=experiment.n_steps,
        label_noise=experiment.label_noise, n_particles=experiment.n_particles,
        n_repetitions=experiment.n_repetitions, progress=progress, seed=experiment.seed,
    )  # fmt: skip


@cache
def power_law(experiment: EscapeExperiment) -> tuple[float, float]:
    """The predicted rate per step, of SGD linearised at the minimum, and its tail index α: ℓ^(−α/2) from the loss that
    a share of plain runs of it passes."""
    here = minimum()
    eta, gram = experiment.step_size, here.rows @ here.rows.T

    def steps(residuals: FloatArray, noise: float, rng: np.random.Generator) -> FloatArray:
        batches = BATCHES.draw(N_SAMPLES, len(residuals), rng)
        weights = np.zeros(residuals.shape)
        np.put_along_axis(weights, batches, 1 / BATCH_SIZE, axis=1)
        noisy = residuals - noise * rng.standard_normal(residuals.shape) if noise else residuals
        return np.asarray(residuals - eta * (weights * noisy) @ gram)

    def exponent(order: float) -> float:
        rng = np.random.default_rng(0)
        first = np.tile(gram[0] / np.linalg.norm(gram[0]), (N_TAIL, 1))
        return moment_exponent(lambda states: steps(states, 0.0, rng), first, order, rng, TAIL_STEPS, BURN_IN)

    index = root_of_exponent(exponent, ORDERS)
    rng, residuals, largest = np.random.default_rng(1), np.zeros((N_PLAIN, N_SAMPLES)), np.zeros(N_PLAIN)
    for _ in range(experiment.n_steps):
        residuals = steps(residuals, experiment.label_noise, rng)
        largest = np.maximum(largest, (residuals**2).mean(axis=1) / 2)
    known = float(np.quantile(largest, 1 - SHARE))
    return SHARE * (here.level / known) ** (-index / 2) / experiment.n_steps, index
