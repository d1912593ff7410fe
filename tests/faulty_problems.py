"""One problem that is right, ½(sin(xᵢᵀθ) − yᵢ)² + ¼(xᵢᵀθ)², in three protocols, and ways to get it wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

import esssim as es
from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares

rng = np.random.default_rng(3)
INPUTS, TARGETS, THETA = rng.standard_normal((7, 3)), rng.standard_normal(7), rng.standard_normal(3)


class Sine(es.Problem):
    def __init__(self) -> None:
        super().__init__(7, 3)
        self.inputs, self.targets = INPUTS, TARGETS

    def z(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.einsum("...bp,...p->...b", self.inputs[indices], theta)

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        z = self.z(theta, indices)
        return (np.sin(z) - self.targets[indices]) ** 2 / 2 + z**2 / 4

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        z = self.z(theta, indices)
        return ((np.sin(z) - self.targets[indices]) * np.cos(z) + z / 2)[..., None] * self.inputs[indices]

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        z, rows = self.z(theta, indices), self.inputs[indices]
        bend = np.cos(z) ** 2 - (np.sin(z) - self.targets[indices]) * np.sin(z) + 0.5
        return bend[..., None, None] * rows[..., :, None] * rows[..., None, :]


class SineSquares(NonlinearLeastSquares):
    """The same without the quarter, by residuals."""

    def __init__(self) -> None:
        super().__init__(7, 3)

    def z(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.einsum("...bp,...p->...b", INPUTS[indices], theta)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        return np.sin(self.z(theta, indices)) - TARGETS[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        return np.cos(self.z(theta, indices))[..., None] * INPUTS[indices]

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> Any:
        rows = INPUTS[indices]
        bend = -np.sin(self.z(theta, indices)) * np.einsum("...bp,...bp->...b", rows, vectors)
        return bend[..., None] * rows


class TwoSines(MultiOutputLeastSquares):
    """Two outputs, sin z and ½z²."""

    n_outputs = 2

    def __init__(self) -> None:
        super().__init__(7, 3)
        self.targets = np.stack((TARGETS, TARGETS[::-1]), axis=1)

    def z(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.einsum("...bp,...p->...b", INPUTS[indices], theta)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        z = self.z(theta, indices)
        return np.stack((np.sin(z), z**2 / 2), axis=-1) - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        z = self.z(theta, indices)
        return np.stack((np.cos(z), z), axis=-1)[..., None] * INPUTS[indices][..., None, :]

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> Any:
        z, rows = self.z(theta, indices), INPUTS[indices][..., None, :]
        bend = np.stack((-np.sin(z), np.ones_like(z)), axis=-1) * (vectors * rows).sum(axis=-1)
        return bend[..., None] * rows


def altered(base: type[es.Problem], name: str, change: Any) -> es.Problem:
    """A problem whose method `name` returns change(what it should, theta, indices, ...)."""

    def method(self: Any, *arguments: Any) -> Any:
        return change(getattr(base, name).__wrapped__(self, *arguments), *arguments)

    return type("Faulty", (base,), {name: method, "__module__": __name__})()  # type: ignore[no-any-return]


def at_sample(values: np.ndarray, indices: np.ndarray, sample: int, change: Any, axes: int) -> np.ndarray:
    """`values` (..., b, and `axes` more) with those of one sample changed."""
    mask = (indices == sample).reshape(*indices.shape, *(1,) * axes)
    return np.where(mask, change(values), values)


class Buffered(Sine):
    """Writes every result into one array, and returns that."""

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        found = super().sample_gradients(theta, indices)
        if getattr(self, "buffer", np.empty(0)).shape != found.shape:
            self.buffer = np.empty(found.shape)
        self.buffer[...] = found
        return self.buffer


class Changing(Sine):
    """Changes theta and indices in place."""

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        found = super().sample_gradients(theta, indices)
        theta *= 2
        indices[...] = 0
        return found


class Random(Sine):
    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        found = super().sample_losses(theta, indices)
        return found * (1 + 0.1 * np.random.default_rng().standard_normal(np.shape(found)))


class Counting(Sine):
    """Depends on the number of earlier calls."""

    calls = 0

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        type(self).calls += 1
        return super().sample_losses(theta, indices) + 0.01 * self.calls


class IgnoresTheBatch(Sine):
    """Returns all samples, whatever is asked."""

    def sample_gradients(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        return super().sample_gradients(theta, np.arange(7))


class FirstOfTheBatch(Sine):
    """Returns the first b samples for any batch of b."""

    def sample_losses(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        return super().sample_losses(theta, np.broadcast_to(np.arange(indices.shape[-1]), indices.shape))


class NoLeadingAxes(Sine):
    """One theta and one batch only."""

    def sample_hessians(self, theta: np.ndarray, indices: np.ndarray) -> Any:
        return np.stack(
            [super(NoLeadingAxes, self).sample_hessians(theta, indices[i : i + 1])[0] for i in range(len(indices))]
        )


class WrongCurvature(es.LinearRegression):
    """A structured curvature of other Hessians."""

    def curvature(self, theta: np.ndarray) -> Any:
        return es.curvature.LowRankCurvature(self.inputs * 1.1)
