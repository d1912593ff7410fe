"""Where numbers were made: versions, platform, cores, date."""

from __future__ import annotations

import datetime
import os
import platform

from esssim._source import version_of

PACKAGES = ("numpy", "scipy", "numba", "xarray", "arviz-stats", "scikit-learn")


def environment(seed: int | None) -> dict[str, object]:
    """What a reader needs to repeat a run; nothing that names the machine or its user."""
    return {
        "esssim": _esssim_version(),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_count": _usable_cores(),
        "seed": seed,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _esssim_version() -> str:
    from esssim import __version__

    return __version__


def _usable_cores() -> int:
    # A container often has fewer cores than the machine that it runs on.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
