"""A bound is a formula with conditions; this makes a `Bound` of the two."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from esssim.gap.results import Bound, Side
from esssim.gap.setting import Setting


@dataclass(frozen=True)
class Condition:
    """What must be true of a setting, in words and as a test."""

    words: str
    holds: Callable[[Setting], bool]


ALWAYS = Condition("always", lambda s: True)
WITHOUT_REPLACEMENT = Condition("sampling without replacement", lambda s: not s.with_replacement)
POSITIVE_SEMIDEFINITE = Condition("positive semidefinite samples", lambda s: s.positive_semidefinite)
RANK_ONE = Condition("rank-one samples", lambda s: s.rank_one)
ENUMERATED_NUMBERS = 2**20
ENUMERABLE = Condition(
    "an average over every batch of at most 1e6 numbers",
    lambda s: s.sampling.count(s.n) * s.b * s.p**2 <= ENUMERATED_NUMBERS,
)
POSITIVE_SHARPNESS = Condition("λ_max(H) > 0", lambda s: s.sharpness > s.rounding)


class Rule(Protocol):
    """A named bound: gives its value at a setting, or the reason why it has none there."""

    __name__: str
    __doc__: str | None

    def __call__(self, setting: Setting) -> Bound: ...


def bound(side: Side, *conditions: Condition) -> Callable[[Callable[[Setting], float]], Rule]:
    """Turn a formula, in units of setting.unit, into a rule with these conditions that rounds outwards by
    setting.rounding.
    """
    outwards = -1.0 if side == "lower" else 1.0

    def decorate(formula: Callable[[Setting], float]) -> Rule:
        name = formula.__name__

        def rule(setting: Setting) -> Bound:
            for condition in conditions:
                if not condition.holds(setting):
                    return Bound(name, side, math.nan, False, f"needs {condition.words}")
            words = " and ".join(condition.words for condition in conditions) or ALWAYS.words
            return Bound(name, side, (formula(setting) + outwards * setting.rounding) * setting.unit, True, words)

        rule.__name__, rule.__doc__ = name, formula.__doc__
        return rule

    return decorate
