"""Runs from a start above the edge that nothing pushes: one step size, no label noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import ClassVar

import numpy as np
import xarray
from pydantic.dataclasses import dataclass

from esssim import store
from esssim._progress import Progress
from esssim._rows import Row
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task, free_cores
from esssim.experiments.errors import in_plain_words
from esssim.experiments.ramp import TOLERANCE, RampExperiment
from esssim.experiments.sections import STRICT, Count, Positive, Seed
from esssim.problems import DiagonalLinearNetwork
from esssim.settling import Level
from esssim.simulation import simulate
from esssim.statistics.table import MEAN_SQUARE


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class StartAboveTheEdge(Configuration):
    """SGD at `factor` first edges of a ramp's start (gaussian-100x50, b = 4), recorded at its first and last step.

    SGD would stay at the solution itself for ever. So each replica starts from a point of its own, which is off by
    `nudge` times normal numbers.
    """

    kind: ClassVar[str] = "above_the_edge"

    factor: Positive
    nudge: Positive = 1e-3
    start_seed: Seed = 7
    n_steps: Count = 100_000
    n_replicas: Count = 24
    seed: Seed = 11

    @cached_property
    def _ramp(self) -> RampExperiment:
        return RampExperiment("gaussian-100x50", 4)

    @property
    def problem(self) -> DiagonalLinearNetwork:
        return self._ramp.problem

    @property
    def starts(self) -> FloatArray:
        """(replicas, p)."""
        theta = self._ramp.theta0
        return theta + self.nudge * np.random.default_rng(self.start_seed).normal(size=(self.n_replicas, len(theta)))

    @property
    def after(self) -> float:
        """The last step alone."""
        return float(self.n_steps)

    @property
    def tasks(self) -> list[Task]:
        return [(run_once, self)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        ramp, starts, step_size = self._ramp, self.starts, self.factor * self._ramp.first_edge
        decides = [asdict(self), ramp.problem.fingerprint, starts.tolist(), step_size]
        return store.kept(self.kind, decides, lambda: simulate(
            ramp.problem, starts, step_size=step_size, sampling=ramp.sampling, n_steps=self.n_steps,
            n_replicas=self.n_replicas, record=("sharpness", MEAN_SQUARE), n_records=2, n_workers=free_cores(),
            progress=progress, seed=self.seed,
        ))  # fmt: skip

    def levels(self, trace: xarray.Dataset, *, tolerance: float = TOLERANCE) -> dict[str, Level | str]:
        """None: two records have none."""
        return {}

    def results(self, trace: xarray.Dataset, progress: Progress = False) -> Mapping[str, tuple[float, float, float]]:
        """The share of the replicas that count, with its exact interval."""
        counts = [bool(row["counts"]) for row in self.ends(trace)]
        return {"share that ends flatter, and off the edge": share_of(counts)}

    def ends(self, trace: xarray.Dataset) -> list[Row]:
        """Where each replica ends. It counts where it moved to a flatter solution and ended off the edge; one that
        diverged does not.
        """
        level = (trace[MEAN_SQUARE] * trace["step_size"] / 2).values[:, -1]
        flattening = (trace["sharpness"][:, -1] / trace["sharpness"][:, 0]).values
        alive = trace["diverged_at"].values < 0
        return [
            {
                "eta_over_first_edge": self.factor, "diverged": not alive[k], "final_level": float(level[k]),
                "sharpness_final_over_first": float(flattening[k]),
                "counts": bool(alive[k] and flattening[k] < 1 and abs(level[k] - 1) > TOLERANCE),
            }
            for k in range(len(level))
        ]  # fmt: skip


def share_of(counts: Sequence[bool]) -> tuple[float, float, float]:
    """The share of what counts, with its 95 % interval of Clopper and Pearson, which keeps its width where all do."""
    from scipy.stats import binomtest  # half a second to import

    found = binomtest(sum(counts), len(counts)).proportion_ci(0.95, method="exact")
    return sum(counts) / len(counts), float(found.low), float(found.high)


def starts_above_the_edge(quick: bool) -> list[StartAboveTheEdge]:
    """At 1.2, 1.4 and 1.6 first edges."""
    short = {"n_steps": 20_000, "n_replicas": 8} if quick else {}
    return [StartAboveTheEdge(factor, **short) for factor in (1.2, 1.4, 1.6)]
