"""Watching a training loop of one's own: `Monitor`, and where its records go.

`esssim.bridge.monitor.lightning` has a `MonitorCallback`.
"""

from esssim.bridge.monitor.monitor import Monitor
from esssim.bridge.monitor.writers import CsvWriter, TensorBoardWriter

__all__ = ["CsvWriter", "Monitor", "TensorBoardWriter"]
