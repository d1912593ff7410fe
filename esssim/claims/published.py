"""Claims about published edges: each against the exact mean-square critical step size, and which is closest where."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.claims.model import Claim, Expectation, Measurement, Registry, Row
from esssim.claims.sources import (
    BATCH_SHARPNESS,
    COHEN,
    INTERACTION_AWARE,
    MEAN_SQUARE,
    MINIBS,
    MOMENTUM,
    NOISE_KERNEL,
    OURS,
    SELF_STABILISATION,
)
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem
from esssim.sampling import Sampling, WithoutReplacement, WithReplacement
from esssim.stability import (
    critical_step_size,
    heavy_ball_ends,
    interaction_aware_step_size,
    noise_kernel_step_size,
    self_stabilisation,
)
from esssim.statistics import (
    ENUMERATION_LIMIT,
    batch_sharpness,
    mean_square_sharpness,
    minibatch_sharpness,
    sharpness,
)

CLOSE = 0.05
BATCH_SIZES = (1, 4, 16, 64)
# Points drawn around the minimiser for the edges that depend on the gradient, and batches where not all are enumerated.
N_POINTS, N_BATCHES = 8, 400
# Published edges as step sizes: name in the table and source.
EDGES = {
    "gradient descent": COHEN,
    "MiniBS": MINIBS,
    "batch sharpness": BATCH_SHARPNESS,
    "batch sharpness, ratio of means": BATCH_SHARPNESS,
    "interaction-aware": INTERACTION_AWARE,
    "noise kernel, diagonal": NOISE_KERNEL,
    "noise kernel, high-dimensional": NOISE_KERNEL,
    "noise kernel, trace": NOISE_KERNEL,
}


def ensembles(quick: bool) -> dict[str, data.Data]:
    """The tables on which the edges are compared."""
    n, d = (40, 20) if quick else (100, 50)
    tables = {
        f"gaussian-{n}x{d}": data.gaussian(n, d, seed=31),
        f"gaussian-{d}x{n}": data.gaussian(d, n, seed=32),
        f"spiked-{n}x{d}": data.spiked(n, d, seed=33, spike=20.0),
    }
    if not quick:
        tables[f"two-clusters-{n}x{d}"] = data.two_clusters(n, d, seed=34)
        tables[f"power-law-{n}x{d}"] = data.power_law(n, d, seed=35)
        tables["diabetes"] = data.load("diabetes")
    return tables


def interpolating(table: data.Data) -> LinearRegression:
    """The regression with targets zero: minimiser zero, without noise."""
    return LinearRegression(table.inputs, np.zeros(len(table.targets)))


def published_step_sizes(problem: Problem, sampling: Sampling, seed: int) -> dict[str, float]:
    """Every edge of `EDGES` as a critical step size; those that depend on the gradient averaged over N(0, I) points."""
    origin = np.zeros(problem.n_params)
    points = np.random.default_rng(seed).normal(size=(N_POINTS, problem.n_params))
    n_batches = None if sampling.count(problem.n_samples) <= ENUMERATION_LIMIT // N_POINTS else N_BATCHES

    def at_points(statistic: Callable[[FloatArray], float]) -> float:
        return float(np.mean([statistic(point) for point in points]))

    def ratios(point: FloatArray) -> float:
        return batch_sharpness(problem, point, sampling, n_batches=n_batches, seed=seed).value

    def parts(point: FloatArray) -> float:
        return batch_sharpness(problem, point, sampling, average="parts", n_batches=n_batches, seed=seed).value

    return {
        "gradient descent": 2 / sharpness(problem, origin),
        "MiniBS": 2 / minibatch_sharpness(problem, origin, sampling, n_batches=n_batches, seed=seed).value,
        "batch sharpness": 2 / at_points(ratios),
        "batch sharpness, ratio of means": 2 / at_points(parts),
        "interaction-aware": 2 / at_points(lambda point: 2 / interaction_aware_step_size(problem, point, sampling)),
        "noise kernel, diagonal": noise_kernel_step_size(problem, origin, sampling),
        "noise kernel, high-dimensional": noise_kernel_step_size(
            problem, origin, sampling, approximation="high_dimensional"
        ),
        "noise kernel, trace": noise_kernel_step_size(problem, origin, sampling, approximation="trace"),
    }


@cache
def closest_table(quick: bool) -> list[Row]:
    """Published over exact critical step size, by ensemble and batch size; and the name of the closest."""
    rows: list[Row] = []
    for name, table in ensembles(quick).items():
        problem = interpolating(table)
        n = problem.n_samples
        sizes = [b for b in ((1, 8) if quick else BATCH_SIZES) if b < n]
        for b in (*sizes, n):
            sampling = WithoutReplacement(b)
            exact = critical_step_size(problem, np.zeros(problem.n_params), sampling)
            ratios = {edge: step / exact for edge, step in published_step_sizes(problem, sampling, seed=b).items()}
            distances = {edge: abs(float(np.log(ratio))) for edge, ratio in ratios.items()}
            closest = "several (b = n)" if b == n else min(distances, key=lambda edge: distances[edge])
            rows.append({"ensemble": name, "b": b, "critical_step_size": exact, **ratios, "closest": closest})
    return rows


def _closest(quick: bool) -> Measurement:
    rows = closest_table(quick)
    stochastic = [row for row in rows if row["closest"] != "several (b = n)"]
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


def _is_the_edge(edge: str) -> Callable[[bool], Measurement]:
    """Whether one published edge is within 5 % of the exact one everywhere."""

    def measure(quick: bool) -> Measurement:
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
        reason = f"within 5 % of the exact critical step size in {within} of {len(rows)} cases; the farthest is {worst:.2f} times it"
        return Measurement("holds" if within == len(rows) else "refuted", reason, worst, (worst, worst), None, rows)

    return measure


def _descent(quick: bool) -> Measurement:
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


def _at_the_critical_covariance(quick: bool) -> Measurement:
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


def _never_below(quick: bool) -> Measurement:
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


def _heavy_ball_ends(quick: bool) -> Measurement:
    rows = heavy_ball_table(quick)
    small, large = ([float(row[edge]) for row in rows] for edge in ("small-batch end", "large-batch end"))
    inside = max(small) <= 1 + 1e-9 and min(large) >= 1 - 1e-9
    reason = f"{len(rows)} cases: 2(1−β)/Q_b is {min(small):.2f} to {max(small):.2f} times the exact critical step size, 2(1+β)/Q_b {min(large):.2f} to {max(large):.2f}"
    return Measurement("holds" if inside else "refuted", reason, None, None, None, rows)


def _heavy_ball_closest(quick: bool) -> Measurement:
    rows = heavy_ball_table(quick)
    wins = {str(row["closest"]): sum(other["closest"] == row["closest"] for other in rows) for row in rows}
    between = [float(row["formula of one dimension"]) for row in rows]
    always = wins.get("formula of one dimension", 0) == len(rows)
    counts = ", ".join(f"{edge} {count}" for edge, count in sorted(wins.items(), key=lambda item: -item[1]))
    reason = f"closest in {len(rows)} cases: {counts}; the formula of one dimension is {min(between):.2f} to {max(between):.2f} times the exact one"
    return Measurement("holds" if always else "refuted", reason, max(between), (max(between), max(between)), None, rows)


def rising_point(seed: int) -> tuple[DiagonalLinearNetwork, FloatArray]:
    """A diagonal network in training: where gradient descent from a small start has a loss of 0.3 of the first one."""
    table = data.gaussian(40, 20, seed=seed)
    problem = DiagonalLinearNetwork(table.inputs, table.targets)
    theta = np.concatenate((np.full(20, 0.5), np.zeros(20)))
    goal = 0.3 * float(problem.loss(theta))
    while float(problem.loss(theta)) > goal:
        theta = theta - 0.002 * problem.gradient(theta)
    return problem, theta


def _self_stabilisation_closest(quick: bool) -> Measurement:
    """The step size at which the present sharpness is the equilibrium, against 2/Q_b of the Gauss–Newton Hessians."""
    rows: list[Row] = []
    for seed in range(41, 43 if quick else 47):
        problem, theta = rising_point(seed)
        for b in (1, 4, 16):
            sampling = WithoutReplacement(b)
            exact = 2 / mean_square_sharpness(problem, theta, sampling, hessian="gauss_newton")
            try:
                found = self_stabilisation(problem, theta, sampling, exact)
            except ValueError:  # the sharpness falls there, and the formula does not apply
                continue
            rows.append(
                {"seed": seed, "b": b, "critical_step_size": exact, "self-stabilisation": found.step_size / exact,
                 "gradient descent": 2 / found.sharpness / exact, "gap_over_edge": found.gap * exact / 2,
                 "gap_over_eta_alpha": found.gap / (exact * found.sharpening_rate)}
            )  # fmt: skip
    ratios = [float(row["self-stabilisation"]) for row in rows]
    plain = [float(row["gradient descent"]) for row in rows]
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)))
    nearer = sum(abs(np.log(one)) < abs(np.log(other)) for one, other in zip(ratios, plain, strict=True))
    reason = (
        f"{min(ratios):.2f} to {max(ratios):.2f} times the mean-square critical step size (2/λ_max: {min(plain):.2f} to "
        f"{max(plain):.2f}), closer than 2/λ_max in {nearer} of {len(rows)}; gap/ηα is "
        f"{min(float(row['gap_over_eta_alpha']) for row in rows):.1g} to {max(float(row['gap_over_eta_alpha']) for row in rows):.1g}"
    )
    good = all(abs(ratio - 1) <= CLOSE for ratio in ratios)
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)


def self_stabilising_gap(noise: float, sharpening: float, n_steps: int, seed: int) -> tuple[float, float, float]:
    """Mean gap of the dynamics of self-stabilisation over its closed form, its standard error, and what the identity says.

    δ = −ηy and ξ = x√(β/2α): ξ ← −(1−δ)ξ + sz, δ ← δ + κ(ξ² − 1); noise s² = η²βσ_u²/(2α), sharpening κ = η²α.
    """
    rng, n_replicas = np.random.default_rng(seed), 400
    gap, displacement = np.full(n_replicas, noise / 2), rng.normal(size=n_replicas)
    total, correction = np.zeros(n_replicas), np.zeros(n_replicas)
    burn_in = n_steps // 4
    for step in range(n_steps):
        square = displacement**2
        if step >= burn_in:
            total += gap
            correction += gap**2 * square / 2 + sharpening * (square - 1) ** 2 / 2
        displacement = -(1 - gap) * displacement + np.sqrt(noise) * rng.normal(size=n_replicas)
        gap = gap + sharpening * (square - 1)
    scale = (n_steps - burn_in) * noise / 2
    error = float(total.std(ddof=1)) / np.sqrt(n_replicas) / scale
    return float(total.mean()) / scale, error, 1 + float(correction.mean()) / scale


def _self_stabilisation(strong: bool) -> Callable[[bool], Measurement]:
    def measure(quick: bool) -> Measurement:
        rows: list[Row] = []
        for noise, ratio in ((0.02, 0.002), (0.01, 0.005)) if strong else ((0.02, 0.1), (0.02, 0.5)):
            value, error, identity = self_stabilising_gap(noise, ratio * noise, 10_000 if quick else 80_000, seed=3)
            rows.append(
                {"eta_gap_predicted": noise / 2, "eta_alpha_over_gap": 2 * ratio, "gap_over_formula": value,
                 "standard_error": error, "identity_over_formula": identity}
            )  # fmt: skip
        values, errors = (np.array([float(row[key]) for row in rows]) for key in ("gap_over_formula", "standard_error"))
        farthest = int(np.argmax(np.abs(values - 1)))
        interval = (
            float(values[farthest] - 1.96 * errors[farthest]),
            float(values[farthest] + 1.96 * errors[farthest]),
        )
        reason = "mean gap over ηβσ_u²/(4α): " + ", ".join(
            f"{row['gap_over_formula']:.3f} ± {row['standard_error']:.3f} (identity {row['identity_over_formula']:.3f})"
            for row in rows
        )
        if (np.abs(values - 1) + 1.96 * errors <= CLOSE).all():
            verdict = "holds"
        else:
            verdict = "refuted" if (np.abs(values - 1) - 1.96 * errors > CLOSE).any() else "inconclusive"
        return Measurement(verdict, reason, float(values[farthest]), interval, None, rows)  # type: ignore[arg-type]

    return measure


def _self_stabilisation_bound(quick: bool) -> Measurement:
    rows: list[Row] = []
    for noise, ratio in ((0.02, 0.005), (0.02, 0.05), (0.02, 0.3), (0.1, 0.02)):
        value, error, identity = self_stabilising_gap(noise, ratio * noise, 10_000 if quick else 60_000, seed=5)
        rows.append(
            {"eta_gap_predicted": noise / 2, "eta_alpha_over_gap": 2 * ratio, "gap_over_formula": value,
             "standard_error": error, "identity_over_formula": identity}
        )  # fmt: skip
    scores = [
        (float(r["gap_over_formula"]) - float(r["identity_over_formula"])) / float(r["standard_error"]) for r in rows
    ]
    lowest = min(float(r["gap_over_formula"]) + 1.96 * float(r["standard_error"]) for r in rows)
    good = max(map(abs, scores)) < 4 and lowest > 1
    reason = f"the identity is met within {max(map(abs, scores)):.1f} standard errors; mean gap over closed form at least {lowest:.3f}"
    return Measurement("holds" if good else "refuted", reason, lowest, (lowest, lowest), None, rows)


def register(registry: Registry) -> None:
    """Add the claims of this module."""

    def add(
        name: str, statement: str, source: str, predicts: str, we: str, expected: Expectation, method: str,
        tolerance: float | None, measure: Callable[[bool], Measurement], in_quick: bool = True,
    ) -> None:  # fmt: skip
        registry.add(Claim(name, statement, source, predicts, we, expected, method, tolerance, measure, in_quick))

    table = (
        "regressions on six ensembles, b = 1, 4, 16, 64 and n: published over exact mean-square critical step size; edges that "
        "depend on the gradient averaged over 8 points drawn from N(θ*, I)"
    )
    add(
        "who-is-closest/published-edges",
        "One published edge is the closest to the mean-square edge in every ensemble and at every batch size.",
        f"{OURS}, comparing {COHEN}; {MINIBS}; {BATCH_SHARPNESS}; {INTERACTION_AWARE}; {NOISE_KERNEL}; {MEAN_SQUARE}",
        "each its own", "no prediction", "open", table, None, _closest,
    )  # fmt: skip
    for edge, name in (
        ("interaction-aware", "interaction-aware-edge/is-the-edge"),
        ("noise kernel, diagonal", "noise-kernel/diagonal"),
        ("noise kernel, high-dimensional", "noise-kernel/high-dimensional"),
        ("noise kernel, trace", "noise-kernel/trace"),
    ):
        add(
            name,
            f"SGD is mean-square stable exactly below the edge of {EDGES[edge].split(',')[0]} ({edge}), within 5 %.",
            EDGES[edge], "the edge", "no prediction", "open", table, CLOSE, _is_the_edge(edge), False,
        )  # fmt: skip
    add(
        "interaction-aware-edge/descent",
        "The expected loss of a quadratic falls in one step exactly for η < 2‖g‖²/tr(H G_b), the interaction-aware edge.",
        INTERACTION_AWARE, "exact", "exact", "holds", "every batch enumerated, at 0.99, 1 and 1.01 of it", 1e-12, _descent,
    )  # fmt: skip
    add(
        "interaction-aware-edge/at-the-mean-square-edge",
        "Averaged over the covariance that the mean-square edge leaves undamped, E tr(H G_b)/E‖g‖² is Q_b.",
        OURS, f"silent ({INTERACTION_AWARE})", "exact", "holds", "critical covariance from the enumerated operator", 1e-9,
        _at_the_critical_covariance,
    )  # fmt: skip
    add(
        "noise-kernel/never-below",
        "The diagonal noise kernel norm reaches 1 never below the mean-square edge.",
        OURS, f"silent ({NOISE_KERNEL})", "holds: a restriction of a self-adjoint operator", "holds", table, None, _never_below,
    )  # fmt: skip
    add(
        "heavy-ball-ends/between",
        "The critical step size of heavy ball lies between 2(1−β)/Q_b and 2(1+β)/Q_b.",
        MOMENTUM, "one end for small batches, the other for large", "between", "holds",
        "exact critical step sizes on the same ensembles, b = 1, 8, 32, n, β = 0.5, 0.9", None, _heavy_ball_ends,
    )  # fmt: skip
    add(
        "who-is-closest/heavy-ball",
        "In many dimensions the formula of one, with a = λ_max and s²/a = Q_b − λ_max, is closer than both ends of heavy ball.",
        f"{OURS}, comparing {MOMENTUM}", "silent", "no prediction", "open",
        "exact critical step sizes on the same ensembles, b = 1, 8, 32, n, β = 0.5, 0.9", None, _heavy_ball_closest,
    )  # fmt: skip
    add(
        "who-is-closest/self-stabilisation",
        "On a network in training, the step size of self-stabilisation is the mean-square critical one within 5 %.",
        SELF_STABILISATION, "silent", "no prediction", "open",
        "diagonal networks at 0.3 of their first loss, b = 1, 4, 16: 4/(S + √(S² + 2βσ_u²/α)) over 2/Q_b (Gauss–Newton)",
        CLOSE, _self_stabilisation_closest,
    )  # fmt: skip
    dynamics = "400 replicas of x ← −(1+ηy)x + ησ_u z, y ← y + η(α − ½βx²), time and ensemble mean of the gap"
    add(
        "self-stabilisation/large-gap",
        "Where the gap is above 100ηα the dynamics of self-stabilisation hold it at ηβσ_u²/(4α), within 5 %.",
        SELF_STABILISATION, "ηβσ_u²/(4α)", "within 5 %", "holds", dynamics, CLOSE, _self_stabilisation(True),
    )  # fmt: skip
    add(
        "self-stabilisation/small-gap",
        "Where the gap is near ηα the dynamics of self-stabilisation hold it at ηβσ_u²/(4α), within 5 %.",
        SELF_STABILISATION, "ηβσ_u²/(4α)", "refuted: larger by ½ηα·Var(ξ²)", "refuted", dynamics, CLOSE,
        _self_stabilisation(False),
    )  # fmt: skip
    add(
        "self-stabilisation/lower-bound",
        "The mean gap is ηβσ_u²/(4α) + (½E[δ²ξ²] + ½κE(ξ²−1)²)/η, δ = −ηy, ξ² = βx²/(2α), κ = η²α: never below the closed form.",
        OURS, f"equality with the first term ({SELF_STABILISATION})", "holds", "holds", dynamics, None,
        _self_stabilisation_bound,
    )  # fmt: skip
