"""Zeroth-order descent: the gradient of a batch known along one random direction only."""

from __future__ import annotations

from dataclasses import dataclass

from esssim.batch_method import BatchMethod


@dataclass(frozen=True)
class ZerothOrder(BatchMethod):
    """Two-point zeroth-order steps on mini-batches: (uᵀg_B)u in place of g_B, u standard normal, drawn in every step.

    It is the limit of small δ of u(L_B(θ+δu) − L_B(θ−δu))/(2δ), which needs no derivative. The mean is g_B; the second
    moments of a step hold those of u beside those of the batch, so that the edge is another one:
    `stability.zeroth_order_step_size`.

    sampling: how batches are drawn, `WithoutReplacement(n)` for the full loss. For `simulate`, in the place of its
    `sampling`. Raises ValueError for what is no scheme of batches. Source: Song et al., ICML 2026, arXiv 2604.14669.
    """

    purpose = "zeroth-order descent"
