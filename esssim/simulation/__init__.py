"""Monte Carlo: ensembles of SGD runs with statistics recorded along the way."""

from esssim.simulation.descent import gradient_flow
from esssim.simulation.ensemble import simulate
from esssim.simulation.schedule import Ramp
from esssim.statistics.table import STATISTICS

__all__ = ["STATISTICS", "Ramp", "gradient_flow", "simulate"]
