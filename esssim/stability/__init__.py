"""Stability of SGD at a point: edges, critical step sizes and Lyapunov exponents, with momentum."""

from esssim.stability.critical import critical_step_size
from esssim.stability.diagram import diagram
from esssim.stability.dropout import dropout_step_size
from esssim.stability.edges import edge, small_batch_edge
from esssim.stability.escape import EscapeProbability, escape_probability
from esssim.stability.lyapunov import Threshold, almost_sure_threshold, lyapunov_exponent
from esssim.stability.optimisers import preconditioned_step_size, zeroth_order_step_size
from esssim.stability.published import (
    HeavyBallEnds,
    SelfStabilisation,
    heavy_ball_ends,
    interaction_aware_step_size,
    noise_kernel_norm,
    noise_kernel_step_size,
    self_stabilisation,
)
from esssim.stability.sharpness_aware import sharpness_aware_edge, sharpness_aware_step_size
from esssim.stability.sufficient import (
    alignment_step_size,
    coherence_step_size,
    contraction_step_size,
    scalar_closure_step_size,
)

__all__ = [
    "EscapeProbability",
    "HeavyBallEnds",
    "SelfStabilisation",
    "Threshold",
    "alignment_step_size",
    "almost_sure_threshold",
    "coherence_step_size",
    "contraction_step_size",
    "critical_step_size",
    "diagram",
    "dropout_step_size",
    "edge",
    "escape_probability",
    "heavy_ball_ends",
    "interaction_aware_step_size",
    "lyapunov_exponent",
    "noise_kernel_norm",
    "noise_kernel_step_size",
    "preconditioned_step_size",
    "scalar_closure_step_size",
    "self_stabilisation",
    "sharpness_aware_edge",
    "sharpness_aware_step_size",
    "small_batch_edge",
    "zeroth_order_step_size",
]
