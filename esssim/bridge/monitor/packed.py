"""Samples of several tensors as one row of numbers each, and a module that takes such rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Field:
    """One argument of a module: its position or name, the shape of one sample, and its dtype, None for real numbers."""

    name: int | str
    shape: tuple[int, ...]
    dtype: torch.dtype | None

    def read(self, part: Tensor) -> Tensor:
        """The argument from its columns (n, numbers): (n, *shape)."""
        own = part.reshape(len(part), *self.shape)
        return own if self.dtype is None else own.to(self.dtype)


class Packed(nn.Module):
    """net as a module of one tensor (n, numbers): the fields of its arguments side by side.

    A result that is no tensor has to hold the outputs as `logits`, or as its first entry.
    """

    def __init__(self, net: nn.Module, fields: tuple[Field, ...]) -> None:
        super().__init__()
        self.net, self.fields = net, fields

    def forward(self, rows: Tensor) -> Tensor:
        parts = torch.split(rows, [prod(field.shape) for field in self.fields], dim=1)
        values = {field.name: field.read(part) for field, part in zip(self.fields, parts, strict=True)}
        positional = [value for name, value in values.items() if isinstance(name, int)]
        named = {name: value for name, value in values.items() if isinstance(name, str)}
        return outputs_of(self.net(*positional, **named))


def outputs_of(found: Any) -> Tensor:
    """The tensor of outputs in what a module returned."""
    if isinstance(found, Mapping) and "logits" in found:
        found = found["logits"]
    elif not isinstance(found, Tensor) and hasattr(found, "logits"):
        found = found.logits
    elif isinstance(found, (tuple, list)) and found:
        found = found[0]
    if not isinstance(found, Tensor):
        raise ValueError(
            "net must return a tensor, an object with logits, or a tuple that begins with one, got "
            f"{type(found).__name__}"
        )
    return found


def packed(net: nn.Module, inputs: Any) -> tuple[nn.Module, Tensor]:
    """A module of one tensor and that tensor, from the inputs of all samples: a tensor, several, or several by name."""
    if isinstance(inputs, Tensor):
        return net, inputs
    named = dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))
    tensors = {name: torch.as_tensor(value).detach().cpu() for name, value in named.items()}
    fields = tuple(
        Field(name, tuple(value.shape[1:]), None if value.is_floating_point() else value.dtype)
        for name, value in tensors.items()
    )
    kinds = {field.dtype for field in fields}
    # Whole numbers up to 2⁵³ pass through float64 unchanged.
    kind = torch.int64 if None not in kinds else torch.float64
    return Packed(net, fields), torch.cat([value.reshape(len(value), -1).to(kind) for value in tensors.values()], dim=1)
