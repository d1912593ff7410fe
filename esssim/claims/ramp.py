"""Claims about what settles at 2/η when the network can move: the step-size ramp and its counterexamples."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from esssim._intervals import half_width
from esssim.claims.claim import Cell, Measurement, Outcome, Predicted, Row, around, at_least, at_most
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level, settles
from esssim.experiments import FOLLOWED, LEVELS, RISE, Experiment, RampExperiment, ramp_level, run_once
from esssim.experiments.above_the_edge import share_of, starts_above_the_edge
from esssim.experiments.ramp import BATCH_SIZES, QUICK, SAMPLES, TOLERANCE, ramp_experiments
from esssim.experiments.ramp import ramp_experiment as experiment
from esssim.experiments.trajectories import mean_trajectory
from esssim.papers import ANDREYEV_V1, COHEN, OURS, Paper
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

# A prototype within NEAR of the edge predicts "holds", one FAR from it or farther "refuted"; between, or where there
# was none, no prediction is made.
NEAR, FAR = 0.03, 0.08

# Levels that prototypes measured before this code existed, by statistic, setting and batch size.
PROTOTYPES: dict[tuple[str, str], dict[int, float]] = {
    ("minibatch_sharpness", "gaussian-100x50"): {1: 0.94, 4: 1.24, 16: 1.54, 100: 1.01},
    ("minibatch_sharpness", "gaussian-50x100"): {1: 0.92, 4: 1.14, 16: 1.38, 50: 1.00},
    ("minibatch_sharpness", "diabetes"): {442: 0.98},
    ("batch_sharpness", "gaussian-100x50"): {1: 0.94, 4: 0.99, 16: 1.09},
    ("batch_sharpness", "gaussian-50x100"): {1: 0.92, 4: 0.97, 16: 1.04, 50: 0.96},
    ("batch_sharpness_parts", "gaussian-100x50"): {1: 1.03, 4: 1.06, 16: 1.14},
    ("batch_sharpness_parts", "gaussian-50x100"): {1: 1.00, 4: 1.02, 16: 1.07, 50: 0.96},
}

# Prototypes that are withdrawn as predictions: a single run on the diabetes inputs wanders by 0.1, and the full-batch
# ramp of the prototype ran past the last stable solution.
WITHDRAWN: dict[tuple[str, str], dict[int, float]] = {
    ("minibatch_sharpness", "diabetes"): {1: 0.76, 4: 0.84, 16: 1.04},
    ("batch_sharpness", "gaussian-100x50"): {100: 0.86},
    ("batch_sharpness_parts", "gaussian-100x50"): {100: 0.86},
}


def method(run: RampExperiment, hessians: str = "Gauss–Newton Hessians") -> str:
    """How the level of a run is measured, in words."""
    stop = f"{RISE:g} times it (n ≥ d: at most to 90 % of the last stable solution's)"
    noise = "the table's own noisy targets" if run.own_targets else "targets that can be fitted"
    return (
        f"step size from 0.8 times the first edge to {stop} in {run.n_steps:,} steps, label noise ε = "
        f"{run.label_noise:g}, {noise}, {run.n_replicas} replicas (quick: a quarter of the steps, 10 replicas at "
        f"least); mean of (η/2)·statistic past {FOLLOWED:g} times the first edge, with a 95 % interval; Q_b with "
        f"{hessians}"
    )


def trajectory(run: RampExperiment, statistic: str) -> list[Row]:
    """The mean over replicas of (η/2)·statistic at each record, with its standard error."""
    return mean_trajectory(run_once(run), statistic, run.after)


def predicted_level(statistic: str, setting: str, b: int) -> Predicted:
    """What the prototypes said of a level, or why they said nothing."""
    if statistic == MEAN_SQUARE and setting == "diabetes" and b in (2, 4, 8):
        return Predicted.none("no prediction: 0.95 at b = 4 in prototypes, and never measured at b = 2 and 8")
    if statistic == MEAN_SQUARE:
        words = "1 at every batch size (prototypes at b = 1, 4, 16 and n: 0.99 ± 0.02, diabetes 0.98 to 1.02)"
        return Predicted.holds(words)
    withdrawn = WITHDRAWN.get((statistic, setting), {}).get(b)
    if withdrawn is not None:
        words = f"withdrawn after our first runs: {withdrawn:.2f} in prototypes"
        return Predicted.none(words, withdrawn=withdrawn)
    return from_prototype(PROTOTYPES.get((statistic, setting), {}).get(b))


def from_prototype(known: float | None, far: float = FAR) -> Predicted:
    """A prediction from the level that a prototype measured, where it measured one."""
    if known is None:
        return Predicted.none("no prediction: never measured before")
    if abs(known - 1) <= NEAR:
        return Predicted.holds(f"1 ({known:.2f} in prototypes)")
    if abs(known - 1) >= far:
        return Predicted.refuted(f"not at the edge: {known:.2f} in prototypes")
    return Predicted.none(f"no prediction: {known:.2f} in prototypes, near the border of the tolerance")


# Family of claims -> statistic.
SETTLES = {
    "minibs-settles": STATISTICS["minibatch_sharpness"],
    "batch-sharpness-settles": STATISTICS["batch_sharpness"],
    "batch-sharpness-parts-settles": STATISTICS["batch_sharpness_parts"],
    "mean-square-settles": STATISTICS[MEAN_SQUARE],
}


def cell_of(setting: str, b: int, name: str) -> Cell:
    """Where a level of the ramp stands in the tables."""
    n = SAMPLES[setting]
    return Cell(f"{setting}, n = {n}", name, b, b == n)


@claim(
    id="{family}/{setting}/b={b}",
    states=lambda family, setting, b: f"{SETTLES[family].heading} settles at 2/η",
    where=lambda family, setting, b: f"{setting}, n = {SAMPLES[setting]}, b = {b}",
    source=lambda family, setting, b: SETTLES[family].source,
    source_predicts="(η/2)·statistic = 1",
    we_predict=lambda family, setting, b: predicted_level(SETTLES[family].key, setting, b),
    method=lambda family, setting, b: method(RampExperiment(setting, b)),
    tolerance=TOLERANCE,
    cell=lambda family, setting, b: cell_of(setting, b, SETTLES[family].heading),
    quick=lambda family, setting, b: (setting, b) in QUICK,
    experiment=lambda family, setting, b, quick: experiment(setting, b, quick),
    over=[
        {"family": family, "setting": setting, "b": b}
        for family in SETTLES
        for setting, n in SAMPLES.items()
        for b in (*BATCH_SIZES, n)
    ],
    formula=lambda family, setting, b: settles(SETTLES[family].key),
    accepts=around(1, TOLERANCE),
    about=lambda family, setting, b: (SETTLES[family].key,),
    stated="2026-11-24",
)
def statistic_settles(*, family: str, setting: str, b: int, quick: bool) -> Measurement:
    run, statistic = experiment(setting, b, quick), SETTLES[family].key
    return decide_level(ramp_level(run, statistic, TOLERANCE), trajectory(run, statistic))


@claim(
    id="full-batch-sharpness-settles/{setting}",
    states="With full-batch gradient descent the sharpness λ_max(H) settles at 2/η",
    where="{setting}",
    source=COHEN,
    source_predicts="(η/2)·λ_max = 1",
    we_predict=Predicted.holds("1"),
    method=lambda setting: method(RampExperiment(setting, SAMPLES[setting])),
    tolerance=TOLERANCE,
    cell=lambda setting: cell_of(setting, SAMPLES[setting], STATISTICS["sharpness"].heading),
    quick=lambda setting: (setting, SAMPLES[setting]) in QUICK,
    experiment=lambda setting, quick: experiment(setting, SAMPLES[setting], quick),
    over=[{"setting": setting} for setting in SAMPLES],
    formula=settles("sharpness"),
    accepts=around(1, TOLERANCE),
    about=("sharpness",),
    stated="2026-11-24",
)
def sharpness_settles(*, setting: str, quick: bool) -> Measurement:
    run = experiment(setting, SAMPLES[setting], quick)
    return decide_level(ramp_level(run, "sharpness", TOLERANCE), trajectory(run, "sharpness"))


def _smaller_batches(setting: str, quick: bool) -> Measurement:
    sizes = [b for s, b in sorted(QUICK) if s == setting] if quick else [*BATCH_SIZES, SAMPLES[setting]]
    levels = [(b, ramp_level(experiment(setting, b, quick), "sharpness", TOLERANCE)) for b in sizes]
    rows: list[Row] = [
        {"b": b, "level": lv.value, "lower": lv.interval[0], "upper": lv.interval[1], "ess": lv.ess} for b, lv in levels
    ]
    pairs = [(first.interval, second.interval) for (_, first), (_, second) in itertools.pairwise(levels)]
    rises = all(second[0] > first[1] for first, second in pairs)
    falls_somewhere = any(second[1] < first[0] for first, second in pairs)
    verdict: Outcome = "refuted" if falls_somewhere else "holds" if rises else "inconclusive"
    words = ", ".join(f"{lv.value:.3f} at b = {b}" for b, lv in levels)
    return Measurement(verdict, f"(η/2)·λ_max: {words}", n_effective=min(lv.ess for _, lv in levels), rows=rows)


def _larger_steps(setting: str, quick: bool) -> Measurement:
    sizes = [b for s, b in sorted(QUICK) if s == setting] if quick else [*BATCH_SIZES, SAMPLES[setting]]
    rows: list[Row] = []
    for b in sizes:
        run = experiment(setting, b, quick)
        trace = run_once(run)
        window = trace.isel(record=np.flatnonzero(trace["step"].values >= run.after))
        values = window["sharpness"].values[window["diverged_at"].values < 0]
        third = values.shape[1] // 3
        # The replicas are independent: the spread of their own ratios gives the interval.
        ratios = values[:, -third:].mean(axis=1) / values[:, :third].mean(axis=1)
        mean, half = float(ratios.mean()), float(half_width(ratios))
        rows.append({"b": b, "late_over_early_sharpness": mean, "lower": mean - half, "upper": mean + half})
    rises = any(float(row["lower"]) > 1 for row in rows)
    falls = all(float(row["upper"]) < 1 for row in rows)
    verdict: Outcome = "refuted" if rises else "holds" if falls else "inconclusive"
    words = ", ".join(f"×{row['late_over_early_sharpness']:.2f} at b = {row['b']}" for row in rows)
    return Measurement(verdict, f"sharpness of the last third of the window over the first: {words}", rows=rows)


FORMULAS_OF_FLATTER = {
    "smaller-batches": r"b<b'\quad\Rightarrow\quad\frac{\eta}{2}\lambda_{\max}(b)<\frac{\eta}{2}\lambda_{\max}(b')",
    "larger-steps": r"\eta<\eta'\quad\Rightarrow\quad\lambda_{\max}(\eta)>\lambda_{\max}(\eta')",
}
# What flattens -> the sentence, who says it, what falls with what, how it is decided.
FLATTER: dict[str, tuple[str, Paper, str, str, Callable[[str, bool], Measurement]]] = {
    "smaller-batches": (
        "Smaller batches end at lower sharpness, at the same multiple of their "
        "edge", ANDREYEV_V1, "sharpness falls with b",
        "neighbouring batch sizes' intervals must not touch", _smaller_batches,
    ),
    "larger-steps": (
        "Larger steps end at lower sharpness", COHEN, "sharpness falls with η",
        "ratio of late to early sharpness in that window, t-interval", _larger_steps,
    ),
}  # fmt: skip


@claim(
    id="{cause}-flatter/{setting}",
    states=lambda setting, cause: FLATTER[cause][0],
    where="{setting}",
    source=lambda setting, cause: FLATTER[cause][1],
    source_predicts=lambda setting, cause: FLATTER[cause][2],
    we_predict=lambda setting, cause: Predicted.holds(FLATTER[cause][2]),
    method=lambda setting, cause: f"{method(RampExperiment(setting, 1))}; {FLATTER[cause][3]}",
    tolerance=TOLERANCE,
    quick=lambda setting, cause: setting == "gaussian-100x50",
    experiment=lambda setting, cause, quick: ramp_experiments(quick, setting),
    over=[{"setting": setting, "cause": cause} for setting in SAMPLES for cause in FLATTER],
    formula=lambda setting, cause: FORMULAS_OF_FLATTER[cause],
    about=("sharpness",),
    stated="2026-11-24",
)
def ends_flatter(*, setting: str, cause: str, quick: bool) -> Measurement:
    return FLATTER[cause][4](setting, quick)


STRONG: dict[str, Any] = {"setting": "gaussian-100x50", "batch_size": 4, "label_noise": 0.1}
NOISY: dict[str, Any] = {
    "setting": "diabetes", "batch_size": 4, "own_targets": True, "label_noise": 0.0, "n_replicas": 32,
}  # fmt: skip


@claim(
    id="strong-label-noise/gaussian-100x50",
    states="With strong label noise (ε = 0.1) every statistic stays below 2/η on this ramp; a faster one pushes "
    "harder.",
    source=OURS,
    source_predicts="below 1",
    we_predict=Predicted.holds("every level below 1 − 0.05"),
    method=method(RampExperiment(**STRONG)),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda quick: _shortened(RampExperiment(**STRONG), quick),
    formula=r"\frac{\eta}{2}\,S<1,\quad S\in\{\lambda_{\max},M_b,\ldots,Q_b\}",
    accepts=at_most(1 - TOLERANCE),
    about=tuple(LEVELS),
    stated="2026-11-24",
)
def strong_label_noise(*, quick: bool) -> Measurement:
    return everything_below(RampExperiment(**STRONG), quick)


@claim(
    id="noisy-targets/diabetes",
    states="With the table's own noisy targets every statistic stays below 2/η (mean-square: Gauss–Newton).",
    source=OURS,
    source_predicts="below 1",
    we_predict=Predicted.holds("every level below 1 − 0.05"),
    method=method(RampExperiment(**NOISY)),
    tolerance=TOLERANCE,
    experiment=lambda quick: _shortened(RampExperiment(**NOISY), quick),
    formula=r"\frac{\eta}{2}\,S<1,\quad S\in\{\lambda_{\max},M_b,\ldots,Q_b\}",
    accepts=at_most(1 - TOLERANCE),
    about=tuple(LEVELS),
    stated="2026-11-24",
)
def noisy_targets(*, quick: bool) -> Measurement:
    return everything_below(RampExperiment(**NOISY), quick)


def _shortened(full: RampExperiment, quick: bool) -> RampExperiment:
    return full.quick() if quick else full


def everything_below(full: RampExperiment, quick: bool) -> Measurement:
    """Whether the level of every statistic lies below the edge."""
    run = _shortened(full, quick)
    rows: list[Row] = []
    levels = {name: ramp_level(run, name, TOLERANCE) for name in LEVELS}
    for name, lv in levels.items():
        rows.append(
            {
                "statistic": LEVELS[name],
                "level": lv.value,
                "lower": lv.interval[0],
                "upper": lv.interval[1],
                "ess": lv.ess,
                "verdict": lv.verdict,
            }
        )
    highest = max(levels.values(), key=lambda lv: lv.interval[1])
    if all(lv.verdict == "below" for lv in levels.values()):
        verdict: Outcome = "holds"
    else:
        verdict = "refuted" if any(lv.verdict in ("settles", "above") for lv in levels.values()) else "inconclusive"
    words = ", ".join(f"{LEVELS[name]} {lv.value:.2f}" for name, lv in levels.items())
    return Measurement(verdict, words, highest.value, highest.interval, min(lv.ess for lv in levels.values()), rows)


@claim(
    id="start-above-the-edge/gaussian-100x50",
    states="A start above the edge that is left alone jumps to a flatter solution and does not settle at 2/η.",
    source=OURS,
    source_predicts="anywhere in 0.7–1.05",
    we_predict=Predicted.holds("most runs end flatter, outside 1 ± 0.05"),
    method="step sizes 1.2, 1.4, 1.6 times the first edge, no label noise; share of the runs, diverged ones included, "
    "that end at a lower sharpness with (η/2)·Q_b (Gauss–Newton) outside 1 ± 0.05",
    tolerance=TOLERANCE,
    experiment=lambda quick: starts_above_the_edge(quick),
    formula=r"\lambda_{\max}(H_{\mathrm{end}})<\lambda_{\max}(H_0),\quad\left|\frac{\eta}{2}Q_b-1\right|>0.05",
    accepts=at_least(0.5),
    about=(MEAN_SQUARE, "sharpness"),
    stated="2026-11-24",
)
def start_above_the_edge(*, quick: bool) -> Measurement:
    """Constant step sizes above the first edge, no label noise: where do the runs end?"""
    rows = [row for start in starts_above_the_edge(quick) for row in start.ends(run_once(start))]
    finals = np.array([row["final_level"] for row in rows if not row["diverged"]], dtype=float)
    counts = [bool(row["counts"]) for row in rows]
    share, low, high = share_of(counts)
    n_diverged = len(rows) - len(finals)
    reason = (
        f"{sum(counts)} of {len(rows)} runs end flatter and outside 1 ± {TOLERANCE}; {n_diverged} diverged; "
        f"the others end between {finals.min():.2f} and {finals.max():.2f} (sd {finals.std(ddof=1):.2f})"
    )
    verdict: Outcome = "holds" if low > 0.5 else "refuted" if high < 0.5 else "inconclusive"
    return Measurement(verdict, reason, share, (low, high), len(rows), rows)


def full_and_gauss_newton(quick: bool) -> Experiment:
    """The ramp at b = 4, with the mean-square sharpness of both Hessians."""
    return experiment("gaussian-100x50", 4, quick).experiment.recording("mean_square_sharpness", MEAN_SQUARE)


@claim(
    id="mean-square-of-full-hessians/gaussian-100x50",
    states="The mean-square sharpness of the full Hessians stays within 5 % of 2/η at every record (b = 4).",
    source=OURS,
    source_predicts="silent",
    we_predict=Predicted.none("no prediction: seen to jump before this claim was written"),
    method=method(
        RampExperiment("gaussian-100x50", 4),
        hessians="the full Hessians, which are indefinite off the solutions: on H's positive eigenvectors",
    ),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda quick: full_and_gauss_newton(quick),
    formula=r"\left|\frac{\eta}{2}Q_b-1\right|\le 0.05",
    about=("mean_square_sharpness",),
    stated="2026-11-24",
)
def full_hessians_stay_at_the_edge(*, quick: bool) -> Measurement:
    """The pencil of the full Hessians on the runs whose Gauss–Newton one settles."""
    run, full = full_and_gauss_newton(quick), "mean_square_sharpness"
    trace = run_once(run)
    window = trace.isel(record=np.flatnonzero(trace["step"].values >= run.after))
    levels = {name: (window[name] * window["step_size"] / 2).values.ravel() for name in (full, MEAN_SQUARE)}
    known = levels[full][np.isfinite(levels[full])]
    median, largest = float(np.median(known)), float(known.max())
    off = int((np.abs(known - 1) > TOLERANCE).sum())
    reason = (
        f"{off} of {len(known)} records lie outside 1 ± {TOLERANCE} (median {median:.2f}, largest {largest:.3g}), "
        f"undefined at {levels[full].size - len(known)}; Gauss–Newton ones: median {np.median(levels[MEAN_SQUARE]):.2f}"
    )
    verdict: Outcome = "refuted" if off or len(known) < levels[full].size else "holds"
    rows: list[Row] = [
        {"full": float(first), "gauss_newton": float(second)}
        for first, second in zip(levels[full], levels[MEAN_SQUARE], strict=True)
    ]
    return Measurement(verdict, reason, median, None, None, rows)
