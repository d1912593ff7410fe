"""The solver of the flow: stiff at the wall, where it goes along."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.flow.law import Law
from esssim.flow.newton import FactoredBDF, StiffJacobian
from esssim.flow.observables import distance_to_edge

RELATIVE_TOLERANCE = 1e-6
# Where modes beyond the leading ones are known to first order alone.
TOLERANCE_OF_LEADING = 1e-4
# The solver's steps shrink without end at a wall that the flow cannot leave; this fraction of the time gone by is
# short.
SHORTEST_STEP = 1e-7
# Where they do so farther from the edge than this, it is no wall: dθ/dt jumps, as in a model that is not smooth.
AT_THE_WALL = 0.05


@dataclass(frozen=True)
class Course:
    """θ at the steps asked for (m, p), NaN where there is none, and why: the step at which the flow meets a wall it
    cannot leave, and the step at which the solver gave up, its evaluations used up or its steps too short away from the
    edge; −1 for neither.
    """

    thetas: FloatArray
    diverged_at: int = -1
    gave_up_at: int = -1
    n_evaluations: int = 0


def integrate(
    law: Law,
    start: FloatArray,
    steps: IntArray,
    most_evaluations: float = math.inf,
    advance: Callable[[int], None] = lambda count: None,
) -> Course:
    """θ at `steps`. most_evaluations: of dθ/dt, after which the flow is given up; advance: called with the number of
    records that are done since.

    BDF, whose Newton iteration only has to know the part of the Jacobian that is stiff.
    """
    thetas = np.full((len(steps), len(start)), np.nan)
    thetas[0] = start
    jacobian = StiffJacobian.zero(len(start))

    def last_jacobian(step: float, theta: FloatArray) -> StiffJacobian:
        nonlocal jacobian
        found = law.stiff_jacobian(step, theta)
        jacobian = jacobian if found is None else found
        return jacobian

    if not np.isfinite(law.velocity(0.0, start)).all():  # the solver would look for a first step without end
        return Course(thetas, diverged_at=0)
    tolerance = RELATIVE_TOLERANCE if law.rank is None else TOLERANCE_OF_LEADING
    smallest = 1e-2 * tolerance * (float(np.abs(start).max()) or 1.0)
    solver = FactoredBDF(law.velocity, start, float(steps[-1]), last_jacobian, rtol=tolerance, atol=smallest)
    done = 1
    while solver.status == "running":
        solver.step()
        stuck = solver.status == "failed" or (solver.step_size or 0.0) < SHORTEST_STEP * solver.t
        if stuck and solver.t < steps[-1]:
            end = "diverged_at" if _is_at_the_wall(law, solver.t, solver.y) else "gave_up_at"
            return Course(thetas, n_evaluations=solver.nfev, **{end: math.ceil(solver.t)})
        interpolant = solver.dense_output()
        while done < len(steps) and steps[done] <= solver.t:
            corrected = law.corrected(np.asarray(interpolant(float(steps[done]))))
            if corrected is None:
                raise RuntimeError(f"flow.solve left the set of solutions at step {steps[done]}")
            thetas[done] = corrected
            done += 1
            advance(1)
        if solver.nfev > most_evaluations and done < len(steps):
            return Course(thetas, gave_up_at=math.ceil(solver.t), n_evaluations=solver.nfev)
    return Course(thetas, n_evaluations=solver.nfev)


def _is_at_the_wall(law: Law, step: float, theta: FloatArray) -> bool:
    point = law.at(theta)
    fast = law.fast(step, point)
    return fast.noise is None or distance_to_edge(point, fast) < AT_THE_WALL
