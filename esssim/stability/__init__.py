"""Stability of SGD at a point: edges, critical step sizes and Lyapunov exponents, with momentum."""

from esssim.stability.critical import critical_step_size
from esssim.stability.edges import edge, small_batch_edge
from esssim.stability.lyapunov import Threshold, almost_sure_threshold, lyapunov_exponent

__all__ = [
    "Threshold",
    "almost_sure_threshold",
    "critical_step_size",
    "edge",
    "lyapunov_exponent",
    "small_batch_edge",
]
