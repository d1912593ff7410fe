"""A network with one hidden layer: the smallest model whose features move, with second derivatives in closed form."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from esssim import _validate
from esssim._validate import FloatArray, IntArray
from esssim.problems.residual import NonlinearLeastSquares

# Where the normal density is zero in double precision.
BEYOND = 40.0


class Perceptron(NonlinearLeastSquares):
    """ℓᵢ(θ) = ½(f(xᵢ) − yᵢ)² with f(x) = Σⱼ vⱼ a(zⱼ), zⱼ = wⱼᵀx + cⱼ, a = tanh or GELU; θ = (W, c, v), W row by row.

        ∇f = (vⱼ a'(zⱼ) x, vⱼ a'(zⱼ), a(zⱼ)),
        ∇²f [Ẇ, ċ, v̇] = (sⱼ x, sⱼ, a'(zⱼ) żⱼ),  żⱼ = ẇⱼᵀx + ċⱼ,  sⱼ = v̇ⱼ a'(zⱼ) + vⱼ a''(zⱼ) żⱼ.

    inputs: (n, d); targets: (n,); width: number of hidden units; p = (d + 2)·width. GELU is z·Φ(z), without
    approximation. Raises ValueError for shapes that do not fit, non-finite entries, a width below 1, an unknown
    activation.
    """

    def __init__(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        width: int,
        *,
        activation: Literal["tanh", "gelu"] = "tanh",
    ) -> None:
        self.inputs = _validate.data_array("inputs", inputs, ("n", "d"))
        n, d = self.inputs.shape
        self.targets = np.array(_validate.real_array("targets", targets, (n,)))
        self.width = _validate.integer("width", width, 1)
        self.activation = _validate.choice("activation", activation, ("tanh", "gelu"))
        super().__init__(n, (d + 2) * self.width)

    def random_start(self, seed: int = 0, scale: float = 1.0) -> FloatArray:
        """θ of independent normal weights of standard deviation scale/√fan-in, and scale/10 for the offsets: (p,)."""
        rng = np.random.default_rng(_validate.integer("seed", seed, 0))
        d, width = self.inputs.shape[1], self.width
        inner, offset, outer = rng.standard_normal((width, d)), rng.standard_normal(width), rng.standard_normal(width)
        weights = np.concatenate((inner.ravel() / np.sqrt(d), offset / 10, outer / np.sqrt(width)))
        return np.asarray(_validate.real("scale", scale, above=0.0) * weights)

    def residuals(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        value, _, _ = self._activations(theta, indices)
        _, _, outer = self._split(theta[..., None, :])
        return np.asarray((value * outer).sum(axis=-1) - self.targets[indices])

    def sample_jacobians(self, theta: FloatArray, indices: IntArray) -> FloatArray:
        value, slope, _ = self._activations(theta, indices)
        _, _, outer = self._split(theta[..., None, :])
        return self._join(outer * slope, value, self.inputs[indices])

    def model_hessian_products(self, theta: FloatArray, indices: IntArray, vectors: FloatArray) -> FloatArray:
        _, slope, bend = self._activations(theta, indices)
        _, _, outer = self._split(theta[..., None, :])
        rows = self.inputs[indices]
        inner, offset, top = self._split(vectors)
        change = (inner @ rows[..., :, None])[..., 0] + offset
        return self._join(top * slope + outer * bend * change, slope * change, rows)

    def _activations(self, theta: FloatArray, indices: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """a, a', a'' at zⱼ, each (..., b, width)."""
        inner, offset, _ = self._split(theta[..., None, :])
        z = (inner @ self.inputs[indices][..., :, None])[..., 0] + offset
        if self.activation == "tanh":
            value = np.tanh(z)
            slope = 1 - value**2
            return value, slope, -2 * value * slope
        bounded = np.clip(z, -BEYOND, BEYOND)  # no square overflows
        density = np.exp(-(bounded**2) / 2) / np.sqrt(2 * np.pi)
        return z * ndtr(z), ndtr(z) + bounded * density, (2 - bounded**2) * density

    def _split(self, vectors: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(..., p) -> W (..., width, d), c (..., width), v (..., width)."""
        d, width = self.inputs.shape[1], self.width
        inner = vectors[..., : d * width].reshape(*vectors.shape[:-1], width, d)
        return inner, vectors[..., d * width : (d + 1) * width], vectors[..., (d + 1) * width :]

    @staticmethod
    def _join(inner_slope: FloatArray, outer_part: FloatArray, rows: FloatArray) -> FloatArray:
        """(sⱼ x, sⱼ, tⱼ) as vectors (..., b, p)."""
        inner = inner_slope[..., :, None] * rows[..., None, :]
        flat = inner.reshape(*inner.shape[:-2], -1)
        return np.concatenate((flat, inner_slope, np.broadcast_to(outer_part, inner_slope.shape)), axis=-1)
