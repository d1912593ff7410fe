"""Claims about heavy ball on small mini-batches: which statistic settles, and at which edge."""

from __future__ import annotations

from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_records
from esssim.experiments.base import run_once
from esssim.experiments.other_methods import BETA, HEAVY_BALL_REPLICAS, HEAVY_BALL_STEPS, heavy_ball
from esssim.papers import MOMENTUM, OURS, Paper, Source, ours
from esssim.statistics.table import MEAN_SQUARE, MOMENTUM_BATCH, OWN

B = 2
NAMES = {"own": OWN, "momentum-batch": MOMENTUM_BATCH, "batch": "batch_sharpness"}
# (η/2)·statistic where it settles.
TARGETS = {"own": 1.0, "momentum-batch": 1.0, "batch": 1 - BETA}
TOLERANCES = {"own": 0.05, "momentum-batch": 0.1, "batch": 0.1 * (1 - BETA)}
TITLES = {
    "own": "Heavy ball settles where its step size is the mean-square critical one",
    "momentum-batch": "Momentum batch sharpness settles at 2/η",
    "batch": "Batch sharpness settles at 2(1−β)/η",
}
SOURCES: dict[str, Source | Paper] = {
    "own": OURS,
    "momentum-batch": ours("after the code of Andreyev et al., arXiv 2604.14108", MOMENTUM),
    "batch": MOMENTUM,
}
PREDICTED = {
    "own": Predicted.holds("1, as without momentum"),
    "momentum-batch": Predicted.refuted(
        "0.14: 0.133 at the start and 0.144 at the flattest solution, of the linear model at its edge"
    ),
    "batch": Predicted.holds(
        "0.1 within 10 %: the ratio of means is 0.110 and 0.116 there, and the mean of ratios some per cent below"
    ),
}
FORMULAS = {
    "own": r"\frac{\eta}{\eta_c}\ =\ 1",
    "momentum-batch": r"\frac{\eta}{2}\,\frac{\mathbb{E}[s^{\top}H_Bs]}{\mathbb{E}[g_B^{\top}s]}\ =\ 1",
    "batch": r"\frac{\eta}{2}\,\mathbb{E}\left[\frac{g_B^{\top}H_Bg_B}{\|g_B\|^2}\right]\ =\ 1-\beta",
}


@claim(
    id="heavy-ball-edge/{statistic}",
    states=lambda statistic: TITLES[statistic],
    where="heavy ball, β = 0.9, b = 2, diagonal network, n = 100, d = 50, ε = 0.001",
    source=lambda statistic: SOURCES[statistic],
    source_predicts=lambda statistic: f"(η/2)·statistic = {TARGETS[statistic]:.1f}",
    we_predict=lambda statistic: PREDICTED[statistic],
    method=f"η from 0.8 to at most 2.5 critical step sizes of the start (90 % of that of the flattest solution) in "
    f"{HEAVY_BALL_STEPS:,} steps, {HEAVY_BALL_REPLICAS} replicas; the mean past 1.15; 256 batches a record",
    tolerance=lambda statistic: TOLERANCES[statistic],
    quick=False,
    experiment=lambda statistic, quick: heavy_ball(B),
    over=[{"statistic": statistic} for statistic in NAMES],
    formula=lambda statistic: FORMULAS[statistic],
    accepts=lambda statistic: around(TARGETS[statistic], TOLERANCES[statistic]),
    about=lambda statistic: ("batch_sharpness",) if statistic == "batch" else (MEAN_SQUARE,),
    stated="2026-11-29",
)
def settles(*, statistic: str, quick: bool) -> Measurement:
    return decide_records(run_once(heavy_ball(B)), NAMES[statistic], TOLERANCES[statistic], TARGETS[statistic])
