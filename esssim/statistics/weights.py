"""What one sample can add to λ_max(H_B): bounds on |λ|_max(Hᵢ) that cost less than the eigenvalues."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from esssim.curvature import BlockCurvature, Curvature, LowRankCurvature, OperatorCurvature
from esssim.statistics.shares import Weights

# Products with every Hᵢ that a curvature of products is asked for, and the least weight of a sample, in means.
PROBES, LEAST = 4, 0.1
# Samples in batches for which one product with a single sample costs a twentieth of their eigenvalues.
WORTH_A_PROBE = 20


@singledispatch
def sample_weights(curvature: Curvature, work: int) -> Weights | None:
    """wᵢ ≥ |λ|_max(Hᵢ), (n,): ‖aᵢ‖² + max|dᵢ| of diagonal plus rank one, tr Hᵢ of rows, otherwise ‖Hᵢ‖_F.

    Curvatures of products: an estimate of ‖Hᵢ‖_F/√p from a few random vectors, where n of each costs little beside the
    `work` = n_batches·b of the batches; None where it does not.
    """
    return Weights(np.sqrt(curvature.squared_norms()))


@sample_weights.register
def _(curvature: LowRankCurvature, work: int) -> Weights:
    squares = (curvature.factors**2).sum(axis=1)
    if curvature.diagonals is None:
        return Weights(squares, sandwiched=True)
    return Weights(squares + np.abs(curvature.diagonals).max(axis=1))


@sample_weights.register
def _(curvature: BlockCurvature, work: int) -> Weights:
    return Weights(curvature.traces())


@sample_weights.register
def _(curvature: OperatorCurvature, work: int) -> Weights | None:
    if WORTH_A_PROBE * PROBES * curvature.n_samples > work:
        return None
    vectors = np.random.default_rng(0).standard_normal((PROBES, curvature.n_params))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    norms = np.linalg.norm([curvature.images(vector) for vector in vectors], axis=(0, 2))
    return Weights(np.maximum(norms, LEAST * norms.mean()))
