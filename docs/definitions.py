"""What published codes compute, and what each gives on one run: python docs/definitions.py. Needs the extra `bridge`.

It measures anew and writes docs/definitions.json and .md; `--check` only compares the page with the rules and with the
numbers in the JSON file. Every rule below is written anew from reading the published code at the commit named in the
table: which batches, which Hessian, which average, when it stops. Nothing of the codes themselves is copied.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

import esssim as es
from esssim.bridge.curvature import TorchCurvature
from esssim.claims.claim import Row
from esssim.report.pages import keep_measured_page

SAMPLES, BATCH_SIZE, STEP_SIZE, STEPS = 512, 32, 0.5, 3000
SEEDS = 5
# Draws of batch sharpness before the reference code may stop.
FEWEST = 21
SAMPLING = es.WithoutReplacement(BATCH_SIZE)
Product = Callable[[np.ndarray], np.ndarray]

HEAD = """# Which average, which Hessian, which stopping rule

Made by `python docs/definitions.py`. One network (64–32–10, tanh, squared error ½‖f−y‖², the first {samples} of scikit-learn's
digits) at half of PyTorch's initialisation, and after {steps:,} steps of SGD with η = {eta:g} and b = {b}; every number is (η/2)·statistic, so
that 1 is the edge. A rule that draws batches or start vectors is run {seeds} times: mean and standard deviation (sd) of one run. **Bold** numbers are esssim's: certified eigenvalues, moments without sampling, or so many batches that the error is in
the last digit.
Everything is in float64; the codes themselves run in float32 by default, which adds its own error.

"""
TAIL = """
What to take from it:

* Two quantities go by *batch sharpness*: the mean of ratios and the ratio of means. A code that offers both says so by a flag.
* The stopping rule of the reference code tests the relative standard error of the **ratio of means** (from {least} draws on) also
  where it returns the mean of ratios. The two have different spreads; it stops too early or too late by their ratio.
* Its trainer stops MiniBS at a relative residual of 0.05, and LOBPCG comes to λ_max from below: the mean reads low, here by about
  1 %, which the spread of a run hides. (`torch_lobpcg` multiplies its tolerance by 10p(‖Hx‖+λ), so that the tolerance it is called with is a relative
  residual.)
* Its mean squared error has no ½: its Hessians are twice those of ½‖f−y‖², and the same network is at its edge at half the step size.
* A function named after the interaction-aware sharpness uses the Hessian of the **batch**: it is the ratio of means. With the
  Hessian of the full loss, as Lee & Jang define it, the number is the lower one of the two.
* `eigsh` without `which="LA"`, and power iteration, find the eigenvalue of largest **magnitude**. Where the most negative one is
  larger they return that; at the points here it is not.
* Power iteration stops when two estimates in a row agree, which says how slow it is and not how close: with a small gap
  it stops below λ_max.
