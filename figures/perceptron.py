"""A network with one hidden layer of tanh units, a model of one's own for `esssim.flow` (as in docs/examples)."""

from __future__ import annotations

import numpy as np

import esssim as es
from esssim.problems import NonlinearLeastSquares


class Perceptron(NonlinearLeastSquares):
    """f(x) = Σⱼ vⱼ tanh(wⱼᵀx + cⱼ), θ = (W, c, v): inputs (n, d), targets (n,), `width` units."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, width: int) -> None:
        self.inputs, self.targets, self.width = inputs, targets, width
        super().__init__(n_samples=len(inputs), n_params=(inputs.shape[1] + 2) * width)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        value, outer, _ = self._layers(theta, indices)
        return (value * outer).sum(axis=-1) - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        value, outer, rows = self._layers(theta, indices)
        return self._join(outer * (1 - value**2), value, rows)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        value, outer, rows = self._layers(theta, indices)
        slope = 1 - value**2
        inner, offset, top = self._split(vectors)
        change = slope * ((inner @ rows[..., :, None])[..., 0] + offset)
        return self._join(top * slope - 2 * outer * value * change, change, rows)

    def _layers(self, theta: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """tanh zⱼ (..., b, width), vⱼ (..., 1, width), the inputs of the batch (..., b, d)."""
        inner, offset, outer = self._split(theta[..., None, :])
        rows = self.inputs[indices]
        return np.tanh((inner @ rows[..., :, None])[..., 0] + offset), outer, rows

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        d, width = self.inputs.shape[1], self.width
        inner = vectors[..., : d * width].reshape(*vectors.shape[:-1], width, d)
        return inner, vectors[..., d * width : (d + 1) * width], vectors[..., (d + 1) * width :]

    def _join(self, inner_slope: np.ndarray, outer_part: np.ndarray, rows: np.ndarray) -> np.ndarray:
        inner = inner_slope[..., :, None] * rows[..., None, :]
        flat = inner.reshape(*inner.shape[:-2], -1)
        return np.concatenate((flat, inner_slope, np.broadcast_to(outer_part, inner_slope.shape)), axis=-1)


def trained(n: int, d: int, width: int, seed: int) -> tuple[Perceptron, np.ndarray]:
    """A perceptron taught by three tanh units, and the solution that gradient flow reaches from a random start."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d))
    teacher = rng.standard_normal((3, d)) / np.sqrt(d)
    problem = Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), width)
    inner, offset, outer = rng.standard_normal((width, d)), rng.standard_normal(width), rng.standard_normal(width)
    start = np.concatenate((inner.ravel() / np.sqrt(d), 0.1 * offset, outer / np.sqrt(width)))
    return problem, es.gradient_flow(problem, start)
