"""How the loops are compiled: `compiled` is what Python calls, `inlined` is a part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

from esssim._kernels.keeping import kept

# Of every loop: no lock of the interpreter, and a division by zero gives infinity.
_plain: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Reassociation lets sums use vector registers; NaN and infinity keep their meaning, which tests of convergence and of
# divergence need.
_options: dict[str, Any] = {**_plain, "fastmath": {"reassoc", "contract"}}


def compiled(function: Callable[..., Any]) -> Any:
    """A loop that Python calls, its machine code kept on disk."""
    return kept(numba.njit(**_options)(function))


def compiled_in_order(function: Callable[..., Any]) -> Any:
    """As `compiled`, with the operations in the order in which they are written."""
    return kept(numba.njit(**_plain)(function))


# A part that stays a function has two versions, its own and the one within its caller, which round differently; the
# first process, which compiles, links the one, and every later one, which loads the caller from the disk, the other.
inlined: Any = numba.njit(forceinline=True, **_options)
# A part that holds parts itself. It is compiled within its caller alone: by itself it would take as long again.
spliced: Any = numba.njit(inline="always", **_options)
