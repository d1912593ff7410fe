"""The Hessians of a problem at a point, one file per structure; the structure picks the algorithms of
`esssim.spectra`.
"""

from esssim.curvature.base import Curvature
from esssim.curvature.blocks import BlockCurvature
from esssim.curvature.dense import DenseCurvature
from esssim.curvature.low_rank import LowRankCurvature
from esssim.curvature.operator import OperatorCurvature

__all__ = ["BlockCurvature", "Curvature", "DenseCurvature", "LowRankCurvature", "OperatorCurvature"]
