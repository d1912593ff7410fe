"""What a module computes, one operation after the other, by tracing it with torch.fx: whatever its class is called.

Only what this file names is known, and each result is used once: None for anything else, as for a forward that depends
on numbers. Every module on the way has to be what its class says, without hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

ACTIVATIONS: dict[type[nn.Module], str] = {nn.Tanh: "tanh", nn.GELU: "gelu", nn.ReLU: "relu", nn.Sigmoid: "sigmoid"}
KINDS: tuple[type[nn.Module], ...] = (nn.Sequential, nn.Linear, nn.Flatten, nn.Dropout, nn.Identity, *ACTIVATIONS)
CALL = nn.Module.__call__
FORWARDS: dict[type[nn.Module], Any] = {kind: kind.forward for kind in KINDS}
# What every module has, and what of it acts on a call.
ATTRIBUTES = frozenset(vars(nn.Identity()))
HOOKS = tuple(name for name in ATTRIBUTES if "hook" in name)
FUNCTIONS: dict[Callable[..., Any], str] = {
    torch.tanh: "tanh", F.tanh: "tanh", torch.relu: "relu", F.relu: "relu", torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid", F.gelu: "gelu", torch.flatten: "flatten", F.linear: "linear", F.dropout: "dropout",
    getattr: "getattr",
}  # fmt: skip
METHODS = {
    "tanh": "tanh",
    "tanh_": "tanh",
    "relu": "relu",
    "relu_": "relu",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
}


class Step(NamedTuple):
    """kind: "linear", with the names of its parameters and the (d_out, d_in) that its module says; "flatten"; or the
    name of an activation.
    """

    kind: str
    weight: str = ""
    bias: str | None = None
    shape: tuple[int, int] | None = None


def steps_of(module: nn.Module, row: Tensor) -> list[Step] | None:
    """The steps from inputs (n, ...), of which `row` is one, to the outputs; None where one of them is not known."""
    if not all(map(_does_what_its_class_says, module.modules())):
        return None
    try:
        graph = fx.Tracer(autowrap_functions=()).trace(module)
    except Exception:  # whatever torch.fx says, the module has its own forward
        return None
    chain = _Chain(module, row)
    return chain.steps if all(map(chain.goes_on, graph.nodes)) else None


def module_step(name: str, layer: nn.Module) -> Step | None:
    """That of a plain layer of torch: kind "" for one that does nothing; None for another one."""
    if not is_plain(layer):
        return None
    if isinstance(layer, nn.Linear):
        bias = None if layer.bias is None else f"{name}bias"
        return Step("linear", f"{name}weight", bias, (layer.out_features, layer.in_features))
    if isinstance(layer, nn.Flatten):
        return Step("flatten") if (layer.start_dim, layer.end_dim) == (1, -1) else None
    if isinstance(layer, nn.Dropout):
        return None if layer.training and layer.p > 0 else Step("")
    if type(layer) in ACTIVATIONS:
        return Step(ACTIVATIONS[type(layer)]) if getattr(layer, "approximate", "none") == "none" else None
    return Step("")


def is_plain(layer: nn.Module) -> bool:
    """Whether a module does what its type says: no subclass, nothing hooked to it, nothing set on it or its class."""
    kind, own = type(layer), vars(layer)
    if FORWARDS.get(kind) is not kind.forward or kind.__call__ is not CALL:
        return False
    return own.keys() <= {*ATTRIBUTES, *getattr(kind, "__constants__", ())} and not any(map(own.get, HOOKS))


def _does_what_its_class_says(layer: nn.Module) -> bool:
    own = vars(layer)
    return type(layer).__call__ is CALL and "forward" not in own and not any(map(own.get, HOOKS))


class _Chain:
    """Nodes of a graph that follow each other; shapes: those that are the shape of the inputs; sizes: the number of
    samples.
    """

    def __init__(self, module: nn.Module, row: Tensor) -> None:
        self.module, self.numbers = module, row.numel()
        self.steps: list[Step] = []
        self.last: fx.Node | None = None
        self.shapes: set[fx.Node] = set()
        self.sizes: set[fx.Node] = set()

    def goes_on(self, node: fx.Node) -> bool:
        """Whether the next node is known, and takes what the one before it gives, which nothing else takes."""
        if node.op == "get_attr":
            return True
        if node.op == "placeholder":
            first, self.last = self.last is None, node
            return first
        if node.op == "output":
            return node.args == (self.last,)
        if self._is_size(node):
            return True
        if not node.args or node.args[0] is not self.last or not self._alone(node):
            return False
        step = self._step(node)
        self.last = node
        if step is not None and step.kind:
            self.steps.append(step)
        return step is not None

    def _alone(self, node: fx.Node) -> bool:
        assert self.last is not None
        return set(self.last.users) <= {node, *self.shapes, *self.sizes}

    def _is_size(self, node: fx.Node) -> bool:
        """x.shape, x.size(), x.shape[0] and x.size(0)."""
        of_last = bool(node.args) and node.args[0] is self.last and not node.kwargs
        if of_last and (node.target, node.args[1:]) in ((getattr, ("shape",)), ("size", ())):
            self.shapes.add(node)
        elif (of_last and (node.target, node.args[1:]) == ("size", (0,))) or (
            len(node.args) == 2 and node.args[0] in self.shapes and node.args[1] == 0 and "getitem" in node.name
        ):
            self.sizes.add(node)
        else:
            return False
        return True

    def _step(self, node: fx.Node) -> Step | None:
        rest, options = node.args[1:], dict(node.kwargs)
        if node.op == "call_module":
            return module_step(f"{node.target}.", self.module.get_submodule(str(node.target))) if not rest else None
        target: Any = node.target
        name = METHODS.get(target, target) if node.op == "call_method" else FUNCTIONS.get(target)
        if name in ACTIVATIONS.values():
            options.pop("inplace", None)
            approximate = options.pop("approximate", "none")
            return Step(str(name)) if not rest and not options and approximate == "none" else None
        if name == "linear":
            return self._linear(rest, options)
        if name == "dropout":
            p, training = options.get("p", rest[0] if rest else 0.5), options.get("training", True)
            return Step("") if len(rest) <= 1 and (p == 0 or training is False) else None
        if name == "flatten":
            return Step("flatten") if (rest, options) in (((1,), {}), ((), {"start_dim": 1})) else None
        if name in ("view", "reshape") and not self.steps and not options:
            return Step("flatten") if self._flattens(rest) else None
        if name == "squeeze" and not options and rest in ((-1,), (1,)):
            # Of the outputs, where it takes away an axis of one entry or does nothing.
            return Step("") if self.steps and set(node.users) <= set(self._outputs(node)) else None
        return None

    def _outputs(self, node: fx.Node) -> list[fx.Node]:
        return [user for user in node.users if user.op == "output"]

    def _flattens(self, shape: tuple[Any, ...]) -> bool:
        if len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = tuple(shape[0])
        first, *others = shape if shape else (None,)
        return len(others) == 1 and (
            (first in self.sizes and others[0] in (-1, self.numbers)) or (first == -1 and others[0] == self.numbers)
        )

    def _linear(self, rest: tuple[Any, ...], options: dict[str, Any]) -> Step | None:
        weight, bias = (*rest, *([None] * (2 - len(rest))))[:2]
        weight, bias = options.pop("weight", weight), options.pop("bias", bias)
        known = [part for part in (weight, bias) if isinstance(part, fx.Node) and part.op == "get_attr"]
        if options or len(rest) > 2 or not known or len(known) != 1 + (bias is not None):
            return None
        return Step("linear", str(weight.target), None if bias is None else str(bias.target))
