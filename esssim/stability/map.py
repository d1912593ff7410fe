"""The critical step size for every batch size from one factorisation, with both sides of what lies between.

The scheme enters only through c (`esssim.sampling`), which falls from 1 at b = 1 to 0 at b = n. Without momentum η_c =
2/Q, and Q(c) = max over M of ⟨M, (1−c)HMH + c·mean HᵢMHᵢ⟩/⟨M, CM⟩ is a maximum of linear functions of c: convex. A few
values of c, each solved exactly, hence enclose Q for all batch sizes, from above by chords and from below by chords
prolonged. With momentum the noise radius is c·R(η), R independent of c and growing with η: η_c grows with b, which
gives bounds too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray
from scipy.optimize import brentq

from esssim import _validate
from esssim._progress import Progress, shown
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature
from esssim.stability.edges import check_momentum, edge
from esssim.stability.mean_square import noise_radius
from esssim.statistics.block_perron import perron_of
from esssim.statistics.mean_square import Pencil

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

# Batch sizes that are solved at most, and directions up to which momentum takes all of them.
MOST_SOLVED, MOST_DIRECTIONS = 40, 80
# A critical step size this near that of full batches, relatively, counts as the same.
SAME = 0.05


@dataclass(frozen=True)
class StabilityMap:
    """Critical step sizes against the batch size b = 1, …, n, and where a run stands.

    dataset: `critical_step_size` with `…_lower` and `…_upper`, which contain it; `linear_scaling`, η_c(b₀)·b/b₀ from
    b₀ = 1 or the run's batch size; `solved`, whether that b was solved itself. batch_size, step_size: the run, None
    without one.
    """

    dataset: xarray.Dataset
    batch_size: int | None = None
    step_size: float | None = None

    @property
    def critical_batch_size(self) -> int:
        """The smallest b whose critical step size is within 5 % of that of full batches: a larger b allows no larger
        step.
        """
        steps = self.dataset["critical_step_size"].values
        return int(self.dataset["batch_size"].values[np.argmax(steps >= (1 - SAME) * steps[-1])])

    @property
    def crossover(self) -> float:
        """η_c(n)/η_c(1): the batch size at which linear scaling from b = 1 meets the step size of full batches."""
        steps = self.dataset["critical_step_size"].values
        return float(steps[-1] / steps[0])

    @property
    def over_critical(self) -> float | None:
        """η/η_c of the run at its batch size: above 1 it is beyond the edge; None without a run."""
        if self.batch_size is None or self.step_size is None:
            return None
        return self.step_size / float(self.dataset["critical_step_size"].sel(batch_size=self.batch_size))

    def table(self) -> DataFrame:
        """A row for each power of two, for n, and for the run's batch size."""
        sizes = self.dataset["batch_size"].values
        wanted = {int(sizes[-1]), *(2**k for k in range(63) if 2**k < sizes[-1])}
        wanted |= set() if self.batch_size is None else {self.batch_size}
        columns = ["critical_step_size", "critical_step_size_lower", "critical_step_size_upper", "linear_scaling"]
        return self.dataset.sel(batch_size=sorted(wanted & {int(b) for b in sizes}))[columns].to_dataframe()

    def plot(self) -> Figure:
        """Critical step size and linear scaling against b on logarithmic axes, the run as a point."""
        from esssim.plots.stability_map import stability_map_figure

        return stability_map_figure(self)


def map_of_curvature(
    curvature: Curvature,
    *,
    n_train: int | None = None,
    batch_sizes: Sequence[int] | None = None,
    momentum: float = 0.0,
    nesterov: bool = False,
    gain: float = 1.0,
    tolerance: float = 0.01,
    run: tuple[int, float | None] | None = None,
    progress: Progress = False,
) -> StabilityMap:
    """The map of positive semidefinite per-sample Hessians, batches drawn without replacement from n_train samples.

    curvature: of the n samples that are known, which stand for all n_train (default n). batch_sizes: those to list
    (default 1 to n_train, thinned beyond 512). gain: what the gradient is multiplied by in the velocity. tolerance: the
    relative width of the bounds that is worth another solution. run: (b, η). progress: True for a bar, or a function of
    (done, total) batch sizes. Raises ValueError for bad arguments.
    """
    n = curvature.n_samples if n_train is None else _validate.integer("n_train", n_train, curvature.n_samples)
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    _validate.real("gain", gain, above=0.0)
    _validate.real("tolerance", tolerance, above=0.0, below=1.0)
    sizes = _sizes(batch_sizes, n, run)
    coefficients = (n - sizes) / (sizes * max(n - 1, 1))
    scale = curvature.scale()
    solve = _solver(curvature.scaled(scale), beta, nesterov)
    with shown(progress, len(sizes), "batch sizes") as advance:
        solved = _solve(solve, coefficients, convex=beta == 0.0, tolerance=tolerance, advance=advance)
    inverse, lowest, highest = _filled(coefficients, solved, convex=beta == 0.0)
    unit = scale * gain
    first = int(sizes[0]) if run is None else run[0]
    with np.errstate(divide="ignore"):
        steps = 1 / (unit * inverse)
        columns = {
            "critical_step_size": steps,
            "critical_step_size_lower": 1 / (unit * highest),
            "critical_step_size_upper": 1 / (unit * lowest),
            "linear_scaling": steps[np.searchsorted(sizes, first)] * sizes / first,
            "variance_coefficient": coefficients,
            "solved": np.isin(np.arange(len(sizes)), list(solved)),
        }
    described = {
        "n_samples": curvature.n_samples, "n_train": n, "momentum": beta, "nesterov": int(nesterov), "gain": gain,
        "scheme": "WithoutReplacement", "tolerance": tolerance,
    }  # fmt: skip
    data = {name: ("batch_size", values) for name, values in columns.items()}
    dataset = xarray.Dataset(data, {"batch_size": sizes}, described)
    return StabilityMap(dataset, *(run or (None, None)))


