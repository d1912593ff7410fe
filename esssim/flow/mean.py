"""The mean motion of SGD: the next order of the flow, which leaves the set of solutions and need not start on it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.law import Law, at_the_wall
from esssim.flow.rows import LeastSquaresProblem
from esssim.flow.slow import mean_velocity, push
from esssim.sampling import Sampling
from esssim.simulation.schedule import Ramp
from esssim.statistics.perron import PerronMatrix


@dataclass(frozen=True)
class MeanLaw(Law):
    """dθ/dt = −(η/(n(1−β))) [Jᵀr + Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ]], r = f(θ) − y, with noise of source κ₂ r∘r + ε²/(bn).

    The mean of ∇L over the fast motion, to second order, without the projection on the solutions: the push across them,
    which the projection drops, displaces θ until the gradient balances it, by an amount of order ε² that is large where
    an eigenvalue of K is small. θ is the point whose residuals are the mean residuals of SGD.
    """

    modes: list[int] = field(default_factory=list, repr=False)
    dead: list[FloatArray] = field(default_factory=list, repr=False)

    @classmethod
    def of(
        cls,
        problem: LeastSquaresProblem,
        theta0: FloatArray,
        sampling: Sampling,
        ramp: Ramp,
        n_steps: int,
        label_noise: float,
        momentum: float = 0.0,
    ) -> tuple[MeanLaw, FloatArray]:
        """The law, and theta0: any point will do."""
        fresh = label_noise**2 / (sampling.batch_size * problem.n_samples)
        return cls(problem, sampling, ramp, n_steps, momentum, fresh, np.empty(0)), theta0

    def mean_residuals(self, theta: FloatArray) -> FloatArray:
        return rows.residuals(self.problem, theta)

    def followed_modes(self) -> int | None:
        return self.modes[0] if self.modes else None

    def accept(self, theta: FloatArray) -> None:
        """A mode of J that has died (u = v = 0 in a diagonal network) stays dead, and the parameters along it stay.

        Counted again at every evaluation it would be in and out of the range of K without end; and without its noise,
        which is what killed it, the gradient would raise it again.
        """
        jacobians = rows.jacobians(self.problem, theta)
        alive = len(PerronMatrix.of(jacobians, 0.0).eigenvalues)
        if self.modes and alive < self.modes[0]:
            _, _, right = np.linalg.svd(jacobians, full_matrices=False)
            self.dead[:] = [np.linalg.qr(np.column_stack((*self.dead, right[alive : self.modes[0]].T)))[0]]
        self.modes[:] = [min([alive, *self.modes])]

    def alive(self, vectors: FloatArray) -> FloatArray:
        """Vectors (p,) or the columns of (p, m) without their part along dead modes."""
        for directions in self.dead:
            vectors = vectors - directions @ (directions.T @ vectors)
        return vectors

    def settle(self, theta: FloatArray) -> FloatArray:
        return theta

    def velocity(self, step: float, theta: FloatArray) -> FloatArray:
        """dθ/dt (p,); NaN at and beyond the mean-square edge."""
        if np.isfinite(theta).all():
            fast = self.fast(step, theta)
            if fast.noise is not None:
                return self.alive(mean_velocity(self.problem, theta, fast, self.mean_residuals(theta)))
        return np.full_like(theta, np.nan)

    def stiff_jacobian(self, step: float, theta: FloatArray) -> FloatArray | None:
        """−(η/(n(1−β))) JᵀUUᵀJ, and what diverges at the edge: (p, p); None beyond the edge."""
        fast = self.fast(step, theta)
        if fast.noise is None:
            return None
        rate = fast.slow_step / self.problem.n_samples
        reached = fast.perron.eigenvectors.T @ fast.jacobians
        wall = at_the_wall(-rate * push(self.problem, theta, fast), self, theta, fast)
        return self.alive(wall - rate * (reached.T @ reached))
