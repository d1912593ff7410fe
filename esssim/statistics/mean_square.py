"""Mean-square sharpness: the top of the pencil whose crossing of 2/η is mean-square instability."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import scipy.linalg

from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.curvature import BlockCurvature, Curvature
from esssim.problems import Problem, check_problem
from esssim.problems.base import HessianKind, curvature_of
from esssim.sampling import Sampling, check_sampling
from esssim.spectra import lanczos_from, lanczos_largest_eigenvalue, mean_largest_eigenvalue
from esssim.statistics.block_perron import perron_of
from esssim.statistics.perron import RANK_TOLERANCE, PerronMatrix
from esssim.statistics.uncertainty import EPS

# Relative error of the Perron vector: the value has its square, the bounds have it itself.
FOR_VALUE, FOR_BOUNDS = 1e-8, 1e-14
# The same of the top eigenmatrix of the pencil: the value has the square, and this where another one is next to it.
FOR_PENCIL = 1e-11
# Up to this rank of H the r(r+1)/2 numbers of a symmetric matrix are so few that the pencil is formed.
SMALL_RANK = 12


class Enclosure(NamedTuple):
    """A value and a Collatz–Wielandt interval [lower, upper] that contains the true one."""

    value: float
    lower: float
    upper: float

    def times(self, unit: float) -> Enclosure:
        """All three in another unit."""
        return Enclosure(self.value * unit, self.lower * unit, self.upper * unit)


@overload
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: HessianKind = "full",
    certify: Literal[False] = False,
) -> float: ...
@overload
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: HessianKind = "full",
    certify: Literal[True],
) -> Enclosure: ...
@one_blas_thread()
def mean_square_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    hessian: HessianKind = "full",
    certify: bool = False,
) -> float | Enclosure:
    """Mean-square sharpness Q_b = λ_max(C⁺D), C = ½(H⊗I + I⊗H), D = E[H_B⊗H_B] = (1−c)H⊗H + c·mean Hᵢ⊗Hᵢ.

    c = (n−b)/(b(n−1)) without replacement, 1/b with; C⁺ is the pseudo-inverse. SGD linearised at theta is mean-square
    stable exactly when ηQ_b < 2, provided that H is positive semidefinite and no sample's Hessian acts on its kernel:
    always so with hessian="gauss_newton" and at interpolating solutions. Elsewhere Q_b is taken on H's eigenvectors of
    positive eigenvalue and decides nothing about the other directions (`stability.critical_step_size` refuses such a
    theta). Exact, without matrices of size p²: Lanczos on L^{−½}DL^{−½}, L(M)_jk = ½(λⱼ+λ_k)M_jk in H's eigenbasis, or
    `esssim.statistics.perron`.

    theta: (p,). hessian="gauss_newton" replaces Hᵢ by JᵢJᵢᵀ. certify=True returns an Enclosure, which for rank-one
    samples is within n·1e-14 of the value except near the full-batch limit.
    Raises Undefined where H has no positive eigenvalue, up to rounding, although some Hᵢ ≠ 0.
    Source: Mulayoff & Michaeli, COLT 2024, arXiv 2306.07850; Ma & Ying, NeurIPS 2021.
    """
    check_problem(problem)
    point = problem.check_point(theta)
    check_sampling(sampling, problem.n_samples)
    curvature = curvature_of(problem, point, hessian)
    c = sampling.variance_coefficient(problem.n_samples)
    enclosure = top_of_pencil(curvature, c, certify=certify)
    return enclosure if certify else enclosure.value


def top_of_pencil(curvature: Curvature, c: float, *, certify: bool = False) -> Enclosure:
    """λ_max(C⁺D) of a curvature for a scheme of variance coefficient c; without `certify` the bounds are infinite."""
    curvature.check_conjugations()
    scale = curvature.scale()
    return _top_near_one(curvature.scaled(scale), c, certify).times(scale)


@one_blas_thread()
def tops_of_pencil(curvature: Curvature, coefficients: Iterable[float]) -> list[float]:
    """λ_max(C⁺D) for several variance coefficients c, from one factorisation where Perron's map decides; the top of one
    c is where the search for the next begins.
    """
    scale = curvature.scale()
    near_one = curvature.scaled(scale)
    perron = None if _is_long(curvature) else perron_of(near_one, 1.0)
    if perron is None or not perron.is_shorter:
        return [top_of_pencil(curvature, c).value for c in coefficients]
    values, start = [], None
    for c in coefficients:
        if c > 0.0:
            value, start = replace(perron, c=c).edge(FOR_VALUE, start)
            values.append(scale * value)
        else:
            values.append(top_of_pencil(curvature, c).value)
    return values


def _is_long(curvature: Curvature) -> bool:
    """A rank is at most p: where there are more than p² samples, the map of square roots is not the shorter one."""
    return curvature.is_rank_one and curvature.n_samples > curvature.n_params**2


def _top_near_one(curvature: Curvature, c: float, certify: bool) -> Enclosure:
    """The route: the pencil of full batches in closed form, Perron's map of square roots, or the pencil itself."""
    perron = perron_of(curvature, c) if c > 0.0 and (certify or not _is_long(curvature)) else None
    if perron is not None and perron.is_shorter:
        return _of_perron(perron, certify)
    if c == 0.0 and curvature.square_roots() is not None:
        # The sharpness of rows, without the p eigenvectors of H.
        return Enclosure(*[mean_largest_eigenvalue(curvature)] * 3)
    pencil = Pencil.of(curvature)
    if pencil is None:
        return Enclosure(0.0, 0.0, 0.0)
    if c == 0.0:  # D = H⊗H: the ratio 2λⱼλ_k/(λⱼ+λ_k) is largest at the sharpness
        return Enclosure(*[float(pencil.eigenvalues[-1])] * 3)
    bounds = _of_perron(perron, True)[1:] if certify and perron is not None else (-np.inf, np.inf)
    roots = curvature.square_roots() if curvature.is_rank_one else None
    if roots is not None and len(pencil.eigenvalues) <= SMALL_RANK:
        value = pencil.formed_top(c, roots[:, 0] @ pencil.eigenvectors)
    else:
        value = pencil.rough_top(c, FOR_PENCIL)
        if certify and perron is None:
            bounds = pencil.enclosure(pencil.top(c)[1], c, curvature.n_params)
    return Enclosure(value, min(bounds[0], value), max(bounds[1], value))


