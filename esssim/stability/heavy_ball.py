"""The mean-square edge of heavy ball: the top of a symmetric pencil, as without momentum.

The response K of the modes to gradient noise (`esssim.stability.mean_square`, with V) has a reciprocal that is linear
in 1/η, λⱼ the eigenvalues of H and β the momentum:

    1/K_jk = A_jk/η + B_jk,   A = (1−β)(λⱼ+λ_k),   B = β(λⱼ−λ_k)²/(1−β²) − (1−β)/(1+β)·λⱼλ_k.

P ↦ K∘V(P) has a spectral radius below 1 exactly where A/η + B − V is positive definite on symmetric matrices, so that

    1/η_c = max_P ⟨P, V(P) − B∘P⟩/⟨P, A∘P⟩,

which without momentum is Q_b/2. Lanczos is slow on this pencil, since B is of the order of λ²/(1−β)². It is fast on
K∘V. So the two alternate: the top P of K∘V at one η, and the η at which that P is stationary. This is Newton's method
on 1/ρ, a concave function of 1/η. It climbs to the root from any point on the far side of it.
"""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.spectra import lanczos_from
from esssim.statistics.mean_square import Pencil, symmetric

MAX_ITERATIONS = 60
# Of 1/η, and the residual of P, of whose error 1/η has the square.
TOLERANCE, RESIDUAL = 1e-13, 1e-9
# Next to the edge of full batches, in units of it, K overflows.
NEXT_TO_FULL_BATCH = 1e-12


def heavy_ball_threshold(pencil: Pencil, c: float, beta: float) -> float:
    """η_c for a scheme of variance coefficient c; 2(1+β)/λ_max where the noise is too weak to matter before that."""
    full_batch = float(pencil.eigenvalues[-1]) / (2 * (1 + beta))
    nearest = full_batch * (1 + NEXT_TO_FULL_BATCH)
    identity = np.eye(len(pencil.eigenvalues)) / np.sqrt(len(pencil.eigenvalues))
    rate, start, residual, settled = 2 * full_batch, identity, 1e-3, False
    for _ in range(MAX_ITERATIONS):
        top, found = _stationary_rate(pencil, c, beta, rate, start, residual)
        if found <= full_batch and rate <= nearest:
            return 1.0 / full_batch
        looked_from_identity, previous, rate = settled, rate, max(found, nearest)
        settled = residual == RESIDUAL and abs(rate - previous) <= TOLERANCE * rate
        if settled and looked_from_identity:
            return 1.0 / rate
        # The top at one η is a guess at the next. In the end once from the identity, which has a part along every top:
        # where the tops of two blocks cross, a guess has none along the other.
        start = identity if settled else top
        residual = max(residual**2, RESIDUAL)
    raise RuntimeError(f"critical_step_size: no convergence, it is near {1.0 / rate:.6g} in units of the curvature")


def _stationary_rate(
    pencil: Pencil, c: float, beta: float, rate: float, start: FloatArray, residual: float
) -> tuple[FloatArray, float]:
    """The top K^½∘P (r, r) of K∘V at 1/η = rate, from a start (r, r), and the 1/η at which P is stationary."""
    sums, rest = inverse_response(pencil.eigenvalues, beta)
    root = 1.0 / np.sqrt(rate * sums + rest)

    def noise_put_back(vector: FloatArray) -> FloatArray:
        return np.asarray(root * pencil.covariance(symmetric(root * vector.reshape(root.shape)), c)).ravel()

    top = lanczos_from(start.ravel(), noise_put_back, residual, inside=True).reshape(root.shape)
    matrix = root * top
    noise = (matrix * pencil.covariance(symmetric(matrix), c)).sum()
    return top, float((noise - (rest * matrix**2).sum()) / (sums * matrix**2).sum())


def inverse_response(eigenvalues: FloatArray, beta: float) -> tuple[FloatArray, FloatArray]:
    """A and B, (r, r) each: 1/K = A/η + B, for H's eigenvalues (r,)."""
    first, second = eigenvalues[:, None], eigenvalues
    rest = beta / (1 - beta**2) * (first - second) ** 2 - (1 - beta) / (1 + beta) * first * second
    return (1 - beta) * (first + second), rest
