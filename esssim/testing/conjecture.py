"""`check_bound`: a bound of one's own, tried on every kind of problem and scheme."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

import esssim as es
from esssim import _validate
from esssim._errors import Undefined
from esssim.gap.results import Bounds, Side
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling
from esssim.testing import strategies
from esssim.testing.case import Case

try:
    from hypothesis import HealthCheck, find, settings, target
    from hypothesis.errors import NoSuchExample
except ImportError as error:  # pragma: no cover
    raise ImportError("esssim.testing.check_bound needs hypothesis: pip install hypothesis") from error

Bound = Callable[[Problem, np.ndarray, Sampling], float]
TABLE_SETTINGS = 100


def _bounds(problem: Problem, theta: np.ndarray, sampling: Sampling) -> Bounds:
    return es.gap.bounds(problem, theta, sampling)


def _mean_square_bounds(problem: Problem, theta: np.ndarray, sampling: Sampling) -> Bounds:
    return es.gap.mean_square_bounds(problem, theta, sampling)


def _minibatch_sharpness(problem: Problem, theta: np.ndarray, sampling: Sampling) -> float:
    return es.minibatch_sharpness(problem, theta, sampling).value


def _mean_square_sharpness(problem: Problem, theta: np.ndarray, sampling: Sampling) -> float:
    return float(es.mean_square_sharpness(problem, theta, sampling))


STATISTICS: dict[str, tuple[Bound, Callable[..., Bounds]]] = {
    "minibatch_sharpness": (_minibatch_sharpness, _bounds),
    "mean_square_sharpness": (_mean_square_sharpness, _mean_square_bounds),
}


def _described(problem: Problem, theta: np.ndarray, sampling: Sampling) -> str:
    hessians = problem.sample_hessians(theta, np.arange(problem.n_samples)).tolist()
    return (
        f"{type(problem).__name__} with n = {problem.n_samples}, p = {problem.n_params}, "
        f"theta = {theta.tolist()}, {sampling}\n  per-sample Hessians {hessians}"
    )


@dataclass(frozen=True)
class Counterexample:
    """Where a bound fails: value is the statistic; the bound is on the wrong side of it by more than rounding."""

    problem: Problem
    theta: np.ndarray
    sampling: Sampling
    bound: float
    value: float

    def __str__(self) -> str:
        setting = _described(self.problem, self.theta, self.sampling)
        return f"{setting}\n  bound {self.bound:.9g}, value {self.value:.9g}"


@dataclass(frozen=True)
class Tightness:
    """How far a bound is from the statistic, in units of the largest ‖Hᵢ‖_F, over the settings where it applies."""

    name: str
    n_settings: int
    median: float
    largest: float


@dataclass(frozen=True)
class BoundCheck:
    """What `check_bound` found. counterexample: the smallest one, or None where the bound holds on all of n_settings.

    tightness: the bound first, then ours of the same side, the tightest first.
    """

    name: str
    holds: bool
    n_settings: int
    counterexample: Counterexample | None
    tightness: tuple[Tightness, ...]

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        if self.counterexample is not None:
            return f"{self.name} does not hold, the smallest counterexample is\n  {self.counterexample}"
        rows = [
            f"  {row.name:<24} {row.n_settings:>8} {row.median:>10.3g} {row.largest:>10.3g}" for row in self.tightness
        ]
        head = f"  {'slack / max ‖Hᵢ‖_F':<24} {'settings':>8} {'median':>10} {'largest':>10}"
        return "\n".join([f"{self.name} holds on {self.n_settings} settings", head, *rows])


@dataclass
class _Trial:
    """One bound on many settings."""

    bound: Bound
    side: Side
    statistic: Bound
    ours: Callable[..., Bounds]
    rounding: str
    n_settings: int = 0
    slacks: dict[str, list[float]] = field(default_factory=dict)

    def fails(self, at: tuple[Case, Sampling]) -> bool:
        """Whether the bound is on the wrong side of the statistic by more than γS (or √γS)."""
        (case, sampling), outwards = at, 1.0 if self.side == "upper" else -1.0
        try:
            value = self.statistic(case.problem, case.theta, sampling)
        except Undefined:
            return False
        found = self.value(case, sampling)
        if math.isnan(found):
            return False
        s = Setting.of(case.problem, case.theta, sampling)
        relative = s.relative_rounding if self.rounding == "mean" else math.sqrt(s.relative_rounding)
        # In units in which nothing over- or underflows.
        slack = outwards * (found / s.unit - value / s.unit)
        self.n_settings += 1
        self._compare(case, sampling, s, slack, value)
        if s.largest_norm > 0 and math.isfinite(slack):
            target(-slack / s.largest_norm)  # the search climbs towards where the bound is tightest
        return not slack >= -relative * s.largest_norm

    def value(self, case: Case, sampling: Sampling) -> float:
        try:
            found = self.bound(case.problem, case.theta, sampling)
        except Exception as error:
            error.add_note(f"The bound raised this at\n  {_described(case.problem, case.theta, sampling)}")
            raise
        if isinstance(found, complex) or np.ndim(found) != 0:
            raise ValueError(
                f"bound must return a number, or NaN where it does not apply, got {_validate.shown(found)}"
            )
        return float(found)

    def _compare(self, case: Case, sampling: Sampling, s: Setting, slack: float, value: float) -> None:
        if self.n_settings > TABLE_SETTINGS or not s.largest_norm > 0:
            return
        self.slacks.setdefault("", []).append(slack / s.largest_norm)
        for name, ours in self.ours(case.problem, case.theta, sampling).by_name.items():
            if ours.valid and ours.side == self.side:
                slack = abs(ours.value / s.unit - value / s.unit) / s.largest_norm
                self.slacks.setdefault(name, []).append(slack)

    def table(self, name: str) -> tuple[Tightness, ...]:
        rows = {key: Tightness(key or name, len(x), float(np.median(x)), max(x)) for key, x in self.slacks.items()}
        own = [rows.pop("")] if "" in rows else []
        return (*own, *sorted(rows.values(), key=lambda row: row.median))


def check_bound(
    bound: Bound,
    side: Side = "upper",
    of: Literal["minibatch_sharpness", "mean_square_sharpness"] = "minibatch_sharpness",
    *,
    rounding: Literal["mean", "root"] = "mean",
    n_settings: int = 1000,
    seed: int = 0,
) -> BoundCheck:
    """Try bound(problem, theta, sampling) ≥ statistic (≤ for side="lower") on n_settings problems, points and schemes.

    The settings have duplicates, zero rows, n = 1, p = 1, b = 1, b = n, degenerate top eigenvalues and scales of
    1e±300, or are normal. A bound may be wrong by γS (see `es.gap.bounds`), or √γ·S for rounding="root", where it takes
    the root of a difference. It returns NaN where it does not apply. The same seed tries the same settings.

    Returns a `BoundCheck`: true where the bound holds, with the smallest counterexample or the tightness beside ours.
    Raises ValueError for bad arguments, and whatever the bound raises, with the setting. Needs hypothesis.
    """
    if not callable(bound):
        raise ValueError(f"bound must be a function of (problem, theta, sampling), got {_validate.shown(bound)}")
    statistic, ours = STATISTICS[_validate.choice("of", of, tuple(STATISTICS))]
    _validate.choice("side", side, ("lower", "upper"))
    _validate.choice("rounding", rounding, ("mean", "root"))
    options = settings(
        max_examples=(_validate.integer("n_settings", n_settings, 2) + 1) // 2,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    trial = _Trial(bound, side, statistic, ours, rounding)
    chance = random.Random(_validate.integer("seed", seed, 0))
    name = getattr(bound, "__name__", type(bound).__name__)
    # Numbers that can be read come first, so that a counterexample can.
    for problems in (strategies.diagonal_cases() | strategies.cases(), strategies.generic_cases()):
        try:
            case, sampling = find(strategies.with_scheme(problems), trial.fails, settings=options, random=chance)
        except NoSuchExample:
            continue
        value = statistic(case.problem, case.theta, sampling)
        smallest = Counterexample(case.problem, case.theta, sampling, trial.value(case, sampling), value)
        return BoundCheck(name, False, trial.n_settings, smallest, trial.table(name))
    return BoundCheck(name, True, trial.n_settings, None, trial.table(name))
