"""A network with one hidden layer as a least-squares problem of one's own, and its stochastic central flow.

`esssim.flow` works on every model that offers its residuals, their Jacobian and its second-derivative products: subclass
`esssim.problems.NonlinearLeastSquares` and write three methods. Here, with a = tanh or GELU,

    f(x) = Σⱼ vⱼ a(zⱼ),  zⱼ = wⱼᵀx + cⱼ,  θ = (W, c, v),
    ∇f = (vⱼ a'(zⱼ) x, vⱼ a'(zⱼ), a(zⱼ)),
    ∇²f [Ẇ, ċ, v̇] = (sⱼ x, sⱼ, a'(zⱼ) żⱼ),  żⱼ = ẇⱼᵀx + ċⱼ,  sⱼ = v̇ⱼ a'(zⱼ) + vⱼ a''(zⱼ) żⱼ.

Run this file: python docs/examples/perceptron.py
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

import esssim as es
from esssim.problems import NonlinearLeastSquares


class Perceptron(NonlinearLeastSquares):
    """Inputs (n, d), targets (n,), `width` hidden units; θ has (d + 2)·width entries."""

    def __init__(
        self,
        inputs: npt.ArrayLike,
        targets: npt.ArrayLike,
        width: int,
        activation: Literal["tanh", "gelu"] = "tanh",
    ) -> None:
        self.inputs = np.asarray(inputs, dtype=np.float64)
        self.targets = np.asarray(targets, dtype=np.float64)
        self.width, self.activation = width, activation
        super().__init__(n_samples=len(self.inputs), n_params=(self.inputs.shape[1] + 2) * width)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        (value, _, _), outer, _ = self._layers(theta, indices)
        return (value * outer).sum(axis=-1) - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        (value, slope, _), outer, rows = self._layers(theta, indices)
        return self._join(outer * slope, value, rows)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        (_, slope, bend), outer, rows = self._layers(theta, indices)
        inner, offset, top = self._split(vectors)
        change = (inner @ rows[..., :, None])[..., 0] + offset
        return self._join(top * slope + outer * bend * change, slope * change, rows)

    def _layers(
        self, theta: np.ndarray, indices: np.ndarray
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray, np.ndarray]:
        """(a, a', a'') at zⱼ, (..., b, width); vⱼ, (..., 1, width); the inputs of the batch, (..., b, d)."""
        inner, offset, outer = self._split(theta[..., None, :])
        rows = self.inputs[indices]
        z = (inner @ rows[..., :, None])[..., 0] + offset
        if self.activation == "tanh":
            value = np.tanh(z)
            slope = 1 - value**2
            return (value, slope, -2 * value * slope), outer, rows
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        return (z * ndtr(z), ndtr(z) + z * density, (2 - z**2) * density), outer, rows

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(..., p) -> inner weights (..., width, d), offsets (..., width), outer weights (..., width)."""
        d, width = self.inputs.shape[1], self.width
        inner = vectors[..., : d * width].reshape(*vectors.shape[:-1], width, d)
        return inner, vectors[..., d * width : (d + 1) * width], vectors[..., (d + 1) * width :]

    def _join(self, inner_slope: np.ndarray, outer_part: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(sⱼ x, sⱼ, tⱼ) as vectors (..., b, p)."""
        inner = inner_slope[..., :, None] * rows[..., None, :]
        flat = inner.reshape(*inner.shape[:-2], -1)
        return np.concatenate((flat, inner_slope, np.broadcast_to(outer_part, inner_slope.shape)), axis=-1)


def taught_by_three_units(n: int, d: int, width: int, activation: Literal["tanh", "gelu"], seed: int) -> Perceptron:
    """Targets of a random network of three tanh units, which `width` units can fit."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d))
    teacher = rng.standard_normal((3, d)) / np.sqrt(d)
    return Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), width, activation)


def random_start(problem: Perceptron, seed: int, scale: float = 1.0) -> np.ndarray:
    """Independent normal weights of variance scale²/fan-in."""
    rng = np.random.default_rng(seed)
    d, width = problem.inputs.shape[1], problem.width
    inner, offset, outer = rng.standard_normal((width, d)), rng.standard_normal(width), rng.standard_normal(width)
    return scale * np.concatenate((inner.ravel() / np.sqrt(d), 0.1 * offset, outer / np.sqrt(width)))


def main() -> None:
    problem = taught_by_three_units(30, 5, 20, "tanh", seed=0)
    solution = es.gradient_flow(problem, random_start(problem, seed=1))
    sampling = es.WithoutReplacement(4)
    edge = 2 / es.mean_square_sharpness(problem, solution, sampling, hessian="gauss_newton")
    run = {
        "step_size": es.Ramp(0.8 * edge, 2.0 * edge), "sampling": sampling, "n_steps": 20_000, "label_noise": 0.03,
        "n_records": 6,
    }  # fmt: skip
    flow = es.flow.solve(problem, solution, record=("mean_square_sharpness", "error_estimate"), **run)
    name = "mean_square_sharpness_gauss_newton"
    trace = es.simulate(problem, solution, record=(name,), n_replicas=2, seed=0, **run)
    levels = (trace[name] * trace["step_size"] / 2).mean("replica").values
    print("(η/2)·mean-square sharpness of a tanh network while η rises: SGD (mean of two runs) and the flow")
    for k, step in enumerate(flow["step"].values):
        eta, predicted = float(flow["step_size"][k]), float(flow["mean_square_sharpness"][k])
        print(
            f"  step {int(step):6d}   SGD {levels[k]:.3f}   flow {eta / 2 * predicted:.3f}"
            f"   error estimate {float(flow['error_estimate'][k]):.3f}"
        )


if __name__ == "__main__":
    main()
