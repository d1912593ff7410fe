"""Claims about stability thresholds, where the Hessian is constant: exact operators and ensembles on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from esssim import data
from esssim.claims.claim import Measurement, Outcome, Predicted, Row, around, at_most
from esssim.claims.declare import claim
from esssim.experiments import Experiment, GrowingEnsemble
from esssim.experiments.base import run_once
from esssim.experiments.growth import (
    N_FEATURES,
    N_SAMPLES,
    regression,
    second_moment_operator,
    second_moment_radius,
)
from esssim.papers import ANDREYEV_V1, ANDREYEV_V3, MULAYOFF, OURS
from esssim.problems import LinearRegression
from esssim.sampling import WithoutReplacement
from esssim.stability import almost_sure_threshold, critical_step_size, lyapunov_exponent
from esssim.statistics import mean_square_sharpness, minibatch_sharpness, sharpness


def on_the_regression(
    seed: int, *, start: float, batch_size: int, dynamics: dict[str, Any], records: dict[str, Any]
) -> Experiment:
    """SGD on it, from every parameter at `start`."""
    return Experiment(
        problem={"kind": "linear_regression"},
        data={"kind": "gaussian", "n_samples": N_SAMPLES, "n_features": N_FEATURES, "seed": seed, "targets": "zero"},
        start={"kind": "constant", "scale": start},
        sampling={"batch_size": batch_size},
        dynamics=dynamics,
        records=records,
    )


def beside_the_edge(quick: bool) -> list[GrowingEnsemble]:
    return [
        GrowingEnsemble(seed, b, 1 + 0.2 * side, n_replicas=2000 if quick else 8000, seed=seed)
        for seed, b in ((0, 1), (1, 2), (2, 4))
        for side in (-1, 1)
    ]


@claim(
    id="mean-square-edge/regression",
    states="SGD on linear regression is mean-square stable exactly when ηQ_b < 2.",
    source=MULAYOFF,
    source_predicts="edge at ηQ_b = 2",
    we_predict=Predicted.holds("edge at ηQ_b = 2"),
    method="growth rates of an ensemble at ηQ_b/2 = 0.8 and 1.2, and the exact second-moment operator at ∓0.1 %",
    experiment=lambda quick: beside_the_edge(quick),
    formula=r"\sup_t\,\mathbb{E}\|\theta_t\|^2<\infty\quad\Longleftrightarrow\quad\eta\,Q_b<2",
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def mean_square_edge(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    right, clear = True, True
    for run in beside_the_edge(quick):
        side = 1 if run.factor > 1 else -1
        theta = np.zeros(run.problem.n_params)
        critical = 2 / mean_square_sharpness(run.problem, theta, run.sampling)
        rate, error = run.growth_rate(run_once(run))
        just = second_moment_radius(run.problem, theta, run.sampling, (1 + 0.001 * side) * critical)
        exact = second_moment_radius(run.problem, theta, run.sampling, run.step_size)
        clear &= abs(rate) > 2.6 * error
        right &= np.sign(rate) == side == np.sign(just - 1)
        rows.append(
            {"b": run.batch_size, "eta_Q_over_2": run.factor, "growth_rate": rate, "standard_error": error,
             "exact_growth_rate": float(np.log(exact)), "exact_radius_0.1_percent_from_edge": just}
        )  # fmt: skip
    if clear and not right:
        return Measurement(
            "refuted", "a growth rate, or the exact operator, is on the wrong side of the edge", rows=rows
        )
    reason = "ensembles grow 20 % above and shrink 20 % below the edge, and the exact operator crosses 1 within ±0.1 %"
    return Measurement(
        "holds" if clear else "inconclusive", reason if clear else "a growth rate is not clear of 0", rows=rows
    )


@claim(
    id="minibs-and-stability/not-{condition}",
    states="MiniBS ≤ 2/η is not {condition} for mean-square stability of SGD.",
    source=OURS,
    source_predicts=f"silent ({ANDREYEV_V1})",
    we_predict=lambda condition: Predicted.holds(
        "stable instances with MiniBS > 2/η exist"
        if condition == "necessary"
        else "unstable instances with MiniBS < 2/η exist"
    ),
    method="spectral radius of the exact second-moment operator at η = 2/√(MiniBS·Q_b)",
    over=[{"condition": condition} for condition in ("necessary", "sufficient")],
    formula=lambda condition: (
        r"\rho(\mathcal{T})<1\ \not\Rightarrow\ \eta M_b\le 2"
        if condition == "necessary"
        else r"\eta M_b\le 2\ \not\Rightarrow\ \rho(\mathcal{T})<1"
    ),
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def minibs_does_not_decide(*, condition: str, quick: bool) -> Measurement:
    """Instances: stable although MiniBS > 2/η (not necessary), or unstable although MiniBS < 2/η (not sufficient)."""
    necessary = condition == "necessary"
    rows: list[Row] = []
    for seed in range(40):
        for b in (1, 2, 3):
            problem, sampling = regression(seed, n=8, d=6), WithoutReplacement(b)
            theta = np.zeros(problem.n_params)
            mini = minibatch_sharpness(problem, theta, sampling).value
            top = mean_square_sharpness(problem, theta, sampling)
            if (top < 0.97 * mini) != necessary or (top > 1.03 * mini) == necessary:
                continue
            eta = 2 / np.sqrt(mini * top)
            radius = second_moment_radius(problem, theta, sampling, eta)
            found = radius < 1 if necessary else radius > 1
            rows.append(
                {
                    "seed": seed,
                    "b": b,
                    "eta_minibs_over_2": eta * mini / 2,
                    "exact_radius": radius,
                    "instance": found,
                }
            )
            if len(rows) == 5:
                break
        if len(rows) == 5:
            break
    good = bool(rows) and all(row["instance"] for row in rows)
    kind = "stable with (η/2)·MiniBS > 1" if necessary else "unstable with (η/2)·MiniBS < 1"
    first = (
        f", the first at {rows[0]['eta_minibs_over_2']:.3f} with spectral radius {rows[0]['exact_radius']:.4f}"
        if rows
        else ""
    )
    return Measurement("holds" if good else "refuted", f"{len(rows)} instances {kind}{first}", rows=rows)


@claim(
    id="almost-sure-edge/regression",
    states="Almost-sure stability is weaker than mean-square stability: its critical step size is larger.",
    source=MULAYOFF,
    source_predicts="larger",
    we_predict=Predicted.holds("larger"),
    method="Lyapunov exponent of the random product 2 % above 2/Q_b, whose 95 % interval must lie below 0",
    formula=r"\lim_{t\to\infty}\frac{1}{t}\log\left\|\prod_{s\le t}(I-\eta H_{B_s})\right\|<0\quad\mathrm{at}"
    r"\quad\eta=1.02\cdot\frac{2}{Q_b}",
    accepts=at_most(0),
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def almost_sure_edge_is_larger(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for seed, b in ((0, 1), (1, 2), (2, 4)) if not quick else ((0, 1), (1, 2)):
        problem, sampling = regression(seed), WithoutReplacement(b)
        theta = np.zeros(problem.n_params)
        mean_square = critical_step_size(problem, theta, sampling)
        sure = almost_sure_threshold(problem, theta, sampling, seed=seed)
        # Decided by the exponent itself just above the mean-square edge: the threshold is never put below that edge.
        exponent = lyapunov_exponent(problem, theta, sampling, 1.02 * mean_square, seed=seed)
        lower, upper = exponent.interval
        rows.append(
            {"b": b, "mean_square": mean_square, "almost_sure": sure.value, "lower": sure.lower, "upper": sure.upper,
             "exponent_2_percent_above": exponent.value, "exponent_lower": lower, "exponent_upper": upper}
        )  # fmt: skip
    worst = max(rows, key=lambda row: float(row["exponent_upper"]))
    verdict: Outcome = "holds" if float(worst["exponent_upper"]) < 0 else "inconclusive"
    if any(float(row["exponent_lower"]) > 0 for row in rows):
        verdict = "refuted"
    exponents = ", ".join(f"{float(row['exponent_2_percent_above']):.3f}" for row in rows)
    ratios = ", ".join(f"{float(row['almost_sure']) / float(row['mean_square']):.2f}" for row in rows)
    reason = (
        f"Lyapunov exponents 2 % above the mean-square edge: {exponents}; almost-sure over mean-square critical step "
        f"size: {ratios}"
    )
    interval = (float(worst["exponent_lower"]), float(worst["exponent_upper"]))
    return Measurement(verdict, reason, float(worst["exponent_2_percent_above"]), interval, None, rows)


NEVER_CHANGED = ("sharpness", "minibatch_sharpness", "mean_square_sharpness")


def past_every_edge() -> Experiment:
    """Every level passes 1 within the ramp, the sharpness's last; runs that diverge are followed as far as they go."""
    problem = regression(4)
    flattest = sharpness(problem, np.zeros(problem.n_params))
    return on_the_regression(
        4, start=1e-12, batch_size=2,
        dynamics={"step_size": {"from": 0.2 / flattest, "to": 2.2 / flattest}, "n_steps": 300, "seed": 3},
        records={"statistics": ["loss", *NEVER_CHANGED], "n_records": 101, "n_batches": 100},
    )  # fmt: skip


