"""A point θ of a network in the forms in which torch has it: a tensor, a module, a state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from esssim._validate import FloatArray


def as_point(module: nn.Module, value: Any, name: str = "theta") -> Any:
    """θ as a float64 array from a tensor, a module like `module` or its state dict; anything else as it is.

    What is constant in `module` (buffers, frozen parameters) must be the same there, as the outputs depend on it.
    """
    if isinstance(value, nn.Module):
        state = dict(value.named_parameters(remove_duplicate=False)) | dict(value.named_buffers(remove_duplicate=False))
        return _from_state(module, state, name)
    if isinstance(value, Mapping):
        return _from_state(module, value, name)
    if isinstance(value, (list, tuple)) and any(isinstance(part, Tensor) for part in value):
        shapes = [parameter.shape for parameter in module.parameters()]
        if [np.shape(part) for part in value] == shapes:
            return np.concatenate([_array(part).ravel() for part in value])
        return np.stack([_array(part) for part in value])
    return _array(value) if isinstance(value, Tensor) else value


def _from_state(module: nn.Module, state: Mapping[Any, Any], name: str) -> FloatArray:
    own = dict(module.named_parameters(remove_duplicate=False))
    constants = dict(module.named_buffers(remove_duplicate=False))
    names: dict[Tensor, str] = {parameter: key for key, parameter in reversed(own.items())}
    missing, unknown = [key for key in own if key not in state], [key for key in state if key not in own | constants]
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r}, which the problem's module lacks"
        raise ValueError(f"{name} must have the parameters of the problem's module, it {what}")
    for key, tensor in (own | constants).items():
        if tuple(np.shape(state[key])) != tuple(tensor.shape):
            raise ValueError(
                f"{name} must have the parameters of the problem's module, but {key!r} has the shape "
                f"{tuple(np.shape(state[key]))}, there it is {tuple(tensor.shape)}"
            )
        if key in own and not np.array_equal(_array(state[key]), _array(state[names[tensor]]), equal_nan=True):
            raise ValueError(f"{name} must tie {key!r} to {names[tensor]!r} as the problem's module does, they differ")
        if key in constants and not torch.equal(torch.as_tensor(state[key]).to(tensor), tensor):
            raise ValueError(
                f"{name} must have the constants of the problem's module, but {key!r} has other values: "
                "build a problem of the new module"
            )
    return np.concatenate([_array(state[key]).ravel() for key, _ in module.named_parameters()])


def _array(value: Any) -> FloatArray:
    if isinstance(value, Tensor):
        return np.array(value.detach().cpu().to(torch.float64).numpy() if not value.is_complex() else value.detach())
    return np.array(value, dtype=np.float64)
