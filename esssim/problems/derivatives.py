"""One look at a problem of somebody else, at the first point where it is used: do its derivatives belong to its losses?

A wrong derivative is refused only where differences of smaller and smaller steps agree on it, so that kinks, rounding
and steep losses are no reason. `esssim.testing.check_problem` looks closer.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from esssim._validate import FloatArray, IntArray
from esssim.problems.boundary import GENERAL, InvalidProblem, NonFinite

MOST_SAMPLES = 256
MOST_NUMBERS = 2**20  # in the Hessians that are looked at
LARGEST_HESSIAN = 2**24
STEPS = 2.0 ** -np.arange(6, 22, 2)
# Between neighbours, from which rounding is estimated; numbers of fewer digits than a double's need a wider distance.
NOISE_STEP, WIDE_NOISE_STEP = 2.0**-22, 2.0**-12
# A factor that is wrong by so much is seen, and with fewer digits.
TOLERANCE, COARSE = 1e-3, 3e-2
AGREE = 8

_seen: dict[int, weakref.ref[Any]] = {}


def check_once(problem: Any, point: FloatArray) -> None:
    """The first call for a problem: InvalidProblem where its methods contradict each other near `point` (p,)."""
    if id(problem) in _seen or not problem.check:
        return
    mark_checked(problem)
    try:
        with np.errstate(all="ignore"):
            check_derivatives(problem, point)
    except BaseException:
        del _seen[id(problem)]  # the next call says it again
        raise


def mark_checked(problem: Any) -> None:
    """No look at this problem any more: a copy of it has been looked at, in the process that sent it here."""
    key = id(problem)
    _seen[key] = weakref.ref(problem, lambda _: _seen.pop(key, None))


def check_derivatives(problem: Any, point: FloatArray) -> None:
    """Same arguments, same numbers; each index its own sample; ∇ℓᵢ against ℓᵢ and ∇²ℓᵢ against ∇ℓᵢ on some samples."""
    rng = np.random.default_rng(0)
    everyone = np.arange(problem.n_samples)
    problem.sample_losses(point, everyone), problem.sample_gradients(point, everyone)
    units = np.where(point != 0, np.abs(point), min(np.abs(point).max(), 1.0) or 1.0)
    nearby = point + units * rng.choice((-1.0, 1.0), len(point)) * rng.uniform(0.5, 1.0, len(point)) / 16
    try:
        problem.sample_losses(nearby, everyone), problem.sample_gradients(nearby, everyone)
    except (ArithmeticError, ValueError):
        nearby = point  # the losses have an edge here
    # Not at the point itself: at a solution losses and gradients are rounding.
    first = problem.sample_losses(nearby, everyone)
    direction = units * rng.standard_normal(len(point)) / np.sqrt(len(point))
    some = everyone if len(everyone) <= MOST_SAMPLES else np.sort(rng.permutation(everyone)[:MOST_SAMPLES])
    if "sample_jacobians" in problem.result_axes:
        slopes = problem.sample_jacobians(nearby, some) @ direction
        outputs = "residuals" if "residuals" in problem.result_axes else "logits"
        _compare(problem, (outputs, "sample_jacobians"), nearby, direction, some, slopes)
    slopes = problem.sample_gradients(nearby, some) @ direction
    _compare(problem, ("sample_losses", "sample_gradients"), nearby, direction, some, slopes)
    _check_repeatable(problem, nearby, everyone, first)
    p = problem.n_params
    few = some[: max(1, MOST_NUMBERS // p**2)]
    if p**2 > LARGEST_HESSIAN:
        return
    try:
        if "model_hessian_products" in problem.result_axes:
            vectors = np.broadcast_to(direction, problem.sample_jacobians(nearby, few).shape)
            products = problem.model_hessian_products(nearby, few, vectors)
            _compare(problem, ("sample_jacobians", "model_hessian_products"), nearby, direction, few, products)
        hessians = problem.sample_hessians(nearby, few)
    except NotImplementedError:
        return  # enough for a simulation
    _compare(problem, ("sample_gradients", "sample_hessians"), nearby, direction, few, hessians @ direction)
    _check_batches(problem, ("sample_hessians", "hessian"), nearby, few)
    _check_curvature(problem, nearby, few, np.einsum("i,nij,j->n", direction, hessians, direction), direction)


def _check_repeatable(problem: Any, point: FloatArray, everyone: IntArray, first: FloatArray) -> None:
    who = type(problem).__name__
    again = problem.sample_losses(point, everyone)
    off = np.abs(again - first)
    if not (off <= TOLERANCE * np.abs(first).max()).all():
        i = int(off.argmax())
        raise InvalidProblem(
            f"{who}.sample_losses must give the same numbers for the same arguments, got {first[i]:.6g} and "
            f"{again[i]:.6g} for sample {i}: is it random, or does it depend on earlier calls?"
        )
    for names in (("sample_losses", "loss"), ("sample_gradients", "gradient")):
        _check_batches(problem, names, point, everyone)


def _check_batches(problem: Any, names: tuple[str, str], point: FloatArray, samples: IntArray) -> None:
    """Each index gives its own sample, in any order and twice, and the mean over a batch is that of its samples."""
    who, method = type(problem).__name__, getattr(problem, names[0])
    # Descending, so that the order counts, and one of them twice.
    picked = np.sort(np.random.default_rng(1).integers(len(samples), size=3))[[2, 1, 0, 2]]
    batch, whole = samples[picked], method(point, samples)[picked]
    off = np.abs(method(point, batch) - whole).reshape(len(picked), -1).max(axis=1)
    if not (off <= TOLERANCE * np.abs(whole).max()).all():
        raise InvalidProblem(
            f"{who}.{names[0]} must give each of its indices its own sample, got other numbers for sample "
            f"{batch[int(off.argmax())]} in the batch {batch.tolist()} than among all samples"
        )
    mean = getattr(problem, names[1])(point, batch)
    if not np.abs(mean - whole.mean(axis=0)).max() <= TOLERANCE * np.abs(whole).max():
        raise InvalidProblem(
            f"{who}.{names[1]} must be the mean of {names[0]} over the batch, got {np.ravel(mean)[:3]} for the batch "
            f"{batch.tolist()}, expected {np.ravel(whole.mean(axis=0))[:3]}"
        )


def _compare(
    problem: Any,
    names: tuple[str, str],
    point: FloatArray,
    direction: FloatArray,
    samples: IntArray,
    claimed: FloatArray,
) -> None:
    """`claimed`, the derivative of names[0] along `direction` that names[1] gives, against differences: (b,) or (b,
    p).
    """
    function: Callable[..., FloatArray] = getattr(problem, names[0])

    def at(step: float) -> FloatArray:
        try:
            return function(point + step * direction, samples).reshape(len(samples), -1)
        except (NonFinite, ArithmeticError):
            return np.full((len(samples), claimed[0].size), np.nan)

    here, slope = at(0.0), claimed.reshape(len(samples), -1)
    precision, near = _precision(here), np.stack([at(k * NOISE_STEP) for k in range(-3, 4)])
    # Equal neighbours on a slope are the work of numbers of fewer digits, whatever they are added to afterwards.
    stuck = (near == here).all(axis=0) & (np.abs(slope) * NOISE_STEP > 64 * np.finfo(float).eps * np.abs(here))
    single = precision > np.finfo(float).eps or bool(stuck.any())
    close = np.stack([at(k * WIDE_NOISE_STEP) for k in range(-3, 4)]) if single else near
    noise = _noise(close) + 4 * precision * np.abs(here).max(axis=1)
    noise += np.finfo(float).tiny
    refuted = np.zeros(len(samples), dtype=bool)
    moves = [(at(step) - here, here - at(-step), step * slope) for step in STEPS]
    slopes = np.stack([(forward + backward) / 2 for forward, backward, _ in moves]) / STEPS[:, None, None]
    for tolerance in (TOLERANCE, COARSE) if single else (TOLERANCE,):
        decided, wrong = [], []
        for forward, backward, own in moves:
            outside = np.maximum(np.minimum(forward, backward) - own, own - np.maximum(forward, backward)).max(axis=1)
            size = np.maximum(np.maximum(np.abs(forward), np.abs(backward)), np.abs(own)).max(axis=1)
            decided.append(32 * noise <= tolerance * size)
            wrong.append(decided[-1] & (outside > tolerance * size + 8 * noise))
        # The two smallest steps that rounding leaves alone.
        last_two = np.cumsum(np.array(decided)[::-1], axis=0)[::-1] <= 2
        alike = np.where(np.array(decided) & last_two, wrong, True).all(axis=0)
        refuted |= alike & (np.sum(decided, axis=0) >= 2) & _agree(slopes, slope, np.array(decided) & last_two)
    if refuted.any():
        k = int(np.flatnonzero(refuted)[0])
        entry = int(np.abs(slopes[4, k] - slope[k]).argmax())
        raise InvalidProblem(
            f"{type(problem).__name__}.{names[1]} must be the derivative of {names[0]}: for sample {samples[k]} along "
            "a "
            f"random direction it gives {slope[k, entry]:.6g}, and differences of {names[0]} {slopes[4, k, entry]:.6g} "
            "(esssim.testing.check_problem shows more, check = False on the class skips this)"
        )


def _agree(slopes: FloatArray, claimed: FloatArray, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether the slopes (steps, b, …) of the chosen steps (steps, b) lie far nearer to each other than to
    `claimed`.
    """
    here = chosen[:, :, None]
    spread = np.where(here, slopes, -np.inf).max(axis=0) - np.where(here, slopes, np.inf).min(axis=0)
    away = np.where(here, np.abs(slopes - claimed), np.inf).min(axis=0)
    return np.asarray(AGREE * spread.max(axis=1) <= away.max(axis=1))


