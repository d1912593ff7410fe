"""The best valid prediction of the gap, and the exponent with which it falls along the batch size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gap.bounds import bounds_at
from esssim.gap.cluster import crossover_at
from esssim.gap.exact import exact_at
from esssim.gap.joint import Joint
from esssim.gap.perturbation import second_order_at, third_order_at
from esssim.gap.random_matrix import additive_noise_at, marchenko_pastur_at, spike_at
from esssim.gap.results import Prediction
from esssim.gap.setting import Setting
from esssim.problems import Problem
from esssim.sampling import Sampling, WithoutReplacement

FORMULAS: tuple[Callable[[Setting], Prediction], ...] = (
    exact_at, third_order_at, second_order_at, crossover_at, marchenko_pastur_at, spike_at, additive_noise_at,
)  # fmt: skip


@one_blas_thread()
def predict(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """The gap M_b − λ_max(H), M_b = E_B λ_max(H_B), by every formula that is valid at theta.

    A formula is valid where its conditions hold at theta, and then states its error. An exact formula comes first, then
    `joint`, which joins the others by their errors and is smooth in b. Where there is nothing to join, the valid one of
    the smallest error; where every error is larger than half the distance of the bounds, their middle, with that half
    as the error. The value is kept within `bounds`, which always hold.

    theta: (p,). Returns a `Prediction`: value, error, interval, and the method with the reason for its choice;
    `predictions` lists every formula. Raises ValueError for bad arguments. Formulas and sources: docs/gap.md.
    """
    return predict_at(Setting.of(problem, theta, sampling))


@one_blas_thread()
def predictions(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> tuple[Prediction, ...]:
    """Every formula's own prediction or refusal, "bounds" last; `predict` picks from these. Arguments as there."""
    return predictions_at(Setting.of(problem, theta, sampling))


def predictions_at(s: Setting) -> tuple[Prediction, ...]:
    """`predictions` of a setting."""
    middle = middle_at(s)
    return (*(formula(s) for formula in FORMULAS), Joint.of(s).at(s), middle)


def middle_at(s: Setting) -> Prediction:
    """The middle of the bounds, with half of their distance as the error."""
    lower, upper = bounds_at(s).gap
    return Prediction("bounds", (lower + upper) / 2, (upper - lower) / 2, True, "bounds that always hold")


def predict_at(s: Setting, joint: Joint | None = None) -> Prediction:
    """`predict` of a setting; joint: what the formulas say along b, where that is known."""
    exact = exact_at(s)
    if exact.valid:
        return exact
    middle = middle_at(s)
    lower, upper = middle.interval
    best = (Joint.of(s) if joint is None else joint).at(s)
    if not best.valid:
        candidates = (*(formula(s) for formula in FORMULAS), middle)
        best = min((found for found in candidates if found.valid), key=lambda found: found.error)
    elif best.error > middle.error:
        best = middle
    return dataclasses.replace(best, value=min(max(best.value, lower), upper))


@one_blas_thread()
def scaling_exponents(
    problem: Problem, theta: npt.ArrayLike, batch_sizes: Sequence[int], scheme: type[Sampling] = WithoutReplacement
) -> FloatArray:
    """α between neighbouring batch sizes, α = −log(gap'/gap)/log(b'/b) with the gaps of `predict`: one less than
    batch_sizes.

    Second order gives α = 1 with replacement and, from c = (n−b)/(b(n−1)), n/(n−b) without; a degenerate top eigenvalue
    half of that; Gaussian rows anything from 1 (b ≪ p) to ½. NaN where a gap is 0. batch_sizes: increasing. Raises
    ValueError for bad arguments.
    """
    if not (isinstance(scheme, type) and issubclass(scheme, Sampling)):
        raise ValueError(f"scheme must be a class such as WithoutReplacement, got {_validate.shown(scheme)}")
    sizes = _validate.sizes("batch_sizes", batch_sizes, at_least=2)
    first = Setting.of(problem, theta, scheme(sizes[0]))
    joint = Joint.of(first)
    gaps = [predict_at(first.at(b), joint).value for b in sizes]
    logs = np.log([gap if gap > 0 else math.nan for gap in gaps])
    return np.asarray(-np.diff(logs) / np.diff(np.log(sizes)))
