"""How the loops are compiled: `compiled` is what Python calls, `inlined` is a part of it."""

from __future__ import annotations

from typing import Any

import numba

# Reassociation lets sums use vector registers; NaN and infinity keep their meaning, which tests of convergence and of
# divergence need.
_options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"reassoc", "contract"}}
compiled: Any = numba.njit(cache=True, **_options)
# A part that stays a function has two versions, its own and the one within its caller, which round differently; the
# first process, which compiles, links the one, and every later one, which loads the caller from the disk, the other.
inlined: Any = numba.njit(forceinline=True, **_options)
