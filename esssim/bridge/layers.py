"""Which problems are fully connected networks and nothing else, and where their parameters lie in θ.

What is computed by hand or in the compiled loop relies on this answer alone. It is asked anew at each use, as a hook
may have come since, and it is None for everything that is not known, down to an attribute that somebody has set.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn

from esssim.bridge.differentiable import Differentiable
from esssim.bridge.traced import Step, module_step, steps_of

LOSSES = ("squared", "cross_entropy")
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
    steps = _steps(functional.module, x[0])
    if steps is None:
        return None
    layers: list[Layer] = []
    width, axes, pending = x[0].numel(), x.ndim, False
    for kind, weight, bias, says in steps:
        if kind == "linear":
            # Each parameter belongs to one layer only, and has the shape that the layer says.
            shape = shapes.pop(weight, None)
            if shape is None or len(shape) != 2 or (says is not None and tuple(shape) != says):
                return None
            d_out, d_in = shape
            fits = d_in == width and (bias is None or shapes.pop(bias, None) == (d_out,))
            if pending or axes != 2 or not fits:
                return None
            layers.append(Layer(d_in, d_out, starts[weight], None if bias is None else starts[bias], None))
            width, pending = d_out, True
        elif kind == "flatten":
            if layers:
                return None
            axes = 2
        else:
            if not pending:
                return None
            layers[-1] = layers[-1]._replace(activation=kind)
            pending = False
    # Two linear layers in a row, and φ behind the last one, would each need one more rule.
    return layers if pending and not shapes else None


def is_sequential(problem: Differentiable) -> bool:
    """Whether its module is made of plain layers alone, so that nothing had to be traced."""
    return all(module_step(name, layer) is not None for name, layer in _flat(problem.functional.module, ""))


def _steps(module: nn.Module, row: Tensor) -> list[Step] | None:
    """Of plain layers of torch in Sequentials, or whatever can be traced."""
    found = []
    for name, layer in _flat(module, ""):
        step = module_step(name, layer)
        if step is None:
            return steps_of(module, row)
        if step.kind:
            found.append(step)
    return found


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
