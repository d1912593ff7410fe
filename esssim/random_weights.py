"""Noise without mini-batches: random weights of all samples that have the first two moments of the weights of a batch.

A step of SGD is θ − ηΣᵢwᵢ∇ℓᵢ with wᵢ = (how often the batch has i)/b. Only E wᵢ = 1/n and Cov(wᵢ, wⱼ) = (c/n)(δᵢⱼ −
1/n) enter the moment identity of `esssim.sampling`. Every other law with these two moments has the same second moments
of gradients and Hessians, the same Q_b and the same flow; its Hessians Σᵢwᵢ∇²ℓᵢ are other matrices, not even positive
ones.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from esssim import _validate
from esssim._kernels import weighted as kernels
from esssim._validate import FloatArray, IntArray
from esssim.sampling import Sampling, WithoutReplacement


@dataclass(frozen=True)
class RandomWeights(Sampling):
    """Random weights w of all n samples in place of mini-batches: a step of SGD is θ − ηΣᵢwᵢ∇ℓᵢ.

    Their mean and covariance are those of `WithoutReplacement(batch_size)`, and so are Q_b and the flow. Statistics of
    batches become statistics of the weighted Hessian H_w = Σᵢwᵢ∇²ℓᵢ and gradient g_w = Σᵢwᵢ∇ℓᵢ.
    """

    # The law of the weights and its one number, as the compiled loop knows them.
    law: ClassVar[int]

    @property
    def spread(self) -> float:
        """The number that the law needs: 0 where it needs none."""
        return 0.0

    def check(self, n_samples: int) -> None:
        WithoutReplacement(self.batch_size).check(n_samples)

    def variance_coefficient(self, n_samples: int) -> float:
        return WithoutReplacement(self.batch_size).variance_coefficient(n_samples)

    @abstractmethod
    def excess_kurtosis(self, n_samples: int) -> float:
        """E[y⁴]/E[y²]² − 3 of one weight, y = wᵢ − 1/n: how heavy the tails of the noise are."""

    def draw_weights(self, n_samples: int, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """n_draws weights of all samples, (n_draws, n); several calls give the same as one."""
        self.check(n_samples)
        _validate.instance("rng", rng, np.random.Generator, "numpy.random.default_rng(seed)")
        weights = np.empty((_validate.integer("n_draws", n_draws, 0), n_samples))
        kernels.draw_weights(
            rng, self.law, self.spread, self.variance_coefficient(n_samples), weights, np.empty((len(weights), 0))
        )
        return weights

    def every(self, n_samples: int) -> tuple[FloatArray, FloatArray] | None:
        """All values of the weights (m, n) with their probabilities (m,), where there are few; else None."""
        return None

    def count(self, n_samples: int) -> NoReturn:
        self._has_no_batches()

    def enumerate(self, n_samples: int, chunk_size: int = 0) -> Iterator[tuple[IntArray, FloatArray]]:
        self._has_no_batches()

    def draw(self, n_samples: int, n_batches: int, rng: np.random.Generator) -> NoReturn:
        self._has_no_batches()

    def has_at_most(self, n_samples: int, count: int) -> bool:
        every = self.every(n_samples)
        return every is not None and len(every[1]) <= count

    def _has_no_batches(self) -> NoReturn:
        raise ValueError(
            f"sampling must draw batches here (WithoutReplacement or WithReplacement), got {self!r}, which draws "
            "weights"
        )


class _Centred(RandomWeights):
    """w = 1/n + √(c/n)(z − z̄) with independent zᵢ of mean 0, variance 1 and a symmetric law."""

    def third_moment_coefficient(self, n_samples: int) -> float:
        self.check(n_samples)
        return 0.0

    def excess_kurtosis(self, n_samples: int) -> float:
        """κ₄(zᵢ − z̄)/Var² = (m₄ − 3)·((1−1/n)⁴ + (n−1)/n⁴)/(1−1/n)²."""
        n = n_samples
        if n == 1:
            return 0.0
        return (self._fourth_moment - 3.0) * ((1 - 1 / n) ** 4 + (n - 1) / n**4) / (1 - 1 / n) ** 2

    @property
    @abstractmethod
    def _fourth_moment(self) -> float:
        """m₄ = E z⁴."""


class GaussianWeights(_Centred):
    """Normal weights of all samples in place of batches of b = batch_size, with the same mean and covariance.

    w = 1/n + √(c/n)(z − z̄), zᵢ independent standard normal, z̄ their mean; c = (n−b)/(b(n−1)).
    Used as `sampling`, wherever batches are not listed one by one.
    """

    law = kernels.NORMAL
    _fourth_moment = 3.0


class TwoPointWeights(_Centred):
    """Weights of random signs in place of batches of b = batch_size, with the same mean and covariance.

    w = 1/n + √(c/n)(z − z̄), zᵢ = ±1 with equal probability, z̄ their mean; c = (n−b)/(b(n−1)).
    """

    law = kernels.TWO_POINTS
    _fourth_moment = 1.0


@dataclass(frozen=True)
class ThreePointWeights(_Centred):
    """w = 1/n + √(c/n)(z − z̄), zᵢ = ±√m₄ with probability 1/(2m₄) each and else 0: from tame (1) to wild (large m₄).

    kurtosis: m₄ = E z⁴ ≥ 1. Raises ValueError below 1.
    """

    kurtosis: float = 3.0
    law: ClassVar[int] = kernels.THREE_POINTS

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "kurtosis", _validate.real("kurtosis", self.kurtosis, at_least=1.0))

    @property
    def spread(self) -> float:
        return self.kurtosis

    @property
    def _fourth_moment(self) -> float:
        return self.kurtosis


class FullOrSingle(RandomWeights):
    """All samples with probability 1 − c, otherwise a single one: the mixture that has the edge of batches of b.

    c = (n−b)/(b(n−1)). Source: Mulayoff & Michaeli, arXiv 2306.07850.
    """

    law = kernels.FULL_OR_SINGLE

    def third_moment_coefficient(self, n_samples: int) -> float:
        # The central moments of a mixture of a constant with a single sample, each of its mean.
        return self.variance_coefficient(n_samples)

    def excess_kurtosis(self, n_samples: int) -> float:
        """Of y = 0 with probability 1 − c, else 1 − 1/n or −1/n; NaN for full batches, whose weights are constant."""
        n, c = n_samples, self.variance_coefficient(n_samples)
        if c == 0.0:
            return math.nan
        second = c * ((1 - 1 / n) ** 2 / n + (1 - 1 / n) / n**2)
        fourth = c * ((1 - 1 / n) ** 4 / n + (1 - 1 / n) / n**4)
        return fourth / second**2 - 3.0

    def every(self, n_samples: int) -> tuple[FloatArray, FloatArray] | None:
        n, c = n_samples, self.variance_coefficient(n_samples)
        return np.vstack([np.full(n, 1 / n), np.eye(n)]), np.append(1 - c, np.full(n, c / n))


def check_draws_batches(sampling: Sampling, purpose: str) -> None:
    """ValueError where it draws weights of all samples, which what it is for does not allow."""
    if isinstance(sampling, RandomWeights):
        raise ValueError(f"sampling must draw batches for {purpose}, got {sampling!r}")
