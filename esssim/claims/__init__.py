"""Claims: every statement of the literature, and of ours, with its measurement and its verdict."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from esssim.claims.model import Claim, Measurement, Registry, Verdict
from esssim.claims.verify import EXTRAS, Progress, exit_code, missing, verify_claims

# In the order of the tables.
MODULES = (
    "identities",
    "gap",
    "ramp",
    "thresholds",
    "momentum",
    "moments",
    "published",
    "self_stabilisation",
    "scaling",
    "flow",
    "flow_bursts",
    "flow_training",
    "networks",
    "network_directions",
    "network_flow",
    "network_interventions",
)

__all__ = ["EXTRAS", "Claim", "Measurement", "Registry", "Verdict", "exit_code", "missing", "registry", "verify"]

registry: Registry


def __getattr__(name: str) -> Any:
    """The registry of all claims, on first use: what measures them takes a second to import."""
    if name != "registry":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = Registry()
    for module in MODULES:
        import_module(f"{__name__}.{module}").register(found)
    globals()["registry"] = found
    return found


def verify(
    names: list[str] | None = None, quick: bool = False, progress: Progress | None = None, extra: str | None = None
) -> list[Verdict]:
    """Measure the named claims and return their verdicts.

    names: ids, beginnings of ids up to a slash ("minibs-settles/diabetes"), or statistics ("MiniBS"); all by default.
    quick: shorter runs, and only the claims that a short run can decide. extra: "bridge" for
    the claims about torch networks alone; without PyTorch their verdict is "skipped". Raises ValueError for an unknown name.
    """
    from esssim.claims import registry

    return verify_claims(registry, names, quick, progress, extra)
