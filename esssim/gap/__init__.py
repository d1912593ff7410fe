"""The gap between the mini-batch sharpness and the sharpness: bounds that always hold, and predictions."""

from esssim.gap.bounds import bounds, mean_square_bounds, top_eigenvalue_variance_bound
from esssim.gap.cluster import crossover, degenerate
from esssim.gap.curve import curve
from esssim.gap.exact import exact
from esssim.gap.joint import joint
from esssim.gap.perturbation import second_order, third_order
from esssim.gap.predict import predict, predictions, scaling_exponents
from esssim.gap.random_matrix import additive_noise, marchenko_pastur, outlier, spectral_edge, spike
from esssim.gap.results import Bound, Bounds, Prediction
from esssim.gap.sample import ConfidenceBounds, confidence_bounds
from esssim.gap.tracy_widom import tracy_widom_density

__all__ = [
    "Bound",
    "Bounds",
    "ConfidenceBounds",
    "Prediction",
    "additive_noise",
    "bounds",
    "confidence_bounds",
    "crossover",
    "curve",
    "degenerate",
    "exact",
    "joint",
    "marchenko_pastur",
    "mean_square_bounds",
    "outlier",
    "predict",
    "predictions",
    "scaling_exponents",
    "second_order",
    "spectral_edge",
    "spike",
    "third_order",
    "top_eigenvalue_variance_bound",
    "tracy_widom_density",
]
