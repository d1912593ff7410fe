"""One replica: the compiled loop for the problems that have one, and a plain loop for every other problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esssim._kernels import sampling as codes
from esssim._kernels import sgd
from esssim._validate import FloatArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, NonlinearLeastSquares, Problem, Quadratic
from esssim.sampling import Reshuffled, Sampling, WithReplacement
from esssim.simulation.schedule import Ramp


@dataclass(frozen=True)
class Optimiser:
    """What is the same for every replica of a run."""

    ramp: Ramp
    sampling: Sampling
    n_steps: int
    momentum: float
    nesterov: bool
    label_noise: float


class Replica:
    """The state of one run; `advance` moves it to a later step."""

    def __init__(self, problem: Problem, theta0: FloatArray, optimiser: Optimiser, rng: np.random.Generator) -> None:
        self.problem, self.optimiser, self.rng = problem, optimiser, rng
        self.theta = theta0.copy()
        self.velocity = np.zeros_like(self.theta)
        self.order = np.arange(problem.n_samples)
        self.step = 0
        self.diverged_at = -1

    def advance(self, step: int) -> None:
        """Run up to `step`, or up to the step that diverges; a diverged replica stays where it is."""
        if self.diverged_at < 0:
            self.diverged_at = int(self._run(self.step, step))
            self.step = step

    def is_out_of_range(self) -> bool:
        """Whether a sample's loss or gradient here is not finite, or a gradient is beyond the limit of divergence."""
        everyone = np.arange(self.problem.n_samples)
        with np.errstate(all="ignore"):
            losses = self.problem.sample_losses(self.theta, everyone)
            largest = np.abs(self.problem.sample_gradients(self.theta, everyone)).max()
        return not (largest <= sgd.DIVERGENCE_LIMIT and np.isfinite(losses).all())

    def _run(self, first: int, last: int) -> int:
        problem, o = self.problem, self.optimiser
        scheme = scheme_code(o.sampling)
        state = (self.theta, self.velocity, self.order, o.sampling.batch_size, scheme, first, last)
        tail = (o.ramp.for_kernel(o.n_steps), o.momentum, o.nesterov)
        if type(problem) is Quadratic:
            return sgd.run_quadratic(self.rng, problem.hessians, problem.minimizers, *state, *tail)
        if type(problem) in (LinearRegression, DiagonalLinearNetwork):
            link, depth = sgd.IDENTITY, 1
            if isinstance(problem, DiagonalLinearNetwork):
                link, depth = sgd.PRODUCT if problem.form == "product" else sgd.DIFFERENCE, problem.depth
            data = (problem.inputs, problem.targets, link, depth)  # type: ignore[attr-defined]
            return sgd.run_least_squares(self.rng, *data, *state, *tail, o.label_noise)
        return self._run_plainly(first, last)

    def _run_plainly(self, first: int, last: int) -> int:
        """The loop for a problem that only has gradients; it draws exactly what the compiled loops draw."""
        o, batch = self.optimiser, np.empty(self.optimiser.sampling.batch_size, dtype=np.int64)
        for step in range(first, last):
            sgd.next_batch(self.rng, scheme_code(o.sampling), self.order, batch, step)
            with np.errstate(all="ignore"):  # what overflows is caught below
                gradient = np.array(self.problem.sample_gradients(self.theta, batch).mean(axis=0))
                if o.label_noise > 0 and isinstance(self.problem, NonlinearLeastSquares):
                    noise = o.label_noise * self.rng.standard_normal(len(batch))
                    gradient -= noise @ self.problem.sample_jacobians(self.theta, batch) / len(batch)
            if not np.abs(gradient).max() <= sgd.DIVERGENCE_LIMIT:
                return step
            eta = float(o.ramp.at(step, o.n_steps))
            sgd.update(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1


def scheme_code(sampling: Sampling) -> int:
    """The integer by which the compiled loops know the scheme."""
    if isinstance(sampling, Reshuffled):
        return codes.RESHUFFLED
    return codes.WITH_REPLACEMENT if isinstance(sampling, WithReplacement) else codes.WITHOUT_REPLACEMENT
