"""A module as a function of one parameter vector: outputs, gradients, Jacobians and Hessian products of samples.

Second derivatives are reverse over reverse: forward over reverse would be faster, but through `nn.LayerNorm` torch 2.13
gives wrong numbers for it in silence (tests/test_bridge.py has a network with one).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from esssim.bridge.exact import Exact
from esssim.bridge.losses import SampleLoss

Map = Callable[[Tensor], Tensor]
OfParts = Callable[[dict[str, Tensor], Tensor], Tensor]


class Care(NamedTuple):
    """What a module needs at each call: buffers or inputs of its own, which it writes to; attention in plain
    operations.

    classes: it computes logarithms of probabilities, in forms that are right at any margin.
    """

    buffers: bool = False
    inputs: bool = False
    attention: bool = False
    classes: bool = False


NONE = Care()


class Functional:
    """f(θ, x) of a module, θ (p,) its parameters in `named_parameters` order, and ℓ(f, y) on top.

    Every method takes one θ and works on samples x (n, ...) and targets y (n, ...).
    """

    # Where they are set, θ stands for origin + scale∘θ: coordinates in which a diagonal preconditioner is the identity.
    origin: Tensor | None = None
    scale: Tensor | None = None

    def __init__(self, module: nn.Module, loss: SampleLoss, care: Care = NONE) -> None:
        self.module, self.loss, self.care = module, loss, care
        self.places = places(module)
        named = list(module.named_parameters())
        self.names = [name for name, _ in named]
        self.shapes = [parameter.shape for _, parameter in named]
        self.sizes = [parameter.numel() for _, parameter in named]

    def on(self, device: torch.device, kind: torch.dtype | None = None) -> Functional:
        """The same on a device, to which θ and the samples have to be moved as well, and in another precision."""
        moved = copy.copy(self)
        moved.module = copy.deepcopy(self.module).to(device, kind)
        moved.places = places(moved.module)
        if self.origin is not None and self.scale is not None:
            moved.origin, moved.scale = self.origin.to(device, kind), self.scale.to(device, kind)
        return moved

    def parameters(self, theta: Tensor) -> dict[str, Tensor]:
        """θ (p,) as views with the names and shapes of the module."""
        if self.origin is not None and self.scale is not None:
            theta = self.origin + self.scale * theta
        parts = torch.split(theta, self.sizes)
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """f of each sample, (n, c)."""
        return self.outputs_of(self.parameters(theta), x)

    def outputs_of(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        """The same for parameters by their names."""
        if self.care != NONE:
            return self._careful(state, x)
        return called(self.module, state, x, self.places).reshape(x.shape[0], -1)

    def _careful(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        if self.care.buffers:
            state |= {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        own = x.clone() if self.care.inputs else x
        with (
            plain_attention() if self.care.attention else nullcontext(),
            Exact() if self.care.classes else nullcontext(),
        ):
            return called(self.module, state, own, self.places).reshape(x.shape[0], -1)

    def mapped(self, function: Callable[..., Tensor], in_dims: tuple[int | None, ...], chunk: int) -> Any:
        """`function` over the first axis of the arguments whose entry in `in_dims` is 0, so many at a time."""
        return vmap(function, in_dims, chunk_size=chunk)

    def output(self, theta: Tensor, x: Tensor) -> Tensor:
        """f of one sample, (c,)."""
        return self.outputs(theta, x[None])[0]

    def losses(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """ℓ of each sample, (n,)."""
        found: Tensor = vmap(self.loss)(self.outputs(theta, x), y)
        return found

    def mean_loss(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The mean of ℓ over the samples."""
        return self.losses(theta, x, y).mean()

    def gradient(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The gradient of the mean loss, (p,)."""
        found: Tensor = grad(self.mean_loss)(theta, x, y)
        return found

    def weighted_gradient(self, theta: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
        """The gradient of Σᵢwᵢℓᵢ, weights (n,): (p,)."""
        found: Tensor = grad(lambda t: torch.dot(weights, self.losses(t, x, y)))(theta)
        return found

    def sample_loss(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """ℓ of one sample."""
        return self.loss(self.output(theta, x), y)

    def sample_gradients(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∇ℓᵢ, (n, p)."""
        found: Tensor = vmap(grad(self.sample_loss), (None, 0, 0))(theta, x, y)
        return found

    def sample_hessians(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """∇²ℓᵢ, (n, p, p)."""
        found: Tensor = vmap(_hessian(self.sample_loss), (None, 0, 0))(theta, x, y)
        return found

    def jacobians(self, theta: Tensor, x: Tensor) -> Tensor:
        """∂fᵢ/∂θ, (n, c, p)."""
        found: Tensor = vmap(jacrev(self.output), (None, 0))(theta, x)
        return found

    def jacobians_in(self, theta: Tensor, x: Tensor, entries: dict[str, slice]) -> Tensor:
        """∂fᵢ/∂θ in some entries of some parameters, (n, c, their number): nothing of the size of θ for each sample."""
        state = self.parameters(theta)
        own = {name: state[name].detach().reshape(-1)[some] for name, some in entries.items()}

        def output(own: dict[str, Tensor], row: Tensor) -> Tensor:
            return self.outputs_of(state | _placed(state, own, entries), row[None])[0]

        found = torch.cat(list(self._jacobians_of(output, own, x).values()), dim=2)
        return (
            found if self.scale is None else found * torch.cat([self._scales[name][k] for name, k in entries.items()])
        )

    @property
    def _scales(self) -> dict[str, Tensor]:
        assert self.scale is not None
        return dict(zip(self.names, torch.split(self.scale, self.sizes), strict=True))

    def _jacobians_of(self, output: OfParts, own: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = vmap(jacrev(output), (None, 0))(own, x)
        return found

    def hessian(self, theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The Hessian of the mean loss, (p, p)."""
        return _hessian(self.mean_loss)(theta, x, y)

    def product(self, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """The Hessian of the mean loss times v (p,): (p,)."""
        return _directional(lambda t: grad(self.mean_loss)(t, x, y), theta, v)

    def sample_products(self, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """∇²ℓᵢ vᵢ with a vector for each sample, v (n, p): (n, p)."""

        def one(x: Tensor, y: Tensor, v: Tensor) -> Tensor:
            return _directional(lambda t: grad(self.sample_loss)(t, x, y), theta, v)

        found: Tensor = vmap(one)(x, y, v)
        return found

    def model_products(self, theta: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """∇²fᵢ vᵢ of a single output with a vector for each sample, v (n, p): (n, p)."""

        def one(x: Tensor, v: Tensor) -> Tensor:
            return _directional(lambda t: grad(lambda s: self.output(s, x)[0])(t), theta, v)

        found: Tensor = vmap(one)(x, v)
        return found

    def model_products_of_outputs(self, theta: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """∇²fᵢₐ vᵢₐ of every output with a vector each, v (n, c, p): (n, c, p)."""

        def one(x: Tensor, v: Tensor) -> Tensor:
            def of(unit: Tensor, v: Tensor) -> Tensor:
                return _directional(lambda t: grad(lambda s: torch.dot(self.output(s, x), unit))(t), theta, v)

            products: Tensor = vmap(of)(torch.eye(len(v), dtype=v.dtype), v)
            return products

        found: Tensor = vmap(one)(x, v)
        return found

    def summed_model_products(self, theta: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """Σᵢₐ ∇²fᵢₐ vᵢₐ over samples and outputs, v (n, c, p): (p,), the gradient of Σᵢₐ ∇fᵢₐ·vᵢₐ.

        Each term is a derivative in forward mode, so that nothing else of the size of v is made. Not every operation
        has one.
        """

        def along(t: Tensor) -> Tensor:
            def one(x: Tensor, v: Tensor) -> Tensor:
                def of(unit: Tensor, v: Tensor) -> Tensor:
                    return torch.dot(jvp(lambda s: self.output(s, x), (t,), (v,))[1], unit)

                derivatives: Tensor = vmap(of)(torch.eye(len(v), dtype=v.dtype), v)
                return derivatives.sum()

            terms: Tensor = vmap(one)(x, v)
            return terms.sum()

        found: Tensor = grad(along)(theta)
        return found

    def linearised(self, theta: Tensor, x: Tensor) -> tuple[Tensor, Map, Map]:
        """f (n, c), and (r, p) ↦ Jv (n, r, c) and (n, r, c) ↦ Jᵀu (r, p)."""
        found: Any = torch.func.vjp(lambda t: self.outputs(t, x), theta)
        outputs, transposed = found
        # u ↦ Jᵀu is linear, so that its own transpose is v ↦ Jv: reverse mode alone, which every layer has.
        twice: Any = torch.func.vjp(lambda covector: transposed(covector)[0], torch.zeros_like(outputs))
        along = vmap(lambda direction: twice[1](direction)[0], out_dims=1)
        back = vmap(lambda covector: transposed(covector)[0], in_dims=1)
        return outputs.detach(), lambda v: along(v).detach(), lambda u: back(u).detach()


def _placed(state: dict[str, Tensor], own: dict[str, Tensor], entries: dict[str, slice]) -> dict[str, Tensor]:
    """Parameters with some of their entries, a range of each, replaced."""
    placed = {}
    for name, values in own.items():
        flat, (first, last, _) = state[name].reshape(-1), entries[name].indices(state[name].numel())
        placed[name] = torch.cat((flat[:first], values, flat[last:])).view(state[name].shape)
    return placed


def places(module: nn.Module) -> dict[str, str]:
    """Where each tensor of a module has to be put, one name for each attribute, and the first name that it has."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    # A layer that is used under two names comes once: torch, which puts tensors in under both, leaves the second ones
    # there.
    for prefix, layer in module.named_modules():
        for name, tensor in (layer._parameters | layer._buffers).items():
            if tensor is not None:
                place = f"{prefix}.{name}" if prefix else name
                found[place] = first.setdefault(id(tensor), place)
    return found


def called(module: nn.Module, state: dict[str, Tensor], x: Tensor, where: dict[str, str]) -> Any:
    """module(x) with these tensors, by their first names, in place of its own; where: its `places`."""
    tensors = {place: state[name] for place, name in where.items() if name in state}
    return functional_call(module, tensors, (x,), tie_weights=False)


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention by operations that all have second derivatives, which the fused kernels have not."""
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _directional(gradient: Callable[[Tensor], Tensor], theta: Tensor, v: Tensor) -> Tensor:
    """The symmetric derivative of a gradient times v, as the gradient of ⟨gradient, v⟩."""
    found: Tensor = grad(lambda t: torch.dot(gradient(t), v))(theta)
    return found


def _hessian(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    found: Callable[..., Tensor] = jacrev(grad(function))
    return found
