"""The stochastic central flow of one run: its right-hand side, its constraint, and what it needs of its start."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np

from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.newton import StiffJacobian
from esssim.flow.point import Point
from esssim.flow.rows import LeastSquaresProblem
from esssim.flow.slow import push, stiffness, velocity
from esssim.sampling import Sampling
from esssim.simulation.schedule import Ramp
from esssim.spectra import continued_pairs
from esssim.statistics.perron import PerronMatrix

# A start is a solution if the nearest one is no farther than this fraction of its length.
NEAR = 1e-3
CORRECTIONS = 20
# Residuals below this fraction of the size of the model's outputs, ‖J‖‖θ‖, are rounding.
ROUNDING = 1e-12


@dataclass
class Law:
    """dθ/dt on the solutions of a problem under a scheme and a ramp of n_steps, with noise of source κ₂ r*∘r* +
    ε²/(bn).

    frozen_residuals: r* (n·c,), sample by sample. rank: of how many eigenvectors of K, with the others to first
    order; None for all of them. guess: the noise found last, where the next solution starts; `fast` sets it.
    """

    problem: LeastSquaresProblem
    sampling: Sampling
    ramp: Ramp
    n_steps: int
    momentum: float
    label_source: float
    frozen_residuals: FloatArray
    rank: int | None = None
    guess: FloatArray | None = field(default=None, repr=False, compare=False)
    # The leading eigenvectors of K found last, and some more: where the next search starts.
    frame: FloatArray | None = field(default=None, repr=False, compare=False)
    # Whether modes of K may die, which then have to fade: on the solutions their number is what it is.
    leaves_solutions: ClassVar[bool] = False

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
        rank: int | None = None,
    ) -> tuple[Self, FloatArray]:
        """The law, and the point at which it starts."""
        frozen, start = cls._start(problem, theta0, by_products=rank is not None)
        label_source = label_noise**2 / (sampling.batch_size * problem.n_samples)
        return cls(problem, sampling, ramp, n_steps, momentum, label_source, frozen, rank), start

    @classmethod
    def _start(
        cls, problem: LeastSquaresProblem, theta0: FloatArray, by_products: bool
    ) -> tuple[FloatArray, FloatArray]:
        """r*, and the solution next to theta0. Raises ValueError where theta0 is no solution."""
        point = nearest_solution(Point(problem, theta0), by_products=by_products)
        if point is None or np.linalg.norm(point.theta - theta0) > NEAR * np.linalg.norm(theta0):
            raise ValueError("theta0 must be a minimum of the loss, it is not; `esssim.gradient_flow` leads to one")
        frozen = _unreachable_part(point, by_products=by_products)
        _refuse_other_hessian(point, frozen)
        return frozen, point.theta

    def at(self, theta: FloatArray) -> Point:
        """theta (p,) as a point of the problem."""
        return Point(self.problem, theta)

    def mean_residuals(self, point: Point) -> FloatArray:
        """The mean of the residuals of SGD (n·c,): here r*, whatever θ."""
        return self.frozen_residuals

    def fast(self, step: float, point: Point) -> FastMotion:
        """The fast motion at a step; the noise found last is the first guess for the next."""
        n, c = self.problem.n_samples, point.n_outputs
        kappa_2 = self.sampling.variance_coefficient(n) / n
        source = kappa_2 * rows.squares(self.mean_residuals(point), c) + self.label_source * rows.identities(n, c)
        step_size = float(self.ramp.at(step, self.n_steps))
        fast = FastMotion.at(
            point,
            self.sampling,
            source,
            step_size,
            self.guess,
            self.momentum,
            self.rank,
            self.leaves_solutions,
            self._leading_pairs(point),
        )
        if fast.noise is not None:
            self.guess = fast.noise
        return fast

    def _leading_pairs(self, point: Point) -> tuple[FloatArray, FloatArray] | None:
        """The `rank` leading eigenvalues and eigenvectors of K, from those found last; None for all."""
        if self.rank is None:
            return None
        values, self.frame = continued_pairs(point.jacobians, self.rank, self.frame)
        return values[-self.rank :], self.frame[:, -self.rank :]

    def corrected(self, theta: FloatArray) -> FloatArray | None:
        """The solution next to theta, on which the flow really is; None if there is none."""
        found = nearest_solution(self.at(theta), by_products=self.rank is not None)
        return None if found is None else found.theta

    def velocity(self, step: float, theta: FloatArray) -> FloatArray:
        """dθ/dt (p,); NaN at and beyond the mean-square edge, which makes a solver take a shorter step."""
        if np.isfinite(theta).all():
            point = self.at(theta)
            fast = self.fast(step, point)
            if fast.noise is not None:
                return velocity(point, fast)
        return np.full_like(theta, np.nan)

    def stiff_jacobian(self, step: float, theta: FloatArray) -> StiffJacobian | None:
        """The part of ∂(dθ/dt)/∂θ that diverges at the edge; None beyond the edge."""
        point = self.at(theta)
        fast = self.fast(step, point)
        if fast.noise is None:
            return None
        if not fast.source.any():
            return StiffJacobian.zero(len(theta))
        driven = velocity(point, fast)  # it is proportional to the power of the noise
        return StiffJacobian(np.zeros((0, len(theta))), driven[None], stiffness(point, fast)[None])

    def _driven_by(self, point: Point, pushed: FloatArray) -> FloatArray:
        """−n(1−β)/η times the velocity before projections: on solutions the push alone."""
        return pushed

    def error_of_rank(self, step: float, point: Point) -> float:
        """The change of what the noise pushes with when the number of leading modes is halved, relative to all that
        drives the flow; 0 for all modes.
        """
        if self.rank is None:
            return 0.0
        if self.rank == 1:
            return np.inf
        silent = rows.identities(self.problem.n_samples, point.n_outputs)
        pushes = []
        for law in (self, replace(self, rank=self.rank // 2, guess=None)):
            fast = law.fast(step, point)
            fast = fast if fast.source.any() else replace(fast, source=silent)
            if fast.noise is None:
                return np.inf
            pushes.append(push(point, fast))
        size = float(np.linalg.norm(self._driven_by(point, pushes[0])))
        return float(np.linalg.norm(pushes[0] - pushes[1])) / size if size > 0 else 0.0


def nearest_solution(point: Point, *, by_products: bool = False) -> Point | None:
    """The minimum next to a point: Gauss–Newton on the part of the residual that J can reach; None if that fails."""
    for _ in range(CORRECTIONS):
        if by_products:
            step = rows.smallest_change(point.jacobians, point.residuals)
        else:
            perron = PerronMatrix.of(point.jacobians, 0.0)
            coefficients = (perron.eigenvectors.T @ point.residuals) / perron.eigenvalues
            step = point.jacobians.T @ (perron.eigenvectors @ coefficients)
        theta = point.theta - step
        if not np.isfinite(theta).all():
            return None
        point = Point(point.problem, theta)
        if np.linalg.norm(step) <= 1e-12 * np.linalg.norm(theta):
            return point
    return None


def _unreachable_part(point: Point, *, by_products: bool) -> FloatArray:
    """r* = r − UUᵀr at a minimum (n·c,): what no change of θ can fit; exactly zero where that is rounding."""
    jacobians, residuals = point.jacobians, point.residuals
    if by_products:
        left = np.asarray(residuals - jacobians @ rows.smallest_change(jacobians, residuals))
    else:
        basis = PerronMatrix.of(jacobians, 0.0).eigenvectors
        left = np.asarray(residuals - basis @ (basis.T @ residuals))
        if basis.shape[0] == basis.shape[1]:
            return np.zeros_like(residuals)
    return np.zeros_like(left) if np.abs(left).max() <= _rounding(point) else left


def _rounding(point: Point) -> float:
    """What a residual may be by rounding alone: f(θ) and the targets that it fits are of the size of Jθ."""
    return ROUNDING * float(np.linalg.norm(point.jacobians, axis=1).max()) * float(np.linalg.norm(point.theta))


def _refuse_other_hessian(point: Point, frozen: FloatArray) -> None:
    """The law with frozen noise needs Σᵢ r*ᵢ∇²fᵢ = 0: the Hessian of the loss is then the Gauss–Newton matrix."""
    if not frozen.any():
        return
    probe = np.random.default_rng(0).standard_normal((len(frozen), point.problem.n_params))
    probe[:] = probe[0]
    bends = point.hessian_products(probe)
    # Each r*ᵢ is known to 1e-6 of itself, or to rounding.
    unknown = 1e-6 * np.abs(frozen) + _rounding(point)
    if np.linalg.norm(frozen @ bends) > np.linalg.norm(unknown @ np.abs(bends)):
        raise ValueError(
            "theta0 must be a minimum whose residuals r* satisfy Σ r*ᵢ∇²fᵢ = 0 (targets that the model can fit, or a "
            "diagonal network); here the Hessian of the loss is not the Gauss–Newton matrix, and the law does not hold"
        )
