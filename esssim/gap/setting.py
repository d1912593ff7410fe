"""What every formula of the gap needs about the per-sample Hessians at one point, computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from esssim._validate import FloatArray, IntArray
from esssim.curvature import Curvature
from esssim.curvature.scale import CHUNK_NUMBERS
from esssim.gap.results import Prediction
from esssim.problems import Problem, check_problem
from esssim.random_weights import RandomWeights
from esssim.sampling import Sampling, WithReplacement, check_sampling
from esssim.spectra import largest_eigenvalues

EPS = float(np.finfo(np.float64).eps)
# |aᵢ·aⱼ| ≤ this·‖aᵢ‖‖aⱼ‖ counts as orthogonal.
ORTHOGONAL = 1e-10
# Top eigenvalues that batches may mix.
LARGEST_CLUSTER = 14


@dataclass(frozen=True)
class Setting:
    """n per-sample Hessians Hᵢ in units of `unit`, a power of two near their largest entry, and a sampling scheme.

    Rank-one samples with n < p are taken on the n dimensions that they span; diagonals that are rounding count as zero.
    Dᵢ = Hᵢ − H; S = max ‖Hᵢ‖_F.
    """

    curvature: Curvature
    sampling: Sampling
    unit: float

    @classmethod
    def of(cls, problem: Problem, theta: npt.ArrayLike, sampling: Sampling) -> Setting:
        """ValueError for a theta of the wrong shape or with non-finite entries, and a batch size that does not fit."""
        check_problem(problem)
        point = problem.check_point(theta)
        check_sampling(sampling, problem.n_samples)
        if isinstance(sampling, RandomWeights):
            raise ValueError(f"sampling must draw batches for a gap, got {sampling!r}, which draws weights")
        curvature = problem.curvature(point)
        unit = curvature.scale()
        return cls(curvature.scaled(unit).without_rounded_zeros().without_null_space(), sampling, unit)

    def at(self, batch_size: int) -> Setting:
        """The same at another batch size, with what was computed so far that does not depend on it."""
        other = replace(self, sampling=type(self.sampling)(batch_size))
        kept = {name: value for name, value in vars(self).items() if name not in (*vars(other), "every_batch")}
        vars(other).update(kept)
        return other

    @property
    def n(self) -> int:
        return self.curvature.n_samples

    @property
    def p(self) -> int:
        return self.curvature.n_params

    @property
    def b(self) -> int:
        return self.sampling.batch_size

    @property
    def c(self) -> float:
        """Cov(H_B) = c · (1/n) Σᵢ Dᵢ⊗Dᵢ."""
        return self.sampling.variance_coefficient(self.n)

    @property
    def c3(self) -> float:
        """The third central moment of H_B is c₃ times that of one sample."""
        return self.sampling.third_moment_coefficient(self.n)

    @property
    def fourth(self) -> tuple[float, float]:
        """(c₄, c₂₂): E[a_B⊗⁴] of samples of mean zero is c₄ times that of one sample + c₂₂ times the three pairings of
        their covariance with itself (`theory/sharp_bounds.py`)."""
        n, b = self.n, self.b
        if self.with_replacement:
            return 1 / b**3, (b - 1) / b**3
        if b in (1, n - 1, n):
            return ((n - b) / b) ** 4 if n > 1 and b > 1 else float(n > 1), 0.0
        below = b**3 * (n - 1) * (n - 2) * (n - 3)
        return (n - b) * (n * (n + 1) - 6 * b * (n - b)) / below, n * (b - 1) * (n - b) * (n - b - 1) / below

    def mean_of_products(self, first: FloatArray, second: FloatArray) -> float:
        """E[‖x_B‖²‖y_B‖²] for samples of mean zero with Gram matrices ⟨xᵢ, xⱼ⟩ and ⟨yᵢ, yⱼ⟩, (n, n)."""
        own, pairs = self.fourth
        x, y = np.diagonal(first), np.diagonal(second)
        paired = float(x.mean()) * float(y.mean()) + 2 * float(np.vdot(first, second)) / self.n**2
        return own * float((x * y).mean()) + pairs * paired

    @property
    def with_replacement(self) -> bool:
        return isinstance(self.sampling, WithReplacement)

    @property
    def rank_one(self) -> bool:
        """Whether Hᵢ = aᵢaᵢᵀ by structure."""
        return self.curvature.is_rank_one

    @property
    def rows(self) -> FloatArray:
        """aᵢ of rank-one samples, (n, p)."""
        roots = self.curvature.square_roots()
        assert roots is not None
        return roots[:, 0]

    @cached_property
    def hessian(self) -> FloatArray:
        return self.curvature.mean()

    @cached_property
    def _eigen(self) -> tuple[FloatArray, FloatArray]:
        values, vectors = np.linalg.eigh(self.hessian)
        return values[::-1].copy(), np.ascontiguousarray(vectors[:, ::-1])

    @property
    def eigenvalues(self) -> FloatArray:
        """λ₁ ≥ λ₂ ≥ … of H, (p,)."""
        return self._eigen[0]

    @property
    def eigenvectors(self) -> FloatArray:
        """v₁, v₂, … as columns, (p, p)."""
        return self._eigen[1]

    @property
    def sharpness(self) -> float:
        return float(self.eigenvalues[0])

    @cached_property
    def top_deviations(self) -> FloatArray:
        """D₁ₖ = v₁ᵀ(Hᵢ−H)v_k for every sample, (n, p)."""
        images = self.curvature.images(np.ascontiguousarray(self.eigenvectors[:, 0])) @ self.eigenvectors
        images[:, 0] -= self.sharpness
        return images

    @cached_property
    def scatter_among_top(self) -> FloatArray:
        """mean ‖VᵀDᵢV‖_F² for the r top eigenvectors V, r = 1, 2, …, one more than a cluster may have."""
        r = min(self.p, LARGEST_CLUSTER + 1)
        basis = np.ascontiguousarray(self.eigenvectors[:, :r])
        deviations = self.curvature.compressed(basis) - np.diag(self.eigenvalues[:r])
        entries = (deviations**2).mean(axis=0)
        return np.diagonal(entries.cumsum(axis=0).cumsum(axis=1))

    @cached_property
    def rows_are_orthogonal(self) -> bool:
        """|aᵢ·aⱼ| ≤ 1e-10·‖aᵢ‖‖aⱼ‖ for all i ≠ j."""
        gram = np.abs(self.rows @ self.rows.T)
        lengths = np.sqrt(np.diagonal(gram))
        off_diagonal = gram - np.diag(np.diagonal(gram))
        return bool((off_diagonal <= ORTHOGONAL * lengths[:, None] * lengths).all())

    @cached_property
    def sample_sharpness(self) -> FloatArray:
        """λ_max(Hᵢ), (n,)."""
        return largest_eigenvalues(self.curvature, np.arange(self.n)[:, None])

    @cached_property
    def scatter(self) -> FloatArray:
        """‖Dᵢ‖_F² for every sample, (n,)."""
        # Differences first, squares then: ‖Hᵢ‖² − 2⟨Hᵢ,H⟩ + ‖H‖² would lose half of the digits.
        size = max(1, CHUNK_NUMBERS // self.p**2)
        chunks = []
        for start in range(0, self.n, size):
            matrices = self.curvature.batch_matrices(np.arange(start, min(start + size, self.n))[:, None])
            matrices -= self.hessian
            chunks.append(np.einsum("nij,nij->n", matrices, matrices))
        return np.concatenate(chunks)

    @cached_property
    def deviation_products(self) -> FloatArray:
        """⟨Dᵢ, Dⱼ⟩, (n, n)."""
        if self.rank_one:
            forms = self.curvature.inner_products(self.hessian)
            return (self.rows @ self.rows.T) ** 2 - forms[:, None] - forms + float((self.hessian**2).sum())
        matrices = self.curvature.batch_matrices(np.arange(self.n)[:, None]) - self.hessian
        return np.asarray(np.tensordot(matrices, matrices, ((1, 2), (1, 2))))

    @cached_property
    def norms(self) -> FloatArray:
        """‖Hᵢ‖_F, (n,)."""
        return np.sqrt(np.maximum(self.curvature.squared_norms(), 0.0))

    @property
    def largest_norm(self) -> float:
        """S = max ‖Hᵢ‖_F."""
        return float(self.norms.max())

    @property
    def relative_rounding(self) -> float:
        """γ = 16(n+p+b)·eps: a sum of n terms errs by n·eps of its largest partial sums, an eigenvalue by a small
        multiple of p·eps of the norm, a batch mean by b·eps; 16 covers the small multiples."""
        return 16 * (self.n + self.p + self.b) * EPS

    @property
    def rounding(self) -> float:
        """γS: what rounding can do to any mean of the Hᵢ or eigenvalue of one."""
        return self.relative_rounding * self.largest_norm

    def predicted(self, method: str, value: float, error: float, reason: str, **details: float) -> Prediction:
        """A valid prediction, of value and error in units of `unit`, with room for rounding."""
        return Prediction(method, value * self.unit, (error + self.rounding) * self.unit, True, reason, details)

    @cached_property
    def smallest(self) -> float:
        """A lower bound on every λ_min(Hᵢ)."""
        return float(self.curvature.smallest_eigenvalue_bounds().min())

    @cached_property
    def positive_semidefinite(self) -> bool:
        """Whether every Hᵢ ⪰ 0, up to rounding in its own entries."""
        return bool((self.curvature.smallest_eigenvalue_bounds() >= -4 * math.sqrt(self.p) * EPS * self.norms).all())

    @cached_property
    def variance_matrix(self) -> FloatArray:
        """V = (1/n) Σᵢ Dᵢ² = mean Hᵢ² − H², (p, p)."""
        return self.curvature.mean_conjugation(np.eye(self.p)) - self.hessian @ self.hessian

    @cached_property
    def variance_eigenvalues(self) -> FloatArray:
        """Those of V, ascending, none below 0."""
        return np.maximum(np.linalg.eigvalsh(self.variance_matrix), 0.0)

    @property
    def mean_squared_norm(self) -> float:
        """E‖H_B‖_F² = ‖H‖_F² + c·mean‖Dᵢ‖_F²."""
        return float((self.hessian**2).sum() + self.c * self.scatter.mean())

    def maximum_over_batch(self, values: FloatArray) -> float:
        """E max_{i∈B} xᵢ for n numbers: the k-th smallest is the largest of a batch with probability
        C(k−1, b−1)/C(n, b), or (k/n)ᵇ − ((k−1)/n)ᵇ with replacement."""
        n, b, ordered = self.n, self.b, np.sort(values)
        below = np.arange(n + 1)
        if self.with_replacement:
            at_most = (below / n) ** b
        else:
            # C(k, b)/C(n, b) = Π_j (k−j)/(n−j)
            at_most = np.prod(np.maximum(below[:, None] - np.arange(b), 0) / (n - np.arange(b)), axis=1)
        return float(np.diff(at_most) @ ordered)

    @cached_property
    def pair_sharpness(self) -> float:
        """M₂ of the same scheme, from every pair; for Hᵢ = aᵢaᵢᵀ λ_max(½aaᵀ + ½a'a'ᵀ) = ¼(α+α') + ½√(¼(α−α')² +
        (a·a')²), α = ‖a‖².
        """
        if not self.rank_one:
            first, second = np.triu_indices(self.n, 1)
            distinct = float(largest_eigenvalues(self.curvature, np.stack((first, second), axis=1)).sum())
            total, equal = 2 * distinct + float(self.sample_sharpness.sum()), float(self.sample_sharpness.sum())
        else:
            gram = self.rows @ self.rows.T
            squares = np.diagonal(gram)
            half_sum, half_difference = (squares[:, None] + squares) / 2, (squares[:, None] - squares) / 2
            tops = (half_sum + np.hypot(half_difference, gram)) / 2
            total, equal = float(tops.sum()), float(np.trace(tops))
        return total / self.n**2 if self.with_replacement else (total - equal) / (self.n * (self.n - 1))

    @cached_property
    def left_out_sharpness(self) -> float:
        """M_{n−1} without replacement: the mean of λ_max((nH − Hᵢ)/(n−1))."""
        others = self.n * self.hessian - self.curvature.batch_matrices(np.arange(self.n)[:, None])
        return float(np.linalg.eigvalsh(others / (self.n - 1))[:, -1].mean())

    @cached_property
    def every_batch(self) -> tuple[IntArray, FloatArray]:
        """Every batch and its probability, (m, b) and (m,): where m is small."""
        chunks = list(self.sampling.enumerate(self.n))
        return np.concatenate([batches for batches, _ in chunks]), np.concatenate([weights for _, weights in chunks])
