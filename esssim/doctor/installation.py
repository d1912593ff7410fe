"""What is installed, and what the numbers depend on: versions, linear algebra and its threads, the cache of compiled
loops.
"""

from __future__ import annotations

from importlib.util import find_spec

from esssim._rows import Row
from esssim.report.environment import environment

# An extra is there when all of these can be imported.
EXTRAS = {
    "bridge": ("torch",),
    "sweep": ("zarr", "dask", "distributed"),
    "docs": ("sphinx", "myst_nb"),
    "test": ("pytest", "hypothesis"),
}


def installation() -> dict[str, object]:
    """Versions, BLAS, cache and extras, for JSON."""
    found = environment(None)
    found.pop("seed")
    return found | {"blas": blas(), "compiler_cache": compiler_cache(), "extras": extras()}


def blas() -> list[Row]:
    """Each library of linear algebra in this process, and how many threads it would take by itself."""
    import scipy.linalg  # noqa: F401  its BLAS is one more
    from threadpoolctl import threadpool_info

    return [
        {
            "library": str(pool["internal_api"]),
            "version": str(pool["version"]),
            "kernels": str(pool.get("architecture", "")),
            "threads": int(pool["num_threads"]),
        }
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ]


def compiler_cache() -> Row:
    """Whether machine code is kept, so that only the first run compiles."""
    from esssim._kernels import sgd

    cache = getattr(sgd.run_least_squares, "_cache", None)
    return {"kept": getattr(cache, "cache_path", None) is not None}


def extras() -> dict[str, bool]:
    return {name: all(find_spec(module) is not None for module in modules) for name, modules in EXTRAS.items()}
