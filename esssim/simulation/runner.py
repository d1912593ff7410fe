"""One replica: the compiled loop for the problems that have one, and a plain loop for every other problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard

import numpy as np
import numpy.typing as npt

from esssim._kernels import logistic, perceptron, sgd
from esssim._kernels import sampling as kernels
from esssim._kernels.layout import in_cache_lines
from esssim._validate import FloatArray, IntArray
from esssim.adaptive import PreconditionedMethod
from esssim.batch_method import BatchMethod
from esssim.gradient_noise import GradientNoise
from esssim.problems import (
    DiagonalLinearNetwork,
    Labelled,
    LinearRegression,
    LogisticNetwork,
    MultiOutputLeastSquares,
    Perceptron,
    Problem,
    Quadratic,
)
from esssim.problems.boundary import divergence_is_expected
from esssim.sampling import Reshuffled, Sampling, WithoutReplacement, WithReplacement
from esssim.simulation.schedule import Ramp

# Batches (m, b) of consecutive steps, or weights (m, n).
Drawn = npt.NDArray[Any]
# Indices that are drawn in one go: they stay in the cache until they are used.
DRAWN_AHEAD = 2**13
# A full batch with a residual beyond this goes by its samples, whose own residuals decide whether it has diverged.
DOUBTFUL = 1e-10 * sgd.DIVERGENCE_LIMIT


class HeavyBall(NamedTuple):
    """Heavy ball or Nesterov: v after the last step, (p,), and β."""

    velocity: FloatArray
    momentum: float
    nesterov: bool


class Metric(NamedTuple):
    """What an adaptive method does where its preconditioner P, (p,), is frozen; β₁ of its mean of gradients."""

    preconditioner: FloatArray
    momentum: float


# What has an edge of its own.
Method = HeavyBall | Metric | BatchMethod


@dataclass(frozen=True)
class Optimiser:
    """What is the same for every replica of a run."""

    ramp: Ramp
    sampling: Sampling
    n_steps: int
    momentum: float
    nesterov: bool
    label_noise: float
    # What takes the place of the gradient of a batch, whose statistics are recorded all the same.
    noise: GradientNoise | BatchMethod | None = None
    adaptive: PreconditionedMethod | None = None


class Loop(Protocol):
    """The steps of one problem; `theta` is where they have led, `velocity` the v of momentum there."""

    @property
    def theta(self) -> FloatArray: ...

    @property
    def velocity(self) -> FloatArray: ...

    def is_surely_in_range(self) -> bool: ...

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        """A step for each row of what was drawn; the step that diverged, or −1."""


class Replica:
    """The state of one run; `advance` moves it to a later step."""

    def __init__(self, problem: Problem, theta0: FloatArray, optimiser: Optimiser, rng: np.random.Generator) -> None:
        self.problem, self.optimiser, self.rng = problem, optimiser, rng
        self.n_outputs = problem.n_outputs if isinstance(problem, MultiOutputLeastSquares) else 1
        self._loop = self._loop_for(theta0)
        self.order = np.arange(problem.n_samples)
        self.step = 0
        self.diverged_at = -1

    @property
    def theta(self) -> FloatArray:
        return self._loop.theta

    @property
    def method(self) -> Method | None:
        """What has an edge of its own, at the last step; None for SGD."""
        o = self.optimiser
        return HeavyBall(self._loop.velocity, o.momentum, o.nesterov) if o.momentum > 0 else None

    def advance(self, step: int) -> None:
        """Run up to `step`, or up to the step that diverges; a diverged replica stays where it is."""
        stretch = max(1, DRAWN_AHEAD // self._numbers_of_a_step)
        while self.step < step and self.diverged_at < 0:
            last = min(step, self.step + stretch)
            drawn, noise = self._draw(self.step, last)
            self.diverged_at = int(self._loop.run(drawn, noise, self.step, self.optimiser))
            self.step = last

    def is_out_of_range(self) -> bool:
        """Whether a sample's gradient here, or its residual as far as its loss shows it, is beyond the limit of
        divergence.
        """
        if self._loop.is_surely_in_range():
            return False
        everyone = np.arange(self.problem.n_samples)
        with np.errstate(all="ignore"), divergence_is_expected():
            losses = np.abs(self.problem.sample_losses(self.theta, everyone)).max()
            gradients = np.abs(self.problem.sample_gradients(self.theta, everyone)).max()
        return not (gradients <= sgd.DIVERGENCE_LIMIT and losses <= sgd.DIVERGENCE_LIMIT**2 / 2)

    @property
    def _numbers_of_a_step(self) -> int:
        loop = self._loop
        return loop.n_rows if isinstance(loop, _FullBatchLoop) else self.optimiser.sampling.batch_size

    def _loop_for(self, theta0: FloatArray) -> Loop:
        return loop_for(self.problem, theta0, self.optimiser.sampling)

    def _draw(self, first: int, last: int) -> tuple[Drawn, FloatArray]:
        """Batches (m, b) of the steps first … last−1 and what their targets are off, (m, b·c), or (0, 0) without noise.

        The stream does not depend on where stretches begin.
        """
        o = self.optimiser
        if isinstance(self._loop, _FullBatchLoop):
            return self._loop.draw(self.rng, last - first, o.label_noise)
        labels = o.sampling.batch_size * self.n_outputs if o.label_noise > 0 else 0
        batches, normals = draw_batches(o.sampling, self.order, first, last, labels, self.rng)
        return batches, o.label_noise * normals


class LeastSquaresLoop:
    """θ in two rows (or one), padded with zeros that stay zero."""

    def __init__(self, problem: LinearRegression | DiagonalLinearNetwork, theta0: FloatArray) -> None:
        self._link, self._depth = sgd.IDENTITY, 1
        if isinstance(problem, DiagonalLinearNetwork):
            self._link = sgd.PRODUCT if problem.form == "product" else sgd.DIFFERENCE
            self._depth = problem.depth
        self._n_inputs = problem.inputs.shape[1]
        self._inputs, self._targets = in_cache_lines(problem.inputs), problem.targets
        self._largest_input = float(np.abs(problem.inputs).max())
        self._largest_target = float(np.abs(problem.targets).max())
        self._theta = in_cache_lines(theta0.reshape(-1, self._n_inputs))
        self._velocity = np.zeros_like(self._theta)
        self._limit = sgd.DIVERGENCE_LIMIT

    @property
    def theta(self) -> FloatArray:
        return self._theta[:, : self._n_inputs].ravel()

    @property
    def velocity(self) -> FloatArray:
        return self._velocity[:, : self._n_inputs].ravel()

    def is_surely_in_range(self) -> bool:
        """Whether a bound on every residual and gradient entry is far below the limit of divergence."""
        with np.errstate(all="ignore"):
            largest = np.abs(self._theta).max()
            slope = self._depth * np.maximum(largest, 1.0) ** self._depth
            residual = self._n_inputs * self._largest_input * 2 * slope + self._largest_target
            return bool(residual * max(self._largest_input * slope, 1.0) <= sgd.DIVERGENCE_LIMIT)

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return int(sgd.run_least_squares(drawn, noise, *data, first, ramp, o.momentum, o.nesterov, self._limit))


class _LogisticLoop(LeastSquaresLoop):
    def __init__(self, problem: LogisticNetwork, theta0: FloatArray) -> None:
        super().__init__(problem.model, theta0)
        self._labels = problem.labels

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._labels, self._link, self._depth, self._theta, self._velocity)
        return int(
            logistic.run_logistic(drawn, noise, *data, first, o.ramp.for_kernel(o.n_steps), o.momentum, o.nesterov)
        )


class _FullBatchLoop(LeastSquaresLoop):
    """Every sample in every step. With X = QR, n > d, it has d rows in place of n, and Qᵀz is as normal as z:

    Xᵀ(Xβ − y − εz)/n = R̃ᵀ(R̃β − ỹ − εz̃)/d,   R̃ = √(d/n)·R,   ỹ = √(d/n)·Qᵀy,   z̃ = √(d/n)·Qᵀz.
    """

    def __init__(self, problem: LinearRegression | DiagonalLinearNetwork, theta0: FloatArray) -> None:
        super().__init__(problem, theta0)
        n, d = problem.inputs.shape
        self._samples, self.n_rows, self._basis = (self._inputs, self._targets), min(n, d), np.empty((0, 0))
        if n > d:
            self._basis, triangle = np.linalg.qr(problem.inputs)
            self._scale, self._limit = float(np.sqrt(d / n)), DOUBTFUL
            self._inputs = in_cache_lines(self._scale * triangle)
            self._targets = self._scale * (problem.targets @ self._basis)

    def draw(self, rng: np.random.Generator, n_steps: int, label_noise: float) -> tuple[IntArray, FloatArray]:
        """The rows of each step, and what their targets are off."""
        noise = label_noise * rng.standard_normal((n_steps, self.n_rows) if label_noise > 0 else (0, 0))
        return _everyone(n_steps, self.n_rows), noise

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        done = 0
        if self._limit == DOUBTFUL:
            stopped = super().run(drawn, self._scale * noise, first, o)
            if stopped < 0:
                return stopped
            done, self._limit = stopped - first, sgd.DIVERGENCE_LIMIT
            self._inputs, self._targets = self._samples
        if len(self._basis):
            drawn = _everyone(len(drawn) - done, len(self._targets))
            noise = noise[done:] @ self._basis.T if len(noise) else noise
        return super().run(drawn, noise, first + done, o)


class _QuadraticLoop:
    def __init__(self, problem: Quadratic, theta0: FloatArray) -> None:
        self._problem, self.theta, self.velocity = problem, theta0.copy(), np.zeros_like(theta0)

    def is_surely_in_range(self) -> bool:
        return False

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._problem.hessians, self._problem.minimizers, self.theta, self.velocity)
        return sgd.run_quadratic(drawn, *data, first, o.ramp.for_kernel(o.n_steps), o.momentum, o.nesterov)


class _PerceptronLoop:
    def __init__(self, problem: Perceptron, theta0: FloatArray) -> None:
        self._problem, self.theta, self.velocity = problem, theta0.copy(), np.zeros_like(theta0)
        self._activation = perceptron.TANH if problem.activation == "tanh" else perceptron.GELU

    def is_surely_in_range(self) -> bool:
        return False

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._problem.inputs, self._problem.targets, self._activation, self.theta, self.velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return perceptron.run_perceptron(drawn, noise, *data, first, ramp, o.momentum, o.nesterov)


class PlainLoop:
    """For a problem that only has gradients."""

    def __init__(self, problem: Problem, theta0: FloatArray) -> None:
        self._problem, self.theta, self.velocity = problem, theta0.copy(), np.zeros_like(theta0)

    def is_surely_in_range(self) -> bool:
        return False

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        for m, batch in enumerate(drawn):
            gradient = self.gradient_of(batch, noise[m] if len(noise) else None)
            if not np.abs(gradient).max() <= sgd.DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            sgd.take_step(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1

    def gradient_of(self, batch: IntArray, noise: FloatArray | None, at: FloatArray | None = None) -> FloatArray:
        """g_B, (p,), at θ or `at`, with the targets of the batch off by `noise` (b·c,); what overflows is for the
        caller to see.
        """
        point = self.theta if at is None else at
        with np.errstate(all="ignore"), divergence_is_expected():
            gradient = np.array(self._problem.sample_gradients(point, batch).mean(axis=0))
            if noise is not None:
                assert isinstance(self._problem, Labelled)
                rows = self._problem.sample_jacobians(point, batch).reshape(-1, self._problem.n_params)
                gradient -= noise @ rows / len(batch)
        return gradient


def _everyone(n_steps: int, n_rows: int) -> IntArray:
    return np.tile(np.arange(n_rows), (n_steps, 1))


def loop_for(problem: Problem, theta0: FloatArray, sampling: Sampling) -> Loop:
    # A subclass may have changed what the compiled loops assume.
    if type(problem) is Quadratic:
        return _QuadraticLoop(problem, theta0)
    if type(problem) is Perceptron:
        return _PerceptronLoop(problem, theta0)
    if type(problem) is LogisticNetwork:
        return _LogisticLoop(problem, theta0)
    if is_compiled_least_squares(problem):
        full = isinstance(sampling, (WithoutReplacement, Reshuffled)) and sampling.batch_size == problem.n_samples
        return (_FullBatchLoop if full else LeastSquaresLoop)(problem, theta0)
    return PlainLoop(problem, theta0)


def is_compiled_least_squares(problem: Problem) -> TypeGuard[LinearRegression | DiagonalLinearNetwork]:
    """Whether the compiled loop of least squares has this problem; a subclass may have changed what it assumes."""
    return type(problem) in (LinearRegression, DiagonalLinearNetwork)


def draw_batches(
    sampling: Sampling, order: IntArray, first: int, last: int, n_normals: int, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Batches (m, b) of the steps first … last−1, and normal numbers (m, n_normals), or (0, 0) for none.

    Each step takes its uniform numbers, then its normal ones. order: a permutation of all samples, carried from step to
    step.
    """
    n, b, code = len(order), sampling.batch_size, _code(sampling)
    counts = kernels.counts_of_numbers(code, n, b, first, last)
    if n_normals:
        uniforms, normals = np.empty(counts.sum()), np.empty((last - first, n_normals))
        kernels.draw_numbers(rng, counts, uniforms, normals)
    else:
        uniforms, normals = rng.random(counts.sum()), np.empty((0, 0))
    batches = np.empty((last - first, b), dtype=np.int64)
    kernels.consecutive_batches(uniforms, counts, code, order, first, batches)
    return batches, normals


def _code(sampling: Sampling) -> int:
    """The integer by which the compiled loops know the scheme."""
    if isinstance(sampling, Reshuffled):
        return kernels.RESHUFFLED
    return kernels.WITH_REPLACEMENT if isinstance(sampling, WithReplacement) else kernels.WITHOUT_REPLACEMENT
