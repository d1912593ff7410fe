"""Claims about the statistics themselves: exact, decided by enumeration of every batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Outcome, Predicted, Row, at_least, at_most
from esssim.claims.declare import claim
from esssim.experiments import Experiment
from esssim.papers import ANDREYEV_V1, ANDREYEV_V3, OURS
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, Quadratic
from esssim.sampling import WithoutReplacement, WithReplacement
from esssim.simulation import Ramp
from esssim.statistics import batch_sharpness, minibatch_sharpness, sharpness

ROUNDING = 1e-12
N = 8
ALWAYS = "holds always"
ZOO = "regressions, networks (product, depth 3) and indefinite quadratics"
EVERY = f"every batch of {N} samples enumerated, b = 1 to {N}, for {ZOO}"
UP_TO_FIVE = f"every batch of {N} samples enumerated, b = 1 to 5, for {ZOO}"


def zoo(quick: bool) -> Iterator[tuple[str, Problem, FloatArray]]:
    """(name, problem, theta): every kind of problem on three ensembles, on and off the solutions."""
    for seed in range(2 if quick else 6):
        rng = np.random.default_rng(seed)
        for table in (
            data.gaussian(N, 3, seed=seed, noise=0.3),
            data.spiked(N, 5, seed=seed, spike=20.0),
            data.two_clusters(N, 10, seed=seed, separation=3.0),
        ):
            d = table.n_features
            regression = LinearRegression(table.inputs, table.targets)
            yield f"regression/{table.name}/{seed}", regression, rng.normal(size=(d,))
            product = DiagonalLinearNetwork(table.inputs, table.targets)
            yield f"network/{table.name}/{seed}", product, rng.normal(size=(2 * d,))
            deep = DiagonalLinearNetwork(table.inputs, table.targets, form="difference", depth=3)
            yield f"depth 3/{table.name}/{seed}", deep, rng.normal(size=(2 * d,))
        raw = rng.normal(size=(N, 4, 4))
        yield (
            f"quadratic/{seed}",
            Quadratic(raw + raw.transpose(0, 2, 1), rng.normal(size=(N, 4))),
            rng.normal(size=(4,)),
        )


def _extreme(rows: list[Row], holds: bool, what: str, value: float) -> Measurement:
    """A verdict about the worst of many exact numbers."""
    reason = f"{what} {value:.3g} over {len(rows)} exactly enumerated cases"
    verdict: Outcome = "holds" if holds else "refuted"
    return Measurement(verdict, reason, value, (value, value), None, rows, {"cases": len(rows)})


@claim(
    id="minibs-at-least-sharpness/all-b",
    states="MiniBS is never below the sharpness: E_B λ_max(H_B) ≥ λ_max(H).",
    source=ANDREYEV_V1,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=EVERY,
    tolerance=ROUNDING,
    formula=r"\mathbb{E}_B\,\lambda_{\max}(H_B)\ \ge\ \lambda_{\max}(H)",
    accepts=at_least(-ROUNDING),
    about=("minibatch_sharpness", "sharpness"),
    stated="2026-11-24",
)
def minibs_at_least_sharpness(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        full, size = sharpness(problem, theta), np.abs(problem.hessian(theta)).max()
        for b in range(1, N + 1):
            value = minibatch_sharpness(problem, theta, WithoutReplacement(b)).value
            rows.append(
                {"problem": name, "b": b, "minibs": value, "sharpness": full, "relative_gap": (value - full) / size}
            )
    worst = min(float(row["relative_gap"]) for row in rows)
    return _extreme(rows, worst >= -ROUNDING, "smallest (MiniBS − λ_max)/max|H| is", worst)


@claim(
    id="minibs-at-least-sharpness/b=n",
    states="At b = n MiniBS is the sharpness: M_n = λ_max(H).",
    source=ANDREYEV_V1,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=EVERY,
    tolerance=ROUNDING,
    formula=r"M_n=\lambda_{\max}(H)",
    accepts=at_most(ROUNDING),
    about=("minibatch_sharpness", "sharpness"),
    stated="2026-11-24",
)
def minibs_of_the_full_batch(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        dense = float(np.linalg.eigvalsh(problem.hessian(theta))[-1])
        value = minibatch_sharpness(problem, theta, WithoutReplacement(N)).value
        rows.append({"problem": name, "minibs": value, "sharpness": dense, "relative_error": abs(value / dense - 1)})
    worst = max(float(row["relative_error"]) for row in rows)
    return _extreme(rows, worst <= ROUNDING, "largest |M_n/λ_max − 1| is", worst)


@claim(
    id="minibs-at-least-sharpness/b=1",
    states="At b = 1 MiniBS is the mean of the per-sample top eigenvalues: M₁ = (1/n) Σᵢ λ_max(Hᵢ).",
    source=ANDREYEV_V1,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=EVERY,
    tolerance=ROUNDING,
    formula=r"M_1=\frac{1}{n}\sum_{i=1}^{n}\lambda_{\max}(H_i)",
    accepts=at_most(ROUNDING),
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def minibs_of_single_samples(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        dense = float(np.linalg.eigvalsh(problem.sample_hessians(theta, np.arange(N)))[:, -1].mean())
        value = minibatch_sharpness(problem, theta, WithoutReplacement(1)).value
        rows.append({"problem": name, "minibs": value, "mean": dense, "relative_error": abs(value / dense - 1)})
    worst = max(float(row["relative_error"]) for row in rows)
    return _extreme(rows, worst <= ROUNDING, "largest |M₁/mean λ_max(Hᵢ) − 1| is", worst)


@claim(
    id="minibs-falls-with-b/both-schemes",
    states="MiniBS never rises with the batch size: M_{b+1} ≤ M_b, without and with replacement.",
    source=ANDREYEV_V1,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=UP_TO_FIVE,
    tolerance=ROUNDING,
    formula=r"M_{b+1}\ \le\ M_b",
    accepts=at_least(-ROUNDING),
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def minibs_falls_with_b(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        size = np.abs(problem.sample_hessians(theta, np.arange(N))).max()
        for scheme in (WithoutReplacement, WithReplacement):
            values = [minibatch_sharpness(problem, theta, scheme(b)).value for b in range(1, 6)]
            for b, drop in enumerate(-np.diff(values), start=1):
                rows.append({"problem": name, "scheme": scheme.__name__, "b": b, "relative_drop": float(drop) / size})
    worst = min(float(row["relative_drop"]) for row in rows)
    return _extreme(rows, worst >= -ROUNDING, "smallest (M_b − M_{b+1})/max|Hᵢ| is", worst)


@claim(
    id="minibs-falls-with-b/schemes",
    states="Without replacement MiniBS is at most what it is with replacement, at the same b.",
    source=OURS,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=UP_TO_FIVE,
    tolerance=ROUNDING,
    formula=r"M_b^{\mathrm{without}}\ \le\ M_b^{\mathrm{with}}",
    accepts=at_least(-ROUNDING),
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def minibs_of_both_schemes(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        size = np.abs(problem.sample_hessians(theta, np.arange(N))).max()
        for b in range(1, 6):
            without = minibatch_sharpness(problem, theta, WithoutReplacement(b)).value
            with_ = minibatch_sharpness(problem, theta, WithReplacement(b)).value
            rows.append(
                {"problem": name, "b": b, "wor": without, "wr": with_, "relative_excess": (with_ - without) / size}
            )
    worst = min(float(row["relative_excess"]) for row in rows)
    return _extreme(rows, worst >= -ROUNDING, "smallest (WR − WOR)/max|Hᵢ| is", worst)


@claim(
    id="batch-sharpness-at-most-minibs/ratios",
    states="Batch sharpness is at most MiniBS: E[g_BᵀH_Bg_B/‖g_B‖²] ≤ E_B λ_max(H_B).",
    source=ANDREYEV_V3,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method=EVERY,
    tolerance=ROUNDING,
    formula=r"\mathbb{E}\left[\frac{g_B^{\top}H_Bg_B}{\|g_B\|^2}\right]\ \le\ \mathbb{E}_B\,\lambda_{\max}(H_B)",
    accepts=at_least(-ROUNDING),
    about=("batch_sharpness", "minibatch_sharpness"),
    stated="2026-11-24",
)
def batch_sharpness_at_most_minibs(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for name, problem, theta in zoo(quick):
        size = np.abs(problem.sample_hessians(theta, np.arange(N))).max()
        for b in range(1, N + 1):
            mini = minibatch_sharpness(problem, theta, WithoutReplacement(b)).value
            batch = batch_sharpness(problem, theta, WithoutReplacement(b)).value
            rows.append(
                {"problem": name, "b": b, "minibs": mini, "batch_sharpness": batch, "slack": (mini - batch) / size}
            )
    worst = min(float(row["slack"]) for row in rows)
    return _extreme(rows, worst >= -ROUNDING, "smallest (MiniBS − batch sharpness)/max|Hᵢ| is", worst)


@claim(
    id="batch-sharpness-at-most-minibs/parts-can-exceed",
    states="The ratio of means E[g_BᵀH_Bg_B]/E‖g_B‖² can exceed MiniBS.",
    source=OURS,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method="one instance with two samples, enumerated",
    tolerance=ROUNDING,
    formula=r"\frac{\mathbb{E}[g_B^{\top}H_Bg_B]}{\mathbb{E}\|g_B\|^2}\ >\ \mathbb{E}_B\,\lambda_{\max}(H_B)",
    accepts=at_least(1),
    about=("batch_sharpness_parts", "minibatch_sharpness"),
    stated="2026-11-24",
)
def ratio_of_means_can_exceed_minibs(*, quick: bool) -> Measurement:
    # One flat and one steep sample: the steep one has nearly all of E‖g‖², and the ratio of means forgets the flat one.
    problem = LinearRegression([[1.0], [3.0]], [0.0, 0.0])
    theta, sampling = np.ones(1), WithoutReplacement(1)
    mini = minibatch_sharpness(problem, theta, sampling).value
    parts = batch_sharpness(problem, theta, sampling, average="ratio_of_means").value
    ratios = batch_sharpness(problem, theta, sampling).value
    row: Row = {"minibs": mini, "mean_of_ratios": ratios, "ratio_of_means": parts}
    excess = parts / mini
    reason = f"x = (1, 3), y = 0, θ = 1, b = 1: ratio of means {parts:.4g} > MiniBS {mini:.4g}"
    return Measurement("holds" if excess > 1 else "refuted", reason, excess, (excess, excess), None, [row])


def seeds(quick: bool) -> range:
    return range(3 if quick else 10)


def on_a_ramp(seed: int) -> Experiment:
    """200 steps of a diagonal network, every one recorded."""
    return Experiment(
        problem={"kind": "diagonal_linear_network"},
        data={"kind": "gaussian", "n_samples": 20, "n_features": 6, "seed": seed},
        start={"kind": "random", "seed": seed},
        sampling={"batch_size": 3},
        dynamics={"step_size": {"from": 0.005, "to": 0.02}, "n_steps": 200, "seed": seed},
        records={"statistics": ["theta"], "n_records": 201},
    )


@claim(
    id="imbalance/product-form",
    states="In the product form the imbalance m = u² − v² shrinks by exactly 1 − η²s_k² each step, s = X_Bᵀr_B/b.",
    source=OURS,
    source_predicts=ALWAYS,
    we_predict=Predicted.holds(ALWAYS),
    method="each of 200 steps of SGD on a ramp, ten seeds; s = X_Bᵀr_B/b of the one batch among all that gives the "
    "step",
    tolerance=ROUNDING,
    experiment=lambda quick: [on_a_ramp(seed) for seed in seeds(quick)],
    formula=r"m_k\ \mapsto\ (1-\eta^2s_k^2)\,m_k,\quad m=u^2-v^2,\quad s=\frac{1}{b}X_B^{\top}r_B",
    accepts=at_most(ROUNDING),
    stated="2026-11-24",
)
def imbalance_shrinks(*, quick: bool) -> Measurement:
    rows: list[Row] = []
    for seed in seeds(quick):
        run = on_a_ramp(seed)
        problem, sampling, n_steps = run.model, run.batches, run.dynamics.n_steps
        assert isinstance(problem, DiagonalLinearNetwork)
        trace = run.run()
        u, v = np.split(trace["theta"].values[0], 2, axis=1)
        # Which batch a step took is found from the step itself: s is then that of the batch, not of the step.
        ((batches, _),) = sampling.enumerate(problem.n_samples)
        pulls = ((u * v)[:-1] @ problem.inputs.T - problem.targets)[:, :, None] * problem.inputs
        step_size = Ramp.of(run.step_size).at(np.arange(n_steps), n_steps)
        s = np.empty((n_steps, problem.inputs.shape[1]))
        for t, eta in enumerate(step_size):
            of_batches = pulls[t][batches].mean(axis=1)
            s[t] = of_batches[np.abs(u[t] - eta * of_batches * v[t] - u[t + 1]).max(axis=1).argmin()]
        imbalance, size = u**2 - v**2, u**2 + v**2
        error = np.abs(imbalance[1:] - imbalance[:-1] * (1 - (step_size[:, None] * s) ** 2)) / size[1:]
        rows.append({"seed": seed, "steps": n_steps, "relative_error": float(error.max())})
    worst = max(float(row["relative_error"]) for row in rows)
    return _extreme(rows, worst <= ROUNDING, "largest one-step error relative to u² + v² is", worst)
