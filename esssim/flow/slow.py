"""The slow motion: where the fast one pushes θ along the set of solutions."""

from __future__ import annotations

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point


def push(point: Point, fast: FastMotion) -> FloatArray:
    """Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ], (p,): −n(1−β)/η times the mean change of θ in a step, before the gradient answers."""
    return point.summed_hessian_products(smallest_changes(fast))


def velocity(point: Point, fast: FastMotion) -> FloatArray:
    """dθ/dt = −(η/(n(1−β))) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ], P the projection on ker J, t in steps: (p,)."""
    return -fast.slow_step / fast.perron.n_samples * project(fast, push(point, fast))


def mean_velocity(point: Point, fast: FastMotion, residuals: FloatArray) -> FloatArray:
    """dθ/dt = −(η/(n(1−β))) [JᵀUUᵀr + Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ]], r = f(θ) − y the residuals (n·c,): (p,).

    UUᵀr = r up to what no change of θ can fit, and what only modes beyond the ones that are followed could.
    """
    if fast.perron.tail is not None:
        descent = residuals @ fast.jacobians
    else:
        basis = fast.perron.eigenvectors
        descent = fast.jacobians.T @ (basis @ (basis.T @ residuals))
    return -fast.slow_step / fast.perron.n_samples * (descent + push(point, fast))


def stiffness(point: Point, fast: FastMotion) -> FloatArray:
    """The gradient (p,) of log⟨source, diag R⟩ with respect to θ.

    With 𝓛 the operator of the Lyapunov equation 𝓛R = η diag(source), self-adjoint, d⟨source, diag R⟩ = −⟨R, d𝓛R⟩/η and
    d𝓛R = (dK⁺R + R dK⁺)/n, hence the gradient (4/n) Σᵢ ∇²fᵢ[JᵀK⁺R²K⁺eᵢ]/(η⟨source, diag R⟩). Near the wall R is this
    functional times a fixed matrix: velocity ⊗ gradient is then the part of the flow's Jacobian that diverges. With
    momentum the same with the step η/(1−β), which is exact only for pairs of equal eigenvalues: enough for a solver.
    """
    functional = fast.slow_step * float(fast.source @ fast.variances)
    return 4.0 / fast.perron.n_samples * point.summed_hessian_products(lifted(fast, answering(fast))) / functional


def answering(fast: FastMotion) -> FloatArray:
    """K⁺R²K⁺ in the eigenbasis of K, (r, r): the dK to which ⟨source, diag R⟩ answers."""
    inverse = 1.0 / fast.perron.eigenvalues
    return np.asarray(inverse[:, None] * (fast.rotated @ fast.rotated) * inverse)


def project(fast: FastMotion, vector: FloatArray) -> FloatArray:
    """The part of a vector (p,) in ker J: what does not change f to first order."""
    if fast.by_products:
        return rows.along_solutions(fast.jacobians, vector)
    basis = fast.perron.eigenvectors
    if basis.shape[1] == len(vector):  # a solution that stands alone
        return np.zeros_like(vector)
    return np.asarray(vector - fast.parameter_factors @ (basis.T @ (fast.jacobians @ vector)))


def lifted(fast: FastMotion, rotated: FloatArray) -> FloatArray:
    """The vectors JᵀU X Uᵀeᵢ, (n·c, p), of a matrix X (r, r) in the eigenbasis of K."""
    return np.asarray(fast.perron.eigenvectors @ (rotated.T @ fast.mode_jacobians))


def smallest_changes(fast: FastMotion) -> FloatArray:
    """The vectors JᵀK⁺Reᵢ (n·c, p) of all rows i.

    With leading modes only, those of the others are added to first order in their eigenvalues: with J′ = QJ,
    D = diag ρ, α = ½nη′ and the G of `FastMotion`, Λ⁻¹ in its eigenbasis,

        αQDJ′ + GDJ′ + J′J′ᵀDGΛ⁻¹UᵀJ = αDJ + [J′J′ᵀDUg/λ − αDU]UᵀJ + U(g − α)UᵀDJ′.
    """
    perron, modes = fast.perron, fast.mode_jacobians
    if perron.tail is None:
        return lifted(fast, fast.rotated / perron.eigenvalues[:, None])
    assert fast.noise is not None
    basis, gain, own = perron.eigenvectors, fast.gain_of_tail, perron.n_samples * fast.slow_step / 2
    noisy = rows.weighted(fast.noise, basis, fast.n_outputs)  # DU
    seen = noisy.T @ fast.jacobians - (noisy.T @ basis) @ modes  # UᵀDJ′
    across = (fast.jacobians @ seen.T - basis @ (modes @ seen.T)) * (gain / perron.eigenvalues)
    on_modes = basis @ (fast.rotated / perron.eigenvalues) + across - own * noisy
    # One product with two blocks: an array of the size of J costs as much as many operations on it.
    changes = np.concatenate((on_modes, basis * (gain - own)), axis=1) @ np.concatenate((modes, seen))
    changes += rows.weighted(own * fast.noise, fast.jacobians, fast.n_outputs)
    return np.asarray(changes)
