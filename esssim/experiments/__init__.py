"""Experiments: what is run. A frozen configuration, TOML in and out, one fingerprint, one Dataset of records."""

from esssim.experiments.above_the_edge import StartAboveTheEdge
from esssim.experiments.base import Configuration, from_toml, run_once
from esssim.experiments.cross_entropy import CrossEntropyRamp
from esssim.experiments.dropout import DropoutRamp
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.escapes import EscapeExperiment
from esssim.experiments.experiment import FOLLOWED, Experiment
from esssim.experiments.flow import FlowExperiment
from esssim.experiments.grid import Grid
from esssim.experiments.growth import GrowingEnsemble
from esssim.experiments.measures import MEASURES
from esssim.experiments.network_flow import NetworkFlow
from esssim.experiments.networks import NetworkExperiment
from esssim.experiments.ramp import LEVELS, RISE, RampExperiment, ramp_experiment, ramp_level
from esssim.experiments.self_stabilisation import SelfStabilisingDynamics
from esssim.experiments.sweeps import open, sweep
from esssim.experiments.training import TrainedPerceptron

__all__ = [
    "FOLLOWED",
    "LEVELS",
    "MEASURES",
    "RISE",
    "Configuration",
    "ConfigurationError",
    "CrossEntropyRamp",
    "DropoutRamp",
    "EscapeExperiment",
    "Experiment",
    "FlowExperiment",
    "Grid",
    "GrowingEnsemble",
    "NetworkExperiment",
    "NetworkFlow",
    "RampExperiment",
    "SelfStabilisingDynamics",
    "StartAboveTheEdge",
    "TrainedPerceptron",
    "from_toml",
    "open",
    "ramp_experiment",
    "ramp_level",
    "run_once",
    "sweep",
]
