"""Quadratic losses with their own Hessian and minimizer each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.curvature import DenseCurvature
from esssim.problems.base import Problem, check_symmetric


class Quadratic(Problem):
    """ℓᵢ(θ) = ½(θ−cᵢ)ᵀAᵢ(θ−cᵢ), so that ∇ℓᵢ = Aᵢ(θ−cᵢ) and ∇²ℓᵢ = Aᵢ.

    hessians: (n, p, p), symmetric, of any signature; minimizers: (n, p), the cᵢ.
    Raises ValueError for shapes that do not fit, non-finite entries and asymmetric Hessians.
    """

    def __init__(self, hessians: npt.ArrayLike, minimizers: npt.ArrayLike) -> None:
        matrices = _validate.real_array("hessians", hessians, ("n", "p", "p"))
        if matrices.shape[1] != matrices.shape[2]:
            raise ValueError(f"hessians must have shape (n, p, p), got {matrices.shape}")
        self.hessians = check_symmetric("hessians", matrices)
        super().__init__(matrices.shape[0], matrices.shape[1])
        self.minimizers = np.array(_validate.real_array("minimizers", minimizers, (self.n_samples, self.n_params)))

    def sample_losses(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        offsets = theta[..., None, :] - self.minimizers[indices]
        return np.einsum("...i,...ij,...j->...", offsets, self.hessians[indices], offsets) / 2

    def sample_gradients(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        offsets = theta[..., None, :] - self.minimizers[indices]
        return np.einsum("...ij,...j->...i", self.hessians[indices], offsets)

    def sample_hessians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        shape = np.broadcast_shapes(theta.shape[:-1], indices.shape[:-1])
        return np.broadcast_to(self.hessians[indices], (*shape, indices.shape[-1], self.n_params, self.n_params))

    def curvature(self, theta: FloatArray) -> DenseCurvature:
        return DenseCurvature(self.hessians)
