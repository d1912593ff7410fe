"""Claims about published edges: each against the exact mean-square critical step size, and which is closest where."""

from __future__ import annotations

from functools import cache

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, around, at_least, at_most
from esssim.claims.declare import claim
from esssim.experiments.published_edges import EDGES, SEVERAL, closest_table, ensembles, interpolating
from esssim.moments import stationary_covariance
from esssim.papers import (
    AGARWALA,
    ANDREYEV_V1,
    ANDREYEV_V3,
    COHEN,
    LEE_JANG,
    MOMENTUM,
    MULAYOFF,
    OURS,
    ours,
)
from esssim.problems import LinearRegression
from esssim.sampling import WithoutReplacement, WithReplacement
from esssim.stability import (
    critical_step_size,
    heavy_ball_ends,
    interaction_aware_step_size,
)
from esssim.statistics import (
    mean_square_sharpness,
    sharpness,
)

CLOSE = 0.05
# The id of the claim that an edge is the edge.
IDS = {
    "MiniBS": "minibs-edge/is-the-edge",
    "batch sharpness": "batch-sharpness-edge/is-the-edge",
    "batch sharpness, ratio of means": "batch-sharpness-edge/ratio-of-means",
    "interaction-aware": "interaction-aware-edge/is-the-edge",
    "noise kernel, diagonal": "noise-kernel/diagonal",
    "noise kernel, high-dimensional": "noise-kernel/high-dimensional",
    "noise kernel, trace": "noise-kernel/trace",
}
SIX_ENSEMBLES = (
    "regressions on six ensembles, b = 1, 4, 16, 64 and n: published over exact mean-square critical step size; "
    "edges that depend on the gradient averaged over 8 points drawn from N(θ*, I)"
)
HEAVY_BALL = "exact critical step sizes on the same ensembles, b = 1, 8, 32, n, β = 0.5, 0.9"
COMPARED = (COHEN, ANDREYEV_V1, ANDREYEV_V3, LEE_JANG, AGARWALA, MULAYOFF)


@claim(
    id="who-is-closest/published-edges",
    states="One published edge is the closest to the mean-square edge in every ensemble and at every batch size.",
    source=ours(f"comparing {'; '.join(map(str, COMPARED))}", *COMPARED),
    source_predicts="each its own",
    we_predict=Predicted.none(),
    method=SIX_ENSEMBLES,
    formula=r"\exists\,e:\quad|\log\eta_e-\log\eta_c|\ \le\ |\log\eta_{e'}-\log\eta_c|\quad\forall\,e'",
    accepts=at_least(1),
    stated="2026-11-24",
)
def one_published_edge_is_closest(*, quick: bool) -> Measurement:
    rows = closest_table(quick)
    stochastic = [row for row in rows if row["closest"] != SEVERAL]
    wins = {edge: sum(row["closest"] == edge for row in stochastic) for edge in EDGES}
    spans = {
        edge: (min(float(row[edge]) for row in stochastic), max(float(row[edge]) for row in stochastic))
        for edge in EDGES
    }
    always = max(wins.values()) == len(stochastic)
    counts = ", ".join(f"{edge} {count}" for edge, count in sorted(wins.items(), key=lambda item: -item[1]) if count)
    ranges = "; ".join(f"{edge} {low:.2f}–{high:.2f}" for edge, (low, high) in spans.items())
    reason = f"closest in {len(stochastic)} cases with b < n: {counts}. Ratios: {ranges}"
    value = max(wins.values()) / len(stochastic)
    return Measurement("holds" if always else "refuted", reason, value, (value, value), None, rows)


