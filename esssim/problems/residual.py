"""Nonlinear least squares: what a model has to offer so that everything here knows its losses and its flow."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature import BlockCurvature, Curvature, LowRankCurvature
from esssim.problems.base import Problem


class NonlinearLeastSquares(Problem):
    """ℓᵢ(θ) = ½rᵢ(θ)², rᵢ = fᵢ(θ) − yᵢ, with Jᵢ = ∇fᵢ: ∇ℓᵢ = rᵢJᵢ and ∇²ℓᵢ = JᵢJᵢᵀ + rᵢ∇²fᵢ.

    To add a model, subclass and write ``__init__``, ``residuals``, ``sample_jacobians`` and ``model_hessian_products``.
    `simulate` then adds label noise to it, and `esssim.flow` solves its stochastic central flow.

    Shapes: theta (..., p) and indices (..., b), whose leading axes broadcast.
    """

    result_axes: ClassVar[dict[str, str]] = Problem.result_axes | {
        "residuals": "b",
        "sample_jacobians": "bp",
        "model_hessian_products": "bp",
    }

    @abstractmethod
    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """rᵢ = fᵢ(θ) − yᵢ for each index: (..., b)."""

    @abstractmethod
    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∇fᵢ(θ) for each index: (..., b, p)."""

    @abstractmethod
    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        """∇²fᵢ(θ)vᵢ for each index i and its own vector vᵢ: vectors (..., b, p) -> (..., b, p)."""

    def summed_model_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """Σᵢ ∇²fᵢ(θ)vᵢ over all samples, theta (p,), vectors (n, p): (p,). Override it where the sum costs less."""
        return np.asarray(self.model_hessian_products(theta, np.arange(self.n_samples), vectors).sum(axis=0))

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.residuals(theta, indices) ** 2 / 2

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.residuals(theta, indices)[..., None] * self.sample_jacobians(theta, indices)

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        jacobians = self.sample_jacobians(theta, indices)
        units = np.eye(self.n_params)[:, None, :]
        columns = self.model_hessian_products(theta[..., None, :], indices[..., None, :], units)
        curvatures = np.moveaxis(columns, -3, -1)
        return (
            jacobians[..., :, None] * jacobians[..., None, :]
            + self.residuals(theta, indices)[..., None, None] * curvatures
        )

    def gauss_newton_curvature(self, theta: FloatArray) -> LowRankCurvature:
        return LowRankCurvature(self.sample_jacobians(theta, np.arange(self.n_samples)))


class MultiOutputLeastSquares(Problem):
    """ℓᵢ(θ) = ½‖rᵢ(θ)‖², rᵢ = fᵢ(θ) − yᵢ ∈ ℝᶜ, Jᵢ = ∂fᵢ/∂θ (c, p): ∇ℓᵢ = Jᵢᵀrᵢ and ∇²ℓᵢ = JᵢᵀJᵢ + Σₐ rᵢₐ∇²fᵢₐ.

    To add a model, subclass, set ``n_outputs`` = c in ``__init__``, and write ``residuals``, ``sample_jacobians`` and
    ``model_hessian_products``. `simulate` then adds label noise to every output, and `esssim.flow` solves its
    stochastic central flow.

    Shapes: theta (..., p) and indices (..., b), whose leading axes broadcast.
    """

    n_outputs: int
    result_axes: ClassVar[dict[str, str]] = Problem.result_axes | {
        "residuals": "bc",
        "sample_jacobians": "bcp",
        "model_hessian_products": "bcp",
    }

    @abstractmethod
    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """rᵢ = fᵢ(θ) − yᵢ for each index: (..., b, c)."""

    @abstractmethod
    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∂fᵢ/∂θ for each index: (..., b, c, p)."""

    @abstractmethod
    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        """∇²fᵢₐ(θ)vᵢₐ for each output a of each index i and its own vector: vectors (..., b, c, p) -> (..., b, c,
        p).
        """

    def summed_model_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """Σᵢₐ ∇²fᵢₐ(θ)vᵢₐ over all samples, theta (p,), vectors (n, c, p): (p,). Override it where the sum costs
        less.
        """
        return np.asarray(self.model_hessian_products(theta, np.arange(self.n_samples), vectors).sum(axis=(0, 1)))

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return np.asarray((self.residuals(theta, indices) ** 2).sum(axis=-1) / 2)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        weighted = self.residuals(theta, indices)[..., None] * self.sample_jacobians(theta, indices)
        return np.asarray(weighted.sum(axis=-2))

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        jacobians = self.sample_jacobians(theta, indices)
        p = self.n_params
        units = np.broadcast_to(np.eye(p)[:, None, None, :], (p, 1, self.n_outputs, p))
        columns = self.model_hessian_products(theta[..., None, :], indices[..., None, :], units)
        curvatures = (self.residuals(theta, indices)[..., None, :, :, None] * columns).sum(axis=-2)
        return np.asarray(np.swapaxes(jacobians, -1, -2) @ jacobians + np.moveaxis(curvatures, -3, -1))

    def gauss_newton_curvature(self, theta: FloatArray) -> Curvature:
        return BlockCurvature(self.sample_jacobians(theta, np.arange(self.n_samples)))
