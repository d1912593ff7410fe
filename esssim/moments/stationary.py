"""The stationary covariance: where mean and covariance settle below the mean-square edge.

With K_jk = Σ_t a_j(t)a_k(t), a_j the response of the jth mode to a unit impulse of gradient noise, Σ = K∘(V(Σ) + N) or

    Σ/K − V(Σ) = N,   V(Σ) = c(mean HᵢΣHᵢ − HΣH),   N = c·mean ξᵢξᵢᵀ + (ε²/b)H.

Without momentum 1/K_jk = (λⱼ+λ_k)/η − λⱼλ_k, and this is (2ηC − η²D) vec Σ = η² vec N with C = ½(H⊗I + I⊗H) and
D = E[H_B⊗H_B].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, minres

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.moments.modes import Modes, quadratic_modes
from esssim.problems import Problem
from esssim.sampling import Sampling, check_sampling
from esssim.stability.edges import check_momentum, edge
from esssim.stability.linearised import Linearised, linearise
from esssim.stability.mean_square import mean_square_threshold, noise_radius, response_kernel

# Up to this rank the r²×r² equation is solved densely.
DENSE_RANK = 12
# The covariance grows as 1/(1 − radius): nearer to the edge than this it has lost half its digits.
SINGULAR = 1e-8
# Backward error of the covariance equation that counts as solved, and how often a solution may be refined.
RESIDUAL = 1e-12
REFINEMENTS = 5


@one_blas_thread()
def stationary_covariance(
    problem: Problem,
    *,
    step_size: float,
    sampling: Sampling,
    momentum: float = 0.0,
    nesterov: bool = False,
    label_noise: float = 0.0,
) -> FloatArray:
    """Stationary covariance Σ of SGD around the minimiser: (2ηC − η²D) vec Σ = η²c·vec mean(ξᵢξᵢᵀ), ξᵢ = −∇ℓᵢ(θ*).

    C = ½(H⊗I + I⊗H), D = E[H_B⊗H_B]; with label noise ε the right-hand side has η²(ε²/b) vec H beside it. Matrix-free:
    conjugate gradients (MINRES where momentum makes the symmetrised operator indefinite), the residual checked.
    Parameters in the kernel of H stay where they started: Σ is zero there.

    problem: Quadratic or LinearRegression. step_size: η, below the mean-square edge. Returns Cov θ, (p, p).
    Raises ValueError for bad arguments, where no stationary state exists (step_size at or above the critical step size,
    a problem without a minimum) and for `Reshuffled`; RuntimeError where the solution does not satisfy its equation.
    Source: Ziyin et al., ICLR 2022, arXiv 2102.05375, for linear regression; `theory/moment_recursion.py`.
    """
    step = _validate.real("step_size", step_size, above=0.0)
    beta, nesterov = check_momentum(momentum), _validate.flag("nesterov", nesterov)
    modes = quadratic_modes(problem, sampling, label_noise)
    check_sampling(sampling, problem.n_samples)  # Gaussian noise of all directions never settles
    linearised = _linearised_at_minimum(problem, sampling)
    p = problem.n_params
    if linearised is None:
        return np.zeros((p, p))
    pencil, eta = linearised.pencil, step * linearised.scale
    _check_stable(linearised, step, beta, nesterov)
    minimal = replace(
        modes,
        eigenvalues=pencil.eigenvalues,
        basis=pencil.eigenvectors,
        mean_conjugation=pencil.mean_conjugation,
    )
    noise = minimal.gradient_noise(minimal.gradients(_minimiser(minimal)))
    kernel = response_kernel(pencil.eigenvalues, eta, beta, nesterov)
    covariance = pencil.eigenvectors @ _solve(kernel, minimal.hessian_noise, noise) @ pencil.eigenvectors.T
    return np.asarray((covariance + covariance.T) / 2)


def _linearised_at_minimum(problem: Problem, sampling: Sampling) -> Linearised | None:
    try:
        return linearise(problem, np.zeros(problem.n_params), sampling, "full")
    except ValueError as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise ValueError(f"problem must have a minimum at which SGD can settle: {reason}") from error


def _check_stable(linearised: Linearised, step_size: float, beta: float, nesterov: bool) -> None:
    eta, pencil = step_size * linearised.scale, linearised.pencil
    stable = eta * float(pencil.eigenvalues[-1]) < edge(1.0, momentum=beta, nesterov=nesterov) * (1 - SINGULAR)
    if stable and not linearised.is_deterministic:
        stable = noise_radius(pencil, linearised.c, eta, beta, nesterov) < 1 - SINGULAR
    if not stable:
        critical = mean_square_threshold(linearised, beta, nesterov) / linearised.scale
        raise ValueError(
            f"step_size must be below the critical step size {critical:.6g}, where the covariance equation becomes "
            f"singular and no stationary state exists, got {step_size!r}"
        )


def _minimiser(modes: Modes) -> FloatArray:
    """The minimiser nearest to the origin, (p,); ValueError where the mean gradient vanishes nowhere."""
    slope = modes.gradients(np.zeros(modes.problem.n_params)).mean(axis=0)
    theta = -modes.basis @ (slope / modes.eigenvalues)
    per_sample = modes.problem.sample_gradients(theta, np.arange(modes.problem.n_samples))
    left = np.abs(per_sample.mean(axis=0)).max()
    # Small eigenvalues leave a gradient of the size of rounding in the largest one.
    tolerance = 1e-8 * max(float(np.abs(per_sample).max()), modes.scale * float(np.abs(theta).max()))
    if left > tolerance:
        raise ValueError(
            f"problem must have a minimum: along the kernel of H the mean gradient is {left:.3g} everywhere"
        )
    return theta


def _solve(kernel: FloatArray, hessian_noise: Callable[[FloatArray], FloatArray], noise: FloatArray) -> FloatArray:
    """Σ with Σ/K − V(Σ) = N. With Σ = W∘Y, W = √|K|, the operator sign(K)∘Y − W∘V(W∘Y) is symmetric."""
    rank = len(kernel)
    weight, sign = np.sqrt(np.abs(kernel)), np.sign(kernel)

    def apply(vector: FloatArray) -> FloatArray:
        matrix = vector.reshape(rank, rank)
        # V sees the symmetric part alone; what rounding leaves of the other must not meet a singular operator.
        symmetric = (matrix + matrix.T) / 2
        return np.asarray(sign * matrix - weight * hessian_noise(weight * symmetric)).ravel()

    right = (weight * noise).ravel()
    solve = _dense_solver(apply, rank) if rank <= DENSE_RANK else _iterative_solver(apply, rank, bool((sign > 0).all()))
    solution, error = np.zeros(rank * rank), np.inf
    for _ in range(REFINEMENTS):
        solution = solution + solve(right - apply(solution))
        # Backward error: near the edge the solution is large, and so is the rounding in the terms that cancel.
        size = float(np.linalg.norm(right) + np.linalg.norm(solution))
        error = float(np.linalg.norm(right - apply(solution))) / size if size > 0 else 0.0
        if error <= RESIDUAL:
            return np.asarray(weight * solution.reshape(rank, rank))
    raise RuntimeError(f"stationary_covariance: the covariance equation was solved only to a residual of {error:.1e}")


def _dense_solver(apply: Callable[[FloatArray], FloatArray], rank: int) -> Callable[[FloatArray], FloatArray]:
    """On the symmetric matrices E_jk + E_kj, j < k, and E_jj alone: half as many unknowns."""
    units = np.zeros((rank * (rank + 1) // 2, rank, rank))
    row, column = np.triu_indices(rank)
    index = np.arange(len(units))
    units[index, row, column] = units[index, column, row] = 1.0
    basis = units.reshape(len(units), -1)
    matrix = np.stack([apply(unit) for unit in basis]) @ basis.T
    return lambda right: np.asarray(np.linalg.solve(matrix, basis @ right) @ basis)


def _iterative_solver(
    apply: Callable[[FloatArray], FloatArray], rank: int, definite: bool
) -> Callable[[FloatArray], FloatArray]:
    operator = LinearOperator((rank * rank, rank * rank), matvec=apply, dtype=np.float64)
    method = cg if definite else minres
    return lambda right: np.asarray(method(operator, right, rtol=RESIDUAL)[0])