"""


class Rule(NamedTuple):
    """Who computes what: `run(problem, theta, rng)` is one run of it, times η/2 left out."""

    statistic: str
    source: str
    rule: str
    run: Callable[[es.bridge.TorchProblem, np.ndarray, np.random.Generator], float]
    exact: bool = False


class Network:
    """Products and gradients of batches at one point."""

    def __init__(self, problem: es.bridge.TorchProblem, theta: np.ndarray) -> None:
        self.problem, self.theta, self.curvature = problem, theta, TorchCurvature(problem, theta)

    def product(self, batch: np.ndarray | None = None) -> Product:
        rows = np.arange(self.problem.n_samples) if batch is None else batch
        bound = self.curvature.bound(rows[None])
        return lambda v: bound(np.array(v, dtype=np.float64).reshape(1, -1))[0]

    def forms(self, batch: np.ndarray) -> tuple[float, float]:
        """g_BᵀH_Bg_B and ‖g_B‖²."""
        gradient = self.problem.gradient(self.theta, batch)
        return float(gradient @ self.product(batch)(gradient)), float(gradient @ gradient)


def batches(rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(SAMPLES)[:BATCH_SIZE]


def adaptive(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator, average: str) -> float:
    """Up to 1,000 batches, until the delta-method error of the ratio of means is below half a per cent of it."""
    network, x, y = Network(problem, theta), [], []
    for i in range(1000):
        quadratic, squared_norm = network.forms(batches(rng))
        x.append(quadratic)
        y.append(squared_norm)
        if i + 1 < FEWEST:
            continue
        mean_x, mean_y = np.mean(x), np.mean(y)
        covariance = np.cov(x, y)
        slope = np.array([1 / mean_y, -mean_x / mean_y**2])
        if np.sqrt(slope @ covariance @ slope / i) < 0.005 * abs(mean_x / mean_y):
            break
    return float(np.mean(np.array(x) / np.array(y)) if average == "mean_of_ratios" else np.mean(x) / np.mean(y))


def gni(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator) -> float:
    network = Network(problem, theta)
    product, full = network.product(), problem.gradient(theta)
    gradients = [problem.gradient(theta, batches(rng)) for _ in range(500)]
    return float(np.mean([g @ product(g) for g in gradients]) / (full @ full))


def lobpcg(product: Product, start: np.ndarray, tolerance: float, steps: int = 100) -> float:
    """LOBPCG for one eigenvalue, until ‖Hx − λx‖ is below tolerance·(‖Hx‖ + λ)/2."""
    x, before = start / np.linalg.norm(start), np.zeros((len(start), 0))
    for _ in range(steps):
        image = product(x)
        value = float(x @ image)
        residual = image - value * x
        if np.linalg.norm(residual) < tolerance * (np.linalg.norm(image) + value) / 2:
            break
        basis, _ = np.linalg.qr(np.column_stack([x, residual, before]))
        images = np.column_stack([product(column) for column in basis.T])
        coefficients = np.linalg.eigh(basis.T @ images)[1][:, -1]
        found = basis @ coefficients
        before = (found - (found @ x) * x)[:, None]
        x = found / np.linalg.norm(found)
    return value


def batch_lobpcg(
    problem: es.bridge.TorchProblem,
    theta: np.ndarray,
    rng: np.random.Generator,
    most: int,
    error: float,
    tolerance: float,
) -> float:
    """λ_max of up to `most` batches, from 11 on until the relative standard error of their mean is below `error`."""
    network, values = Network(problem, theta), []
    for _ in range(most):
        start = rng.standard_normal(problem.n_params)
        values.append(lobpcg(network.product(batches(rng)), start, tolerance))
        if len(values) > 10 and np.std(values) / np.sqrt(len(values)) < error * np.mean(values):
            break
    return float(np.mean(values))


def full_lobpcg(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator) -> float:
    return lobpcg(Network(problem, theta).product(), rng.standard_normal(problem.n_params), 0.005)


def named_after_ias(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator) -> float:
    """32 batches of an epoch or fewer, sums over sums, the Hessian of the batch."""
    network = Network(problem, theta)
    order = rng.permutation(SAMPLES)[: SAMPLES // BATCH_SIZE * BATCH_SIZE].reshape(-1, BATCH_SIZE)[:32]
    forms = np.array([network.forms(batch) for batch in order])
    return float(forms[:, 0].sum() / forms[:, 1].sum())


def power_iteration(
    problem: es.bridge.TorchProblem, theta: np.ndarray, start: np.ndarray, steps: int, tolerance: float
) -> float:
    """Until two estimates in a row agree to `tolerance`, relative."""
    product, vector, value = Network(problem, theta).product(), start / np.linalg.norm(start), np.nan
    for _ in range(steps):
        image = product(vector)
        before, value = value, float(vector @ image)
        if abs(before - value) < tolerance * abs(value):
            break
        vector = image / np.linalg.norm(image)
    return value


def largest_magnitude(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator) -> float:
    operator = LinearOperator((problem.n_params,) * 2, matvec=Network(problem, theta).product(), dtype=np.float64)
    values = eigsh(operator, k=6, v0=rng.standard_normal(problem.n_params), return_eigenvectors=False)
    return float(values.max())


def sampled(name: str, **options: str) -> Callable[[es.bridge.TorchProblem, np.ndarray, np.random.Generator], float]:
    def run(problem: es.bridge.TorchProblem, theta: np.ndarray, rng: np.random.Generator) -> float:
        count = 2000 if name == "minibatch_sharpness" else 20_000
        return float(getattr(es, name)(problem, theta, SAMPLING, n_batches=count, seed=0, **options))

    return run


EOSS = "[Andreyev & Beneventano's code](https://github.com/arseniqum/edge-of-stochastic-stability/blob/f12be5c/utils/measure.py)"
LOCUS = "[Cohen et al.'s code](https://github.com/locuslab/edge-of-stability/blob/1d74c03c639c9c55ad20438f086b6980ca826cc4/src/utilities.py)"
PYHESSIAN = "[PyHessian](https://github.com/amirgholami/PyHessian/blob/00c4f3bc482d7e11f80dd70ed81133d703cd14a2/pyhessian/hessian.py)"
EIGENTHINGS = "[pytorch-hessian-eigenthings, old](https://github.com/noahgolmant/pytorch-hessian-eigenthings/blob/0c35f43c09743e6e3a48bfc556e2e88433bc056d/hessian_eigenthings/power_iter.py)"
POST = "[post-training-EoS](https://github.com/aopatric/post-training-EoS/blob/a48b06778f9904b270fd84283dd52c83890be3c8/experiment_code/src/metrics.py)"

RULES = (
    Rule("sharpness", "esssim", "λ_max of the full loss", lambda p, t, _: es.sharpness(p, t), True),
    Rule(
        "sharpness", LOCUS, "first 5,000 samples (here all), `eigsh(k=6)`, largest magnitude, ARPACK's own tolerance",
        largest_magnitude,
    ),
    Rule(
        "sharpness", EOSS, "at most 4,096 samples (here all), LOBPCG to a relative residual of 0.005 from the last vector (here a random one)",
        full_lobpcg,
    ),
    Rule(
        "sharpness", PYHESSIAN, "full loss or one batch (here full), power iteration, stops at 1e-3 between two estimates",
        lambda p, t, rng: power_iteration(p, t, rng.standard_normal(p.n_params), 100, 1e-3),
    ),
    Rule(
        "sharpness", EIGENTHINGS, "the loss it is given (here full), power iteration from a uniform vector, 20 steps or 1e-4",
        lambda p, t, rng: power_iteration(p, t, rng.random(p.n_params), 20, 1e-4),
    ),
    Rule("MiniBS", "esssim, 2,000 batches", "E λ_max(H_B)", sampled("minibatch_sharpness"), True),
    Rule(
        "MiniBS", EOSS, "as its trainer calls it: ≤ 50 batches, relative residual 0.05, stops at a standard error of 5 %",
        partial(batch_lobpcg, most=50, error=0.05, tolerance=0.05),
    ),
    Rule(
        "MiniBS", EOSS, "the function's defaults: ≤ 100 batches, relative residual 0.001, stops at a standard error of 1 %",
        partial(batch_lobpcg, most=100, error=0.01, tolerance=1e-3),
    ),
    Rule("batch sharpness", "esssim, 20,000 batches", "mean of ratios", sampled("batch_sharpness"), True),
    Rule(
        "batch sharpness", EOSS, "mean of ratios, H of the batch, 21 to 1,000 batches, stops by the error of the ratio of means",
        lambda p, t, rng: adaptive(p, t, rng, "mean_of_ratios"),
    ),
    Rule("ratio of means", "esssim, 20,000 batches", "ratio of means", sampled("batch_sharpness", average="ratio_of_means"), True),
    Rule(
        "ratio of means", EOSS, "the same with `expectation_inside=True`", lambda p, t, rng: adaptive(p, t, rng, "ratio_of_means")
    ),
    Rule("ratio of means", POST, "`compute_ias`: H of the batch, ratio of sums, ≤ 32 batches of an epoch", named_after_ias),
    Rule(
        "IAS", "esssim", "tr(HG_b)/tr(G_b), H of the full loss (Lee & Jang, ICLR 2023)",
        lambda p, t, _: es.interaction_aware_sharpness(p, t, SAMPLING), True,
    ),
    Rule(
        "GNI", "esssim", "E[g_BᵀHg_B]/‖g‖², H of the full loss",
        lambda p, t, _: es.gradient_noise_interaction(p, t, SAMPLING), True,
    ),
    Rule("GNI", EOSS, "500 batches, H of the full loss, no stopping rule; with its subset option H, batches and ‖g‖² are all of the subset", gni),
)  # fmt: skip


def network() -> es.bridge.TorchProblem:
    digits = es.data.load("digits", standardize=False)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    labels = digits.targets[:SAMPLES].astype(int)
    return es.bridge.TorchProblem(module, digits.inputs[:SAMPLES] / 16, np.eye(10)[labels])


def run(problem: es.bridge.TorchProblem) -> dict[str, np.ndarray]:
    """The two points."""
    start = problem.theta0 / 2
    theta, rng = start, np.random.default_rng(0)
    for batch in SAMPLING.draw(SAMPLES, STEPS, rng):
        theta = theta - STEP_SIZE * problem.gradient(theta, batch)
    return {"at the start": start, f"after {STEPS:,} steps": theta}


def measure() -> dict[str, list[Row]]:
    """A row for each rule and point, in their order: mean over the runs, and the standard deviation of one."""
    problem = network()
    points = run(problem)
    rows: list[Row] = []
    for rule in RULES:
        for point, theta in points.items():
            values = [
                STEP_SIZE / 2 * rule.run(problem, theta, np.random.default_rng(seed))
                for seed in range(1 if rule.exact else SEEDS)
            ]
            row: Row = {"source": rule.source, "rule": rule.rule, "point": point, "mean": float(np.mean(values))}
            rows.append(row if rule.exact else row | {"deviation": float(np.std(values, ddof=1))})
    return {"rules": rows}


def cell(row: Row) -> str:
    """Bold where it is exact."""
    number = f"{row['mean']:.3f}"
    return f"{number} (sd {row['deviation']:.3f})" if "deviation" in row else f"**{number}**"


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page. ValueError where the rows are not those of the rules, point by point."""
    rows = content["rules"]
    points = list(dict.fromkeys(str(row["point"]) for row in rows))
    wanted = [(rule.source, rule.rule, point) for rule in RULES for point in points]
    if [(row["source"], row["rule"], row["point"]) for row in rows] != wanted:
        raise ValueError("the numbers are of other rules")
    lines = ["| statistic | code | rule | " + " | ".join(points) + " |", "|---|---|---|" + "---:|" * len(points)]
    for k, rule in enumerate(RULES):
        cells = [cell(row) for row in rows[k * len(points) : (k + 1) * len(points)]]
        lines.append("| " + " | ".join((rule.statistic, rule.source, rule.rule, *cells)) + " |")
    head = HEAD.format(samples=SAMPLES, steps=STEPS, eta=STEP_SIZE, b=BATCH_SIZE, seeds=SEEDS)
    return head + "\n".join(lines) + "\n" + TAIL.format(least=FEWEST)


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
