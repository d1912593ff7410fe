"""Torch modules that several tests of the bridge share. Only imported where torch is there."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import nn

import esssim as es
from esssim.bridge import TorchProblem


class DiagonalNetwork(nn.Module):
    """β = u∘v, or w₊ᴰ − w₋ᴰ: the two parameters are θ = (first, second)."""

    def __init__(self, d: int, form: str = "product", depth: int = 2) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.ones(d)), nn.Parameter(torch.zeros(d))
        self.form, self.depth = form, depth

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.form == "product":
            return x @ (self.first * self.second)
        return x @ (self.first**self.depth - self.second**self.depth)


class Residual(nn.Module):
    """Something that is no sequence of layers: a skip connection, a softplus, layer norm if wanted."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, 3), nn.Linear(3, 2)
        self.norm = nn.LayerNorm(3) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(self.norm(x + nn.functional.softplus(self.inner(x))))


def perceptron(*widths: int, activation: type[nn.Module] = nn.Tanh, seed: int = 0) -> nn.Sequential:
    """Linear layers of those widths with an activation between."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for k, (d_in, d_out) in enumerate(itertools.pairwise(widths)):
        layers += [nn.Linear(d_in, d_out)] + ([activation()] if k < len(widths) - 2 else [])
    return nn.Sequential(*layers)


def six_networks() -> dict[str, TorchProblem]:
    """Small networks of every kind: depths, activations, losses, convolutions, skips."""
    rng = np.random.default_rng(0)
    n, inputs = 9, rng.standard_normal((9, 3))
    labels, targets = rng.integers(0, 3, n), rng.standard_normal((n, 2))
    torch.manual_seed(1)
    convolution = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3))
    return {
        "tanh, squared": TorchProblem(perceptron(3, 5, 2), inputs, targets),
        "GELU, two hidden layers": TorchProblem(perceptron(3, 5, 4, 2, activation=nn.GELU), inputs, targets),
        "ReLU, cross-entropy": TorchProblem(
            perceptron(3, 6, 3, activation=nn.ReLU, seed=2), inputs, labels, "cross_entropy"
        ),
        "sigmoid, cross-entropy": TorchProblem(
            perceptron(3, 4, 4, 3, activation=nn.Sigmoid), inputs, labels, "cross_entropy"
        ),
        "convolution, cross-entropy": TorchProblem(
            convolution, rng.standard_normal((n, 1, 6)), labels, "cross_entropy"
        ),
        "skip connection, squared": TorchProblem(Residual(norm=False), inputs, targets),
    }


def layer_norm() -> TorchProblem:
    """torch 2.13 differentiates `nn.LayerNorm` wrongly forward over reverse, and so does what relies on that."""
    torch.manual_seed(1)
    rng = np.random.default_rng(0)
    return TorchProblem(Residual(norm=True), rng.standard_normal((9, 3)), rng.standard_normal((9, 2)))


def linear_pairs() -> dict[str, tuple[es.Problem, TorchProblem, np.ndarray]]:
    """A problem of the core, the same as a torch module, and a point."""
    rng = np.random.default_rng(3)
    inputs, targets = rng.standard_normal((7, 3)), rng.standard_normal(7)
    wide, few = rng.standard_normal((4, 6)), rng.standard_normal(4)
    line = nn.Linear(3, 1, bias=False)
    return {
        "linear regression": (es.LinearRegression(inputs, targets), TorchProblem(line, inputs, targets), rng.standard_normal(3)),
        "linear regression, n < p": (
            es.LinearRegression(wide, few), TorchProblem(nn.Linear(6, 1, bias=False), wide, few), rng.standard_normal(6),
        ),
        "product": (
            es.DiagonalLinearNetwork(inputs, targets), TorchProblem(DiagonalNetwork(3), inputs, targets), rng.standard_normal(6),
        ),
        "difference, depth 3": (
            es.DiagonalLinearNetwork(inputs, targets, form="difference", depth=3),
            TorchProblem(DiagonalNetwork(3, "difference", 3), inputs, targets),
            rng.standard_normal(6),
        ),
    }  # fmt: skip
