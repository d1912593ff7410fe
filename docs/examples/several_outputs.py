"""
A network of several outputs
============================

Where it settles while the step size rises: SGD, and its stochastic central flow.

`esssim.flow` works on every model of several outputs that offers its residuals, their Jacobian and its second-derivative
products: subclass `esssim.problems.MultiOutputLeastSquares` and write three methods. Here one hidden layer of tanh units,
θ = (W, c, V), W and V row by row::

    f(x) = V a,  a = tanh(Wx + c),
    ∇fₐ = (vₐ∘a' xᵀ, vₐ∘a', eₐ aᵀ),  ∇²fₐ [Ẇ, ċ, V̇] = (s xᵀ, s, eₐ (a'∘ż)ᵀ),  ż = Ẇx + ċ,  s = v̇ₐ∘a' + vₐ∘a''∘ż.

Run this file: python docs/examples/several_outputs.py
"""

# sphinx_gallery_thumbnail_path = "../figures/output/networks.png"
from __future__ import annotations

import numpy as np
import numpy.typing as npt

import esssim as es
from esssim.problems import MultiOutputLeastSquares


class TanhNetwork(MultiOutputLeastSquares):
    """Inputs (n, d), targets (n, c), `width` tanh units; p = (d + 1 + c)·width."""

    def __init__(self, inputs: npt.ArrayLike, targets: npt.ArrayLike, width: int) -> None:
        self.inputs = np.asarray(inputs, dtype=np.float64)
        self.targets = np.asarray(targets, dtype=np.float64)
        self.width, self.n_outputs = width, self.targets.shape[1]
        n, d = self.inputs.shape
        super().__init__(n_samples=n, n_params=(d + 1 + self.n_outputs) * width)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        _, _, outer = self._split(theta[..., None, :])
        return (outer @ self._units(theta, indices)[..., None])[..., 0] - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        _, _, outer = self._split(theta[..., None, :])
        units = self._units(theta, indices)[..., None, :]
        return self._join(outer * (1 - units**2), units, indices)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        _, _, outer = self._split(theta[..., None, :])
        units = self._units(theta, indices)[..., None, :]
        slope, bend = 1 - units**2, -2 * units * (1 - units**2)
        inner, offset, top = self._split(vectors)
        change = (inner @ self.inputs[indices][..., None, :, None])[..., 0] + offset
        # Output a has its own vector, of which only row a of V̇ matters to it.
        own = np.diagonal(top, axis1=-3, axis2=-2).swapaxes(-1, -2)
        return self._join(own * slope + outer * bend * change, slope * change, indices)

    def _units(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """tanh(Wx + c) of each index: (..., b, width)."""
        inner, offset, _ = self._split(theta[..., None, :])
        return np.tanh((inner @ self.inputs[indices][..., None])[..., 0] + offset)

    def _split(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(..., p) -> W (..., width, d), c (..., width), V (..., c, width)."""
        d, width = self.inputs.shape[1], self.width
        inner = vectors[..., : d * width].reshape(*vectors.shape[:-1], width, d)
        outer = vectors[..., (d + 1) * width :].reshape(*vectors.shape[:-1], self.n_outputs, width)
        return inner, vectors[..., d * width : (d + 1) * width], outer

    def _join(self, inner: np.ndarray, outer: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """(s xᵀ, s, eₐ tᵀ) of every output a as vectors (..., b, c, p)."""
        by_input = inner[..., :, None] * self.inputs[indices][..., None, None, :]
        rows = np.broadcast_to(outer, inner.shape)[..., None, :] * np.eye(self.n_outputs)[:, :, None]
        parts = (by_input.reshape(*by_input.shape[:-2], -1), inner, rows.reshape(*rows.shape[:-2], -1))
        return np.concatenate(parts, axis=-1)


def main() -> None:
    rng = np.random.default_rng(0)
    inputs, teacher = rng.standard_normal((20, 4)), rng.standard_normal((3, 4)) / 2
    problem = TanhNetwork(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal((3, 2)), width=16)
    solution = es.gradient_flow(problem, rng.standard_normal(problem.n_params) / 2)
    sampling = es.WithoutReplacement(4)
    edge = 2 / es.mean_square_sharpness(problem, solution, sampling, hessian="gauss_newton")
    run = {
        "step_size": es.Ramp(0.8 * edge, 1.6 * edge), "sampling": sampling, "n_steps": 20_000, "label_noise": 0.03,
        "n_records": 6,
    }  # fmt: skip
    flow = es.flow.solve(
        problem, solution, follow="mean", record=("mean_square_sharpness_gauss_newton", "error_estimate"), **run
    )
    name = "mean_square_sharpness_gauss_newton"
    trace = es.simulate(problem, solution, record=(name,), n_replicas=4, seed=0, **run)
    levels = (trace[name] * trace["step_size"] / 2).mean("replica").values
    print(
        "(η/2)·mean-square sharpness of a tanh network of two outputs while η rises: SGD (mean of four runs), its mean"
    )
    for k, step in enumerate(flow["step"].values):
        eta, predicted = float(flow["step_size"][k]), float(flow["mean_square_sharpness_gauss_newton"][k])
        print(
            f"  step {int(step):6d}   SGD {levels[k]:.3f}   flow {eta / 2 * predicted:.3f}"
            f"   error estimate {float(flow['error_estimate'][k]):.3f}"
        )


if __name__ == "__main__":
    main()
