"""esssim: the stability of stochastic gradient descent, in numbers one can trust.

A problem and a sampling scheme go in; exact or honestly estimated statistics, thresholds and trajectories come out.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esssim import (
        bridge,
        claims,
        curvature,
        data,
        experiments,
        flow,
        gap,
        measure,
        moments,
        papers,
        plots,
        problems,
        sampling,
        settling,
        spectra,
        stability,
        statistics,
        testing,
    )
    from esssim._errors import Undefined
    from esssim.adaptive import Adam, RMSProp
    from esssim.dropout import Dropout
    from esssim.gradient_noise import DiagonalNoise, GradientNoise, IsotropicNoise
    from esssim.problems import DiagonalLinearNetwork, LinearRegression, Perceptron, Problem, Quadratic
    from esssim.random_weights import FullOrSingle, GaussianWeights, RandomWeights, ThreePointWeights, TwoPointWeights
    from esssim.sampling import Reshuffled, Sampling, WithoutReplacement, WithReplacement
    from esssim.sharpness_aware import SharpnessAware
    from esssim.simulation import Ramp, gradient_flow, simulate
    from esssim.statistics import (
        Estimate,
        HeavyTailWarning,
        Statistic,
        batch_sharpness,
        critical_sharpness,
        gradient_along_top,
        gradient_noise_interaction,
        interaction_aware_sharpness,
        mean_square_sharpness,
        minibatch_critical_sharpness,
        minibatch_sharpness,
        minibatch_top_eigenvalues,
        momentum_batch_sharpness,
        one_step_loss_change,
        sharpness,
        top_eigenvalues,
    )
    from esssim.store import load, save
    from esssim.zeroth_order import ZerothOrder

__version__ = "0.1.0"

_HOMES = {
    "_errors": ("Undefined",),
    "adaptive": ("Adam", "RMSProp"),
    "dropout": ("Dropout",),
    "gradient_noise": ("DiagonalNoise", "GradientNoise", "IsotropicNoise"),
    "problems": ("DiagonalLinearNetwork", "LinearRegression", "Perceptron", "Problem", "Quadratic"),
    "random_weights": ("FullOrSingle", "GaussianWeights", "RandomWeights", "ThreePointWeights", "TwoPointWeights"),
    "sampling": ("Reshuffled", "Sampling", "WithReplacement", "WithoutReplacement"),
    "statistics": (
        "Estimate",
        "HeavyTailWarning",
        "Statistic",
        "batch_sharpness",
        "critical_sharpness",
        "gradient_along_top",
        "gradient_noise_interaction",
        "interaction_aware_sharpness",
        "mean_square_sharpness",
        "minibatch_critical_sharpness",
        "minibatch_sharpness",
        "minibatch_top_eigenvalues",
        "momentum_batch_sharpness",
        "one_step_loss_change",
        "sharpness",
        "top_eigenvalues",
    ),
    "simulation": ("Ramp", "gradient_flow", "simulate"),
    "store": ("load", "save"),
    "sharpness_aware": ("SharpnessAware",),
    "zeroth_order": ("ZerothOrder",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_SUBMODULES = (
    "bridge",
    "claims",
    "curvature",
    "data",
    "experiments",
    "flow",
    "gap",
    "measure",
    "moments",
    "papers",
    "plots",
    "problems",
    "sampling",
    "settling",
    "spectra",
    "stability",
    "statistics",
    "testing",
)

__all__ = [
    "Adam",
    "DiagonalLinearNetwork",
    "DiagonalNoise",
    "Dropout",
    "Estimate",
    "FullOrSingle",
    "GaussianWeights",
    "GradientNoise",
    "HeavyTailWarning",
    "IsotropicNoise",
    "LinearRegression",
    "Perceptron",
    "Problem",
    "Quadratic",
    "RMSProp",
    "Ramp",
    "RandomWeights",
    "Reshuffled",
    "Sampling",
    "SharpnessAware",
    "Statistic",
    "ThreePointWeights",
    "TwoPointWeights",
    "Undefined",
    "WithReplacement",
    "WithoutReplacement",
    "ZerothOrder",
    "batch_sharpness",
    "bridge",
    "claims",
    "critical_sharpness",
    "curvature",
    "data",
    "experiments",
    "flow",
    "gap",
    "gradient_along_top",
    "gradient_flow",
    "gradient_noise_interaction",
    "interaction_aware_sharpness",
    "load",
    "mean_square_sharpness",
    "measure",
    "minibatch_critical_sharpness",
    "minibatch_sharpness",
    "minibatch_top_eigenvalues",
    "moments",
    "momentum_batch_sharpness",
    "one_step_loss_change",
    "papers",
    "plots",
    "problems",
    "sampling",
    "save",
    "settling",
    "sharpness",
    "simulate",
    "spectra",
    "stability",
    "statistics",
    "testing",
    "top_eigenvalues",
]


def __getattr__(name: str) -> Any:
    """Import on first use: `import esssim` itself takes milliseconds, numba and xarray come with what needs them."""
    if name in _SUBMODULES:
        return import_module(f"esssim.{name}")
    if name in _HOME_OF:
        value = getattr(import_module(f"esssim.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'esssim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
