"""`check_problem`: all checks on one problem, and every failure in one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from esssim import _validate, problems
from esssim._validate import FloatArray, IntArray
from esssim.problems import Problem
from esssim.spectra import largest_eigenvalues
from esssim.testing import oracles
from esssim.testing.bound_checks import BOUND_CHECKS
from esssim.testing.case import Case, require, schemes
from esssim.testing.problem_checks import PROBLEM_CHECKS
from esssim.testing.protocol_checks import PROTOCOL_CHECKS
from esssim.testing.statistic_checks import MONTE_CARLO_CHECKS, SAMPLING_CHECKS

MOST_PARAMS = 200
# So many samples can be enumerated by an oracle that goes through all draws.
ENUMERATED_SAMPLES = 5
ENUMERATED_PARAMS = 20


class ProblemError(AssertionError):
    """What a problem got wrong: `failures` has a line for each failed check."""

    def __init__(self, problem: str, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        lines = "".join(f"\n  {failure}" for failure in failures)
        super().__init__(f"{problem} fails {len(failures)} of the checks of a problem:{lines}")


class Subset(Problem):
    """Some samples of another problem, as a problem."""

    def __init__(self, problem: Problem, samples: IntArray) -> None:
        super().__init__(len(samples), problem.n_params)
        self.problem, self.samples = problem, samples

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_losses(theta, self.samples[indices])

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_gradients(theta, self.samples[indices])

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_hessians(theta, self.samples[indices])


def check_problem(problem: Problem, theta: npt.ArrayLike | None = None, *, seed: int = 0) -> None:
    """All that must be true of a problem: ProblemError with every failed check, its method, sample and numbers.

    Losses, gradients and Hessians against differences; batches against samples; leading axes; the structured curvature
    against the dense one; repeated calls; every statistic and bound against enumeration, and enumeration against Monte
    Carlo, under all schemes (on at most 5 of the samples).

    theta: (p,), by default standard normal by `seed`. Takes seconds: use a small instance. Raises ValueError for a bad
    argument and more than 200 parameters.
    """
    problems.check_problem(problem)
    if problem.n_params > MOST_PARAMS:
        raise ValueError(
            f"problem must have at most {MOST_PARAMS} parameters here, got {problem.n_params}: check a small instance"
        )
    rng = np.random.default_rng(_validate.integer("seed", seed, 0))
    point = rng.standard_normal(problem.n_params) if theta is None else theta
    case = Case(problem, _validate.real_array("theta", point, (problem.n_params,)))
    failures: list[str] = []
    for check_case in (*PROTOCOL_CHECKS, *CASE_CHECKS):
        _try(failures, check_case, case)
    if not failures:
        small = _small(case, rng)
        for sampling in schemes(small.problem.n_samples):
            for check in _sampling_checks(small):
                _try(failures, check, small, sampling)
    if failures:
        raise ProblemError(type(problem).__name__, failures)


def check(case: Case) -> None:
    """`check_problem` of a case."""
    check_problem(case.problem, case.theta)


def check_spectrum_of_random_batches(case: Case) -> None:
    """λ_max(H_B) by structure against dense matrices, for a few batches of all samples."""
    n = case.problem.n_samples
    rng = np.random.default_rng(0)
    curvature = case.problem.curvature(case.theta)
    for b in sorted({1, 2, min(4, n), n}):
        batches = rng.integers(n, size=(5, b))
        off = np.abs(
            largest_eigenvalues(curvature, batches) - oracles.top_eigenvalues(case.hessians[batches].mean(axis=1))
        )
        worst = int(off.argmax())
        require(
            off[worst] <= 1e-12 * case.hessian_scale * len(case.theta),
            f"λ_max(H_B) of curvature is off by {off[worst]:.3g} for the batch {batches[worst].tolist()}",
        )


CASE_CHECKS = (*PROBLEM_CHECKS, check_spectrum_of_random_batches)


def _sampling_checks(case: Case) -> tuple[Callable[..., None], ...]:
    checks = (*SAMPLING_CHECKS, *BOUND_CHECKS, *MONTE_CARLO_CHECKS)
    if len(case.theta) <= ENUMERATED_PARAMS:
        return checks
    # The dense pencil has p² × p² numbers.
    return tuple(check for check in checks if "mean_square" not in check.__name__)


def _small(case: Case, rng: np.random.Generator) -> Case:
    """The case on as many of its samples as can be enumerated."""
    n = case.problem.n_samples
    if n <= ENUMERATED_SAMPLES:
        return case
    return Case(Subset(case.problem, np.sort(rng.permutation(n)[:ENUMERATED_SAMPLES])), case.theta)


def _try(failures: list[str], check: Callable[..., None], *arguments: Any) -> None:
    """Run a check; a line for what it finds, unless an earlier one says the same."""
    try:
        with np.errstate(all="ignore"):
            check(*arguments)
    except Exception as error:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        where = f" under {arguments[1]}" if len(arguments) > 1 else ""
        kind = "" if isinstance(error, (AssertionError, ValueError)) else f"{type(error).__name__}: "
        words = f"{kind}{' '.join(str(error).split())}"
        if not any(words in failure for failure in failures):
            failures.append(f"{name}{where}: {words}")
