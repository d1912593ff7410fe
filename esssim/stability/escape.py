"""How rarely SGD leaves a minimum: the probability that its loss passes a level, by importance splitting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._intervals import half_width
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.problems import NonlinearLeastSquares, Problem, check_problem
from esssim.problems.boundary import divergence_is_expected
from esssim.problems.regression import LeastSquares
from esssim.sampling import Sampling, check_independent, check_sampling

# Of the particles of a stage so many reach the next level, about; the pilot run has so many times the particles.
SUCCESS = 0.2
PILOT = 4
# Below this probability the pilot run places no more levels.
LEAST = 1e-30
# 95 % of the upper limits 3/m hold where none of m trials succeeded.
RULE_OF_THREE = 3.0


@dataclass(frozen=True)
class EscapeProbability:
    """What `escape_probability` found.

    value: the mean of the independent `estimates` (n_repetitions,); standard_error, interval (95 %, Student): of that
    mean. levels: of the loss, the last one that of the escape; fractions: of the particles that went from one to the
    next, on average. n_lost: repetitions in which no particle arrived; where many were lost, the interval is too short.
    theta (k, p), steps (k,), weights (k,): where and when particles passed the last level, and what each counts; the
    weights add up to `value`.
    """

    value: float
    standard_error: float
    interval: tuple[float, float]
    n_steps: int
    levels: FloatArray = field(repr=False)
    fractions: FloatArray = field(repr=False)
    estimates: FloatArray = field(repr=False)
    n_lost: int
    theta: FloatArray = field(repr=False)
    steps: IntArray = field(repr=False)
    weights: FloatArray = field(repr=False)

    @property
    def per_step(self) -> float:
        """value/n_steps: the rate of escape, where it is small and n_steps long against the memory of SGD."""
        return self.value / self.n_steps


@one_blas_thread()
def escape_probability(
    problem: Problem,
    theta0: npt.ArrayLike,
    sampling: Sampling,
    step_size: float,
    *,
    level: float,
    n_steps: int,
    label_noise: float = 0.0,
    n_particles: int = 250,
    n_repetitions: int = 20,
    progress: Progress = False,
    seed: int = 0,
) -> EscapeProbability:
    """P(the full loss of SGD from theta0 (p,) reaches `level` within n_steps), down to 1e-9 and below.

    Fixed-effort splitting: with levels ℓ₁ < … < ℓ_K = level, n_particles start at each stage from states in which the
    stage before reached ℓ_k; the product of the fractions that reach ℓ_{k+1} is unbiased. A pilot run, not used
    otherwise, places the levels. The standard error is that of n_repetitions independent products. Where none arrives
    the value is 0, its interval by the rule of three at the last stage: no bound on ways that the levels miss.

    label_noise: ε, targets off by normal numbers in every step (least squares only). progress: True for a bar, or
    a function of levels done and all.
    Raises ValueError for bad arguments, dependent batches, and a loss at theta0 that is not below `level`.
    Source: Garvels, The splitting method in rare event simulation, 2000; Amrein & Künsch, 2011.
    """
    check_problem(problem)
    start = problem.check_point(theta0)
    check_sampling(sampling, problem.n_samples)
    check_independent(sampling, "an escape")
    eta = _validate.real("step_size", step_size, above=0.0)
    level = _validate.real("level", level, above=0.0)
    n_steps = _validate.integer("n_steps", n_steps, 1)
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    if noise > 0.0 and not isinstance(problem, NonlinearLeastSquares):
        raise ValueError(f"label_noise must be 0 for a problem without targets, got {noise:g}")
    m, r = _validate.integer("n_particles", n_particles, 2), _validate.integer("n_repetitions", n_repetitions, 2)
    streams = np.random.SeedSequence(_validate.integer("seed", seed, 0)).spawn(2)
    walk = _Walk(problem, sampling, eta, noise, n_steps)
    first = walk.at(start)
    if not first.loss[0] < level:
        raise ValueError(f"level must be above the loss at theta0, {first.loss[0]:.6g}, got {level:g}")
    levels = _pilot(walk, first, level, PILOT * m, np.random.default_rng(streams[0]))
    with shown(progress, len(levels), "levels") as advance:
        return _split(walk, first, levels, m, r, np.random.default_rng(streams[1]), advance)


@dataclass(frozen=True)
class _States:
    """theta (m, p), the steps that led there (m,), the loss there (m,); at the next step nothing else counts."""

    theta: FloatArray
    step: IntArray
    loss: FloatArray

    def take(self, chosen: IntArray) -> _States:
        return _States(self.theta[chosen], self.step[chosen], self.loss[chosen])


class _Walk:
    """SGD of many particles at once."""

    def __init__(self, problem: Problem, sampling: Sampling, eta: float, noise: float, n_steps: int) -> None:
        self.problem, self.sampling, self.eta, self.noise, self.n_steps = problem, sampling, eta, noise, n_steps
        self._everyone = np.arange(problem.n_samples)

    def at(self, theta: FloatArray) -> _States:
        return _States(theta[None], np.zeros(1, dtype=np.int64), self._losses(theta[None]))

    def run(self, start: _States, level: float, rng: np.random.Generator) -> tuple[_States, FloatArray]:
        """Each particle where it first reaches `level`, or at its last step, and the largest loss on its way."""
        theta, step, loss = start.theta.copy(), start.step.copy(), start.loss.copy()
        largest = loss.copy()
        moving = np.flatnonzero((loss < level) & (step < self.n_steps))
        while len(moving):
            moved = self._step(theta[moving], rng)
            found = self._losses(moved)
            theta[moving], loss[moving] = moved, found
            step[moving] += 1
            largest[moving] = np.maximum(largest[moving], found)
            moving = moving[(found < level) & (step[moving] < self.n_steps)]
        return _States(theta, step, loss), largest

    def _step(self, theta: FloatArray, rng: np.random.Generator) -> FloatArray:
        problem, b = self.problem, self.sampling.batch_size
        batches = self.sampling.draw(problem.n_samples, len(theta), rng)
        normals = self.noise * rng.standard_normal(batches.shape) if self.noise else None
        with np.errstate(all="ignore"), divergence_is_expected():
            if isinstance(problem, LeastSquares):
                # As products with all inputs: gathering the rows of each batch takes three times as long.
                residuals = np.take_along_axis(problem.residuals(theta, self._everyone), batches, axis=1)
                weighted = np.zeros((len(theta), problem.n_samples))
                rows = np.arange(len(theta))
                for place in range(b):
                    residual = residuals[:, place] - (0.0 if normals is None else normals[:, place])
                    weighted[rows, batches[:, place]] += residual / b
                gradient = problem.pull_back(theta, weighted @ problem.inputs)
            else:
                gradient = problem.sample_gradients(theta, batches).mean(axis=-2)
                if normals is not None:
                    assert isinstance(problem, NonlinearLeastSquares)
                    gradient = gradient - (normals[..., None] * problem.sample_jacobians(theta, batches)).mean(axis=-2)
            return np.asarray(theta - self.eta * gradient)

    def _losses(self, theta: FloatArray) -> FloatArray:
        """The full loss (m,); what is not finite is beyond every level."""
        with np.errstate(all="ignore"), divergence_is_expected():
            losses = self.problem.sample_losses(theta, self._everyone).mean(axis=-1)
        return np.where(np.isfinite(losses), losses, np.inf)


def _pilot(walk: _Walk, first: _States, level: float, m: int, rng: np.random.Generator) -> FloatArray:
    """Levels ℓ₁ < … < ℓ_K = level, each reached by about SUCCESS of the particles that reached the one before."""
    levels: list[float] = []
    states = first.take(np.zeros(m, dtype=np.int64))
    current = float(first.loss[0])
    while SUCCESS ** len(levels) > LEAST:
        _, largest = walk.run(states, level, rng)
        beyond = largest[largest > current]
        if not len(beyond):
            break
        current = max(float(np.quantile(largest, 1 - SUCCESS, method="lower")), float(beyond.min()))
        if current >= level:
            break
        ends, _ = walk.run(states, current, rng)
        hits = np.flatnonzero(ends.loss >= current)
        if not len(hits):
            break
        levels.append(current)
        states = ends.take(rng.choice(hits, m))
    return np.array([*levels, level])


def _split(
    walk: _Walk,
    first: _States,
    levels: FloatArray,
    m: int,
    r: int,
    rng: np.random.Generator,
    advance: Callable[[int], None],
) -> EscapeProbability:
    """r independent repetitions with m particles each, run side by side."""
    alive, estimates = np.arange(r), np.ones(r)
    states, fractions, reached = first.take(np.zeros(r * m, dtype=np.int64)), [], 1.0
    for level in levels:
        reached = float(estimates.mean())
        ends, _ = walk.run(states, level, rng)
        hits = (ends.loss >= level).reshape(len(alive), m)
        estimates[alive] *= hits.mean(axis=1)
        fractions.append(float(hits.mean()))
        advance(1)
        through = np.flatnonzero(hits.any(axis=1))
        found = [k * m + np.flatnonzero(hits[k]) for k in through]
        alive = alive[through]
        if level == levels[-1] or not len(alive):
            break
        states = ends.take(np.concatenate([rng.choice(places, m) for places in found]))
    n_lost, trials = r - len(alive), hits.size
    last = ends.take(np.concatenate([np.empty(0, dtype=np.int64), *found]))
    weights = [np.full(len(places), estimates[k] / len(places) / r) for k, places in zip(alive, found, strict=True)]
    value, half = float(estimates.mean()), float(half_width(estimates))
    interval = (max(value - half, 0.0), min(value + half, 1.0))
    if not len(alive):
        interval = (0.0, min(reached * RULE_OF_THREE / trials, 1.0))
    return EscapeProbability(
        value, float(estimates.std(ddof=1) / np.sqrt(r)), interval, walk.n_steps, levels, np.array(fractions),
        estimates, n_lost, last.theta, last.step, np.concatenate([np.empty(0), *weights]),
    )  # fmt: skip
