"""The mean-square edge of heavy ball: the top of a symmetric pencil, as without momentum.

The response K of the modes to gradient noise (`esssim.stability.mean_square`) has a reciprocal that is linear in 1/η:

    1/K_jk = A_jk/η + B_jk,   A = (1−β)(λⱼ+λ_k),   B = β(λⱼ−λ_k)²/(1−β²) − (1−β)/(1+β)·λⱼλ_k.

P ↦ K∘V(P) has a spectral radius below 1 exactly where A/η + B − V is positive definite on symmetric matrices, so that

    1/η_c = max_P ⟨P, V(P) − B∘P⟩/⟨P, A∘P⟩,

which without momentum is Q_b/2. B is of the order of λ²/(1−β)², and Lanczos on this pencil slow; K∘V is well
conditioned. So the two alternate: the top P of K∘V at one η, and the η at which P is stationary. That is Newton's
method on 1/ρ, a concave function of 1/η, which climbs to the root from any point on the far side of it.
"""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.spectra import lanczos_from
from esssim.statistics.mean_square import Pencil

MAX_ITERATIONS = 60
# Of 1/η, and the residual of P, of whose error 1/η has the square.
TOLERANCE, RESIDUAL = 1e-13, 1e-9
# The top at one η is a guess at the next, with so much of the identity, which has a part along every top.
IDENTITY = 1e-3
# Next to the edge of full batches, in units of it, K overflows.
NEXT_TO_FULL_BATCH = 1e-12


def heavy_ball_threshold(pencil: Pencil, c: float, beta: float) -> float:
    """η_c for a scheme of variance coefficient c; 2(1+β)/λ_max where the noise is too weak to matter before that."""
    sums, rest = inverse_response(pencil.eigenvalues, beta)
    identity = np.eye(len(sums)).ravel() / np.sqrt(len(sums))
    full_batch = float(pencil.eigenvalues[-1]) / (2 * (1 + beta))
    rate, start, residual, is_last = 2 * full_batch, identity, 1e-3, False
    for _ in range(MAX_ITERATIONS):
        root = 1.0 / np.sqrt(rate * sums + rest)

        def noise_put_back(vector: FloatArray, root: FloatArray = root) -> FloatArray:
            matrix = root * vector.reshape(root.shape)
            return np.asarray(root * pencil.covariance((matrix + matrix.T) / 2, c)).ravel()

        top = lanczos_from(start, noise_put_back, residual, inside=True)
        matrix = root * top.reshape(root.shape)
        noise = float((matrix * pencil.covariance((matrix + matrix.T) / 2, c)).sum())
        found = (noise - float((rest * matrix**2).sum())) / float((sums * matrix**2).sum())
        if found <= full_batch and rate <= full_batch * (1 + 2 * NEXT_TO_FULL_BATCH):
            return 1.0 / full_batch
        previous, rate = rate, max(found, full_batch * (1 + NEXT_TO_FULL_BATCH))
        if residual == RESIDUAL and abs(rate - previous) <= TOLERANCE * rate:
            if is_last:
                return 1.0 / rate
            # From the identity alone: a block that the guess had too little of would show.
            start, is_last = identity, True
            continue
        residual, is_last = max(residual**2, RESIDUAL), False
        start = np.sign(np.trace(matrix)) * top + IDENTITY * identity
    raise RuntimeError(f"critical_step_size: no convergence, it is near {1.0 / rate:.6g} in units of the curvature")


def inverse_response(eigenvalues: FloatArray, beta: float) -> tuple[FloatArray, FloatArray]:
    """A and B, (r, r) each: 1/K = A/η + B, for H's eigenvalues (r,)."""
    first, second = eigenvalues[:, None], eigenvalues
    rest = beta / (1 - beta**2) * (first - second) ** 2 - (1 - beta) / (1 + beta) * first * second
    return (1 - beta) * (first + second), rest
