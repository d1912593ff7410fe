"""The Tracy–Widom law of real symmetric matrices (β = 1), which no library on current numpy has."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.special import airy

from esssim import _validate
from esssim._validate import FloatArray

# Ai(x/2 + s) is below 1e-16 where x/2 + s is above this; the law itself is below 1e-13 left of −9.
NEGLIGIBLE, LOWEST = 11.0, -9.0
NODES = 64


def tracy_widom_density(points: npt.ArrayLike) -> FloatArray:
    """F₁'(s) of F₁(s) = det(I − V_s), V_s(x, y) = ½Ai((x+y)/2 + s) on L²(0, ∞): F₁' = −F₁ tr((I − V_s)⁻¹ dV_s/ds).

    The law of λ_max for large Gaussian matrices in units of `spectral_edge`'s scale from its value; mean −1.2065,
    standard deviation 1.2680. points: s, (m,). Returns densities (m,); Gauss–Legendre, to 1e-11. Raises ValueError for
    points that are not finite. Source: Ferrari & Spohn, J. Phys. A 2005; Bornemann, Math. Comp. 2010.
    """
    s = _validate.real_array("points", points, ("m",))
    return np.array([_density(float(point)) if LOWEST < point < NEGLIGIBLE else 0.0 for point in s])


def _density(s: float) -> float:
    nodes, weights = _legendre()
    length = 2 * (NEGLIGIBLE - s)
    x, root = (nodes + 1) * length / 2, np.sqrt(weights * length / 2)
    value, slope, _, _ = airy((x[:, None] + x) / 2 + s)
    around = np.eye(NODES) - root[:, None] * value / 2 * root
    change = root[:, None] * slope / 2 * root
    return float(-np.linalg.det(around) * np.trace(np.linalg.solve(around, change)))


@cache
def _legendre() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    return nodes, weights
