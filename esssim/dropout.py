"""Dropout of inputs: a second noise beside that of the batches."""

from __future__ import annotations

from dataclasses import dataclass

from esssim import _validate
from esssim.batch_method import BatchMethod


@dataclass(frozen=True)
class Dropout(BatchMethod):
    """Dropout of inputs on mini-batches: each entry of each drawn row is 0 with probability `rate`, else over 1 − rate.

    A step of sample i sees zᵢ∘xᵢ in place of xᵢ, E zᵢ = 1, drawn anew for each sample of each batch: of linear
    regression and diagonal networks. The gradients have the mean of those of the loss with the penalty
    (v/2n)Σᵢ‖xᵢ∘β‖², v = rate/(1 − rate), and the masks have a mean-square edge of their own even for full batches:
    `stability.dropout_step_size`.

    sampling: how batches are drawn; rate: in (0, 1). For `simulate`, in the place of its `sampling`.
    Raises ValueError for what is no scheme of batches and for other rates.
    Source: Srivastava et al., JMLR 2014; the penalty Wager, Wang & Liang, NeurIPS 2013.
    """

    purpose = "dropout"
    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rate", _validate.real("rate", self.rate, above=0.0, below=1.0))