def _of_perron(perron: PerronMatrix, certify: bool) -> Enclosure:
    value, vector = perron.edge(FOR_BOUNDS if certify else FOR_VALUE)
    return Enclosure(value, *(perron.enclosure(value, vector) if certify else (-np.inf, np.inf)))


@dataclass(frozen=True)
class Pencil:
    """H's positive eigenvalues (ascending, (r,)) and M ↦ mean HᵢMHᵢ on symmetric matrices in its eigenbasis."""

    eigenvalues: FloatArray
    eigenvectors: FloatArray
    mean_conjugation: Callable[[FloatArray], FloatArray]

    @classmethod
    def of(cls, curvature: Curvature) -> Pencil | None:
        """None where every Hᵢ is zero."""
        eigenvalues, eigenvectors = curvature.mean_eigenpairs()
        # The samples' Hessians can be larger than their mean, and its negative eigenvalues than its positive ones.
        size = 0.0 if curvature.is_rank_one else float(np.sqrt(curvature.n_params * curvature.squared_norms().mean()))
        top, rounding = eigenvalues[-1], 4 * EPS * size
        if top <= rounding:
            if curvature.is_zero():
                return None
            raise Undefined("mean_square_sharpness needs a Hessian with a positive eigenvalue at theta, it has none")
        keep = eigenvalues > max(RANK_TOLERANCE * top, rounding)
        basis = np.ascontiguousarray(eigenvectors[:, keep])
        return cls(np.ascontiguousarray(eigenvalues[keep]), basis, curvature.conjugation_in(basis))

    @property
    def half_sums(self) -> FloatArray:
        """C = ½(λⱼ + λ_k), (r, r)."""
        return np.asarray((self.eigenvalues[:, None] + self.eigenvalues) / 2)

    @cached_property
    def weight(self) -> FloatArray:
        """C^{−½}, (r, r)."""
        return np.asarray(1.0 / np.sqrt(self.half_sums))

    @property
    def first_vector(self) -> FloatArray:
        """The identity as a vector (r²,), which no top is orthogonal to: D is a positive map, its top semidefinite."""
        return np.eye(len(self.eigenvalues)).ravel()

    def symmetrised(self, c: float) -> Callable[[FloatArray], FloatArray]:
        """C^{−½}DC^{−½} on vectors (r²,), whose top eigenvalue is that of the pencil."""
        rank, weight = len(self.eigenvalues), self.weight

        def apply(vector: FloatArray) -> FloatArray:
            return np.asarray(weight * self.second_moment(weight * symmetric(vector.reshape(rank, rank)), c)).ravel()

        return apply

    def top(self, c: float) -> tuple[float, FloatArray]:
        """λ_max(C⁻¹D) and its eigenmatrix (r, r), by Lanczos."""
        first = self.first_vector
        value, vector = lanczos_largest_eigenvalue(self.symmetrised(c), len(first), start=first, inside=True)
        return value, symmetric((self.weight.ravel() * vector).reshape(self.weight.shape))

    def rough_top(self, c: float, tolerance: float) -> float:
        """λ_max(C⁻¹D) from below: a Rayleigh quotient, whose error is the square of the vector's, `tolerance`."""
        symmetrised = self.symmetrised(c)
        vector = lanczos_from(self.first_vector, symmetrised, tolerance, inside=True)
        return float(vector @ symmetrised(vector))

    def formed_top(self, c: float, rows: FloatArray) -> float:
        """λ_max(C⁻¹D) of samples zᵢzᵢᵀ in the eigenbasis, z (n, r): C^{−½}DC^{−½} as a matrix on the entries j ≤ k."""
        above, below = np.triu_indices(len(self.eigenvalues))
        # An entry off the diagonal stands for two.
        scale = self.weight[above, below] * np.where(above < below, np.sqrt(2.0), 1.0)
        columns = np.ascontiguousarray(rows.T)
        samples = columns[above] * columns[below] * scale[:, None]
        matrix = c / len(rows) * (samples @ samples.T)
        products = self.eigenvalues[above] * self.eigenvalues[below] * self.weight[above, below] ** 2
        matrix.flat[:: len(matrix) + 1] += (1 - c) * products
        return float(np.linalg.eigvalsh(matrix)[-1])

    def enclosure(self, top_matrix: FloatArray, c: float, n_params: int) -> tuple[float, float]:
        """Bounds on λ_max(C⁻¹D) from an approximate top eigenmatrix, of H in p = n_params dimensions."""
        lower, upper = _collatz_wielandt(lambda m: self.second_moment(m, c) / self.half_sums, top_matrix)
        # The smallest eigenvalue of H that is kept carries an error of p·eps times the largest.
        rounding = float(8 * np.finfo(np.float64).eps * n_params * self.eigenvalues[-1] / self.eigenvalues[0])
        return lower * max(1 - rounding, 0.0), upper * (1 + rounding)

    @classmethod
    def of_diagonal_mean(cls, curvature: BlockCurvature) -> Pencil:
        """Of blocks (n, c, p) whose mean is diagonal, on the axes where that is not rounding."""
        eigenvalues = (curvature.factors**2).sum(axis=(0, 1)) / curvature.n_samples
        keep = eigenvalues > RANK_TOLERANCE * eigenvalues.max()
        kept = BlockCurvature(np.ascontiguousarray(curvature.factors[:, :, keep]))
        return cls(eigenvalues[keep], np.eye(curvature.n_params)[:, keep], kept.mean_conjugation)

    def second_moment(self, matrix: FloatArray, c: float) -> FloatArray:
        """D(M) = (1−c)HMH + c·mean HᵢMHᵢ."""
        deterministic = self.eigenvalues[:, None] * matrix * self.eigenvalues
        return np.asarray((1 - c) * deterministic + c * self.mean_conjugation(matrix))

    def covariance(self, matrix: FloatArray, c: float) -> FloatArray:
        """V(M) = D(M) − HMH = c(mean HᵢMHᵢ − HMH): what the noise of H_B adds."""
        return np.asarray(c * (self.mean_conjugation(matrix) - self.eigenvalues[:, None] * matrix * self.eigenvalues))


def symmetric(matrix: FloatArray) -> FloatArray:
    """½(M + Mᵀ)."""
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
            ratios = scipy.linalg.eigh(symmetric(positive_map(inside)), inside, eigvals_only=True)
        except np.linalg.LinAlgError:
            break
        # Both ends hold for every M; rounding in the ratios is amplified by at most M's condition number.
        slack = 8 * np.finfo(np.float64).eps * len(values) / floor
        best = (max(best[0], ratios[0] - slack), min(best[1], ratios[-1] + slack))
    return float(best[0]), float(best[1])
