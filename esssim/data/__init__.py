"""Data: seeded ensembles whose spectrum is known, real tables, and one's own."""

from esssim.data.dataset import Data, interpolating_targets
from esssim.data.ensembles import gaussian, orthogonal, power_law, spiked, two_clusters
from esssim.data.tables import load, read_table

__all__ = [
    "Data",
    "gaussian",
    "interpolating_targets",
    "load",
    "orthogonal",
    "power_law",
    "read_table",
    "spiked",
    "two_clusters",
]
