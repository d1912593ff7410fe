"""Published bounds on the critical step size: from below, from above, and closures that need the spectrum alone.

| edge | step size | SGD is | source |
|---|---|---|---|
| contraction | 2/λ_max(H⁺E[H_B²]) | stable below | code of Andreyev & Beneventano, arXiv 2412.20553 |
| size-free | 1/√(cμ), μ = min_e tr(HΣ)/2L | unstable above | Wu, Wang & Su, arXiv 2207.02628 |
| coherence | σ/(λ_max(H)√(n/b − 1)) or 2/λ_max(H) | unstable above, b random | Dexter et al., arXiv 2401.12332 |
| scalar closure | ηcτ₁ Σⱼ λⱼ/(2 − ηλⱼ(1 − cτ₂)) = 1 | either | Velikanov et al., arXiv 2206.11124 |
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling, WithoutReplacement
from esssim.stability.linearised import Linearised, linearise

# A sample's Hessian is taken for positive semidefinite up to this fraction of its norm.
ROUNDING = 1e-10


@one_blas_thread()
def contraction_step_size(
    problem: Problem, theta: npt.ArrayLike, sampling: Sampling, *, hessian: HessianKind = "full"
) -> float:
    """The step size below which a step shrinks every e on average: λ_max(−2ηH + η²E[H_B²]) = 0.

    E‖(I−ηH_B)e‖² < ‖e‖² for all e on the range of H exactly for η < 2/λ_max(H⁺E[H_B²]), which is sufficient for
    mean-square stability: Q_b ≤ λ_max(H⁺E[H_B²]).

    theta: (p,), a minimum. Infinite where H = 0. Raises ValueError as `critical_step_size`. Source:
    `calculate_second_moment_contraction` in the code of Andreyev & Beneventano, arXiv 2412.20553.
    """
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return np.inf
    pencil = linearised.pencil
    second = pencil.second_moment(np.eye(len(pencil.eigenvalues)), linearised.c)
    root = np.sqrt(pencil.eigenvalues)
    return 2 / float(np.linalg.eigvalsh(second / root / root[:, None])[-1]) / linearised.scale


@one_blas_thread()
def alignment_step_size(
    problem: Problem, theta: npt.ArrayLike, sampling: Sampling, *, hessian: HessianKind = "full"
) -> float:
    """The step size above which the noise alone raises the loss from every e: η = 1/√(cμ), μ = min_e tr(HΣ(e))/2L(e).

    Σ(e) = Cov_i(Hᵢe), 2L(e) = eᵀHe. A step gives E L ≥ ½η²c·tr(HΣ), so that this is a bound on the critical step size
    from above. In the paper ‖H‖_F ≤ √(b/μ̄)/η with the alignment factor μ̄ = μ/‖H‖_F² and c = 1/b: the size p does not
    enter.

    theta: (p,), a minimum. Infinite where μ = 0. Raises ValueError as `critical_step_size`. Source: Wu, Wang & Su,
    NeurIPS 2022, arXiv 2207.02628.
    """
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return np.inf
    pencil, root = linearised.pencil, np.sqrt(linearised.pencil.eigenvalues)
    spread = pencil.covariance(np.diag(pencil.eigenvalues), linearised.c)
    least = float(np.linalg.eigvalsh(spread / root / root[:, None])[0])
    if least <= ROUNDING * float(pencil.eigenvalues[-1]) ** 2:
        return np.inf
    return 1 / np.sqrt(least) / linearised.scale


@one_blas_thread()
def coherence_step_size(
    problem: Problem, theta: npt.ArrayLike, batch_size: int, *, hessian: HessianKind = "full"
) -> float:
    """The step size above which coherence proves divergence: σ/(λ_max(H)√(n/b − 1)), at most 2/λ_max(H).

    σ = λ_max(S)/max_i λ_max(Hᵢ) with S_ij = ‖Hᵢ^½Hⱼ^½‖_F = √tr(HᵢHⱼ), for a rank-one sample |xᵢ·xⱼ|. Each sample is in
    a batch by itself, with probability b/n, and counts 1/b: for batches of a fixed size the theorem does not hold
    (tests/test_sufficient_edges.py has n = 2, b = 1).

    theta: (p,), a minimum. Infinite where H = 0. Raises ValueError as `critical_step_size`, and where a Hᵢ has a
    negative eigenvalue. Source: Dexter et al., ICLR 2024, arXiv 2401.12332.
    """
    sampling = WithoutReplacement(batch_size)
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return np.inf
    n = problem.n_samples
    samples = linearised.curvature.batch_matrices(np.arange(n)[:, None])
    tops = np.linalg.eigvalsh(samples)
    if (tops[:, 0] < -ROUNDING * np.abs(tops).max()).any():
        raise ValueError(
            "problem must have positive semidefinite sample Hessians for a coherence, the lowest eigenvalue is "
            f"{tops[:, 0].min() * linearised.scale:.3g} (hessian='gauss_newton' leaves the residual part out)"
        )
    flat = samples.reshape(n, -1)
    coherence = float(np.linalg.eigvalsh(np.sqrt(np.maximum(flat @ flat.T, 0.0)))[-1] / tops.max())
    top = float(linearised.pencil.eigenvalues[-1]) * linearised.scale
    spread = np.sqrt(n / sampling.batch_size - 1)
    return min(coherence / (top * spread), 2 / top) if spread > 0 else 2 / top


@one_blas_thread()
def scalar_closure_step_size(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    tau_1: float = 1.0,
    tau_2: float = 1.0,
    hessian: HessianKind = "full",
) -> float:
    """The critical step size if the noise were c(τ₁tr(HM)H − τ₂HMH): ηcτ₁ Σⱼ λⱼ/(2 − ηλⱼ(1 − cτ₂)) = 1.

    The second moment then closes over one number, tr(HM). (τ₁, τ₂) = (1, 1) is exact for translation-invariant data,
    (1, −1) for Gaussian inputs drawn anew in every step, (1, 0) is the high-dimensional noise kernel; small ηλ give the
    trace 2/(cτ₁tr H) of Paquette et al., arXiv 2102.04396.

    theta: (p,), a minimum; tau_1 > 0. At most the full-batch edge 2/λ_max. Raises ValueError as
    `critical_step_size`. Source: Velikanov, Kuznedelev & Yarotsky, ICLR 2023, arXiv 2206.11124.
    """
    first = _validate.real("tau_1", tau_1, above=0.0)
    second = _validate.real("tau_2", tau_2)
    linearised = linearise(problem, theta, sampling, hessian)
    if linearised is None:
        return np.inf
    return _scalar_closure(linearised, first, second) / linearised.scale


def _scalar_closure(linearised: Linearised, tau_1: float, tau_2: float) -> float:
    eigenvalues, c = linearised.pencil.eigenvalues, linearised.c
    limit = 2 / float(eigenvalues[-1])

    def surplus(eta: float) -> float:
        return float(eta * c * tau_1 * (eigenvalues / (2 - eta * eigenvalues * (1 - c * tau_2))).sum() - 1)

    # With τ₂ > 0 the pole is beyond the edge of the mean, with τ₂ < 0 before it.
    highest = min(limit, limit / (1 - c * tau_2) * (1 - 1e-12)) if c * tau_2 < 1 else limit
    if surplus(highest) <= 0:
        return highest
    lowest = 1 / (c * tau_1 * float(eigenvalues.sum()))
    return float(brentq(surplus, min(lowest, highest) * 1e-6, highest, xtol=1e-300, rtol=4e-15))
