"""What an optimiser does near a point, its preconditioner frozen, and the edge of stability that belongs to it.

One step near a point is, in coordinates φ with θ = θ₀ + s∘φ in which the preconditioner is the identity,

    v ← βv + γ(Sg + λφ),   φ ← (1 − ηδ)φ − ηv,

S = diag(s): γ is 1 − dampening for SGD and 1 − β₁ for Adam, λ a weight decay that is part of the gradient and δ one
that is not. It is stable where the eigenvalues of SHS are below

    (1+β)(2 − ηδ)/(ηγ) − λ,   with Nesterov's momentum 2(1+β)/(η(1+2β)) − λ.

Sources: Cohen et al., ICLR 2021 (momentum), and arXiv 2207.14484 (Adam: 38/η with β₁ = 0.9).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from esssim.stability.edges import edge, small_batch_edge


@dataclass(frozen=True)
class Dynamics:
    """η, β, γ, λ, δ and s of an optimiser at one step; scale None: the identity. known: whether its edge is.

    Where parameter groups have weight decays of their own, λ and δ are the largest: the edge is a lower bound.
    """

    step_size: float
    momentum: float = 0.0
    nesterov: bool = False
    gain: float = 1.0
    weight_decay: float = 0.0
    decoupled_decay: float = 0.0
    scale: Tensor | None = None
    known: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def edge(self) -> float:
        """The largest stable eigenvalue of SHS with full batches; NaN where it is not known."""
        if not self.known:
            return math.nan
        if self.step_size <= 0:
            return math.inf
        full = edge(self.step_size * self.gain, momentum=self.momentum, nesterov=self.nesterov)
        return full * (1 - self.step_size * self.decoupled_decay / 2) - self.weight_decay

    @property
    def small_batch_edge(self) -> float:
        """2(1−β)/(ηγ), that of SGD with the effective step ηγ/(1−β)."""
        if not self.known:
            return math.nan
        return small_batch_edge(self.step_size * self.gain, momentum=self.momentum) if self.step_size > 0 else math.inf


def dynamics(optimizer: Any, parameters: list[nn.Parameter]) -> Dynamics:
    """What a torch optimiser does with these parameters, θ in their order, as its groups and its state say it now.

    SGD (heavy ball, Nesterov, dampening, weight decay), Adam, AdamW, RMSprop and Adagrad are known, each also with a
    step size for each group. Any other has an unknown edge.
    """
    optimizer = inner(optimizer)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    own = [groups[id(parameter)] for parameter in parameters]
    kind = next((reader for known, reader in READERS.items() if isinstance(optimizer, known)), None)
    first = own[0]
    step_sizes = [_number(group["lr"]) for group in own]
    eta = max(step_sizes)
    if kind is None or first.get("maximize"):
        note = f"The edge of {type(optimizer).__name__} is not known here."
        return Dynamics(eta, known=False, notes=(note,))
    settings, precondition = kind(first)
    notes = []
    if any(kind(group)[0] != settings for group in own):
        notes.append("Parameter groups have momenta of their own: the edge is that of the first group.")
    if precondition is not None and not any(optimizer.state.get(parameter) for parameter in parameters):
        return Dynamics(eta, known=False, notes=("The optimiser has no preconditioner before its first step.",))
    squares = []
    for parameter, group, step_size in zip(parameters, own, step_sizes, strict=True):
        rows = torch.ones(parameter.numel(), dtype=torch.float64)
        if precondition is not None:
            state = optimizer.state.get(parameter)
            # A parameter without a state has had no gradient, and does not move.
            rows = precondition(state, group).double().reshape(-1).cpu() if state else 0 * rows
        squares.append(rows * (step_size / eta if eta > 0 else 1.0))
    square = torch.cat(squares)
    plain = bool((square == 1).all())
    decays = [_number(group.get("weight_decay", 0.0)) for group in own]
    decoupled = bool(settings.pop("decoupled"))
    in_gradient = 0.0
    if not decoupled:
        in_gradient = max(decay * float(part.max()) for part, decay in zip(squares, decays, strict=True))
    if in_gradient > 0 and not plain:
        notes.append("Weight decay counts as where the preconditioner makes it largest: the edge is a lower bound.")
    return Dynamics(
        eta,
        weight_decay=in_gradient,
        decoupled_decay=max(decays) if decoupled else 0.0,
        scale=None if plain else square.sqrt(),
        notes=tuple(notes),
        **settings,
    )


def inner(optimizer: Any) -> torch.optim.Optimizer:
    """The optimiser itself behind the wrappers of training frameworks."""
    while isinstance(getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = optimizer.optimizer
    if not hasattr(optimizer, "param_groups"):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
    return optimizer


Precondition = Callable[[dict[str, Any], dict[str, Any]], Tensor]


def _number(value: Any) -> float:
    return float(value)


def _sgd(group: dict[str, Any]) -> tuple[dict[str, Any], Precondition | None]:
    beta = _number(group["momentum"])
    gain = 1.0 - _number(group["dampening"]) if beta else 1.0
    return {"momentum": beta, "nesterov": bool(group["nesterov"]), "gain": gain, "decoupled": False}, None


def _adam(group: dict[str, Any]) -> tuple[dict[str, Any], Precondition | None]:
    beta = _number(group["betas"][0])

    def square(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        first, second = map(_number, group["betas"])
        t = _number(state["step"])
        mean = state["max_exp_avg_sq"] if group["amsgrad"] else state["exp_avg_sq"]
        return 1 / ((1 - first**t) * ((mean / (1 - second**t)).sqrt() + group["eps"]))

    decoupled = bool(group.get("decoupled_weight_decay", False))
    return {"momentum": beta, "gain": 1 - beta, "decoupled": decoupled}, square


def _rmsprop(group: dict[str, Any]) -> tuple[dict[str, Any], Precondition | None]:
    def square(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        mean = state["square_avg"]
        if group["centered"]:
            mean = mean - state["grad_avg"] ** 2
        return 1 / (mean.clamp(min=0).sqrt() + group["eps"])

    return {"momentum": _number(group["momentum"]), "decoupled": False}, square


def _adagrad(group: dict[str, Any]) -> tuple[dict[str, Any], Precondition | None]:
    def square(state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        slower = 1 + (_number(state["step"]) - 1) * _number(group["lr_decay"])
        return 1 / (slower * (state["sum"].sqrt() + group["eps"]))

    return {"decoupled": False}, square


READERS: dict[type, Callable[[dict[str, Any]], tuple[dict[str, Any], Precondition | None]]] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.RMSprop: _rmsprop,
    torch.optim.Adagrad: _adagrad,
}
