"""Products with K = AAᵀ of the rows A (n·rows, p) of all samples, K never formed, from inputs and signals of layers.

Of a layer whose rows are Σ_t δ_{irt} a_{it}ᵀ, AᵀW is Σ_it (Σ_r w_ir δ_irt) a_itᵀ and A of a matrix Z is
Σ_t δ_irt·(Z a_it): two multiplications of matrices for each vector, where K takes one for every row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from esssim._validate import FloatArray
from esssim.bridge.gram.accumulate import Plan, Rows, plan_of, rows_of_others
from esssim.bridge.gram.matrix import Gram, Kernel
from esssim.bridge.gram.signals import signals
from esssim.curvature.scale import power_of_two_near

# Rows n·c of a K that costs nothing, of the largest that is held, 1.6 GB in float32, and of the largest whose products
# are taken.
SMALL, LARGEST, MOST = 2000, 20_000, 200_000
# Bytes of inputs, signals and rows that are kept from one product to the next; the rest is computed anew.
KEPT = 2**31
# Multiplications of a matrix that takes about a second: it is worth it, as its first bounds are closer.
CHEAP = 5e9
# Numbers of an intermediate array.
CHUNK = 2**23
# What a number of an intermediate array costs, in multiplications.
TOUCHED = 30


class LayerPart(NamedTuple):
    """Of some samples: a (n, t, d) with a column of ones for a bias, and δ (n, rows, t·d_out)."""

    inputs: Tensor
    signals: Tensor


class Part(NamedTuple):
    """Some samples: factors of layers, and the rows of other parameters (n, rows, p), in parts of them."""

    layers: list[LayerPart]
    others: list[Tensor]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(t.numel() * t.element_size() for t in (*(t for layer in self.layers for t in layer), *self.others))


class Products(Kernel):
    """K by its products with vectors: from the rows of a network. Raises ValueError where they are not finite."""

    block, steps, first_rank = 4, 15, 16

    def __init__(self, rows: Rows, plan: Plan) -> None:
        self.rows, self.plan, self.unit = rows, plan, 1.0
        self.n_samples, _, self.n_rows = rows.covectors.shape
        self._kept: dict[int, Part] = {}
        own = self._own()
        if not np.isfinite(own).all():
            raise ValueError("theta must give finite Jacobians, but those of some samples are not")
        self.unit = power_of_two_near(np.diagonal(own, axis1=1, axis2=2))
        self.own = own / self.unit

    def cheaper(self, rank: int, *, stalled: bool) -> Kernel:
        if self.rows.count <= LARGEST and (stalled or not takes_products(self.plan, self.rows, rank)):
            return self.matrix()
        return self

    def matrix(self) -> Gram:
        """The same, held: what was kept is given up."""
        self._kept = {}
        return Gram.of(self.rows, self.plan, self.unit)

    @property
    def dtype(self) -> torch.dtype:
        return self.rows.theta.dtype

    def times(self, vectors: FloatArray) -> FloatArray:
        """Rows (s, n·rows) times K."""
        weights = torch.as_tensor(vectors).to(self.rows.theta).view(len(vectors), self.n_samples, self.n_rows)
        weights = weights.transpose(0, 1).contiguous()
        sums: list[Tensor] = []
        for where, part in self._parts():
            found = [_transposed(layer, weights[where]) for layer in part.layers]
            found += [weights[where].transpose(0, 1).flatten(1) @ rows.flatten(0, 1) for rows in part.others]
            sums = found if not sums else [a.add_(b) for a, b in zip(sums, found, strict=True)]
        images = torch.zeros_like(weights)
        for where, part in self._parts():
            own, count = images[where], len(part.layers)
            for layer, total in zip(part.layers, sums[:count], strict=True):
                _add_along(own, layer, total)
            for rows, total in zip(part.others, sums[count:], strict=True):
                own += (rows @ total.T).transpose(1, 2)
        found_rows = images.transpose(0, 1).flatten(1).double() / self.unit
        return np.ascontiguousarray(found_rows.cpu().numpy())

    def _parts(self) -> Iterator[tuple[slice, Part]]:
        """Samples, and what their rows are made of."""
        together = self.plan.together
        room = KEPT - sum(part.size for part in self._kept.values())
        for k, some in enumerate(self.rows.parts(together)):
            part = self._kept.get(k)
            if part is None:
                part = part_of(some, self.plan)
                room -= part.size
                if room >= 0:
                    self._kept[k] = part
            yield slice(k * together, k * together + len(some.x)), part

    def _own(self) -> FloatArray:
        """The blocks on the diagonal, (n, rows, rows)."""
        own = self.rows.theta.new_zeros(self.n_samples, self.n_rows, self.n_rows)
        for where, part in self._parts():
            for layer in part.layers:
                _add_own(own[where], layer)
            for rows in part.others:
                own[where] += rows @ rows.transpose(1, 2)
        return np.ascontiguousarray(own.double().cpu().numpy())


def part_of(rows: Rows, plan: Plan) -> Part:
    """From the samples of these rows."""
    layers = plan.layers
    found = signals(rows.functional, rows.theta, rows.x, rows.covectors, layers) if layers else {}
    parts = []
    for layer in layers:
        inputs, delta = found[layer.name]
        columns = [inputs] if layer.weight else []
        columns += [torch.ones_like(inputs[..., :1])] if layer.bias else []
        parts.append(LayerPart(torch.cat(columns, dim=2), delta.flatten(2)))
    return Part(parts, list(rows_of_others(rows, plan)))


def _transposed(layer: LayerPart, weights: Tensor) -> Tensor:
    """Aᵀw (s, d_out, d) for w (n, s, rows)."""
    (n, t, d), s = layer.inputs.shape, weights.shape[1]
    total = layer.inputs.new_zeros(s * (layer.signals.shape[2] // t), d)
    for some in _chunks(n, s * layer.signals.shape[2]):
        mixed = (weights[some] @ layer.signals[some]).view(-1, s, t, len(total) // s).transpose(1, 2)
        total.addmm_(mixed.flatten(2).flatten(0, 1).T, layer.inputs[some].flatten(0, 1))
    return total.view(s, -1, d)


def _add_along(images: Tensor, layer: LayerPart, total: Tensor) -> None:
    """A of totals (s, d_out, d), to images (n, s, rows)."""
    (n, t, d), s = layer.inputs.shape, len(total)
    flat = total.reshape(-1, d).T
    for some in _chunks(n, s * layer.signals.shape[2]):
        values = (layer.inputs[some].reshape(-1, d) @ flat).view(-1, t, s, total.shape[1]).transpose(1, 2).flatten(2)
        images[some] += values @ layer.signals[some].transpose(1, 2)


def _add_own(own: Tensor, layer: LayerPart) -> None:
    """A_iA_iᵀ to blocks (n, rows, rows), by the pairs of positions of a sample or by its rows."""
    n, t, d = layer.inputs.shape
    rows, d_out = layer.signals.shape[1], layer.signals.shape[2] // t
    delta = layer.signals.view(n, rows, t, d_out)
    by_pairs = t * (d + rows * d_out) + rows * rows * d_out < rows * d * d_out * (1 + rows / t)
    for some in _chunks(n, rows * d_out * (t if by_pairs else d)):
        inputs = layer.inputs[some]
        if by_pairs:
            mixed = (inputs @ inputs.transpose(1, 2))[:, None] @ delta[some]
            own[some] += mixed.flatten(2) @ layer.signals[some].transpose(1, 2)
        else:
            found = (delta[some].transpose(2, 3) @ inputs[:, None]).flatten(2)
            own[some] += found @ found.transpose(1, 2)


def _chunks(n: int, numbers: int) -> Iterator[slice]:
    size = max(1, CHUNK // numbers)
    return (slice(first, first + size) for first in range(0, n, size))


def kernel_of(rows: Rows, rank: int = Products.first_rank) -> Kernel:
    """K as it is best held for so many directions: as a matrix, or by its products where these take less, or it is too
    large. Raises ValueError where it is too large for both.
    """
    plan = plan_of(rows)
    if takes_products(plan, rows, rank):
        return Products(rows, plan)
    if rows.count <= LARGEST:
        return Gram.of(rows, plan)
    each = rows.covectors.shape[2]
    if rows.count > MOST:
        most, why = MOST, f"{MOST:,} rows n_samples·n_outputs of the Gram matrix are taken at most"
    else:
        most = max(LARGEST, KEPT // (plan.n_others * rows.theta.element_size()))
        why = (
            f"{plan.n_others:,} parameters of this network are in layers other than linear ones and convolutions, and "
            f"more than {LARGEST:,} rows n_samples·n_outputs of these take more than {KEPT / 2**30:.0f} GB"
        )
    raise ValueError(f"n_samples must be at most {most // each:,}, as {why}, got {len(rows.x):,}")


def takes_products(plan: Plan, rows: Rows, rank: int) -> bool:
    """Whether `rank` directions, and the steps that bound the rest, take less by products than the matrix does.

    Rows of parameters that do not factor have to be kept.
    """
    n, each = rows.covectors.shape[0], rows.covectors.shape[2]
    if rows.count > MOST or rows.count * plan.n_others * rows.theta.element_size() > KEPT:
        return False
    if not SMALL < rows.count <= LARGEST:
        return rows.count > LARGEST
    of_products = (rank + Products.steps) * operations(plan, n, each)
    of_matrix = operations_of_matrix(plan, n, each)
    return of_matrix > CHEAP and of_products < of_matrix


def operations(plan: Plan, n: int, rows: int) -> float:
    """Multiplications in a product of K with one vector, about."""
    each = sum(
        share.positions * share.layer.d_out * (2 * share.layer.d_in + 2 * rows + TOUCHED) for share in plan.shares
    )
    return float(n * (each + 2 * rows * plan.n_others))


def operations_of_matrix(plan: Plan, n: int, rows: int) -> float:
    """Multiplications that K itself takes, about."""
    return n**2 / 2 * (sum(share.operations for share in plan.shares) + rows**2 * plan.n_others)
