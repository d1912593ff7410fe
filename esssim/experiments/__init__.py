"""Experiments: what is run. A frozen configuration, TOML in and out, one fingerprint, one Dataset of records."""

from esssim.experiments.base import Configuration, from_toml
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.experiment import FOLLOWED, Experiment
from esssim.experiments.flow import FlowExperiment
from esssim.experiments.grid import Grid
from esssim.experiments.measures import MEASURES
from esssim.experiments.network_flow import NetworkFlow
from esssim.experiments.networks import NetworkExperiment
from esssim.experiments.ramp import LEVELS, RISE, RampExperiment, ramp_experiment, ramp_level, run_ramp
from esssim.experiments.sweeps import open, sweep

__all__ = [
    "FOLLOWED",
    "LEVELS",
    "MEASURES",
    "RISE",
    "Configuration",
    "ConfigurationError",
    "Experiment",
    "FlowExperiment",
    "Grid",
    "NetworkExperiment",
    "NetworkFlow",
    "RampExperiment",
    "from_toml",
    "open",
    "ramp_experiment",
    "ramp_level",
    "run_ramp",
    "sweep",
]
