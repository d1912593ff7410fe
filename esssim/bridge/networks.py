"""Multilayer perceptrons: built from a seed as PyTorch initialises them, and recognised where the fast loop can run them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Layout:
    """A perceptron as the compiled loop sees it: the widths from inputs to outputs, and the activation's name."""

    widths: tuple[int, ...]
    activation: str


def layout_of(module: nn.Module) -> Layout | None:
    """The layout of a Sequential of Linear layers with biases and one activation between them; None for all else."""
    if type(module) is not nn.Sequential:
        return None
    linear = [layer for layer in list(module)[::2] if type(layer) is nn.Linear]
    between = list(module)[1::2]
    whole = len(linear) == len(between) + 1 == len(list(module)[::2])
    if not whole or any(layer.bias is None for layer in linear):
        return None
    names = {name for layer in between for name, kind in ACTIVATIONS.items() if type(layer) is kind}
    known = all(type(layer) in ACTIVATIONS.values() for layer in between)
    if not known or len(names) > 1 or any(getattr(layer, "approximate", "none") != "none" for layer in between):
        return None
    if len({id(parameter) for layer in linear for parameter in layer.parameters()}) != 2 * len(linear):
        return None
    widths = (linear[0].in_features, *(layer.out_features for layer in linear))
    return Layout(tuple(int(width) for width in widths), names.pop() if names else "tanh")
