"""Inputs of layers and signals at their outputs, for some samples: what sample gradients are products of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from esssim.bridge.functional import Functional
from esssim.bridge.gram.layers import Factored


class Signals(NamedTuple):
    """inputs a (n, t, d_in) and signals δ (n, rows, t, d_out): row r of sample i is Σ_t δ_{irt} a_{it}ᵀ."""

    inputs: Tensor
    signals: Tensor


def signals(
    functional: Functional, theta: Tensor, x: Tensor, covectors: Tensor, layers: Sequence[Factored]
) -> dict[str, Signals]:
    """By the names of the layers, for rows Σ_k C_kr ∂f_k/∂θ of every sample, covectors C (n, c, rows)."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str, _: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        own = output if output.requires_grad else output.detach().requires_grad_()
        seen[name] = (inputs[0].detach(), own)
        # What comes next may write to what it is given.
        return own.clone()

    handles = [layer.module.register_forward_hook(partial(keep, layer.name)) for layer in layers]
    try:
        with torch.enable_grad():
            outputs = functional.outputs(theta, x)
    finally:
        for handle in handles:
            handle.remove()
    ends = [seen[layer.name][1] for layer in layers]
    of_rows = [
        torch.autograd.grad(outputs, ends, row, retain_graph=True, allow_unused=True, materialize_grads=True)
        for row in covectors.unbind(dim=2)
    ]
    found = {}
    for layer, *deltas in zip(layers, *of_rows, strict=True):
        flat = torch.stack([layer.flat(delta).reshape(len(x), -1, layer.d_out) for delta in deltas], dim=1)
        found[layer.name] = Signals(layer.unfolded(seen[layer.name][0]).reshape(len(x), -1, layer.d_in), flat)
    return found
