"""The models of a table, each at its θ: linear regression, a diagonal linear network, a trained torch network."""

from __future__ import annotations

import math

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem
from esssim.sampling import WithoutReplacement
from esssim.statistics import sharpness

MODELS = ("regression", "network", "mlp")
INITIAL_SCALE = 2.0
# Gradient flow decomposes a dense (2d, 2d) Hessian at each step: a minute at this many features.
NETWORK_LIMIT = 1000
MLP_UNITS, MLP_STEPS = 8, 5000
# Below 300 parameters the bridge forms its Hessians, and is exact.
MLP_PARAMS = 295


def prepare(table: data.Data, model: str) -> tuple[Problem, FloatArray, str]:
    """(problem, theta, theta in words)."""
    if model == "mlp":
        return _trained_perceptron(table)
    if model == "regression":
        regression = LinearRegression(table.inputs, table.targets)
        return regression, np.zeros(regression.n_params), "θ = 0 (matters for batch sharpness and IAS only)"
    from esssim.simulation import gradient_flow

    fit = data.interpolating_targets(table.inputs, table.targets)
    network = DiagonalLinearNetwork(table.inputs, fit)
    weights = np.linalg.lstsq(table.inputs, fit, rcond=None)[0]
    alpha = INITIAL_SCALE * max(1.0, math.sqrt(float(np.abs(weights).max())))
    d = table.n_features
    theta = gradient_flow(network, np.concatenate([np.full(d, alpha), np.zeros(d)]))
    words = f"the solution that gradient flow reaches from u = {alpha:.3g}, v = 0 on the targets' least-squares fit"
    return network, theta, words


def _trained_perceptron(table: data.Data) -> tuple[Problem, FloatArray, str]:
    try:
        from esssim import bridge
    except ModuleNotFoundError as error:
        raise ValueError(f"model 'mlp' needs an extra: {error}") from error
    width = max(2, min(MLP_UNITS, MLP_PARAMS // (table.n_features + 2)))
    values = bridge.data.from_table(table)
    module = bridge.mlp(table.n_features, (width,), 1, seed=0)
    problem = bridge.TorchProblem(module, values.inputs, values.targets)
    eta = 0.5 / sharpness(problem, problem.theta0)
    run = bridge.train(
        problem, problem.theta0, step_size=eta, sampling=WithoutReplacement(table.n_samples), n_steps=MLP_STEPS,
        momentum=0.9, record=("loss", "theta"), n_records=1, seed=0,
    )  # fmt: skip
    if int(run["diverged_at"][0]) >= 0:
        raise RuntimeError(f"training of the network diverged at step {int(run['diverged_at'][0])}")
    loss = float(run["loss"][0, 0])
    words = f"what {MLP_STEPS:,} steps of full-batch heavy ball make of {width} tanh units (loss {loss:.3g})"
    return problem, run["theta"].values[0, 0], words
