"""Mean-square sharpness: the top of the pencil whose crossing of 2/η is mean-square instability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import scipy.linalg

from esssim import _validate
from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import BlockCurvature, Curvature, LowRankCurvature, OperatorCurvature, Problem, check_problem
from esssim.sampling import Sampling, check_sampling
from esssim.spectra import lanczos_largest_eigenvalue
from esssim.statistics.block_perron import LARGEST_GRAM, BlockPerron
from esssim.statistics.perron import RANK_TOLERANCE, PerronMatrix
from esssim.statistics.uncertainty import EPS

# Relative error of the Perron vector: the value has its square, the bounds have it itself.
FOR_VALUE, FOR_BOUNDS = 1e-8, 1e-14


class Enclosure(NamedTuple):
    """A value and a Collatz–Wielandt interval [lower, upper] that contains the true one."""

    value: float
    lower: float
    upper: float


@overload
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: Literal["full", "gauss_newton"] = "full",
    certify: Literal[False] = False,
) -> float: ...
@overload
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: Literal["full", "gauss_newton"] = "full",
    certify: Literal[True],
) -> Enclosure: ...
@one_blas_thread()
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: Literal["full", "gauss_newton"] = "full",
    certify: bool = False,
) -> float | Enclosure:
    """Mean-square sharpness Q_b = λ_max(C⁺D), C = ½(H⊗I + I⊗H), D = E[H_B⊗H_B] = (1−c)H⊗H + c·mean Hᵢ⊗Hᵢ.

    SGD linearised at theta is mean-square stable exactly when ηQ_b < 2, provided that H is positive semidefinite and no
    sample's Hessian acts on its kernel: always so with hessian="gauss_newton" and at interpolating solutions. Elsewhere
    the pencil is taken on H's eigenvectors of positive eigenvalue and decides nothing about the other directions
    (`stability.critical_step_size` refuses such a theta). Exact by the moment identity, matrix-free: Lanczos on
    L^{−½}DL^{−½}, L(M)_jk = ½(λⱼ+λ_k)M_jk in H's eigenbasis, or `esssim.statistics.perron`.

    theta: (p,). hessian="gauss_newton" replaces Hᵢ by JᵢJᵢᵀ. certify=True returns an Enclosure, which for rank-one
    samples is within n·1e-14 of the value except near the full-batch limit.
    Raises Undefined where H has no positive eigenvalue, up to rounding, although some Hᵢ ≠ 0.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850; Ma & Ying, NeurIPS 2021.
    """
    _validate.choice("hessian", hessian, ("full", "gauss_newton"))
    check_problem(problem)
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    curvature = problem.curvature(point) if hessian == "full" else problem.gauss_newton_curvature(point)
    c = sampling.variance_coefficient(problem.n_samples)
    enclosure = top_of_pencil(curvature, c, certify=certify)
    return enclosure if certify else enclosure.value


def top_of_pencil(curvature: Curvature, c: float, *, certify: bool = False) -> Enclosure:
    """λ_max(C⁺D) of a curvature for a scheme of variance coefficient c; without `certify` the bounds are infinite."""
    if isinstance(curvature, OperatorCurvature):
        curvature.refuse_conjugations()
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    perron: PerronMatrix | None = None
    if c > 0.0 and isinstance(scaled, BlockCurvature) and scaled.factors.any():
        n_blocks, n_params = len(scaled.rows()), scaled.n_params
        if min(n_blocks, n_params) > LARGEST_GRAM:
            raise ValueError(
                f"the problem is too large for an exact mean-square sharpness: n_samples·n_outputs = {n_blocks:,} and "
                f"n_params = {n_params:,}, one of them at most {LARGEST_GRAM:,}; "
                "esssim.bridge.mean_square_sharpness_in_subspace converges to it from below"
            )
        if n_blocks <= LARGEST_GRAM:
            return _edge(BlockPerron.of_blocks(scaled.factors, c), scale, certify)
    if c > 0.0 and isinstance(scaled, LowRankCurvature) and scaled.diagonals is None and scaled.factors.any():
        perron = PerronMatrix.of(scaled.factors, c)
        # Both maps cost O(n r²) an application; the one with the shorter vectors has the cheaper Krylov space.
        if perron.n_samples <= len(perron.eigenvalues) ** 2:
            return _edge(perron, scale, certify)
    pencil = Pencil.of(scaled)
    if pencil is None:
        return Enclosure(0.0, 0.0, 0.0)
    eigenvalues = pencil.eigenvalues
    if c == 0.0:  # D = H⊗H: the ratio 2λⱼλ_k/(λⱼ+λ_k) is largest at the sharpness
        top = float(eigenvalues[-1]) * scale
        return Enclosure(top, top, top)
    half_sum = (eigenvalues[:, None] + eigenvalues) / 2
    weight = 1.0 / np.sqrt(half_sum)
    rank = len(eigenvalues)

    def symmetrised(vector: FloatArray) -> FloatArray:
        return np.asarray(weight * pencil.second_moment(weight * _symmetric(vector.reshape(rank, rank)), c)).ravel()

    # D is a positive map: its top eigenmatrix is positive semidefinite, and the identity is never orthogonal to it.
    value, vector = lanczos_largest_eigenvalue(symmetrised, rank * rank, start=np.eye(rank).ravel(), inside=True)
    if not certify:
        return Enclosure(value * scale, -np.inf, np.inf)
    if perron is not None:
        lower, upper = perron.enclosure(*perron.edge(FOR_BOUNDS))
        return Enclosure(value * scale, min(lower, value) * scale, max(upper, value) * scale)
    top_matrix = _symmetric((weight.ravel() * vector).reshape(rank, rank))
    lower, upper = _collatz_wielandt(lambda m: pencil.second_moment(m, c) / half_sum, top_matrix)
    # The smallest eigenvalue of H that is kept carries an error of p·eps times the largest.
    rounding = float(8 * np.finfo(np.float64).eps * scaled.n_params * eigenvalues[-1] / eigenvalues[0])
    lower, upper = lower * max(1 - rounding, 0.0), upper * (1 + rounding)
    return Enclosure(value * scale, min(lower, value) * scale, max(upper, value) * scale)


def _edge(perron: PerronMatrix, scale: float, certify: bool) -> Enclosure:
    value, vector = perron.edge(FOR_BOUNDS if certify else FOR_VALUE)
    bounds = perron.enclosure(value, vector) if certify else (-np.inf, np.inf)
    return Enclosure(value * scale, bounds[0] * scale, bounds[1] * scale)


@dataclass(frozen=True)
class Pencil:
    """H's positive eigenvalues (ascending, (r,)) and M ↦ mean HᵢMHᵢ on symmetric matrices in its eigenbasis."""

    eigenvalues: FloatArray
    eigenvectors: FloatArray
    mean_conjugation: Callable[[FloatArray], FloatArray]

    @classmethod
    def of(cls, curvature: Curvature) -> Pencil | None:
        """None where every Hᵢ is zero."""
        if isinstance(curvature, LowRankCurvature) and curvature.diagonals is None:
            _, singular, transposed = np.linalg.svd(
                curvature.factors / np.sqrt(curvature.n_samples), full_matrices=False
            )
            eigenvalues, eigenvectors = singular[::-1] ** 2, transposed[::-1].T
            rounding = 0.0
        else:
            eigenvalues, eigenvectors = np.linalg.eigh(curvature.mean())
            # The samples' Hessians can be larger than their mean, and its negative eigenvalues than its positive ones.
            rounding = 4 * EPS * float(np.sqrt(curvature.n_params * curvature.squared_norms().mean()))
        top = eigenvalues[-1]
        if top <= rounding:
            if all(np.abs(part).max() == 0.0 for part in vars(curvature).values() if isinstance(part, np.ndarray)):
                return None
            raise Undefined("mean_square_sharpness needs a Hessian with a positive eigenvalue at theta, it has none")
        keep = eigenvalues > max(RANK_TOLERANCE * top, rounding)
        basis = np.ascontiguousarray(eigenvectors[:, keep])
        return cls(np.ascontiguousarray(eigenvalues[keep]), basis, curvature.conjugation_in(basis))

    def second_moment(self, matrix: FloatArray, c: float) -> FloatArray:
        """D(M) = (1−c)HMH + c·mean HᵢMHᵢ."""
        deterministic = self.eigenvalues[:, None] * matrix * self.eigenvalues
        return np.asarray((1 - c) * deterministic + c * self.mean_conjugation(matrix))

    def covariance(self, matrix: FloatArray, c: float) -> FloatArray:
        """V(M) = D(M) − HMH = c(mean HᵢMHᵢ − HMH): what the noise of H_B adds."""
        return np.asarray(c * (self.mean_conjugation(matrix) - self.eigenvalues[:, None] * matrix * self.eigenvalues))


def _symmetric(matrix: FloatArray) -> FloatArray:
    return (matrix + matrix.T) / 2


def _collatz_wielandt(positive_map: Callable[[FloatArray], FloatArray], matrix: FloatArray) -> tuple[float, float]:
    """Bounds on the spectral radius of a positive map T from any M ≻ 0: the extreme eigenvalues of M⁻¹T(M)."""
    if np.trace(matrix) < 0:
        matrix = -matrix
    values, vectors = np.linalg.eigh(matrix)
    best = (0.0, np.inf)
    for floor in (1e-4, 1e-6, 1e-8, 1e-10, 1e-12):
        inside = (vectors * np.maximum(values, floor * values[-1])) @ vectors.T
        try:
            ratios = scipy.linalg.eigh(_symmetric(positive_map(inside)), inside, eigvals_only=True)
        except np.linalg.LinAlgError:
            break
        # Both ends hold for every M; rounding in the ratios is amplified by at most M's condition number.
        slack = 8 * np.finfo(np.float64).eps * len(values) / floor
        best = (max(best[0], ratios[0] - slack), min(best[1], ratios[-1] + slack))
    return float(best[0]), float(best[1])
