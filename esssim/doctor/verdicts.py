"""(f): verdicts on problems whose truth is known, and on formulas that are wrong on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import esssim as es
from esssim._rows import Row
from esssim._validate import FloatArray
from esssim.claims.ratios import ratio_of, verdict_of
from esssim.doctor.check import Finding, at_most, check, exactly, steps
from esssim.doctor.intervals import autoregressive

TOLERANCE = 0.05
N_RUNS, N_STEPS = 400, 25
# A formula that is 10 % off is refuted outside of 2 % only where the runs know the loss to about 2 %.
N_RUNS_OF_PLANTED, QUICK_RUNS = 6400, 1600


@check(key="f", title="Verdicts are right", seconds=(5.0, 60.0))
def verdicts(quick: bool) -> Finding:
    """1,000 null problems. Half are correlated series of known level, inside, outside and within a thousandth of the
    border of the tolerance: a verdict is wrong where it says "settles" of a level outside, or "below" or "above" of one
    inside. Half are losses of SGD on random linear regressions against the exact moment recursion: "refuted" is wrong.
    Then 100 wrong versions of that recursion, each off by over 10 % in its own number, from 6,400 runs: every one must
    be refuted.
    """
    n_null, n_planted, n_runs = (60, 6, QUICK_RUNS) if quick else (1000, 100, N_RUNS_OF_PLANTED)
    wrong_levels, wrong_ratios, undecided, rows = 0, 0, 0, list[Row]()
    for seed in steps(range(n_null // 2)):
        found, inside = level_problem(seed)
        undecided += found == "inconclusive"
        wrong_levels += found == "settles" if not inside else found in ("below", "above")
    for seed in steps(range(n_null // 2)):
        measured = losses(regression(seed))
        outcome = ratio_verdict(measured, Recursion().loss(regression(seed)))
        undecided += outcome == "inconclusive"
        wrong_ratios += outcome == "refuted"
    refuted, planted = 0, 0
    for seed, wrong in steps(plant(n_planted)):
        setting = regression(seed)
        outcome = ratio_verdict(losses(setting, n_runs), wrong.loss(setting))
        planted += 1
        refuted += outcome == "refuted"
        if outcome != "refuted":
            rows.append({"planted formula": wrong.words, "seed": seed, "verdict": outcome})
    figure = {
        "wrong_verdicts_fraction": (wrong_levels + wrong_ratios) / n_null,
        "wrong_formulas_not_refuted": planted - refuted,
        "wrong_formulas_planted": planted,
        "null_problems": n_null,
        "wrong_on_levels": wrong_levels,
        "wrong_on_recursions": wrong_ratios,
        "undecided": undecided,
    }
    wanted = {"wrong_verdicts_fraction": at_most(0.05), "wrong_formulas_not_refuted": exactly(0)}
    return Finding(figure, wanted, rows, [f"{row['planted formula']}, seed {row['seed']}" for row in rows])


def level_problem(seed: int) -> tuple[str, bool]:
    """The verdict on a series, and whether its true level is within the tolerance."""
    rng = np.random.default_rng([seed, 6])
    true = rng.choice((1.0, 1.02, 0.96, 1.0499, 1.0501, 0.9499, 0.9501, 1.1, 0.8))
    phi, n_replicas = rng.choice((0.0, 0.5, 0.9, 0.95)), int(rng.choice((1, 3, 8)))
    n_records = int(rng.uniform(150, 1000) * (1 + phi) / (1 - phi) / n_replicas)
    spread = rng.choice((0.01, 0.1, 0.5))
    series = true + spread * autoregressive(phi, (n_replicas, n_records), seed)
    return es.settling.summarise(series, TOLERANCE, 1.0).verdict, bool(abs(true - 1) <= TOLERANCE)


@dataclass(frozen=True)
class Setting:
    """SGD on a linear regression from a fixed start."""

    problem: es.LinearRegression
    theta0: FloatArray
    batch_size: int
    step_size: float
    label_noise: float
    seed: int


def regression(seed: int) -> Setting:
    """Of 4 to 12 samples in 2 or 3 dimensions, at half of the largest stable step size or less."""
    rng = np.random.default_rng([seed, 7])
    n, d = int(rng.integers(4, 13)), int(rng.integers(2, 4))
    problem = es.LinearRegression(rng.standard_normal((n, d)), rng.standard_normal(n))
    b = int(rng.integers(2, n // 2 + 1))
    edge = es.stability.critical_step_size(problem, np.zeros(d), es.WithoutReplacement(b), hessian="gauss_newton")
    return Setting(problem, rng.standard_normal(d), b, float(rng.uniform(0.2, 0.5)) * edge, 0.5, seed)


def losses(s: Setting, n_runs: int = N_RUNS) -> FloatArray:
    """The loss of independent runs after the last step."""
    trace = es.simulate(
        s.problem, s.theta0, step_size=s.step_size, sampling=es.WithoutReplacement(s.batch_size), n_steps=N_STEPS,
        n_replicas=n_runs, label_noise=s.label_noise, record=("loss",), record_steps=(N_STEPS,), seed=s.seed,
    )  # fmt: skip
    return np.asarray(trace["loss"].values[:, 0])


def ratio_verdict(measured: FloatArray, predicted: float) -> str:
    """Whether measured over predicted is 1 within 2 %."""
    _, low, high = ratio_of(measured, predicted)
    return verdict_of(low, high, 0.98, 1.02)


@dataclass(frozen=True)
class Recursion:
    """The second moment of θ − θ* step by step, dense, with the terms that a wrong version changes.

    M ← M − η(HM + MH) + η²[(1−c)HMH + c·mean HᵢMHᵢ] + η²c·[mean gᵢgᵢᵀ − gᵢ terms in the mean m] + η²(ε²/b)H.
    """

    words: str = "none"
    variance: Callable[[int, int], float] = lambda n, b: (n - b) / (b * (n - 1))
    drift: float = 1.0
    second: float = 1.0
    gradient_noise: float = 1.0
    label_noise: float = 1.0
    mean: float = 1.0

    def loss(self, s: Setting) -> float:
        """E L after the last step: of mean m and covariance Σ about it, L(m) + ½ tr(HΣ)."""
        x, y = s.problem.inputs, s.problem.targets
        n, d = x.shape
        hessian, eta, c = x.T @ x / n, s.step_size, self.variance(n, s.batch_size)
        mean, covariance = s.theta0.copy(), np.zeros((d, d))
        for _ in range(N_STEPS):
            gradients = x * (x @ mean - y)[:, None]
            spread = np.cov(gradients.T, bias=True).reshape(d, d)
            both = x.T @ (x * np.einsum("ni,ij,nj->n", x, covariance, x)[:, None]) / n
            noise = c * (both - hessian @ covariance @ hessian + self.gradient_noise * spread)
            noise = noise + self.label_noise * s.label_noise**2 / s.batch_size * hessian
            step = np.eye(d) - self.drift * eta * hessian
            covariance = step @ covariance @ step.T + self.second * eta**2 * noise
            mean = mean - self.mean * eta * gradients.mean(axis=0)
        return float(s.problem.loss(mean)) + float(np.trace(hessian @ covariance)) / 2


WRONG = (
    Recursion("c = 1/b, as with replacement", variance=lambda n, b: 1 / b),
    Recursion("c = 1/b − 1/n times n/(n−2)", variance=lambda n, b: (n - b) / (b * max(n - 2, 1))),
    Recursion("c without 1/b", variance=lambda n, b: (n - b) / (n - 1)),
    Recursion("noise of order η instead of η², by half", second=0.5),
    Recursion("η² counted twice", second=2.0),
    Recursion("gradient noise left out", gradient_noise=0.0),
    Recursion("gradient noise twice", gradient_noise=2.0),
    Recursion("label noise left out", label_noise=0.0),
    Recursion("label noise not divided by b", label_noise=3.0),
    Recursion("drift of half the step", drift=0.5),
    Recursion("mean of half the step", mean=0.5),
)


def plant(count: int) -> list[tuple[int, Recursion]]:
    """So many (seed, wrong version), each off by over 10 % there; by the formulas alone, before anything is run."""
    found: list[tuple[int, Recursion]] = []
    seed = 10_000
    while len(found) < count:
        wrong, seed = WRONG[seed % len(WRONG)], seed + 1
        right = Recursion().loss(regression(seed))
        if abs(wrong.loss(regression(seed)) / right - 1) > 0.1:
            found.append((seed, wrong))
    return found
