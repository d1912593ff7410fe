"""Data as a module and a loss take them: whole numbers stay whole where they can, class labels above all."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.bridge.behaviour import no_chance
from esssim.bridge.exact import Exact
from esssim.bridge.losses import SampleLoss


def plain(value: Any) -> Any:
    """A tensor as an array."""
    if not isinstance(value, Tensor):
        return value
    own = value.detach().to_dense().cpu().resolve_conj().resolve_neg()
    return (own.float() if own.dtype == torch.bfloat16 else own).numpy()


def data(name: str, value: Any) -> FloatArray:
    """Real numbers with a row per sample, as a copy."""
    array = _validate.array_of(name, plain(value))
    return np.array(_validate.real_array(name, array, ("n", *array.shape[1:])))


def whole(value: Any) -> npt.NDArray[Any] | None:
    """Integers as int64 and booleans as they are, None for other numbers."""
    array = np.asarray(plain(value))
    if array.dtype.kind == "b":
        return np.array(array)
    return array.astype(np.int64) if array.dtype.kind in "iu" else None


def labels(targets: Any, n: int, c: int) -> IntArray:
    """The class labels of loss="cross_entropy"."""
    array = _validate.array_of("targets", plain(targets))
    if c < 2:
        raise ValueError(f"loss='cross_entropy' needs a module of at least 2 outputs, one per class, got {c}")
    if array.shape != (n,):
        raise ValueError(f"targets must be class labels of shape ({n},) for loss='cross_entropy', got {array.shape}")
    if array.dtype.kind not in "iu":
        raise ValueError(f"targets must be integer class labels for loss='cross_entropy', got dtype {array.dtype}")
    if array.min() < 0 or array.max() >= c:
        raise ValueError(
            f"targets must be class labels from 0 to n_outputs - 1 = {c - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64)


class OneNumber:
    """A loss of torch with its own options, as a number for one sample: a tensor of one entry is taken for that.

    Those of classes are computed in forms that are right at any margin.
    """

    def __init__(self, loss: SampleLoss, kind: torch.dtype) -> None:
        self.loss = copy.deepcopy(loss).to(kind).requires_grad_(False) if isinstance(loss, nn.Module) else loss

    def __call__(self, outputs: Tensor, target: Tensor) -> Tensor:
        with Exact():
            found = self.loss(outputs, target)
        return found if found.ndim == 0 else found.reshape(())


def for_loss(loss: OneNumber, outputs: Tensor, values: Any, kind: torch.dtype) -> Tensor:
    """The targets in the first form that the loss takes without a word: whole numbers, a number per output, as given.

    ValueError, with what torch says, where no form gives one finite number for each sample.
    """
    said: list[Exception] = []
    for targets in _forms(values, outputs.shape, kind):
        try:
            with warnings.catch_warnings(), no_chance("loss"):
                warnings.filterwarnings("error", message="Using a target size", category=UserWarning)
                for i, (f, y) in enumerate(zip(outputs, targets, strict=True)):
                    found = loss.loss(f, y)
                    _check_one_number(found)
                    if bool(found.isnan()) and bool(torch.isfinite(f).all()):
                        raise _NotOneNumber(
                            f"loss must be a number for every sample, but that of sample {i} is nan: a mean over "
                            "nothing, such as a label that ignore_index leaves out, has none; reduction='sum' gives 0"
                        )
        except (RuntimeError, TypeError, IndexError, ValueError, UserWarning) as error:
            said.append(error)
        else:
            return targets
    ours = next((error for error in said if isinstance(error, _NotOneNumber)), None)
    if ours is not None:
        raise ours
    hint = "; class labels must be integers" if whole(values) is None and "Long" in str(said[0]) else ""
    raise ValueError(
        f"loss must take the outputs ({outputs.shape[1]},) of one sample and its target of shape "
        f"{np.shape(values)[1:]}, "
        f"it says: {' '.join(str(said[0]).split())}{hint}"
    ) from said[0]


class _NotOneNumber(ValueError):
    """What a loss returns is no number."""


def _forms(values: Any, shape: torch.Size, kind: torch.dtype) -> Iterator[Tensor]:
    integers, reals = whole(values), torch.as_tensor(data("targets", values), dtype=kind)
    if integers is not None:
        yield torch.as_tensor(integers)
    if reals.ndim == 1 and shape[1] == 1:
        yield reals[:, None]
    yield reals


def _check_one_number(found: Any) -> None:
    if not isinstance(found, Tensor) or not found.is_floating_point():
        shown = f"a tensor of {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise _NotOneNumber(f"loss must return a tensor with one real number for one sample, got {shown}")
    if found.numel() != 1:
        raise _NotOneNumber(
            f"loss must return one number for one sample, got shape {tuple(found.shape)}: "
            "say how its outputs are put together, as in lambda f, y: loss(f, y).sum()"
        )
