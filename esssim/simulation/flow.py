"""Gradient flow to a minimum: where a run of SGD may start from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from esssim import _validate
from esssim._validate import FloatArray
from esssim.problems import Problem


def gradient_flow(problem: Problem, theta0: npt.ArrayLike, *, gradient_tolerance: float = 1e-10) -> FloatArray:
    """The limit of dθ/dt = −∇L(θ) from theta0 (p,), to ‖∇L‖ ≤ gradient_tolerance times its start: the η → 0 limit of
    training.

    Conserved quantities of the flow (the imbalance u²−v² of a diagonal network) are kept to the solver's 1e-10.
    Raises RuntimeError when the flow does not get there. Stiff multistep method (BDF) with the exact Hessian as
    Jacobian.
    """
    start = problem.check_point(theta0)
    tolerance = _validate.real("gradient_tolerance", gradient_tolerance, above=0.0)
    initial = float(np.linalg.norm(problem.gradient(start)))
    if initial == 0.0:
        return start

    def remaining(_: float, theta: FloatArray) -> float:
        return float(np.linalg.norm(problem.gradient(theta))) - tolerance * initial

    remaining.terminal = True  # type: ignore[attr-defined]
    scale = max(float(np.abs(start).max()), np.finfo(np.float64).tiny)
    solution = solve_ivp(
        lambda _, theta: -problem.gradient(theta),
        (0.0, 1e12 / max(float(np.abs(problem.hessian(start)).max()), 1e-300)),
        start,
        method="BDF",
        jac=lambda _, theta: -problem.hessian(theta),
        events=remaining,
        rtol=1e-10,
        atol=1e-13 * scale,
    )
    if not solution.t_events[0].size:
        raise RuntimeError(f"gradient_flow did not reach a minimum from theta0: {solution.message}")
    return np.asarray(solution.y_events[0][0])
