"""Gradient flow to a minimum: where a run of SGD may start from."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.integrate import solve_ivp

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import Problem, check_problem
from esssim.problems.boundary import divergence_is_expected

# A flow that gets this many times farther than its natural length has no minimum in its way.
ESCAPE = 1e20
# The flow takes hundreds or thousands of gradients; where they have fewer digits than its steps need, it would not end.
MOST_GRADIENTS = 100_000


@one_blas_thread()
def gradient_flow(problem: Problem, theta0: npt.ArrayLike, *, gradient_tolerance: float = 1e-10) -> FloatArray:
    """The limit of dθ/dt = −∇L(θ) from theta0 (p,), to ‖∇L‖ ≤ gradient_tolerance times its start: the η → 0 limit of
    training.

    Conserved quantities of the flow (the imbalance u²−v² of a diagonal network) are kept to about 1e-9 of their size.
    Raises RuntimeError when the flow does not get there. Stiff multistep method (BDF) with the exact Hessian as
    Jacobian.
    """
    check_problem(problem)
    start = problem.check_point(theta0, "theta0")
    tolerance = _validate.real("gradient_tolerance", gradient_tolerance, above=0.0)
    first = problem.gradient(start)
    if not first.any():
        return start
    # Units of θ and of time in which the start, its gradient and its Hessian are near 1, whatever the data's.
    steepness = float(np.abs(problem.hessian(start)).max())
    slope = float(np.abs(first).max())
    length = max(float(np.abs(start).max()), slope / steepness if steepness > 0 else 0.0) or 1.0
    rate = steepness if steepness > 0 else slope / length

    taken = 0

    def velocity(_: float, point: FloatArray) -> FloatArray:
        nonlocal taken
        taken += 1
        if taken > MOST_GRADIENTS:
            raise RuntimeError(
                f"gradient_flow did not reach a minimum from theta0 in {MOST_GRADIENTS:,} gradients: they must be "
                "smooth "
                "to ten digits, which float32 is not"
            )
        return -problem.gradient(length * point) / length / rate

    def remaining(time: float, point: FloatArray) -> float:
        return float(np.linalg.norm(velocity(time, point))) - tolerance * initial

    def escaping(_: float, point: FloatArray) -> float:
        return float(np.abs(point).max()) - ESCAPE

    initial = float(np.linalg.norm(velocity(0.0, start / length)))
    remaining.terminal = escaping.terminal = True  # type: ignore[attr-defined]
    # The solver's first step subtracts a row of its table that it has not written yet; the row is never used, but what
    # lies in that memory may be infinite or NaN, and then numpy warns.
    with np.errstate(invalid="ignore", over="ignore"), divergence_is_expected():
        solution = solve_ivp(
            velocity,
            (0.0, 1e12),
            start / length,
            method="BDF",
            jac=lambda _, point: -problem.hessian(length * point) / rate,
            events=(remaining, escaping),
            rtol=1e-10,
            atol=1e-13,
        )
    if not solution.t_events[0].size:
        reason = "it escapes to infinity" if solution.t_events[1].size else solution.message
        raise RuntimeError(f"gradient_flow did not reach a minimum from theta0: {reason}")
    return np.asarray(length * solution.y_events[0][0])
