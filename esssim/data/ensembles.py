"""Seeded ensembles: random inputs of known covariance, with linear targets y = Xβ* + noise·z.

β* and z have independent standard normal entries. Inputs, β* and z come from separate streams of the seed: `noise`
changes neither X nor β*. The same seed gives the same numbers.
"""

from __future__ import annotations

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray
from esssim.data.dataset import Data


class _Draw:
    """The sizes of an ensemble and its random streams, checked once for all ensembles."""

    def __init__(self, n_samples: int, n_features: int, seed: int, noise: float) -> None:
        self.n_samples = _validate.integer("n_samples", n_samples, 1)
        self.n_features = _validate.integer("n_features", n_features, 1)
        self.noise = _validate.real("noise", noise, at_least=0.0)
        streams = np.random.SeedSequence(_validate.integer("seed", seed, 0)).spawn(4)
        self._inputs, self._geometry, self._weights, self._noise = map(np.random.default_rng, streams)

    def normal_rows(self) -> FloatArray:
        return self._inputs.standard_normal((self.n_samples, self.n_features))

    def direction(self) -> FloatArray:
        vector = self._geometry.standard_normal(self.n_features)
        unit: FloatArray = vector / np.linalg.norm(vector)
        return unit

    def orthonormal_columns(self, n_columns: int) -> FloatArray:
        basis, triangle = np.linalg.qr(self._geometry.standard_normal((self.n_features, n_columns)))
        # Only with a positive diagonal is the factorisation unique, and the basis uniformly distributed.
        columns: FloatArray = basis * np.copysign(1.0, np.diagonal(triangle))
        return columns

    def lengths(self) -> FloatArray:
        lengths: FloatArray = np.sqrt(self.n_features) * self._inputs.uniform(0.5, 1.5, self.n_samples)
        return lengths

    def data(self, name: str, inputs: FloatArray) -> Data:
        weights = self._weights.standard_normal(self.n_features)
        targets = inputs @ weights + self.noise * self._noise.standard_normal(self.n_samples)
        return Data(inputs, targets, name)


def gaussian(n_samples: int, n_features: int, *, seed: int = 0, noise: float = 0.0) -> Data:
    """Independent standard normal entries: E[xxᵀ] = I.

    noise: standard deviation of the target noise, ≥ 0. Returns inputs (n_samples, n_features), targets (n_samples,).
    Raises ValueError for a size below 1, a negative noise or seed.
    """
    draw = _Draw(n_samples, n_features, seed, noise)
    return draw.data("gaussian", draw.normal_rows())


def spiked(n_samples: int, n_features: int, *, seed: int = 0, spike: float = 10.0, noise: float = 0.0) -> Data:
    """Normal rows with one outstanding direction: E[xxᵀ] = I + spike·wwᵀ, w a random unit vector.

    spike: excess variance along w, > −1. Shapes, noise and errors as for `gaussian`.
    Source: Johnstone, On the distribution of the largest eigenvalue in principal components analysis, Ann. Stat. 2001.
    """
    draw = _Draw(n_samples, n_features, seed, noise)
    stretch = np.sqrt(1.0 + _validate.real("spike", spike, above=-1.0)) - 1.0
    rows, direction = draw.normal_rows(), draw.direction()
    return draw.data("spiked", rows + stretch * np.outer(rows @ direction, direction))


def orthogonal(n_samples: int, n_features: int, *, seed: int = 0, noise: float = 0.0) -> Data:
    """Orthogonal rows xᵢᵀxⱼ = ℓᵢ²δᵢⱼ of random direction, lengths ℓᵢ = √d·Uᵢ with Uᵢ uniform on [½, 3/2].

    A mini-batch Hessian of the regression on them has the eigenvalues ℓᵢ²/b, i ∈ B, and no others but 0.
    Shapes, noise and errors as for `gaussian`; ValueError too when n_samples > n_features.
    """
    draw = _Draw(n_samples, n_features, seed, noise)
    _validate.integer("n_samples", n_samples, 1, draw.n_features, "n_features")
    return draw.data("orthogonal", draw.lengths()[:, None] * draw.orthonormal_columns(draw.n_samples).T)


def two_clusters(
    n_samples: int, n_features: int, *, seed: int = 0, separation: float = 4.0, noise: float = 0.0
) -> Data:
    """Two normal clouds around ±(separation/2)·w, w a random unit vector; the samples take turns.

    separation: distance of the centres in standard deviations of a cloud, ≥ 0. E[xxᵀ] = I + (separation/2)²wwᵀ.
    Shapes, noise and errors as for `gaussian`.
    """
    draw = _Draw(n_samples, n_features, seed, noise)
    half = _validate.real("separation", separation, at_least=0.0) / 2.0
    sides = np.where(np.arange(draw.n_samples) % 2 == 0, half, -half)
    return draw.data("two_clusters", draw.normal_rows() + np.outer(sides, draw.direction()))


def power_law(n_samples: int, n_features: int, *, seed: int = 0, exponent: float = 1.0, noise: float = 0.0) -> Data:
    """Normal rows whose covariance has the eigenvalues k^−exponent, k = 1 … d, in a uniformly random basis.

    exponent: rate of decay, ≥ 0; 0 gives the distribution of `gaussian`. Shapes, noise and errors as for `gaussian`.
    """
    draw = _Draw(n_samples, n_features, seed, noise)
    rate = _validate.real("exponent", exponent, at_least=0.0)
    deviations = np.arange(1, draw.n_features + 1, dtype=np.float64) ** (-rate / 2.0)
    return draw.data("power_law", (draw.normal_rows() * deviations) @ draw.orthonormal_columns(draw.n_features).T)
