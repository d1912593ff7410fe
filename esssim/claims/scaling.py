"""Claims about how step sizes and gaps scale with the batch size: what papers say of it, decided on exact
statistics.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from esssim import data
from esssim.claims.claim import Measurement, Predicted, Row, around, at_least, at_most
from esssim.claims.declare import claim
from esssim.claims.self_stabilisation import rising_point
from esssim.experiments.published_edges import ensembles, interpolating
from esssim.papers import GRANZIOL, LEE_JANG, LIAO, ours
from esssim.problems import LinearRegression, Quadratic
from esssim.sampling import WithoutReplacement, WithReplacement
from esssim.stability import self_stabilisation
from esssim.statistics import mean_square_sharpness, minibatch_sharpness, sharpness

CLOSE = 0.05
ROUNDING = 1e-9
EXACT = "Q_b with replacement on the ensembles of the published edges, b = 2 to 256, against b = 1"


@claim(
    id="gap-scaling/linear-step-size",
    states="The largest step size that the batch Hessians allow, 2/MiniBS, grows in proportion to b.",
    source=GRANZIOL,
    source_predicts="linear scaling for SGD",
    we_predict=Predicted.refuted("refuted: it never exceeds 2/λ_max"),
    method="d log(2/M_b)/d log b between b = 1, 4, 16 and 64, Gaussian rows, n = 4000, d = 50, sampled batches",
    tolerance=CLOSE,
    formula=r"\frac{2}{M_b}\ \propto\ b",
    accepts=around(1, CLOSE),
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def step_size_grows_linearly(*, quick: bool) -> Measurement:
    """d log(2/M_b)/d log b between batch sizes, with replacement, on Gaussian rows: 1 for linear scaling."""
    n, d, n_batches = (400, 20, 300) if quick else (4000, 50, 2000)
    problem = LinearRegression(data.gaussian(n, d, seed=0).inputs, np.zeros(n))
    sizes, origin = (1, 4, 16, 64), np.zeros(d)
    found = [
        minibatch_sharpness(problem, origin, WithReplacement(b), n_batches=n_batches, seed=0, draws="uniform")
        for b in sizes
    ]
    rows: list[Row] = []
    for (b, one), (b_next, other) in pairwise(zip(sizes, found, strict=True)):
        ratio = math.log(b_next / b)
        error = math.hypot(one.standard_error / one.value, other.standard_error / other.value) / ratio
        exponent = math.log(one.value / other.value) / ratio
        rows.append({"b": b, "b_next": b_next, "minibs": one.value, "exponent": exponent, "standard_error": error})
    reach = [1.96 * float(row["standard_error"]) for row in rows]
    values = [float(row["exponent"]) for row in rows]
    reason = f"exponents {', '.join(f'{value:.3f}' for value in values)} between b = {', '.join(map(str, sizes))}"
    interval = (values[-1] - reach[-1], values[-1] + reach[-1])
    if all(abs(value - 1) + r <= CLOSE for value, r in zip(values, reach, strict=True)):
        return Measurement("holds", reason, values[-1], interval, None, rows)
    refuted = any(abs(value - 1) - r > CLOSE for value, r in zip(values, reach, strict=True))
    return Measurement("refuted" if refuted else "inconclusive", reason, values[-1], interval, None, rows)


def _saturation_rows(quick: bool) -> list[Row]:
    """Q_b with replacement, c = 1/b, beside its chord λ_max + c(Q₁ − λ_max): η_∞b/(b+b₀) as a sharpness."""
    problems = {name: interpolating(table) for name, table in ensembles(quick).items()}
    curvatures = np.random.default_rng(0).uniform(0.1, 3.0, 12)
    rows: list[Row] = []
    for name, problem in {**problems, "one dimension": Quadratic(curvatures[:, None, None], np.zeros((12, 1)))}.items():
        origin = np.zeros(problem.n_params)
        top, single = sharpness(problem, origin), mean_square_sharpness(problem, origin, WithReplacement(1))
        for b in (2, 8, 32) if quick else (2, 4, 8, 16, 32, 64, 256):
            exact = mean_square_sharpness(problem, origin, WithReplacement(b))
            chord = top + (single - top) / b
            rows.append(
                {"ensemble": name, "b": b, "mean_square_sharpness": exact, "chord": chord,
                    "step_over_rule": chord / exact,
                 "gap_over_c": (exact - top) * b / (single - top)}
            )  # fmt: skip
    return rows


@claim(
    id="gap-scaling/linear-then-saturation",
    states="The critical step size is never below 2/λ_max·b/(b + b₀), b₀ set at b = 1: linear, then saturation; in one "
    "dimension it is that.",
    source=ours(f"on the linear and saturation scaling rule of {LEE_JANG}", LEE_JANG),
    source_predicts="linear, then saturation",
    we_predict=Predicted.holds("holds: Q_b is convex in c"),
    method=EXACT,
    tolerance=ROUNDING,
    formula=r"\frac{2}{Q_b}\ \ge\ \frac{2}{\lambda_{\max}}\cdot\frac{b}{b+b_0}",
    accepts=at_least(1 - ROUNDING),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def step_size_saturates(*, quick: bool) -> Measurement:
    rows = _saturation_rows(quick)
    ratios = [float(row["step_over_rule"]) for row in rows]
    line = [float(row["step_over_rule"]) for row in rows if row["ensemble"] == "one dimension"]
    exact = max(abs(ratio - 1) for ratio in line)
    good = min(ratios) >= 1 - ROUNDING and exact <= ROUNDING
    reason = (
        f"the critical step size is {min(ratios):.3f} to {max(ratios):.3f} times the rule over {len(rows)} cases; "
        f"in one dimension it is the rule within {exact:.1e}"
    )
    return Measurement("holds" if good else "refuted", reason, min(ratios), (min(ratios), min(ratios)), None, rows)


@claim(
    id="gap-scaling/edge-gap",
    states="At the mean-square edge the gap 2/η − λ_max is proportional to the variance of the batch, ∝ 1/b, within 5 "
    "%.",
    source=ours(f"on the gap ∝ σ_u² of {LIAO}", LIAO),
    source_predicts="gap ∝ σ_u²",
    we_predict=Predicted.none(),
    method=EXACT,
    tolerance=CLOSE,
    formula=r"Q_b-\lambda_{\max}\ \propto\ \frac{1}{b}",
    accepts=around(1, CLOSE),
    about=("mean_square_sharpness", "sharpness"),
    stated="2026-11-24",
)
def edge_gap_is_proportional(*, quick: bool) -> Measurement:
    rows = [row for row in _saturation_rows(quick) if row["ensemble"] != "one dimension"]
    ratios = [float(row["gap_over_c"]) for row in rows]
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    within = sum(abs(ratio - 1) <= CLOSE for ratio in ratios)
    reason = (
        f"(Q_b − λ_max)·b over its value at b = 1 is {min(ratios):.2f} to {max(ratios):.2f}, within 5 % of 1 in "
        f"{within} of {len(rows)} cases"
    )
    return Measurement("holds" if within == len(rows) else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="gap-scaling/self-stabilisation",
    states="The self-stabilisation gap widens as the batch shrinks, in proportion to c, and is 0 for the full batch.",
    source=LIAO,
    source_predicts="smaller batches are flatter, the full batch is gradient descent",
    we_predict=Predicted.holds("exact"),
    method="diagonal networks at 0.3 of their first loss, b = 1, 2, 4, 16 and n = 40",
    tolerance=ROUNDING,
    formula=r"\frac{\mathrm{gap}_b}{\mathrm{gap}_1}=\frac{c_b}{c_1}",
    accepts=at_most(ROUNDING),
    about=("sharpness",),
    stated="2026-11-24",
)
def self_stabilisation_gap_widens(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for seed in range(41, 43 if quick else 47):
        problem, theta = rising_point(seed)
        gaps = {b: self_stabilisation(problem, theta, WithoutReplacement(b), 0.01).gap for b in (1, 2, 4, 16, 40)}
        for b, gap in gaps.items():
            share = WithoutReplacement(b).variance_coefficient(40) / WithoutReplacement(1).variance_coefficient(40)
            rows.append({"seed": seed, "b": b, "gap": gap, "difference": gap / gaps[1] - share})
    worst = max(abs(float(row["difference"])) for row in rows)
    reason = f"largest difference of gap_b/gap₁ from c_b/c₁ over {len(rows)} cases: {worst:.1e}; 0 at b = n = 40"
    return Measurement("holds" if worst <= ROUNDING else "refuted", reason, worst, (worst, worst), None, rows)
