"""What a module must be for its samples to have gradients and Hessians of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from esssim import _validate
from esssim._validate import FloatArray

DTYPES = {"float64": torch.float64, "float32": torch.float32}
# The smallest relative residual of an eigenvalue that rounding in the products allows.
REACHABLE = {"float64": 1e-13, "float32": 1e-5}
DEFAULT_TOLERANCE = {"float64": 1e-8, "float32": 1e-4}
MIXING = (nn.modules.batchnorm._BatchNorm,)
DROPOUT = (nn.modules.dropout._DropoutNd,)


def check_module(module: Any) -> None:
    """ValueError unless it is a module with untied trainable parameters, whose layers treat samples one by one."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module, got {_validate.shown(module)}")
    for name, layer in module.named_modules():
        where = f"layer {name or '(the module itself)'!r} ({type(layer).__name__})"
        if isinstance(layer, MIXING):
            raise ValueError(
                f"module must treat samples one by one, but {where} mixes those of a batch; "
                "use GroupNorm or LayerNorm instead"
            )
        if isinstance(layer, DROPOUT) and layer.training and layer.p > 0:
            raise ValueError(f"module must be deterministic, but {where} is in train mode: call module.eval() first")
    owners: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in owners:
            raise ValueError(
                f"module must not tie weights, but {owners[id(parameter)]!r} and {name!r} are one parameter"
            )
        owners[id(parameter)] = name
        if not parameter.requires_grad:
            raise ValueError(
                f"module must have a gradient for every parameter, but {name!r} has requires_grad=False; "
                "make what is constant a buffer"
            )
        if not parameter.is_floating_point():
            raise ValueError(f"module must have real parameters, but {name!r} has dtype {parameter.dtype}")
    if not owners:
        raise ValueError("module must have parameters, it has none")


def check_behaviour(module: nn.Module, inputs: Tensor) -> None:
    """ValueError where a parameter does not reach the outputs, or an output depends on other samples or on chance."""
    few = inputs[: min(3, len(inputs))]
    together = module(few)
    if not isinstance(together, Tensor) or together.ndim == 0 or together.shape[0] != len(few):
        shape = tuple(together.shape) if isinstance(together, Tensor) else type(together).__name__
        raise ValueError(f"module must return a tensor with a row per sample ({len(few)}, ...), got {shape}")
    with torch.no_grad():
        alone = torch.cat([module(few[i : i + 1]) for i in range(len(few))])
        again = module(few)
    if bool(torch.isfinite(together).all()):
        first = together.detach()
        scale = float(first.abs().max()) or 1.0
        limit = 1e4 * torch.finfo(together.dtype).eps * scale
        if float((again - first).abs().max()) > limit:
            raise ValueError("module must be deterministic, but two calls with the same inputs differ")
        if float((alone - first).abs().max()) > limit:
            raise ValueError("module must treat samples one by one, but an output changes with the other samples")
    names, parameters = zip(*module.named_parameters(), strict=True)
    gradients = torch.autograd.grad(together.sum(), parameters, allow_unused=True) if together.requires_grad else None
    for k, name in enumerate(names):
        if gradients is None or gradients[k] is None:
            raise ValueError(
                f"module must have a gradient for every parameter, but {name!r} does not reach the outputs"
            )


def check_held(name: str, values: FloatArray, dtype: str, *, power: int = 1) -> None:
    """ValueError where the largest of some numbers, or its square for power=2, leaves the range of a dtype."""
    info = torch.finfo(DTYPES[dtype])
    largest = float(np.abs(values).max(initial=0.0))
    # Room for sums, and for what is a little smaller and counts as well.
    low, high = 64 * info.tiny ** (1 / power), info.max ** (1 / power) / 128
    if largest > 0 and not low <= largest <= high:
        what = {1: "", 2: ", so that their squares can be held"}[power]
        raise ValueError(
            f"{name} must be between {low:.2g} and {high:.2g} in size with dtype={dtype!r}{what}, got {largest:.2g}; "
            "give them in other units" + (" or use dtype='float64'" if dtype == "float32" else "")
        )


def check_tolerance(tolerance: float | None, dtype: str) -> float:
    """The relative residual asked of eigenvalues; ValueError where the dtype cannot reach it."""
    if tolerance is None:
        return DEFAULT_TOLERANCE[dtype]
    value = _validate.real("tolerance", tolerance, above=0.0, below=1.0)
    if value < REACHABLE[dtype]:
        hint = "; use dtype='float64'" if dtype == "float32" else ""
        raise ValueError(f"tolerance must be at least {REACHABLE[dtype]:g} with dtype={dtype!r}, got {value:g}{hint}")
    return value


def first_non_finite_layer(module: nn.Module, call: Any) -> str:
    """The name of the first layer whose output is not finite during `call()`, or '' if none is."""
    found: list[str] = []
    names = {layer: name for name, layer in module.named_modules()}

    def hook(layer: nn.Module, _: Any, output: Any) -> None:
        if not found and isinstance(output, Tensor) and not bool(torch.isfinite(output).all()):
            found.append(f"{names[layer] or 'the module itself'} ({type(layer).__name__})")

    handles = [layer.register_forward_hook(hook) for layer in names]
    try:
        with torch.no_grad():
            call()
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else ""
