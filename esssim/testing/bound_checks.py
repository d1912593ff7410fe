"""Every bound of `esssim.gap` against the enumerated truth."""

from __future__ import annotations

import esssim as es
from esssim.gap.results import Bounds
from esssim.sampling import Sampling
from esssim.testing.case import Case, require


def check_bounds_hold(case: Case, sampling: Sampling) -> None:
    """No tolerance: each bound is rounded outwards by what rounding can do to it and to the enumerated truth."""
    truth = es.minibatch_sharpness(case.problem, case.theta, sampling).value
    found = es.gap.bounds(case.problem, case.theta, sampling)
    require(found.lower <= truth <= found.upper, f"{found.lower} ≤ M_b = {truth} ≤ {found.upper} does not hold")
    _require_all(found, truth)
    if case.has_positive_curvature:
        value = float(es.mean_square_sharpness(case.problem, case.theta, sampling))
        _require_all(es.gap.mean_square_bounds(case.problem, case.theta, sampling), value)


def _require_all(found: Bounds, truth: float) -> None:
    for bound in found.by_name.values():
        holds = bound.value <= truth if bound.side == "lower" else bound.value >= truth
        require(holds or not bound.valid, f"the bound {bound} does not hold for {found.statistic} = {truth!r}")


BOUND_CHECKS = (check_bounds_hold,)
