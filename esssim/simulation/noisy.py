"""One replica of full-batch descent with Gaussian noise of the gradient in the place of batches."""

from __future__ import annotations

import numpy as np

from esssim._kernels import noisy as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray
from esssim.gradient_noise import GradientNoise, IsotropicNoise
from esssim.problems import Labelled, Problem
from esssim.problems.boundary import divergence_is_expected
from esssim.simulation.runner import (
    Drawn,
    LeastSquaresLoop,
    Loop,
    Optimiser,
    PlainLoop,
    Replica,
    is_compiled_least_squares,
)


class NoisyReplica(Replica):
    """The state of one run whose steps are θ − η(g + ζ)."""

    @property
    def method(self) -> None:
        return None

    def _draw(self, first: int, last: int) -> tuple[Drawn, FloatArray]:
        """Standard normals (m, p) of the steps first … last−1 and what the targets are off, (m, n·c), or (0, 0)."""
        return draw_normals(self.rng, last - first, self.problem.n_params, self._n_labels, self.optimiser.label_noise)

    @property
    def _n_labels(self) -> int:
        return self.problem.n_samples * self.n_outputs if self.optimiser.label_noise > 0 else 0

    @property
    def _numbers_of_a_step(self) -> int:
        return self.problem.n_params + self._n_labels

    def _loop_for(self, theta0: FloatArray) -> Loop:
        assert isinstance(self.optimiser.noise, GradientNoise)
        loop = _NoisyLeastSquaresLoop if is_compiled_least_squares(self.problem) else _NoisyPlainLoop
        return loop(self.problem, theta0, self.optimiser.noise)


def draw_normals(
    rng: np.random.Generator, n_steps: int, n_params: int, n_labels: int, label_noise: float
) -> tuple[FloatArray, FloatArray]:
    """Normal numbers (n_steps, p) and label noise (n_steps, n_labels), or (0, 0): a step takes one, then the other."""
    drawn = rng.standard_normal((n_steps, n_params + n_labels))
    return drawn[:, :n_params], label_noise * drawn[:, n_params:] if n_labels else np.empty((0, 0))


class _NoisyLeastSquaresLoop(LeastSquaresLoop):
    def __init__(self, problem: Problem, theta0: FloatArray, noise: GradientNoise) -> None:
        assert is_compiled_least_squares(problem)
        super().__init__(problem, theta0)
        self._law = (noise.batches.variance_coefficient(problem.n_samples), isinstance(noise, IsotropicNoise))

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return int(kernels.run_least_squares(drawn, noise, *data, first, ramp, o.momentum, o.nesterov, *self._law))


class _NoisyPlainLoop(PlainLoop):
    def __init__(self, problem: Problem, theta0: FloatArray, noise: GradientNoise) -> None:
        super().__init__(problem, theta0)
        self._noise = noise

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        for m, normal in enumerate(drawn):
            with np.errstate(all="ignore"), divergence_is_expected():  # what overflows is caught below
                labels = noise[m] if len(noise) else None
                gradient = noisy_gradient(self._problem, self.theta, self._noise, normal, labels)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            take_step(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1


def noisy_gradient(
    problem: Problem, theta: FloatArray, law: GradientNoise, normal: FloatArray, labels: FloatArray | None
) -> FloatArray:
    """g + ζ, (p,), of standard normals (p,), with the targets of all samples off by `labels` (n·c,)."""
    n, everyone = problem.n_samples, np.arange(problem.n_samples)
    gradients = np.asarray(problem.sample_gradients(theta, everyone))
    if labels is not None:
        assert isinstance(problem, Labelled)
        rows = np.asarray(problem.sample_jacobians(theta, everyone)).reshape(n, -1, problem.n_params)
        gradients = gradients - np.einsum("ic,icp->ip", labels.reshape(n, -1), rows)
    return np.asarray(gradients.mean(axis=0) + law.deviations(gradients) * normal)
