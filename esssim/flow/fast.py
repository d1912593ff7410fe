"""The fast motion: the stationary covariance of the residuals of SGD about a set of solutions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg

from esssim._validate import FloatArray
from esssim.problems import NonlinearLeastSquares
from esssim.sampling import Sampling
from esssim.statistics.perron import PerronMatrix

# The relative residual of ρ: far below what the solver of the flow asks for.
TOLERANCE = 1e-11


@dataclass(frozen=True)
class FastMotion:
    """Residuals r ← r − ηK(w∘(r + r* − εz)) near a solution, w the weights of the batch (1/b for each draw).

    Their covariance R solves (KR+RK)/n = ηKNK, N = κ₁R + diag ρ, ρ = κ₂(diag R + r*∘r*) + ε²/(bn); hence

        R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ,  (I − κ₂Ψ)ρ = κ₂ r*∘r* + ε²/(bn).

    jacobians: J (n, p); source: the right-hand side (n,); step_size: η. All at one point of the set of solutions.
    guess: ρ at a point nearby, from which the iterative solution then starts.
    """

    perron: PerronMatrix
    jacobians: FloatArray
    source: FloatArray
    step_size: float
    guess: FloatArray | None = None

    @classmethod
    def at(
        cls,
        problem: NonlinearLeastSquares,
        theta: FloatArray,
        sampling: Sampling,
        source: FloatArray,
        step_size: float,
        guess: FloatArray | None = None,
    ) -> FastMotion:
        """At theta (p,)."""
        jacobians = np.asarray(problem.sample_jacobians(theta, np.arange(problem.n_samples)))
        perron = PerronMatrix.of(jacobians, sampling.variance_coefficient(problem.n_samples))
        return cls(perron, jacobians, source, step_size, guess)

    @cached_property
    def noise(self) -> FloatArray | None:
        """ρ (n,), or None at and beyond the mean-square edge, where no stationary covariance exists.

        A positive solution of (I − κ₂Ψ)ρ = source > 0 is its own certificate of stability: (κ₂Ψρ)_a/ρ_a < 1 for every
        a bounds the Perron eigenvalue (Collatz–Wielandt). Beyond the edge no solution is positive.
        """
        perron = self.perron
        if self.step_size * perron.kappa_1 * perron.n_samples * perron.eigenvalues[-1] >= 2.0:
            return None
        if perron.kappa_2 == 0.0:
            return self.source
        psi = perron.at(self.step_size)
        # Without any noise the edge is still where it is: a unit source finds it.
        silent = not self.source.any()
        right = np.ones(perron.n_samples) if silent else self.source
        size = float(right.max())
        operator = LinearOperator((len(right),) * 2, matvec=lambda x: x - perron.kappa_2 * psi(x), dtype=np.float64)
        start = None if self.guess is None or silent else self.guess / size
        # The identity minus a positive semidefinite matrix of fast decay: a few dozen products at most.
        solution, failed = cg(operator, right / size, x0=start, rtol=TOLERANCE, maxiter=20 * len(right) + 100)
        if failed or not (solution > 0).all():
            return None
        return self.source if silent else size * solution

    @cached_property
    def rotated(self) -> FloatArray:
        """R̃ = UᵀRU = M∘(Uᵀdiag(ρ)U), (r, r). Only below the edge."""
        if self.noise is None:
            raise ValueError("step_size must be below the mean-square edge 2/Q_b for a stationary covariance to exist")
        return np.asarray(self.perron.kernel(self.step_size) * self.perron.in_eigenbasis(self.noise))

    @cached_property
    def residual_covariance(self) -> FloatArray:
        """R (n, n)."""
        basis = self.perron.eigenvectors
        return np.asarray(basis @ self.rotated @ basis.T)

    @cached_property
    def parameter_factors(self) -> FloatArray:
        """JᵀK⁺U (p, r): the smallest change of θ, to first order, for a residual U e_j."""
        return np.asarray(self.jacobians.T @ (self.perron.eigenvectors / self.perron.eigenvalues))

    def draw(self, normal: FloatArray) -> FloatArray:
        """Residuals ~ N(0, R), (m, n), from standard normals (m, r)."""
        values, vectors = np.linalg.eigh(self.rotated)
        root = self.perron.eigenvectors @ (vectors * np.sqrt(np.maximum(values, 0.0)))
        return np.asarray(normal @ root.T)
