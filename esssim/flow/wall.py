"""What a change of θ does to the noise near the mean-square edge, where a little changes much: for the solver of the
flow.

At the edge of one mode the noise is one number times a fixed matrix. Where several modes of K come to the edge at once,
as with large batches, every pair of them has a number of its own.
"""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point
from esssim.flow.slow import answering, lifted, push, stiffness

# A mode is at the edge where its own distance 1 − (1−c)ηλ/2n is below NEAR; so many are followed at most.
NEAR, MOST = 0.1, 8
# Of the answers: a Newton iteration corrects what they leave.
TOLERANCE = 1e-4


def wall(point: Point, fast: FastMotion, residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """d and g, (q, p) each: Σ_q d_q⊗g_q is what diverges at the edge of the Jacobian of the flow of the mean.

    With 𝓛R = η diag(source), 𝓛R = (RK⁺ + K⁺R)/n − η(κ₁R + κ₂diag R), a change dK gives

        dR = 𝓛⁻¹[(RK⁺dKK⁺ + K⁺dKK⁺R)/n],   dK = Σ_q ⟨E_q, dK⟩E_q,   g_q = ∂⟨E_q, K⟩/∂θ,

    E_q the pairs of modes at the edge and, beyond them, K⁺R²K⁺, to which ⟨source, diag R⟩ answers (`slow.stiffness`).
    The source moves with the mean residuals r: R changes in the ratio of ⟨ρ, source⟩, by 2κ₂Jᵀρr. With fewer than two
    modes at the edge the functional alone is taken: farther off the rest is no better than nothing.
    """
    if not fast.source.any():
        return (np.zeros((0, fast.jacobians.shape[1])),) * 2
    perron, rate = fast.perron, fast.slow_step / fast.perron.n_samples
    count = _modes_at_the_edge(fast)
    if count < 2:
        return -rate * push(point, fast)[None], stiffness(point, fast)[None]
    inverse = 1.0 / perron.eigenvalues
    driven, gradients = [], []
    for pair in _directions(fast, count):
        half = (fast.rotated * inverse) @ (pair * inverse)
        answer = fast.answered((half + half.T) * (1.0 / (perron.n_samples * fast.slow_step)), TOLERANCE)
        driven.append(-rate * point.summed_hessian_products(lifted(fast, answer * inverse[:, None])))
        gradients.append(2.0 * point.summed_hessian_products(lifted(fast, pair)))
    if perron.kappa_2 > 0.0 and residuals.any():
        assert fast.noise is not None
        seen = rows.weighted(fast.noise, residuals[:, None], fast.n_outputs)[:, 0] @ fast.jacobians
        driven.append(-rate * push(point, fast))
        gradients.append(2.0 * perron.kappa_2 * seen / float(fast.noise @ fast.source))
    return np.array(driven), np.array(gradients)


def _modes_at_the_edge(fast: FastMotion) -> int:
    """How many modes of K are at their edge, MOST at most."""
    perron = fast.perron
    distance = np.diag(fast.inverse_response) * perron.n_samples * fast.slow_step * perron.eigenvalues / 2
    return min(int((distance < NEAR).sum()), MOST)


def _directions(fast: FastMotion, count: int) -> list[FloatArray]:
    """Orthonormal symmetric matrices E_q in the eigenbasis of K, (r, r) each, for so many modes at the edge."""
    size, found = len(fast.perron.eigenvalues), []
    for j in range(size - count, size):
        for k in range(j, size):
            pair = np.zeros((size, size))
            pair[j, k] = pair[k, j] = 1.0 if j == k else np.sqrt(0.5)
            found.append(pair)
    other = answering(fast)
    other[size - count :, size - count :] = 0.0
    length = float(np.linalg.norm(other))
    return [*found, other / length] if length > 0.0 else found
