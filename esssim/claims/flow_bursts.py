"""Claims about the bursts near the mean-square edge: where not to believe the flow, said by the flow alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from esssim.claims.claim import Measurement, Outcome, Predicted, Row, around
from esssim.claims.declare import claim
from esssim.claims.flow import levels_of, name_of, shortened
from esssim.claims.ratios import ratio_of, verdict_of
from esssim.experiments.flow import FlowExperiment, run_flow, run_sgd
from esssim.experiments.flow_settings import (
    AT_THE_WALL,
    GRID,
    NEAR,
    OTHERS,
    PERCEPTRONS,
    SLOWER,
    STEEPER,
    STRONG,
    WEAK,
    WIDER,
)
from esssim.papers import OURS
from esssim.statistics.table import MEAN_SQUARE

# Fixed from five settings (spiked-40x20 at three speeds, gaussian-40x20 at ε = 0.01, b = 1 and 2), before all others
# ran.
WARNING = 0.01
SETTINGS = (*GRID, *OTHERS, *WIDER, *PERCEPTRONS, STRONG, WEAK, STEEPER, AT_THE_WALL, SLOWER, *NEAR)
METHOD = (
    "burst_correction of the flow, and the ratio of the averages of (η/2)Q_b of SGD and of the flow, over the last two "
    "thirds of the ramp in every setting without momentum in which the levels are compared, but for the ones that the "
    "next "
    "order is off in, and in six more; warned: where the mean burst_correction is 1 % or more in size"
)


@dataclass(frozen=True)
class Compared:
    """One setting: the estimate, and by how much the mean and the median Q_b of SGD are above the flow's, relative to
    it.
    """

    name: str
    estimate: float
    excess: float
    lower: float
    upper: float
    typical: float

    @property
    def warned(self) -> bool:
        return abs(self.estimate) >= WARNING


@cache
def _compared(setting: FlowExperiment, quick: bool) -> Compared:
    experiment = shortened(experiment=setting, quick=quick)
    trace, predicted = run_sgd(experiment), run_flow(experiment)
    runs, level, _ = levels_of(experiment, MEAN_SQUARE)
    value, lower, upper = ratio_of(runs, level)
    late = predicted["step"].values >= experiment.n_steps / 3
    curve = (predicted[MEAN_SQUARE] * predicted["step_size"]).values[late] / 2
    estimate = float((predicted["burst_correction"].values[late] * curve).mean() / curve.mean())
    survived = trace["diverged_at"].values < 0
    sgd = trace[MEAN_SQUARE].values[survived][:, late] * trace["step_size"].values[late] / 2
    return Compared(name_of(setting), estimate, value - 1, lower - 1, upper - 1, float(np.median(sgd / curve)) - 1)


def _all(quick: bool) -> tuple[list[Compared], list[Row]]:
    found = [_compared(setting, quick) for setting in SETTINGS]
    rows: list[Row] = [
        {
            "setting": one.name,
            "burst_correction": one.estimate,
            "sgd_over_flow": 1 + one.excess,
            "lower": 1 + one.lower,
            "upper": 1 + one.upper,
            "median_over_flow": 1 + one.typical,
            "warned": one.warned,
        }
        for one in found
    ]
    return found, rows


def _lacking(found: list[Compared]) -> str:
    """What stands in the way of a verdict, in words; empty if nothing does."""
    for one in found:
        if not np.isfinite([one.estimate, one.excess, one.lower, one.upper, one.typical]).all():
            return f"{one.name} has no finite estimate or level"
    if len({one.warned for one in found}) < 2 or sum(one.warned for one in found) < 2:
        return "fewer than two settings are warned, or none is silent"
    return ""


@claim(
    id="flow-bursts/silent",
    states="Where the burst correction of the flow is below 1 %, the mean-square sharpness of SGD is within 1 % of the "
    "flow's.",
    source=OURS,
    source_predicts="equal within 1 % in every such setting",
    we_predict=Predicted.holds("equal within 1 % in every such setting"),
    method=METHOD + "; holds if every ratio is within 1 %, refuted if an interval is not",
    tolerance=WARNING,
    quick=False,
    experiment=lambda quick: [shortened(experiment=run, quick=quick) for run in SETTINGS],
    formula=r"\kappa<0.01\quad\Rightarrow\quad\left|\frac{\overline{Q}_{b,\mathrm{SGD}}}{\overline{Q}_{b,"
    r"\mathrm{flow}}}-1\right|\le 0.01",
    accepts=around(1, WARNING),
    about=(MEAN_SQUARE,),
    stated="2026-11-28",
)
def flow_is_right_where_it_is_silent(*, quick: bool) -> Measurement:
    found, rows = _all(quick)
    if lacking := _lacking(found):
        return Measurement("inconclusive", lacking)
    silent = [one for one in found if not one.warned]
    worst = max(silent, key=lambda one: abs(one.excess))
    outside = any(one.lower > WARNING or one.upper < -WARNING for one in silent)
    verdict: Outcome = "refuted" if outside else "holds" if abs(worst.excess) <= WARNING else "inconclusive"
    reason = (
        f"{len(silent)} of {len(found)} settings are silent; the farthest, {worst.name}, is at {1 + worst.excess:.4f}"
    )
    interval = (1 + worst.lower, 1 + worst.upper)
    return Measurement(verdict, reason, 1 + worst.excess, interval, float(len(silent)), rows)


@claim(
    id="flow-bursts/warned",
    states="Where the burst correction is 1 % or more, SGD on a ramp is above the flow, by less than the correction: "
    "that is "
    "where it is typically, and after the rare largest bursts it is below.",
    source=OURS,
    source_predicts="excess over correction between 0 and 1 on average; 0.8 and 0.7 in the two settings known before",
    we_predict=Predicted.holds(
        "excess over correction between 0 and 1 on average; 0.8 and 0.7 in the two settings known before"
    ),
    method=METHOD + "; mean over the settings that are warned, t-interval over them",
    quick=False,
    experiment=lambda quick: [shortened(experiment=run, quick=quick) for run in SETTINGS],
    formula=r"0<\frac{1}{\kappa}\left(\frac{\overline{Q}_{b,\mathrm{SGD}}}{\overline{Q}_{b,\mathrm{flow}}}-1\right)<1",
    accepts=(0.0, 1.0),
    about=(MEAN_SQUARE,),
    stated="2026-11-28",
)
def excess_is_less_than_the_correction(*, quick: bool) -> Measurement:
    found, rows = _all(quick)
    if lacking := _lacking(found):
        return Measurement("inconclusive", lacking)
    warned = [one for one in found if one.warned]
    value, lower, upper = ratio_of(np.array([one.excess / one.estimate for one in warned]), 1.0)
    verdict: Outcome = "holds" if lower > 0 and upper < 1 else "refuted" if upper < 0 or lower > 1 else "inconclusive"
    off = sum(abs(one.excess) > WARNING for one in warned)
    reason = f"excess over correction {value:.2f} in {len(warned)} settings, {off} of them more than 1 % off"
    return Measurement(verdict, reason, value, (lower, upper), float(len(warned)), rows)


@claim(
    id="flow-bursts/typical",
    states="Where the burst correction is 1 % or more, the median of the mean-square sharpness of SGD is above the "
    "flow's by "
    "the correction.",
    source=OURS,
    source_predicts="equal within 30 % on average; no prediction whether these runs can tell",
    we_predict=Predicted.none("equal within 30 % on average; no prediction whether these runs can tell"),
    method=METHOD
    + "; median over runs and records of Q_b(SGD)/Q_b(flow) − 1 over the correction, mean and t-interval over "
    "the settings that are warned",
    tolerance=0.3,
    quick=False,
    experiment=lambda quick: [shortened(experiment=run, quick=quick) for run in SETTINGS],
    formula=r"\frac{1}{\kappa}\left(\mathrm{median}\,\frac{Q_{b,\mathrm{SGD}}}{Q_{b,\mathrm{flow}}}-1\right)=1",
    accepts=around(1, 0.3),
    about=(MEAN_SQUARE,),
    stated="2026-11-28",
)
def typical_excess_is_the_correction(*, quick: bool) -> Measurement:
    found, rows = _all(quick)
    if lacking := _lacking(found):
        return Measurement("inconclusive", lacking)
    warned = [one for one in found if one.warned]
    value, lower, upper = ratio_of(np.array([one.typical / one.estimate for one in warned]), 1.0)
    verdict = verdict_of(lower, upper, 0.7, 1.3)
    reason = f"median excess over correction {value:.2f} in {len(warned)} settings"
    return Measurement(verdict, reason, value, (lower, upper), float(len(warned)), rows)
