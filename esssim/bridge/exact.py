"""Torch's losses of classes in forms whose derivatives subtract no numbers that nearly agree: right at any margin.

Torch has p − 1 and p − p² of the likeliest class, which are 0 from a margin of 38 on. What is called inside `Exact()`,
by whatever name the caller's code has for it, is computed by

    log softmax(f)_j = (f_j − f_k) − log(1 + Σ_{i≠k} exp(f_i − f_k)),   log σ(f) = min(f, 0) − log(1 + exp(−|f|)),

f_k the largest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


def log_softmax(outputs: Tensor) -> Tensor:
    """log softmax along the last axis: (..., c)."""
    top = outputs.argmax(dim=-1, keepdim=True)
    above = outputs - outputs.gather(-1, top)
    is_top = torch.arange(outputs.shape[-1], device=outputs.device) == top
    others = torch.exp(above).masked_fill(is_top, 0.0)
    return above.masked_fill(is_top, 0.0) - torch.log1p(others.sum(dim=-1, keepdim=True))


def log_sigmoids(outputs: Tensor) -> tuple[Tensor, Tensor]:
    """log σ(f) and log σ(−f), entry by entry."""
    positive, zero = outputs >= 0, torch.zeros_like(outputs)
    # The slope of |f| is 1 at 0, and not torch's 0.
    rest = torch.log1p(torch.exp(torch.where(positive, -outputs, outputs)))
    return torch.where(positive, zero, outputs) - rest, torch.where(positive, -outputs, zero) - rest


def _log_softmax(input: Tensor, dim: int | None = None, *others: Any, **options: Any) -> Tensor | None:
    if dim is None or not input.ndim or any(isinstance(value, torch.dtype) for value in (*others, *options.values())):
        return None
    return log_softmax(input.movedim(dim, -1)).movedim(-1, dim)


def _log_sigmoid(input: Tensor) -> Tensor:
    return log_sigmoids(input)[0]


def _cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor | None:
    # With probabilities or smoothing no class has the whole weight, so that nothing small is left over.
    if target.is_floating_point() or label_smoothing or input.ndim != 1:
        return None
    return F.nll_loss(log_softmax(input), target, weight, size_average, ignore_index, reduce, reduction)


def _binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor | None:
    if size_average is not None or reduce is not None or target.shape != input.shape:
        return None
    of_one, of_zero = log_sigmoids(input)
    found = -target * of_one * (1.0 if pos_weight is None else pos_weight) - (1 - target) * of_zero
    found = found if weight is None else weight * found
    return {"none": found, "sum": found.sum(), "mean": found.mean()}[reduction]


FORMS: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.cross_entropy: _cross_entropy,
    F.binary_cross_entropy_with_logits: _binary_cross_entropy,
    F.log_softmax: _log_softmax,
    torch.log_softmax: _log_softmax,
    Tensor.log_softmax: _log_softmax,
    F.logsigmoid: _log_sigmoid,
}


class Exact(TorchFunctionMode):
    """Inside, losses of classes are computed by these forms, with torch's own options and shapes; used: whether any
    was.
    """

    used = False

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        form = FORMS.get(func)
        found = None if form is None else form(*args, **(kwargs or {}))
        self.used |= found is not None
        return func(*args, **(kwargs or {})) if found is None else found
