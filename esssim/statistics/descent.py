"""One step of SGD: what it does to the loss, and how much of its gradient lies along the top of the Hessian."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature
from esssim.problems import Problem, check_problem
from esssim.problems.boundary import divergence_is_expected
from esssim.sampling import Sampling, check_sampling
from esssim.statistics.estimate import expectation, in_parts
from esssim.statistics.leading import check_k, pairs_by_products, takes_products
from esssim.statistics.pointwise import mean_square_of_batches
from esssim.statistics.uncertainty import Estimate

EPS = float(np.finfo(np.float64).eps)
# Numbers in the losses of all samples after the steps that are looked at together: 256 MB.
NUMBERS = 2**25
# Eigenvalues nearer than this, in units of the largest, count as equal: their eigenvectors are not unique.
SEPARATE = 1e-10
Seed = int | np.random.SeedSequence | None


@one_blas_thread()
def one_step_loss_change(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    step_size: float,
    *,
    n_batches: int | None = None,
    seed: Seed = 0,
    chunk_size: int | None = None,
) -> Estimate:
    """E_B L(θ − ηg_B) − L(θ): what one step of SGD does to the full loss on average.

    On a quadratic it is ½η‖g‖²(η·GNI − 2), GNI the gradient–noise interaction: the loss falls exactly where η·GNI < 2.

    theta: (p,); step_size: η > 0. n_batches=None enumerates every batch (exact), and raises where there are too many; a
    number draws so many batches from `seed`, as SGD draws them. Rounding is about 1e-16 of the loss before and after.
    Raises ValueError for bad arguments and too many batches to enumerate. Source: Lee & Jang, ICLR 2023.
    """
    check_problem(problem)
    point, eta = problem.check_point(theta), _validate.real("step_size", step_size, above=0.0)
    everyone = np.arange(problem.n_samples)
    before = problem.sample_losses(point, everyone)

    def changes(batches: IntArray) -> FloatArray:
        steps = point - eta * problem.gradient(point, batches)
        return np.asarray((problem.sample_losses(steps, everyone) - before).mean(axis=-1))

    def of_batches(batches: IntArray) -> FloatArray:
        parts = in_parts(batches, max(problem.n_samples, batches.shape[1] * problem.n_params), NUMBERS)
        with divergence_is_expected():
            return np.concatenate([changes(some) for some in parts])

    return expectation(of_batches, problem.n_samples, sampling, n_batches, seed, chunk_size=chunk_size)


@one_blas_thread()
def gradient_along_top(problem: Problem, theta: npt.ArrayLike, sampling: Sampling, k: int = 1) -> float:
    """E_B‖P_k g_B‖²/E_B‖g_B‖², P_k the projection on the eigenvectors of the k largest eigenvalues of H: from 0 to 1.

    With b = n it is the share of the full gradient. Exact for any b by the moment identity
    E[g_Bg_Bᵀ] = (1−c)ggᵀ + c·mean gᵢgᵢᵀ. The share beyond the top is 1 minus it.

    theta: (p,); k: from 1 to p. Raises Undefined where every batch gradient is zero, and where λ_k = λ_{k+1} to 1e-10
    of the largest |λ|, so that the eigenvectors are not unique; ValueError for bad arguments.
    Source: Gur-Ari, Roberts & Dyer, arXiv 1812.04754, for full gradients.
    """
    check_problem(problem)
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    k = check_k(k, problem)
    curvature, c = problem.curvature(point), sampling.variance_coefficient(problem.n_samples)
    gradients = problem.sample_gradients(point, np.arange(problem.n_samples))
    gradients = np.asarray(curvature.to_basis(gradients)) / (np.abs(gradients).max() or 1.0)
    whole = mean_square_of_batches(gradients, c)
    if whole == 0.0:
        raise Undefined("gradient_along_top is 0/0 at theta: every batch gradient is zero")
    return min(mean_square_of_batches(gradients @ _top_vectors(curvature, k), c) / whole, 1.0)


def _top_vectors(curvature: Curvature, k: int) -> FloatArray:
    """Orthonormal eigenvectors of the k largest eigenvalues of the mean Hessian, (p, k)."""
    scaled, p = curvature.scaled(curvature.scale()), curvature.n_params
    if k == p:
        return np.eye(p)
    if takes_products(scaled, k + 1):
        values, vectors = pairs_by_products(scaled, np.arange(curvature.n_samples), k + 1)
    else:
        values, vectors = np.linalg.eigh(scaled.mean())
        values, vectors = values[-k - 1 :], vectors[:, -k - 1 :]
    if values[1] - values[0] <= SEPARATE * np.abs(values).max():
        raise Undefined(f"gradient_along_top has no unique projection at theta: eigenvalues {k} and {k + 1} are equal")
    return np.asarray(vectors[:, 1:])
