"""Least squares: the common base of the residual models, and linear regression."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature, LowRankCurvature
from esssim.problems.residual import NonlinearLeastSquares


class LeastSquares(NonlinearLeastSquares):
    """ℓᵢ(θ) = ½rᵢ(θ)², rᵢ = xᵢᵀβ(θ) − yᵢ: models linear in a vector β(θ) of effective weights.

    With Jᵢ = ∇(xᵢᵀβ): ∇ℓᵢ = rᵢJᵢ and ∇²ℓᵢ = JᵢJᵢᵀ + rᵢ∇²(xᵢᵀβ). A subclass gives β, its pull-back and the curvature.
    inputs: (n, d); targets: (n,).
    """

    def __init__(self, inputs: npt.ArrayLike, targets: npt.ArrayLike, n_params_per_input: int = 1) -> None:
        self.inputs = _validate.data_array("inputs", inputs, ("n", "d"))
        self.targets = np.array(_validate.real_array("targets", targets, (self.inputs.shape[0],)))
        super().__init__(self.inputs.shape[0], n_params_per_input * self.inputs.shape[1])

    @abstractmethod
    def effective_weights(self, theta: FloatArray) -> FloatArray:
        """β(θ), the weights of the equivalent linear model: (..., p) -> (..., d)."""

    @abstractmethod
    def pull_back(self, theta: FloatArray, covectors: FloatArray) -> FloatArray:
        """(∂β/∂θ)ᵀs: theta (..., p), s (..., d) -> (..., p)."""

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """rᵢ = xᵢᵀβ(θ) − yᵢ: theta (..., p), indices (..., b) -> (..., b)."""
        weights = self.effective_weights(theta)
        if indices.ndim == 1:
            return weights @ self.inputs[indices].T - self.targets[indices]
        return np.einsum("...bd,...d->...b", self.inputs[indices], weights) - self.targets[indices]

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        covectors = self.residuals(theta, indices)[..., None] * self.inputs[indices]
        return self.pull_back(theta[..., None, :], covectors)

    def gradient(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        residuals = self.residuals(points, indices) / indices.shape[-1]
        if indices.ndim == 1:
            return self.pull_back(points, residuals @ self.inputs[indices])
        return self.pull_back(points, np.einsum("...bd,...b->...d", self.inputs[indices], residuals))

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.pull_back(theta[..., None, :], self.inputs[indices])


class LinearRegression(LeastSquares):
    """ℓᵢ(θ) = ½(xᵢᵀθ − yᵢ)²: rank-one Hessians xᵢxᵢᵀ, the same at every θ.

    inputs: (n, d); targets: (n,); p = d. Raises ValueError for shapes that do not fit and non-finite entries.
    """

    def effective_weights(self, theta: FloatArray) -> FloatArray:
        return theta

    def pull_back(self, theta: FloatArray, covectors: FloatArray) -> FloatArray:
        shape = np.broadcast_shapes(theta.shape, covectors.shape)
        return np.broadcast_to(covectors, shape)

    def separable_link(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """M_k = ‖∂β_k/∂θ‖ = 1 and c_k = 0, the curvature of β_k along its own gradient, both (d,)."""
        return np.ones_like(theta), np.zeros_like(theta)

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        shape = np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1], vectors.shape[:-2])
        return np.zeros((*shape, *vectors.shape[-2:]))

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        rows = self.inputs[indices]
        shape = np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1])
        outer = rows[..., :, None] * rows[..., None, :]
        return np.broadcast_to(outer, (*shape, *outer.shape[-3:]))

    def hessian(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        rows = self.inputs[indices]
        product = np.swapaxes(rows, -1, -2) @ (rows / indices.shape[-1])
        shape = np.broadcast_shapes(points.shape[:-1], indices.shape[:-1])
        return np.broadcast_to(product, (*shape, self.n_params, self.n_params))

    def curvature(self, theta: FloatArray) -> Curvature:
        return LowRankCurvature(self.inputs)
