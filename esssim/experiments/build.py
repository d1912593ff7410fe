"""From the sections of a configuration to what they describe: data, problem, sampling, start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from esssim import data
from esssim._validate import FloatArray
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.sections import (
    DataSection,
    DiagonalSection,
    FileSection,
    LinearRegressionSection,
    LogisticSection,
    PerceptronSection,
    ProblemSection,
    QuadraticSection,
    SamplingSection,
    StartSection,
    TableSection,
)
from esssim.problems import (
    DiagonalLinearNetwork,
    LinearRegression,
    LogisticNetwork,
    Perceptron,
    Problem,
    Quadratic,
)
from esssim.random_weights import FullOrSingle, GaussianWeights, ThreePointWeights, TwoPointWeights
from esssim.sampling import Reshuffled, Sampling, WithoutReplacement, WithReplacement
from esssim.simulation import gradient_flow

SCHEMES: dict[str, type[Sampling]] = {
    "without_replacement": WithoutReplacement,
    "with_replacement": WithReplacement,
    "reshuffled": Reshuffled,
    "gaussian_weights": GaussianWeights,
    "two_point_weights": TwoPointWeights,
    "three_point_weights": ThreePointWeights,
    "full_or_single": FullOrSingle,
}

# Solutions that this process has computed, the last used at the end.
MOST_SOLUTIONS = 32
_SOLUTIONS: dict[tuple[str, bytes], FloatArray] = {}


def table_of(section: DataSection, folder: Path) -> data.Data:
    """Inputs and targets."""
    if isinstance(section, FileSection):
        found = data.read_table(file_of(section, folder), section.target, standardize=section.standardize)
    elif isinstance(section, TableSection):
        found = data.load(section.kind, standardize=section.standardize)
    else:
        found = getattr(data, section.kind)(**section.model_dump(exclude={"kind", "targets"}))
    targets = found.targets
    if section.targets == "interpolating":
        targets = data.interpolating_targets(found.inputs, targets)
    elif section.targets == "zero":
        targets = np.zeros_like(targets)
    return data.Data(found.inputs, targets, found.name, found.feature_names, found.notes)


def file_of(section: FileSection, folder: Path) -> Path:
    """The file of a table. Raises ConfigurationError for one outside the folder of the configuration."""
    inside, asked = folder.resolve(), Path(section.path)
    found = (inside / asked).resolve()
    if asked.is_absolute() or not found.is_relative_to(inside):
        words = f"must be inside the folder of the configuration, got {section.path!r}; copy the table there"
        raise ConfigurationError(("data", "path"), words)
    return found


def problem_of(section: ProblemSection, table: data.Data, start: StartSection) -> Problem:
    """What is trained, on a table."""
    if isinstance(section, LinearRegressionSection):
        return LinearRegression(table.inputs, table.targets)
    if isinstance(section, QuadraticSection):
        return quadratic(table)
    if isinstance(section, DiagonalSection):
        return DiagonalLinearNetwork(table.inputs, table.targets, form=section.form, depth=section.depth)
    if isinstance(section, LogisticSection):
        half = section.smoothing / 2
        labels = np.where(table.targets > table.targets.mean(), 1 - half, half)
        return LogisticNetwork(table.inputs, labels, form=section.form, depth=section.depth)
    if isinstance(section, PerceptronSection):
        return Perceptron(table.inputs, table.targets, section.width, activation=section.activation)
    from esssim.bridge import TorchProblem, mlp

    network = mlp(table.n_features, section.hidden, 1, activation=section.activation, gain=start.size, seed=start.seed)
    return TorchProblem(network, table.inputs, table.targets[:, None])


def quadratic(table: data.Data) -> Quadratic:
    """ℓᵢ(θ) = ½ Σₖ xᵢₖ²(θₖ − yᵢ)²."""
    squares = table.inputs**2
    minimizers = np.tile(table.targets[:, None], squares.shape[1])
    return Quadratic(squares[:, :, None] * np.eye(squares.shape[1]), minimizers)


def sampling_of(section: SamplingSection) -> Sampling:
    """How batches, or weights, are drawn."""
    if section.kurtosis is not None:
        return ThreePointWeights(section.batch_size, section.kurtosis)
    return SCHEMES[section.scheme](section.batch_size)


def start_of(section: StartSection, problem: Problem) -> FloatArray:
    """θ at step 0. Raises RuntimeError where gradient flow does not come to a solution."""
    if section.kind == "zeros":
        return np.zeros(problem.n_params)
    if section.kind == "constant":
        return np.full(problem.n_params, section.size)
    if isinstance(problem, DiagonalLinearNetwork | LogisticNetwork) and section.kind in ("scale", "solution"):
        d = problem.n_params // 2
        halves = np.concatenate([np.full(d, section.first_scale), np.full(d, section.second_scale)])
        return halves if section.kind == "scale" else solution_from(problem, halves)
    if isinstance(problem, LinearRegression | Quadratic) and section.kind == "solution":
        return solution_from(problem, np.zeros(problem.n_params))
    begin = _random(section, problem)
    return begin if section.kind == "random" else solution_from(problem, begin)


def solution_from(problem: Problem, begin: FloatArray) -> FloatArray:
    """The limit of gradient flow from a point; experiments that share it compute it once in each process."""
    key = problem.fingerprint, begin.tobytes()
    found = _SOLUTIONS.pop(key, None)
    _SOLUTIONS[key] = gradient_flow(problem, begin) if found is None else found
    if len(_SOLUTIONS) > MOST_SOLUTIONS:
        del _SOLUTIONS[next(iter(_SOLUTIONS))]
    return _SOLUTIONS[key].copy()


def _random(section: StartSection, problem: Problem) -> FloatArray:
    scale = section.size
    if isinstance(problem, Perceptron):
        return problem.random_start(section.seed, scale)
    own: Any = getattr(problem, "theta0", None)  # of a torch network, drawn by PyTorch
    if own is not None:
        return np.asarray(own)
    return scale * np.random.default_rng(section.seed).standard_normal(problem.n_params)
