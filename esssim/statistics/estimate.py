"""Expectations over batches: exact by enumeration, or sampled with a standard error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from esssim import _validate
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
        level = (1 + _validate.real("confidence", confidence, above=0.0, below=1.0)) / 2
        half = 0.0 if self.exact else float(stdtrit(self.n_batches - 1, level)) * self.standard_error
        return self.value - half, self.value + half

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        how = "exact" if self.exact else f"± {self.standard_error:.2g}"
        return f"{self.value:.6g} ({how}, {self.n_batches:,} batches)"


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
    check_sampling(sampling, n_samples)
    if seed is not None and not isinstance(seed, np.random.SeedSequence):
        seed = _validate.integer("seed", seed, 0)
    count = sampling.count(n_samples)
    if n_batches is None:
        if count > ENUMERATION_LIMIT:
            raise ValueError(
                f"n_batches must be given: there are {count:,} batches of {sampling.batch_size} among "
                f"{n_samples} samples, and at most {ENUMERATION_LIMIT:,} are enumerated"
            )
        # Each column is summed by fsum, so that the chunk size cannot change the last bit.
        products = [weights * np.atleast_2d(per_batch(batches).T) for batches, weights in sampling.enumerate(n_samples)]
        means = [math.fsum(column) for column in np.concatenate(products, axis=1)]
        if ratio and means[1] == 0.0:
            raise ValueError(ZERO_GRADIENTS)
        return Estimate(means[0] / means[1] if ratio else means[0], 0.0, count, True)
    n_batches = _validate.integer("n_batches", n_batches, 2)
    rng = np.random.default_rng(seed)
    sizes = [min(CHUNK, n_batches - start) for start in range(0, n_batches, CHUNK)]
    # Batches of one epoch depend on each other; the standard error is that of independent ones, of the same law.
    independent = WithoutReplacement(sampling.batch_size) if isinstance(sampling, Reshuffled) else sampling
    values = np.concatenate([per_batch(independent.draw(n_samples, size, rng)) for size in sizes])
    if not ratio:
        return Estimate(float(values.mean()), _standard_deviation(values) / math.sqrt(n_batches), n_batches, False)
    numerator, denominator = values.T
    if not denominator.any():
        raise ValueError(ZERO_GRADIENTS)
    value = float(numerator.mean() / denominator.mean())
    # Delta method: the first-order error of a ratio of means is the mean of f − value·g over E[g].
    spread = _standard_deviation(numerator - value * denominator)
    return Estimate(value, spread / abs(float(denominator.mean())) / math.sqrt(n_batches), n_batches, False)


def _standard_deviation(values: FloatArray) -> float:
    """With n − 1, and with squares that neither over- nor underflow."""
    exponent = math.frexp(float(np.abs(values).max()))[1]
    return math.ldexp(float(np.ldexp(values, -exponent).std(ddof=1)), exponent)
