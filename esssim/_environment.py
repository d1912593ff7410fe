"""Where numbers were made: versions, platform, cores, date."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

from esssim._source import version_of

PACKAGES = ("numpy", "scipy", "numba", "xarray", "arviz-stats", "scikit-learn")


def environment(seed: int | None) -> dict[str, object]:
    """What a reader needs to repeat a run; nothing that names the machine or its user."""
    return {
        "esssim": _esssim_version(),
        "commit": _commit(),
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


def _commit() -> str | None:
    """The commit of a checkout, marked where its sources were changed since; None in an installed package."""
    package = Path(__file__).parent
    if not (package.parent / "pyproject.toml").is_file():
        return None
    git = ["git", "-C", str(package.parent)]
    try:
        head, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, timeout=5, check=True).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", package.name])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head} with changes" if changed else head


def _usable_cores() -> int:
    # A container often has fewer cores than the machine that it runs on.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
