"""Claims: every statement of the literature, and of ours, beside the function that decides it."""

from __future__ import annotations

from importlib import import_module

from esssim.claims.declare import claim
from esssim.claims.model import REGISTRY as registry
from esssim.claims.model import Cell, Claim, Measurement, Predicted, Registry, Verdict
from esssim.claims.verify import EXTRAS, Progress, exit_code, missing, verify_claims

__all__ = [
    "EXTRAS",
    "Cell",
    "Claim",
    "Measurement",
    "Predicted",
    "Registry",
    "Verdict",
    "claim",
    "exit_code",
    "missing",
    "registry",
    "verify",
]

# Imported in the order in which their claims are measured and shown: `@claim` registers what it decorates.
for _module in (
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
):
    import_module(f"esssim.claims.{_module}")


def verify(
    names: list[str] | None = None,
    quick: bool = False,
    progress: Progress | bool | None = None,
    extra: str | None = None,
    *,
    among: Registry | None = None,
) -> list[Verdict]:
    """Measure the named claims (ids or families; all by default) and return their verdicts.

    quick: shorter runs, and only the claims that a short run can decide. extra: "bridge" for the claims about torch
    networks alone; without PyTorch their verdict is "skipped". among: claims of one's own instead of esssim's.
    Raises ValueError for an unknown name.
    """
    return verify_claims(registry if among is None else among, names, quick, progress, extra)
