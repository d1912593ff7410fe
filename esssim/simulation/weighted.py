"""One replica of SGD with random weights of all samples in the place of batches."""

from __future__ import annotations

from typing import cast

import numpy as np

from esssim._kernels import weighted as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray, IntArray
from esssim.problems import Labelled, Problem
from esssim.problems.boundary import divergence_is_expected
from esssim.random_weights import RandomWeights
from esssim.simulation.runner import (
    Drawn,
    LeastSquaresLoop,
    Loop,
    Optimiser,
    PlainLoop,
    Replica,
    is_compiled_least_squares,
)


class WeightedReplica(Replica):
    """The state of one run whose steps are θ − ηΣᵢwᵢ∇ℓᵢ."""

    @property
    def method(self) -> None:
        return None

    def _draw(self, first: int, last: int) -> tuple[Drawn, FloatArray]:
        """Weights (m, n) of the steps first … last−1 and what the targets are off, (m, n·c), or (0, 0) without
        noise.
        """
        o, n = self.optimiser, self.problem.n_samples
        return draw_steps(cast(RandomWeights, o.sampling), n, self.n_outputs, last - first, o.label_noise, self.rng)

    @property
    def _numbers_of_a_step(self) -> int:
        return self.problem.n_samples

    def _loop_for(self, theta0: FloatArray) -> Loop:
        if is_compiled_least_squares(self.problem):
            return _WeightedLeastSquaresLoop(self.problem, theta0)
        return _WeightedPlainLoop(self.problem, theta0)


def draw_steps(
    sampling: RandomWeights, n: int, n_outputs: int, n_steps: int, label_noise: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Weights (n_steps, n) and label noise (n_steps, n·c), or (0, 0): each step takes its weights, then its noise."""
    weights = np.empty((n_steps, n))
    normals = np.empty((n_steps, n * n_outputs if label_noise > 0 else 0))
    kernels.draw_weights(rng, sampling.law, sampling.spread, sampling.variance_coefficient(n), weights, normals)
    return weights, label_noise * normals if label_noise > 0 else np.empty((0, 0))


class _WeightedLeastSquaresLoop(LeastSquaresLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return int(kernels.run_least_squares(drawn, noise, *data, first, ramp, o.momentum, o.nesterov))


class _WeightedPlainLoop(PlainLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        for m, weights in enumerate(drawn):
            with np.errstate(all="ignore"), divergence_is_expected():  # what overflows is caught below
                gradient = self._gradient(weights, noise[m] if len(noise) else None)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            take_step(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1

    def _gradient(self, weights: FloatArray, noise: FloatArray | None) -> FloatArray:
        """Σᵢwᵢ∇ℓᵢ; with label noise z it is less by ΣᵢwᵢJᵢᵀzᵢ."""
        problem, some = self._problem, np.flatnonzero(weights)
        found = np.asarray(weights[some] @ problem.sample_gradients(self.theta, some))
        if noise is None:
            return found
        return found - noise_gradient(problem, self.theta, some, weights, noise)


def noise_gradient(
    problem: Problem, theta: FloatArray, some: IntArray, weights: FloatArray, noise: FloatArray
) -> FloatArray:
    """ΣᵢwᵢJᵢᵀzᵢ over some samples, (p,), z (n·c,)."""
    assert isinstance(problem, Labelled)
    rows = np.asarray(problem.sample_jacobians(theta, some)).reshape(-1, problem.n_params)
    scaled = (weights[:, None] * noise.reshape(problem.n_samples, -1))[some]
    return np.asarray(scaled.ravel() @ rows)
