"""Losses of one sample as functions of its outputs f (c,) and its target, and the curvature they put on the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from esssim.bridge.exact import log_softmax

SampleLoss = Callable[[Tensor, Tensor], Tensor]


def squared(outputs: Tensor, target: Tensor) -> Tensor:
    """½‖f − y‖²: f (c,), y (c,)."""
    return ((outputs - target) ** 2).sum() / 2


def cross_entropy(outputs: Tensor, label: Tensor) -> Tensor:
    """−log softmax(f)_y, right at any margin: f (c,), y an integer."""
    return -log_softmax(outputs).gather(-1, label.reshape(1))[0]


def squared_root(outputs: Tensor, targets: Tensor) -> Tensor:
    """RᵢRᵢᵀ = ∇²_f ℓᵢ = I: (n, c) -> (n, c, c)."""
    n, c = outputs.shape
    return torch.eye(c, dtype=outputs.dtype).expand(n, c, c)


def cross_entropy_root(outputs: Tensor, targets: Tensor) -> Tensor:
    """RᵢRᵢᵀ = ∇²_f ℓᵢ = diag(p) − ppᵀ, p = softmax(f): (n, c) -> (n, c, c − 1).

    With q = √p, a unit vector, it is diag(q)(I − qqᵀ)diag(q): R = diag(q)V, the columns of V a basis of q's complement,
    which the Householder reflection that takes the unit vector of the likeliest class to −q carries.
    """
    c = outputs.shape[1]
    q = torch.softmax(outputs, dim=-1).sqrt()
    top = outputs.argmax(dim=-1, keepdim=True)
    others = (top + torch.arange(1, c)) % c
    units = torch.eye(c, dtype=q.dtype)
    w = (q + units[top[:, 0]]) / (1.0 + q.gather(1, top))
    basis = units[others].transpose(1, 2) - w[:, :, None] * q.gather(1, others)[:, None, :]
    return q[:, :, None] * basis


def numerical_root(loss: SampleLoss, *, one_by_one: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """RᵢRᵢᵀ = ∇²_f ℓᵢ of any loss that is convex in the outputs: (n, c) -> (n, c, c); one_by_one: without vmap."""

    def of_one(pair: tuple[Tensor, Tensor]) -> Any:
        return torch.autograd.functional.hessian(lambda f: loss(f, pair[1]), pair[0])  # type: ignore[no-untyped-call]

    def root(outputs: Tensor, targets: Tensor) -> Tensor:
        hessians: Any = (
            torch.stack(list(map(of_one, zip(outputs, targets, strict=True))))
            if one_by_one
            else torch.func.vmap(torch.func.jacrev(torch.func.grad(loss)))(outputs, targets)
        )
        values, vectors = torch.linalg.eigh(hessians)
        scale = values.abs().amax(dim=-1, keepdim=True)
        eps = torch.finfo(values.dtype).eps
        # A sample whose Hessian is the rounding of a larger one that cancels is none with a negative eigenvalue.
        limit = max(1e-10, 1e2 * eps) * scale + 1e2 * eps * values.abs().max()
        if bool((values < -limit).any()):
            raise ValueError(
                "loss must be convex in the outputs for Gauss–Newton matrices, "
                f"its Hessian there has the eigenvalue {float(values.min()):.3g}"
            )
        return vectors * values.clamp(min=0.0).sqrt()[:, None, :]

    return root
