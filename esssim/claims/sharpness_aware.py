"""Claims about sharpness-aware minimisation on mini-batches: which edge holds it."""

from __future__ import annotations

from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_records
from esssim.experiments.base import run_once
from esssim.experiments.other_methods import SHARPNESS_AWARE_REPLICAS, sharpness_aware
from esssim.papers import OURS
from esssim.statistics.table import MEAN_SQUARE, OWN

TOLERANCE = 0.05
NAMES = {"own": OWN, "mean-square": MEAN_SQUARE}
TITLES = {"own": "The mean-square sharpness of sharpness-aware steps", "mean-square": "Q_b, that of SGD,"}
AT_ITS_EDGE = Predicted.holds(
    "1: the noise of its steps flattens as that of SGD does, and grows without bound at its own edge"
)
EXPECTED = {
    ("own", 4): AT_ITS_EDGE,
    ("own", 16): AT_ITS_EDGE,
    ("mean-square", 4): Predicted.refuted(
        "0.47: it is 0.39 of the other one at the start, 0.57 at the flattest solution"
    ),
    ("mean-square", 16): Predicted.refuted(
        "0.70: it is 0.64 of the other one at the start, 0.77 at the flattest solution"
    ),
}


@claim(
    id="sharpness-aware-edge/{statistic}/b={b}",
    states=lambda statistic, b: f"{TITLES[statistic]} settles at 2/η",
    where="sharpness-aware steps without the norm, ρ = 0.02, diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=OURS,
    source_predicts="(η/2)·statistic = 1, if this is its edge",
    we_predict=lambda statistic, b: EXPECTED[statistic, b],
    method=lambda statistic, b: (
        "η from 0.8 to at most 2.5 critical step sizes of the start (90 % of that of the flattest solution) in "
        f"100,000 steps, {SHARPNESS_AWARE_REPLICAS} replicas; the mean past 1.15, of Gauss–Newton matrices"
    ),
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda statistic, b, quick: sharpness_aware(b),
    over=[{"statistic": statistic, "b": b} for statistic in NAMES for b in (4, 16)],
    formula=lambda statistic, b: (
        r"\frac{\eta}{2}\,\lambda_{\max}\left(C^{-1}\,\mathbb{E}[K_B\otimes K_B]\right)\ =\ 1"
        if statistic == "own"
        else r"\frac{\eta}{2}\,Q_b\ =\ 1"
    ),
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def settles(*, statistic: str, b: int, quick: bool) -> Measurement:
    return decide_records(run_once(sharpness_aware(b)), NAMES[statistic], TOLERANCE)
