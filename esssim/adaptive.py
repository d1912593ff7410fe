"""Adaptive methods: a running mean of squared gradients divides the step of each parameter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray


@dataclass(frozen=True)
class PreconditionedMethod:
    """A step θ ← θ − ηm̂/P, m ← β₁m + (1−β₁)g_B, P = √v̂ + ε, v ← β₂v + (1−β₂)g_B²; `RMSProp` and `Adam` are two."""

    decay: float
    epsilon: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", _below_one("decay", self.decay))
        object.__setattr__(self, "epsilon", _validate.real("epsilon", self.epsilon, above=0.0))

    @property
    def first_decay(self) -> float:
        """β₁, 0 where m is the gradient itself."""
        return 0.0

    @property
    def is_corrected(self) -> bool:
        """Whether m̂ = m/(1−β₁ᵗ) and v̂ = v/(1−β₂ᵗ) in step t, and not m and v."""
        return False

    def preconditioner(self, squares: FloatArray, step: int) -> FloatArray:
        """P of step number `step` ≥ 1 from v, (p,)."""
        return np.asarray(np.sqrt(squares / (1 - self.decay**step if self.is_corrected else 1.0)) + self.epsilon)


@dataclass(frozen=True)
class RMSProp(PreconditionedMethod):
    """RMSProp: θ ← θ − ηg_B/(√v + ε), v ← βv + (1−β)g_B² entry by entry, from v = 0.

    decay: β in [0, 1); epsilon: ε > 0. For `simulate`, as its `adaptive`, whose `momentum` stays 0.
    `torch.optim.RMSprop` does the same steps. With P = √v + ε frozen its mean-square edge is that of the Hessians
    P^{−½}HᵢP^{−½}: `stability.preconditioned_step_size`. Raises ValueError for numbers out of range.
    Source: Tieleman & Hinton 2012.
    """

    decay: float = 0.99
    epsilon: float = 1e-8


@dataclass(frozen=True)
class Adam(PreconditionedMethod):
    """Adam: θ ← θ − ηm̂/(√v̂ + ε), m ← β₁m + (1−β₁)g_B, v ← β₂v + (1−β₂)g_B², m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ) in step t.

    decay: β₂ in [0, 1); epsilon: ε > 0; momentum: β₁ in [0, 1). For `simulate`, as its `adaptive`, whose own `momentum`
    stays 0. `torch.optim.Adam` does the same steps. The edge with P = √v̂ + ε frozen is
    `stability.preconditioned_step_size` with this momentum: for full batches 2(1+β₁)/((1−β₁)λ_max(P⁻¹H)).
    Raises ValueError for numbers out of range. Source: Kingma & Ba, ICLR 2015; its edge Cohen et al., arXiv 2207.14484.
    """

    decay: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "momentum", _below_one("momentum", self.momentum))

    @property
    def first_decay(self) -> float:
        return self.momentum

    @property
    def is_corrected(self) -> bool:
        return True


def _below_one(name: str, value: float) -> float:
    return _validate.real(name, value, at_least=0.0, below=1.0)
