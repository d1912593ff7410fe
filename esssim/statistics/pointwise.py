"""Statistics that are exact without sampling: sharpness, and by the moment identity GNI and IAS."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.curvature import Curvature
from esssim.problems import Problem, check_problem
from esssim.sampling import Sampling, check_sampling
from esssim.spectra import mean_largest_eigenvalue

ZERO_GRADIENTS = "batch_sharpness is 0/0 at theta: the gradient of every batch is zero"


@one_blas_thread()
def sharpness(problem: Problem, theta: npt.ArrayLike) -> float:
    """Sharpness λ_max(H), H the Hessian of the full loss.

    theta: (p,). Raises ValueError for a theta of the wrong shape or with non-finite entries.
    Source: Cohen et al., ICLR 2021.
    """
    check_problem(problem)
    return mean_largest_eigenvalue(problem.curvature(problem.check_point(theta)))


@one_blas_thread()
def gradient_noise_interaction(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> float:
    """Gradient–noise interaction (GNI) E_B[g_BᵀHg_B]/‖g‖², exact: E[g_Bg_Bᵀ] = (1−c)ggᵀ + c·mean gᵢgᵢᵀ.

    theta: (p,). Raises Undefined where the full gradient g is zero. Source: Andreyev & Beneventano, arXiv 2412.20553.
    """
    forms = _GradientForms(problem, theta, sampling)
    if forms.full_squared_norm == 0.0:
        raise Undefined("gradient_noise_interaction is 0/0 at theta: the full gradient is zero")
    return forms.expected_quadratic_form / forms.full_squared_norm


@one_blas_thread()
def interaction_aware_sharpness(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> float:
    """Interaction-aware sharpness (IAS) tr(H G_b)/tr(G_b), G_b = E_B[g_Bg_Bᵀ], exact by the moment identity.

    theta: (p,). Raises Undefined where every batch gradient is zero. Source: Lee & Jang, ICLR 2023.
    """
    forms = _GradientForms(problem, theta, sampling)
    if forms.expected_squared_norm == 0.0:
        raise Undefined("interaction_aware_sharpness is 0/0 at theta: every batch gradient is zero")
    return forms.expected_quadratic_form / forms.expected_squared_norm


def ratio_of_means(problem: Problem, theta: FloatArray, curvature: Curvature, sampling: Sampling) -> float:
    """E[g_BᵀH_Bg_B]/E‖g_B‖² without batches, Hᵢ those of the curvature, by second and third moments of batch means.

    With Δᵢ = Hᵢ − H, δᵢ = gᵢ − g: E[g_BᵀH_Bg_B] = gᵀHg + c·mean(2gᵀΔᵢδᵢ + δᵢᵀHδᵢ) + c₃·mean(δᵢᵀΔᵢδᵢ).
    """
    forms = _GradientForms(problem, theta, sampling, curvature)
    if forms.expected_squared_norm == 0.0:
        raise Undefined(ZERO_GRADIENTS)
    return forms.expected_batch_form() / forms.expected_squared_norm


def mean_square_of_batches(rows: FloatArray, c: float) -> float:
    """E‖mean of the rows of a batch‖² by the moment identity, for a scheme of variance coefficient c: rows (n, r)."""
    mean = rows.mean(axis=0)
    return float((1 - c) * float(mean @ mean) + c * (rows**2).sum(axis=1).mean())


class _GradientForms:
    """‖g‖², E‖g_B‖² = tr G_b and E[g_BᵀHg_B] = tr(H G_b), in units where the largest gradient entry is 1."""

    def __init__(
        self, problem: Problem, theta: npt.ArrayLike, sampling: Sampling, curvature: Curvature | None = None
    ) -> None:
        check_problem(problem)
        point = problem.check_point(theta)
        check_sampling(sampling, problem.n_samples)
        c = sampling.variance_coefficient(problem.n_samples)
        curvature = problem.curvature(point) if curvature is None else curvature
        gradients = problem.sample_gradients(point, np.arange(problem.n_samples))
        gradients = np.asarray(curvature.to_basis(gradients)) / (np.abs(gradients).max() or 1.0)
        scale = curvature.scale()
        mean = gradients.mean(axis=0)
        forms = curvature.scaled(scale).mean_quadratic_forms(np.vstack([gradients, mean]))
        self._coefficients = c, sampling.third_moment_coefficient(problem.n_samples)
        self._curvature, self._gradients, self._forms, self._scale = curvature, gradients, forms, scale
        self.full_squared_norm = float(mean @ mean)
        self.expected_squared_norm = mean_square_of_batches(gradients, c)
        self.expected_quadratic_form = float((1 - c) * forms[-1] + c * forms[:-1].mean()) * scale

    def expected_batch_form(self) -> float:
        """E[g_BᵀH_Bg_B], in the same units."""
        (c, c_3), gradients = self._coefficients, self._gradients
        images = self._curvature.scaled(self._scale).images(gradients)
        own = float((images * gradients).sum(axis=1).mean())  # mean gᵢᵀHᵢgᵢ
        cross = float(images.mean(axis=0) @ gradients.mean(axis=0))  # gᵀ mean Hᵢgᵢ
        full, spread = float(self._forms[-1]), float(self._forms[:-1].mean())  # gᵀHg, mean gᵢᵀHgᵢ
        second = 2 * (cross - full) + (spread - full)
        third = own - 2 * cross - spread + 2 * full
        return (full + c * second + c_3 * third) * self._scale
