"""Modules that `torch.func` cannot trace, such as recurrent layers: plain automatic differentiation, sample by
sample.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from esssim.bridge.functional import Functional, Map, OfParts

Function = Callable[[Tensor], Tensor]


class Samplewise(Functional):
    """What `Functional` gives, by reverse over reverse mode for one sample after the other."""

    def mapped(self, function: Callable[..., Tensor], in_dims: tuple[int | None, ...], chunk: int) -> Any:
        def each(*arguments: Tensor) -> Tensor:
            count = next(len(part) for part, axis in zip(arguments, in_dims, strict=True) if axis == 0)
            rows = (
                [part if axis is None else part[m] for part, axis in zip(arguments, in_dims, strict=True)]
                for m in range(count)
            )
            return torch.stack([function(*row).detach() for row in rows])

        return each

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([self.loss(f, target) for f, target in zip(self.outputs(theta, x), y, strict=True)])

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return _gradient(lambda t: self.mean_loss(t, x, y), theta)

    def sample_gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([_gradient(loss, theta) for loss in self._sample_losses(x, y)])

    def sample_hessians(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([_hessian(loss, theta) for loss in self._sample_losses(x, y)])

    def jacobians(self, theta: Tensor, x: Tensor) -> Tensor:
        return torch.stack([_jacobian(partial(self._output_of, row), theta) for row in x])

    def _jacobians_of(self, output: OfParts, own: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        found = [_jacobians(partial(_called_with, output, row), own) for row in x]
        return {name: torch.stack([each[name] for each in found]) for name in own}

    def hessian(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return _hessian(lambda t: self.mean_loss(t, x, y), theta)

    def product(self, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        return _product(lambda t: self.mean_loss(t, x, y), theta, v)

    def sample_products(self, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        losses = self._sample_losses(x, y)
        return torch.stack([_product(loss, theta, vector) for loss, vector in zip(losses, v, strict=True)])

    def model_products(self, theta: Tensor, x: Tensor, v: Tensor) -> Tensor:
        return self.model_products_of_outputs(theta, x, v[:, None])[:, 0]

    def model_products_of_outputs(self, theta: Tensor, x: Tensor, v: Tensor) -> Tensor:
        def of(row: Tensor, k: int, vector: Tensor) -> Tensor:
            return _product(lambda t: self.output(t, row)[k], theta, vector)

        products = [[of(row, k, vector) for k, vector in enumerate(own)] for row, own in zip(x, v, strict=True)]
        return torch.stack([torch.stack(own) for own in products])

    def linearised(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Map, Map]:
        jacobians = self.jacobians(theta, x)
        return (
            self.outputs(theta, x).detach(),
            lambda v: torch.einsum("ncp,rp->nrc", jacobians, v),
            lambda u: torch.einsum("ncp,nrc->rp", jacobians, u),
        )

    def _sample_losses(self, x: Tensor, y: Tensor) -> list[Function]:
        return [partial(self._loss_of, row, target) for row, target in zip(x, y, strict=True)]

    def _loss_of(self, x: Tensor, y: Tensor, theta: Tensor) -> Tensor:
        return self.sample_loss(theta, x, y)

    def _output_of(self, x: Tensor, theta: Tensor) -> Tensor:
        return self.output(theta, x)


def _leaf(theta: Tensor) -> Tensor:
    return theta.detach().clone().requires_grad_()


def _derivative(value: Tensor, leaf: Tensor, *, graph: bool = False) -> Tensor:
    """∂value/∂leaf, zeros where it does not depend on it."""
    if not value.requires_grad:
        return torch.zeros_like(leaf)
    found: Tensor = torch.autograd.grad(value, leaf, create_graph=graph, retain_graph=True, materialize_grads=True)[0]
    return found


@torch.enable_grad()
def _gradient(function: Function, theta: Tensor) -> Tensor:
    leaf = _leaf(theta)
    return _derivative(function(leaf), leaf)


@torch.enable_grad()
def _product(function: Function, theta: Tensor, v: Tensor) -> Tensor:
    leaf = _leaf(theta)
    return _derivative(torch.dot(_derivative(function(leaf), leaf, graph=True), v), leaf)


@torch.enable_grad()
def _jacobian(function: Function, theta: Tensor) -> Tensor:
    """(m, p) of a function with values (m,)."""
    leaf = _leaf(theta)
    return torch.stack([_derivative(value, leaf) for value in function(leaf)])


@torch.enable_grad()
def _hessian(function: Function, theta: Tensor) -> Tensor:
    leaf = _leaf(theta)
    return torch.stack([_derivative(entry, leaf) for entry in _derivative(function(leaf), leaf, graph=True)])


def _called_with(output: OfParts, row: Tensor, own: dict[str, Tensor]) -> Tensor:
    return output(own, row)


@torch.enable_grad()
def _jacobians(function: Callable[[dict[str, Tensor]], Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """(m, numbers) for each of the arguments, of a function with values (m,)."""
    leaves = {name: _leaf(value) for name, value in own.items()}
    rows = [
        torch.autograd.grad(value, list(leaves.values()), retain_graph=True, allow_unused=True, materialize_grads=True)
        for value in function(leaves)
    ]
    return dict(zip(leaves, (torch.stack(parts) for parts in zip(*rows, strict=True)), strict=True))
