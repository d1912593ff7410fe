"""The quadratic model of a problem at a point: where a run may be continued without its nonlinearity."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.curvature import DenseCurvature
from esssim.problems.base import HessianKind, Problem, check_problem, curvature_of


class QuadraticModel(Problem):
    """The losses of a problem to second order: ℓᵢ(θ₀) + ∇ℓᵢ(θ₀)ᵀδ + ½δᵀHᵢδ, δ = θ − θ₀, Hᵢ = ∇²ℓᵢ(θ₀).

    A run that is continued on it from θ₀ has the same steps to first order in δ, and nothing that stabilises it: above
    an edge it diverges where the run itself finds a flatter place. hessian="gauss_newton" takes Hᵢ = JᵢᵀJᵢ, of the
    model that is linear in θ; then no loss is unbounded from below.

    problem: any; theta: θ₀, (p,). Memory n·p². Raises ValueError for other shapes and values.
    """

    def __init__(self, problem: Problem, theta: npt.ArrayLike, *, hessian: HessianKind = "full") -> None:
        check_problem(problem)
        _validate.choice("hessian", hessian, ("full", "gauss_newton"))
        super().__init__(problem.n_samples, problem.n_params)
        self.origin, everyone = problem.check_point(theta), np.arange(problem.n_samples)
        self.losses = np.array(problem.sample_losses(self.origin, everyone))
        self.gradients = np.array(problem.sample_gradients(self.origin, everyone))
        curvature = curvature_of(problem, self.origin, hessian)
        frame = curvature.to_basis(np.eye(problem.n_params))
        hessians = frame @ curvature.batch_matrices(everyone[:, None]) @ frame.T
        self.hessians = (hessians + hessians.transpose(0, 2, 1)) / 2

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        steps = theta[..., None, :] - self.origin
        linear = (self.gradients[indices] * steps).sum(axis=-1)
        return (
            self.losses[indices] + linear + np.einsum("...i,...ij,...j->...", steps, self.hessians[indices], steps) / 2
        )

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        steps = theta[..., None, :] - self.origin
        return self.gradients[indices] + np.einsum("...ij,...j->...i", self.hessians[indices], steps)

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        shape = np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1])
        return np.broadcast_to(self.hessians[indices], (*shape, indices.shape[-1], self.n_params, self.n_params))

    def curvature(self, theta: FloatArray) -> DenseCurvature:
        return DenseCurvature(self.hessians)
