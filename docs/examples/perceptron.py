"""
A network of one hidden layer
=============================

Where a tanh network settles while the step size rises: SGD, and its stochastic central flow.

`es.Perceptron` is a network with one hidden layer; for a model of your own see quadratic_network.py next to this file.

Run this file: python docs/examples/perceptron.py
"""

# sphinx_gallery_thumbnail_path = "../figures/output/interventions.png"
from __future__ import annotations

from typing import Literal

import numpy as np

import esssim as es


def taught_by_three_units(n: int, d: int, width: int, activation: Literal["tanh", "gelu"], seed: int) -> es.Perceptron:
    """Targets of a random network of three tanh units, which `width` units can fit."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, d))
    teacher = rng.standard_normal((3, d)) / np.sqrt(d)
    return es.Perceptron(inputs, np.tanh(inputs @ teacher.T) @ rng.standard_normal(3), width, activation=activation)


def main() -> None:
    problem = taught_by_three_units(30, 5, 20, "tanh", seed=0)
    solution = es.gradient_flow(problem, problem.random_start(seed=1))
    sampling = es.WithoutReplacement(4)
    edge = 2 / es.mean_square_sharpness(problem, solution, sampling, hessian="gauss_newton")
    run = {
        "step_size": es.Ramp(0.8 * edge, 2.0 * edge), "sampling": sampling, "n_steps": 20_000, "label_noise": 0.03,
        "n_records": 6,
    }  # fmt: skip
    names = ("mean_square_sharpness_gauss_newton", "error_estimate")
    flow = es.flow.solve(problem, solution, record=names, **run)
    mean = es.flow.solve(problem, solution, record=names, follow="mean", **run)
    name = "mean_square_sharpness_gauss_newton"
    trace = es.simulate(problem, solution, record=(name,), n_replicas=8, seed=0, **run)
    levels = (trace[name] * trace["step_size"] / 2).mean("replica").values
    print("(η/2)·mean-square sharpness of a tanh network while η rises: SGD (mean of eight runs), the flow, the mean")
    for k, step in enumerate(flow["step"].values):
        eta, predicted = float(flow["step_size"][k]), float(flow["mean_square_sharpness_gauss_newton"][k])
        print(
            f"  step {int(step):6d}   SGD {levels[k]:.3f}   flow {eta / 2 * predicted:.3f}"
            f"   its error estimate {float(flow['error_estimate'][k]):.3f}"
            f"   mean {eta / 2 * float(mean['mean_square_sharpness_gauss_newton'][k]):.3f}"
        )


if __name__ == "__main__":
    main()
