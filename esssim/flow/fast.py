"""The fast motion: the stationary covariance of the residuals of SGD about a set of solutions.

Residuals r ← r − ηK(w∘(r + r* − εz)) near a solution, w the weights of the batch (1/b for each draw).

Their covariance R solves (KR+RK)/n = ηKNK, N = κ₁R + diag ρ, ρ = κ₂(diag R + r*∘r*) + ε²/(bn); hence

    R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ,  (I − κ₂Ψ)ρ = κ₂ r*∘r* + ε²/(bn),  1/M_jk = (1/λⱼ + 1/λ_k)/(nη) − κ₁.

Heavy ball has the same form with another M (theory/momentum_flow.py),

    1/M_jk = (1−β)(1/λⱼ + 1/λ_k)/(nη) − κ₁ + [2β/(1+β) + β(λⱼ−λ_k)²/((1−β²)λⱼλ_k)]/n².

With c outputs a sample J, K and R have n·c rows, diag takes the c×c blocks of the samples, and ρ, r*∘r* and ε²/(bn)
are blocks too, r*ᵢr*ᵢᵀ and (ε²/(bn))I (theory/several_outputs.py).

With the leading eigenvectors only, what K′ = K − UΛUᵀ adds is of first order in its eigenvalues, D = diag ρ:

    R′ = K′DG + GDK′ + ¼nη′(K′QDQ + QDQK′),   G = U diag(g)Uᵀ, Q = I − UUᵀ, η′ = η/(1−β),

g = n/(1/η′ + βλ/((1−β²)n)), exact to that order but for pairs of K′ of unlike eigenvalues, whose λⱼλ_k/(λⱼ+λ_k) is
taken as (λⱼ+λ_k)/4 (where n·c > p the kernel of K is among these). ρ itself has the diagonal of R′ for equal ρ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.point import Point
from esssim.sampling import Sampling
from esssim.statistics.perron import PerronMatrix

# The relative residual of ρ: far below what the solver of the flow asks for.
TOLERANCE = 1e-11


@dataclass(frozen=True)
class FastMotion:
    """The stationary covariance R of the residuals at one point of the set of solutions; the module has its equations.

    jacobians: J (n·c, p); source: the right-hand side (n,), or blocks (n·c²,); step_size: η; momentum: β. guess: ρ at a
    point nearby, from which the iterative solution then starts. by_products: K is too large for anything but products
    with J.
    """

    perron: PerronMatrix
    jacobians: FloatArray
    source: FloatArray
    step_size: float
    guess: FloatArray | None = None
    momentum: float = 0.0
    by_products: bool = False

    @classmethod
    def at(
        cls,
        point: Point,
        sampling: Sampling,
        source: FloatArray,
        step_size: float,
        guess: FloatArray | None = None,
        momentum: float = 0.0,
        rank: int | None = None,
        with_tail: bool = False,
        pairs: tuple[FloatArray, FloatArray] | None = None,
    ) -> FastMotion:
        """In all modes of K above rounding, or in `rank` leading ones and, to first order, the others.

        pairs: these leading eigenvalues and eigenvectors, where they are known.
        """
        jacobians, coefficient = point.jacobians, sampling.variance_coefficient(point.problem.n_samples)
        if pairs is None:
            perron = point.perron(coefficient, rank)
        else:
            perron = rows.perron_of_pairs(*pairs, point.n_outputs, coefficient)
        if rank is not None or (with_tail and len(perron.eigenvalues) < len(jacobians)):
            perron = perron.with_tail(jacobians)
        return cls(perron, jacobians, source, step_size, guess, momentum, rank is not None)

    @property
    def n_outputs(self) -> int:
        """c."""
        return len(self.jacobians) // self.perron.n_samples

    @property
    def rank(self) -> int | None:
        """How many modes are followed where K is too large for all; None for all."""
        return len(self.perron.eigenvalues) if self.by_products else None

    @property
    def slow_step(self) -> float:
        """η/(1−β): what a gradient that lasts moves θ by, in a step."""
        return self.step_size / (1.0 - self.momentum)

    @cached_property
    def inverse_response(self) -> FloatArray:
        """1/M_jk (r, r); an entry that is not positive is beyond the edge of full batches."""
        perron, beta, n = self.perron, self.momentum, self.perron.n_samples
        reciprocal = 1.0 / perron.eigenvalues
        plain = (reciprocal[:, None] + reciprocal) / (n * self.slow_step) - perron.kappa_1
        if beta == 0.0:
            return np.asarray(plain)
        ratio = perron.eigenvalues[:, None] * reciprocal
        return np.asarray(plain + (2 * beta / (1 + beta) + beta / (1 - beta**2) * (ratio + ratio.T - 2)) / n**2)

    @property
    def gain_of_tail(self) -> FloatArray:
        """g (r,): lim M_jk/λⱼ for λⱼ → 0."""
        beta, n = self.momentum, self.perron.n_samples
        return np.asarray(n / (1.0 / self.slow_step + beta / (1 - beta**2) * self.perron.eigenvalues / n))

    def respond(self, weights: FloatArray) -> FloatArray:
        """M∘(Uᵀdiag(x)U), (r, r), for x (n,) or blocks (n·c²,)."""
        return np.asarray(self.perron.in_eigenbasis(weights) / self.inverse_response)

    def feed_back(self, weights: FloatArray) -> FloatArray:
        """Ψx = diag(U[M∘(Uᵀdiag(x)U)]Uᵀ), of the shape of x, and what the other modes add."""
        image = self.perron.folded(self.perron.eigenvectors @ self.respond(weights))
        return image if self.perron.tail is None else image + self.slow_step * self.perron.of_tail(weights)

    @cached_property
    def noise(self) -> FloatArray | None:
        """ρ (n,) or blocks (n·c²,), or None at and beyond the mean-square edge, where no stationary covariance exists.

        A positive solution of (I − κ₂Ψ)ρ = source > 0 is its own certificate of stability: (κ₂Ψρ)_a/ρ_a < 1 for every
        a bounds the Perron eigenvalue (Collatz–Wielandt). Beyond the edge no solution is positive. Blocks are positive
        if they are positive definite. With momentum Ψ need not be positive: the same test is then a test, and no
        certificate.
        """
        perron = self.perron
        if self.inverse_response[-1, -1] <= 0.0:
            return None
        if perron.kappa_2 == 0.0:
            return self.source
        # Without any noise the edge is still where it is: a unit source finds it.
        silent = not self.source.any()
        right = perron.first_vector() if silent else self.source
        size = float(right.max())
        solution = self.fed_back(right / size, None if self.guess is None or silent else self.guess / size)
        if solution is None or not (perron.is_inside(solution) or (not silent and self._is_below_the_edge())):
            return None
        return self.source if silent else size * solution

    def _is_below_the_edge(self) -> bool:
        """Whether noise of equal power in all residuals has a stationary covariance. It decides where the own source
        leaves some residuals without any, and with them ρ on the boundary of the cone.
        """
        solution = self.fed_back(self.perron.first_vector())
        return solution is not None and self.perron.is_inside(solution)

    def fed_back(
        self, right: FloatArray, start: FloatArray | None = None, tolerance: float = TOLERANCE
    ) -> FloatArray | None:
        """(I − κ₂Ψ)⁻¹x, of the shape of x; None where the iteration does not converge."""
        operator = LinearOperator(
            (len(right),) * 2, matvec=lambda x: x - self.perron.kappa_2 * self.feed_back(x), dtype=np.float64
        )
        # The identity minus a positive semidefinite matrix of fast decay: a few dozen products at most.
        solution, failed = cg(operator, right, x0=start, rtol=tolerance, maxiter=20 * len(right) + 100)
        return None if failed else np.asarray(solution)

    def answered(self, driving: FloatArray, tolerance: float) -> FloatArray:
        """The R̃ (r, r) of R̃ = M∘(X + κ₂Uᵀdiag(diag R)U): what a driving X (r, r) of any kind holds up."""
        perron, own = self.perron, driving / self.inverse_response
        if perron.kappa_2 == 0.0:
            return np.asarray(own)
        variances = self.fed_back(perron.folded(perron.eigenvectors @ own), tolerance=tolerance)
        return np.asarray(own if variances is None else own + perron.kappa_2 * self.respond(variances))

    @cached_property
    def rotated(self) -> FloatArray:
        """R̃ = UᵀRU = M∘(Uᵀdiag(ρ)U), (r, r). Only below the edge."""
        if self.noise is None:
            raise ValueError("step_size must be below the mean-square edge 2/Q_b for a stationary covariance to exist")
        return self.respond(self.noise)

    @cached_property
    def residual_covariance(self) -> FloatArray:
        """R (n·c, n·c) in the modes that are followed."""
        basis = self.perron.eigenvectors
        return np.asarray(basis @ self.rotated @ basis.T)

    @cached_property
    def variances(self) -> FloatArray:
        """diag R (n,), or its blocks (n·c²,). Only below the edge."""
        found = self.perron.folded(self.perron.eigenvectors @ self.rotated)
        if self.perron.tail is None:
            return found
        assert self.noise is not None
        return found + self.slow_step * self.perron.of_tail(self.noise)

    @property
    def total_variance(self) -> float:
        """tr R."""
        if self.perron.tail is None:
            return float(np.trace(self.rotated))
        return float(self.variances @ rows.identities(self.perron.n_samples, self.n_outputs))

    @cached_property
    def kernel_blocks(self) -> FloatArray:
        """Kᵢᵢ of every sample, (n·c²,)."""
        followed = self.perron.folded(self.perron.eigenvectors * self.perron.eigenvalues)
        return followed if self.perron.tail is None else followed + self.perron.tail

    @cached_property
    def squared_kernel_blocks(self) -> FloatArray:
        """(K²)ᵢᵢ of every sample, (n·c²,)."""
        if not self.by_products:
            return self.perron.folded(self.perron.eigenvectors * self.perron.eigenvalues**2)
        blocks = self.jacobians.reshape(self.perron.n_samples, self.n_outputs, -1)
        images = (self.jacobians @ (self.jacobians.T @ self.jacobians)).reshape(blocks.shape)
        return np.asarray((images @ blocks.transpose(0, 2, 1)).ravel())

    @cached_property
    def mode_jacobians(self) -> FloatArray:
        """UᵀJ (r, p)."""
        return np.asarray(self.perron.eigenvectors.T @ self.jacobians)

    @cached_property
    def parameter_factors(self) -> FloatArray:
        """JᵀK⁺U (p, r): the smallest change of θ, to first order, for a residual U e_j."""
        return np.asarray(self.jacobians.T @ (self.perron.eigenvectors / self.perron.eigenvalues))

    @cached_property
    def root(self) -> FloatArray:
        """R̃^½ (r, r), symmetric: no eigenvector's sign, which is left to a last bit, is in UR̃^½Uᵀ."""
        values, vectors = np.linalg.eigh(self.rotated)
        return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T)

    def coordinates(self, normal: FloatArray) -> FloatArray:
        """Uᵀr of residuals r ~ N(0, R), (..., r), from standard normals (..., n·c)."""
        return np.asarray(normal @ self.perron.eigenvectors @ self.root)
