"""Diagonal linear networks with cross-entropy and soft labels: a loss whose minimum is finite, and an edge with it."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.curvature import LowRankCurvature
from esssim.problems.base import Problem
from esssim.problems.diagonal import DiagonalLinearNetwork


class LogisticNetwork(Problem):
    """ℓᵢ(θ) = log(1 + exp fᵢ) − yᵢfᵢ, the cross-entropy of a soft label 0 < yᵢ < 1, with the logit fᵢ = xᵢᵀβ(θ).

    With σᵢ = 1/(1 + exp(−fᵢ)) and Jᵢ = ∇fᵢ: ∇ℓᵢ = (σᵢ − yᵢ)Jᵢ, ∇²ℓᵢ = σᵢ(1 − σᵢ)JᵢJᵢᵀ + (σᵢ − yᵢ)∇²fᵢ. The
    Gauss–Newton matrix, with the Hessian of the output, is the first term. Where σᵢ = yᵢ for all i the Hessians are
    those of squared loss on the rows √(yᵢ(1 − yᵢ))·xᵢ.

    inputs: (n, d); labels: (n,), such as 0.05 and 0.95 for two classes with label smoothing 0.1; form, depth and
    β(θ) as for `DiagonalLinearNetwork`, p = 2d. Label noise is added to yᵢ. Raises ValueError for shapes that do not
    fit, non-finite entries, and labels that are not between 0 and 1.
    """

    result_axes: ClassVar[dict[str, str]] = Problem.result_axes | {"logits": "b", "sample_jacobians": "bp"}

    def __init__(
        self,
        inputs: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        form: Literal["product", "difference"] = "product",
        depth: int = 2,
    ) -> None:
        self.inputs = _validate.data_array("inputs", inputs, ("n", "d"))
        n = self.inputs.shape[0]
        self.labels = np.array(_validate.real_array("labels", labels, (n,)))
        if not ((self.labels > 0) & (self.labels < 1)).all():
            outside = self.labels[~((self.labels > 0) & (self.labels < 1))][0]
            raise ValueError(
                f"labels must lie between 0 and 1, got {outside:g}: a hard label has no finite minimum, smooth it"
            )
        # Its residuals are the logits.
        self.model = DiagonalLinearNetwork(self.inputs, np.zeros(n), form=form, depth=depth)
        super().__init__(n, self.model.n_params)

    def logits(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """fᵢ = xᵢᵀβ(θ): theta (..., p), indices (..., b) -> (..., b)."""
        return self.model.residuals(theta, indices)

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """Jᵢ = ∇fᵢ(θ): (..., b, p)."""
        return self.model.sample_jacobians(theta, indices)

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        logits = self.logits(theta, indices)
        return np.asarray(np.logaddexp(0.0, logits) - self.labels[indices] * logits)

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        return self.model.pull_back(theta[..., None, :], self._covectors(theta, indices))

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        rows = self._rows(theta, indices)
        curved = self.model.second_derivative(theta, self._covectors(theta, indices))
        return rows[..., :, None] * rows[..., None, :] + curved

    def curvature(self, theta: FloatArray) -> LowRankCurvature:
        everyone = np.arange(self.n_samples)
        return self.model.structured(theta, self._rows(theta, everyone), self._covectors(theta, everyone))

    def gauss_newton_curvature(self, theta: FloatArray) -> LowRankCurvature:
        return LowRankCurvature(self._rows(theta, np.arange(self.n_samples)))

    def _covectors(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """(σᵢ − yᵢ)xᵢ."""
        errors = expit(self.logits(theta, indices)) - self.labels[indices]
        return np.asarray(errors[..., None] * self.inputs[indices])

    def _rows(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        """√(σᵢ(1 − σᵢ))·Jᵢ; 1 − σ is σ of the negative logit, without cancellation."""
        logits = self.logits(theta, indices)
        return np.asarray(np.sqrt(expit(logits) * expit(-logits))[..., None] * self.sample_jacobians(theta, indices))
