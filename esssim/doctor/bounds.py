"""(e) Bounds of the gap against enumerated values."""

from __future__ import annotations

import contextlib

import numpy as np

import esssim as es
from esssim._errors import Undefined
from esssim._rows import Row
from esssim.doctor.cases import Case, case, sampling
from esssim.doctor.check import Finding, check, exactly, steps
from esssim.gap.results import Bounds
from esssim.sampling import Sampling

SETTINGS = 10_000
MOST_SAMPLES, MOST_PARAMS = 5, 6


@check(key="e", title="Bounds of the gap hold", seconds=(4.0, 400.0))
def bounds(quick: bool) -> Finding:
    """Every bound on MiniBS and on the mean-square sharpness whose condition is met, against the enumerated value, on
    problems of every kind with up to 5 samples, both schemes and every batch size. No tolerance: each bound is rounded
    outwards by its own error."""
    checked, rows, failures = 0, list[Row](), list[str]()
    settings = range(SETTINGS // 100 if quick else SETTINGS)
    for seed in steps(settings):
        each = case(seed, MOST_PARAMS, MOST_SAMPLES)
        scheme = sampling(seed, each.problem.n_samples)
        for found, value in pairs(each, scheme):
            valid = [bound for bound in found.by_name.values() if bound.valid]
            checked += len(valid)
            for bound in valid:
                if not (bound.value <= value if bound.side == "lower" else bound.value >= value):
                    failures.append(f"{bound.name}: {each.name}, {scheme}")
                    rows.append({"bound": bound.name, "case": each.name, "value": value, "limit": bound.value})
    figure = {"violations": len(failures), "settings": len(settings), "bounds_checked": checked}
    return Finding(figure, {"violations": exactly(0)}, rows, failures)


def pairs(each: Case, scheme: Sampling) -> list[tuple[Bounds, float]]:
    """The bounds on either statistic with its value, where it has one."""
    at = (each.problem, each.theta, scheme)
    with np.errstate(all="ignore"):
        found = [(es.gap.bounds(*at), es.minibatch_sharpness(*at).value)]
        with contextlib.suppress(Undefined):
            found.append((es.gap.mean_square_bounds(*at), float(es.mean_square_sharpness(*at))))
    return found
