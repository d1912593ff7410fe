"""What takes the place of the gradient of a batch in a step of SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from esssim import _validate
from esssim.random_weights import check_draws_batches
from esssim.sampling import Sampling


@dataclass(frozen=True)
class BatchMethod:
    """Steps along something else than the gradient of a batch; batches are drawn by `sampling` all the same.

    For `simulate`, in the place of its `sampling`: `ZerothOrder`, `SharpnessAware`, `Dropout`. Raises ValueError for
    what is no scheme of batches.
    """

    purpose: ClassVar[str]
    sampling: Sampling

    def __post_init__(self) -> None:
        _validate.instance("sampling", self.sampling, Sampling, "WithoutReplacement(8)")
        check_draws_batches(self.sampling, self.purpose)
