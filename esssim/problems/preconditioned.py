"""A problem in the coordinates in which a preconditioner is the identity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.problems.base import Problem, check_problem
from esssim.problems.residual import MultiOutputLeastSquares, NonlinearLeastSquares


def preconditioned(problem: Problem, preconditioner: npt.ArrayLike) -> Problem:
    """The problem in φ = P^{½}θ, P diagonal: its gradients are P^{−½}∇ℓᵢ, its Hessians P^{−½}HᵢP^{−½}.

    SGD on φ is θ ← θ − ηP⁻¹g_B. Every statistic at φ is that of the preconditioned method at θ: `sharpness` is
    λ_max(P⁻¹H), `mean_square_sharpness` is Q_b of P^{−½}HᵢP^{−½}, and `stability.critical_step_size` its step size.

    preconditioner: the diagonal of P, (p,), above 0. What comes back has residuals where the problem has.
    Raises ValueError for anything else.
    """
    check_problem(problem)
    diagonal = check_preconditioner(preconditioner, problem.n_params)
    if isinstance(problem, NonlinearLeastSquares):
        return _Residuals(problem, diagonal)
    if isinstance(problem, MultiOutputLeastSquares):
        return _ManyResiduals(problem, diagonal)
    return _Preconditioned(problem, diagonal)


def check_preconditioner(preconditioner: npt.ArrayLike, n_params: int) -> FloatArray:
    """The diagonal of P, (p,), above 0."""
    diagonal = _validate.real_array("preconditioner", preconditioner, (n_params,))
    if not diagonal.min() > 0:
        raise ValueError(f"preconditioner must be above 0, its smallest entry is {diagonal.min():.3g}")
    return diagonal


class _Preconditioned(Problem):
    def __init__(self, problem: Problem, preconditioner: FloatArray) -> None:
        super().__init__(problem.n_samples, problem.n_params)
        self.problem, self.root = problem, np.sqrt(preconditioner)

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_losses(theta / self.root, indices)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_gradients(theta / self.root, indices) / self.root

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        hessians = self.problem.sample_hessians(theta / self.root, indices)
        return hessians / (self.root[:, None] * self.root)


class _Residuals(_Preconditioned, NonlinearLeastSquares):
    problem: NonlinearLeastSquares

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.residuals(theta / self.root, indices)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_jacobians(theta / self.root, indices) / self.root

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self.problem.model_hessian_products(theta / self.root, indices, vectors / self.root) / self.root


class _ManyResiduals(_Preconditioned, MultiOutputLeastSquares):
    problem: MultiOutputLeastSquares

    def __init__(self, problem: MultiOutputLeastSquares, preconditioner: FloatArray) -> None:
        super().__init__(problem, preconditioner)
        self.n_outputs = problem.n_outputs

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.residuals(theta / self.root, indices)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.problem.sample_jacobians(theta / self.root, indices) / self.root

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        return self.problem.model_hessian_products(theta / self.root, indices, vectors / self.root) / self.root
