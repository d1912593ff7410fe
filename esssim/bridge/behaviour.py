"""What a module does when it is called: whether it mixes samples, draws at random, or writes to what it is given."""

from __future__ import annotations

import itertools
import pickle
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from esssim.bridge.exact import Exact
from esssim.bridge.functional import Care, Functional, called, places, plain_attention

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
# Samples that are also taken alone, and the sizes of the batches that are drawn.
ALONE, SIZES = 8, (2, 3, 5, 8)
# Samples through which a parameter may reach the outputs.
REACHED = 256


def generic_point(theta: Tensor, sizes: list[int], seed: int = 0) -> Tensor:
    """A point near θ where nothing vanishes by the way the parameters were set: outer layers of zeros, symmetric
    units.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(theta), generator=generator, dtype=torch.float64).to(theta.dtype)
    return theta + 0.1 * scales(theta, sizes) * noise


def scales(theta: Tensor, sizes: list[int]) -> Tensor:
    """The root mean square of each parameter tensor, in place of 0 that of all or 1, for every entry of θ."""
    overall = _rms(theta) or 1.0
    return torch.cat([torch.full_like(part, _rms(part) or overall) for part in torch.split(theta, sizes)])


def _rms(values: Tensor) -> float:
    largest = float(values.abs().max())
    return largest * float((values / largest).square().mean().sqrt()) if largest else 0.0


def call(module: nn.Module, x: Tensor) -> Any:
    """module(x) that leaves x and the buffers as they are."""
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    return called(module, buffers, x.clone(), places(module))


def watched_call(functional: Functional, theta: Tensor, x: Tensor) -> tuple[Counter[nn.Module], int]:
    """How often each layer is called for samples x, and the numbers that all of them put out."""
    calls: Counter[nn.Module] = Counter()
    numbers: list[int] = []

    def count(layer: nn.Module, _: Any, output: Any) -> None:
        calls[layer] += 1
        numbers.append(output.numel() if isinstance(output, Tensor) else 0)

    handles = [layer.register_forward_hook(count) for layer in functional.module.modules()]
    try:
        functional.outputs(theta, x)
    finally:
        for handle in handles:
            handle.remove()
    return calls, sum(numbers)


class _Watched(nn.Module):
    """A module that keeps the tensors that it has after a call, which puts the old ones back."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.after: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Any:
        found = self.module(x)
        self.after = dict(itertools.chain(self.named_parameters(), self.named_buffers()))
        return found


def needs(module: nn.Module, x: Tensor) -> Care:
    """What a call writes to; ValueError where that is a parameter."""
    watched, own = _Watched(module), x.clone()
    parameters = {name: parameter.detach().clone() for name, parameter in watched.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in watched.named_buffers()}
    with torch.no_grad(), Exact() as forms:
        called(watched, parameters | buffers, own, places(watched))

    def is_written(name: str, tensor: Tensor) -> bool:
        return tensor._version > 0 or watched.after.get(name) is not tensor

    written = next((name for name, tensor in parameters.items() if is_written(name, tensor)), None)
    if written is not None:
        raise ValueError(
            f"module must leave its parameters alone, but a call writes to {written.removeprefix('module.')!r}; "
            "an Embedding does so with max_norm: leave that out, or normalise in forward"
        )
    return Care(any(is_written(*item) for item in buffers.items()), own._version > 0, classes=forms.used)


@contextmanager
def no_chance(name: str, module: nn.Module | None = None) -> Iterator[None]:
    """ValueError where something inside draws a random number; the generators that all share are left as they were."""
    layers = [] if module is None else list(module.modules())
    generators = [value for layer in layers for value in vars(layer).values() if isinstance(value, GENERATORS)]
    saved, before = _shared(), _states(generators)
    try:
        yield
        drawn = before != _states(generators)
    finally:
        torch.set_rng_state(saved[0])
        np.random.set_state(saved[1])  # noqa: NPY002
        random.setstate(saved[2])
    if drawn:
        raise ValueError(
            f"{name} must be deterministic, but a call draws random numbers: call {name}.eval() first, "
            "or take out what draws"
        )


def _shared() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def _states(generators: list[Any]) -> bytes:
    """Of the three generators that everybody shares and of those that a module keeps."""
    own = [one.get_state() if hasattr(one, "get_state") else getattr(one, "bit_generator", one) for one in generators]
    plain = [part.numpy().tobytes() if isinstance(part, Tensor) else part for part in (*_shared(), *own)]
    return pickle.dumps(plain)


def check_rows(module: nn.Module, x: Tensor) -> int:
    """The number of outputs; ValueError unless there is a real tensor with a row per sample, without random numbers."""
    with no_chance("module", module):
        found = call(module, x)
    if not isinstance(found, Tensor) or found.ndim == 0 or found.shape[0] != len(x):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        hint = "" if isinstance(found, Tensor) else ": wrap it in a module that returns the tensor you want"
        raise ValueError(f"module must return a tensor with a row per sample ({len(x)}, ...), got {shape}{hint}")
    if not found.is_floating_point():
        raise ValueError(f"module must return real numbers, got dtype {found.dtype}")
    return found[0].numel()


def check_samples(functional: Functional, theta: Tensor, x: Tensor, seed: int = 0) -> None:
    """ValueError where two calls differ, or outputs change with the other samples: alone, in batches at random, all."""
    rng = np.random.default_rng(seed)
    n = len(x)
    with torch.no_grad():
        together = functional.outputs(theta, x)
        if not bool(torch.isfinite(together).all()):
            return
        limit = 1e4 * torch.finfo(together.dtype).eps * (float(together.abs().max()) or 1.0)
        again = functional.outputs(theta, x)
        if float((again - together).abs().max()) > limit:
            raise ValueError("module must be deterministic, but two calls with the same inputs differ")
        batches = [np.array([i]) for i in rng.permutation(n)[:ALONE]]
        batches += [rng.permutation(n)[:size] for size in SIZES if size < n]
        for batch in batches:
            rows = torch.as_tensor(batch)
            if float((functional.outputs(theta, x[rows]) - together[rows]).abs().max()) > limit:
                raise ValueError("module must treat samples one by one, but an output changes with the other samples")


def unused_parameters(module: nn.Module, x: Tensor) -> list[str]:
    """The names of the parameters that do not reach the outputs; ValueError where a tensor beside them is trained
    too.
    """
    with torch.enable_grad(), plain_attention():
        total = call(module, x[:REACHED]).sum()
    names, parameters = zip(*module.named_parameters(), strict=True)
    if not total.requires_grad:
        return list(names)
    stranger = next((leaf for leaf in _leaves(total) if not any(leaf is own for own in parameters)), None)
    if stranger is not None:
        raise ValueError(
            f"module must register everything that is trained, but a tensor of shape {tuple(stranger.shape)} with "
            "requires_grad=True is none of its parameters: keep layers in a ModuleList and tensors in a Parameter, "
            "or detach what is constant"
        )
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    return [name for name, gradient in zip(names, found, strict=True) if gradient is None]


def _leaves(total: Tensor) -> Iterator[Tensor]:
    """The tensors without history that a result depends on."""
    seen, waiting = set(), [total.grad_fn]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        waiting += [before for before, _ in node.next_functions]
