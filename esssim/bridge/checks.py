"""What a module must be for its samples to have gradients and Hessians of their own."""

from __future__ import annotations

import copy
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
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
DROPOUT = (nn.modules.dropout._DropoutNd,)


def check_dtype(dtype: Any) -> str:
    """Its name; torch and numpy have objects for it."""
    named = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype
    if isinstance(named, (np.dtype, type)):
        named = np.dtype(named).name
    return _validate.choice("dtype", named, tuple(DTYPES))


def check_mode(dtype: str) -> None:
    """ValueError inside a context of torch that changes numbers, or where new tensors are."""
    if dtype == "float32" and torch.is_autocast_enabled("cpu"):
        raise ValueError("dtype='float32' must not be used inside torch.autocast, which computes in bfloat16: leave it")
    if torch.get_default_device().type != "cpu":
        raise ValueError(
            f"torch's default device must be the CPU, got {str(torch.get_default_device())!r}: "
            "use the problem inside `with torch.device('cpu'):`"
        )


def check_module(module: Any) -> None:
    """ValueError unless it is a module with something to train, whose layers treat samples one by one."""
    if not isinstance(module, nn.Module):
        raise ValueError(f"module must be a torch.nn.Module, got {_validate.shown(module)}")
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "module must have derivatives, which torch.inference_mode() takes away: build the problem outside"
        )
    for name, layer in module.named_modules():
        if isinstance(layer, torch.jit.ScriptModule) or type(layer).__module__.startswith("torch._dynamo"):
            raise ValueError(
                f"module must not be compiled, but {name or 'the module itself'!r} is a {type(layer).__name__}: give "
                "the "
                "module that it was made of"
            )
        where = _named(name, layer)
        check_norm(name, layer)
        if isinstance(layer, DROPOUT) and layer.training and layer.p > 0:
            raise ValueError(f"module must be deterministic, but {where} is in train mode: call module.eval() first")
        if getattr(layer, "max_norm", None) is not None and isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
            raise ValueError(
                f"module must leave its parameters alone, but {where} writes to its weight at each call, with "
                f"max_norm={layer.max_norm!r}: leave that out, or normalise in forward"
            )
    parameters = dict(module.named_parameters())
    for name, parameter in parameters.items():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"module must know its shapes, but {name!r} has none yet: call the module once on a sample"
            )
        if not parameter.is_floating_point() and parameter.requires_grad:
            raise ValueError(f"module must have real parameters, but {name!r} has dtype {parameter.dtype}")
    if not parameters:
        raise ValueError("module must have parameters, it has none")
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ValueError("module must have a parameter that is trained, but all have requires_grad=False")


def check_norm(name: str, layer: nn.Module) -> None:
    """ValueError where a layer of this name normalises by the other samples of a batch."""
    if isinstance(layer, NORMS[0]) and (layer.training or layer.running_mean is None):
        remedy = "use GroupNorm or LayerNorm instead"
        if layer.running_mean is not None:
            remedy = f"call module.eval() first, which takes its running statistics, or {remedy}"
        raise ValueError(
            f"module must treat samples one by one, but {_named(name, layer)} mixes those of a batch; {remedy}"
        )


def _named(name: str, layer: nn.Module) -> str:
    return f"layer {name or '(the module itself)'!r} ({type(layer).__name__})"


def own_copy(module: nn.Module, kind: torch.dtype) -> nn.Module:
    """A copy on the CPU in one precision, in which what is frozen is a buffer: its parameters are θ."""
    for name, layer in module.named_modules():
        for key, value in vars(layer).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise ValueError(
                    f"module must be one that can be copied, but layer {name or '(the module itself)'!r} keeps "
                    f"{key!r}, "
                    "which was computed from its parameters: make pruning permanent first by prune.remove, and take "
                    "torch.nn.utils.parametrizations in place of hooks"
                )
    try:
        own = copy.deepcopy(module).to(device="cpu", dtype=kind)
    except (RuntimeError, TypeError) as error:
        words = " ".join(str(error).split())
        raise ValueError(f"module must be one that can be copied to the CPU, it says: {words}") from error
    for layer in own.modules():
        for name, parameter in list(layer._parameters.items()):
            if parameter is not None and not parameter.requires_grad:
                del layer._parameters[name]
                layer._buffers[name] = parameter.detach()
    return own


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
