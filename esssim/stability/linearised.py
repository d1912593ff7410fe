"""SGD linearised at a minimum: the curvature in units of its scale, its modes, and the checks of a threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esssim._validate import FloatArray
from esssim.curvature import Curvature
from esssim.problems import Problem, check_problem
from esssim.problems.base import HessianKind, curvature_of
from esssim.sampling import Sampling, check_independent, check_sampling
from esssim.statistics.mean_square import Pencil

# H may be indefinite by rounding, and by residuals that training has not quite removed.
NEGATIVE_TOLERANCE = 1e-6
# V(I) below this fraction of H² is rounding: every batch has the same Hessian.
NOISE_TOLERANCE = 1e-13


@dataclass(frozen=True)
class Linearised:
    """Per-sample Hessians divided by `scale`, the modes of their mean with positive eigenvalue, and c of the scheme."""

    curvature: Curvature
    pencil: Pencil
    scale: float
    c: float

    @property
    def is_deterministic(self) -> bool:
        """Whether every batch has the same Hessian on the modes: b = n without replacement, or equal samples."""
        identity = np.eye(len(self.pencil.eigenvalues))
        noise = float(np.trace(self.pencil.covariance(identity, self.c)))
        return noise <= NOISE_TOLERANCE * float((self.pencil.eigenvalues**2).sum())


def linearise(problem: Problem, theta: npt.ArrayLike, sampling: Sampling, hessian: HessianKind) -> Linearised | None:
    """The linearisation at theta (p,), None where every Hᵢ is zero; ValueError where no step size can be stable."""
    check_problem(problem)
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    check_independent(sampling, "a threshold")
    curvature = curvature_of(problem, point, hessian)
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    c = sampling.variance_coefficient(problem.n_samples)
    if hessian == "full":
        _check_minimum(scaled, scale, c)
    pencil = Pencil.of(scaled)
    return None if pencil is None else Linearised(scaled, pencil, scale, c)


def _check_minimum(curvature: Curvature, scale: float, c: float) -> None:
    """Every step size grows along a negative eigenvalue of H, and along its kernel where the Hᵢ do not vanish there."""
    eigenvalues, eigenvectors = np.linalg.eigh(curvature.mean())
    top = max(float(eigenvalues[-1]), 0.0)
    hint = "so that no step size is stable (hessian='gauss_newton' leaves the residual part out)"
    if eigenvalues[0] < -NEGATIVE_TOLERANCE * top:
        raise ValueError(
            "theta must be a minimum for a critical step size: "
            f"H has the eigenvalue {eigenvalues[0] * scale:.3g}, {hint}"
        )
    neutral = eigenvectors[:, eigenvalues <= NEGATIVE_TOLERANCE**2 * top]
    if c > 0.0 and neutral.size:
        squares = curvature.mean_conjugation(np.eye(curvature.n_params))
        fluctuation = float(np.sqrt(np.einsum("kj,kl,lj->j", neutral, squares, neutral).max(initial=0.0)))
        if fluctuation > NEGATIVE_TOLERANCE * max(top, NEGATIVE_TOLERANCE):
            raise ValueError(
                "theta must be a minimum for a critical step size: along a direction without curvature "
                f"the samples' own Hessians fluctuate by {fluctuation * scale:.3g}, {hint}"
            )


def transition_matrices(
    eigenvalues: FloatArray, eta: float, beta: float, nesterov: bool
) -> tuple[FloatArray, FloatArray]:
    """T_j (r, 2, 2) of the mode of curvature λ_j on (e, v), and the gain g = dT/dλ (e) = (−η or −η(1+β), 1)."""
    step = eta * (1 + beta) if nesterov else eta
    decay = eta * beta * (beta if nesterov else 1.0)
    transition = np.empty((len(eigenvalues), 2, 2))
    transition[:, 0, 0] = 1 - step * eigenvalues
    transition[:, 0, 1] = -decay
    transition[:, 1, 0] = eigenvalues
    transition[:, 1, 1] = beta
    return transition, np.array([-step, 1.0])
