"""Gaussian noise of the full gradient in place of batches: of the trace of SGD's gradient covariance, or its diagonal.

A step is θ − η(g + ζ) with the full gradient g. Σ_b = c·Cov_i ∇ℓᵢ(θ) is the covariance of the gradient of batches of b;
ζ is normal with the covariance (tr Σ_b/p)I or diag Σ_b. Unlike random weights, these have another mean-square operator
than SGD, and so another edge (theory/gradient_noise.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray
from esssim.sampling import Sampling, WithoutReplacement, check_sampling


@dataclass(frozen=True)
class GradientNoise(ABC):
    """Normal noise ζ of the full gradient, of a covariance made from that of batches of b = batch_size.

    For `simulate`, `moments.evolve` and `stability.critical_step_size`. What depends on batches refuses it: its edge is
    not 2/Q_b. Label noise is drawn for all samples: it enters g and the per-sample gradients of Σ_b.
    """

    batch_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "batch_size", _validate.integer("batch_size", self.batch_size, 1))

    @property
    def batches(self) -> WithoutReplacement:
        """The batches whose gradient covariance is Σ_b."""
        return WithoutReplacement(self.batch_size)

    @abstractmethod
    def variances(self, of_batches: FloatArray) -> FloatArray:
        """Var ζₖ, (..., p), from diag Σ_b (..., p)."""

    def shaped(self, covariance: FloatArray) -> FloatArray:
        """Cov ζ (p, p) from Σ_b (p, p)."""
        return np.diag(self.variances(np.diagonal(covariance)))

    def deviations(self, gradients: FloatArray) -> FloatArray:
        """The standard deviation of each ζₖ, (p,), from the gradient of every sample, (n, p)."""
        c = self.batches.variance_coefficient(len(gradients))
        return np.asarray(np.sqrt(self.variances(c * gradients.var(axis=0))))


class IsotropicNoise(GradientNoise):
    """Cov ζ = (tr Σ_b/p)I: as strong as the noise of batches of b, the same in every direction.

    Source: a baseline of Andreyev & Beneventano, arXiv 2412.20553, whose code takes c = n/(b(n−1)) and gradients up to
    30 steps old; here c is that of `WithoutReplacement(b)` and the gradients are those of the step.
    """

    def variances(self, of_batches: FloatArray) -> FloatArray:
        return np.broadcast_to(of_batches.mean(axis=-1, keepdims=True), of_batches.shape)


class DiagonalNoise(GradientNoise):
    """Cov ζ = diag Σ_b: the variance of every entry of the gradient, without their correlations.

    Source: a baseline of Andreyev & Beneventano, arXiv 2412.20553, with the differences named in `IsotropicNoise`.
    """

    def variances(self, of_batches: FloatArray) -> FloatArray:
        return of_batches


def check_noise(sampling: Sampling | GradientNoise, n_samples: int) -> tuple[Sampling, GradientNoise | None]:
    """The batches of a run, and the noise that takes their place; ValueError for what is neither."""
    if isinstance(sampling, GradientNoise):
        sampling.batches.check(n_samples)
        return sampling.batches, sampling
    check_sampling(sampling, n_samples)
    return sampling, None
