"""The dynamics of stochastic self-stabilisation: one direction, and the gap of its curvature to 2/η."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
import xarray
from pydantic import Field
from pydantic.dataclasses import dataclass

from esssim import store
from esssim._progress import Progress, shown
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task
from esssim.experiments.errors import in_plain_words
from esssim.experiments.sections import STRICT, Count, Positive, Seed

N_REPLICAS, N_RECORDS = 400, 41


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class SelfStabilisingDynamics(Configuration):
    """x ← −(1 + ηy)x + ησ_u z, y ← y + η(α − ½βx²): 400 replicas of one direction and its curvature, in units of 1/η.

    x is the displacement along the direction, y = S − 2/η for its curvature S, α how fast S rises, β how strongly x²
    lowers it, and σ_u z the noise of batches, z normal. With δ = −ηy and ξ = x√(β/2α) a step is ξ ← −(1 − δ)ξ + sz,
    δ ← δ + κ(ξ² − 1). noise: s² = η²βσ_u²/(2α). sharpening: κ = η²α.
    """

    kind: ClassVar[str] = "self_stabilisation"

    noise: Annotated[Positive, Field(lt=2)]
    sharpening: Positive
    n_steps: Annotated[Count, Field(ge=N_RECORDS - 1)] = 80_000
    seed: Seed = 3

    @property
    def after(self) -> float:
        return float(self.n_steps // 4)

    @property
    def tasks(self) -> list[Task]:
        return [(run_once, self)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """S at the records, and over all steps after a quarter the means of δ and of ½δ²ξ² + ½κ(ξ² − 1)²."""
        return store.kept(self.kind, asdict(self), lambda: self._computed(progress))

    def _computed(self, progress: Progress) -> xarray.Dataset:
        rng = np.random.default_rng(self.seed)
        gap, displacement = np.full(N_REPLICAS, self.noise / 2), rng.normal(size=N_REPLICAS)
        total, correction = np.zeros(N_REPLICAS), np.zeros(N_REPLICAS)
        records = np.linspace(0, self.n_steps, N_RECORDS).round().astype(np.int64)
        gaps, diverged_at = [gap], np.full(N_REPLICAS, -1)
        with shown(progress, len(records) - 1, "dynamics") as advance, np.errstate(over="ignore", invalid="ignore"):
            for first, last in pairwise(records.tolist()):
                for step in range(first, last):
                    square = displacement**2
                    if step >= self.after:
                        total += gap
                        correction += gap**2 * square / 2 + self.sharpening * (square - 1) ** 2 / 2
                    displacement = -(1 - gap) * displacement + np.sqrt(self.noise) * rng.normal(size=N_REPLICAS)
                    gap = gap + self.sharpening * (square - 1)
                diverged_at[(diverged_at < 0) & ~np.isfinite(gap)] = last
                gaps.append(gap)
                advance(1)
        averaged = self.n_steps - self.n_steps // 4
        alive = diverged_at < 0
        return xarray.Dataset(
            {
                "sharpness": (("replica", "record"), np.where(np.isfinite(gaps), 2 - np.array(gaps), np.nan).T),
                "mean_gap": ("replica", np.where(alive, total, np.nan) / averaged),
                "mean_correction": ("replica", np.where(alive, correction, np.nan) / averaged),
                "diverged_at": ("replica", diverged_at),
            },
            {"step": ("record", records), "step_size": ("record", np.ones(N_RECORDS))},
            {"n_steps": self.n_steps, "seed": self.seed},
        )

    def over_the_formula(self, trace: xarray.Dataset) -> tuple[float, float, float]:
        """The mean gap over its closed form ηβσ_u²/(4α) = s²/(2η), its standard error, and the same by the exact
        identity E δ = s²/2 + ½E[δ²ξ²] + ½κE(ξ² − 1)²; NaN where fewer than two replicas are left.
        """
        alive = trace["diverged_at"].values < 0
        if alive.sum() < 2:
            return (float("nan"),) * 3
        gap, correction = (trace[name].values[alive] / (self.noise / 2) for name in ("mean_gap", "mean_correction"))
        return float(gap.mean()), float(gap.std(ddof=1)) / np.sqrt(len(gap)), 1 + float(correction.mean())

    def results(self, trace: xarray.Dataset, progress: Progress = False) -> Mapping[str, tuple[float, float, float]]:
        value, error, identity = self.over_the_formula(trace)
        return {
            "mean gap over ηβσ_u²/(4α)": (value, value - 1.96 * error, value + 1.96 * error),
            "the same by the exact identity": (identity, identity, identity),
        }
