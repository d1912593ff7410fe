"""Stochastic central flow: the slow drift of SGD along the solutions of a least-squares problem, and its levels."""

from esssim.flow.settled import levels
from esssim.flow.solve import RECORDS, solve

__all__ = ["RECORDS", "levels", "solve"]
