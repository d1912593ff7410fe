"""Rank-one samples Hᵢ = aᵢaᵢᵀ: the mean-square edge from a positive n×n matrix, whatever the number of parameters.

With A = rows aᵢ, K = AAᵀ = UΛUᵀ on its range, κ₁ = (1−c)/n² and κ₂ = c/n, let

    M_jk(η) = ηλⱼλ_k/((λⱼ+λ_k)/n − ηκ₁λⱼλ_k) = 1/((1/λⱼ+1/λ_k)/(nη) − κ₁),   Ψ(η)_ac = Σ_jk U_aj U_cj M_jk U_ak U_ck.

Below the pole ηκ₁nλ_max = 2, M is a positive semidefinite Cauchy matrix, so that Ψ is entrywise non-negative, symmetric
and grows with η; the stationary variances of SGD's residuals solve ρ = κ₂Ψρ + source. Hence ηQ_b = 2 exactly where the
Perron eigenvalue of κ₂Ψ(η) is 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from esssim._validate import FloatArray
from esssim.spectra import lanczos_from, leading_pairs

# Eigenvalues of K below this fraction of the largest are rounding: ‖K‖·p·eps for every p up to about 1000.
RANK_TOLERANCE = 1e-12
MAX_ITERATIONS = 50
# A vector whose depth in the cone is below SHALLOW may miss samples: it is raised by a fraction RAISED and tried again.
SHALLOW, RAISED = 1e-3, 1e-3


@dataclass(frozen=True)
class PerronMatrix:
    """η ↦ Ψ(η): eigenvalues λ (r,) ascending and eigenvectors U (n, r) of K on its range, and the scheme's c.

    tail: with leading eigenvectors only, the diagonal of what they leave of K, K′ = K − UΛUᵀ, (n,), or its blocks. To
    first order in the eigenvalues of K′, pairs of its modes add ½nηK′_aa x_a to (Ψx)_a. Pairs of such a mode with a
    leading one add nothing on average.
    """

    eigenvalues: FloatArray
    eigenvectors: FloatArray
    c: float
    tail: FloatArray | None = None

    @classmethod
    def of(cls, factors: FloatArray, c: float) -> PerronMatrix:
        """From the rows aᵢ, (n, p), not all of them zero."""
        n, p = factors.shape
        if n <= p:
            eigenvalues, eigenvectors = np.linalg.eigh(factors @ factors.T)
        else:
            left, singular, _ = np.linalg.svd(factors, full_matrices=False)
            eigenvalues, eigenvectors = singular[::-1] ** 2, left[:, ::-1]
        return cls(*above_rounding(eigenvalues, eigenvectors), c)

    @classmethod
    def leading(cls, factors: FloatArray, c: float, rank: int) -> PerronMatrix:
        """From the rows aᵢ, (n, p), by products with them alone: `rank` leading eigenvectors, fewer than n, without
        `tail`.
        """
        return cls(*leading_eigenvectors(factors, rank), c)

    def with_tail(self, factors: FloatArray) -> PerronMatrix:
        """The same with what these eigenvectors leave of K = AAᵀ, A (n, p)."""
        left = np.einsum("ap,ap->a", factors, factors) - self.eigenvectors**2 @ self.eigenvalues
        return replace(self, tail=np.maximum(left, 0.0))

    @property
    def n_samples(self) -> int:
        return int(self.eigenvectors.shape[0])

    @property
    def is_shorter(self) -> bool:
        """Whether its vectors are shorter than the r² of the pencil: an application costs O(n r²) either way."""
        return self.n_samples <= len(self.eigenvalues) ** 2

    @property
    def kappa_1(self) -> float:
        """κ₁ = (1−c)/n²: with κ₂, E[wᵢwⱼ] = κ₁ + κ₂δᵢⱼ for the weights w of a batch (1/b for each draw of i)."""
        return (1.0 - self.c) / self.n_samples**2

    @property
    def kappa_2(self) -> float:
        """κ₂ = c/n."""
        return self.c / self.n_samples

    def folded(self, images: FloatArray) -> FloatArray:
        """diag(XUᵀ), (n,), for X (n, r)."""
        return np.asarray(np.einsum("ac,ac->a", images, self.eigenvectors))

    def is_inside(self, vector: FloatArray) -> bool:
        """Whether a vector is strictly inside the cone that Ψ preserves: positive."""
        return bool((vector > 0).all())

    @cached_property
    def slopes(self) -> FloatArray:
        """(1/λⱼ+1/λ_k)/2n, (r, r): with Q = 2/η, 1/M = slopes·Q − κ₁ is linear in Q."""
        inverse = 1.0 / self.eigenvalues
        return np.asarray((inverse[:, None] + inverse) / (2 * self.n_samples))

    def kernel(self, step_size: float) -> FloatArray:
        """M(η), (r, r); not finite or not positive at and beyond the pole."""
        with np.errstate(divide="ignore"):
            return np.asarray(1.0 / (self.slopes * (2.0 / step_size) - self.kappa_1))

    def in_eigenbasis(self, weights: FloatArray) -> FloatArray:
        """Uᵀ diag(x) U, (r, r)."""
        return np.asarray(self.eigenvectors.T @ (weights[:, None] * self.eigenvectors))

    def at(self, step_size: float) -> Callable[[FloatArray], FloatArray]:
        """x ↦ Ψ(η)x = diag(U(M∘(Uᵀdiag(x)U))Uᵀ), in O(n r²), or of blocks, in O(n c r²)."""
        kernel = self.kernel(step_size)

        def apply(weights: FloatArray) -> FloatArray:
            image = self.folded(self.eigenvectors @ (kernel * self.in_eigenbasis(weights)))
            return image if self.tail is None else image + step_size * self.of_tail(weights)

        return apply

    def of_tail(self, weights: FloatArray) -> FloatArray:
        """What the modes in `tail` add to Ψx, over η: ½nK′_aa x_a, (n,)."""
        assert self.tail is not None
        return np.asarray(self.n_samples / 2 * self.tail * weights)

    def edge(self, tolerance: float = 1e-8, start: FloatArray | None = None) -> tuple[float, FloatArray]:
        """(Q_b, Perron vector): the Q = 2/η at which the Perron eigenvalue of κ₂Ψ(η) is 1, for c > 0; start: a guess
        inside the cone.

        Ψ is symmetric, so that the Rayleigh functional Q(x), the root of κ₂xᵀΨ(2/Q)x = xᵀx, is stationary at the
        Perron vector: alternating the two converges quadratically, and Q has the square of the vector's error,
        `tolerance`.
        """
        vector = self.first_vector() if start is None else start
        value = self.rayleigh_functional(vector)
        looked_again = False
        for iteration in range(MAX_ITERATIONS):
            # No more digits at first than the alternation has yet.
            enough = max(tolerance, 10.0 ** -(2 ** (iteration + 1)))
            vector = self.positive(lanczos_from(vector, self.at(2.0 / value), enough, inside=True))
            # Its Rayleigh quotient is no smaller than that of the vector before, which was 1 here: nor is the root.
            previous, value = value, self.rayleigh_functional(vector, value)
            # The vector is as wrong as the value it belongs to was, or by `tolerance`; the new value by the square of
            # it.
            settled = enough == tolerance and abs(value - previous) <= tolerance * value
            # An eigenvector well inside the cone is the Perron vector; another one may be that of a block of its own.
            if settled and (looked_again or self.depth(vector) > SHALLOW):
                return value, vector
            if settled:
                vector = self.raised(vector, RAISED)
            looked_again = settled
        raise RuntimeError(f"mean_square_sharpness did not converge, it is near {value:.6g}")

    def enclosure(self, value: float, vector: FloatArray) -> tuple[float, float]:
        """Bounds on Q_b from any non-negative vector, tight at the Perron vector.

        x > 0: the Perron eigenvalue of Ψ is at most max (Ψx)_a/x_a (Collatz–Wielandt) and at least xᵀΨx/xᵀx; and
        Ψ(tη) ≥ tΨ(η) entrywise for t ≥ 1, so that a factor of the eigenvalue bounds the same factor of Q.
        """
        psi = self.at(2.0 / value)
        rounding = 8 * np.finfo(np.float64).eps * len(self.eigenvectors)
        lower = self.kappa_2 * float(vector @ psi(vector)) / float(vector @ vector)
        upper = np.inf
        for floor in (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4):
            inside = self.raised(vector, floor)
            upper = min(upper, self.kappa_2 * self.ratio_bound(psi(inside), inside))
        return float(value * min(1.0, lower - rounding)), float(value * max(1.0, upper + rounding))

    def first_vector(self) -> FloatArray:
        """A vector inside the cone that Ψ preserves: ones."""
        return np.ones(self.n_samples)

    def positive(self, vector: FloatArray) -> FloatArray:
        """The Perron vector of a computed eigenvector, whose sign is arbitrary."""
        return np.abs(vector)

    def depth(self, vector: FloatArray) -> float:
        """How far inside the cone a vector is: its smallest entry over its largest."""
        return float(vector.min() / vector.max())

    def raised(self, vector: FloatArray, floor: float) -> FloatArray:
        """A vector of the cone, moved inside by a fraction of its size."""
        return np.asarray(vector + floor * vector.max())

    def ratio_bound(self, image: FloatArray, vector: FloatArray) -> float:
        """max (Ψx)_a/x_a, for any x > 0 a bound on the Perron eigenvalue (Collatz–Wielandt); infinite otherwise."""
        return float((image / vector).max()) if vector.min() > 0 else np.inf

    def rayleigh_functional(self, vector: FloatArray, start: float = 0.0) -> float:
        """The Q at which κ₂ΣM_jk(2/Q)Y_jk² = ‖x‖², Y = Uᵀdiag(x)U, at most Q_b; start: at most that.

        Each term of the sum is 1/(linear in Q), so that the reciprocal of the sum is concave and increasing: Newton's
        method climbs monotonically to the root from the root of the largest single term.
        """
        weights, slopes, poles = self._terms(vector)
        weights = self.kappa_2 * weights / float(vector @ vector)
        value = max(start, float(((poles + weights) / slopes).max()))
        for _ in range(MAX_ITERATIONS):
            distances = value * slopes - poles
            terms = weights / distances
            total = float(terms.sum())
            # Newton on 1/total = 1: the derivative of 1/total is Σ slope·term²/weight / total².
            step = (total - 1.0) * total / float((terms * slopes / distances).sum())
            value += step
            # The error that is left is of the order of step²/value.
            if abs(step) <= 1e-10 * value:
                break
        return value

    def _terms(self, vector: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray | float]:
        """xᵀΨ(2/Q)x as a sum of weight/(slope·Q − pole): weights, slopes, poles of one shape, or one pole of all."""
        weights, slopes = self.in_eigenbasis(vector) ** 2, self.slopes
        if self.tail is None:
            return weights, slopes, self.kappa_1
        of_tail = float(vector @ self.of_tail(vector))  # ηxᵀof_tail(x) = 2/Q of it
        poles = np.append(np.full(slopes.size, self.kappa_1), 0.0)
        return np.append(weights, of_tail), np.append(slopes, 0.5), poles


def leading_eigenvectors(factors: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """The largest eigenvalues of AAᵀ that are no rounding, ascending, and their eigenvectors (n, r), r ≤ rank."""
    n = len(factors)
    if not 1 <= rank < n:
        raise ValueError(f"rank must be at least 1 and fewer than the {n} rows, got {rank}")
    return above_rounding(*leading_pairs(factors, rank))


def above_rounding(eigenvalues: FloatArray, eigenvectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The eigenvalues (r,) that are no rounding of the largest, the last one, and their eigenvectors (n, r)."""
    keep = eigenvalues > RANK_TOLERANCE * eigenvalues[-1]
    return np.ascontiguousarray(eigenvalues[keep]), np.ascontiguousarray(eigenvectors[:, keep])
