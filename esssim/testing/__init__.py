"""What esssim is tested with, for problems and bounds of one's own.

`check_problem(problem)` is the battery that our own problems pass. `strategies` are hypothesis strategies for problems,
points and schemes in the nasty corners, and `check_bound(bound)` tries a conjecture on all of them (both need
hypothesis).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from esssim.testing.battery import ProblemError, check_problem
from esssim.testing.case import Case, schemes

if TYPE_CHECKING:
    from esssim.testing import strategies
    from esssim.testing.conjecture import BoundCheck, Counterexample, check_bound

__all__ = [
    "BoundCheck",
    "Case",
    "Counterexample",
    "ProblemError",
    "check_bound",
    "check_problem",
    "schemes",
    "strategies",
]


def __getattr__(name: str) -> Any:
    """What needs hypothesis is imported on first use."""
    if name == "strategies":
        return import_module("esssim.testing.strategies")
    if name in ("BoundCheck", "Counterexample", "check_bound"):
        return getattr(import_module("esssim.testing.conjecture"), name)
    raise AttributeError(f"module 'esssim.testing' has no attribute {name!r}")
