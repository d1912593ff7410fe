"""(a) Largest eigenvalues against 50-digit arithmetic."""

from __future__ import annotations

import numpy as np

from esssim._rows import Row
from esssim.doctor import exact
from esssim.doctor.cases import Case, case
from esssim.doctor.check import Finding, at_most, check, steps
from esssim.spectra import largest_eigenvalues

# (cases, least and most parameters, most samples, allowed relative error)
SMALL, LARGE = (400, 1, 16, 12, 1e-12), (100, 17, 200, 40, 1e-10)


@check(key="a", title="Spectra agree with 50-digit arithmetic", seconds=(8.0, 900.0))
def spectra(quick: bool) -> Finding:
    """λ_max(H_B) of random and nasty problems of every kind, for b = 1, b = n and a batch between, against the
    eigenvalues of the Hessian that mpmath computes from the formula of the loss in 50 digits; the error is relative to
    ‖H_B‖₂. From 17 parameters on λ_max is enclosed instead, for the batch between: a quotient of vectors below, a
    factorisation above.
    """
    figure, wanted, rows, failures = {}, {}, list[Row](), list[str]()
    for count, least, most, most_samples, allowed in (SMALL, LARGE):
        few = count // 40 if most <= exact.SMALL else 3
        largest, shown = 0.0, 60 if quick and most > exact.SMALL else most
        for seed in steps(range(few if quick else count)):
            # Kinds and twists take turns over 72 seeds: a few of them still see every kind.
            each = case(seed * (17 if quick else 1), shown, most_samples, least)
            error = largest_error(each, all_sizes=most <= exact.SMALL)
            largest = max(largest, error)
            if error > allowed:
                failures.append(each.name)
                rows.append({"case": each.name, "p": each.problem.n_params, "error": error})
        name = f"largest_error_up_to_{most}_parameters"
        figure[name], wanted[name] = largest, at_most(allowed)
        figure[f"problems_up_to_{most}_parameters"] = few if quick else count
    return Finding(figure, wanted, rows, failures)


def largest_error(each: Case, all_sizes: bool) -> float:
    """Of λ_max(H_B) over three batches, or one."""
    n = each.problem.n_samples
    rng = np.random.default_rng(n)
    curvature = each.problem.curvature(each.theta)
    errors = []
    for b in sorted({1, n, (n + 1) // 2} if all_sizes else {(n + 1) // 2}):
        batch = np.sort(rng.permutation(n)[:b])
        found = float(largest_eigenvalues(curvature, batch[None])[0])
        with exact.digits():
            errors.append(exact.error_of(found, exact.batch_hessian(each.problem, each.theta, batch)))
    return max(errors)
