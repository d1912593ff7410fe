"""What an optimiser minimises as a mean over samples: L_B = (1/b) Σ ℓ(fᵢ, yᵢ), from a loss of a whole batch.

| reduction | the loss of a batch | ℓ |
|---|---|---|
| mean | (1/b) Σ loss(fᵢ, yᵢ) | loss(fᵢ, yᵢ) |
| sum | Σ loss(fᵢ, yᵢ) | b·loss(fᵢ, yᵢ) |
| weighted mean | Σ w_i loss_i / Σ w_i over the batch | loss_i w_i / w̄, w̄ the mean of w over the probe set |
| sample | what the caller averages | loss(fᵢ, yᵢ) |
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from esssim import _validate
from esssim.bridge.losses import cross_entropy_root

REDUCTIONS = ("mean", "sum", "sample")
CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
# Batches on which a loss shows how it reduces, and the relative difference that is rounding.
SIZES, AGREEMENT = (2, 3, 5), 1e-4
# |log Σ exp f| of log-probabilities in float32.
NORMALISED = 1e-4
OF_LOG_PROBABILITIES = (
    "The network returns log-probabilities: NLLLoss is linear in them, which makes Gauss–Newton blocks zero; it is "
    "taken as the CrossEntropyLoss of the same value, whose blocks are those of the logits."
)


@dataclass(frozen=True)
class SampleLoss:
    """loss: for `TorchProblem`; reduction: how the loss of a batch is made of the samples' own; notes: what is
    approximate.
    """

    loss: Any
    reduction: str
    notes: tuple[str, ...] = ()


class OfOne(nn.Module):
    """ℓ(f, y) = factor·loss(f[None], y[None]), f in the shape that the network gave it."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], factor: float) -> None:
        super().__init__()
        self.loss, self.shape, self.factor = loss, shape, factor

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return self.factor * self.loss(outputs.reshape(1, *self.shape), target[None]).reshape(())


