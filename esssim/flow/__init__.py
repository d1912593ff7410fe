"""Stochastic central flow: the slow drift of SGD along the solutions of a least-squares problem."""

from esssim.flow.solve import STATISTICS, solve

__all__ = ["STATISTICS", "solve"]
