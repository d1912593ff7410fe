"""The gap between the mini-batch sharpness and the sharpness: bounds that always hold, and predictions."""

from esssim.gap.bounds import bounds, mean_square_bounds, top_eigenvalue_variance_bound
from esssim.gap.model import Bound, Bounds, Prediction

__all__ = ["Bound", "Bounds", "Prediction", "bounds", "mean_square_bounds", "top_eigenvalue_variance_bound"]
