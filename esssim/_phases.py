"""Records that see every phase of a run that may repeat itself: full batches oscillate at 2/η, epochs come back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from esssim._validate import FloatArray, IntArray

# Gradient descent past its edge: period doubling, and the widest window of an odd period behind it. Multiples of these
# are met by them.
PERIODS_OF_DESCENT = (2, 3, 4)
# Records at random steps see more of the phases than this fraction of what is expected of them, and leave out as many
# with a smaller chance than this.
SEEN, CHANCE = 0.6, 1e-3


def possible_periods(scheme: str, batch_size: int, n_samples: int) -> tuple[int, ...]:
    """Periods, in steps, that a run may have: short ones where each batch is all samples, an epoch of a reshuffled
    one.
    """
    if n_samples == 1 or (batch_size == n_samples and scheme != "WithReplacement"):
        return PERIODS_OF_DESCENT
    epoch = n_samples // batch_size
    return (epoch,) if scheme == "Reshuffled" and epoch > 1 else ()


def random_phases(n_steps: int, n_records: int, period: int, seed: int) -> IntArray:
    """Step 0, n_steps, and between them one random step around each of the equally spaced ones, in increasing order.

    The steps take their phases, step mod period, from shuffled rounds of all of them, so that each is seen equally
    often.
    """
    if n_records <= 2 or n_records > n_steps:
        return equally_spaced(n_steps, n_records)
    between = n_steps / (n_records - 1)
    # A stream of its own: those of replicas and of their records have shorter keys.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0, 0)))
    borders = np.ceil((np.arange(1, n_records) - 0.5) * between).astype(np.int64)
    first, room = borders[:-1], np.diff(borders)
    rounds = rng.permuted(np.tile(np.arange(period), (-(-len(first) // period), 1)), axis=1)
    offset = (rounds.ravel()[: len(first)] - first) % period
    chance = rng.random(len(first))
    # Steps of the stretch with this phase; in one that is too short for it, any step.
    choices = -((offset - room) // period)
    inside = np.where(choices > 0, offset + period * np.floor(chance * choices), np.floor(chance * room)).astype(
        np.int64
    )
    return np.concatenate(([0], first + inside, [n_steps]))


def equally_spaced(n_steps: int, n_records: int) -> IntArray:
    """n_records steps from 0 to n_steps, or the last one alone; fewer where a run has not so many."""
    if n_records == 1:
        return np.array([n_steps], dtype=np.int64)
    return np.unique(np.linspace(0, n_steps, n_records).round().astype(np.int64))


def missed_period(steps: IntArray, periods: Sequence[int]) -> tuple[int, int] | None:
    """(period, phases seen) of the first period of which the steps see far fewer phases than random ones would."""
    for period in periods:
        seen = len(np.unique(steps % period))
        expected = period * (1 - 1 / period) ** len(steps)  # phases that random steps miss: about a Poisson number
        chance = expected ** (period - seen) / math.factorial(period - seen) if seen < period <= len(steps) else 1.0
        if seen <= SEEN * (period - expected) or chance < CHANCE:
            return period, seen
    return None


def mean_over_phases(series: FloatArray, steps: IntArray, period: int) -> float:
    """The mean of the means at each phase: every phase that was seen counts the same."""
    _, phase, counts = np.unique(steps % period, return_inverse=True, return_counts=True)
    return float((np.bincount(phase, series) / counts).mean())
