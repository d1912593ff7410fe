"""Sharpness-aware minimisation: the gradient of a batch where that same gradient leads uphill."""

from __future__ import annotations

from dataclasses import dataclass

from esssim import _validate
from esssim.batch_method import BatchMethod


@dataclass(frozen=True)
class SharpnessAware(BatchMethod):
    """Sharpness-aware steps (SAM) on mini-batches: θ ← θ − ηg_B(θ + ρg_B(θ)/‖g_B(θ)‖), both gradients of one batch.

    normalised=False leaves ‖g_B‖ out: θ ← θ − ηg_B(θ + ρg_B(θ)). Such a step is linear on a quadratic, with H_B + ρH_B²
    in the place of H_B, and has a mean-square edge: `stability.sharpness_aware_step_size`. With the norm it never comes
    to rest at a minimum, and only its full-batch edge is known: `stability.sharpness_aware_edge`. Where g_B = 0, θ
    stays.

    sampling: how batches are drawn, `WithoutReplacement(n)` for the full loss; radius: ρ > 0. For `simulate`, in the
    place of its `sampling`. Raises ValueError for what is no scheme of batches and for other radii.
    Source: Foret et al., ICLR 2021, arXiv 2010.01412; without the norm Andriushchenko & Flammarion, ICML 2022.
    """

    purpose = "sharpness-aware steps"
    radius: float
    normalised: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "radius", _validate.real("radius", self.radius, above=0.0))
        object.__setattr__(self, "normalised", _validate.flag("normalised", self.normalised))
