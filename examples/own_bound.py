"""
A bound of your own
===================

Two conjectures about the gap between mini-batch sharpness and sharpness: one that holds, and one that does not.

gap_b = E_B λ_max(H_B) − λ_max(H), and c_b is the variance of a batch mean in units of that of one sample. `check_bound`
tries a bound on problems and schemes in the nasty corners and returns the smallest counterexample, or how tight it is.

Run this file: python examples/own_bound.py
"""

# sphinx_gallery_thumbnail_path = "../figures/output/gap.png"
from __future__ import annotations

import math

import numpy as np

import esssim as es


def at_most_the_gap_of_one_sample(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    """Conjecture: gap_b ≤ gap₁. A larger batch is a mean of smaller ones, and λ_max is convex."""
    return es.minibatch_sharpness(problem, theta, es.WithoutReplacement(1)).value


def falls_like_a_standard_deviation(problem: es.Problem, theta: np.ndarray, sampling: es.Sampling) -> float:
    """Conjecture: gap_b ≤ √c_b·gap₁, as the noise of a mean falls."""
    sharpness = es.sharpness(problem, theta)
    gap = es.minibatch_sharpness(problem, theta, es.WithoutReplacement(1)).value - sharpness
    return sharpness + math.sqrt(sampling.variance_coefficient(problem.n_samples)) * gap


if __name__ == "__main__":
    print(es.testing.check_bound(at_most_the_gap_of_one_sample))
    print(es.testing.check_bound(falls_like_a_standard_deviation))
