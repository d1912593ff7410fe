"""The mean-square edge of SGD with dropout of inputs: masks are a second noise, with exact moments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.curvature.scale import power_of_two_near
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, check_problem
from esssim.random_weights import check_draws_batches
from esssim.sampling import Sampling, check_independent, check_sampling
from esssim.stability.symmetric import top_of_pencil_of


@one_blas_thread()
def dropout_step_size(problem: Problem, theta: npt.ArrayLike, sampling: Sampling, rate: float) -> float:
    """The critical step size in mean square of SGD with dropout of inputs, 2/λ_max(C⁻¹D).

    A sample has the Hessian H̃ᵢ = (zᵢ∘xᵢ)(zᵢ∘xᵢ)ᵀ of mean Aᵢ = xᵢxᵢᵀ + v·diag(xᵢ²), v = rate/(1 − rate). C is that of
    the mean Ā = H + v·diag(H), and D(M) = (1−c)ĀMĀ + c·mean AᵢMAᵢ + (1/b)·mean(E[H̃ᵢMH̃ᵢ] − AᵢMAᵢ): masks are noise
    even for b = n. On a diagonal network xᵢ stands for xᵢ∘‖∂β/∂θ‖, the Gauss–Newton matrices.

    theta: (p,). rate: probability that an input is dropped, in (0, 1). Infinite where all inputs are zero. Raises
    ValueError for other problems, random weights and `Reshuffled`. Source: ours, `theory/dropout.py`.
    """
    check_problem(problem)
    rate = _validate.real("rate", rate, above=0.0, below=1.0)
    if not isinstance(problem, (LinearRegression, DiagonalLinearNetwork)):
        raise ValueError(f"problem must be linear regression or a diagonal network, got {type(problem).__name__}")
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    check_independent(sampling, "a threshold")
    check_draws_batches(sampling, "dropout")
    # Each β_k depends on parameters of its own: in the basis of these directions samples are rows again.
    slopes = np.linalg.norm(problem.pull_back(point, np.eye(problem.inputs.shape[1])), axis=1)
    rows = problem.inputs * slopes
    rows = rows[:, rows.any(axis=0)]
    if not rows.size:
        return np.inf
    unit = power_of_two_near(rows)
    rows = rows / unit
    v, c = rate / (1 - rate), sampling.variance_coefficient(problem.n_samples)
    hessian = rows.T @ rows / len(rows)
    mean = hessian + v * np.diag(np.diagonal(hessian))

    def second_moment(matrix: FloatArray) -> FloatArray:
        of_masks, of_means = _sample_moments(rows, matrix, rate)
        noise = c * of_means + (of_masks - of_means) / sampling.batch_size
        return np.asarray((1 - c) * mean @ matrix @ mean + noise)

    return 2 / top_of_pencil_of(mean, second_moment) / unit / unit


def _sample_moments(rows: FloatArray, matrix: FloatArray, rate: float) -> tuple[FloatArray, FloatArray]:
    """mean E[H̃ᵢMH̃ᵢ] and mean AᵢMAᵢ, (d, d), for a symmetric M.

    z = 1 + ξ with E ξ² = v, E ξ³ = t, E ξ⁴ = f, one ξ for each entry.
    """
    k, n = 1 / (1 - rate), len(rows)
    v, t, f = k - 1, k**2 - 3 * k + 2, k**3 - 4 * k**2 + 6 * k - 3
    squares, own = rows**2, np.diagonal(matrix)
    applied = rows @ matrix
    forms = (applied * rows).sum(axis=1)  # xᵀMx
    traces = squares @ own  # Σ x_k²M_kk
    pairs = matrix * (squares.T @ squares) / n

    def outer(weights: FloatArray) -> FloatArray:
        return np.asarray(rows.T @ (weights[:, None] * rows) / n)

    crossed = (squares * applied).T @ rows / n
    crossed = crossed + crossed.T
    cubes = (squares * rows * own).T @ rows / n
    of_means = outer(forms) + v * crossed + v**2 * pairs
    of_masks = outer(forms + v * traces) + 2 * v * crossed + t * (cubes + cubes.T) + 2 * v**2 * pairs
    diagonal = v * forms[:, None] + 2 * t * rows * applied + (f - 3 * v**2) * squares * own + v**2 * traces[:, None]
    return of_masks + np.diag((squares * diagonal).mean(axis=0)), of_means
