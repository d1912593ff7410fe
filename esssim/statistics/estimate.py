"""Expectations over batches: exact by enumeration, or sampled with a standard error."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Hashable

import numpy as np

from esssim import _validate
from esssim._errors import Undefined
from esssim._validate import FloatArray, IntArray
from esssim.problems.once import once_a_record
from esssim.sampling import CHUNK, Reshuffled, Sampling, WithoutReplacement, check_sampling
from esssim.statistics.pointwise import ZERO_GRADIENTS
from esssim.statistics.shares import Shares, Weights, effective_number
from esssim.statistics.uncertainty import ROUNDING, Estimate, HeavyTailWarning, Stream

# Enumerating this many batches takes seconds; beyond it the caller must choose a sample size.
ENUMERATION_LIMIT = 200_000
# The single samples of b = 1 are enumerated up to this many where a Hessian of one sample is known by its factors.
SINGLE_SAMPLES = 10_000
# Fewer batches than this that carry an estimate are worth a warning, where most of those drawn do not count.
FEW_EFFECTIVE, MOST_DO_NOT_COUNT = 30, 0.25


def in_parts(items: IntArray, numbers: int, most: int) -> list[IntArray]:
    """The items, of so many numbers each, in parts of about `most` numbers; never an empty part."""
    return np.array_split(items, min(max(1, len(items) * numbers // most), len(items)))


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
    weights: Weights | None = None,
) -> Estimate:
    """E_B[f(B)], or with `ratio` E_B[f]/E_B[g] of the two columns (f, g) that per_batch returns.

    per_batch: (m, b) -> (m,), or (m, 2) for a ratio. chunk_size: batches per call of it, 4096 by default. Beyond that
    only the values themselves are kept: 8 bytes per batch, 16 for a ratio. With weights, f in their unit is averaged by
    `esssim.statistics.shares`; without, batches are drawn as the scheme draws them.
    """
    chunk = CHUNK if chunk_size is None else _validate.integer("chunk_size", chunk_size, 1)
    check_seed(seed)
    count = number_of_batches(n_samples, sampling, n_batches)
    if n_batches is None:
        # Each column is summed by fsum, so that the chunk size cannot change the last bit.
        every = sampling.enumerate(n_samples) if chunk_size is None else sampling.enumerate(n_samples, chunk)
        products = [weights * np.atleast_2d(per_batch(batches).T) for batches, weights in every]
        means = [math.fsum(column) for column in np.concatenate(products, axis=1).tolist()]
        if ratio and means[1] == 0.0:
            raise Undefined(ZERO_GRADIENTS)
        return Estimate(means[0] / means[1] if ratio else means[0], 0.0, count, True)
    stream = _stream(seed)
    if weights is not None and weights.values.any():
        rng = np.random.default_rng(seed)
        return Shares.of(weights, sampling, count).estimate(per_batch, rng, chunk).drawn_from(stream)
    # Batches of one epoch depend on each other; the standard error is that of independent ones, of the same law.
    independent = WithoutReplacement(sampling.batch_size) if isinstance(sampling, Reshuffled) else sampling
    if count <= chunk:
        # The statistics of a record draw the same batches, which they only read.
        key = ("batches", id(sampling), n_samples, count, stream)
        drawn = once_a_record(key, lambda: independent.draw(n_samples, count, np.random.default_rng(seed)))
        values = np.array(per_batch(drawn), dtype=np.float64)
    else:
        rng, values = np.random.default_rng(seed), np.empty((count, 2) if ratio else count)
        for start in range(0, count, chunk):
            values[start : start + chunk] = per_batch(independent.draw(n_samples, min(chunk, count - start), rng))
    return sampled_ratio(values, seed) if ratio else sampled(values, seed)


def sampled(values: FloatArray, seed: int | np.random.SeedSequence | None) -> Estimate:
    """The mean of independent values (m,), which are overwritten, with its standard error."""
    return _sampled(float(values.mean()), values, 1.0, seed)


def sampled_ratio(values: FloatArray, seed: int | np.random.SeedSequence | None) -> Estimate:
    """E[f]/E[g] of independent rows (f, g), (m, 2), which are overwritten, with its standard error by the delta
    method.
    """
    numerator, denominator = values.T
    if not denominator.any():
        raise Undefined(ZERO_GRADIENTS)
    mean = float(denominator.mean())
    value = float(numerator.mean()) / mean
    # The first-order error of a ratio of means is the mean of f − value·g over E[g].
    denominator *= value
    numerator -= denominator
    return _sampled(value, numerator, abs(mean), seed)


def check_seed(seed: int | np.random.SeedSequence | None) -> None:
    """ValueError unless it is a seed; None stands for one that nobody knows."""
    if seed is not None and not isinstance(seed, np.random.SeedSequence):
        _validate.integer("seed", seed, 0)


def warn_of_heavy_tail(name: str, found: Estimate) -> Estimate:
    """The estimate itself, with a HeavyTailWarning where too few batches carry it."""
    effective = found.n_effective
    if effective is not None and effective < min(FEW_EFFECTIVE, MOST_DO_NOT_COUNT * found.n_batches):
        warnings.warn(
            f"{name} rests on {effective:.0f} of its {found.n_batches:,} batches: some samples outweigh all others, "
            "and "
            f"the interval may be too short; a larger n_batches helps",
            HeavyTailWarning,
            stacklevel=_callers_level(),
        )
    return found


def _callers_level() -> int:
    """The `stacklevel` of the first caller outside this package: decorators stand between it and the warning."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("esssim", "contextlib"):
        level, frame = level + 1, frame.f_back
    return level


def _sampled(value: float, values: FloatArray, unit: float, seed: int | np.random.SeedSequence | None) -> Estimate:
    """value with the error of the mean of values, in this unit; the values are overwritten."""
    count = len(values)
    error = _standard_deviation(values) / unit / math.sqrt(count)
    np.sqrt(values, out=values)
    effective = effective_number(values) if error > ROUNDING * abs(value) else float(count)
    return Estimate(value, error, count, False, None, effective).drawn_from(_stream(seed))


def _stream(seed: int | np.random.SeedSequence | None) -> Hashable:
    """A name of the random numbers that come from a seed; those of None are like no others."""
    if seed is None:
        return Stream()
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return (repr(sequence.entropy), tuple(sequence.spawn_key))


def _standard_deviation(values: FloatArray) -> float:
    """With n − 1, and with squares that neither over- nor underflow; overwrites the values, which may be many,
    with the squares of their scaled deviations."""
    exponent = math.frexp(max(abs(float(values.max())), abs(float(values.min()))))[1]
    np.ldexp(values, -exponent, out=values)
    values -= values.mean()
    np.square(values, out=values)
    return math.ldexp(math.sqrt(float(values.sum()) / (len(values) - 1)), exponent)
