"""The gap along the batch size: measured, bounded and predicted, as one Dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim.gap.bounds import bounds_at
from esssim.gap.joint import Joint
from esssim.gap.predict import FORMULAS
from esssim.gap.sample import sampled_gap
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling, WithoutReplacement
from esssim.statistics import Estimate, minibatch_sharpness, sharpness
from esssim.statistics.minibatch import Draws


@one_blas_thread()
def curve(
    problem: Problem,
    theta: npt.ArrayLike,
    batch_sizes: Sequence[int],
    *,
    scheme: type[Sampling] = WithoutReplacement,
    n_batches: int = 2000,
    enumerate_up_to: int = 50_000,
    draws: Draws = "shares",
    seed: int = 0,
    progress: Progress = False,
) -> xarray.Dataset:
    """The gap M_b − λ_max(H) at each batch size, with its bounds and every valid prediction: what `plots.gap` draws.

    Per batch_size: gap, standard_error, exact, n_batches, and lower and upper, the bounds that always hold; prediction
    (batch_size, formula) is NaN where a formula calls itself invalid. sharpness: λ_max(H). theta: (p,). At most
    `enumerate_up_to` batches are enumerated, exactly; of more, n_batches are drawn from `seed`. draws: as in
    `minibatch_sharpness`; "uniform" averages λ_max(H_B) − v₁ᵀH_Bv₁, whose mean is the gap too. progress: True for a
    bar, or a function of (done, total) batch sizes. Raises ValueError for bad arguments.
    """
    if not (isinstance(scheme, type) and issubclass(scheme, Sampling)):
        raise ValueError(f"scheme must be a class such as WithoutReplacement, got {_validate.shown(scheme)}")
    sizes = _validate.sizes("batch_sizes", batch_sizes)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    enumerate_up_to = _validate.integer("enumerate_up_to", enumerate_up_to, 1)
    top = sharpness(problem, theta)
    measured, predicted = [], []
    first = Setting.of(problem, theta, scheme(sizes[0]))
    joint = Joint.of(first)
    with shown(progress, len(sizes), "batch sizes") as advance:
        for b in sizes:
            setting = first.at(b)
            minibs = _measured(problem, theta, setting, n_batches, enumerate_up_to, draws, seed)
            measured.append((minibs, *bounds_at(setting).gap))
            predicted.append([*(formula(setting) for formula in FORMULAS), joint.at(setting)])
            advance(1)
    estimates = [minibs for minibs, _, _ in measured]
    columns = {
        "gap": [minibs.value - top for minibs in estimates],
        "standard_error": [minibs.standard_error for minibs in estimates],
        "exact": [minibs.exact for minibs in estimates],
        "n_batches": [minibs.n_batches for minibs in estimates],
        "lower": [lower for _, lower, _ in measured],
        "upper": [upper for _, _, upper in measured],
    }
    values = [[each.value if each.valid else np.nan for each in found] for found in predicted]
    return xarray.Dataset(
        {name: ("batch_size", values) for name, values in columns.items()}
        | {"prediction": (("batch_size", "formula"), values), "sharpness": top},
        coords={"batch_size": sizes, "formula": [found.method for found in predicted[0]]},
        attrs={"n_samples": problem.n_samples, "scheme": scheme.__name__, "seed": seed},
    )


def _measured(
    problem: Problem, theta: npt.ArrayLike, s: Setting, n_batches: int, enumerate_up_to: int, draws: Draws, seed: int
) -> Estimate:
    if s.sampling.count(s.n) <= enumerate_up_to:
        return minibatch_sharpness(problem, theta, s.sampling)
    if draws == "shares":
        return minibatch_sharpness(problem, theta, s.sampling, n_batches=n_batches, seed=seed)
    gap = sampled_gap(s, n_batches, seed)
    return replace(gap, value=gap.value + s.sharpness * s.unit)
