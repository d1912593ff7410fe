"""Networks of few parameters that several tests build: named layers and a function of them. Only where torch is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import esssim as es
from esssim.bridge import TorchProblem

RNG = np.random.default_rng(0)
INPUTS, TARGETS, PAIRS = RNG.standard_normal((8, 3)), RNG.standard_normal(8), RNG.standard_normal((8, 2))
SEQUENCES, LABELS, TOKENS = RNG.standard_normal((8, 4, 3)), RNG.integers(0, 3, 8), RNG.integers(0, 7, (8, 4))
FEW = es.WithoutReplacement(2)


class Net(nn.Module):
    """Named layers and the function of them and of the inputs."""

    def __init__(self, function: Callable[[Any, Tensor], Tensor], **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def two(function: Callable[[Any, Tensor], Tensor], units: int = 4) -> Net:
    return Net(function, a=nn.Linear(3, units), b=nn.Linear(4, 1))


def encoder(**options: Any) -> Net:
    layer = nn.TransformerEncoderLayer(3, 1, 4, batch_first=True, **options)
    return Net(lambda n, x: n.out(n.layer(x).mean(dim=1)), layer=layer, out=nn.Linear(3, 1))


def tied() -> Net:
    net = Net(
        lambda n, x: n.c(torch.tanh(n.b(torch.tanh(n.a(x))))), a=nn.Linear(3, 3), b=nn.Linear(3, 3), c=nn.Linear(3, 1)
    )
    net.b.weight = net.a.weight
    return net


def norm(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Unflatten(1, (2, 2)), layer, nn.Flatten(), nn.Tanh(), nn.Linear(4, 1))


def built(
    module: nn.Module | Callable[[], nn.Module], inputs: np.ndarray, targets: Any = TARGETS, **rest: Any
) -> TorchProblem:
    torch.manual_seed(3)
    return TorchProblem(module if isinstance(module, nn.Module) else module(), inputs, targets, **rest)
