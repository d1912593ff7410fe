"""Stability of SGD at a point: edges, critical step sizes and Lyapunov exponents, with momentum."""

from esssim.stability.critical import critical_step_size
from esssim.stability.diagram import diagram
from esssim.stability.edges import edge, small_batch_edge
from esssim.stability.lyapunov import Threshold, almost_sure_threshold, lyapunov_exponent
from esssim.stability.published import (
    HeavyBallEnds,
    SelfStabilisation,
    heavy_ball_ends,
    interaction_aware_step_size,
    noise_kernel_norm,
    noise_kernel_step_size,
    self_stabilisation,
)

__all__ = [
    "HeavyBallEnds",
    "SelfStabilisation",
    "Threshold",
    "almost_sure_threshold",
    "critical_step_size",
    "diagram",
    "edge",
    "heavy_ball_ends",
    "interaction_aware_step_size",
    "lyapunov_exponent",
    "noise_kernel_norm",
    "noise_kernel_step_size",
    "self_stabilisation",
    "small_batch_edge",
]
