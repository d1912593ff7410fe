"""Powers of two near the size of numbers: exact to divide by, and what is divided by them is far from the limits."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray

# Numbers (not bytes) that one chunk of batches may hold in its largest intermediate array.
CHUNK_NUMBERS = 2**22
# Sums of squares of squares of numbers between its inverse and it are far from the smallest and the largest double.
ORDINARY = 2.0**200


def power_of_two_near(array: FloatArray) -> float:
    """The power of four next to the largest magnitude: exact to divide by, and so is its root."""
    largest = float(np.abs(array).max(initial=0.0))
    return float(4.0 ** (np.frexp(largest)[1] // 2)) if largest > 0 else 1.0


def unit_of_products(images: FloatArray) -> FloatArray:
    """A power of two near the largest entry of each row, (..., p) -> (...): 1 where its squares are far from the
    limits.

    Also 1 below the smallest normal number, whose digits are lost already. Raises ValueError for entries beyond the
    limits.
    """
    largest = np.abs(images).max(axis=-1)
    if not np.isfinite(largest).all():
        raise ValueError(
            "Hessian products with unit vectors must be finite, got "
            f"{float(largest[~np.isfinite(largest)][0])}: give inputs, outputs or targets in larger units"
        )
    far = (largest >= np.finfo(np.float64).tiny) & ((largest < 1 / ORDINARY) | (largest > ORDINARY))
    return np.where(far, np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
