"""The Gram matrix K = AAᵀ of the rows A (n·rows, p) of all samples, layer by layer: A is never held.

A linear layer or a convolution adds what `esssim.bridge.gram.share` says; any other parameters add the products of
their own rows, so many of them at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from esssim.bridge.behaviour import watched_call
from esssim.bridge.functional import Functional
from esssim.bridge.gram.layers import Factored, factored_layers
from esssim.bridge.gram.share import Share, add_product, mirror
from esssim.bridge.gram.signals import signals

# Numbers that are held beside K at a time: half a gigabyte in float64.
HELD = 2**26
# Numbers of the activations of the samples that are taken together.
TOGETHER = 2**24
# Samples on which the rows are compared with a gradient, and the relative difference that is rounding.
TRIED, AGREEMENT = 8, {torch.float64: 1e-9, torch.float32: 1e-3}


@dataclass(frozen=True)
class Rows:
    """What the rows Aᵢ = CᵢᵀJᵢ are made of: a network at θ, its samples x (n, ...) and covectors C (n, c, rows)."""

    functional: Functional
    theta: Tensor
    x: Tensor
    covectors: Tensor

    @property
    def count(self) -> int:
        """n·rows."""
        return len(self.x) * self.covectors.shape[2]

    def some(self, samples: slice) -> Rows:
        return Rows(self.functional, self.theta, self.x[samples], self.covectors[samples])

    def parts(self, size: int) -> Iterator[Rows]:
        """So many samples at a time."""
        return (self.some(slice(first, first + size)) for first in range(0, len(self.x), size))

    def times(self, weights: Tensor) -> Tensor:
        """Aᵀw (p,) for w (n, rows), by a gradient."""
        covector = (self.covectors @ weights[:, :, None])[:, :, 0]
        leaf = self.theta.detach().clone().requires_grad_()
        with torch.enable_grad():
            total = (self.functional.outputs(leaf, self.x) * covector).sum()
        found: Tensor = torch.autograd.grad(total, leaf)[0]
        return found


@dataclass(frozen=True)
class Plan:
    """How the parameters of a network are taken: the shares of layers that factor, the names and sizes of the others,
    and how many samples together.
    """

    shares: list[Share]
    others: list[tuple[str, int]]
    together: int

    @property
    def layers(self) -> list[Factored]:
        return [share.layer for share in self.shares]

    @property
    def n_others(self) -> int:
        """Parameters whose rows are taken one by one."""
        return sum(size for _, size in self.others)


def plan_of(rows: Rows) -> Plan:
    """The layers that are called once and whose own parts of K agree with a gradient, and the rest."""
    with torch.no_grad():
        calls, activations = watched_call(rows.functional, rows.theta, rows.x[:1])
    layers = [layer for layer in factored_layers(rows.functional) if calls[layer.module] == 1]
    layers = _agreeing(rows.some(slice(TRIED)), layers)
    covered = {name for layer in layers for name in layer.parameters}
    sizes = zip(rows.functional.names, rows.functional.sizes, strict=True)
    together = max(1, min(len(rows.x), TOGETHER // max(1, activations)))
    return Plan(_shares(rows, layers), [(name, size) for name, size in sizes if name not in covered], together)


def gram(rows: Rows, plan: Plan | None = None) -> Tensor:
    """K (n·rows, n·rows), in the precision of θ and on its device."""
    matrix = _added(rows, plan_of(rows) if plan is None else plan)
    if not bool(torch.isfinite(matrix).all()):
        raise ValueError("theta must give finite Jacobians, but those of some samples are not")
    return matrix


def _agreeing(rows: Rows, layers: list[Factored]) -> list[Factored]:
    """The layers whose own parts K_l of K agree with a gradient, wᵀK_lw = ‖A_lᵀw‖² for weights w at random.

    Those of other layers do not factor: a weight is used a second time, or positions are mixed with samples.
    """
    if not layers:
        return []
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(len(rows.x), rows.covectors.shape[2], generator=generator, dtype=torch.float64)
    parts = torch.split(rows.times(weights.to(rows.theta)), rows.functional.sizes)
    squares = {
        name: float(part.double().square().sum()) for name, part in zip(rows.functional.names, parts, strict=True)
    }
    agreeing = []
    for layer in layers:
        matrix = rows.theta.new_zeros(rows.count, rows.count)
        _add_layers(matrix, rows, _shares(rows, [layer]), len(rows.x))
        mirror(matrix)
        found = float(weights.ravel() @ matrix.double().cpu() @ weights.ravel())
        expected = sum(squares[name] for name in layer.parameters)
        if abs(found - expected) <= AGREEMENT[rows.theta.dtype] * max(found, expected):
            agreeing.append(layer)
    return agreeing


def _added(rows: Rows, plan: Plan) -> Tensor:
    matrix = rows.theta.new_zeros(rows.count, rows.count)
    _add_layers(matrix, rows, plan.shares, plan.together)
    for part in rows_of_others(rows, plan):
        add_product(matrix, part.flatten(0, 1))
    mirror(matrix)
    return matrix


def _shares(rows: Rows, layers: list[Factored]) -> list[Share]:
    """Whole layers, with their numbers of positions."""
    if not layers:
        return []
    found = signals(rows.functional, rows.theta, rows.x[:1], rows.covectors[:1], layers)
    return [
        Share(layer, slice(layer.d_out), found[layer.name].inputs.shape[1], rows.covectors.shape[2]) for layer in layers
    ]


def _add_layers(matrix: Tensor, rows: Rows, shares: list[Share], together: int) -> None:
    """What factored layers add to K below its diagonal."""
    for group in _groups(len(rows.x), shares):
        held: list[list[tuple[Tensor, ...]]] = [[] for _ in group]
        own = list(dict.fromkeys(share.layer for share in group))
        for part in rows.parts(together):
            found = signals(part.functional, part.theta, part.x, part.covectors, own)
            for share, kept in zip(group, held, strict=True):
                kept.append(share.kept(found[share.layer.name]))
        for share in group:
            share.add(matrix, [torch.cat(parts) for parts in zip(*held.pop(0), strict=True)], HELD)


def rows_of_others(rows: Rows, plan: Plan) -> Iterator[Tensor]:
    """The rows (n, rows, entries) in parameters that do not factor, so many entries at a time."""
    for entries in _ranges(plan.others, HELD // rows.count):
        yield torch.cat(list(_rows_in(rows, entries, plan.together)))


def _rows_in(rows: Rows, entries: dict[str, slice], together: int) -> Iterator[Tensor]:
    """By vector–Jacobian products of single samples, some samples at a time."""
    numbers = sum(some.stop - some.start for some in entries.values())
    for part in rows.parts(max(1, min(together, HELD // (8 * rows.covectors.shape[1] * numbers)))):
        jacobians = rows.functional.jacobians_in(rows.theta, part.x, entries).detach()
        yield part.covectors.transpose(1, 2) @ jacobians


def _ranges(sizes: list[tuple[str, int]], limit: int) -> Iterator[dict[str, slice]]:
    """Ranges of entries of parameters, at most `limit` numbers at a time."""
    taken: dict[str, slice] = {}
    room = max(1, limit)
    for name, size in sizes:
        first = 0
        while first < size:
            last = min(size, first + room)
            taken[name] = slice(first, last)
            room -= last - first
            first = last
            if not room:
                yield taken
                taken, room = {}, max(1, limit)
    if taken:
        yield taken


def _groups(n: int, shares: list[Share]) -> Iterator[list[Share]]:
    """Layers, or output units of one, whose signals are held together: each group costs its own backward passes."""
    group: list[Share] = []
    numbers = 0
    for whole in shares:
        cuts = math.ceil(n * whole.numbers / HELD)
        d_out = whole.layer.d_out
        width = math.ceil(d_out / cuts)
        for first in range(0, d_out, width):
            share = replace(whole, outputs=slice(first, min(first + width, d_out)))
            size = n * share.numbers
            if group and numbers + size > HELD:
                yield group
                group, numbers = [], 0
            group.append(share)
            numbers += size
    if group:
        yield group
