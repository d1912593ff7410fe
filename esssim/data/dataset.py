"""What every source of data gives: inputs and targets with names, and the two transformations of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray

# A column that varies by less, next to its size, differs in its last five bits at most.
ROUNDING_OF_A_CONSTANT = 32 * float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs xᵢ and targets yᵢ of n samples.

    inputs: (n, d); targets: (n,); name: where they come from; feature_names: one for each of the d columns,
    x0, x1, … when left out; notes: what a reader of the numbers should know of how they were read. Raises ValueError
    for shapes that do not fit and for entries that are not finite.
    """

    inputs: FloatArray
    targets: FloatArray
    name: str = "data"
    feature_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inputs = _validate.real_array("inputs", self.inputs, ("n", "d"))
        n_samples, n_features = inputs.shape
        if isinstance(self.feature_names, str) or not isinstance(self.feature_names, Iterable):
            raise ValueError(f"feature_names must be a sequence of names, got {_validate.shown(self.feature_names)}")
        names = tuple(self.feature_names) or tuple(f"x{column}" for column in range(n_features))
        if len(names) != n_features:
            raise ValueError(f"feature_names must hold one name for each of {n_features} columns, got {len(names)}")
        object.__setattr__(self, "inputs", inputs)
        object.__setattr__(self, "targets", _validate.real_array("targets", self.targets, (n_samples,)))
        object.__setattr__(self, "feature_names", names)

    @property
    def n_samples(self) -> int:
        """n."""
        return int(self.inputs.shape[0])

    @property
    def n_features(self) -> int:
        """d."""
        return int(self.inputs.shape[1])


def constant_up_to_rounding(columns: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether max x − min x ≤ 32ε max|x| for each column (n,) or (n, d): what varies is the rounding of its numbers.

    0.1 + 0.2 and 0.3 are one number; 1e-9 times normal numbers around zero are not.
    """
    scaled = _near_one(columns)
    spread = scaled.max(axis=0) - scaled.min(axis=0)
    return np.asarray(spread <= ROUNDING_OF_A_CONSTANT * np.abs(scaled).max(axis=0))


def _near_one(columns: FloatArray) -> FloatArray:
    """Each column times a power of two: no digit changes, and sums of squares stay within range at any scale."""
    exponent = np.frexp(np.abs(columns).max(axis=0))[1]
    return np.asarray(np.ldexp(columns, -exponent))


def standardised(columns: FloatArray) -> FloatArray:
    """(x − x̄)/s for each column, s² = (1/n) Σᵢ (xᵢ − x̄)²; a column that is constant up to rounding becomes zeros.

    columns: (n,) or (n, d), finite; the result has the same shape.
    """
    constant = constant_up_to_rounding(columns)
    scaled = _near_one(columns)
    # The mean of n equal numbers need not equal them in floating point: their range shows constant columns.
    centred = np.where(constant, 0.0, scaled - scaled.mean(axis=0))
    deviation = np.sqrt((centred**2).mean(axis=0))
    result: FloatArray = centred / np.where(deviation > 0, deviation, 1.0)
    return result


def interpolating_targets(inputs: npt.ArrayLike, targets: npt.ArrayLike) -> FloatArray:
    """The targets' own least-squares fit ŷ = Xb, b = argmin ‖Xb − y‖: teacher targets that a linear model fits exactly.

    There is no intercept: a constant part of y that the columns of X do not span is lost.
    inputs: (n, d); targets: (n,). Returns (n,), in the units of the targets.
    Raises ValueError for shapes that do not fit and for entries that are not finite.
    """
    matrix = _validate.real_array("inputs", inputs, ("n", "d"))
    values = _validate.real_array("targets", targets, (matrix.shape[0],))
    # Columns of very different units would otherwise be cut off as noise beside the largest.
    exponents = np.frexp(np.abs(matrix).max(axis=0))[1]
    balanced = np.ldexp(matrix, -exponents)
    fit: FloatArray = balanced @ np.linalg.lstsq(balanced, values, rcond=None)[0]
    return fit
