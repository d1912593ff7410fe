"""Checks of arguments: each error names the argument, what it was and what it may be."""

from __future__ import annotations

import operator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def real_array(name: str, value: npt.ArrayLike, shape: tuple[int | str, ...]) -> FloatArray:
    """A contiguous float64 copy-if-needed; letters in `shape` stand for any length ≥ 1, and "..." for leading axes."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers, got ragged nested sequences") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.float64)
    leading = shape[:1] == ("...",)
    core = shape[1:] if leading else shape
    expected = "(" + ", ".join(str(side) for side in shape) + ("," if len(shape) == 1 else "") + ")"
    trailing = array.shape[array.ndim - len(core) :] if array.ndim >= len(core) else None
    if (
        trailing is None
        or (not leading and array.ndim != len(core))
        or any(isinstance(want, int) and have != want for want, have in zip(core, trailing, strict=True))
    ):
        raise ValueError(f"{name} must have shape {expected}, got {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(array))} NaN or infinite entries")
    return array


def integer(name: str, value: Any, at_least: int, at_most: int | None = None, bound: str = "") -> int:
    """`value` as an int within [at_least, at_most]; `bound` is the name of the upper limit for the message."""
    allowed = f"an integer of at least {at_least}"
    if at_most is not None:
        allowed = f"between {at_least} and {bound + ' = ' if bound else ''}{at_most}"
    try:
        result = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be {allowed}, got {value!r}") from None
    if isinstance(value, (bool, np.bool_)) or result < at_least or (at_most is not None and result > at_most):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return result


def real(
    name: str, value: Any, *, above: float | None = None, at_least: float | None = None, below: float | None = None
) -> float:
    """`value` as a finite float within the stated limits."""
    limits = [f"above {above:g}" if above is not None else "", f"at least {at_least:g}" if at_least is not None else ""]
    limits.append(f"below {below:g}" if below is not None else "")
    allowed = " and ".join(filter(None, limits))
    allowed = f"a finite number{' ' if allowed else ''}{allowed}"
    try:
        # float() would read "0.1" and True as numbers, and drop an imaginary part.
        result = float("nan") if isinstance(value, (str, bytes, bool, np.bool_, np.complexfloating)) else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {allowed}, got {value!r}") from None
    if (
        not np.isfinite(result)
        or (above is not None and not result > above)
        or (at_least is not None and not result >= at_least)
        or (below is not None and not result < below)
    ):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return result


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`; the error suggests the nearest."""
    if value in allowed:
        return str(value)
    from difflib import get_close_matches

    nearest = get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")


def batches(value: npt.ArrayLike, n_samples: int, *, axes: Literal["any", 2] = "any") -> IntArray:
    """Sample indices, shape (..., b): integers in [0, n_samples), at least one."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu" or array.ndim == 0 or (axes == 2 and array.ndim != 2):
        shape = "(m, b)" if axes == 2 else "(..., b)"
        raise ValueError(
            f"batch must be an integer array of shape {shape}, got dtype {array.dtype}, shape {array.shape}"
        )
    if array.size == 0:
        raise ValueError(f"batch must not be empty, got shape {array.shape}")
    if array.min() < 0 or array.max() >= n_samples:
        raise ValueError(
            f"batch must hold indices from 0 to n_samples - 1 = {n_samples - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64, copy=False)
