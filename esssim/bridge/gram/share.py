"""What one layer adds to the Gram matrix K, from its inputs a_t and the signals δ_t at its outputs, at positions t.

By pairs of positions, Σ_ts (Δ_tΔ_sᵀ)∘(a_ta_sᵀ) with Δ_t (n·rows, d_out) and a_t (n, d_in), or as GGᵀ by rows G of the
Σ_t δ_t a_tᵀ, whichever takes less: a linear layer without positions never has its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from esssim.bridge.gram.layers import Factored
from esssim.bridge.gram.signals import Signals

# Rows of K that are updated together, below the diagonal only.
STRIPE = 512
# What the product of two entries of K costs, which is a matter of memory, in multiplications of matrices.
ENTRY = 200


@dataclass(frozen=True)
class Share:
    """Some output units of a layer with so many positions, and so many rows for each sample."""

    layer: Factored
    outputs: slice
    positions: int
    rows: int

    @property
    def by_pairs(self) -> bool:
        """Whether pairs of positions take less than rows."""
        d_in, d_out = self.layer.d_in, self.layer.d_out
        return self.positions == 1 or self.positions**2 * (d_in / self.rows**2 + d_out + ENTRY) < d_in * d_out

    @property
    def operations(self) -> float:
        """Multiplications for one pair of samples in K, about."""
        d_in, d_out = self.layer.d_in, self.layer.d_out
        pairs = self.positions**2 * (d_in / self.rows**2 + d_out + ENTRY)
        return float(self.rows**2 * (pairs if self.by_pairs else d_in * d_out))

    @property
    def as_rows(self) -> bool:
        """Whether rows are kept in place of inputs and signals, as they take less memory."""
        return not self.by_pairs and self.positions >= self.layer.d_in

    @property
    def numbers(self) -> int:
        """What is kept of a sample."""
        signals = self.rows * len(range(*self.outputs.indices(self.layer.d_out)))
        return signals * (self.layer.d_in + 1) if self.as_rows else self.positions * (signals + self.layer.d_in)

    def kept(self, found: Signals) -> tuple[Tensor, ...]:
        """Of some samples: rows of the weight and of the bias, or inputs and signals."""
        delta = found.signals[..., self.outputs]
        if self.as_rows:
            return _rows(found.inputs, delta), delta.sum(dim=2)
        return found.inputs, delta.clone()

    def add(self, matrix: Tensor, held: Sequence[Tensor], numbers: int) -> None:
        """Its part of K below the diagonal, from what was kept of all samples, with so many numbers beside it."""
        first, second = held
        if self.layer.bias:
            add_product(matrix, (second if self.as_rows else second.sum(dim=2)).flatten(0, 1))
        if not self.layer.weight:
            return
        if self.as_rows:
            add_product(matrix, first.flatten(0, 1))
        elif self.by_pairs:
            _add_pairs(matrix, first, second)
        else:
            width = max(1, numbers // (len(matrix) * self.layer.d_in))
            for delta in torch.split(second, width, dim=3):
                add_product(matrix, _rows(first, delta).flatten(0, 1))


def _rows(inputs: Tensor, delta: Tensor) -> Tensor:
    """Σ_t δ_t a_tᵀ, (n, rows, d_out·d_in)."""
    return (delta.transpose(2, 3) @ inputs[:, None]).flatten(2)


def add_product(matrix: Tensor, rows: Tensor) -> None:
    """GGᵀ below the diagonal, in stripes that reach over it."""
    for first in range(0, len(rows), STRIPE):
        last = min(first + STRIPE, len(rows))
        matrix[first:last, :last].addmm_(rows[first:last], rows[:last].T)


def _add_pairs(matrix: Tensor, inputs: Tensor, delta: Tensor) -> None:
    """Σ_ts (Δ_tΔ_sᵀ)∘(a_ta_sᵀ): inputs (n, t, d_in), delta (n, rows, t, d_out)."""
    n, rows, positions, _ = delta.shape
    flat, size = delta.permute(2, 0, 1, 3).flatten(1, 2).contiguous(), max(1, STRIPE // rows)
    for first in range(0, n, size):
        last = min(first + size, n)
        low, high = first * rows, last * rows
        stripe = matrix[low:high, :high].view(last - first, rows, last, rows)
        for t in range(positions):
            for s in range(positions):
                between = (flat[t, low:high] @ flat[s, :high].T).view(stripe.shape)
                stripe.addcmul_(between, (inputs[first:last, t] @ inputs[:last, s].T)[:, None, :, None])


def mirror(matrix: Tensor) -> None:
    """Above the diagonal what is below it."""
    for first in range(0, len(matrix), STRIPE):
        last = min(first + STRIPE, len(matrix))
        stripe = matrix[first:last, first:last]
        stripe.copy_(torch.tril(stripe) + torch.tril(stripe, -1).T)
        matrix[:first, first:last] = matrix[first:last, :first].T
