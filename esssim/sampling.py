"""Sampling schemes: how the b indices of a mini-batch are drawn, and what that does to the moments of batch means.

For per-sample matrices Aᵢ with mean Ā, a batch mean A_B satisfies E[A_B ⊗ A_B] = (1−c) Ā⊗Ā + c (1/n) Σᵢ Aᵢ⊗Aᵢ, and its
third central moment is c₃ times that of one sample; c and c₃ belong to the scheme.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from esssim import _validate
from esssim._kernels import sampling as kernels
from esssim._validate import FloatArray, IntArray

CHUNK = 4096


@dataclass(frozen=True)
class Sampling(ABC):
    """A scheme that draws mini-batches of `batch_size` = b of the n samples."""

    batch_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", _validate.integer("batch_size", self.batch_size, 1))

    def check(self, n_samples: int) -> None:
        """ValueError unless this scheme can draw from n_samples samples."""
        _validate.integer("n_samples", n_samples, 1)

    @abstractmethod
    def variance_coefficient(self, n_samples: int) -> float:
        """c: the covariance of a batch mean is c times the (1/n) covariance of one sample."""

    @abstractmethod
    def third_moment_coefficient(self, n_samples: int) -> float:
        """c₃: the third central moment of a batch mean is c₃ times the (1/n) third central moment of one sample."""

    @abstractmethod
    def count(self, n_samples: int) -> int:
        """How many batches `enumerate` yields: distinct sets, or multisets."""

    def has_at_most(self, n_samples: int, count: int) -> bool:
        """Whether there are no more than `count` batches, so that all of them cost no more than so many drawn ones."""
        return self.count(n_samples) <= count

    @abstractmethod
    def enumerate(self, n_samples: int, chunk_size: int = CHUNK) -> Iterator[tuple[IntArray, FloatArray]]:
        """Every batch with its probability, in chunks (m, b) and (m,), m ≤ chunk_size; never all in memory."""

    def _empty(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> IntArray:
        """Room for n_batches batches, once the arguments of `draw` are checked."""
        self.check(n_samples)
        _validate.instance("rng", rng, np.random.Generator, "numpy.random.default_rng(seed)")
        return np.empty((_validate.integer("n_batches", n_batches, 0), self.batch_size), dtype=np.int64)

    @abstractmethod
    def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> IntArray:
        """n_batches batches (m, b) from `rng`; of independent ones, several calls give the same as one."""


def check_sampling(sampling: Sampling, n_samples: int) -> None:
    """ValueError unless it is a scheme that can draw from n_samples samples."""
    _validate.instance("sampling", sampling, Sampling, "WithoutReplacement(8)")
    sampling.check(n_samples)


def check_independent(sampling: Sampling, purpose: str) -> None:
    """ValueError where its batches depend on each other, which what it is for does not allow."""
    if isinstance(sampling, Reshuffled):
        raise ValueError(
            f"sampling must draw independent batches for {purpose} (WithoutReplacement or WithReplacement), "
            "got Reshuffled"
        )


def _chunks(batches: Iterator[tuple[int, ...]], batch_size: int, chunk_size: int) -> Iterator[IntArray]:
    size = _validate.integer("chunk_size", chunk_size, 1)
    while chunk := list(itertools.islice(batches, size)):
        yield np.array(chunk, dtype=np.int64).reshape(-1, batch_size)


class WithoutReplacement(Sampling):
    """B uniform among the C(n, b) subsets, independent across steps.

    c = (n−b)/(b(n−1)), c₃ = (n−b)(n−2b)/(b²(n−1)(n−2)).
    """

    def check(self, n_samples: int) -> None:
        super().check(n_samples)
        _validate.integer("batch_size", self.batch_size, 1, n_samples, "n_samples")

    def variance_coefficient(self, n_samples: int) -> float:
        self.check(n_samples)
        n, b = n_samples, self.batch_size
        return (n - b) / (b * (n - 1)) if n > 1 else 0.0

    def third_moment_coefficient(self, n_samples: int) -> float:
        self.check(n_samples)
        n, b = n_samples, self.batch_size
        # Two points have no third central moment, so that any coefficient is right for n ≤ 2.
        return (n - b) * (n - 2 * b) / (b**2 * (n - 1) * (n - 2)) if n > 2 else 0.0

    def count(self, n_samples: int) -> int:
        self.check(n_samples)
        return math.comb(n_samples, self.batch_size)

    def enumerate(self, n_samples: int, chunk_size: int = CHUNK) -> Iterator[tuple[IntArray, FloatArray]]:
        count, size = self.count(n_samples), _validate.integer("chunk_size", chunk_size, 1)
        current = np.arange(self.batch_size)
        for start in range(0, count, size):
            chunk = np.empty((min(size, count - start), self.batch_size), dtype=np.int64)
            kernels.next_combinations(n_samples, current, chunk)
            yield chunk, np.full(len(chunk), 1.0 / count)

    def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> IntArray:
        batches = self._empty(n_samples, n_batches, rng)
        kernels.draw_without_replacement(rng, np.arange(n_samples), batches)
        return batches


class WithReplacement(Sampling):
    """b independent uniform indices: c = 1/b, c₃ = 1/b². Enumerated as multisets with multinomial probabilities."""

    def variance_coefficient(self, n_samples: int) -> float:
        self.check(n_samples)
        return 1.0 / self.batch_size

    def third_moment_coefficient(self, n_samples: int) -> float:
        self.check(n_samples)
        return 1.0 / self.batch_size**2

    def count(self, n_samples: int) -> int:
        self.check(n_samples)
        return math.comb(n_samples + self.batch_size - 1, self.batch_size)

    def enumerate(self, n_samples: int, chunk_size: int = CHUNK) -> Iterator[tuple[IntArray, FloatArray]]:
        self.check(n_samples)
        b = self.batch_size
        log_total = math.lgamma(b + 1) - b * math.log(n_samples)
        multisets = itertools.combinations_with_replacement(range(n_samples), b)
        for chunk in _chunks(multisets, b, chunk_size):
            # The k-th equal index of a sorted row contributes log k: their sum is Σ log(multiplicity!).
            run = np.ones(len(chunk))
            log_repeats = np.zeros(len(chunk))
            for column in range(1, b):
                run = np.where(chunk[:, column] == chunk[:, column - 1], run + 1, 1)
                log_repeats += np.log(run)
            yield chunk, np.exp(log_total - log_repeats)

    def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> IntArray:
        batches = self._empty(n_samples, n_batches, rng)
        kernels.draw_with_replacement(rng, n_samples, batches)
        return batches


class Reshuffled(WithoutReplacement):
    """Epochs of a random permutation cut into ⌊n/b⌋ batches; the n mod b samples left over sit the epoch out.

    One batch of it has the law of `WithoutReplacement`, so every statistic at a point is the same; the batches of
    an epoch are dependent, so that stability thresholds for independent batches do not apply.
    """

    def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> IntArray:
        """n_batches consecutive batches (m, b), from the start of an epoch."""
        batches = self._empty(n_samples, n_batches, rng)
        kernels.draw_reshuffled(rng, np.arange(n_samples), batches)
        return batches
