"""Claims about momentum: heavy ball and Nesterov at both ends of the batch size, and in one dimension."""

from __future__ import annotations

import numpy as np

from esssim import data
from esssim.claims.model import Claim, Expectation, Measure, Measurement, Registry, Row
from esssim.claims.sources import COHEN, MOMENTUM, OURS
from esssim.claims.thresholds import regression, second_moment_radius
from esssim.problems import LinearRegression, Quadratic
from esssim.sampling import WithoutReplacement
from esssim.simulation import simulate
from esssim.stability import critical_step_size, edge, small_batch_edge
from esssim.statistics import mean_square_sharpness, sharpness

MOMENTA = (0.5, 0.9, 0.99)


def _full_batch_momentum(nesterov: bool) -> Measure:
    def measure(quick: bool) -> Measurement:
        rows: list[Row] = []
        for momentum in (0.0, 0.5, 0.9):
            problem = regression(3)
            n = problem.n_samples
            # Gradient descent at a sharpness of (1 ∓ 0.5 %) of the edge; the loss of the top mode decides.
            for factor in (0.995, 1.005):
                top = sharpness(problem, np.zeros(problem.n_params))
                eta = factor * edge(1.0, momentum=momentum, nesterov=nesterov) / top
                trace = simulate(
                    problem, np.ones(problem.n_params), step_size=eta, sampling=WithoutReplacement(n), n_steps=20_000,
                    momentum=momentum, nesterov=nesterov, record=("loss",), record_steps=[10_000, 20_000], seed=0,
                )  # fmt: skip
                diverged = int(trace["diverged_at"][0]) >= 0
                loss = trace["loss"].values[0]
                grows = diverged or loss[1] > loss[0]
                rows.append(
                    {
                        "momentum": momentum,
                        "sharpness_over_edge": factor,
                        "grows": grows,
                        "right": grows == (factor > 1),
                    }
                )
        good = all(row["right"] for row in rows)
        return Measurement(
            "holds" if good else "refuted",
            "gradient descent shrinks 0.5 % below the edge and grows 0.5 % above, β = 0, 0.5, 0.9",
            rows=rows,
        )

    return measure


def _small_batch_momentum(batch_size: int) -> Measure:
    def measure(quick: bool) -> Measurement:
        rows: list[Row] = []
        table = data.gaussian(100, 50, seed=1)
        problem, theta = LinearRegression(table.inputs, table.targets), np.zeros(50)
        sampling = WithoutReplacement(batch_size)
        top = mean_square_sharpness(problem, theta, sampling)
        for momentum in MOMENTA:
            eta = critical_step_size(problem, theta, sampling, momentum=momentum)
            ratio = top / small_batch_edge(eta, momentum=momentum)
            rows.append({"momentum": momentum, "b": batch_size, "critical_step_size": eta, "ratio": ratio})
        worst = max((float(row["ratio"]) for row in rows), key=lambda ratio: abs(ratio - 1))
        listed = ", ".join(f"{float(row['ratio']):.3f}" for row in rows)
        reason = f"Q_b over 2(1−β)/η at the exact critical step size: {listed} at β = 0.5, 0.9, 0.99"
        good = abs(worst - 1) <= 0.05
        return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)

    return measure


def _one_dimension(quick: bool) -> Measurement:
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


def register(registry: Registry) -> None:
    """Add the claims of this module."""

    def add(
        name: str,
        statement: str,
        source: str,
        predicts: str,
        we: str,
        method: str,
        measure: Measure,
        tolerance: float | None = None,
        expected: Expectation = "holds",
    ) -> None:
        registry.add(Claim(name, statement, source, predicts, we, expected, method, tolerance, measure))

    add(
        "momentum-edge/full-batch-heavy-ball",
        "Full-batch heavy ball is stable up to a sharpness of 2(1+β)/η.",
        COHEN,
        "2(1+β)/η",
        "2(1+β)/η",
        "20,000 steps at 0.995 and 1.005 of the edge",
        _full_batch_momentum(False),
    )
    add(
        "momentum-edge/full-batch-nesterov",
        "Full-batch Nesterov is stable up to a sharpness of 2(1+β)/(η(1+2β)).",
        COHEN,
        "2(1+β)/(η(1+2β))",
        "2(1+β)/(η(1+2β))",
        "20,000 steps at 0.995 and 1.005 of the edge",
        _full_batch_momentum(True),
    )
    for b in (1, 4, 16):
        add(
            f"momentum-edge/small-batch-heavy-ball/b={b}",
            f"Small-batch heavy ball is stable up to a mean-square sharpness of 2(1−β)/η (regression, n = 100, d = 50, "
            f"b = {b}).",
            MOMENTUM,
            "2(1−β)/η at small b (there for batch sharpness; the form with Q_b is ours)",
            "2(1−β)/η within 5 %" if b == 1 else "no prediction: how small b must be was not known",
            f"exact critical step size at b = {b}, β = 0.5, 0.9, 0.99",
            _small_batch_momentum(b),
            0.05,
            "holds" if b == 1 else "open",
        )
    add(
        "momentum-edge/one-dimension",
        "In one dimension heavy ball is stable up to 1/η = a/(2(1+β)) + s²/(2a(1−β)), a = E h_B, s² = Var h_B.",
        OURS,
        f"between the ends of {MOMENTUM}",
        "exact",
        "exact second-moment operator by enumeration, ∓0.01 % around the formula",
        _one_dimension,
        1e-9,
    )
