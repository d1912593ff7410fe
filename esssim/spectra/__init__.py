"""Largest eigenvalues of mini-batch Hessians: the structure of the curvature picks the algorithm."""

from esssim.spectra.batched_lanczos import TopPairs, lanczos_top_pairs
from esssim.spectra.dense import largest_eigenvalue
from esssim.spectra.gram import gram_largest_eigenvalues
from esssim.spectra.lanczos import lanczos_from, lanczos_largest_eigenvalue
from esssim.spectra.largest import largest_eigenvalues, prepare
from esssim.spectra.leading import continued_pairs, leading_pairs
from esssim.spectra.mean import mean_costs_little, mean_largest_eigenvalue
from esssim.spectra.secular import diagonal_plus_low_rank_largest_eigenvalues

__all__ = [
    "TopPairs",
    "continued_pairs",
    "diagonal_plus_low_rank_largest_eigenvalues",
    "gram_largest_eigenvalues",
    "lanczos_from",
    "lanczos_largest_eigenvalue",
    "lanczos_top_pairs",
    "largest_eigenvalue",
    "largest_eigenvalues",
    "leading_pairs",
    "mean_costs_little",
    "mean_largest_eigenvalue",
    "prepare",
]
