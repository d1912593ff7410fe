"""The mean-square edge of full-batch descent with Gaussian noise of the gradient.

With V(P) = c(mean HᵢPHᵢ − HPH) the noise of batches and S what the law makes of it, (tr N/p)I or diag N, the second
moment is M ← (I−ηH)M(I−ηH) + η²S(V(M)). A unit of noise N comes back as S(V(K∘N)), K in H's eigenbasis as in
`esssim.stability.mean_square`: its gain is 1 at the edge. Isotropic noise has one number for N,

    gain = (1/p) Σⱼ K_jj·c(mean ‖Hᵢvⱼ‖² − λⱼ²),   K_jj = η/(λⱼ(2 − ηλⱼ)) without momentum.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

from esssim._validate import FloatArray
from esssim.gradient_noise import GradientNoise, IsotropicNoise
from esssim.spectra.positive import spectral_radius
from esssim.stability.edges import edge
from esssim.stability.linearised import Linearised
from esssim.stability.mean_square import response_kernel


def noisy_threshold(linearised: Linearised, noise: GradientNoise, beta: float, nesterov: bool) -> float:
    """The step size at which the gain is 1, in units of 1/scale; the full-batch edge without noise."""
    limit = edge(1.0, momentum=beta, nesterov=nesterov) / float(linearised.pencil.eigenvalues[-1])
    if linearised.is_deterministic:
        return limit

    def log_gain(eta: float) -> float:
        return float(np.log(max(noise_gain(linearised, noise, eta, beta, nesterov), np.finfo(np.float64).tiny)))

    upper, lower = limit * (1 - 1e-12), limit / 2
    while log_gain(lower) > 0:
        upper, lower = lower, lower / 4
    if log_gain(upper) < 0:  # no noise along the top eigenvector
        return limit
    return float(brentq(log_gain, lower, upper, xtol=1e-300, rtol=4e-15))


def noise_gain(linearised: Linearised, noise: GradientNoise, eta: float, beta: float, nesterov: bool) -> float:
    """The noise put back per unit of noise, η in units of 1/scale."""
    pencil, c = linearised.pencil, linearised.c
    response = response_kernel(pencil.eigenvalues, eta, beta, nesterov)
    # Rows are the parameters, in whose coordinates the noise has its shape.
    basis = linearised.curvature.to_basis(np.eye(linearised.curvature.n_params)) @ pencil.eigenvectors
    p = len(basis)

    def put_back(variances: FloatArray) -> FloatArray:
        state = response * (basis.T @ (variances[:, None] * basis))
        noisy = (basis @ pencil.covariance((state + state.T) / 2, c) * basis).sum(axis=1)
        return noise.variances(noisy)

    if isinstance(noise, IsotropicNoise):
        return float(put_back(np.ones(p))[0])
    return spectral_radius(put_back, np.ones(p))
