"""Models of several outputs that tests share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares


class Bilinear(MultiOutputLeastSquares):
    """f(x) = VWx, θ = (W, V) row by row: quadratic in θ, so that averages over symmetric points are exact."""

    def __init__(self, inputs: np.ndarray, targets: np.ndarray, width: int) -> None:
        self.inputs, self.targets, self.width = inputs, targets, width
        self.n_outputs = targets.shape[1]
        super().__init__(len(inputs), width * (inputs.shape[1] + self.n_outputs))

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        first, second = self._split(theta[..., None, :])
        return (second @ first @ self.inputs[indices][..., None])[..., 0] - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        first, second = self._split(theta[..., None, :])
        hidden = (first @ self.inputs[indices][..., None])[..., 0]
        return self._join(second, hidden[..., None, :], indices)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        first, second = self._split(vectors)
        hidden = (first @ self.inputs[indices][..., None, :, None])[..., 0]
        own = np.diagonal(second, axis1=-3, axis2=-2).swapaxes(-1, -2)
        products = self._join(own, hidden, indices)
        return np.broadcast_to(products, np.broadcast_shapes(products.shape, (*theta.shape[:-1], 1, 1, 1)))

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        d = self.inputs.shape[1]
        first = vectors[..., : d * self.width].reshape(*vectors.shape[:-1], self.width, d)
        return first, vectors[..., d * self.width :].reshape(*vectors.shape[:-1], self.n_outputs, self.width)

    def _join(self, outer: np.ndarray, hidden: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """(vₐxᵀ, eₐhᵀ) for every output a."""
        outer, hidden = np.broadcast_arrays(outer, hidden)
        inner = outer[..., None] * self.inputs[indices][..., None, None, :]
        inner = inner.reshape(*inner.shape[:-2], -1)
        top = hidden[..., None, :] * np.eye(self.n_outputs)[:, :, None]
        return np.concatenate((inner, top.reshape(*top.shape[:-2], -1)), axis=-1)


class Stacked(MultiOutputLeastSquares):
    """One problem an output, each with parameters of its own: θ is all of them, one after the other."""

    def __init__(self, problems: Sequence[NonlinearLeastSquares]) -> None:
        self.problems, self.n_outputs = tuple(problems), len(problems)
        self.ends = np.cumsum([problem.n_params for problem in problems])
        super().__init__(problems[0].n_samples, int(self.ends[-1]))

    def parts(self, vectors: np.ndarray) -> list[np.ndarray]:
        return np.split(vectors, self.ends[:-1], axis=-1)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        pairs = zip(self.problems, self.parts(theta), strict=True)
        return np.stack([problem.residuals(part, indices) for problem, part in pairs], axis=-1)

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        pairs = zip(self.problems, self.parts(theta), strict=True)
        return self._joined([problem.sample_jacobians(part, indices) for problem, part in pairs])

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        every = zip(self.problems, self.parts(theta), self.parts(vectors), strict=True)
        return self._joined(
            [
                problem.model_hessian_products(part, indices, own[..., a, :])
                for a, (problem, part, own) in enumerate(every)
            ]
        )

    def _joined(self, rows: list[np.ndarray]) -> np.ndarray:
        blocks = [np.zeros((*row.shape[:-1], self.n_params)) for row in rows]
        for block, row, end in zip(blocks, rows, self.ends, strict=True):
            block[..., end - row.shape[-1] : end] = row
        return np.stack(blocks, axis=-2)


class Turned(MultiOutputLeastSquares):
    """Another problem with the outputs of every sample rotated by Q (c, c)."""

    def __init__(self, inner: MultiOutputLeastSquares, rotation: np.ndarray) -> None:
        self.inner, self.rotation, self.n_outputs = inner, rotation, inner.n_outputs
        super().__init__(inner.n_samples, inner.n_params)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.inner.residuals(theta, indices) @ self.rotation.T

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self.rotation @ self.inner.sample_jacobians(theta, indices)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        # ∇²(Qf)ₐ vₐ = Σ_e Q_ae ∇²f_e vₐ: every output of the inner model meets every vector.
        images = [
            self.inner.model_hessian_products(
                theta, indices, np.repeat(vectors[..., a : a + 1, :], self.n_outputs, axis=-2)
            )
            for a in range(self.n_outputs)
        ]
        return np.stack(
            [np.einsum("e,...ep->...p", self.rotation[a], image) for a, image in enumerate(images)], axis=-2
        )
