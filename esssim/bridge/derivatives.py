"""Derivatives against differences: the gradient with the loss, Hessian products with the gradient, and their symmetry.

At a point near θ and along unit vectors v at random, in units of each parameter's size: with step h

    g·v against (L(θ+hv) − L(θ−hv))/2h,   Hv against (g(θ+hv) − g(θ−hv))/2h tensor by tensor,   wᵀHv against vᵀHw.

A difference may straddle a kink, a wrong derivative is wrong in almost every direction: the first direction is enough
where it agrees, at the best of several steps; where it does not, most of five must agree.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from esssim.bridge.behaviour import call, generic_point, scales
from esssim.bridge.functional import Care, Functional, plain_attention
from esssim.bridge.samplewise import Samplewise

STEPS = (1e-5, 1e-4, 1e-6, 1e-3)
# Relative differences that are still agreement, and that of products from both sides, which no step enters.
TOLERANCE, ASYMMETRY = 1e-5, 1e-8
# Of a tensor's own size and of the whole vector, of which rounding in the rest is a part.
SHARE = 1e-2
# What a loss may change by, relatively, along so short a step: a root at zero changes by its square root.
JUMP_STEP, JUMP = 1e-10, 1e-3
ROUNDING = 1e3 * float(np.finfo(np.float64).eps)
SAMPLES, DIRECTIONS = 16, 5


class Finding(NamedTuple):
    """The relative errors along one direction, and the parameter whose rows of Hv are worst."""

    gradient: float
    product: float
    asymmetry: float
    worst: str

    @property
    def agrees(self) -> bool:
        return self.gradient <= TOLERANCE and self.product <= TOLERANCE and self.asymmetry <= ASYMMETRY

    @property
    def said(self) -> str:
        if self.gradient > TOLERANCE:
            return f"its gradient differs from differences of the loss by {self.gradient:.2g} of its size"
        if self.product > TOLERANCE:
            return (
                f"its Hessian products differ from differences of the gradient by {self.product:.2g} of their size, "
                f"most at {self.worst!r}"
            )
        return f"its Hessian is not symmetric: wᵀHv and vᵀHw differ by {self.asymmetry:.2g} of their size"


def check_derivatives(functional: Functional, theta: Tensor, x: Tensor, y: Tensor) -> None:
    """ValueError, with the layer where it is found, unless the derivatives at a point near θ (p,) are right."""
    _check_continuous(functional, theta, x, y)
    finding = wrong_derivative(functional, theta, x, y)
    if finding is None:
        return
    layer = culprit(functional, theta, x)
    where = f", by its layer {layer}" if layer else ""
    raise ValueError(
        f"module and loss must have right second derivatives, but under torch {torch.__version__} "
        f"{finding.said}{where}; "
        "write that part with other operations (check=False skips this check)"
    )


def _check_continuous(functional: Functional, theta: Tensor, x: Tensor, y: Tensor) -> None:
    """ValueError where the loss jumps at θ, as a matrix that is kept orthogonal by reflections may at its start."""
    step = JUMP_STEP * scales(theta, functional.sizes) * _unit_vectors(np.random.default_rng(1), len(theta))[0]
    near = generic_point(theta, functional.sizes)
    here, other, *beside = (
        float(functional.mean_loss(t, x, y).detach()) for t in (theta, near, theta + step, theta - step)
    )
    jump = max(abs(value - here) for value in beside)
    if jump > JUMP * max(abs(here), abs(other)):
        raise ValueError(
            f"module and loss must be continuous at the module's parameters, but there the loss jumps by {jump:.2g}: "
            "start from other parameters (check=False skips this check)"
        )


def wrong_derivative(functional: Functional, theta: Tensor, x: Tensor, y: Tensor, seed: int = 0) -> Finding | None:
    """What most directions disagree on, None where they agree, or where there is nothing finite to compare."""
    near = generic_point(theta, functional.sizes, seed)
    point = next((t for t in (near, theta) if bool(torch.isfinite(functional.mean_loss(t, x, y)))), None)
    if point is None:
        return None
    unit = scales(theta, functional.sizes)
    rng = np.random.default_rng(seed)
    wrong: list[Finding] = []
    for k in range(DIRECTIONS):
        rows = torch.as_tensor(np.sort(rng.permutation(len(x))[:SAMPLES]))
        finding = compared(functional, point, unit, x[rows], y[rows], _unit_vectors(rng, len(theta)))
        if finding is not None and not finding.agrees:
            wrong.append(finding)
        elif k == 0:
            return None
    return wrong[len(wrong) // 2] if 2 * len(wrong) > DIRECTIONS else None


def _unit_vectors(rng: np.random.Generator, p: int) -> tuple[Tensor, Tensor]:
    vectors = rng.standard_normal((2, p))
    v, w = torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return v, w


def compared(
    functional: Functional, point: Tensor, unit: Tensor, x: Tensor, y: Tensor, vectors: tuple[Tensor, Tensor]
) -> Finding | None:
    """The errors along v, and wᵀHv against vᵀHw; None where a derivative is not finite."""
    v, w = vectors

    def loss(h: float) -> float:
        return float(functional.mean_loss(point + h * unit * v, x, y).detach())

    def gradient(h: float) -> Tensor:
        return unit * functional.gradient(point + h * unit * v, x, y).detach()

    g = gradient(0.0)
    images = [unit * functional.product(point, x, y, unit * vector).detach() for vector in (v, w)]
    if not all(bool(torch.isfinite(part).all()) for part in (g, *images)):
        return None
    asymmetry = abs(_dot(w, images[0]) - _dot(v, images[1])) / (sum(map(_norm, images)) or 1.0)
    slope, size, value = _dot(g, v), _norm(g), abs(loss(0.0))
    first, second, worst = np.inf, np.inf, ""
    for h in STEPS:
        if first > TOLERANCE:
            error = abs((loss(h) - loss(-h)) / (2 * h) - slope) - ROUNDING * value / h
            first = min(first, max(error, 0.0) / (size / len(g) ** 0.5 or 1.0))
        if second > TOLERANCE:
            difference = (gradient(h) - gradient(-h)) / (2 * h)
            error, name = _worst(functional, images[0], difference, g, h)
            if error < second:
                second, worst = error, name
    return Finding(first, second, asymmetry, worst)


def _worst(functional: Functional, image: Tensor, difference: Tensor, g: Tensor, h: float) -> tuple[float, str]:
    """The largest relative error of a parameter's part of Hv, beyond rounding, and its name."""
    sizes = functional.sizes
    whole, slope = max(_norm(image), _norm(difference)), _norm(g)
    if whole == 0:
        return 0.0, ""
    errors = []
    for own, other in zip(torch.split(image, sizes), torch.split(difference, sizes), strict=True):
        error = _norm(own - other) - ROUNDING * slope / h
        errors.append(max(error, 0.0) / (max(_norm(own), _norm(other)) + SHARE * whole))
    k = int(np.nanargmax(errors)) if not np.isnan(errors).all() else 0
    return errors[k], functional.names[k]


