"""Claims: every statement of the literature, and of ours, with its measurement and its verdict."""

from __future__ import annotations

from esssim.claims import (
    flow,
    flow_bursts,
    flow_training,
    gap,
    identities,
    moments,
    momentum,
    network_directions,
    network_flow,
    network_interventions,
    networks,
    published,
    ramp,
    scaling,
    self_stabilisation,
    thresholds,
)
from esssim.claims.model import Claim, Measurement, Registry, Verdict
from esssim.claims.verify import EXTRAS, Progress, exit_code, missing, verify_claims

registry = Registry()
for module in (
    identities,
    gap,
    ramp,
    thresholds,
    momentum,
    moments,
    published,
    self_stabilisation,
    scaling,
    flow,
    flow_bursts,
    flow_training,
    networks,
    network_directions,
    network_flow,
    network_interventions,
):
    module.register(registry)

__all__ = ["EXTRAS", "Claim", "Measurement", "Registry", "Verdict", "exit_code", "missing", "registry", "verify"]


def verify(
    names: list[str] | None = None,
    quick: bool = False,
    progress: Progress | bool | None = None,
    extra: str | None = None,
) -> list[Verdict]:
    """Measure the named claims (ids or families; all by default) and return their verdicts.

    quick: shorter runs, and only the claims that a short run can decide. extra: "bridge" for
    the claims about torch networks alone; without PyTorch their verdict is "skipped". Raises ValueError for an unknown name.
    """
    return verify_claims(registry, names, quick, progress, extra)
