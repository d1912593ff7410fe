"""Claims about stability thresholds, where the Hessian is constant: exact operators and ensembles on both sides."""

from __future__ import annotations

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.claims.model import Claim, Measure, Measurement, Outcome, Registry, Row
from esssim.claims.sources import BATCH_SHARPNESS, COHEN, MEAN_SQUARE, MINIBS, MOMENTUM, OURS
from esssim.problems import LinearRegression, Problem, Quadratic
from esssim.sampling import Sampling, WithoutReplacement
from esssim.simulation import Ramp, simulate
from esssim.stability import almost_sure_threshold, critical_step_size, edge, small_batch_edge
from esssim.statistics import mean_square_sharpness, minibatch_sharpness, sharpness


def second_moment_radius(
    problem: Problem, theta: FloatArray, sampling: Sampling, eta: float, momentum: float = 0.0
) -> float:
    """ρ(E[T_B⊗T_B]) by enumeration of every batch: no moment identity, no structure."""
    p, eye = problem.n_params, np.eye(problem.n_params)
    total = np.zeros(((2 * p) ** 2, (2 * p) ** 2)) if momentum else np.zeros((p * p, p * p))
    for batches, weights in sampling.enumerate(problem.n_samples):
        for hessian, weight in zip(problem.hessian(theta, batches), weights, strict=True):
            step = eye - eta * hessian
            if momentum:
                step = np.block([[step, -eta * momentum * eye], [hessian, momentum * eye]])
            total += weight * np.kron(step, step)
    return float(np.abs(np.linalg.eigvals(total)).max())


def second_moment_operator(problem: Problem, theta: FloatArray, sampling: Sampling, eta: float) -> FloatArray:
    """E[(I−ηH_B)⊗(I−ηH_B)] by enumeration, (p², p²)."""
    eye = np.eye(problem.n_params)
    total = np.zeros((problem.n_params**2,) * 2)
    for batches, weights in sampling.enumerate(problem.n_samples):
        for hessian, weight in zip(problem.hessian(theta, batches), weights, strict=True):
            total += weight * np.kron(eye - eta * hessian, eye - eta * hessian)
    return total


def growth_rate(
    problem: LinearRegression, sampling: Sampling, eta: float, n_replicas: int, seed: int
) -> tuple[float, float]:
    """log growth per step of the mean loss of an ensemble, and its standard error.

    The mean square of a random product is soon carried by rare runs that no ensemble holds. So the ensemble starts from
    the covariance that the second-moment operator only stretches, where the growth is the same at every step, and takes
    few.
    """
    p, n_steps = problem.n_params, 4
    operator = second_moment_operator(problem, np.zeros(p), sampling, eta)
    _, vectors = np.linalg.eigh((operator + operator.T) / 2)
    root_values, root = np.linalg.eigh(vectors[:, -1].reshape(p, p) * np.sign(vectors[:: p + 1, -1].sum()))
    normals = np.random.default_rng(seed).normal(size=(n_replicas, p))
    starts = (normals * np.sqrt(np.maximum(root_values, 0.0))) @ root.T
    trace = simulate(
        problem, starts, step_size=eta, sampling=sampling, n_steps=n_steps, n_replicas=n_replicas,
        record=("loss",), record_steps=[0, n_steps], seed=seed,
    )  # fmt: skip
    first, last = trace["loss"].values.T
    ratio = last.mean() / first.mean()
    # Delta method for a ratio of means over the same replicas.
    error = (last - ratio * first).std(ddof=1) / first.mean() / np.sqrt(n_replicas)
    return float(np.log(ratio)) / n_steps, float(error / ratio) / n_steps


def _regression(seed: int, n: int = 12, d: int = 3) -> LinearRegression:
    table = data.gaussian(n, d, seed=seed)
    return LinearRegression(table.inputs, np.zeros(n))


