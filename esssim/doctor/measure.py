"""Checks measured one after the other, as entries of the JSON file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from esssim.doctor.check import Listener
from esssim.doctor.record import as_dict
from esssim.doctor.run import Told, run, select
from esssim.report.environment import environment


def measured_entries(
    keys: Sequence[str] | None,
    *,
    quick: bool,
    told: Told | None = None,
    listener: Listener | None = None,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """The entry of each check, with where and when it was measured; `keep` has each as soon as it is there."""
    entries = []
    for chosen in select(keys):
        where = environment(None)
        (check,) = run([chosen.key], quick=quick, told=told, listener=listener)
        kept = {name: where[name] for name in ("esssim", "commit", "date", "python", "cpu_count")}
        entries.append(as_dict(check, chosen.about) | {"measured": kept | {"quick": quick}})
        if keep is not None:
            keep(entries[-1])
    return entries