def _norm(vector: Tensor) -> float:
    """Without squares that underflow."""
    largest = float(vector.abs().max())
    return largest * float(torch.linalg.vector_norm(vector / largest)) if 0 < largest < np.inf else largest


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a, b))


# --- where it comes from ----------------------------------------------------------------------------------------------


class _Alone(nn.Module):
    """One layer as a network: its own parameters and the numbers that it was given are θ, its outputs squared the
    loss.
    """

    def __init__(self, layer: nn.Module, inputs: list[Any], options: dict[str, Any]) -> None:
        super().__init__()
        self.layer, self.rest, self.options = copy.deepcopy(layer).double(), inputs, options
        for k, value in enumerate(inputs):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.register_parameter(f"input{k}", nn.Parameter(value.double()))

    def forward(self, _: Tensor) -> Tensor:
        inputs = [getattr(self, f"input{k}", value) for k, value in enumerate(self.rest)]
        found = self.layer(*inputs, **self.options)
        first = found if isinstance(found, Tensor) else next(part for part in found if isinstance(part, Tensor))
        flat = first.reshape(1, -1)
        return flat * torch.cos(torch.arange(flat.shape[1], dtype=flat.dtype))


def culprit(functional: Functional, theta: Tensor, x: Tensor) -> str:
    """The innermost layer whose own derivatives are wrong or missing, or '' where none alone is."""
    module = functional.module
    seen: dict[nn.Module, tuple[list[Any], dict[str, Any]]] = {}

    def keep(layer: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.setdefault(
            layer, ([part.detach().clone() if isinstance(part, Tensor) else part for part in inputs], options)
        )

    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in module.modules()]
    try:
        with torch.no_grad(), plain_attention():
            call(module, x[:SAMPLES])
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in reversed(list(module.named_modules())):
        if layer in seen and layer is not module and _is_wrong_alone(layer, *seen[layer]):
            return f"{name!r} ({type(layer).__name__})"
    return ""


def _is_wrong_alone(layer: nn.Module, inputs: list[Any], options: dict[str, Any]) -> bool:
    alone = _Alone(layer, inputs, options)
    parameters = list(alone.parameters())
    if not parameters:
        return False
    functional = Samplewise(alone, lambda f, _: f.sin().sum() + f.square().sum(), Care(buffers=True, attention=True))
    theta = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    nothing = torch.zeros(1, 1, dtype=theta.dtype)
    try:
        return wrong_derivative(functional, theta, nothing, nothing) is not None
    except (RuntimeError, TypeError, StopIteration):
        return True


# --- derivatives that are not finite ----------------------------------------------------------------------------------


def check_finite_derivatives(functional: Functional, theta: Tensor, x: Tensor, y: Tensor) -> None:
    """ValueError that names the samples whose loss is finite at θ (p,) while its gradient or its Hessian is not."""
    probe = torch.randn(len(theta), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(theta.dtype)
    rows = list(range(len(x)))
    if _is_finite(functional, theta, x, y, probe):
        return
    bad = [i for i in rows if not _is_finite(functional, theta, x[i : i + 1], y[i : i + 1], probe)]
    bad = [i for i in bad if bool(torch.isfinite(functional.losses(theta, x[i : i + 1], y[i : i + 1])).all())]
    if bad:
        raise NonFiniteDerivatives(bad)


class NonFiniteDerivatives(ValueError):
    """Samples with a finite loss whose derivatives are not finite."""

    def __init__(self, samples: list[int]) -> None:
        self.samples = samples
        few = ", ".join(map(str, samples[:5])) + (", …" if len(samples) > 5 else "")
        word = "sample" if len(samples) == 1 else "samples"
        super().__init__(
            f"module and loss must have finite first and second derivatives, but those of {word} {few} are not finite "
            "at "
            "this theta, while the loss is: a root, a power below 2 or a norm at zero has none; add a small number "
            "inside"
        )


def _is_finite(functional: Functional, theta: Tensor, x: Tensor, y: Tensor, probe: Tensor) -> bool:
    parts: Iterator[Tensor] = (part(theta, x, y) for part in _parts(functional, probe))
    return all(bool(torch.isfinite(part).all()) for part in parts)


def _parts(functional: Functional, probe: Tensor) -> tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]:
    return functional.gradient, lambda theta, x, y: functional.product(theta, x, y, probe)
