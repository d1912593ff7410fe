"""Claims about networks whose step size or batch size changes mid-run, and about the gap of trained networks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from esssim import gap
from esssim._validate import FloatArray
from esssim.claims.claim import Expectation, Measurement, Outcome, Predicted, Row, around
from esssim.claims.declare import claim
from esssim.claims.networks import EXTRA, NEVER_MEASURED, network_level
from esssim.claims.ratios import ratio_of, verdict_of
from esssim.experiments.networks import RECORDED, TOLERANCE, NetworkExperiment, described, run_network
from esssim.papers import OURS
from esssim.sampling import WithoutReplacement
from esssim.settling import MINIMUM_ESS
from esssim.statistics import minibatch_sharpness, sharpness
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

CHANGE = 20_000
COMMON: dict[str, Any] = {"n_steps": 60_000, "after": 30_000, "change_at": CHANGE, "n_records": 24}
# Words for the id, what is done, the run, and which statistics we predict to return.
INTERVENTIONS: dict[str, tuple[str, NetworkExperiment, dict[str, Expectation]]] = {
    "raised-step-size": (
        "the step size is raised 1.15-fold",  # 1.5-fold, every run diverged
        NetworkExperiment(32, eta_factor=1.15, n_replicas=16, **COMMON),
        {MEAN_SQUARE: "holds"},
    ),
    "lowered-step-size": (
        "the step size is lowered 1.5-fold",
        NetworkExperiment(32, eta_factor=1 / 1.5, n_replicas=32, **(COMMON | {"n_records": 12})),
        {},
    ),
    "raised-batch-size": (
        "the batch size is raised from 8 to 32",
        NetworkExperiment(8, later_batch_size=32, n_replicas=24, **COMMON),
        {"minibatch_sharpness": "refuted"},
    ),
    "lowered-batch-size": (
        "the batch size is lowered from 32 to 8",
        NetworkExperiment(32, later_batch_size=8, n_replicas=16, **COMMON),
        {"minibatch_sharpness": "refuted", "interaction_aware_sharpness": "refuted"},
    ),
}
# Batch size -> (η/2)Q_b at the start; at 0.7 one run in three of b = 16 diverged.
GAP_SIZES = {16: 0.35, 32: 0.7, 64: 0.7}
FOLLOWED = ("sharpness", "minibatch_sharpness", "batch_sharpness", "interaction_aware_sharpness", MEAN_SQUARE)
RETURNS: dict[Expectation, Predicted] = {
    "holds": Predicted.holds("returns within 5 %, stated before the first run"),
    "refuted": Predicted.refuted("does not return within 5 %, stated before the first run"),
    "open": Predicted.none(NEVER_MEASURED),
}


@claim(
    id=lambda change, statistic: f"network-returns/{change}/{RECORDED[statistic]}",
    states=lambda change, statistic: (
        f"After {INTERVENTIONS[change][0]} mid-run, {STATISTICS[statistic].heading} returns to its level in units of "
        "2/η"
    ),
    where=lambda change, statistic: described(INTERVENTIONS[change][1])["network"],
    source=lambda change, statistic: STATISTICS[statistic].source,
    source_predicts="ratio of the levels = 1",
    we_predict=lambda change, statistic: RETURNS[INTERVENTIONS[change][2].get(statistic, "open")],
    method=lambda change, statistic: (
        described(INTERVENTIONS[change][1])["protocol"]
        + f"; change at step {CHANGE:,}; ratio of the level at the end to "
        "that before the change, t-interval over the initialisations"
    ),
    tolerance=TOLERANCE,
    quick=False,
    extra=EXTRA,
    experiment=lambda change, statistic, quick: INTERVENTIONS[change][1],
    over=[{"change": change, "statistic": statistic} for change in INTERVENTIONS for statistic in FOLLOWED],
    formula=r"\frac{\eta_1S_1}{\eta_0S_0}=1",
    accepts=around(1, TOLERANCE),
    about=lambda change, statistic: (statistic,),
    stated="2026-11-24",
)
def statistic_returns(*, change: str, statistic: str, quick: bool) -> Measurement:
    run = INTERVENTIONS[change][1]
    trace = run_network(run)
    steps, alive = trace["step"].values, trace["diverged_at"].values < 0
    series = (trace[statistic] * trace["step_size"] / 2).values[alive]
    if alive.sum() < 3:
        return Measurement("inconclusive", f"{int((~alive).sum())} of {len(alive)} runs diverged")
    before = series[:, (steps >= CHANGE // 2) & (steps < CHANGE)].mean(axis=1)
    first = series[:, np.flatnonzero(steps >= CHANGE)[0]]
    ratio, low, high = ratio_of(series[:, steps >= run.after].mean(axis=1) / before, 1.0)
    ess = network_level(run, statistic).ess
    jump = float((first / before).mean())
    words = f"before {before.mean():.3f}, ×{jump:.2f} twenty steps after the change, ×{ratio:.3f} in the end"
    rows: list[Row] = [
        {"step": int(step), "level": float(value)} for step, value in zip(steps, series.mean(axis=0), strict=True)
    ]
    verdict = verdict_of(low, high, 1 - TOLERANCE, 1 + TOLERANCE)
    if few := ess < MINIMUM_ESS:
        verdict, words = "inconclusive", f"{ess:.0f} effective samples, {MINIMUM_ESS:.0f} are needed; {words}"
    values = {"before": float(before.mean()), "jump": jump}
    return Measurement(verdict, words, ratio, (low, high), ess, rows, values, few)


def on_wine(b: int) -> NetworkExperiment:
    """A network of 5 units from three initialisations."""
    return NetworkExperiment(
        b, start=GAP_SIZES[b], data="wine", n_samples=178, hidden=(5,), n_replicas=3, n_steps=20_000
    )


@cache
def _trained(b: int) -> tuple[NetworkExperiment, FloatArray]:
    """Where its runs end: θ (3, p)."""
    from esssim import bridge

    run = on_wine(b)
    trace = bridge.train(
        run.problem, run.starts, step_size=run.schedule, sampling=run.sampling, n_steps=run.n_steps, n_replicas=3,
        record=("theta",), n_records=1, seed=run.seed,
    )  # fmt: skip
    return run, trace["theta"].values[:, -1]


@claim(
    id="network-gap/wine-5/b={b}",
    states="The gap of MiniBS over the sharpness of a trained network is what `gap.predict` says, within its own error",
    where="one hidden layer of 5 tanh units on wine, b = {b}",
    source=OURS,
    source_predicts="within the stated error",
    we_predict=Predicted.holds("within the stated error of the best valid formula"),
    method="20,000 steps from each of three initialisations, 500 batches; every gap within the prediction's error and "
    "three standard errors; measured over predicted, with the range over the initialisations",
    quick=False,
    extra=EXTRA,
    experiment=lambda b, quick: on_wine(b),
    over=[{"b": b} for b in GAP_SIZES],
    formula=r"\left|\mathrm{gap}-\mathrm{predicted}\right|\ \le\ \mathrm{error}",
    about=("minibatch_sharpness",),
    stated="2026-11-24",
)
def gap_is_predicted(*, b: int, quick: bool) -> Measurement:
    run, thetas = _trained(b)
    n_diverged = int((~np.isfinite(thetas).all(axis=1)).sum())
    if n_diverged:
        return Measurement("inconclusive", f"{n_diverged} of {len(thetas)} runs diverged")
    sampling, rows, far, off = WithoutReplacement(b), [], 0.0, []
    for seed, theta in enumerate(thetas):
        found = minibatch_sharpness(run.problem, theta, sampling, n_batches=500, seed=seed, draws="uniform")
        measured = found.value - sharpness(run.problem, theta)
        predicted = gap.predict(run.problem, theta, sampling)
        row: Row = {
            "seed": seed, "gap": measured, "standard_error": found.standard_error, "predicted": predicted.value,
            "error": predicted.error, "formula": predicted.method,
        }  # fmt: skip
        rows.append(row)
        far = max(far, abs(measured - predicted.value) / (predicted.error + 3 * found.standard_error))
        off.append(measured / predicted.value)
    names = ", ".join(dict.fromkeys(str(row["formula"]) for row in rows))
    words = ", ".join(f"{float(row['gap']):.3g} against {float(row['predicted']):.3g}" for row in rows)
    verdict: Outcome = "holds" if far <= 1 else "refuted"
    ratio = float(np.mean(off))
    return Measurement(verdict, f"{words} ({names})", ratio, (min(off), max(off)), 500.0, rows)
