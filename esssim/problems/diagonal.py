"""Diagonal linear networks: the smallest networks whose sharpness moves during training."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.curvature import LowRankCurvature
from esssim.problems.once import once_a_point
from esssim.problems.regression import LeastSquares


class DiagonalLinearNetwork(LeastSquares):
    """ℓᵢ(θ) = ½(xᵢᵀβ(θ) − yᵢ)² with β = u∘v ("product", θ = (u, v)) or β = w₊ᴰ − w₋ᴰ ("difference", θ = (w₊, w₋)).

    Hᵢ = JᵢJᵢᵀ + rᵢ∇²(xᵢᵀβ) is a diagonal plus a rank-one matrix: directly in the difference form,
    Jᵢ = (D xᵢ∘w₊ᴰ⁻¹, −D xᵢ∘w₋ᴰ⁻¹), ∇² = D(D−1) diag(xᵢ∘w₊ᴰ⁻², −xᵢ∘w₋ᴰ⁻²); after the rotation
    (a, c) ↦ ((a+c)/√2, (a−c)/√2) in the product form, Jᵢ = (xᵢ∘(u+v), xᵢ∘(v−u))/√2, ∇² = diag(xᵢ, −xᵢ).

    inputs: (n, d); targets: (n,); p = 2d; depth: D ≥ 2 (2 in the product form).
    Raises ValueError for shapes that do not fit, non-finite entries, an unknown form or depth.
    """

    def __init__(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        form: Literal["product", "difference"] = "product",
        depth: int = 2,
    ) -> None:
        super().__init__(inputs, targets, n_params_per_input=2)
        self.form = _validate.choice("form", form, ("product", "difference"))
        self.depth = _validate.integer("depth", depth, 2)
        if self.form == "product" and self.depth != 2:
            raise ValueError(f"depth must be 2 in the product form, got {depth!r}; use form='difference'")

    def effective_weights(self, theta: FloatArray) -> FloatArray:
        first, second = _halves(theta)
        if self.form == "product":
            return first * second
        return first**self.depth - second**self.depth

    def pull_back(self, theta: FloatArray, covectors: FloatArray) -> FloatArray:
        first, second = _halves(theta)
        if self.form == "product":
            return np.concatenate((covectors * second, covectors * first), axis=-1)
        power = self.depth - 1
        scaled = self.depth * covectors
        return np.concatenate((scaled * first**power, -scaled * second**power), axis=-1)

    def separable_link(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """M_k = ‖∂β_k/∂θ‖ and c_k = (∂β_k)ᵀ(∇²β_k)(∂β_k)/M_k² (0 where M_k = 0), both (d,), at one theta (p,)."""
        ones = np.ones(self.inputs.shape[1])
        along = self.pull_back(theta, ones).reshape(2, -1)
        norms = np.hypot(*along)
        # In units of M_k, so that squares neither over- nor underflow.
        unit = along / np.where(norms > 0, norms, 1.0)
        if self.form == "product":
            return norms, 2 * unit[0] * unit[1]
        second_derivatives = self._difference_diagonal(theta, ones).reshape(2, -1)
        return norms, np.asarray((second_derivatives * unit**2).sum(axis=0))

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        first, second = _halves(vectors)
        rows = self.inputs[indices]
        if self.form == "product":
            products = np.concatenate((rows * second, rows * first), axis=-1)
            return np.broadcast_to(products, np.broadcast_shapes(products.shape, (*theta.shape[:-1], 1, 1)))
        return self._difference_diagonal(theta[..., None, :], rows) * vectors

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        jacobians = self.sample_jacobians(theta, indices)
        residual_part = self.residuals(theta, indices)[..., None] * self.inputs[indices]
        return jacobians[..., :, None] * jacobians[..., None, :] + self.second_derivative(theta, residual_part)

    def hessian(self, theta: npt.ArrayLike, batch: npt.ArrayLike | None = None) -> FloatArray:
        points, indices = self._arguments(theta, batch)
        jacobians = self.sample_jacobians(points, indices)
        covector = (self.residuals(points, indices)[..., None] * self.inputs[indices]).mean(axis=-2)
        gauss_newton = np.swapaxes(jacobians, -1, -2) @ (jacobians / indices.shape[-1])
        return gauss_newton + self.second_derivative(points, covector, per_sample=False)

    @once_a_point
    def curvature(self, theta: FloatArray) -> LowRankCurvature:
        everyone = np.arange(self.n_samples)
        weighted = self.residuals(theta, everyone)[:, None] * self.inputs
        return self.structured(theta, self.sample_jacobians(theta, everyone), weighted)

    def structured(self, theta: FloatArray, rows: FloatArray, covectors: FloatArray) -> LowRankCurvature:
        """The matrices aᵢaᵢᵀ + ∇²(sᵢᵀβ) of rows aᵢ (n, p) and covectors sᵢ (n, d) at one theta (p,)."""
        if self.form == "product":
            diagonals = np.concatenate((covectors, -covectors), axis=1)
            return LowRankCurvature(self._rotate(rows), diagonals, self._rotate)
        return LowRankCurvature(rows, self._difference_diagonal(theta, covectors))

    def second_derivative(self, theta: FloatArray, covectors: FloatArray, per_sample: bool = True) -> FloatArray:
        """∇²(sᵀβ) as a dense matrix for covectors s (..., d) (with a sample axis before d, or not)."""
        if self.form == "product":
            block = covectors[..., :, None] * np.eye(covectors.shape[-1])
            zero = np.zeros_like(block)
            return np.concatenate(
                (np.concatenate((zero, block), axis=-1), np.concatenate((block, zero), axis=-1)), axis=-2
            )
        diagonal = self._difference_diagonal(theta[..., None, :] if per_sample else theta, covectors)
        return diagonal[..., :, None] * np.eye(self.n_params)

    def _difference_diagonal(self, theta: FloatArray, covectors: FloatArray) -> FloatArray:
        depth = self.depth
        first, second = _halves(theta)
        scaled = depth * (depth - 1) * covectors
        return np.concatenate((scaled * first ** (depth - 2), -scaled * second ** (depth - 2)), axis=-1)

    @staticmethod
    def _rotate(vectors: FloatArray) -> FloatArray:
        first, second = _halves(vectors)
        return np.concatenate((first + second, first - second), axis=-1) / np.sqrt(2.0)


def _halves(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The two parameters of each coordinate: views on the last axis (numpy's split takes ten times as long)."""
    half = vectors.shape[-1] // 2
    return vectors[..., :half], vectors[..., half:]
