"""Exact first and second moments of SGD where the losses are quadratic: every step, and where they settle."""

from esssim.moments.dynamics import evolve
from esssim.moments.stationary import stationary_covariance

__all__ = ["evolve", "stationary_covariance"]