def _sizes(batch_sizes: Sequence[int] | None, n: int, run: tuple[int, float | None] | None) -> IntArray:
    """1, n and the run's among the batch sizes, in order."""
    if batch_sizes is None:
        wanted = np.arange(1, n + 1) if n <= 512 else np.unique(np.geomspace(1, n, 400).round().astype(np.int64))
    else:
        wanted = np.array([_validate.integer("batch_sizes", b, 1, n, "n_train") for b in batch_sizes], dtype=np.int64)
    own = [1, n] + ([] if run is None else [_validate.integer("batch_size", run[0], 1, n, "n_train")])
    return np.unique(np.concatenate([wanted, own]))


def _solver(curvature: Curvature, beta: float, nesterov: bool) -> Callable[[float, float, float], float]:
    """(c, lower, upper) ↦ 1/η_c between these two, by one factorisation for all c."""
    perron = perron_of(curvature, 1.0)
    pencil = None
    if beta > 0.0 or perron is None or not perron.is_shorter:
        pencil = Pencil.of(curvature)
    top = float(curvature.mean_eigenpairs()[0][-1]) if pencil is None else float(pencil.eigenvalues[-1])
    limit = edge(1.0, momentum=beta, nesterov=nesterov) / top
    radii: dict[float, float] = {}

    def radius(eta: float) -> float:
        assert pencil is not None
        if eta not in radii:
            radii[eta] = max(noise_radius(pencil, 1.0, eta, beta, nesterov), np.finfo(np.float64).tiny)
        return radii[eta]

    def solve(c: float, lower: float, upper: float) -> float:
        if c == 0.0:
            return 1 / limit
        if beta == 0.0 and perron is not None and perron.is_shorter:
            return replace(perron, c=c).edge()[0] / 2
        if beta == 0.0:
            assert pencil is not None
            return pencil.top(c)[0] / 2
        below, above = min(limit * (1 - 1e-12), 1 / lower), (limit / 2 if not np.isfinite(upper) else 1 / upper)
        while c * radius(above) > 1:
            below, above = above, above / 4
        if c * radius(below) < 1:
            return 1 / below
        return 1 / float(brentq(lambda eta: np.log(c * radius(eta)), above, below, rtol=1e-10))

    return solve


def _solve(
    solve: Callable[[float, float, float], float],
    coefficients: FloatArray,
    *,
    convex: bool,
    tolerance: float,
    advance: Callable[[int], None],
) -> dict[int, float]:
    """1/η_c at the ends, and wherever the bounds between are widest, until they are narrow enough: index ↦ value."""
    last = len(coefficients) - 1
    solved: dict[int, float] = {}
    enclosed = 0
    for k in dict.fromkeys((last, 0)):
        solved[k] = solve(float(coefficients[k]), solved.get(last, 0.0), np.inf)
    while len(solved) < min(MOST_SOLVED, len(coefficients)):
        _, lowest, highest = _filled(coefficients, solved, convex=convex)
        width = (highest - lowest) / highest
        width[list(solved)] = 0.0
        known = max(enclosed, int((width <= tolerance).sum()))
        advance(known - enclosed)
        enclosed = known
        worst = int(np.argmax(width))
        if width[worst] <= tolerance:
            break
        worst = _between(worst, coefficients, solved)
        solved[worst] = solve(float(coefficients[worst]), float(lowest[worst]), float(highest[worst]))
    advance(len(coefficients) - enclosed)
    return solved


def _between(worst: int, coefficients: FloatArray, solved: dict[int, float]) -> int:
    """The index in the middle, by log c, of the solved ones around the widest bounds."""
    known = sorted(solved)
    place = bisect_left(known, worst)
    left, right = known[place - 1], known[place]
    floor = coefficients[right] or coefficients[right - 1] / 2
    middle = np.sqrt(coefficients[left] * floor)
    inside = np.arange(left + 1, right)
    return int(inside[np.argmin(np.abs(np.log(coefficients[inside] / middle)))])


def _filled(
    coefficients: FloatArray, solved: dict[int, float], *, convex: bool
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """1/η_c at every c, from below and from above, from the solved ones; the value is the middle of the bounds."""
    known = np.array(sorted(solved, reverse=True))
    c, y = coefficients[known], np.array([solved[int(k)] for k in known])
    chord = np.interp(coefficients, c, y)
    place = np.clip(np.searchsorted(c, coefficients), 1, len(c) - 1) if len(c) > 1 else np.zeros(len(coefficients), int)
    if len(c) == 1:
        return chord, chord, chord
    lowest, highest = y[place - 1], y[place]
    if convex:
        highest = chord
        slopes = np.diff(y) / np.diff(c)
        for beside, at in ((place - 2, place - 1), (place, place)):
            exists = (beside >= 0) & (beside < len(slopes))
            slope = slopes[np.clip(beside, 0, len(slopes) - 1)]
            prolonged = y[at] + slope * (coefficients - c[at])
            lowest = np.where(exists, np.maximum(lowest, prolonged), lowest)
    own = np.isin(np.arange(len(coefficients)), known)
    lowest, highest = np.where(own, chord, np.minimum(lowest, chord)), np.where(own, chord, np.maximum(highest, chord))
    return (lowest + highest) / 2 if convex else chord, lowest, highest
