"""How the methods of a problem behave as functions: what they return, for which sample, and what they leave alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from esssim._validate import FloatArray
from esssim.problems.boundary import real_array
from esssim.testing.case import Case, require

MOST_SAMPLES = 64
TOLERANCE = 1e-12


def methods(case: Case) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Each method of samples, without the checks around it, and what it takes after theta and indices."""
    problem = case.problem
    for name, axes in problem.result_axes.items():
        if not axes.startswith("b"):
            continue
        bound = getattr(problem, name)
        raw = getattr(getattr(type(problem), name), "__wrapped__", None)
        method = bound if raw is None else raw.__get__(problem, type(problem)) if hasattr(raw, "__get__") else raw
        if name == "model_hessian_products":
            outputs = (problem.n_outputs,) if "c" in axes else ()  # type: ignore[attr-defined]
            yield name, method, (np.ones((1, *outputs, problem.n_params)),)
        else:
            yield name, method, ()


def check_methods_return_arrays_of_their_own(case: Case) -> None:
    """A float64 array, finite, that is no view of what the problem keeps and that no later call changes."""
    everyone, other = case.everyone, case.theta * 0.75 + 0.125
    for name, method, vectors in methods(case):
        first = method(case.theta.copy(), everyone.copy(), *vectors)
        require(isinstance(first, np.ndarray), f"{name} must return a numpy array, got {type(first).__name__}")
        require(first.dtype == np.float64, f"{name} must return float64, got {first.dtype}")
        bad = np.argwhere(~np.isfinite(first))
        if len(bad):
            raise AssertionError(f"{name} must be finite, got {first[tuple(bad[0])]} for sample {bad[0][0]}")
        own = [value for value in vars(case.problem).values() if isinstance(value, np.ndarray)]
        shares = first.flags.writeable and any(np.shares_memory(first, value) for value in own)
        require(not shares, f"{name} must return an array of its own, got a view of what the problem keeps")
        before = first.copy()
        method(other, everyone.copy(), *vectors)
        require(np.array_equal(first, before), f"{name} must return an array of its own, a later call changed it")


def check_methods_leave_their_arguments_alone(case: Case) -> None:
    for name, method, vectors in methods(case):
        theta, indices = case.theta.copy(), case.everyone.copy()
        method(theta, indices, *vectors)
        require(np.array_equal(theta, case.theta), f"{name} must not change theta in place")
        require(np.array_equal(indices, case.everyone), f"{name} must not change indices in place")


def check_methods_are_functions(case: Case) -> None:
    """The same arguments give the same numbers, whatever was asked before."""
    everyone = case.everyone
    for name, method, vectors in methods(case):
        first = real_array(name, method(case.theta.copy(), everyone.copy(), *vectors))
        for other in (case.theta, case.theta * 0.75 + 0.125):
            for inner, call, more in methods(case):
                call(other.copy(), everyone[::-1].copy() if inner == name else everyone[:1].copy(), *more)
        again = real_array(name, method(case.theta.copy(), everyone.copy(), *vectors))
        worst = _worst(first, again)
        require(worst is None, f"{name} must give the same numbers for the same arguments, sample {worst} changed")


def check_each_index_gives_its_own_sample(case: Case) -> None:
    """Alone, in any order, and twice in a batch, a sample is what it is among all."""
    rng = np.random.default_rng(0)
    n = case.problem.n_samples
    some = rng.permutation(n)[:MOST_SAMPLES]
    batches = [rng.permutation(n), np.array([some[0], some[-1], some[0]]), *some[:, None]]
    for name, method, vectors in methods(case):
        whole = real_array(name, method(case.theta.copy(), case.everyone.copy(), *vectors))
        for batch in batches:
            found = real_array(name, method(case.theta.copy(), batch.copy(), *vectors))
            if name == "model_hessian_products":
                found = np.broadcast_to(found, (len(batch), *found.shape[1:]))
                whole = np.broadcast_to(whole, (n, *whole.shape[1:]))
            shape = (len(batch), *whole.shape[1:])
            require(found.shape == shape, f"{name} must have shape {shape} for the batch {batch}, got {found.shape}")
            worst = _worst(whole[batch], found)
            if worst is not None:
                raise AssertionError(
                    f"{name} must give sample {batch[worst]} the same numbers in the batch {batch.tolist()} as among "
                    f"all, got {found[worst].ravel()[:3]}, expected {whole[batch][worst].ravel()[:3]}"
                )


def _worst(expected: FloatArray, found: FloatArray) -> int | None:
    """The first row that differs by more than rounding."""
    off = np.abs(expected - found).reshape(len(expected), -1).max(axis=1)
    rows = np.flatnonzero(~(off <= TOLERANCE * np.abs(expected).max()))
    return int(rows[0]) if len(rows) else None


PROTOCOL_CHECKS = (
    check_methods_return_arrays_of_their_own,
    check_methods_leave_their_arguments_alone,
    check_methods_are_functions,
    check_each_index_gives_its_own_sample,
)
