"""(l) Runs that leave the range of numbers: marked at their step, and never averaged."""

from __future__ import annotations

import numpy as np
import xarray

import esssim as es
from esssim._rows import Row
from esssim._validate import FloatArray
from esssim.doctor.cases import KINDS, Case, case
from esssim.doctor.check import Finding, check, exactly, steps
from esssim.problems import Problem
from esssim.problems.boundary import divergence_is_expected

LIMIT = 1e100  # beyond which simulate calls a residual or a gradient entry diverged
N_STEPS, N_REPLICAS = 400, 4
# 2/λ is an edge of gradient descent: SGD is unstable at some of these multiples of it and stable at others.
MULTIPLES = (0.3, 0.8, 1.5, 4.0, 1e6, 1e150)
LARGEST_STEP = 1e300  # where the edge is far away
SCHEMES = (es.WithoutReplacement, es.WithReplacement, es.Reshuffled)


@check(key="l", title="Diverged runs are marked at their step and never averaged", seconds=(6.0, 60.0))
def divergence(quick: bool) -> Finding:
    """SGD on problems of every kind at step sizes from stable to absurd, every step recorded. Each run that leaves the
    range must be marked at the step of its first undefined record, with nothing but NaN from there on; full-batch runs
    are stepped once more in plain numpy for the step itself. A level must be the mean over the others. Exact moments
    are marked in the same way.
    """
    seeds = range(1 if quick else 20)
    counts = dict.fromkeys(("runs", "diverged", "unmarked", "wrong_step", "averaged", "moments_unmarked"), 0)
    rows: list[Row] = []
    for seed in steps(seeds):
        # One of each kind: 72 seeds go once through kinds and twists.
        for k in range(len(KINDS)):
            each = case(6 * (7 * seed) + k, 4, 5)
            for number, multiple in enumerate(MULTIPLES):
                found = faults(each, multiple, seed + number)
                for name, count in found.items():
                    counts[name] += count
                if any(found[name] for name in ("unmarked", "wrong_step", "averaged", "moments_unmarked")):
                    rows.append({"case": each.name, "multiple_of_edge": multiple, **found})
    never = ("unmarked", "wrong_step", "averaged", "moments_unmarked")
    return Finding(counts, {name: exactly(0) for name in never}, rows, [str(row["case"]) for row in rows])


def faults(each: Case, multiple: float, seed: int) -> dict[str, int]:
    """What is wrong with the marks of one run of several replicas, beside how many there were."""
    problem, rng = each.problem, np.random.default_rng(seed)
    n, momentum = problem.n_samples, (0.0, 0.5)[seed // 3 % 2]
    b = n if seed % 2 else int(rng.integers(1, n + 1))
    top = abs(float(es.sharpness(problem, each.theta))) or 1.0
    step_size = min(multiple * 2.0 / top, LARGEST_STEP)
    trace = es.simulate(
        problem,
        each.theta,
        step_size=step_size,
        sampling=SCHEMES[seed % 3](b),
        n_steps=N_STEPS,
        n_replicas=N_REPLICAS,
        momentum=momentum,
        record=("loss",),
        record_steps=range(N_STEPS + 1),
        seed=seed,
    )
    loss, marked = trace["loss"].values, trace["diverged_at"].values
    undefined = ~np.isfinite(loss)
    first = np.where(undefined.any(axis=1), undefined.argmax(axis=1), -1)
    after = np.arange(N_STEPS + 1) >= np.where(marked < 0, N_STEPS + 1, marked)[:, None]
    wrong = (first != marked) | (np.isnan(loss) != after).any(axis=1)
    if b == n and SCHEMES[seed % 3] is not es.WithReplacement:
        wrong |= marked != descent(problem, each.theta, step_size, momentum)
    return {
        "runs": N_REPLICAS,
        "diverged": int((marked >= 0).sum()),
        "unmarked": int(((marked < 0) & undefined.any(axis=1)).sum()),
        "wrong_step": int(wrong.sum()),
        "averaged": int(not level_is_of_survivors(trace)),
        "moments_unmarked": moments_unmarked(problem, each.theta, step_size, b),
    }


def descent(problem: Problem, theta: FloatArray, step_size: float, momentum: float) -> int:
    """The first step at which gradient descent in plain numpy has a sample out of range, −1 for none."""
    theta, velocity, everyone = theta.copy(), np.zeros_like(theta), np.arange(problem.n_samples)
    with np.errstate(all="ignore"), divergence_is_expected():
        for step in range(N_STEPS + 1):
            gradients = problem.sample_gradients(theta, everyone)
            losses = problem.sample_losses(theta, everyone)
            if not (np.abs(gradients).max() <= LIMIT and np.abs(losses).max() <= LIMIT**2 / 2):
                return step
            velocity = momentum * velocity + gradients.mean(axis=0)
            theta = theta - step_size * velocity
    return -1


def level_is_of_survivors(trace: xarray.Dataset) -> bool:
    """Whether the level is the mean over the runs that were not marked, and is refused where they are the fewer."""
    marked = trace["diverged_at"].values >= 0
    # With η = 2 the level is that of the loss itself, which no step size can make infinite.
    found = es.settling.level(trace.assign_coords(step_size=("record", np.full(trace.sizes["record"], 2.0))), "loss")
    if marked.sum() > (~marked).sum() or marked.all():
        return found.n_replicas == 0 and bool(np.isnan(found.value)) and found.verdict == "inconclusive"
    # Equal replicas count once.
    wanted = float(np.unique(trace["loss"].values[~marked], axis=0).mean())
    return found.n_diverged == marked.sum() and bool(np.isclose(found.value, wanted, rtol=1e-9))


def moments_unmarked(problem: Problem, theta: FloatArray, step_size: float, b: int) -> int:
    """1 where the exact moments of a quadratic problem have an undefined record without a mark at or before it."""
    if not isinstance(problem, es.Quadratic | es.LinearRegression):
        return 0
    course = es.moments.evolve(
        problem,
        theta,
        step_size=step_size,
        sampling=es.WithReplacement(b),
        n_steps=N_STEPS,
        record_steps=range(N_STEPS + 1),
    )
    undefined = ~np.isfinite(course["loss"].values)
    marked = int(course["diverged_at"])
    first = int(undefined.argmax()) if undefined.any() else -1
    return int(first != -1 and not 0 <= marked <= first)