@claim(
    id=lambda edge: IDS[edge],
    states=lambda edge: (
        f"SGD is mean-square stable exactly below the edge of {EDGES[edge].authors} ({edge}), within 5 %."
    ),
    source=lambda edge: EDGES[edge],
    source_predicts="the edge",
    we_predict=Predicted.none(),
    method=SIX_ENSEMBLES,
    tolerance=CLOSE,
    quick=False,
    over=[{"edge": edge} for edge in IDS],
    formula=r"\left|\frac{\eta_{\mathrm{edge}}}{\eta_c}-1\right|\le 0.05,\quad\eta_c=\frac{2}{Q_b}",
    accepts=around(1, CLOSE),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def published_edge_is_the_edge(*, edge: str, quick: bool) -> Measurement:
    """Whether one published edge is within 5 % of the exact one everywhere."""
    rows = [
        {
            "ensemble": row["ensemble"],
            "b": row["b"],
            "critical_step_size": row["critical_step_size"],
            "ratio": row[edge],
        }
        for row in closest_table(quick)
    ]
    worst = max((float(row["ratio"]) for row in rows), key=lambda ratio: abs(np.log(ratio)))
    within = sum(abs(float(row["ratio"]) - 1) <= CLOSE for row in rows)
    reason = f"within 5 % of the exact step size in {within} of {len(rows)} cases; the farthest is {worst:.2f} times it"
    return Measurement("holds" if within == len(rows) else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="interaction-aware-edge/descent",
    states="One step lowers the expected loss of a quadratic exactly for η < 2‖g‖²/tr(H G_b), the interaction-aware "
    "edge.",
    source=LEE_JANG,
    source_predicts="exact",
    we_predict=Predicted.holds("exact"),
    method="every batch enumerated, at 0.99, 1 and 1.01 of it",
    tolerance=1e-12,
    formula=r"\mathbb{E}_B\,L(\theta-\eta g_B)<L(\theta)\quad\Longleftrightarrow\quad\eta<\frac{2\|g\|^2}{"
    r"\mathrm{tr}(HG_b)}",
    accepts=at_most(1e-12),
    about=("interaction_aware_sharpness", "gradient_noise_interaction"),
    stated="2026-11-24",
)
def interaction_aware_descent(*, quick: bool) -> Measurement:
    """The expected loss after one step, by enumeration, at and around the interaction-aware step size."""
    rows: list[Row] = []
    for seed in range(2 if quick else 6):
        table = data.gaussian(7, 4, seed=seed, noise=0.5)
        problem = LinearRegression(table.inputs, table.targets)
        theta = np.random.default_rng(seed).normal(size=4)
        for sampling in (WithoutReplacement(2), WithReplacement(2)):
            eta = interaction_aware_step_size(problem, theta, sampling)
            start, changes = float(problem.loss(theta)), []
            for factor in (0.99, 1.0, 1.01):
                after = 0.0
                for batches, weights in sampling.enumerate(7):
                    steps = theta - factor * eta * problem.gradient(theta, batches)
                    after += float(weights @ problem.loss(steps))
                changes.append(after / start - 1)
            rows.append(
                {"seed": seed, "scheme": type(sampling).__name__, "step_size": eta, "change_below": changes[0],
                 "change_at": changes[1], "change_above": changes[2]}
            )  # fmt: skip
    worst = max(abs(float(row["change_at"])) for row in rows)
    good = worst <= 1e-12 and all(float(row["change_below"]) < 0 < float(row["change_above"]) for row in rows)
    reason = (
        f"relative change of the expected loss at the edge: at most {worst:.1e}; it falls 1 % below and rises 1 % above"
    )
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="interaction-aware-edge/at-the-mean-square-edge",
    states="Averaged over the covariance that the mean-square edge leaves undamped, E tr(H G_b)/E‖g‖² is Q_b.",
    source=OURS,
    source_predicts=f"silent ({LEE_JANG})",
    we_predict=Predicted.holds("exact"),
    method="critical covariance of the enumerated operator",
    tolerance=1e-9,
    formula=r"\frac{\mathbb{E}\,\mathrm{tr}(HG_b)}{\mathbb{E}\|g\|^2}=Q_b",
    accepts=at_most(1e-9),
    about=("gradient_noise_interaction", "mean_square_sharpness"),
    stated="2026-11-24",
)
def interaction_at_the_critical_covariance(*, quick: bool) -> Measurement:
    """E tr(H G_b)/E‖g‖² over a state of the covariance that the edge does not damp, against Q_b."""
    rows: list[Row] = []
    for seed in range(2 if quick else 6):
        problem = interpolating(data.gaussian(8, 4, seed=seed))
        for b in (1, 2, 4):
            sampling, origin = WithoutReplacement(b), np.zeros(4)
            top = mean_square_sharpness(problem, origin, sampling)
            eye, operator = np.eye(4), np.zeros((16, 16))
            for batches, weights in sampling.enumerate(8):
                steps = eye - 2 / top * problem.hessian(origin, batches)
                operator += np.einsum("m,mij,mkl->ikjl", weights, steps, steps).reshape(16, 16)
            vector = np.linalg.eigh((operator + operator.T) / 2)[1][:, -1].reshape(4, 4)
            values, axes = np.linalg.eigh(vector * np.sign(np.trace(vector)))
            # The points √value·axis, equally likely up to scale, have this covariance.
            norms = values * (problem.gradient(axes.T) ** 2).sum(axis=1)
            interactions = np.array([2 / interaction_aware_step_size(problem, axis, sampling) for axis in axes.T])
            rows.append(
                {
                    "seed": seed,
                    "b": b,
                    "mean_square_sharpness": top,
                    "ratio": float(norms @ interactions / norms.sum() / top),
                }
            )
    worst = max(abs(float(row["ratio"]) - 1) for row in rows)
    reason = f"largest |ratio − 1| over {len(rows)} cases: {worst:.1e}"
    return Measurement("holds" if worst <= 1e-9 else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="interaction-aware-edge/stationary",
    states="Where SGD on a quadratic is stationary, E[g_BᵀHg_B] = (2/η)·E‖g‖² at every stable step size: "
    "gradient–noise interaction at 2/η says that the loss no longer falls, not that an edge is near.",
    source=OURS,
    source_predicts=f"silent ({ANDREYEV_V3})",
    we_predict=Predicted.holds("exact: the mean loss does not change any more"),
    method="stationary covariance of a regression with noisy targets, at 5 to 95 % of the critical step size",
    tolerance=1e-9,
    formula=r"\frac{\mathbb{E}[g_B^{\top}Hg_B]}{\mathbb{E}\|g\|^2}=\frac{2}{\eta}",
    accepts=at_most(1e-9),
    about=("gradient_noise_interaction", "interaction_aware_sharpness"),
    stated="2026-11-29",
)
def interaction_of_a_stationary_state(*, quick: bool) -> Measurement:
    """Both averages over N(θ*, Σ), Σ the stationary covariance, from second moments."""
    rows: list[Row] = []
    for seed in range(1 if quick else 3):
        table = data.gaussian(40, 8, seed=seed, noise=0.5)
        problem, inputs = LinearRegression(table.inputs, table.targets), table.inputs
        minimum: FloatArray = np.linalg.lstsq(inputs, table.targets, rcond=None)[0].astype(float)
        hessian, residuals = problem.hessian(minimum), problem.residuals(minimum, np.arange(40))
        for b in (1, 4, 16):
            sampling = WithoutReplacement(b)
            c, critical = sampling.variance_coefficient(40), critical_step_size(problem, minimum, sampling)
            for part in (0.05, 0.5, 0.95):
                sigma = stationary_covariance(problem, step_size=part * critical, sampling=sampling)
                # gᵢ = xᵢ(xᵢᵀe + rᵢ), so that E gᵢᵀHgᵢ = xᵢᵀHxᵢ·(xᵢᵀΣxᵢ + rᵢ²).
                bends, spreads = (((inputs @ matrix) * inputs).sum(axis=1) for matrix in (hessian, sigma))
                whole = np.trace(hessian @ hessian @ hessian @ sigma)
                form = (1 - c) * whole + c * float((bends * (spreads + residuals**2)).mean())
                ratio = form / float(np.trace(hessian @ hessian @ sigma))
                rows.append({"seed": seed, "b": b, "part_of_the_edge": part, "ratio": ratio * part * critical / 2})
    worst = max(abs(float(row["ratio"]) - 1) for row in rows)
    reason = (
        f"largest |(η/2)·E[g_BᵀHg_B]/E‖g‖² − 1| in {len(rows)} cases, at 5 to 95 % of the critical step: {worst:.1e}"
    )
    return Measurement("holds" if worst <= 1e-9 else "refuted", reason, worst, (worst, worst), None, rows)


