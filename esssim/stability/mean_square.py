"""The mean-square edge of SGD with independent batches.

With T_B = T̄ + g ⊗ (H_B − H) on the state (e, v), the second moment M ↦ E[T_B M T_Bᵀ] splits into the deterministic
part, block diagonal in H's eigenbasis, and a noise that enters through g alone. Its spectral radius crosses 1 exactly
where that of P ↦ K∘V(P) does, with V(P) = c(mean HᵢPHᵢ − HPH) and K_jk = Σ_t a_j(t)a_k(t), a_j the response of the jth
mode of the parameters to a unit impulse of gradient noise: momentum costs no more than plain SGD.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.sparse.linalg import ArpackError

from esssim._validate import FloatArray
from esssim.spectra.positive import spectral_radius
from esssim.stability.edges import edge
from esssim.stability.heavy_ball import heavy_ball_threshold
from esssim.stability.linearised import Linearised, transition_matrices
from esssim.statistics.mean_square import Pencil, symmetric, top_of_pencil


def mean_square_threshold(linearised: Linearised, beta: float, nesterov: bool) -> float:
    """The step size at which ρ(E[T_B⊗T_B]) = 1, in units of 1/scale; 2/Q_b without momentum."""
    pencil, c = linearised.pencil, linearised.c
    limit = edge(1.0, momentum=beta, nesterov=nesterov) / float(pencil.eigenvalues[-1])
    if linearised.is_deterministic:
        return limit
    if beta == 0.0:
        return 2.0 / top_of_pencil(linearised.curvature, c).value
    if not nesterov:
        return heavy_ball_threshold(pencil, c, beta)

    def log_radius(eta: float) -> float:
        return float(np.log(max(noise_radius(pencil, c, eta, beta, nesterov), np.finfo(np.float64).tiny)))

    upper, lower = limit * (1 - 1e-12), limit / 2
    while log_radius(lower) > 0:
        upper, lower = lower, lower / 4
    if log_radius(upper) < 0:  # the noise is too weak to matter before the deterministic edge
        return limit
    return float(brentq(log_radius, lower, upper, xtol=1e-300, rtol=4e-15))


def noise_radius(pencil: Pencil, c: float, eta: float, beta: float, nesterov: bool) -> float:
    """Spectral radius of P ↦ K∘V(P): the noise put back per unit of noise, 1 at the mean-square edge."""
    response = response_kernel(pencil.eigenvalues, eta, beta, nesterov)
    rank = len(pencil.eigenvalues)

    def apply(vector: FloatArray) -> FloatArray:
        return np.asarray(response * pencil.covariance(symmetric(vector.reshape(rank, rank)), c)).ravel()

    try:
        return spectral_radius(apply, np.eye(rank).ravel())
    except ArpackError as error:
        raise RuntimeError(f"critical_step_size: Arnoldi did not converge at step size {eta:g}: {error}") from error


def response_kernel(eigenvalues: FloatArray, eta: float, beta: float, nesterov: bool) -> FloatArray:
    """K_jk = Σ_t a_j(t)a_k(t), (r, r): M = T_jMT_kᵀ + ggᵀ solved for its first entry, for all pairs at once."""
    transition, gain = transition_matrices(eigenvalues, eta, beta, nesterov)
    rank = len(eigenvalues)
    first, second = np.triu_indices(rank)
    product = np.einsum("mij,mkl->mikjl", transition[first], transition[second]).reshape(-1, 4, 4)
    right = np.broadcast_to(np.outer(gain, gain).ravel()[:, None], (len(first), 4, 1))
    solution = np.linalg.solve(np.eye(4) - product, right)[:, 0, 0]
    kernel = np.empty((rank, rank))
    kernel[first, second] = kernel[second, first] = solution
    return kernel
