"""The mean-square edge of momentum in one dimension.

Setting. Quadratic losses in one dimension, a = E h_B > 0, s² = Var h_B; T_B = [[1−ηh_B, −ηβ], [h_B, β]].

Result. Heavy ball is mean-square stable exactly below 1/η_max = a/(2(1+β)) + s²/(2a(1−β)): for s = 0 the edge 2(1+β)/a
of full batches, for s ≫ a that of small ones, 2(1−β)/Q_b with Q_b = a + s²/a.
Nesterov: η_max is the smallest positive root of s²·K(η) = 1 with the kernel K of `theory.momentum_kernel`.
"""

from __future__ import annotations

import sympy

from theory import momentum_kernel
from theory._exact import same

COMPUTED_BY = ("esssim.stability.critical_step_size",)

eta, a = sympy.symbols("eta a", positive=True)
beta, s2 = sympy.symbols("beta s2", nonnegative=True)


def second_moment_operator(nesterov: bool) -> sympy.Matrix:
    """E[T_B ⊗ T_B] on symmetric matrices (E e², E ev, E v²): quadratic in h_B, E h_B = a, E h_B² = a² + s²."""
    h, e, v = sympy.symbols("h e v")
    step = momentum_kernel.step(h, nesterov).subs({momentum_kernel.eta: eta, momentum_kernel.beta: beta})
    state = step * sympy.Matrix([e, v])
    moments = [sympy.expand(product) for product in (state[0] ** 2, state[0] * state[1], state[1] ** 2)]
    rows = [[moment.coeff(e, 2), moment.coeff(e, 1).coeff(v, 1), moment.coeff(v, 2)] for moment in moments]
    average = sympy.Matrix(rows).applyfunc(sympy.expand)
    return average.applyfunc(lambda x: x.coeff(h, 0) + x.coeff(h, 1) * a + x.coeff(h, 2) * (a**2 + s2))


def derive() -> dict[str, sympy.Expr]:
    """The critical step size of heavy ball; what is 1 at that of Nesterov."""
    heavy = 1 / (a / (2 * (1 + beta)) + s2 / (2 * a * (1 - beta)))
    names = {momentum_kernel.eta: eta, momentum_kernel.beta: beta, momentum_kernel.first: a}
    nesterov = s2 * momentum_kernel.derive()["Nesterov, one mode"].subs(names)
    return {"critical step size of heavy ball": heavy, "noise put back by Nesterov": sympy.factor(nesterov)}


def check() -> None:
    """The eigenvalue 1 appears at η_max and nowhere before; the limits; agreement with the kernel."""
    found = derive()
    critical = found["critical step size of heavy ball"]
    operator = second_moment_operator(False)
    determinant = sympy.factor((sympy.eye(3) - operator).det())
    # Step 1. The operator maps positive matrices to positive ones, so that its spectral radius is an eigenvalue: as η
    # rises from 0, where it is 1 and falls, stability ends at the first positive root of det(1 − E[T⊗T]).
    roots = [root for root in sympy.solve(determinant, eta) if root != 0]
    assert len(roots) == 1, f"one positive root was expected, got {roots}"
    same(roots[0], critical, "root of the determinant")
    # Step 2. It does become stable at once: the determinant is positive for small η, where the two other eigenvalues
    # are near β and β².
    slope = sympy.limit(determinant / eta, eta, 0)
    same(slope, 2 * a * (1 - beta**2), "slope of the determinant at 0")
    # Step 3. The same through the kernel: s²·K = 1.
    names = {momentum_kernel.eta: eta, momentum_kernel.beta: beta, momentum_kernel.first: a}
    kernel = momentum_kernel.derive()["heavy ball, one mode"].subs(names)
    same((s2 * kernel).subs(eta, critical), 1, "noise put back at the edge")
    # Step 4. Both ends.
    same(critical.subs(s2, 0), 2 * (1 + beta) / a, "full batches")
    same(
        sympy.limit(critical * s2, s2, sympy.oo), sympy.limit(2 * (1 - beta) / (a + s2 / a) * s2, s2, sympy.oo), "small"
    )
    same(critical.subs(beta, 0), 2 / (a + s2 / a), "without momentum")
    # Step 5. Between them always: 1/η_max − (a + s²/a)/(2(1+β)) and (a + s²/a)/(2(1−β)) − 1/η_max are not negative.
    q = a + s2 / a
    same(1 / critical - q / (2 * (1 + beta)), beta * s2 / (a * (1 - beta**2)), "above the large-batch end")
    same(q / (2 * (1 - beta)) - 1 / critical, a * beta / (1 - beta**2), "below the small-batch end")
    # Step 6. Nesterov: the determinant vanishes exactly where the kernel puts back all the noise.
    determinant = (sympy.eye(3) - second_moment_operator(True)).det()
    deterministic = determinant.subs(s2, 0)
    same(determinant / deterministic, 1 - found["noise put back by Nesterov"], "Nesterov")
