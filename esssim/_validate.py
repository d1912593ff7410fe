"""Checks of arguments: each error names the argument, what it was and what it may be."""

from __future__ import annotations

import contextlib
import itertools
import operator
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

# A message stays one line that can be read: longer values and lists of names are cut.
SHOWN_CHARACTERS = 80
SHOWN_NAMES = 12
SMALLEST_SCALE = 1e-152


def shown(value: Any) -> str:
    """`value` as source code would spell it, on one line and cut to a readable length."""
    words = " ".join(repr(value).split())
    return words if len(words) <= SHOWN_CHARACTERS else words[: SHOWN_CHARACTERS - 1] + "…"


def array_of(name: str, value: npt.ArrayLike) -> npt.NDArray[Any]:
    """`value` as an array of any kind; ragged lists and masked entries are refused."""
    if np.ma.is_masked(value):
        raise ValueError(f"{name} must be complete, got an array with masked entries")
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array of numbers, got ragged nested sequences") from error


def instance(name: str, value: Any, kind: type, example: str) -> None:
    """ValueError unless `value` is one of `kind`; `example` is how to make one."""
    if not isinstance(value, kind):
        raise ValueError(f"{name} must be a {kind.__name__} such as {example}, got {shown(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False: any other value, such as the string "no", would pass for True."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {shown(value)}")
    return bool(value)


def path(name: str, value: Any) -> Path:
    """`value` as a path."""
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} must be the path of a file, got {shown(value)}")
    found = Path(value)
    if "\0" in str(found):  # which no system takes
        raise ValueError(f"{name} must be the path of a file, without a null character, got {shown(value)}")
    return found


def real_array(name: str, value: npt.ArrayLike, shape: tuple[int | str, ...]) -> FloatArray:
    """A contiguous float64 copy-if-needed; letters in `shape` stand for any length ≥ 1, and "..." for leading axes."""
    # What most calls within a run bring is let through before the words of a refusal are put together.
    given: Any = value
    plain = type(given) is np.ndarray and given.dtype == np.float64 and given.flags.c_contiguous
    if plain and given.shape == shape and given.size and np.isfinite(given).all():
        found: FloatArray = given
        return found
    array = array_of(name, value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got dtype {array.dtype}")
    with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused below
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


def data_array(name: str, value: npt.ArrayLike, shape: tuple[int | str, ...]) -> FloatArray:
    """A copy of `value` that nobody else can change, whose largest square is an ordinary double."""
    array = np.array(real_array(name, value, shape))
    largest = float(np.abs(array).max())
    if largest > 0 and not SMALLEST_SCALE <= largest <= 1 / SMALLEST_SCALE:
        allowed = f"between {SMALLEST_SCALE:g} and {1 / SMALLEST_SCALE:g}, where squares are doubles"
        raise ValueError(f"{name} must have a largest entry {allowed} (rescale them), got {largest:.3g}")
    return array


def integer(name: str, value: Any, at_least: int, at_most: int | None = None, bound: str = "") -> int:
    """`value` as an int within [at_least, at_most]; `bound` is the name of the upper limit for the message."""
    with contextlib.suppress(TypeError):
        result = operator.index(value)
        if not isinstance(value, (bool, np.bool_)) and result >= at_least and (at_most is None or result <= at_most):
            return result
    allowed = f"an integer of at least {at_least}"
    if at_most is not None:
        allowed = f"between {at_least} and {bound + ' = ' if bound else ''}{at_most}"
    raise ValueError(f"{name} must be {allowed}, got {shown(value)}")


def sizes(name: str, value: Any, at_least: int = 1) -> list[int]:
    """Increasing batch sizes, at least so many."""
    allowed = f"at least {at_least} increasing integer{'s' if at_least > 1 else ''}"
    if not isinstance(value, Iterable) or isinstance(value, str):
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    found = [integer(name, size, 1) for size in value]
    if len(found) < at_least or any(later <= earlier for earlier, later in itertools.pairwise(found)):
        raise ValueError(f"{name} must be {allowed}, got {found!r}")
    return found


def real(
    name: str, value: Any, *, above: float | None = None, at_least: float | None = None, below: float | None = None
) -> float:
    """`value` as a finite float within the stated limits."""
    limits = [f"above {above:g}" if above is not None else "", f"at least {at_least:g}" if at_least is not None else ""]
    limits.append(f"below {below:g}" if below is not None else "")
    allowed = " and ".join(filter(None, limits))
    allowed = f"a finite number{' ' if allowed else ''}{allowed}"
    try:
        # float() would read "0.1", True and lists of one as numbers, also as arrays, and drop an imaginary part.
        array = np.asarray(value)
        result = float("nan") if array.ndim > 0 or array.dtype.kind in "SUbc" else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}") from None
    if (
        not np.isfinite(result)
        or (above is not None and not result > above)
        or (at_least is not None and not result >= at_least)
        or (below is not None and not result < below)
    ):
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    return result


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """`value` if it is one of `allowed`; the error suggests the nearest."""
    if isinstance(value, str) and value in allowed:
        return str(value)
    from difflib import get_close_matches

    nearest = get_close_matches(str(value), allowed, n=1)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    listed = ", ".join(map(repr, allowed[:SHOWN_NAMES])) + (
        f", … ({len(allowed)} names)" if len(allowed) > SHOWN_NAMES else ""
    )
    raise ValueError(f"{name} must be one of {listed}, got {shown(value)}{hint}")


def batches(value: npt.ArrayLike, n_samples: int, *, axes: Literal["any", 2] = "any") -> IntArray:
    """Sample indices, shape (..., b): integers in [0, n_samples), at least one."""
    array = array_of("batch", value)
    if array.size == 0:
        raise ValueError(f"batch must not be empty, got shape {array.shape}")
    if array.dtype.kind not in "iu" or array.ndim == 0 or (axes == 2 and array.ndim != 2):
        shape = "(m, b)" if axes == 2 else "(..., b)"
        raise ValueError(
            f"batch must be an integer array of shape {shape}, got dtype {array.dtype}, shape {array.shape}"
        )
    if array.min() < 0 or array.max() >= n_samples:
        raise ValueError(
            f"batch must hold indices from 0 to n_samples - 1 = {n_samples - 1}, got {array.min()} to {array.max()}"
        )
    return array.astype(np.int64, copy=False)
