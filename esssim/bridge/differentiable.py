"""What fast paths, curvatures and training loops need of a torch problem; `esssim.bridge.problem` has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt
import torch
from torch import Tensor

from esssim._validate import FloatArray, IntArray
from esssim.bridge.functional import Functional


class Differentiable(Protocol):
    """A module with data and a loss. kind: the dtype of θ; root: R with ∇²_f ℓ = RRᵀ, from outputs and targets."""

    n_samples: int
    n_params: int
    n_outputs: int
    tolerance: float
    loss_name: str
    kind: torch.dtype
    functional: Functional
    root: Callable[[Tensor, Tensor], Tensor]

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets as the module and the loss take them."""

    def gradient(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        """g_B(θ), (..., p)."""

    def hessian_products(self, theta: FloatArray, batches: IntArray, vectors: FloatArray) -> FloatArray:
        """H_B(θ)v for each batch and its vector, (..., p)."""

    def check_derivatives_at(self, points: Tensor, batches: Tensor) -> Any:
        """ValueError where a sample's derivatives are not finite while its loss is."""
