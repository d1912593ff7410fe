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


def gram(rows: Rows) -> Tensor:
    """K (n·rows, n·rows), in the precision of θ and on its device."""
    with torch.no_grad():
        calls, activations = watched_call(rows.functional, rows.theta, rows.x[:1])
    layers = [layer for layer in factored_layers(rows.functional) if calls[layer.module] == 1]
    layers = _agreeing(rows.some(slice(TRIED)), layers)
    together = max(1, min(len(rows.x), TOGETHER // max(1, activations)))
    matrix = rows.theta.new_zeros(rows.count, rows.count)
    _add_layers(matrix, rows, layers, together)
    _add_others(matrix, rows, {name for layer in layers for name in layer.parameters}, together)
    mirror(matrix)
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
        _add_layers(matrix, rows, [layer], len(rows.x))
        mirror(matrix)
        found = float(weights.ravel() @ matrix.double().cpu() @ weights.ravel())
        expected = sum(squares[name] for name in layer.parameters)
        if abs(found - expected) <= AGREEMENT[rows.theta.dtype] * max(found, expected):
            agreeing.append(layer)
    return agreeing


def _add_layers(matrix: Tensor, rows: Rows, layers: list[Factored], together: int) -> None:
    """What factored layers add to K below its diagonal."""
    for group in _groups(rows, layers):
        held: list[list[tuple[Tensor, ...]]] = [[] for _ in group]
        own = list(dict.fromkeys(share.layer for share in group))
        for part in rows.parts(together):
            found = signals(part.functional, part.theta, part.x, part.covectors, own)
            for share, kept in zip(group, held, strict=True):
                kept.append(share.kept(found[share.layer.name]))
        for share in group:
            share.add(matrix, [torch.cat(parts) for parts in zip(*held.pop(0), strict=True)], HELD)


def _add_others(matrix: Tensor, rows: Rows, covered: set[str], together: int) -> None:
    """The parameters whose sample gradients do not factor, by vector–Jacobian products of single samples."""
    sizes = zip(rows.functional.names, rows.functional.sizes, strict=True)
    for entries in _ranges([(name, size) for name, size in sizes if name not in covered], HELD // rows.count):
        numbers = sum(some.stop - some.start for some in entries.values())
        size = max(1, min(together, HELD // (8 * rows.covectors.shape[1] * numbers)))
        own = [
            part.covectors.transpose(1, 2) @ rows.functional.jacobians_in(rows.theta, part.x, entries).detach()
            for part in rows.parts(size)
        ]
        add_product(matrix, torch.cat(own).flatten(0, 1))


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


def _groups(rows: Rows, layers: list[Factored]) -> Iterator[list[Share]]:
    """Layers, or output units of one, whose signals are held together: each group costs its own backward passes."""
    if not layers:
        return
    found = signals(rows.functional, rows.theta, rows.x[:1], rows.covectors[:1], layers)
    group: list[Share] = []
    numbers = 0
    for layer in layers:
        whole = Share(layer, slice(layer.d_out), found[layer.name].inputs.shape[1], rows.covectors.shape[2])
        cuts = math.ceil(len(rows.x) * whole.numbers / HELD)
        width = math.ceil(layer.d_out / cuts)
        for first in range(0, layer.d_out, width):
            share = replace(whole, outputs=slice(first, min(first + width, layer.d_out)))
            size = len(rows.x) * share.numbers
            if group and numbers + size > HELD:
                yield group
                group, numbers = [], 0
            group.append(share)
            numbers += size
    yield group
