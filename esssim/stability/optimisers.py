"""Mean-square edges of other optimisers than SGD: zeroth order, a frozen preconditioner, weight decay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import Problem, Quadratic, check_problem
from esssim.problems.base import HessianKind, curvature_of
from esssim.problems.preconditioned import check_preconditioner
from esssim.sampling import Sampling, WithoutReplacement
from esssim.spectra.positive import spectral_radius
from esssim.stability.critical import critical_step_size
from esssim.stability.edges import check_momentum
from esssim.stability.linearised import Linearised, linearise


@one_blas_thread()
def zeroth_order_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling | None = None,
    *,
    momentum: float = 0.0,
    preconditioner: npt.ArrayLike | None = None,
    hessian: HessianKind = "full",
) -> float:
    """The critical step size of two-point zeroth-order descent; on the full loss Σᵢ ηλᵢ/(2(1 − ηλᵢ)) = 1.

    A step is θ − η(u·g)u, u standard normal, the limit of small differences. On batches it is 2/Q, Q the top eigenvalue
    of M ↦ C⁻¹(2D(M) + tr D(M)·I), D and C those of Q_b; without momentum only. Heavy ball of momentum β, full loss:
    Σᵢ ηλᵢ/(2(1−β)(1 − ηλᵢ/(1−β²))) = 1. With a preconditioner P (frozen Adam), whose momentum is an average, λᵢ are the
    eigenvalues of P⁻¹H: Σᵢ ηλᵢ/(2(1 − ηλᵢ/(1+β))) = 1, exact where P and H commute. Without momentum
    2/(tr H + 2λ_max) ≤ η ≤ 2/tr H.

    theta: (p,), a minimum. sampling: None for the full loss. preconditioner: the diagonal of P, (p,), above 0. Infinite
    where H = 0. Raises ValueError as `critical_step_size`. Source: Song et al., ICML 2026, arXiv 2604.14669; batches:
    `theory/zeroth_order.py`.
    """
    beta = check_momentum(momentum)
    check_problem(problem)
    if sampling is not None:
        if beta > 0 or preconditioner is not None:
            raise ValueError("momentum must be 0 and preconditioner None on batches: their edge is known without both")
        return _on_batches(linearise(problem, theta, sampling, hessian))
    linearised = linearise(problem, theta, WithoutReplacement(problem.n_samples), hessian)
    diagonal = None if preconditioner is None else check_preconditioner(preconditioner, problem.n_params)
    if linearised is None:
        return np.inf
    eigenvalues = linearised.pencil.eigenvalues
    if diagonal is not None:
        pencil = linearised.pencil
        basis = linearised.curvature.to_basis(np.eye(problem.n_params)) @ pencil.eigenvectors
        rows = np.sqrt(pencil.eigenvalues)[:, None] * (basis.T / np.sqrt(diagonal))
        eigenvalues = np.asarray(np.linalg.eigvalsh(rows @ rows.T), dtype=np.float64)
    # An average of gradients is heavy ball with the step (1−β)η.
    scale = 1.0 if diagonal is None else 1 - beta

    def surplus(eta: float) -> float:
        x = scale * eta * eigenvalues
        return float((x / (2 * (1 - beta) * (1 - x / (1 - beta**2)))).sum() - 1)

    pole = (1 - beta**2) / (scale * float(eigenvalues[-1]))
    upper = 2 * (1 - beta) / (scale * float(eigenvalues.sum()))
    return float(brentq(surplus, 0.0, min(pole * (1 - 1e-12), upper), xtol=1e-300, rtol=4e-15)) / linearised.scale


def _on_batches(linearised: Linearised | None) -> float:
    """2 over the spectral radius of the positive map M ↦ C⁻¹(2D(M) + tr D(M)·I)."""
    if linearised is None:
        return np.inf
    pencil, rank = linearised.pencil, len(linearised.pencil.eigenvalues)

    def image(vector: FloatArray) -> FloatArray:
        matrix = vector.reshape(rank, rank)
        moment = pencil.second_moment((matrix + matrix.T) / 2, linearised.c)
        return np.asarray((2 * moment + np.trace(moment) * np.eye(rank)) / pencil.half_sums).ravel()

    return 2 / spectral_radius(image, np.eye(rank).ravel()) / linearised.scale


@one_blas_thread()
def preconditioned_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    preconditioner: npt.ArrayLike,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    hessian: HessianKind = "full",
) -> float:
    """The critical step size of SGD with a frozen preconditioner, θ ← θ − ηP⁻¹m, m ← βm + (1−β)(g_B + μθ).

    It is `critical_step_size` of the Hessians P^{−½}(Hᵢ + μI)P^{−½} with heavy ball of momentum β, over 1 − β. Adam and
    RMSProp have P = diag(√v + ε), here taken as constant, and β = β₁ or 0. For b = n this is the edge
    2(1+β)/((1−β)λ_max(P⁻¹H)), 38/λ_max for β = 0.9. With P = I it is the edge of SGD on the loss with the penalty
    ½μ‖θ‖².

    theta: (p,), a minimum; preconditioner: the diagonal of P, (p,), above 0; weight_decay: μ ≥ 0. O(n p²) memory.
    Raises ValueError as `critical_step_size`. Source for b = n: Cohen et al., arXiv 2207.14484; for b < n ours.
    """
    beta, decay = check_momentum(momentum), _validate.real("weight_decay", weight_decay, at_least=0.0)
    check_problem(problem)
    point, root = problem.check_point(theta), np.sqrt(check_preconditioner(preconditioner, problem.n_params))
    curvature = curvature_of(problem, point, hessian)
    frame = curvature.to_basis(np.eye(problem.n_params))
    samples = frame @ curvature.batch_matrices(np.arange(problem.n_samples)[:, None]) @ frame.T
    samples = (samples + samples.transpose(0, 2, 1)) / 2 + decay * np.eye(problem.n_params)
    changed = Quadratic(samples / root / root[:, None], np.zeros((problem.n_samples, problem.n_params)))
    return critical_step_size(changed, np.zeros(problem.n_params), sampling, momentum=beta) / (1 - beta)
