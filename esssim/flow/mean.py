"""The mean motion of SGD: the next order of the flow, which leaves the set of solutions and need not start on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from esssim._validate import FloatArray
from esssim.flow.law import Law
from esssim.flow.newton import StiffJacobian
from esssim.flow.point import Point
from esssim.flow.rows import LeastSquaresProblem
from esssim.flow.slow import mean_velocity
from esssim.flow.wall import wall


@dataclass
class MeanLaw(Law):
    """dθ/dt = −(η/(n(1−β))) [Jᵀr + Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ]], r = f(θ) − y, with noise of source κ₂ r∘r + ε²/(bn).

    The mean of ∇L over the fast motion, to second order, without the projection on the solutions: the push across them,
    which the projection drops, displaces θ until the gradient balances it, by an amount of order ε² that is large where
    an eigenvalue of K is small. θ is the point whose residuals are the mean residuals of SGD.
    """

    leaves_solutions: ClassVar[bool] = True

    @classmethod
    def _start(
        cls, problem: LeastSquaresProblem, theta0: FloatArray, by_products: bool
    ) -> tuple[FloatArray, FloatArray]:
        """No r*, since the residuals move, and theta0: any point will do."""
        return np.empty(0), theta0

    def mean_residuals(self, point: Point) -> FloatArray:
        return point.residuals

    def corrected(self, theta: FloatArray) -> FloatArray:
        return theta

    def _driven_by(self, point: Point, pushed: FloatArray) -> FloatArray:
        return point.residuals @ point.jacobians + pushed

    def velocity(self, step: float, theta: FloatArray) -> FloatArray:
        """dθ/dt (p,); NaN at and beyond the mean-square edge."""
        if np.isfinite(theta).all():
            point = self.at(theta)
            fast = self.fast(step, point)
            if fast.noise is not None:
                return mean_velocity(point, fast, point.residuals)
        return np.full_like(theta, np.nan)

    def stiff_jacobian(self, step: float, theta: FloatArray) -> StiffJacobian | None:
        """−(η/(n(1−β))) JᵀJ, and what diverges at the edge; None beyond the edge."""
        point = self.at(theta)
        fast = self.fast(step, point)
        if fast.noise is None:
            return None
        rate = fast.slow_step / self.problem.n_samples
        modes = np.sqrt(rate) * fast.mode_jacobians
        every = None if fast.perron.tail is None else np.sqrt(rate) * fast.jacobians
        return StiffJacobian(modes, *wall(point, fast, self.mean_residuals(point)), every)
