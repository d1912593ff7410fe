"""
A network with quadratic units
==============================

A model of your own as a least-squares problem, and its stochastic central flow.

`esssim.flow` works on every model that offers its residuals, their Jacobian and its second-derivative products: subclass
`esssim.problems.NonlinearLeastSquares` and write three methods. Here a network with quadratic units (phase retrieval
with one unit), θ = (w₁, …, w_k)::

    f(x) = ½ Σⱼ (wⱼᵀx)²,  ∇f = ((wⱼᵀx) x)ⱼ,  ∇²f [ẇ] = ((ẇⱼᵀx) x)ⱼ.

Run this file: python docs/examples/quadratic_network.py
"""

# sphinx_gallery_thumbnail_path = "../figures/output/phase.png"
from __future__ import annotations

import numpy as np
import numpy.typing as npt

import esssim as es
from esssim.problems import NonlinearLeastSquares


class QuadraticNetwork(NonlinearLeastSquares):
    """Inputs (n, d), targets (n,), `width` units; θ has d·width entries, unit by unit."""

    def __init__(self, inputs: npt.ArrayLike, targets: npt.ArrayLike, width: int) -> None:
        self.inputs = np.asarray(inputs, dtype=np.float64)
        self.targets = np.asarray(targets, dtype=np.float64)
        self.width = width
        super().__init__(n_samples=len(self.inputs), n_params=self.inputs.shape[1] * width)

    def residuals(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return (self._projections(theta[..., None, :], indices) ** 2).sum(axis=-1) / 2 - self.targets[indices]

    def sample_jacobians(self, theta: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return self._times_inputs(self._projections(theta[..., None, :], indices), indices)

    def model_hessian_products(self, theta: np.ndarray, indices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        products = self._times_inputs(self._projections(vectors, indices), indices)
        return np.broadcast_to(products, np.broadcast_shapes(products.shape, (*theta.shape[:-1], 1, 1)))

    def _projections(self, vectors: np.ndarray, indices: np.ndarray) -> np.ndarray:
        """wⱼᵀxᵢ for each index i and its own vectors w: (..., b, width)."""
        units = vectors.reshape(*vectors.shape[:-1], self.width, -1)
        return (units @ self.inputs[indices][..., None])[..., 0]

    def _times_inputs(self, factors: np.ndarray, indices: np.ndarray) -> np.ndarray:
        products = factors[..., None] * self.inputs[indices][..., None, :]
        return products.reshape(*products.shape[:-2], -1)


def main() -> None:
    rng = np.random.default_rng(0)
    inputs, teacher = rng.standard_normal((8, 5)), rng.standard_normal((5, 5)) / np.sqrt(5)
    problem = QuadraticNetwork(inputs, ((inputs @ teacher.T) ** 2).sum(axis=1) / 2, width=5)
    solution = es.gradient_flow(problem, rng.standard_normal(problem.n_params) / np.sqrt(5))
    sampling = es.WithoutReplacement(4)
    edge = 2 / es.mean_square_sharpness(problem, solution, sampling, hessian="gauss_newton")
    run = {
        "step_size": es.Ramp(0.5 * edge, 0.9 * edge), "sampling": sampling, "n_steps": 20_000, "label_noise": 0.1,
        "n_records": 6,
    }  # fmt: skip
    flow = es.flow.solve(problem, solution, record=("mean_square_sharpness_gauss_newton", "error_estimate"), **run)
    name = "mean_square_sharpness_gauss_newton"
    trace = es.simulate(problem, solution, record=(name,), n_replicas=8, seed=0, **run)
    levels = (trace[name] * trace["step_size"] / 2).mean("replica").values
    print("(η/2)·mean-square sharpness of a quadratic network while η rises: SGD (mean of eight runs) and the flow")
    for k, step in enumerate(flow["step"].values):
        eta, predicted = float(flow["step_size"][k]), float(flow["mean_square_sharpness_gauss_newton"][k])
        print(
            f"  step {int(step):6d}   SGD {levels[k]:.3f}   flow {eta / 2 * predicted:.3f}"
            f"   error estimate {float(flow['error_estimate'][k]):.3f}"
        )


if __name__ == "__main__":
    main()
