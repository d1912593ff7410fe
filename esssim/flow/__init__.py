"""Stochastic central flow: the slow drift of SGD along the solutions of a least-squares problem, and its levels."""

from esssim.flow.rivals import central_flow, edge_flow, rod_flow
from esssim.flow.settled import levels
from esssim.flow.solve import RECORDS, solve

__all__ = ["RECORDS", "central_flow", "edge_flow", "levels", "rod_flow", "solve"]
