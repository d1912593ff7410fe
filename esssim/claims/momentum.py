"""Claims about momentum: heavy ball and Nesterov at both ends of the batch size, and in one dimension."""

from __future__ import annotations

import itertools

import numpy as np

from esssim import data
from esssim.claims.claim import Measurement, Predicted, Row, around, at_most
from esssim.claims.declare import claim
from esssim.claims.thresholds import on_the_regression
from esssim.experiments import Experiment
from esssim.experiments.growth import regression, second_moment_radius
from esssim.papers import COHEN, MOMENTUM, OURS
from esssim.problems import LinearRegression, Quadratic
from esssim.sampling import WithoutReplacement
from esssim.stability import critical_step_size, edge, small_batch_edge
from esssim.statistics import mean_square_sharpness, sharpness

MOMENTA = (0.5, 0.9, 0.99)
FULL_BATCH_EDGES = {"heavy-ball": "2(1+β)/η", "nesterov": "2(1+β)/(η(1+2β))"}
FULL_BATCH_FORMULAS = {
    "heavy-ball": r"\lambda_{\max}(H)<\frac{2(1+\beta)}{\eta}",
    "nesterov": r"\lambda_{\max}(H)<\frac{2(1+\beta)}{\eta(1+2\beta)}",
}


def beside_the_edge(optimiser: str) -> dict[tuple[float, float], Experiment]:
    """Gradient descent at a sharpness of (1 ∓ 0.5 %) of the edge, by β and that factor; the loss of the top mode
    decides.
    """
    nesterov, problem = optimiser == "nesterov", regression(3)
    top = sharpness(problem, np.zeros(problem.n_params))
    found = {}
    for momentum, factor in itertools.product((0.0, 0.5, 0.9), (0.995, 1.005)):
        eta = factor * edge(1.0, momentum=momentum, nesterov=nesterov) / top
        dynamics = {"step_size": eta, "n_steps": 20_000, "momentum": momentum, "nesterov": nesterov and momentum > 0}
        found[momentum, factor] = on_the_regression(
            3, start=1.0, batch_size=problem.n_samples, dynamics=dynamics,
            records={"statistics": ["loss"], "steps": [10_000, 20_000]},
        )  # fmt: skip
    return found


@claim(
    id="momentum-edge/full-batch-{optimiser}",
    states=lambda optimiser: (
        f"Full-batch {optimiser.replace('-', ' ').replace('nesterov', 'Nesterov')} is stable up to a sharpness of "
        f"{FULL_BATCH_EDGES[optimiser]}."
    ),
    source=COHEN,
    source_predicts=lambda optimiser: FULL_BATCH_EDGES[optimiser],
    we_predict=lambda optimiser: Predicted.holds(FULL_BATCH_EDGES[optimiser]),
    method="20,000 steps at 0.995 and 1.005 of the edge",
    experiment=lambda optimiser, quick: list(beside_the_edge(optimiser).values()),
    over=[{"optimiser": optimiser} for optimiser in FULL_BATCH_EDGES],
    formula=lambda optimiser: FULL_BATCH_FORMULAS[optimiser],
    about=("sharpness",),
    stated="2026-11-24",
)
def full_batch_edge(*, optimiser: str, quick: bool) -> Measurement:
    rows: list[Row] = []
    for (momentum, factor), run in beside_the_edge(optimiser).items():
        trace = run.run()
        diverged = int(trace["diverged_at"][0]) >= 0
        loss = trace["loss"].values[0]
        grows = diverged or loss[1] > loss[0]
        rows.append(
            {"momentum": momentum, "sharpness_over_edge": factor, "grows": grows, "right": grows == (factor > 1)}
        )
    good = all(row["right"] for row in rows)
    return Measurement(
        "holds" if good else "refuted",
        "gradient descent shrinks 0.5 % below the edge and grows 0.5 % above, β = 0, 0.5, 0.9",
        rows=rows,
    )


@claim(
    id="momentum-edge/small-batch-heavy-ball/b={b}",
    states="Small-batch heavy ball is stable up to a mean-square sharpness of 2(1−β)/η",
    where="regression, n = 100, d = 50, b = {b}",
    source=MOMENTUM,
    source_predicts="2(1−β)/η at small b (there for batch sharpness; the form with Q_b is ours)",
    we_predict=lambda b: (
        Predicted.holds("2(1−β)/η within 5 %")
        if b == 1
        else Predicted.none("no prediction: how small b must be was not known")
    ),
    method="exact critical step size at b = {b}, β = 0.5, 0.9, 0.99",
    tolerance=0.05,
    over=[{"b": b} for b in (1, 4, 16)],
    formula=r"Q_b<\frac{2(1-\beta)}{\eta}",
    accepts=around(1, 0.05),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def small_batch_edge_of_heavy_ball(*, b: int, quick: bool) -> Measurement:
    rows: list[Row] = []
    table = data.gaussian(100, 50, seed=1)
    problem, theta = LinearRegression(table.inputs, table.targets), np.zeros(50)
    sampling = WithoutReplacement(b)
    top = mean_square_sharpness(problem, theta, sampling)
    for momentum in MOMENTA:
        eta = critical_step_size(problem, theta, sampling, momentum=momentum)
        ratio = top / small_batch_edge(eta, momentum=momentum)
        rows.append({"momentum": momentum, "b": b, "critical_step_size": eta, "ratio": ratio})
    worst = max((float(row["ratio"]) for row in rows), key=lambda ratio: abs(ratio - 1))
    listed = ", ".join(f"{float(row['ratio']):.3f}" for row in rows)
    reason = f"Q_b over 2(1−β)/η at the exact critical step size: {listed} at β = 0.5, 0.9, 0.99"
    good = abs(worst - 1) <= 0.05
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="momentum-edge/one-dimension",
    states="In one dimension heavy ball is stable up to 1/η = a/(2(1+β)) + s²/(2a(1−β)), a = E h_B, s² = Var h_B.",
    source=OURS,
    source_predicts=f"between the ends of {MOMENTUM}",
    we_predict=Predicted.holds("exact"),
    method="exact second-moment operator by enumeration, ∓0.01 % around the formula",
    tolerance=1e-9,
    formula=r"\frac{1}{\eta}=\frac{a}{2(1+\beta)}+\frac{s^2}{2a(1-\beta)}",
    accepts=at_most(1e-9),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def heavy_ball_in_one_dimension(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    rng = np.random.default_rng(5)
    for momentum in (0.0, 0.5, 0.9):
        curvatures = rng.uniform(0.2, 3.0, size=6)
        problem, theta, sampling = (
            Quadratic(curvatures[:, None, None], np.zeros((6, 1))),
            np.zeros(1),
            WithoutReplacement(2),
        )
        a = curvatures.mean()
        variance = sampling.variance_coefficient(6) * curvatures.var()
        formula = 1 / (a / (2 * (1 + momentum)) + variance / (2 * a * (1 - momentum)))
        below, above = (second_moment_radius(problem, theta, sampling, f * formula, momentum) for f in (0.9999, 1.0001))
        code = critical_step_size(problem, theta, sampling, momentum=momentum)
        rows.append(
            {
                "momentum": momentum,
                "formula": formula,
                "radius_below": below,
                "radius_above": above,
                "code_over_formula": code / formula,
            }
        )
    worst = max(abs(float(row["code_over_formula"]) - 1) for row in rows)
    good = worst < 1e-9 and all(float(row["radius_below"]) < 1 < float(row["radius_above"]) for row in rows)
    reason = f"exact radius crosses 1 within ±0.01 % of the formula; critical_step_size differs by {worst:.1e}"
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)
