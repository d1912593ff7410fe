"""Monte Carlo: ensembles of SGD runs with statistics recorded along the way."""

from esssim.simulation.ensemble import simulate
from esssim.simulation.flow import gradient_flow
from esssim.simulation.recorder import STATISTICS
from esssim.simulation.schedule import Ramp

__all__ = ["STATISTICS", "Ramp", "gradient_flow", "simulate"]