def _precision(values: FloatArray) -> float:
    """The machine epsilon of the narrowest type that holds all these numbers."""
    types = (np.float16, np.float32)
    return float(np.finfo(next((each for each in types if (values.astype(each) == values).all()), np.float64)).eps)


def _noise(values: FloatArray) -> FloatArray:
    """How far neighbours (7, b, …) jump: their smallest differences of order 2, 4 and 6, which a smooth curve lets
    shrink.

    Source: Moré & Wild, SIAM J. Sci. Comput. 33, 2011.
    """
    return np.min([np.abs(np.diff(values, order, axis=0)).max(axis=(0, 2)) for order in (2, 4, 6)], axis=0)


def _check_curvature(
    problem: Any, point: FloatArray, samples: IntArray, forms: FloatArray, direction: FloatArray
) -> None:
    """vᵀHᵢv of the structured curvatures against `forms`, those of the dense Hessians, and against ‖Jᵢv‖²."""
    wanted = {"curvature": ("sample_hessians", forms)}
    if "residuals" in problem.result_axes:
        along = problem.sample_jacobians(point, samples) @ direction
        wanted["gauss_newton_curvature"] = ("sample_jacobians", (along**2).reshape(len(samples), -1).sum(axis=1))
    for name, (source, expected) in wanted.items():
        if getattr(type(problem), name).__module__ in GENERAL:
            continue
        curvature = getattr(problem, name)(point)
        found = curvature.quadratic_forms(np.asarray(curvature.to_basis(direction)))[samples]
        off = np.abs(found - expected)
        if np.isfinite(off).all() and not (off <= TOLERANCE * np.abs(expected).max()).all():
            k = int(off.argmax())
            raise InvalidProblem(
                f"{type(problem).__name__}.{name} must be that of {source}: for sample {samples[k]} vᵀHv is "
                f"{found[k]:.6g} along a random direction, and {expected[k]:.6g} from {source}"
            )
