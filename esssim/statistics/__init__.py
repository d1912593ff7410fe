"""Statistics of the mini-batch Hessians at a point; each is compared with the edge 2/η."""

from esssim._errors import Undefined
from esssim.statistics.critical import critical_sharpness, minibatch_critical_sharpness
from esssim.statistics.descent import gradient_along_top, one_step_loss_change
from esssim.statistics.estimate import ENUMERATION_LIMIT
from esssim.statistics.leading import minibatch_top_eigenvalues, top_eigenvalues
from esssim.statistics.mean_square import Enclosure, mean_square_sharpness
from esssim.statistics.minibatch import batch_sharpness, minibatch_sharpness
from esssim.statistics.momentum import momentum_batch_sharpness
from esssim.statistics.pointwise import gradient_noise_interaction, interaction_aware_sharpness, sharpness
from esssim.statistics.table import STATISTICS, Statistic
from esssim.statistics.uncertainty import Estimate, HeavyTailWarning

__all__ = [
    "ENUMERATION_LIMIT",
    "STATISTICS",
    "Enclosure",
    "Estimate",
    "HeavyTailWarning",
    "Statistic",
    "Undefined",
    "batch_sharpness",
    "critical_sharpness",
    "gradient_along_top",
    "gradient_noise_interaction",
    "interaction_aware_sharpness",
    "mean_square_sharpness",
    "minibatch_critical_sharpness",
    "minibatch_sharpness",
    "minibatch_top_eigenvalues",
    "momentum_batch_sharpness",
    "one_step_loss_change",
    "sharpness",
    "top_eigenvalues",
]
