"""Claims about cross-entropy with label smoothing: its minimum is finite, so that it has an edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level, decide_records
from esssim.experiments.base import run_once
from esssim.experiments.cross_entropy import N_FEATURES, N_SAMPLES, CrossEntropyRamp
from esssim.papers import OURS
from esssim.settling import level
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

WEAK = CrossEntropyRamp(N_SAMPLES)
SLOWER, STRONG = 10, 5e-3
TOLERANCE = 0.05
NAMES = {"mean-square": MEAN_SQUARE, "minibs": "minibatch_sharpness", "sharpness": "sharpness"}
SYMBOLS = {"mean-square": "Q_b", "minibs": r"M_b", "sharpness": r"\lambda_{\max}(H)"}
TITLES = {"mean-square": "Q_b, of Gauss–Newton matrices,", "minibs": "MiniBS", "sharpness": "The sharpness"}
AT_THE_EDGE = Predicted.holds("1: at a solution its Hessians are those of squared loss on rows scaled by √(y(1−y))")
PREDICTED = {
    ("mean-square", 2): AT_THE_EDGE,
    ("mean-square", 8): AT_THE_EDGE,
    ("mean-square", N_SAMPLES): AT_THE_EDGE,
    ("minibs", 8): Predicted.refuted("1.29: its value on the flow of squared loss on scaled rows"),
    ("sharpness", 8): Predicted.refuted("0.37: its value on the flow of squared loss on scaled rows"),
}
WHERE = (
    f"cross-entropy, labels smoothed by {WEAK.smoothing:g}, diagonal network, n = {N_SAMPLES}, d = {N_FEATURES}, "
    "b = {b}, "
)
# A method, but for how many steps and what is averaged.
RAMP = (
    "η from 0.8 to at most 2.5 critical step sizes of the start in {n_steps:,} steps, "
    f"{WEAK.n_replicas} replicas; the mean past 1.15"
)
# (Smoothing, b), stated once the predictions above had come out wrong, of runs that had not been made.
AFTERWARDS = ((0.1, 2), (0.4, 4), (0.4, 16))


@claim(
    id="cross-entropy-edge/{statistic}/b={b}",
    states=lambda statistic, b: f"{TITLES[statistic]} settles at 2/η",
    where=WHERE + f"label noise {WEAK.label_noise:g}",
    source=OURS,
    source_predicts="(η/2)·statistic = 1, if this is its edge",
    we_predict=lambda statistic, b: PREDICTED[statistic, b],
    method=RAMP.format(n_steps=WEAK.n_steps),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda statistic, b, quick: CrossEntropyRamp(b),
    over=[{"statistic": statistic, "b": b} for statistic, b in PREDICTED],
    formula=lambda statistic, b: rf"\frac{{\eta}}{{2}}\,{SYMBOLS[statistic]}\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=lambda statistic, b: (NAMES[statistic],),
    stated="2026-11-30",
)
def settles(*, statistic: str, b: int, quick: bool) -> Measurement:
    return decide_records(run_once(CrossEntropyRamp(b)), NAMES[statistic], TOLERANCE)


@claim(
    id="cross-entropy-slow-ramp/b={b}",
    states="Q_b, of Gauss–Newton matrices, settles at 2/η",
    where=WHERE + f"label noise {WEAK.label_noise:g}, a ramp ten times as slow",
    source=OURS,
    source_predicts="(η/2)·statistic = 1, if this is its edge",
    we_predict=Predicted.holds(
        "1 to 1.05: a slower ramp is followed with less noise, and the logits stay at their labels"
    ),
    method=RAMP.format(n_steps=SLOWER * WEAK.n_steps),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda b, quick: CrossEntropyRamp(b, slower=SLOWER),
    over=[{"b": 2}],
    formula=r"\frac{\eta}{2}\,Q_b\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def settles_on_a_slow_ramp(*, b: int, quick: bool) -> Measurement:
    return decide_records(run_once(CrossEntropyRamp(b, slower=SLOWER)), MEAN_SQUARE, TOLERANCE)


@claim(
    id="cross-entropy-at-the-labels/smoothing={smoothing},b={b}",
    states="Q_b with σ(1−σ) at the labels, in place of the logits of the moment, settles at 2/η",
    where=(
        f"cross-entropy, labels smoothed by {{smoothing}}, diagonal network, n = {N_SAMPLES}, d = {N_FEATURES}, "
        f"b = {{b}}, label noise {WEAK.label_noise:g}"
    ),
    source=OURS,
    source_predicts="(η/2)·statistic = 1",
    we_predict=Predicted.holds(
        "1 to 1.04: what was above in the first runs is the output Hessian at logits that noise keeps off their labels"
    ),
    method=RAMP.format(n_steps=WEAK.n_steps)
    + ", of Q_b of squared loss on rows times √(y(1−y)) at the parameters of SGD",
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda smoothing, b, quick: CrossEntropyRamp(b, smoothing=smoothing),
    over=[{"smoothing": smoothing, "b": b} for smoothing, b in AFTERWARDS],
    formula=r"\frac{\eta}{2}\,Q_b\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def settles_at_the_labels(*, smoothing: float, b: int, quick: bool) -> Measurement:
    experiment = CrossEntropyRamp(b, smoothing=smoothing)
    trace = run_once(experiment)
    found = [
        [mean_square_sharpness(experiment.squared, theta, experiment.sampling, hessian="gauss_newton") for theta in run]
        for run in trace["theta"].values
    ]
    at_the_labels = trace.assign({MEAN_SQUARE: (trace[MEAN_SQUARE].dims, np.array(found))})
    measured = decide_records(at_the_labels, MEAN_SQUARE, TOLERANCE)
    return replace(measured, values={**measured.values, "at_the_logits": level(trace, MEAN_SQUARE).value})


@claim(
    id="cross-entropy-flow/b={b}",
    states="The stochastic central flow of squared loss on scaled rows predicts the level of Q_b under cross-entropy",
    where=WHERE + f"label noise {STRONG:g}",
    source=OURS,
    source_predicts="level of SGD = level of the flow",
    we_predict=Predicted.holds("about 0.71 in units of 2/η: the noise is small beside the distance of the labels"),
    method=RAMP.format(n_steps=WEAK.n_steps)
    + ", over that of the flow on rows times √(y(1−y)) with label noise over √(y(1−y))",
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda b, quick: CrossEntropyRamp(b, STRONG),
    over=[{"b": 8}],
    formula=r"\frac{\eta}{2}\,Q_b\ \text{of SGD over that of the flow}\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def follows_the_flow(*, b: int, quick: bool) -> Measurement:
    experiment = CrossEntropyRamp(b, STRONG)
    trace, solved = run_once(experiment), experiment.flow_of_squared_loss(MEAN_SQUARE)
    steps, half = trace["step"].values, trace["step_size"].values / 2
    course = half * np.interp(steps, solved["step"].values, solved[MEAN_SQUARE].values)
    found = level(trace.assign({MEAN_SQUARE: trace[MEAN_SQUARE] / course}), MEAN_SQUARE, tolerance=TOLERANCE)
    means = half * np.nanmean(trace[MEAN_SQUARE].values, axis=0)
    return decide_level(
        found,
        [
            {"step": int(s), "level": float(m), "level_of_the_flow": float(f)}
            for s, m, f in zip(steps, means, course, strict=True)
        ],
    )
