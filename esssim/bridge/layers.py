"""Which problems are fully connected networks and nothing else, and where their parameters lie in θ.

What is computed by hand or in the compiled loop relies on this answer alone. It is asked anew at each use, as a hook
may have come since, and it is None for everything that is not known, down to an attribute that somebody has set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import nn

from esssim.bridge.differentiable import Differentiable

ACTIVATIONS: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.GELU: "gelu", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
LOSSES = ("squared", "cross_entropy")
KINDS: tuple[type[nn.Module], ...] = (nn.Sequential, nn.Linear, nn.Flatten, nn.Dropout, nn.Identity, *ACTIVATIONS)
CALL = nn.Module.__call__
FORWARDS: dict[type[nn.Module], Any] = {kind: kind.forward for kind in KINDS}
# What every module has, and what of it acts on a call.
ATTRIBUTES = frozenset(vars(nn.Identity()))
HOOKS = tuple(name for name in ATTRIBUTES if "hook" in name)
GLOBAL_HOOKS = (
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
)


class Layer(NamedTuple):
    """A linear layer: its weight (d_out, d_in) and offset start there in θ; φ follows, None behind the last one."""

    d_in: int
    d_out: int
    weight: int
    offset: int | None
    activation: str | None


def layers_of(problem: Differentiable) -> list[Layer] | None:
    """The layers of a problem f = W_L φ(… φ(W₁x + c₁) …) + c_L with a known loss; None for any other problem."""
    if not is_own(problem) or problem.loss_name not in LOSSES:
        return None
    functional, x = problem.functional, problem.tensors[0]
    if (
        functional.scale is not None
        or x.dtype != problem.kind
        or any(getattr(nn.modules.module, name, None) for name in GLOBAL_HOOKS)
    ):
        return None
    starts, start = {}, 0
    for name, size in zip(functional.names, functional.sizes, strict=True):
        starts[name] = start
        start += size
    shapes = dict(zip(functional.names, functional.shapes, strict=True))
    layers: list[Layer] = []
    width, axes = x[0].numel(), x.ndim
    pending = False
    for name, layer in _flat(functional.module, ""):
        if not _is_plain(layer) or (isinstance(layer, nn.Dropout) and layer.training and layer.p > 0):
            return None
        if isinstance(layer, nn.Linear):
            weight, offset = f"{name}weight", f"{name}bias"
            d_in, d_out = layer.in_features, layer.out_features
            # Each parameter belongs to one layer only, and has the shape that the layer says.
            fits = d_in == width and shapes.pop(weight, None) == (d_out, d_in)
            fits &= layer.bias is None or shapes.pop(offset, None) == (d_out,)
            if pending or axes != 2 or not fits:
                return None
            layers.append(Layer(d_in, d_out, starts[weight], None if layer.bias is None else starts[offset], None))
            width, pending = d_out, True
        elif isinstance(layer, nn.Flatten):
            if layers or (layer.start_dim, layer.end_dim) != (1, -1):
                return None
            axes = 2
        elif type(layer) in ACTIVATIONS:
            if not pending or getattr(layer, "approximate", "none") != "none":
                return None
            layers[-1] = layers[-1]._replace(activation=ACTIVATIONS[type(layer)])
            pending = False
    # Two linear layers in a row, and φ behind the last one, would each need one more rule.
    return layers if pending and not shapes else None


def is_own(problem: Differentiable) -> bool:
    """Whether no method is somebody else's, by a subclass or on the instance."""
    kind = type(problem)
    return kind.__module__ == "esssim.bridge.problem" and not any(
        callable(getattr(kind, name, None)) for name in vars(problem)
    )


def _flat(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """All modules, a Sequential before its children, each with the prefix of its parameters' names."""
    yield prefix, module
    if type(module) is nn.Sequential:
        for name, child in module._modules.items():
            assert child is not None
            yield from _flat(child, f"{prefix}{name}.")


def _is_plain(layer: nn.Module) -> bool:
    """Whether a module does what its type says: no subclass, nothing hooked to it, nothing set on it or its class."""
    kind, own = type(layer), vars(layer)
    if FORWARDS.get(kind) is not kind.forward or kind.__call__ is not CALL:
        return False
    return own.keys() <= {*ATTRIBUTES, *getattr(kind, "__constants__", ())} and not any(map(own.get, HOOKS))
