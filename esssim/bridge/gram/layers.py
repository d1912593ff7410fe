"""Which parameters of a module have per-sample gradients that factor: those of linear layers and convolutions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from esssim.bridge.functional import Functional, places

FORWARDS: dict[type[nn.Module], Any] = {kind: kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d)}


@dataclass(frozen=True, eq=False)
class Factored:
    """A layer whose outputs z = Wa + c at each position t give sample gradients Σ_t δ_t a_tᵀ of W and Σ_t δ_t of c.

    weight and bias: whether they are trained. unfolded: its inputs (n, ...) as a (n, t, d_in); flat: what has the shape
    of its outputs as (n, t, d_out).
    """

    name: str
    module: nn.Module
    d_in: int
    d_out: int
    weight: bool
    bias: bool
    unfolded: Callable[[Tensor], Tensor]
    flat: Callable[[Tensor], Tensor]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of what it covers."""
        prefix = f"{self.name}." if self.name else ""
        return tuple(prefix + name for name, taken in (("weight", self.weight), ("bias", self.bias)) if taken)


def factored_layers(functional: Functional) -> list[Factored]:
    """The layers of a module that own their parameters alone; that each is called once is for the caller to see."""
    if functional.scale is not None:
        return []
    owners = Counter(places(functional.module).values())
    trained = {name for name in functional.names if owners[name] == 1}
    found = []
    for name, layer in functional.module.named_modules():
        prefix = f"{name}." if name else ""
        weight, bias = f"{prefix}weight" in trained, f"{prefix}bias" in trained
        if (weight or bias) and _is_plain(layer):
            d_out, d_in = layer.weight.flatten(1).shape
            found.append(Factored(name, layer, d_in, d_out, weight, bias, *_reshaping(layer)))
    return found


def _is_plain(layer: Any) -> bool:
    """Whether it does what its type says, with nothing hooked to it, and as one matrix at every position."""
    kind = type(layer)
    if FORWARDS.get(kind) is not kind.forward or "forward" in vars(layer):
        return False
    if layer._forward_hooks or layer._forward_pre_hooks or getattr(layer, "parametrizations", None) is not None:
        return False
    if kind is nn.Linear:
        return True
    return bool(layer.groups == 1 and layer.padding_mode == "zeros" and not isinstance(layer.padding, str))


def _reshaping(layer: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """Of a linear layer, whose positions are all axes but the first and the last, or of a convolution."""
    if isinstance(layer, nn.Linear):
        return (lambda x: x.reshape(len(x), -1, x.shape[-1])), (lambda z: z.reshape(len(z), -1, z.shape[-1]))
    one, width = isinstance(layer, nn.Conv1d), tuple(layer.kernel_size)
    options: dict[str, Any] = {}
    for key in ("dilation", "padding", "stride"):
        value = tuple(getattr(layer, key))
        options[key] = (0 if key == "padding" else 1, *value) if one else value

    def unfolded(x: Tensor) -> Tensor:
        image = x[:, :, None] if one else x
        return F.unfold(image, (1, *width) if one else width, **options).transpose(1, 2)

    return unfolded, lambda z: z.flatten(2).transpose(1, 2)
