"""λ_max of the mean of all per-sample Hessians, by the structure of the curvature."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from esssim.curvature import BlockCurvature, Curvature, LowRankCurvature, OperatorCurvature
from esssim.spectra.dense import largest_eigenvalue, top_of_symmetric
from esssim.spectra.lanczos import lanczos_largest_eigenvalue
from esssim.spectra.largest import largest_eigenvalues

# Above this many parameters, forming and decomposing a p×p matrix loses to Lanczos on the structured form.
DENSE_LIMIT = 1500
# λ_max of a matrix of this size takes a few milliseconds.
QUICK_SIZE = 300


@singledispatch
def mean_largest_eigenvalue(curvature: Curvature) -> float:
    """λ_max(H), H the mean of all Hᵢ: of a p×p matrix unless the structure knows better."""
    scale = curvature.scale()
    return largest_eigenvalue(curvature.scaled(scale).mean()) * scale


@mean_largest_eigenvalue.register
def _(curvature: LowRankCurvature) -> float:
    n, p = curvature.n_samples, curvature.n_params
    if curvature.is_rank_one and n < p:
        return _as_one_batch(curvature)
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    if p <= DENSE_LIMIT:
        matrix = scaled.mean()
        # Symmetric by structure: only what is not finite is left for the checks to refuse.
        return (top_of_symmetric if np.isfinite(matrix.sum()) else largest_eigenvalue)(matrix) * scale
    diagonal = 0.0 if scaled.diagonals is None else scaled.diagonals.mean(axis=0)
    value, _ = lanczos_largest_eigenvalue(lambda v: diagonal * v + scaled.factors.T @ (scaled.factors @ v) / n, p)
    return value * scale


@mean_largest_eigenvalue.register
def _(curvature: BlockCurvature) -> float:
    few = curvature.n_samples * curvature.n_rows < curvature.n_params
    return _as_one_batch(curvature) if few else mean_largest_eigenvalue.dispatch(Curvature)(curvature)


@mean_largest_eigenvalue.register
def _(curvature: OperatorCurvature) -> float:
    return _as_one_batch(curvature)


def _as_one_batch(curvature: Curvature) -> float:
    return float(largest_eigenvalues(curvature, np.arange(curvature.n_samples)[None])[0])


@singledispatch
def mean_costs_little(curvature: Curvature, n_batches: int, batch_size: int) -> bool:
    """Whether λ_max(H) takes milliseconds, or a twentieth of the time of the λ_max(H_B) of so many batches."""
    smaller, p = min(curvature.n_samples, curvature.n_params), curvature.n_params
    return smaller <= QUICK_SIZE or 20 * smaller**3 <= n_batches * min(batch_size, p) ** 3


@mean_costs_little.register
def _(curvature: OperatorCurvature, n_batches: int, batch_size: int) -> bool:
    return 20 * curvature.n_samples <= n_batches * batch_size