@claim(
    id="noise-kernel/never-below",
    states="The diagonal noise kernel norm reaches 1 never below the mean-square edge.",
    source=OURS,
    source_predicts=f"silent ({AGARWALA})",
    we_predict=Predicted.holds("holds: a restriction of a self-adjoint operator"),
    method=SIX_ENSEMBLES,
    formula=r"\eta_{\mathrm{kernel}}\ \ge\ \eta_c=\frac{2}{Q_b}",
    accepts=at_least(1 - 1e-12),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def noise_kernel_is_never_below(*, quick: bool) -> Measurement:
    rows = [
        {"ensemble": row["ensemble"], "b": row["b"], "ratio": row["noise kernel, diagonal"]}
        for row in closest_table(quick)
    ]
    lowest = min(float(row["ratio"]) for row in rows)
    reason = f"published over exact critical step size is {lowest:.4f} to {max(float(r['ratio']) for r in rows):.4f}"
    return Measurement("holds" if lowest >= 1 - 1e-12 else "refuted", reason, lowest, (lowest, lowest), None, rows)


@cache
def heavy_ball_table(quick: bool) -> list[Row]:
    """Both ends of the heavy-ball edge, and the formula of one dimension, over the exact critical step size.

    One dimension: 1/η = a/(2(1+β)) + s²/(2a(1−β)), read with a = λ_max and s²/a = Q_b − λ_max.
    """
    rows: list[Row] = []
    for name, table in ensembles(quick).items():
        problem = interpolating(table)
        origin, n = np.zeros(problem.n_params), problem.n_samples
        top = sharpness(problem, origin)
        for b in sorted({1, 8, min(32, n), n}):
            mean_square = mean_square_sharpness(problem, origin, WithoutReplacement(b))
            for momentum in (0.5, 0.9):
                exact = critical_step_size(problem, origin, WithoutReplacement(b), momentum=momentum)
                ends = heavy_ball_ends(mean_square, momentum)
                inverse = top / (2 * (1 + momentum)) + (mean_square - top) / (2 * (1 - momentum))
                edges = {
                    "small-batch end": ends.small_batch / exact,
                    "large-batch end": ends.large_batch / exact,
                    "formula of one dimension": 1 / inverse / exact,
                }
                closest = min(edges, key=lambda edge: abs(np.log(edges[edge])))
                rows.append(
                    {
                        "ensemble": name,
                        "b": b,
                        "momentum": momentum,
                        "critical_step_size": exact,
                        **edges,
                        "closest": closest,
                    }
                )
    return rows


@claim(
    id="heavy-ball-ends/between",
    states="The critical step size of heavy ball lies between 2(1−β)/Q_b and 2(1+β)/Q_b.",
    source=MOMENTUM,
    source_predicts="one end for small batches, the other for large",
    we_predict=Predicted.holds("between"),
    method=HEAVY_BALL,
    formula=r"\frac{2(1-\beta)}{Q_b}\ \le\ \eta_c\ \le\ \frac{2(1+\beta)}{Q_b}",
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def heavy_ball_lies_between_its_ends(*, quick: bool) -> Measurement:
    rows = heavy_ball_table(quick)
    small, large = ([float(row[edge]) for row in rows] for edge in ("small-batch end", "large-batch end"))
    inside = max(small) <= 1 + 1e-9 and min(large) >= 1 - 1e-9
    reason = (
        f"{len(rows)} cases: 2(1−β)/Q_b is {min(small):.2f} to {max(small):.2f} times the exact critical step size, "
        f"2(1+β)/Q_b {min(large):.2f} to {max(large):.2f}"
    )
    return Measurement("holds" if inside else "refuted", reason, None, None, None, rows)


@claim(
    id="who-is-closest/heavy-ball",
    states="In many dimensions the formula of one (a = λ_max, s²/a = Q_b − λ_max) is closer than both ends of heavy "
    "ball.",
    source=ours(f"comparing {MOMENTUM}", MOMENTUM),
    source_predicts="silent",
    we_predict=Predicted.none(),
    method=HEAVY_BALL,
    formula=r"\frac{1}{\eta}=\frac{\lambda_{\max}}{2(1+\beta)}+\frac{Q_b-\lambda_{\max}}{2(1-\beta)}",
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def formula_of_one_dimension_is_closest(*, quick: bool) -> Measurement:
    rows = heavy_ball_table(quick)
    wins = {str(row["closest"]): sum(other["closest"] == row["closest"] for other in rows) for row in rows}
    between = [float(row["formula of one dimension"]) for row in rows]
    always = wins.get("formula of one dimension", 0) == len(rows)
    counts = ", ".join(f"{edge} {count}" for edge, count in sorted(wins.items(), key=lambda item: -item[1]))
    reason = (
        f"closest in {len(rows)} cases: {counts}; the formula of one dimension is {min(between):.2f} to "
        f"{max(between):.2f} times the exact one"
    )
    return Measurement("holds" if always else "refuted", reason, max(between), (max(between), max(between)), None, rows)
