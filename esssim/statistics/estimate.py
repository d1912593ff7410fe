"""Expectations over batches: exact by enumeration, or sampled with a standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.sampling import CHUNK, Sampling

# Enumerating this many batches takes seconds; beyond it the caller must choose a sample size.
ENUMERATION_LIMIT = 200_000


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty: `exact` ones enumerate every batch and have standard_error 0."""

    value: float
    standard_error: float
    n_batches: int
    exact: bool

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Normal confidence interval value ± z·standard_error; a point when exact."""
        z = float(ndtri((1 + _validate.real("confidence", confidence, above=0.0, below=1.0)) / 2))
        return self.value - z * self.standard_error, self.value + z * self.standard_error

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        how = "exact" if self.exact else f"± {self.standard_error:.2g}"
        return f"{self.value:.6g} ({how}, {self.n_batches:,} batches)"


def number_of_batches(n_samples: int, sampling: Sampling, n_batches: int | None) -> int:
    """How many batches an expectation takes: n_batches, or all there are where that is None and affordable."""
    sampling.check(n_samples)
    if n_batches is not None:
        return _validate.integer("n_batches", n_batches, 2)
    count = sampling.count(n_samples)
    if count > ENUMERATION_LIMIT:
        raise ValueError(
            f"n_batches must be given: there are {count:,} batches of {sampling.batch_size} among "
            f"{n_samples} samples, and at most {ENUMERATION_LIMIT:,} are enumerated"
        )
    return count


def expectation(
    per_batch: Callable[[IntArray], FloatArray],
    n_samples: int,
    sampling: Sampling,
    n_batches: int | None,
    seed: int | np.random.SeedSequence | None,
    *,
    ratio: bool = False,
) -> Estimate:
    """E_B[f(B)], or with `ratio` E_B[f]/E_B[g] of the two columns (f, g) that per_batch returns.

    per_batch: (m, b) -> (m,), or (m, 2) for a ratio.
    """
    count = number_of_batches(n_samples, sampling, n_batches)
    if n_batches is None:
        # Each column is summed by fsum, so that the chunk size cannot change the last bit.
        products = [weights * np.atleast_2d(per_batch(batches).T) for batches, weights in sampling.enumerate(n_samples)]
        means = [math.fsum(column) for column in np.concatenate(products, axis=1).tolist()]
        return Estimate(means[0] / means[1] if ratio else means[0], 0.0, count, True)
    rng = np.random.default_rng(seed)
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    # The standard schemes draw from one stream; Reshuffled restarts an epoch per chunk, with the same one-batch law.
    values = np.concatenate([per_batch(sampling.draw(n_samples, size, rng)) for size in sizes])
    if not ratio:
        return Estimate(float(values.mean()), _standard_deviation(values) / math.sqrt(count), count, False)
    numerator, denominator = values.T
    value = float(numerator.mean() / denominator.mean())
    # Delta method: the first-order error of a ratio of means is the mean of f − value·g over E[g].
    spread = _standard_deviation(numerator - value * denominator)
    return Estimate(value, spread / abs(float(denominator.mean())) / math.sqrt(count), count, False)


def _standard_deviation(values: FloatArray) -> float:
    """With n − 1, and with squares that neither over- nor underflow."""
    exponent = math.frexp(float(np.abs(values).max()))[1]
    return math.ldexp(float(np.ldexp(values, -exponent).std(ddof=1)), exponent)
