"""
The stochastic central flow in sixty lines
==========================================

The flow of a diagonal network in sixty lines of numpy, against SGD in sixty: python examples/minimal_flow.py.

SGD with label noise ε on β = u∘v moves along the solutions u∘v = β*. Only the imbalance m = u² − v² can move there. The
residuals fluctuate around zero; their stationary covariance R at step size η, exact for any η and batch size b, says
how fast m shrinks. R is infinite where ηQ_b = 2: the flow cannot cross that edge, and follows it as η rises.
"""

# sphinx_gallery_thumbnail_path = "../figures/output/flow.png"
from __future__ import annotations

import numpy as np
from scipy.optimize import brentq

N, D, B, EPSILON, STEPS = 40, 20, 2, 0.1, 100_000
rng = np.random.default_rng(1)
X = rng.standard_normal((N, D))
BETA = rng.standard_normal(D)
# Batches without replacement: E[A_B ⊗ A_B] = (1−c) Ā ⊗ Ā + c·mean(Aᵢ ⊗ Aᵢ).
C = (N - B) / (B * (N - 1))


def flow_modes(m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues λ and eigenvectors U of K = JJᵀ = X diag(u² + v²) Xᵀ on its range, u² + v² = √(m² + 4β*²)."""
    values, vectors = np.linalg.eigh((X * np.sqrt(m**2 + 4 * BETA**2)) @ X.T)
    return values[-D:], vectors[:, -D:]


def fast_motion(eta: float, values: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M_jk = ηλⱼλ_k/((λⱼ+λ_k)/n − ηκ₁λⱼλ_k) and the matrix Ψ_ac = Σ_jk U_aj U_cj M_jk U_ak U_ck, κ₁ = (1−c)/n²."""
    products = values[:, None] * values
    m = eta * products / ((values[:, None] + values) / N - eta * (1 - C) / N**2 * products)
    pairs = (vectors[:, :, None] * vectors[:, None, :]).reshape(N, -1)
    return m, (pairs * m.ravel()) @ pairs.T


def mean_square_sharpness(m: np.ndarray) -> float:
    """Q_b: the 2/η at which the spectral radius of (c/n)Ψ(η) is 1."""
    values, vectors = flow_modes(m)

    def excess(eta: float) -> float:
        return C / N * float(np.linalg.eigvalsh(fast_motion(eta, values, vectors)[1])[-1]) - 1

    pole = 2 * N / values[-1] / (1 - C) * (1 - 1e-9)
    return 2 / float(brentq(excess, 1e-9 * pole, pole))


def drift(eta: float, m: np.ndarray) -> np.ndarray:
    """dm/dt = −η²E[s²]m, t in steps; s = X_Bᵀr_B/b, E[ssᵀ] = Xᵀ(κ₁R + diag ρ)X, R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ."""
    values, vectors = flow_modes(m)
    matrix, psi = fast_motion(eta, values, vectors)
    rho = np.linalg.solve(np.eye(N) - C / N * psi, np.full(N, EPSILON**2 / (B * N)))
    residuals = vectors @ (matrix * ((vectors.T * rho) @ vectors)) @ vectors.T
    pulls = np.einsum("ik,ij,jk->k", X, (1 - C) / N**2 * residuals + np.diag(rho), X)
    return -(eta**2) * pulls * m


def flow(m: np.ndarray, eta: np.ndarray, records: int) -> list[float]:
    """(η/2)Q_b of the flow at equally spaced steps, by Heun's method with a fixed step."""
    levels, stride, inner = [], STEPS // records, 50
    for k in range(records):
        for part in range(inner):
            t, h = k * stride + part * stride // inner, stride / inner
            first = drift(eta[t], m)
            m = m + h / 2 * (first + drift(eta[t], m + h * first))
        levels.append(eta[(k + 1) * stride - 1] / 2 * mean_square_sharpness(m))
    return levels


def sgd(u: np.ndarray, v: np.ndarray, eta: np.ndarray, records: int, seed: int) -> list[float]:
    """(η/2)Q_b of SGD on ½(xᵢᵀ(u∘v) − yᵢ − εz)², z drawn anew at every step."""
    noise, levels, y = np.random.default_rng(seed), [], X @ BETA
    for t in range(STEPS):
        batch = noise.choice(N, B, replace=False, shuffle=False)
        s = (X[batch] @ (u * v) - y[batch] - EPSILON * noise.standard_normal(B)) @ X[batch] / B
        u, v = u - eta[t] * s * v, v - eta[t] * s * u
        if (t + 1) % (STEPS // records) == 0:
            levels.append(eta[t] / 2 * mean_square_sharpness(u**2 - v**2))
    return levels


def main(records: int = 5) -> tuple[list[float], list[float]]:
    """Both from the same unbalanced solution, while η rises from 0.8 to 1.8 times the edge there."""
    m = np.sqrt(4.0**2 + 4 * BETA**2) * 0.8
    u = np.sqrt((np.sqrt(m**2 + 4 * BETA**2) + m) / 2)
    first = 2 / mean_square_sharpness(m)
    eta = np.linspace(0.8 * first, 1.8 * first, STEPS)
    predicted, measured = flow(m, eta, records), sgd(u, BETA / u, eta, records, seed=0)
    for name, levels in (("flow", predicted), ("SGD", measured)):
        print(f"{name:>5}: " + "  ".join(f"{level:.3f}" for level in levels))
    return predicted, measured


if __name__ == "__main__":
    main()
