"""Claims about noise without mini-batches: random weights that have the second moments of batches, and other tails.

Whatever settles because of its value on mini-batches must part from what settles because of second moments.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from esssim._intervals import half_width
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted
from esssim.claims.declare import claim
from esssim.claims.ratios import ratio_of, verdict_of
from esssim.experiments import RampExperiment, run_once
from esssim.papers import ANDREYEV_V1, OURS
from esssim.statistics.table import MEAN_SQUARE

LAWS = {
    "gaussian": "gaussian_weights",
    "two-point": "two_point_weights",
    "full-or-single": "full_or_single",
}
WORDS = {
    "gaussian": "Gaussian weights",
    "two-point": "two-point weights",
    "full-or-single": "a full batch or a single sample",
}
MINIBS = "minibatch_sharpness"
SAME, NEAR = 0.03, 0.05
ramp = partial(RampExperiment, "gaussian-100x50", n_steps=100_000, n_replicas=6, n_records=25, n_batches=16)
# Away from the wall, and at it.
AWAY = {"batch_size": 2, "label_noise": 0.1}
AT_THE_WALL = {"batch_size": 8, "label_noise": 1e-3}
METHOD = (
    "step-size ramp of 100,000 steps on gaussian-100x50, 6 replicas; the mean of (η/2)·statistic past 1.15 first edges "
    "of each replica, and of those the mean with a 95 % interval; "
)


def levels(run: RampExperiment, statistic: str) -> FloatArray:
    """The level of (η/2)·statistic in each replica that did not diverge."""
    trace = run_once(run)
    late = trace.isel(record=np.flatnonzero(trace["step"].values >= run.after))
    return np.asarray((late[statistic] * late["step_size"] / 2).values[trace["diverged_at"].values < 0].mean(axis=1))


def compared(law: str, statistic: str) -> Measurement:
    """The level with one law of weights over that with mini-batches."""
    runs = [ramp(scheme=scheme, **AWAY) for scheme in (LAWS[law], "without_replacement")]  # type: ignore[arg-type]
    of_law, of_batches = (levels(run, statistic) for run in runs)
    n_diverged = sum(run.n_replicas - len(found) for run, found in zip(runs, (of_law, of_batches), strict=True))
    if min(len(of_law), len(of_batches)) < 2:
        return _too_few(n_diverged)
    base = float(of_batches.mean())
    value, lower, upper = ratio_of(of_law, base, float(half_width(of_batches)) / 2 / base)
    words = f"{of_law.mean():.3f} with {WORDS[law]}, {base:.3f} with mini-batches{_left_out(n_diverged)}"
    values = {"level": float(of_law.mean()), "level_of_batches": base, "n_diverged": n_diverged}
    verdict = verdict_of(lower, upper, 1 - SAME, 1 + SAME)
    return Measurement(verdict, words, value, (lower, upper), values=values)


def _too_few(n_diverged: int) -> Measurement:
    return Measurement("inconclusive", f"{n_diverged} replicas diverged", values={"n_diverged": n_diverged})


def _left_out(n_diverged: int) -> str:
    return f"; {n_diverged} diverged replicas left out" if n_diverged else ""


def _pair(law: str, quick: bool) -> list[RampExperiment]:
    return [ramp(scheme=scheme, **AWAY) for scheme in ("without_replacement", LAWS[law])]  # type: ignore[arg-type]


@claim(
    id="noise-without-batches/mean-square/{law}",
    states="Away from the wall Q_b settles where it does with mini-batches, with any noise of the same second moments",
    where=lambda law: f"{WORDS[law]}, b = 2, ε = 0.1",
    source=OURS,
    source_predicts="level over that with mini-batches = 1",
    we_predict=Predicted.holds("1, as on the flow; stated after the longer ramps of docs/noise.md were seen"),
    method=METHOD + "over that with mini-batches",
    tolerance=SAME,
    quick=False,
    experiment=_pair,
    over=[{"law": law} for law in LAWS],
    formula=r"\frac{Q_b(\text{weights})}{Q_b(\text{mini-batches})}\ =\ 1",
    accepts=(1 - SAME, 1 + SAME),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def second_moments_set_the_level(*, law: str, quick: bool) -> Measurement:
    return compared(law, MEAN_SQUARE)


@claim(
    id="noise-without-batches/minibs/{law}",
    states="Where Q_b settles at the same level with other noise, the mean λ_max of the weighted Hessians does so too",
    where=lambda law: f"{WORDS[law]}, b = 2, ε = 0.1",
    source=ANDREYEV_V1,
    source_predicts="level over that with mini-batches = 1, if MiniBS were what settles",
    we_predict=Predicted.refuted("far from 1; stated after the longer ramps of docs/noise.md were seen"),
    method=METHOD + "over that with mini-batches",
    tolerance=SAME,
    quick=False,
    experiment=_pair,
    over=[{"law": law} for law in LAWS],
    formula=r"\frac{E\,\lambda_{\max}(\sum_i w_i\nabla^2\ell_i)}{E_B\,\lambda_{\max}(H_B)}\ =\ 1",
    accepts=(1 - SAME, 1 + SAME),
    about=(MINIBS,),
    stated="2026-11-29",
)
def minibs_is_not_the_cause(*, law: str, quick: bool) -> Measurement:
    return compared(law, MINIBS)


LONGER = "from the tail index on ramps twice as long (docs/noise.md), stated as a claim after these were seen"
PREDICTED_AT_THE_WALL = {
    "gaussian": Predicted.holds(f"1.04 {LONGER}"),
    "two-point": Predicted.holds(f"1.03 {LONGER}"),
    "full-or-single": Predicted.refuted(f"1.49 {LONGER}"),
}


@claim(
    id="mean-square-settles/noise/{law}",
    states="Near the wall Q_b settles at 2/η with noise that has no mini-batches",
    where=lambda law: f"{WORDS[law]}, b = 8, ε = 0.001",
    source=OURS,
    source_predicts="(η/2)·Q_b = 1, if the tails did not matter",
    we_predict=lambda law: PREDICTED_AT_THE_WALL[law],
    method=METHOD + "no mini-batch is drawn",
    tolerance=NEAR,
    quick=False,
    experiment=lambda law, quick: ramp(scheme=LAWS[law], **AT_THE_WALL),  # type: ignore[arg-type]
    over=[{"law": law} for law in LAWS],
    formula=r"\frac{\eta}{2}\,Q_b\ =\ 1",
    accepts=(1 - NEAR, 1 + NEAR),
    about=(MEAN_SQUARE,),
    stated="2026-11-29",
)
def tails_decide_at_the_wall(*, law: str, quick: bool) -> Measurement:
    run = ramp(scheme=LAWS[law], **AT_THE_WALL)  # type: ignore[arg-type]
    found = levels(run, MEAN_SQUARE)
    n_diverged = run.n_replicas - len(found)
    if len(found) < 2:
        return _too_few(n_diverged)
    value, lower, upper = ratio_of(found, 1.0)
    verdict = verdict_of(lower, upper, 1 - NEAR, 1 + NEAR)
    words = f"mean of {len(found)} replicas{_left_out(n_diverged)}"
    return Measurement(verdict, words, value, (lower, upper), values={"n_diverged": n_diverged})
