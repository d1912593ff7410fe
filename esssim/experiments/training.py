"""Perceptrons that come to the edge in training: one step size, no label noise, from an initialisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray

from esssim import flow
from esssim._validate import FloatArray
from esssim.experiments.beside import free_cores
from esssim.problems import Perceptron
from esssim.sampling import WithoutReplacement
from esssim.simulation import simulate
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

# Evaluations of dθ/dt that the flow may take.
MOST_EVALUATIONS = 5000


@dataclass(frozen=True)
class TrainedPerceptron:
    """A network of 20 units that learns random ±1 of 60 inputs with batches of b, at η = 0.7·2/Q_b of its start."""

    activation: Literal["tanh", "gelu"]
    batch_size: int
    n_steps: int = 1000
    n_records: int = 41
    n_replicas: int = 16
    seed: int = 20261130

    def setting(self) -> tuple[Perceptron, FloatArray, dict[str, Any]]:
        """The network, its start θ₀, and what SGD and the flow share."""
        rng = np.random.default_rng(2)
        inputs, targets = rng.standard_normal((60, 5)), np.sign(rng.standard_normal(60))
        problem = Perceptron(inputs, targets, 20, activation=self.activation)
        theta, sampling = problem.random_start(seed=2), WithoutReplacement(self.batch_size)
        return problem, theta, {
            "step_size": 1.4 / mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton"),
            "sampling": sampling, "n_steps": self.n_steps, "n_records": self.n_records, "record": (MEAN_SQUARE,),
        }  # fmt: skip

    def run(self) -> tuple[xarray.Dataset, xarray.Dataset]:
        """SGD, and the flow of the mean, with Gauss–Newton Q_b at the same records."""
        problem, theta, shared = self.setting()
        trace = simulate(problem, theta, **shared, n_replicas=self.n_replicas, n_workers=free_cores(), seed=self.seed)
        return trace, flow.solve(problem, theta, **shared, follow="mean", most_evaluations=MOST_EVALUATIONS)
