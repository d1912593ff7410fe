"""How a module is differentiated: all samples at once by `torch.func`, or one by one where that cannot trace it.

The choice is made once, when a problem is built, by trying everything that a statistic may ask for on a few samples.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from esssim.bridge import behaviour
from esssim.bridge.derivatives import culprit
from esssim.bridge.functional import Care, Functional
from esssim.bridge.losses import SampleLoss
from esssim.bridge.samplewise import Samplewise
from esssim.bridge.targets import OneNumber

T = TypeVar("T")

# What is tried: few samples, and all entries of a Hessian only where they are few.
SAMPLES, ALL_ENTRIES = 2, 300
# Numbers in the Jacobians that are compared: half a gigabyte. Where there are more, nothing asks for all of them.
JACOBIAN_NUMBERS = 2**26
# Between the two ways, of the largest entry.
AGREEMENT = {torch.float64: 1e-8, torch.float32: 1e-3}


def route(module: nn.Module, loss: SampleLoss, care: Care, theta: Tensor, x: Tensor, y: Tensor) -> Functional:
    """The fastest way that gives everything, and the same as the slowest; ValueError where the slowest gives
    nothing.
    """
    near = behaviour.generic_point(theta, [parameter.numel() for parameter in module.parameters()])
    rows, targets = x[:SAMPLES], y[:SAMPLES]
    slow = Samplewise(module, loss, care._replace(attention=True))
    try:
        expected = list(_reference(slow, near, rows, targets))
    except (RuntimeError, TypeError, IndexError, NotImplementedError) as error:
        layer = culprit(slow, theta, x)
        where = f", in its layer {layer}" if layer else ""
        raise ValueError(
            f"module and loss must have second derivatives under torch {torch.__version__}, but torch says{where}: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    for attention in (False, True):
        fast = Functional(module, loss, care._replace(attention=attention))
        found = _tried(lambda *given: list(_everything(*given)), fast, near, rows, targets)
        if found is not None and all(map(_agree, found, expected)):
            return fast
    return slow


def has_forward_mode(functional: Functional, theta: Tensor, x: Tensor) -> bool:
    """Whether `summed_model_products` gives what reverse mode gives, tried on few samples."""
    near = behaviour.generic_point(theta, [parameter.numel() for parameter in functional.module.parameters()])
    rows = x[:SAMPLES]
    v = _vector(near).expand(len(rows), functional.outputs(near, rows).shape[1], -1)
    products = (functional.model_products_of_outputs, functional.summed_model_products)
    mapped = [functional.mapped(partial(ask, near), (0, 0), 1) for ask in products]
    every, total = (_tried(ask, rows[None], v[None]) for ask in mapped)
    return every is not None and total is not None and _agree(total[0].detach(), every[0].sum(dim=(0, 1)).detach())


def _tried(ask: Callable[..., T], *given: object) -> T | None:
    """What torch answers; None where it refuses, or takes the samples of an operation one by one: the other way is then
    there, and quicker.
    """
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = ask(*given)
    except Exception:  # whatever torch says
        return None
    return None if any("performance drop" in str(warning.message) for warning in heard) else found


def _reference(functional: Functional, theta: Tensor, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    v = _vector(theta)
    yield functional.outputs(theta, x).detach()
    yield functional.sample_gradients(theta, x, y)
    products = functional.sample_products(theta, x, y, v.expand(len(x), -1))
    yield products
    yield products.mean(dim=0)
    if _jacobians_are_few(functional, theta, x):
        yield functional.jacobians(theta, x)


def _everything(functional: Functional, theta: Tensor, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """The same, as the statistics ask for it: over batches, over θ, with all entries."""
    v, batches = _vector(theta), torch.arange(len(x))[None].expand(2, -1)
    yield functional.outputs(theta, x).detach()
    gradients = lambda t, rows: functional.sample_gradients(t, x[rows], y[rows])  # noqa: E731
    yield functional.mapped(gradients, (0, 0), 2)(theta.expand(2, -1), batches)[1].detach()
    if len(theta) <= ALL_ENTRIES:
        hessians = lambda rows: functional.sample_hessians(theta, x[rows], y[rows])  # noqa: E731
        yield functional.mapped(hessians, (0,), 2)(batches)[0].detach() @ v
    else:
        yield functional.sample_products(theta, x, y, v.expand(len(x), -1)).detach()
    product = lambda rows, v: functional.product(theta, x[rows], y[rows], v)  # noqa: E731
    yield functional.mapped(product, (0, 0), 2)(batches, v.expand(2, -1))[0].detach()
    few = _jacobians_are_few(functional, theta, x)
    jacobians = lambda rows: functional.jacobians(theta, x[rows])  # noqa: E731
    found = functional.mapped(jacobians, (0,), 2)(batches)[0].detach() if few else None
    _, along, back = functional.linearised(theta, x)
    back(along(torch.stack([v, v])))
    if isinstance(functional.loss, OneNumber):
        torch.func.vmap(torch.func.jacrev(torch.func.grad(functional.loss)))(functional.outputs(theta, x), y)
    if found is not None:
        yield found


def _jacobians_are_few(functional: Functional, theta: Tensor, x: Tensor) -> bool:
    with torch.no_grad():
        return functional.outputs(theta, x).numel() * len(theta) <= JACOBIAN_NUMBERS


def _vector(theta: Tensor) -> Tensor:
    return torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(theta.dtype)


def _agree(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    scale = float(expected.abs().max())
    close = (found - expected).abs() <= AGREEMENT[expected.dtype] * scale
    return bool((close | (found == expected) | (found.isnan() & expected.isnan())).all())