def _mean_square_edge(quick: bool) -> Measurement:
    rows: list[Row] = []
    right, clear = True, True
    for seed, b in ((0, 1), (1, 2), (2, 4)):
        problem, sampling = _regression(seed), WithoutReplacement(b)
        theta = np.zeros(problem.n_params)
        critical = 2 / mean_square_sharpness(problem, theta, sampling)
        for side in (-1, 1):
            rate, error = growth_rate(problem, sampling, (1 + 0.2 * side) * critical, 2000 if quick else 8000, seed)
            just = second_moment_radius(problem, theta, sampling, (1 + 0.001 * side) * critical)
            exact = second_moment_radius(problem, theta, sampling, (1 + 0.2 * side) * critical)
            clear &= abs(rate) > 2.6 * error
            right &= np.sign(rate) == side == np.sign(just - 1)
            rows.append(
                {"b": b, "eta_Q_over_2": 1 + 0.2 * side, "growth_rate": rate, "standard_error": error,
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


def _minibs_not(necessary: bool) -> Measure:
    """Instances: stable although MiniBS > 2/η (not necessary), or unstable although MiniBS < 2/η (not sufficient)."""

    def measure(quick: bool) -> Measurement:
        rows: list[Row] = []
        for seed in range(40):
            for b in (1, 2, 3):
                problem, sampling = _regression(seed, n=8, d=6), WithoutReplacement(b)
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

    return measure


def _almost_sure(quick: bool) -> Measurement:
    rows: list[Row] = []
    for seed, b in ((0, 1), (1, 2), (2, 4)) if not quick else ((0, 1), (1, 2)):
        problem, sampling = _regression(seed), WithoutReplacement(b)
        theta = np.zeros(problem.n_params)
        mean_square = critical_step_size(problem, theta, sampling)
        sure = almost_sure_threshold(problem, theta, sampling, seed=seed)
        rows.append(
            {"b": b, "mean_square": mean_square, "almost_sure": sure.value, "lower": sure.lower, "upper": sure.upper,
             "ratio_lower": sure.lower / mean_square}
        )  # fmt: skip
    lowest = min(float(row["ratio_lower"]) for row in rows)
    values = [float(row["almost_sure"]) / float(row["mean_square"]) for row in rows]
    reason = f"almost-sure over mean-square critical step size: {', '.join(f'{value:.2f}' for value in values)}"
    verdict: Outcome = "holds" if lowest > 1 else "inconclusive"
    if any(float(row["upper"]) < float(row["mean_square"]) for row in rows):
        verdict = "refuted"
    return Measurement(
        verdict,
        reason,
        min(values),
        (lowest, max(float(r["upper"]) / float(r["mean_square"]) for r in rows)),
        None,
        rows,
    )


def _full_batch_momentum(nesterov: bool) -> Measure:
    def measure(quick: bool) -> Measurement:
        rows: list[Row] = []
        for momentum in (0.0, 0.5, 0.9):
            problem = _regression(3)
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


def _small_batch_momentum(quick: bool) -> Measurement:
    rows: list[Row] = []
    table = data.gaussian(100, 50, seed=1)
    problem, theta, sampling = LinearRegression(table.inputs, table.targets), np.zeros(50), WithoutReplacement(1)
    top = mean_square_sharpness(problem, theta, sampling)
    for momentum in (0.5, 0.9, 0.99):
        eta = critical_step_size(problem, theta, sampling, momentum=momentum)
        rows.append(
            {
                "momentum": momentum,
                "b": 1,
                "critical_step_size": eta,
                "ratio": top / small_batch_edge(eta, momentum=momentum),
            }
        )
    worst = max((float(row["ratio"]) for row in rows), key=lambda ratio: abs(ratio - 1))
    good = abs(worst - 1) <= 0.05
    reason = f"Q₁ over 2(1−β)/η at the exact critical step size is {worst:.4f} at worst, β = 0.5, 0.9, 0.99"
    return Measurement("holds" if good else "refuted", reason, worst, (worst, worst), None, rows)


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


def _nothing_settles(quick: bool) -> Measurement:
    rows: list[Row] = []
    problem, sampling = _regression(4), WithoutReplacement(2)
    critical = critical_step_size(problem, np.zeros(problem.n_params), sampling)
    names = ("sharpness", "minibatch_sharpness", "mean_square_sharpness")
    trace = simulate(
        problem, np.ones(problem.n_params), step_size=Ramp(0.5 * critical, 2 * critical), sampling=sampling,
        n_steps=2000, record=("loss", *names), n_records=41, seed=3,
    )  # fmt: skip
    for name in names:
        values = trace[name].values[np.isfinite(trace[name].values)]
        level = values * trace["step_size"].values[: len(values)] / 2
        rows.append(
            {
                "statistic": name,
                "relative_change": float(np.ptp(values) / values.mean()),
                "level_first": level[0],
                "level_last": level[-1],
            }
        )
    worst = max(float(row["relative_change"]) for row in rows)
    reason = (
        f"largest relative change of any statistic along the run: {worst:.1g}, while η·statistic rises through the edge"
    )
    return Measurement("holds" if worst <= 1e-12 else "refuted", reason, worst, (worst, worst), None, rows)


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
    ) -> None:
        registry.add(Claim(name, statement, source, predicts, we, "holds", method, tolerance, measure))

    add(
        "mean-square-edge/regression",
        "SGD on linear regression is mean-square stable exactly when ηQ_b < 2.",
        MEAN_SQUARE,
        "edge at ηQ_b = 2",
        "edge at ηQ_b = 2",
        "growth rates of an ensemble at ηQ_b/2 = 0.8 and 1.2, and the exact second-moment operator at ∓0.1 %",
        _mean_square_edge,
    )
    add(
        "minibs-and-stability/not-necessary",
        "MiniBS ≤ 2/η is not necessary for mean-square stability of SGD.",
        OURS,
        f"silent ({MINIBS})",
        "stable instances with MiniBS > 2/η exist",
        "spectral radius of the exact second-moment operator at η = 2/√(MiniBS·Q_b)",
        _minibs_not(True),
    )
    add(
        "minibs-and-stability/not-sufficient",
        "MiniBS ≤ 2/η is not sufficient for mean-square stability of SGD.",
        OURS,
        f"silent ({MINIBS})",
        "unstable instances with MiniBS < 2/η exist",
        "spectral radius of the exact second-moment operator at η = 2/√(MiniBS·Q_b)",
        _minibs_not(False),
    )
    add(
        "almost-sure-edge/regression",
        "Almost-sure stability is weaker than mean-square stability: its critical step size is larger.",
        MEAN_SQUARE,
        "larger",
        "larger",
        "step size where the Lyapunov exponent of the random product crosses 0, 95 % interval, against 2/Q_b",
        _almost_sure,
    )
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
    add(
        "momentum-edge/small-batch-heavy-ball",
        "Small-batch heavy ball is stable up to a mean-square sharpness of 2(1−β)/η.",
        MOMENTUM,
        "2(1−β)/η",
        "2(1−β)/η within 5 % at b = 1, n = 100, d = 50",
        "exact critical step size at b = 1, β = 0.5, 0.9, 0.99",
        _small_batch_momentum,
        0.05,
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
    add(
        "quadratic-cannot-settle/regression",
        "On a quadratic nothing can settle: every Hessian statistic is constant in θ.",
        OURS,
        f"silent ({BATCH_SHARPNESS})",
        "no statistic moves while η crosses the edge",
        "a ramp from half to twice the critical step size, statistics recorded along it",
        _nothing_settles,
    )