class OfClasses(nn.Module):
    """ℓ(f, y) = Σ over positions of w_y·loss(f, y), over the mean of Σ w_y, for `nn.CrossEntropyLoss` and
    `nn.NLLLoss`.
    """

    def __init__(self, loss: Any, shape: tuple[int, ...], factor: float) -> None:
        super().__init__()
        self.loss, self.shape, self.factor = copy.deepcopy(loss), shape, factor
        setattr(self.loss, "reduction", "sum")  # noqa: B010

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        if len(self.shape) == 1:
            return self.factor * self.loss(outputs, target)
        return self.factor * self.loss(outputs.reshape(1, *self.shape), target[None])

    def root(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """RRᵀ = ∇²_f ℓ = a(diag(p) − ppᵀ), a = (1−ε)w_y + (ε/c)Σw, right at any margin; None for other losses."""
        if len(self.shape) != 1 or not isinstance(self.loss, nn.CrossEntropyLoss) or targets.is_floating_point():
            return None
        kept, labels = targets != self.loss.ignore_index, targets.clamp(min=0)
        weight = outputs.new_ones(outputs.shape[1]) if self.loss.weight is None else self.loss.weight.to(outputs)
        smoothing = self.loss.label_smoothing
        total = torch.where(kept, (1 - smoothing) * weight[labels] + smoothing * weight.mean(), 0.0)
        return cross_entropy_root(outputs, labels) * (self.factor * total).sqrt()[:, None, None]


def sample_loss(
    loss: Any, outputs: Tensor, targets: Tensor, batch_size: int, reduction: str | None = None
) -> SampleLoss:
    """The loss of one sample for a loss of a batch, as it shows on outputs (n, ...) and targets (n, ...).

    loss: "squared" or "cross_entropy" (`TorchProblem`), a module of torch, a function of `torch.nn.functional`, or any
    function of a batch. reduction: "mean", "sum", or "sample" for a function of one sample; None finds out whether it
    is a mean or a sum. Raises ValueError for a loss that is neither.
    """
    if reduction is not None:
        _validate.choice("reduction", reduction, REDUCTIONS)
    if isinstance(loss, str):
        return SampleLoss(loss, "mean")
    if not callable(loss):
        raise ValueError(
            "loss must be 'squared', 'cross_entropy', a loss of torch, or a function of a batch, got "
            f"{_validate.shown(loss)}"
        )
    if reduction == "sample":
        return SampleLoss(loss, "sample")
    loss = _as_module(loss)
    if isinstance(loss, nn.Module):
        loss.to(outputs.dtype)
    shape = tuple(outputs.shape[1:])
    if isinstance(loss, CLASSES) and not targets.is_floating_point():
        if isinstance(loss, nn.NLLLoss) and _are_log_probabilities(outputs):
            found = _of_classes(_of_logits(loss), shape, targets, batch_size)
            return replace(found, notes=(*found.notes, OF_LOG_PROBABILITIES))
        return _of_classes(loss, shape, targets, batch_size)
    way = reduction or _reduction(loss, outputs, targets)
    return SampleLoss(OfOne(loss, shape, float(batch_size) if way == "sum" else 1.0), way)


def _as_module(loss: Any) -> Any:
    """F.cross_entropy with options as the module that has them: what it divides by is known."""
    function, options = loss, {}
    if isinstance(loss, functools.partial) and not loss.args:
        function, options = loss.func, loss.keywords
    modules = {F.cross_entropy: nn.CrossEntropyLoss, F.nll_loss: nn.NLLLoss}
    if function in modules:
        return modules[function](**options)
    if isinstance(loss, nn.Module):
        return copy.deepcopy(loss)
    return loss


def _are_log_probabilities(outputs: Tensor) -> bool:
    """Whether Σ exp f over the classes is 1 everywhere."""
    return outputs.ndim > 1 and bool((outputs.logsumexp(dim=1).abs() < NORMALISED).all())


def _of_logits(loss: nn.NLLLoss) -> nn.CrossEntropyLoss:
    """log softmax leaves log-probabilities as they are: the same loss, with the Hessian of that of their logits."""
    return nn.CrossEntropyLoss(weight=loss.weight, ignore_index=loss.ignore_index, reduction=loss.reduction)


def _of_classes(loss: Any, shape: tuple[int, ...], targets: Tensor, batch_size: int) -> SampleLoss:
    if loss.reduction not in ("mean", "sum"):
        raise ValueError(f"loss must be one number for a batch, got reduction={loss.reduction!r}")
    plain = loss.weight is None and not bool((targets == loss.ignore_index).any())
    smoothing = float(getattr(loss, "label_smoothing", 0.0))
    if loss.reduction == "sum":
        return SampleLoss(OfClasses(loss, shape, float(batch_size)), "sum")
    if plain and len(shape) == 1 and smoothing == 0.0 and isinstance(loss, nn.CrossEntropyLoss):
        return SampleLoss("cross_entropy", "mean")
    kept = targets != loss.ignore_index
    weight = torch.ones(int(targets.max()) + 1) if loss.weight is None else loss.weight
    weights = torch.where(kept, weight.double()[targets.clamp(min=0)], 0.0).reshape(len(targets), -1).sum(dim=1)
    mean = float(weights.mean())
    if not mean > 0:
        raise ValueError("targets must have a class of positive weight that is not ignored, got none")
    if bool((weights == weights[0]).all()):
        return SampleLoss(OfClasses(loss, shape, 1 / mean), "mean")
    note = (
        "The loss divides by the weights of the classes in a batch, which differ from batch to batch; here it is "
        "divided by their mean over the probe set, as for the full batch."
    )
    return SampleLoss(OfClasses(loss, shape, 1 / mean), "weighted mean", (note,))


def _reduction(loss: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> str:
    """Whether the loss of a batch is the mean or the sum of the losses of its samples alone."""
    forms = targets.to(outputs.dtype) if targets.is_floating_point() else targets
    possible = {"mean", "sum"}
    seen: list[tuple[int, float, float]] = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for size in SIZES:
                rows = slice(0, min(size, len(outputs)))
                value = loss(outputs[rows], forms[rows])
                if not isinstance(value, Tensor) or value.numel() != 1:
                    shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                    raise ValueError(
                        f"loss must be one number for a batch, got {shape} for {rows.stop} samples; "
                        "with reduction='none' say how they are averaged, as in lambda f, y: loss(f, y).mean(), or "
                        "give a function of one sample and reduction='sample'"
                    )
                alone = [float(loss(outputs[k : k + 1], forms[k : k + 1]).sum()) for k in range(rows.stop)]
                scale = max(map(abs, alone))
                total = sum(alone)
                close = {"mean": total / len(alone), "sum": total}
                possible = {
                    name for name in possible if abs(float(value) - close[name]) <= AGREEMENT * len(alone) * scale
                }
                seen.append((len(alone), float(value), total))
        except (RuntimeError, TypeError, IndexError) as error:
            raise ValueError(
                f"loss must take the outputs {tuple(outputs.shape)} and the targets {tuple(targets.shape)} of a batch, "
                f"it says: {' '.join(str(error).split())[:200]}"
            ) from error
    if not possible:
        size, last, total = seen[-1]
        raise ValueError(
            "loss must be the mean or the sum of the losses of the samples, but for a batch of "
            f"{size} it is {last:.6g}, while those of its samples alone have the mean {total / size:.6g}: give "
            "nn.CrossEntropyLoss itself where classes have weights, make the shapes of outputs and targets equal, or "
            "give a function of one sample and reduction='sample'"
        )
    return "mean" if "mean" in possible else "sum"
