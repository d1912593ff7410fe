"""Claims: every statement of the literature, and of ours, beside the function that decides it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from esssim._extras import EXTRAS, missing
from esssim._progress import Progress
from esssim.claims.claim import (
    REGISTRY,
    Cell,
    Claim,
    Measurement,
    Predicted,
    Registry,
    Verdict,
    around,
    at_least,
    at_most,
)
from esssim.claims.declare import claim
from esssim.claims.verify import Each, exit_code, verify_claims

# In the order in which their claims are measured and shown.
MODULES = (
    "identities",
    "gap",
    "ramp",
    "noise",
    "adaptive",
    "zeroth_order",
    "sharpness_aware",
    "heavy_ball",
    "dropout",
    "escapes",
    "cross_entropy",
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

__all__ = [
    "EXTRAS",
    "Cell",
    "Claim",
    "Measurement",
    "Predicted",
    "Registry",
    "Verdict",
    "around",
    "at_least",
    "at_most",
    "claim",
    "exit_code",
    "missing",
    "registry",
    "verify",
]

registry: Registry


def __getattr__(name: str) -> Any:
    """The registry of all claims, on first use: what measures them takes a second to import."""
    if name != "registry":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = [f"{__name__}.{module}" for module in MODULES]
    for module in modules:
        import_module(module)
    REGISTRY.arrange(modules)
    globals()["registry"] = REGISTRY
    return REGISTRY


def verify(
    names: list[str] | None = None,
    quick: bool = False,
    progress: Progress = False,
    extra: str | None = None,
    *,
    each: Each | None = None,
    among: Registry | None = None,
) -> list[Verdict]:
    """Measure the named claims and return their verdicts.

    names: ids, beginnings of ids up to a slash ("minibs-settles/diabetes"), or statistics ("MiniBS"); all by default.
    quick: shorter runs, and only the claims that a short run can decide. extra: "bridge" for the claims about torch
    networks alone; without PyTorch their verdict is "skipped". progress: True for a bar, or a function of (done, total)
    claims. each: called with (claim, None) before and (claim, verdict) after each. among: claims of one's own instead
    of esssim's. Raises ValueError for an unknown name.
    """
    # Not the name itself: the registry comes on first use.
    chosen = import_module(__name__).registry if among is None else among
    return verify_claims(chosen, names, quick, progress, extra, each=each)
