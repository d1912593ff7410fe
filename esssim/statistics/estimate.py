"""Expectations over batches: exact by enumeration, or sampled with a standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esssim import _validate
from esssim._intervals import student_quantile
from esssim._validate import FloatArray, IntArray
from esssim.sampling import CHUNK, Reshuffled, Sampling, WithoutReplacement, check_sampling

# Enumerating this many batches takes seconds; beyond it the caller must choose a sample size.
ENUMERATION_LIMIT = 200_000
ZERO_GRADIENTS = "batch_sharpness is 0/0 at theta: the gradient of every batch is zero"


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty: `exact` ones enumerate every batch and have standard_error 0."""

    value: float
    standard_error: float
    n_batches: int
    exact: bool

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Student confidence interval value ± t·standard_error, n_batches − 1 degrees of freedom; a point when exact."""
        level = _validate.real("confidence", confidence, above=0.0, below=1.0)
        half = 0.0 if self.exact else student_quantile(self.n_batches - 1, level) * self.standard_error
        return self.value - half, self.value + half

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        how = "exact" if self.exact else f"± {self.standard_error:.2g}"
        return f"{self.value:.6g} ({how}, {self.n_batches:,} batches)"


def number_of_batches(n_samples: int, sampling: Sampling, n_batches: int | None) -> int:
    """How many batches an expectation takes: n_batches, or all there are where that is None and affordable."""
    check_sampling(sampling, n_samples)
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
    chunk_size: int | None = None,
) -> Estimate:
    """E_B[f(B)], or with `ratio` E_B[f]/E_B[g] of the two columns (f, g) that per_batch returns.

    per_batch: (m, b) -> (m,), or (m, 2) for a ratio. chunk_size: batches per call of it, 4096 by default. Beyond that
    only the values themselves are kept: 8 bytes per batch, 16 for a ratio.
    """
    chunk = CHUNK if chunk_size is None else _validate.integer("chunk_size", chunk_size, 1)
    if seed is not None and not isinstance(seed, np.random.SeedSequence):
        seed = _validate.integer("seed", seed, 0)
    count = number_of_batches(n_samples, sampling, n_batches)
    if n_batches is None:
        # Each column is summed by fsum, so that the chunk size cannot change the last bit.
        every = sampling.enumerate(n_samples) if chunk_size is None else sampling.enumerate(n_samples, chunk)
        products = [weights * np.atleast_2d(per_batch(batches).T) for batches, weights in every]
        means = [math.fsum(column) for column in np.concatenate(products, axis=1).tolist()]
        if ratio and means[1] == 0.0:
            raise ValueError(ZERO_GRADIENTS)
        return Estimate(means[0] / means[1] if ratio else means[0], 0.0, count, True)
    rng = np.random.default_rng(seed)
    # Batches of one epoch depend on each other; the standard error is that of independent ones, of the same law.
    independent = WithoutReplacement(sampling.batch_size) if isinstance(sampling, Reshuffled) else sampling
    values = np.empty((count, 2) if ratio else count)
    for start in range(0, count, chunk):
        values[start : start + chunk] = per_batch(independent.draw(n_samples, min(chunk, count - start), rng))
    if not ratio:
        return Estimate(float(values.mean()), _standard_deviation(values) / math.sqrt(count), count, False)
    numerator, denominator = values.T
    if not denominator.any():
        raise ValueError(ZERO_GRADIENTS)
    mean = float(denominator.mean())
    value = float(numerator.mean()) / mean
    # Delta method: the first-order error of a ratio of means is the mean of f − value·g over E[g].
    denominator *= value
    numerator -= denominator
    return Estimate(value, _standard_deviation(numerator) / abs(mean) / math.sqrt(count), count, False)


def _standard_deviation(values: FloatArray) -> float:
    """With n − 1, and with squares that neither over- nor underflow; overwrites the values, which may be many."""
    exponent = math.frexp(max(abs(float(values.max())), abs(float(values.min()))))[1]
    np.ldexp(values, -exponent, out=values)
    values -= values.mean()
    np.square(values, out=values)
    return math.ldexp(math.sqrt(float(values.sum()) / (len(values) - 1)), exponent)
