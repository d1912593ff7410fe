"""Past perturbation theory: a cluster of top eigenvalues that the batches mix.

On the span of the r top eigenvectors H_B = Λ + D_B is taken as Gaussian with the covariance that the samples give, and
the other eigenvectors to second order. r = 1 is second-order perturbation theory, a cluster of equal eigenvalues the
degenerate limit: one formula joins both.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.gap.results import Prediction
from esssim.gap.setting import LARGEST_CLUSTER, Setting
from esssim.problems import Problem
from esssim.sampling import Sampling

# Fluctuation against the distance to the eigenvalues outside the cluster, up to which those count to second order.
LARGEST_LEAK = 0.25
N_DRAWS = 2048


@one_blas_thread()
def crossover(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """gap ≈ E λ_max(Λ + Δ + √c·G) − λ₁, G a Gaussian r×r matrix with the covariance of the samples' VᵀDᵢV.

    V: the r top eigenvectors; Δ_jl = c·mean Σ_{m>r} D_jm D_ml/(½(λⱼ+λ_l) − λ_m), their coupling to the others; skewness
    enters to first order (Edgeworth): weights 1 + (c₃/(6c^{3/2}))·mean He₃(uᵢ·z), uᵢ the whitened samples.
    r is the smallest with a leak (fluctuation against the distance to λ_{r+1}) of at most 0.25, at most 14.
    The mean is over 2048 fixed normal draws, antithetic, less their linear part, whose mean is 0.

    error: the standard error of that mean ×3 + half of the skewness term + 2·leak·tr Δ/r + the kurtosis term.
    theta: (p,). Raises ValueError for bad arguments.
    """
    return crossover_at(Setting.of(problem, theta, sampling))


@one_blas_thread()
def degenerate(problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Prediction:
    """The limit of equal top eigenvalues: gap ≈ √c·E λ_max(G), G as in `crossover` on the cluster.

    Valid where the spread of the cluster is at most a tenth of the fluctuation in it, and the leak out of it is at most
    0.25: then α = ½. error: the spread, and the error of the crossover. theta: (p,). Raises ValueError for bad
    arguments.
    """
    s = Setting.of(problem, theta, sampling)
    found = _smallest_cluster(s)
    if found is None:
        return Prediction.refused("degenerate limit", _no_cluster())
    r, _leak = found
    spread = s.sharpness - float(s.eigenvalues[r - 1])
    size = _fluctuation_in(s, r)
    if r == 1 or spread > 0.1 * size:
        return Prediction.refused(
            "degenerate limit", "needs top eigenvalues within a tenth of the fluctuation, their spread is "
                                f"{spread / size:.3g} of it"
            if size > 0 else "needs samples that differ",
        )  # fmt: skip
    gaussian = _Cluster(s, r)
    tops = gaussian.tops(np.zeros((r, r)))
    value, noise, skewness = gaussian.mean(tops)
    error = 3 * noise + abs(skewness) + spread + gaussian.kurtosis_term * value
    return s.predicted(
        "degenerate limit", value, error, f"{r} top eigenvalues within {spread / size:.2g} of the fluctuation"
    )


def crossover_at(s: Setting) -> Prediction:
    """`crossover` of a setting."""
    if s.c == 0.0 or s.p == 1:
        return s.predicted("crossover", 0.0, 0.0, "one parameter, or the full batch: no gap")
    found = _smallest_cluster(s)
    if found is None:
        return Prediction.refused("crossover", _no_cluster())
    r, leak = found
    gaussian = _Cluster(s, r)
    shift = _coupling(s, r)
    tops = gaussian.tops(np.diag(s.eigenvalues[:r] - s.sharpness) + shift)
    value, noise, skewness = gaussian.mean(tops)
    error = 3 * noise + abs(skewness) / 2 + 2 * leak * float(np.trace(shift)) / r + gaussian.kurtosis_term * value
    if error > value:
        return Prediction.refused("crossover", f"its error {error * s.unit:.3g} exceeds its value {value * s.unit:.3g}")
    return s.predicted("crossover", value, error, f"a cluster of {r} with a leak of {leak:.2g}")


class _Cluster:
    """Normal draws of the r×r fluctuation √c·G, with their Edgeworth weights."""

    def __init__(self, s: Setting, r: int) -> None:
        self.r, self.s = r, s
        basis = np.ascontiguousarray(s.eigenvectors[:, :r])
        deviations = s.curvature.compressed(basis) - np.diag(s.eigenvalues[:r])
        self.upper = np.triu_indices(r)
        entries = deviations[:, *self.upper]
        variances, axes = np.linalg.eigh(entries.T @ entries / s.n)
        keep = variances > 1e-10 * variances[-1]
        self.whitened = entries @ (axes[:, keep] / np.sqrt(variances[keep]))
        draws = _normals(self.whitened)
        self.normals = np.concatenate((draws, -draws))
        self.entries = math.sqrt(s.c) * (self.normals * np.sqrt(variances[keep])) @ axes[:, keep].T

    def tops(self, mean: FloatArray) -> FloatArray:
        """λ_max(mean + √c·G) of each draw."""
        matrices = np.zeros((len(self.entries), self.r, self.r))
        matrices[:, *self.upper] = self.entries
        lower = matrices.transpose(0, 2, 1) * (1 - np.eye(self.r))
        return np.asarray(np.linalg.eigvalsh(matrices + lower + mean)[:, -1])

    def mean(self, tops: FloatArray) -> tuple[float, float, float]:
        """The mean with skewness, the standard error of it, and the part of the skewness."""
        # Linear functions have mean 0, with the Edgeworth weights as without: taking them away only takes away noise.
        reduced = tops - self.normals @ np.linalg.lstsq(self.normals, tops, rcond=None)[0]
        # He₃(uᵢ·z) = (uᵢ·z)³ − 3(uᵢ·z)‖uᵢ‖², of which the second term is linear.
        along = self.normals[: N_DRAWS // 2] @ self.whitened.T
        half = np.einsum("mi,mi,mi->m", along, along, along) / self.s.n
        # The other half are the same draws with the other sign.
        cubes = np.concatenate((half, -half))
        weights = cubes * (self.s.c3 / (6 * self.s.c**1.5))
        weighted = reduced * (1 + weights)
        pairs = weighted[: N_DRAWS // 2] + weighted[N_DRAWS // 2 :]
        noise = float(pairs.std(ddof=1)) / 2 / math.sqrt(N_DRAWS // 2)
        return float(weighted.mean()), noise, float((reduced * weights).mean())

    @property
    def kurtosis_term(self) -> float:
        """|excess kurtosis| of the whitened samples per dimension, over 8b: the next Edgeworth term in relative
        size.
        """
        k = self.whitened.shape[1]
        if k == 0:
            return 0.0
        kurtosis = float(((self.whitened**2).sum(axis=1) ** 2).mean()) / (k * (k + 2)) - 1
        return abs(kurtosis) * self.s.c / 8


def _normals(whitened: FloatArray) -> FloatArray:
    """Standard normals (N_DRAWS/2, k) in the coordinates of the whitened samples (n, k), for any basis of their span.

    An eigensolver leaves the signs of its vectors, and the basis among equal eigenvalues, to the last bit. Coordinates
    of a frame that the samples alone determine, the polar factor of fixed random mixtures of them, do not depend on it.
    """
    rng, (n, k) = np.random.default_rng(0), whitened.shape
    left, _, right = np.linalg.svd(rng.standard_normal((2 * k, n)) @ whitened, full_matrices=False)
    return np.asarray(rng.standard_normal((N_DRAWS // 2, 2 * k)) @ left @ right)


def _smallest_cluster(s: Setting) -> tuple[int, float] | None:
    """(r, leak) of the smallest cluster that is clear of the rest."""
    for r in range(1, min(s.p, LARGEST_CLUSTER) + 1):
        if r == s.p:
            return r, 0.0
        distance = s.sharpness - float(s.eigenvalues[r])
        if distance > s.rounding:
            leak = _fluctuation_in(s, r + 1) / distance
            if leak <= LARGEST_LEAK:
                return r, leak
    return None


def _fluctuation_in(s: Setting, r: int) -> float:
    """√(c·mean ‖VᵀDᵢV‖_F²/r): the size of an eigenvalue of the fluctuation among the r top eigenvectors."""
    return math.sqrt(s.c * float(s.scatter_among_top[r - 1]) / r)


def _coupling(s: Setting, r: int) -> FloatArray:
    """Δ, (r, r)."""
    shift = np.zeros((r, r))
    if r == s.p:
        return shift
    vectors, outside = s.eigenvectors, s.eigenvalues[r:]
    images = [s.curvature.images(np.ascontiguousarray(vectors[:, j])) @ vectors[:, r:] for j in range(r)]
    for j in range(r):
        for k in range(j + 1):
            distance = (s.eigenvalues[j] + s.eigenvalues[k]) / 2 - outside
            # The last of a cluster may equal the next outside; neither is near the top.
            distance[distance <= s.rounding] = np.inf
            shift[j, k] = shift[k, j] = s.c * float(((images[j] * images[k]).mean(axis=0) / distance).sum())
    return shift


def _no_cluster() -> str:
    needs = f"needs at most {LARGEST_CLUSTER} top eigenvalues that are clear of the others"
    return f"{needs}: a leak of at most {LARGEST_LEAK:g}"
