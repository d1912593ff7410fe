"""Claims about RMSProp and Adam on mini-batches: where their preconditioner lets them settle."""

from __future__ import annotations

from esssim.claims.claim import Measurement, Predicted, around
from esssim.claims.declare import claim
from esssim.claims.levels import decide_records
from esssim.experiments import Experiment, other_methods
from esssim.experiments.base import run_once
from esssim.papers import OURS
from esssim.statistics.table import MEAN_SQUARE, OWN

TITLES = {"rmsprop": "RMSProp", "adam": "Adam"}
TOLERANCE = 0.05


def run(method: str, b: int) -> Experiment:
    return other_methods.adaptive(other_methods.ADAPTIVE[method], b, seed=8)


@claim(
    id="adaptive-edge/{method}/b={b}",
    states=lambda method, b: (
        f"{TITLES[method]} settles where its step size is the mean-square critical one of its own preconditioner, held "
        "fixed"
    ),
    where="diagonal network, n = 100, d = 50, b = {b}, ε = 0.001",
    source=OURS,
    source_predicts="η/η_c = 1, where label noise is weak",
    we_predict=Predicted.holds("1 ± 0.05; stated before these runs and after those of docs/adaptive.md at other b"),
    method="70,000 steps at η = 0.001, 6 replicas; the mean of η/η_c past step 10,000, η_c of Gauss–Newton matrices",
    tolerance=TOLERANCE,
    quick=False,
    experiment=lambda method, b, quick: run(method, b),
    over=[{"method": "rmsprop", "b": 2}, {"method": "rmsprop", "b": 16}, {"method": "adam", "b": 2}],
    formula=r"\frac{\eta}{\eta_c}\ =\ 1",
    accepts=around(1, TOLERANCE),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def adaptive_edge(*, method: str, b: int, quick: bool) -> Measurement:
    return decide_records(run_once(run(method, b)), OWN, TOLERANCE)
