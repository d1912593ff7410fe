"""The top of M ↦ C⁻¹D(M) for a step with matrices of mean K̄, C(M) = ½(K̄M + MK̄), and any D that is symmetric."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esssim._validate import FloatArray
from esssim.spectra import lanczos_from, lanczos_largest_eigenvalue
from esssim.statistics.perron import RANK_TOLERANCE

Moment = Callable[[FloatArray], FloatArray]
# Relative error of the top eigenmatrix, whose square is that of the value.
TOLERANCE = 1e-6
# Up to so many entries of M the dense route costs nothing.
FEW = 64


def top_of_pencil_of(mean: FloatArray, second_moment: Moment) -> float:
    """λ_max of C⁻¹D, by the symmetric C^{−½}DC^{−½} in the eigenbasis of K̄ = `mean` (r, r)."""
    eigenvalues, basis = np.linalg.eigh(mean)
    keep = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    eigenvalues, basis = eigenvalues[keep], basis[:, keep]
    rank, weight = len(eigenvalues), np.sqrt(2 / (eigenvalues[:, None] + eigenvalues))

    def apply(vector: FloatArray) -> FloatArray:
        matrix = weight * vector.reshape(rank, rank)
        image = second_moment(basis @ (matrix + matrix.T) @ basis.T / 2)
        return np.asarray(weight * (basis.T @ image @ basis)).ravel()

    first = np.eye(rank).ravel()
    if rank == 1:
        return float(apply(first)[0])
    if rank**2 <= FEW:
        return lanczos_largest_eigenvalue(apply, rank**2, start=first, inside=True)[0]
    vector = lanczos_from(first, apply, TOLERANCE, inside=True)
    return float(vector @ apply(vector))
