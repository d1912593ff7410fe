"""Tensors and modules in a fingerprint: classes, options, buffers, hooks and the order of layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from esssim._fingerprint.walk import BY_VALUE, Walk, attributes, describe

BY_VALUE.append(Tensor)
PARTS = ("_parameters", "_buffers", "_modules")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
PLAIN = (Tensor, nn.Parameter, nn.Buffer)


def surroundings() -> dict[str, Any]:
    """What decides numbers of every module of the process: hooks on all modules, the dtype of new tensors,
    precision.
    """
    everywhere = vars(nn.modules.module)
    hooks = {name: _hooks(everywhere, f"_global{name}") for name in HOOKS}
    precision = torch.get_float32_matmul_precision()
    return {"hooks": hooks, "dtype": torch.get_default_dtype(), "float32 products": precision}


def _hooks(holder: dict[str, Any], name: str) -> list[tuple[Any, ...]]:
    """The hooks in the order in which they run, each with its kind; the numbers that they have are of the process."""
    flags = [holder.get(f"{name}{kind}", {}) for kind in ("_with_kwargs", "_always_called")]
    return [(hook, *(number in flag for flag in flags)) for number, hook in holder.get(name, {}).items()]


@describe.register
def _(thing: torch.jit.ScriptModule, walk: Walk) -> None:
    raise walk.refuse("is compiled by torch.jit, which hides its code")


@describe.register
def _(thing: nn.Module, walk: Walk) -> None:
    walk.write("torch module")
    walk.into(".__class__", type(thing))
    for name in PARTS:
        parts = getattr(thing, name)
        walk.write(name, *parts)
        for part in parts:
            walk.into(f".{part}", parts[part])
    for name in HOOKS:
        walk.listed(_hooks(vars(thing), name), f".{name}[{{}}]")
    rest = attributes(thing)
    walk.named({name: part for name, part in rest.items() if name not in PARTS and not _of_hooks(name)})


def _of_hooks(name: str) -> bool:
    return name == "_non_persistent_buffers_set" or (name.startswith("_") and "_hooks" in name)


@describe.register
def _(thing: Tensor, walk: Walk) -> None:
    walk.write("tensor", str(thing.dtype), str(tuple(thing.shape)), str(thing.layout))
    if type(thing) not in PLAIN:
        walk.into(".__class__", type(thing))
    walk.value(thing, _bytes)


def _bytes(tensor: Tensor) -> bytes:
    dense = tensor.detach().to_dense().cpu().resolve_conj().resolve_neg().contiguous()
    return dense.reshape(-1).view(torch.uint8).numpy().tobytes()


@describe.register
def _(thing: RemovableHandle, walk: Walk) -> None:
    walk.write("handle of a hook")  # it can only remove the hook
