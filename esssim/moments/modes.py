"""A quadratic problem in the eigenbasis of its Hessian, restricted to where SGD moves at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from esssim import _validate
from esssim._validate import FloatArray
from esssim.curvature import Curvature, DenseCurvature, LowRankCurvature
from esssim.gradient_noise import GradientNoise, check_noise
from esssim.problems import LinearRegression, Problem, Quadratic
from esssim.sampling import Sampling, check_independent
from esssim.statistics.perron import RANK_TOLERANCE


@dataclass(frozen=True)
class Modes:
    """H = VΛVᵀ in units of `scale`, V = basis (p, r) the directions that some ∇ℓᵢ has; the others never move.

    c is the variance coefficient of the scheme, label_variance = ε²/b. Gradients too are in units of `scale`: SGD with
    the step size η on the problem is SGD with η·scale on these modes.
    """

    problem: Problem
    scale: float
    c: float
    label_variance: float
    eigenvalues: FloatArray
    basis: FloatArray
    mean_conjugation: Callable[[FloatArray], FloatArray]

    def gradients(self, theta: FloatArray) -> FloatArray:
        """∇ℓᵢ(θ) of every sample, (n, r)."""
        gradients = self.problem.sample_gradients(theta, np.arange(self.problem.n_samples))
        return np.asarray((gradients / self.scale) @ self.basis)

    def gradient_noise(self, gradients: FloatArray) -> FloatArray:
        """Cov g_B at one θ from its per-sample gradients: c·(mean gᵢgᵢᵀ − ggᵀ) + (ε²/b)H, (r, r)."""
        centred = gradients - gradients.mean(axis=0)
        noise = self.c * (centred.T @ centred) / len(gradients)
        noise[np.diag_indices_from(noise)] += self.label_variance / self.scale * self.eigenvalues
        return np.asarray(noise)

    def hessian_noise(self, covariance: FloatArray) -> FloatArray:
        """V(Σ) = E[H_BΣH_B] − HΣH = c·(mean HᵢΣHᵢ − HΣH), (r, r)."""
        deterministic = self.eigenvalues[:, None] * covariance * self.eigenvalues
        return np.asarray(self.c * (self.mean_conjugation(covariance) - deterministic))

    def noise(self, covariance: FloatArray, gradients: FloatArray) -> FloatArray:
        """Cov g_B for θ of this covariance about a mean with these per-sample gradients, (r, r)."""
        return self.hessian_noise(covariance) + self.gradient_noise(gradients)


@dataclass(frozen=True)
class NoisyModes(Modes):
    """All directions, of full-batch descent with Gaussian noise: what labels add to all batches,
    common_variance = ε²/n, keeps its shape.
    """

    common_variance: float
    law: GradientNoise

    def noise(self, covariance: FloatArray, gradients: FloatArray) -> FloatArray:
        common = np.diag(self.common_variance / self.scale * self.eigenvalues)
        of_batches = self.basis @ (super().noise(covariance, gradients) - common) @ self.basis.T
        return np.asarray(self.basis.T @ self.law.shaped(of_batches) @ self.basis + common)


def quadratic_modes(problem: Problem, sampling: Sampling | GradientNoise, label_noise: float) -> Modes:
    """The modes of a quadratic problem; ValueError for any other, and for batches that depend on each other."""
    if not isinstance(problem, (Quadratic, LinearRegression)):
        raise ValueError(f"problem must be a Quadratic or a LinearRegression for moments, got {type(problem).__name__}")
    batches, law = check_noise(sampling, problem.n_samples)
    check_independent(batches, "moments")
    noise = _validate.real("label_noise", label_noise, at_least=0.0)
    if noise > 0 and not isinstance(problem, LinearRegression):
        raise ValueError(f"label_noise must be 0 without targets ({type(problem).__name__}), got {label_noise!r}")
    curvature = problem.curvature(problem.check_point(np.zeros(problem.n_params)))
    _check_quadratic(problem, curvature)
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    c, label_variance = batches.variance_coefficient(problem.n_samples), noise**2 / batches.batch_size
    if law is None:
        eigenvalues, basis = _moving_directions(scaled)
        return Modes(problem, scale, c, label_variance, eigenvalues, basis, scaled.conjugation_in(basis))
    eigenvalues, basis = np.linalg.eigh(scaled.mean())
    own = (noise**2 / problem.n_samples, law)
    return NoisyModes(problem, scale, c, label_variance, eigenvalues, basis, scaled.conjugation_in(basis), *own)


def _check_quadratic(problem: Problem, curvature: Curvature) -> None:
    """ValueError where a subclass is not quadratic any more: ∇ℓᵢ(θ) = ∇ℓᵢ(0) + Hᵢθ, compared at one θ."""
    if type(problem) in (Quadratic, LinearRegression):
        return
    everyone, theta = np.arange(problem.n_samples), np.random.default_rng(0).standard_normal(problem.n_params)
    start, end = (problem.sample_gradients(t, everyone) for t in (np.zeros_like(theta), theta))
    images = curvature.images(theta)
    off = np.abs(end - start - images).max(axis=1)
    if not off.max() <= 1e-8 * max(np.abs(x).max() for x in (start, end, images)):
        raise ValueError(
            f"problem must be quadratic for moments, but {type(problem).__name__}.sample_gradients is not affine in "
            f"theta for sample {int(off.argmax())}"
        )


@singledispatch
def _moving_directions(curvature: Curvature) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues (r,) and eigenvectors (p, r) of H without the directions that every Hᵢ sends to zero."""
    raise TypeError(f"no moving directions of a curvature of type {type(curvature).__name__}")


@_moving_directions.register
def _(curvature: LowRankCurvature) -> tuple[FloatArray, FloatArray]:
    _, singular, transposed = np.linalg.svd(curvature.factors / np.sqrt(curvature.n_samples), full_matrices=False)
    keep = singular > np.sqrt(RANK_TOLERANCE) * singular[0]
    return np.ascontiguousarray(singular[keep] ** 2), np.ascontiguousarray(transposed[keep].T)


@_moving_directions.register
def _(curvature: DenseCurvature) -> tuple[FloatArray, FloatArray]:
    eigenvalues, eigenvectors = np.linalg.eigh(curvature.mean())
    # The root mean square of ‖Hᵢv‖: a v in the kernel of H still moves where samples only cancel.
    reach = np.sqrt(((curvature.hessians @ eigenvectors) ** 2).sum(axis=1).mean(axis=0))
    keep = reach > RANK_TOLERANCE * reach.max()
    return np.ascontiguousarray(eigenvalues[keep]), np.ascontiguousarray(eigenvectors[:, keep])
