"""What the gap package returns: bounds by name, and predictions with an error and a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Side = Literal["lower", "upper"]


@dataclass(frozen=True)
class Bound:
    """One bound: its value, rounded outwards, where its condition holds; NaN and the reason where it does not."""

    name: str
    side: Side
    value: float
    valid: bool
    reason: str

    def __float__(self) -> float:
        return self.value


@dataclass(frozen=True)
class Bounds:
    """lower ≤ statistic ≤ upper, the best of the valid bounds, and each of them by name.

    statistic: "MiniBS" or "mean-square sharpness"; sharpness: λ_max(H), which the gap is counted from.
    """

    statistic: str
    sharpness: float
    lower: float
    upper: float
    by_name: Mapping[str, Bound]

    @property
    def gap(self) -> tuple[float, float]:
        """Bounds on statistic − λ_max(H); the lower one is never below 0."""
        return max(self.lower - self.sharpness, 0.0), self.upper - self.sharpness

    def __getitem__(self, name: str) -> Bound:
        return self.by_name[name]

    def __str__(self) -> str:
        lower, upper = self.gap
        lines = [
            f"{self.statistic}: {self.lower:.6g} … {self.upper:.6g}",
            f"sharpness: {self.sharpness:.6g}, gap: {lower:.6g} … {upper:.6g}",
        ]
        for side, sign in (("lower", -1.0), ("upper", 1.0)):
            ours = [each for each in self.by_name.values() if each.side == side]
            best_first = sorted((each for each in ours if each.valid), key=lambda bound: sign * bound.value)
            lines += [f"  {side}  {each.name:<22} {each.value:.6g}" for each in best_first]
            lines += [f"  {side}  {each.name:<22} – ({each.reason})" for each in ours if not each.valid]
        return "\n".join(lines)

    def best(self, side: Side) -> Bound:
        """The valid bound that gives `lower` or `upper`."""
        valid = [bound for bound in self.by_name.values() if bound.side == side and bound.valid]
        return max(valid, key=float) if side == "lower" else min(valid, key=float)


@dataclass(frozen=True)
class Prediction:
    """A predicted gap M_b − λ_max(H): value ± error where `valid`; NaN and the reason where it is not.

    method: the name of the formula; reason: why it is valid, or why it is not; details: the numbers of that reason by
    name.
    """

    method: str
    value: float
    error: float
    valid: bool
    reason: str
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def interval(self) -> tuple[float, float]:
        """(value − error, value + error)."""
        return self.value - self.error, self.value + self.error

    @classmethod
    def refused(cls, method: str, reason: str, **details: float) -> Prediction:
        """No number, and why."""
        return cls(method, float("nan"), float("nan"), False, reason, details)

    def __float__(self) -> float:
        return self.value
