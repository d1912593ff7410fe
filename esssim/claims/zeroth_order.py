"""Claims about zeroth-order descent on mini-batches: whether its own mean-square edge holds it."""

from __future__ import annotations

import numpy as np
import xarray

from esssim._intervals import half_width
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_level
from esssim.claims.ratios import verdict_of
from esssim.experiments.base import run_once
from esssim.experiments.other_methods import FROM, TO, zeroth_order
from esssim.papers import OURS, SONG, ours
from esssim.settling import level
from esssim.statistics.table import MEAN_SQUARE, OWN

TOLERANCE, NEAR = 0.05, 0.1
BATCH_SIZES = (8, 100)
NAMES = {"own": OWN, "mean-square": MEAN_SQUARE}
TITLES = {"own": "the mean-square sharpness of zeroth-order descent", "mean-square": "Q_b, that of SGD,"}
METHOD = "η from 0.9 to 1.3 critical step sizes of the start in 200,000 steps, Gauss–Newton matrices; "
EXPECTED = {
    ("own", 8): Predicted.holds("1.07: the time that the growth takes on this ramp"),
    ("own", 100): Predicted.holds("1.03: the time that the growth takes on this ramp"),
    ("mean-square", 8): Predicted.refuted("0.022: Q_b is 0.021 of the other one at the start"),
    ("mean-square", 100): Predicted.refuted("0.055: Q_b is 0.053 of the other one at the start"),
}


def last_levels(trace: xarray.Dataset, statistic: str) -> FloatArray:
    """(η/2)·statistic at the last record of each replica that diverged."""
    levels = (trace[statistic] * trace["step_size"] / 2).values[trace["diverged_at"].values >= 0]
    return np.array([series[np.isfinite(series)][-1] for series in levels])


@claim(
    id="zeroth-order-edge/settles/b={b}",
    states="The mean-square sharpness of zeroth-order descent settles at 2/η",
    where="diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=ours(f"after {SONG}, whose edge is that of the full loss", SONG),
    source_predicts="(η/2)·Q = 1, if the edge of the full loss holds networks as it does in training",
    we_predict=Predicted.refuted(
        "no plateau: its noise goes in all directions, as isotropic noise does, and moves the imbalance at random"
    ),
    method=METHOD + "the mean past η = η_c; refuted where most replicas diverge",
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda b, quick: zeroth_order(b),
    over=[{"b": b} for b in BATCH_SIZES],
    formula=r"\frac{\eta}{2}\,\lambda_{\max}\left(C^{-1}(2D+I\,\mathrm{tr}\,D)\right)\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def settles(*, b: int, quick: bool) -> Measurement:
    experiment = zeroth_order(b)
    trace = run_once(experiment)
    diverged, n_replicas = int((trace["diverged_at"] >= 0).sum()), trace.sizes["replica"]
    if 2 * diverged > n_replicas:
        return Measurement("refuted", f"{diverged} of {n_replicas} replicas diverged", values={"n_diverged": diverged})
    return decide_level(level(trace, OWN, after=experiment.after, tolerance=TOLERANCE), [])


@claim(
    id="zeroth-order-edge/diverges/{statistic}/b={b}",
    states=lambda statistic, b: f"Zeroth-order descent diverges where {TITLES[statistic]} is 2/η",
    where="diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=OURS,
    source_predicts="(η/2)·statistic = 1 at the last record before it",
    we_predict=lambda statistic, b: EXPECTED[statistic, b],
    method=METHOD + "the last record of each replica before it diverges, every 5,000 steps",
    tolerance=NEAR,
    quick=False,
    experiment=lambda statistic, b, quick: zeroth_order(b),
    over=[{"statistic": statistic, "b": b} for statistic in NAMES for b in BATCH_SIZES],
    formula=lambda statistic, b: r"\frac{\eta}{2}\,Q\ =\ 1" if statistic == "own" else r"\frac{\eta}{2}\,Q_b\ =\ 1",
    accepts=around(1, NEAR),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def diverges(*, statistic: str, b: int, quick: bool) -> Measurement:
    trace = run_once(zeroth_order(b))
    n_replicas = trace.sizes["replica"]
    found = last_levels(trace, NAMES[statistic])
    if len(found) < 2:
        return Measurement("inconclusive", f"{len(found)} of {n_replicas} replicas diverged")
    value, half = float(found.mean()), half_width(found)
    verdict = verdict_of(value - half, value + half, 1 - NEAR, 1 + NEAR)
    steps = trace["diverged_at"].values[trace["diverged_at"].values >= 0]
    at = FROM + (TO - FROM) * float(steps.mean()) / int(trace["step"][-1])
    words = f"mean of {len(found)} diverged replicas of {n_replicas}, at {at:.3f} critical step sizes of the start"
    values = {"n_diverged": len(found), "step_size_over_first_edge": at}
    return Measurement(verdict, words, value, (value - half, value + half), values=values)
