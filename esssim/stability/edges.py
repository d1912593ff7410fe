"""Closed-form edges: the sharpness at which an optimiser loses stability."""

from __future__ import annotations

from esssim import _validate


def edge(step_size: float, *, momentum: float = 0.0, nesterov: bool = False) -> float:
    """The full-batch edge: 2/η; heavy ball 2(1+β)/η; Nesterov 2(1+β)/(η(1+2β)).

    step_size: η > 0; momentum: 0 ≤ β < 1 (velocity v ← βv + g, gradient not multiplied by 1−β). Returns a sharpness.
    Raises ValueError outside these ranges. Source: Cohen et al., ICLR 2021, section 2 and appendix B.
    """
    eta = _validate.real("step_size", step_size, above=0.0)
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    return 2 * (1 + beta) / (eta * (1 + 2 * beta)) if nesterov else 2 * (1 + beta) / eta


def small_batch_edge(step_size: float, *, momentum: float = 0.0) -> float:
    """The small-batch edge of heavy ball, 2(1−β)/η: that of plain SGD with the effective step η/(1−β).

    step_size: η > 0; momentum: 0 ≤ β < 1. Returns a sharpness. Source: Andreyev et al., arXiv 2604.14108.
    """
    return 2 * (1 - check_momentum(momentum)) / _validate.real("step_size", step_size, above=0.0)


def check_momentum(momentum: float) -> float:
    """β as a float in [0, 1)."""
    return _validate.real("momentum", momentum, at_least=0.0, below=1.0)
