"""What a problem of somebody else returns, checked in one place that every caller passes.

`Problem` wraps these methods of each subclass from outside the package when the subclass is made. Our own classes are
not wrapped: they cost nothing, and the battery of `esssim.testing` holds them.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from esssim._validate import FloatArray, shown

Method = Callable[..., Any]
MEANS = {"loss": "sample_losses", "gradient": "sample_gradients", "hessian": "sample_hessians"}
# Near the smallest doubles a product depends on its order: an asymmetry of that size means nothing.
SUBNORMAL = 1e-290
CURVATURES = ("curvature", "gauss_newton_curvature")
# Their formulas are right for whatever the wrapped methods return.
GENERAL = ("esssim.problems.base", "esssim.problems.residual")


class InvalidProblem(ValueError):
    """A method of a problem breaks the protocol; the message names the class, the method and the sample."""


class NonFinite(InvalidProblem):
    """A loss, a derivative or a residual of a sample is NaN or infinite."""


_may_diverge: contextvars.ContextVar[bool] = contextvars.ContextVar("may_diverge", default=False)


@contextlib.contextmanager
def divergence_is_expected() -> Iterator[None]:
    """Inside, what is not finite passes: a run or a solver that leaves range sees it, and says what it means."""
    token = _may_diverge.set(True)
    try:
        yield
    finally:
        _may_diverge.reset(token)


def is_ours(cls: type) -> bool:
    """Whether a class belongs to the package."""
    return cls.__module__.partition(".")[0] == "esssim"


def guard(cls: Any) -> None:
    """Wrap the methods of a class from outside the package; `cls.result_axes` says which, and what they return."""
    for name in (*cls.result_axes, *CURVATURES):
        wrap = functools.partial(_checked, cls.result_axes.get(name))
        home = next((base for base in cls.__mro__ if name in vars(base)), None)
        if home is cls and not getattr(vars(cls)[name], "__isabstractmethod__", False):
            setattr(cls, name, wrap(name, vars(cls)[name]))
        elif home not in (None, cls) and home.__module__ not in GENERAL and not hasattr(vars(home)[name], "_checked"):
            setattr(cls, name, wrap(name, _inherited(cls, name)))

    for name, samples in MEANS.items():
        mean, own = _home(cls, name), _home(cls, samples)
        # A short cut of ours for the mean of what the class replaces.
        if is_ours(mean) and mean.__module__ not in GENERAL and issubclass(own, mean) and own is not mean:
            general = next(vars(base)[name] for base in reversed(cls.__mro__) if name in vars(base))
            setattr(cls, name, _checked(cls.result_axes[name], name, general))


def _home(cls: type, name: str) -> type:
    """The class that a method comes from."""
    return next(base for base in cls.__mro__ if not getattr(vars(base).get(name, _FORWARD), "_forwards", False))


def _inherited(cls: type, name: str) -> Method:
    # Looked up at each call, so that several bases keep their order.
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        return getattr(super(cls, self), name)(*arguments, **named)

    call._forwards = True  # type: ignore[attr-defined]
    return call


class _FORWARD:
    """What a class without the method counts as."""

    _forwards = True


def _checked(axes: str | None, name: str, raw: Any) -> Method:
    """The method with its arguments protected and its result checked; axes None: it returns a curvature."""

    @functools.wraps(raw)
    def call(self: Any, theta: Any, indices: Any = None, vectors: Any = None, **named: Any) -> Any:
        method = raw.__get__(self, type(self)) if hasattr(raw, "__get__") else raw
        given = [x for x in (theta, named.pop("batch", indices), vectors) if x is not None]
        if axes is not None and not axes.startswith("b"):  # called by people, who may write lists
            given = [
                np.asarray(x, dtype=np.float64 if x is theta else None) if type(x) in (list, tuple) else x
                for x in given
            ]
        # A class may call its own method with other things, such as the tracers of an autodiff library.
        if not all(isinstance(x, np.ndarray) for x in given) or given[0].dtype != np.float64 or given[0].ndim == 0:
            return method(*given, **named)
        who = f"{type(self).__name__}.{name}"
        try:
            # Copies: what a method does to its arguments reaches nobody.
            result = method(*[x.copy(order="K") for x in given], **named)
        except InvalidProblem:
            raise
        except (IndexError, TypeError, ValueError) as error:
            shapes = ", ".join(str(x.shape) for x in given)
            raise InvalidProblem(f"{who} fails on arguments of shapes {shapes}: {error}") from error
        if axes is None:
            return _checked_curvature(who, result, self)
        return _checked_array(who, result, axes, self, given)

    call._checked = True  # type: ignore[attr-defined]
    return call


def _checked_array(who: str, result: Any, axes: str, problem: Any, given: list[Any]) -> FloatArray:
    """`result` as a float64 array of its own, of the right shape, finite, and symmetric where it is a Hessian."""
    others = given[1:]
    kept = real_array(who, result)
    array = kept.astype(np.float64, copy=False)
    expected = _shape(axes, problem, given)
    if len(others) == 2 and _broadcasts(array.shape, expected):
        array = np.array(np.broadcast_to(array, expected))  # the vectors may have b = 1 for all samples
    if array.shape != expected:
        words = f"(..., {', '.join(axes)})" if axes else "(...)"
        raise InvalidProblem(
            f"{who} must return shape {words} = {expected} for arguments of shapes "
            f"{', '.join(str(x.shape) for x in given)}, got {array.shape}"
        )
    if not np.isfinite(array).all():
        if _may_diverge.get():
            return array
        where = tuple(np.argwhere(~np.isfinite(array))[0])
        raise NonFinite(f"{who} must return finite numbers, got {array[where]} {_of(where, axes, expected, others)}")
    if not axes.endswith("pp"):
        return array
    precision = float(np.finfo(kept.dtype).eps) if kept.dtype.kind == "f" else 0.0
    return _symmetric(who, array, precision, axes, expected, others)


def _shape(axes: str, problem: Any, given: list[Any]) -> tuple[int, ...]:
    """The leading axes of all arguments, then `axes`."""
    sides = {"p": given[0].shape[-1], "c": getattr(problem, "n_outputs", 1)}
    if axes.startswith("b"):
        sides["b"] = given[1].shape[-1]
    core = tuple([sides[axis] for axis in axes])
    leading = [x.shape[:-1] for x in given[:2]] + [x.shape[: -len(core)] for x in given[2:]]
    return (*np.broadcast_shapes(*leading), *core) if any(leading) else core


def real_array(who: str, result: Any) -> npt.NDArray[Any]:
    """A copy of `result` as an array of real numbers; masked entries are NaN."""
    if type(result) is np.ndarray and result.dtype == np.float64:
        return result.copy(order="K")
    try:
        if np.ma.isMaskedArray(result):
            return np.ma.filled(result.astype(float), np.nan)
        array = np.array(np.asarray(result))  # in two steps: a tensor need not know how to copy
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidProblem(f"{who} must return an array of real numbers, got {shown(result)}: {error}") from error
    if array.dtype.kind not in "fiu":
        raise InvalidProblem(f"{who} must return real numbers, got dtype {array.dtype}: {shown(result)}")
    return array


def _broadcasts(shape: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, expected) == expected
    except ValueError:
        return False


def _of(where: tuple[int, ...], axes: str, expected: tuple[int, ...], others: list[Any]) -> str:
    """The sample of an entry, in words."""
    if not axes.startswith("b"):
        return "for a batch"
    position = where[: len(expected) - len(axes) + 1]
    samples = np.broadcast_to(others[0], expected[: len(expected) - len(axes) + 1])
    return f"for sample {samples[position]}"


def _symmetric(
    who: str, array: FloatArray, precision: float, axes: str, expected: tuple[int, ...], others: list[Any]
) -> FloatArray:
    """Symmetric to 1e-10 of the largest entry of a Hessian, or to the precision that it came in."""
    transposed = np.swapaxes(array, -1, -2)
    largest = np.abs(array).max(axis=(-1, -2), keepdims=True)
    with np.errstate(over="ignore"):
        asymmetry = np.abs(array - transposed) / np.maximum(largest, SUBNORMAL)
    worst = np.unravel_index(int(asymmetry.argmax()), asymmetry.shape)
    single = precision > 1e-12
    if not asymmetry[worst] <= (1e3 * precision if single else 1e-10):
        sample = _of(tuple(int(k) for k in worst), axes, expected, others)
        raise InvalidProblem(
            f"{who} must return symmetric matrices, got a relative asymmetry of {asymmetry[worst]:.2g} {sample}"
        )
    return array / 2 + transposed / 2 if single else array


def _checked_curvature(who: str, curvature: Any, problem: Any) -> Any:
    """A curvature of all samples, finite."""
    sides = (getattr(curvature, "n_samples", None), getattr(curvature, "n_params", None))
    if sides != (problem.n_samples, problem.n_params):
        raise InvalidProblem(
            f"{who} must return a curvature of n_samples = {problem.n_samples} and n_params = {problem.n_params}, "
            f"got {type(curvature).__name__} of {sides[0]} and {sides[1]}"
        )
    for field, values in vars(curvature).items():
        if isinstance(values, np.ndarray) and not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))[0]
            raise NonFinite(f"{who} must return finite {field}, got {values[tuple(where)]} for sample {where[0]}")
    return curvature
