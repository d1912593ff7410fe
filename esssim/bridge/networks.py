"""Multilayer perceptrons: built from a seed as PyTorch initialises them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from esssim import _validate

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}


def mlp(
    n_inputs: int,
    hidden: Sequence[int] = (32,),
    n_outputs: int = 1,
    *,
    activation: str = "tanh",
    gain: float = 1.0,
    seed: int = 0,
) -> nn.Sequential:
    """A multilayer perceptron x ↦ W_L a(… a(W₁x + c₁) …) + c_L in float64.

    hidden: the widths of the hidden layers; activation: "tanh", "gelu" or "relu"; every weight and bias is PyTorch's
    default, uniform in ±1/√(inputs of the layer), drawn from `seed`, times `gain`.
    Raises ValueError for widths that are no positive integers, an unknown activation, a gain that is not positive.
    """
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"hidden must be a sequence of widths, got {_validate.shown(hidden)}")
    widths = [_validate.integer("n_inputs", n_inputs, 1)]
    widths += [_validate.integer("hidden", width, 1) for width in hidden]
    widths += [_validate.integer("n_outputs", n_outputs, 1)]
    kind = ACTIVATIONS[_validate.choice("activation", activation, tuple(ACTIVATIONS))]
    gain = _validate.real("gain", gain, above=0.0)
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_validate.integer("seed", seed, 0))
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after, dtype=torch.float64), kind()]
    network = nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(gain)
    return network
