"""The stability diagram: growth rate of SGD over batch size and step size, with the thresholds that theories give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._progress import Progress, shown
from esssim._threads import one_blas_thread
from esssim.problems import Problem
from esssim.sampling import Sampling, WithoutReplacement
from esssim.stability.critical import critical_step_size
from esssim.stability.edges import edge
from esssim.stability.lyapunov import almost_sure_threshold, lyapunov_exponent
from esssim.statistics import minibatch_sharpness, sharpness
from esssim.statistics.minibatch import Draws

SPAN = (0.1, 2.0)  # of the step sizes, in units of the edge of the full batch
THRESHOLDS = ("sharpness", "almost_sure", "minibatch_sharpness", "mean_square")


@one_blas_thread()
def diagram(
    problem: Problem,
    theta: npt.ArrayLike,
    batch_sizes: Sequence[int],
    step_sizes: npt.ArrayLike | None = None,
    *,
    scheme: type[Sampling] = WithoutReplacement,
    momentum: float = 0.0,
    nesterov: bool = False,
    n_steps: int = 1000,
    n_replicas: int = 16,
    n_batches: int = 2000,
    enumerate_up_to: int = 10_000,
    draws: Draws = "shares",
    seed: int = 0,
    progress: Progress = False,
) -> xarray.Dataset:
    """Growth rate of SGD over (step_size, batch_size), and four thresholds: what `plots.stability_diagram` draws.

    growth_rate is the Lyapunov exponent per step, with growth_rate_standard_error; step_size_at (threshold,
    batch_size), with _lower and _upper of its 95 % interval, is where sharpness (full_batch_edge: the edge of λ_max),
    mini-batch sharpness, the mean square and the typical run (almost_sure) say that SGD stops contracting. step_sizes:
    31 between 0.1 and 2 times full_batch_edge by default. MiniBS enumerates up to `enumerate_up_to` batches, and else
    draws n_batches. progress: True for a bar, or a function of (done, total) batch sizes. Arguments else as in
    `lyapunov_exponent`. Raises ValueError as it does.
    """
    if not (isinstance(scheme, type) and issubclass(scheme, Sampling)):
        raise ValueError(f"scheme must be a class such as WithoutReplacement, got {_validate.shown(scheme)}")
    sizes = _validate.sizes("batch_sizes", batch_sizes)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov}
    top = sharpness(problem, theta)
    if top <= 0:
        raise ValueError(f"theta must have a positive sharpness, got {top:.3g}")
    unit = edge(top, **options)
    if step_sizes is None:
        steps = unit * np.geomspace(*SPAN, 31)
    else:
        steps = _validate.real_array("step_sizes", step_sizes, ("n_step_sizes",))
        if len(steps) < 2 or not (np.diff(steps) > 0).all() or steps[0] <= 0:
            raise ValueError(f"step_sizes must be at least two increasing positive numbers, got {list(steps)!r}")
    counts: dict[str, Any] = {"n_steps": n_steps, "n_replicas": n_replicas, "seed": seed}
    thresholds = np.empty((3, len(THRESHOLDS), len(sizes)))
    rates = np.empty((2, len(steps), len(sizes)))
    with shown(progress, len(sizes), "batch sizes") as advance:
        for k, b in enumerate(sizes):
            sampling = scheme(b)
            drawn = None if sampling.count(problem.n_samples) <= enumerate_up_to else n_batches
            minibs = minibatch_sharpness(problem, theta, sampling, n_batches=drawn, seed=seed, draws=draws)
            mean_square = critical_step_size(problem, theta, sampling, **options)
            low, high = minibs.interval
            found = (
                (unit, unit, unit),
                almost_sure_threshold(problem, theta, sampling, **options, **counts),
                tuple(edge(value, **options) for value in (minibs.value, high, low)),
                (mean_square, mean_square, mean_square),
            )
            thresholds[:, :, k] = np.transpose(found)
            for row, eta in enumerate(steps.tolist()):
                rate = lyapunov_exponent(problem, theta, sampling, eta, **options, **counts)
                rates[:, row, k] = rate.value, rate.standard_error
            advance(1)
    over, by = ("threshold", "batch_size"), ("step_size", "batch_size")
    return xarray.Dataset(
        {
            "growth_rate": (by, rates[0]),
            "growth_rate_standard_error": (by, rates[1]),
            "step_size_at": (over, thresholds[0]),
            "step_size_at_lower": (over, thresholds[1]),
            "step_size_at_upper": (over, thresholds[2]),
            "full_batch_edge": unit,
        },
        coords={"step_size": steps, "batch_size": sizes, "threshold": list(THRESHOLDS)},
        attrs={"n_samples": problem.n_samples, "scheme": scheme.__name__, "momentum": float(momentum), "seed": seed},
    )
