"""`stability_map`: which step size is stable at which batch size, for a network at a point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import xarray

from esssim import _validate
from esssim._progress import Progress
from esssim._threads import one_blas_thread
from esssim.bridge.gram.matrix import rows_at
from esssim.bridge.gram.products import LARGEST, kernel_of
from esssim.bridge.leading import RANK, leading_blocks
from esssim.bridge.monitor.enclosure import upper_bound
from esssim.bridge.problem import TorchProblem
from esssim.bridge.recording import EXACT_ROWS
from esssim.spectra.leading import SPARE
from esssim.stability.map import MOST_DIRECTIONS, StabilityMap, map_of_curvature

# Of the blocks that bound the critical step size from below.
ACCURACY = 1e-6


@one_blas_thread()
def stability_map(
    problem: TorchProblem,
    theta: Any = None,
    *,
    batch_sizes: Sequence[int] | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    gain: float = 1.0,
    n_train: int | None = None,
    rank: int = RANK,
    tolerance: float = 0.01,
    batch_size: int | None = None,
    step_size: float | None = None,
    progress: Progress = False,
) -> StabilityMap:
    """The critical step size for each batch size from 1 to n, the critical batch size, linear scaling, and a run.

    η_c(b) is where SGD linearised at theta, with Gauss–Newton blocks Hᵢ, stops contracting in the mean square: 2/Q_b
    without momentum. One factorisation serves all b; between the batch sizes that are solved the value is enclosed
    (`esssim.stability.map`). With more than 600 outputs of all samples, or with momentum and more than 80 directions,
    it is that of the `rank` leading directions, an upper bound, and `…_lower` is rigorous without momentum only.

    theta: as a vector, module or state dict, by default the module's own. batch_size, step_size: a run to place on it.
    n_train: the samples that batches are drawn from, where the problem holds some of them. progress: True for a bar, or
    a function of (done, total) batch sizes. Raises ValueError.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850.
    """
    _validate.instance("problem", problem, TorchProblem, "TorchProblem(module, inputs, targets)")
    if step_size is not None and batch_size is None:
        raise ValueError(f"batch_size must be given with a step_size, got step_size={step_size!r} alone")
    point = problem.theta0 if theta is None else problem.check_point(theta)
    run = None
    if batch_size is not None:
        eta = None if step_size is None else _validate.real("step_size", step_size, above=0.0)
        run = (_validate.integer("batch_size", batch_size, 1), eta)
    options: dict[str, Any] = {
        "n_train": n_train, "batch_sizes": batch_sizes, "momentum": momentum, "nesterov": nesterov, "gain": gain,
        "tolerance": tolerance, "run": run, "progress": progress,
    }  # fmt: skip
    rows = problem.n_samples * problem.n_outputs
    if rows <= (EXACT_ROWS if momentum == 0.0 else MOST_DIRECTIONS):
        return map_of_curvature(problem.gauss_newton_curvature(point), **options)
    r = min(_validate.integer("rank", rank, 1), problem.n_params, rows)
    beyond: Callable[[Any], Any] | None = None
    if momentum == 0.0 and rows <= LARGEST and problem.functional.scale is None:
        kernel = kernel_of(rows_at(problem, point, torch.device("cpu")), 2 * r + SPARE)
        blocks, beyond = kernel.leading(r, ACCURACY)
        unit = kernel.unit
    else:
        blocks, root = leading_blocks(problem, point, r)
        unit = root**2
        if momentum == 0.0:
            bound = upper_bound(problem, point)
            beyond = lambda c: bound(c) / unit  # noqa: E731
    found = map_of_curvature(blocks.scaled(1 / unit), **options)
    dataset = found.dataset.assign_attrs(rank=r)
    if beyond is not None:
        lowest = 2 / (gain * unit * beyond(dataset["variance_coefficient"]))
    else:
        lowest = xarray.full_like(dataset["critical_step_size_lower"], 0.0 if r < rows else np.inf)
    lower = np.minimum(dataset["critical_step_size_lower"], lowest)
    return StabilityMap(dataset.assign(critical_step_size_lower=lower), found.batch_size, found.step_size)
