"""A point of a least-squares problem, with what the flow needs there: each computed once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature import BlockCurvature, LowRankCurvature
from esssim.flow import rows
from esssim.flow.rows import LeastSquaresProblem
from esssim.problems.boundary import divergence_is_expected
from esssim.statistics.mean_square import top_of_pencil
from esssim.statistics.perron import PerronMatrix


class Point:
    """θ (p,) of a problem of n samples with c outputs each; residuals and Jacobian have a row for every output."""

    def __init__(self, problem: LeastSquaresProblem, theta: FloatArray) -> None:
        self.problem, self.theta = problem, theta
        self._sharpness: dict[tuple[float, int | None], float] = {}

    @property
    def n_outputs(self) -> int:
        """c."""
        return rows.n_outputs(self.problem)

    @property
    def everyone(self) -> IntArray:
        """The indices of all samples."""
        return np.arange(self.problem.n_samples)

    @cached_property
    def residuals(self) -> FloatArray:
        """f(θ) − y of all rows, (n·c,)."""
        return np.asarray(self.problem.residuals(self.theta, self.everyone)).ravel()

    @cached_property
    def jacobians(self) -> FloatArray:
        """J (n·c, p)."""
        found = np.asarray(self.problem.sample_jacobians(self.theta, self.everyone))
        return found.reshape(-1, self.problem.n_params)

    @property
    def curvature(self) -> LowRankCurvature | BlockCurvature:
        """The Gauss–Newton Hessians JᵢᵀJᵢ."""
        return rows.curvature(self.jacobians, self.n_outputs)

    def hessian_products(self, vectors: FloatArray) -> FloatArray:
        """∇²fᵢ(θ)vᵢ of each row and its own vector: (n·c, p) -> (n·c, p)."""
        problem = self.problem
        shaped = rows.per_sample(problem, vectors)
        found = np.asarray(problem.model_hessian_products(self.theta, self.everyone, shaped))
        return found.reshape(-1, problem.n_params)

    def summed_hessian_products(self, vectors: FloatArray) -> FloatArray:
        """Σ ∇²fᵢ(θ)vᵢ over the rows, each with its own vector: (n·c, p) -> (p,)."""
        return self.problem.summed_model_products(self.theta, rows.per_sample(self.problem, vectors))

    def perron(self, c: float, rank: int | None = None) -> PerronMatrix:
        """η ↦ Ψ(η) for a scheme of variance coefficient c: of all modes of K = JJᵀ, or of so many leading ones."""
        return rows.perron(self.jacobians, self.n_outputs, c, rank)

    def sharpness(self, c: float, rank: int | None = None) -> float:
        """Gauss–Newton Q_b, of all modes of K or of `rank` leading ones; infinite where they overflow."""
        if (c, rank) not in self._sharpness:
            self._sharpness[c, rank] = self._mean_square_sharpness(c, rank)
        return self._sharpness[c, rank]

    def _mean_square_sharpness(self, c: float, rank: int | None) -> float:
        with np.errstate(over="ignore", invalid="ignore"), divergence_is_expected():
            jacobians = self.jacobians
        if not np.isfinite(jacobians).all():
            return np.inf
        if rank is None:
            return top_of_pencil(self.curvature, c).value
        return rows.leading_sharpness(self.perron(c, rank).with_tail(jacobians))