@claim(
    id="quadratic-cannot-settle/regression",
    states="On a quadratic no statistic of the Hessians alone can settle: λ_max, MiniBS and Q_b are constant in θ.",
    source=OURS,
    source_predicts=f"silent ({ANDREYEV_V3})",
    we_predict=Predicted.holds("none of the three moves while η crosses the edge"),
    method="a ramp along which (η/2)·λ_max, (η/2)·MiniBS and (η/2)·Q_b pass 1, all three recorded",
    experiment=lambda quick: past_every_edge(),
    formula=r"\nabla_\theta\,\lambda_{\max}(H)=\nabla_\theta\,M_b=\nabla_\theta\,Q_b=0",
    accepts=at_most(1e-12),
    about=("sharpness", "minibatch_sharpness", "mean_square_sharpness"),
    stated="2026-11-24",
)
def nothing_settles_on_a_quadratic(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    trace, names = past_every_edge().run(), NEVER_CHANGED
    for name in names:
        values = trace[name].values[0]
        values = values[np.isfinite(values)]
        level = values * trace["step_size"].values[: len(values)] / 2
        rows.append(
            {"statistic": name, "relative_change": float(np.ptp(values) / values.mean()), "level_first": level[0],
             "level_last": level[-1]}
        )  # fmt: skip
    worst = max(float(row["relative_change"]) for row in rows)
    passed = all(float(row["level_first"]) < 1 < float(row["level_last"]) for row in rows)
    lows, highs = ([float(row[end]) for row in rows] for end in ("level_first", "level_last"))
    reason = (
        f"largest relative change of any of the three along the run: {worst:.1g}, while (η/2)·statistic rises from "
        f"{min(lows):.2f}–{max(lows):.2f} to {min(highs):.2f}–{max(highs):.2f}"
    )
    verdict: Outcome = "refuted" if worst > 1e-12 else "holds" if passed else "inconclusive"
    return Measurement(verdict, reason, worst, (worst, worst), None, rows)


@claim(
    id="quadratic-cannot-settle/energy-balance",
    states="A ratio of gradients needs no edge: stationary SGD on a quadratic has E[g_BᵀHg_B]/E‖g‖² = 2/η, any stable "
    "η.",
    source=OURS,
    source_predicts=f"silent ({ANDREYEV_V3})",
    we_predict=Predicted.holds("1 at every stable step size: the mean loss neither rises nor falls"),
    method="regression with noisy targets at 0.1 to 0.9 of the critical step size, the stationary covariance by "
    "enumeration of every batch",
    tolerance=1e-10,
    formula=r"\frac{\mathbb{E}[g_B^{\top}Hg_B]}{\mathbb{E}\|g\|^2}=\frac{2}{\eta}",
    accepts=around(1, 1e-10),
    about=("gradient_noise_interaction",),
    stated="2026-11-24",
)
def energy_balance_of_stationary_sgd(*, quick: bool) -> Measurement:
    """GNI of stationary SGD, exact: every batch enumerated, no moment identity."""
    rows: list[Row] = []
    sampling = WithoutReplacement(2)
    table = data.gaussian(12, 3, seed=4, noise=0.5)
    problem = LinearRegression(table.inputs, table.targets)
    minimum = np.asarray(np.linalg.lstsq(table.inputs, table.targets, rcond=None)[0], dtype=np.float64)
    critical = critical_step_size(problem, minimum, sampling)
    ((batches, _),) = sampling.enumerate(problem.n_samples)
    hessians, noises = problem.hessian(minimum, batches), problem.gradient(minimum, batches)
    full = problem.hessian(minimum)
    for factor in (0.1, 0.3, 0.6, 0.9):
        eta = factor * critical
        # e ← (I − ηH_B)e − ηξ_B is stationary where Σ = E[(I − ηH_B)Σ(I − ηH_B)] + η²E[ξ_Bξ_Bᵀ].
        source = eta**2 * np.einsum("bi,bj->ij", noises, noises).ravel() / len(batches)
        operator = second_moment_operator(problem, minimum, sampling, eta)
        covariance = np.linalg.solve(np.eye(len(operator)) - operator, source).reshape(full.shape)
        squared = float(np.trace(full @ covariance @ full))
        spread = (
            np.einsum("bij,jk,bkl->il", hessians, covariance, hessians) / len(batches)
            + source.reshape(full.shape) / eta**2
        )
        level = eta / 2 * float(np.trace(full @ spread)) / squared
        rows.append({"eta_over_critical": factor, "level": level})
    worst = max((float(row["level"]) for row in rows), key=lambda level: abs(level - 1))
    reason = (
        f"(η/2)·E[g_BᵀHg_B]/E‖g‖² differs from 1 by {abs(worst - 1):.1g}, η from 0.1 to 0.9 of the critical step size"
    )
    verdict: Outcome = "holds" if abs(worst - 1) < 1e-10 else "refuted"
    return Measurement(verdict, reason, worst, (worst, worst), None, rows)
