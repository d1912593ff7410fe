"""Momentum batch sharpness of heavy ball: an identity where the state is stationary, and its value at the edge.

Setting. Quadratic loss at an interpolating minimum; heavy ball s = βv + H_Be, e ← e − ηs, v ← s, the batch independent
of (e, v). Momentum batch sharpness is E[sᵀH_Bs]/E[g_Bᵀs], with g_B = H_Be.

Results.
1. With the Hessian H of the full loss and its gradient He in place of those of the batch, a stationary state has
   E[sᵀHs]/E[(He)ᵀs] = 2/η at every stable step size, in any dimension: eᵀHe is the same before and after a step.
2. In one dimension, a = E h_B, m₂ = E h_B², m₃ = E h_B³, at the mean-square edge, where the second moments are
   stationary without other noise: E[s²] = 2aE[e²]/(η(1+β)), E[ev] = −E[es] = −aE[e²]/(1+β), and
   E[hs²]/E[hes] = (2β²a²/(η(1+β)) − 2βam₂/(1+β) + m₃)/(m₂ − βa²/(1+β)).
3. For full batches this is 2/η; for β = 0 it is m₃/m₂, which for h ≥ 0 is never below the edge m₂/a = 2/η. In between
   it depends on m₃, and the edge does not: momentum batch sharpness below 2/η is neither necessary nor sufficient for
   stability.
4. Where the noise of the curvature is strong, m₂ ≫ a² with κ = m₃a/m₂² fixed, (η/2) times it is (1−β)κ: it goes to the
   small-batch end 2(1−β)/η with batch sharpness, and not to 2/η.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.momentum_batch_sharpness", "esssim.stability.critical_step_size")

eta, beta, a, m2, m3 = sympy.symbols("eta beta a m2 m3", positive=True)
p = 2


def second_moments() -> tuple[sympy.Expr, sympy.Expr]:
    """E[ev] and E[v²] = E[s²] at the edge, for E[e²] = 1."""
    return -a / (1 + beta), 2 * a / (eta * (1 + beta))


def derive() -> dict[str, sympy.Expr]:
    """Momentum batch sharpness and 1/η at the mean-square edge, in one dimension."""
    crossed, squared = second_moments()
    curved = beta**2 * a * squared + 2 * beta * m2 * crossed + m3
    return {
        "momentum batch sharpness at the edge": sympy.simplify(curved / (m2 + beta * a * crossed)),
        "1/η at the edge": a / (2 * (1 + beta)) + (m2 - a**2) / (2 * a * (1 - beta)),
    }


def check() -> None:
    """The identity; the stationary second moments and what follows from them; both ends."""
    # 1. (e − ηs)ᵀH(e − ηs) = eᵀHe − 2ηeᵀHs + η²sᵀHs for every s: means that are equal leave the identity.
    hessian = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"H{min(j, k)}{max(j, k)}", real=True))
    e, s = (sympy.Matrix(sympy.symbols(f"{name}1:{p + 1}", real=True)) for name in "es")
    change = ((e - eta * s).T * hessian * (e - eta * s) - e.T * hessian * e)[0]
    same(change, eta**2 * (s.T * hessian * s)[0] - 2 * eta * ((hessian * e).T * s)[0], "change of the loss")
    # 2. One step of E[e²], E[ev], E[v²] with h independent of the state, E[e²] = 1.
    crossed, squared = second_moments()
    new_squared = m2 + 2 * beta * a * crossed + beta**2 * squared
    of_e_and_s = a + beta * crossed
    new_position = 1 - 2 * eta * of_e_and_s + eta**2 * new_squared
    new_crossed = of_e_and_s - eta * new_squared
    at_edge = {eta: 1 / derive()["1/η at the edge"]}
    for new, old in ((new_squared, squared), (new_position, sympy.Integer(1)), (new_crossed, crossed)):
        same(new.subs(at_edge), old.subs(at_edge), "stationary at the edge")
    h, v, x = sympy.symbols("h v x", real=True)
    step = beta * v + h * x
    curved, along = sympy.expand(h * step**2), sympy.expand(h * x * step)
    moments = {(0, 2): squared, (1, 1): crossed, (2, 0): sympy.Integer(1)}
    of_h = {1: a, 2: m2, 3: m3}

    def averaged(value: sympy.Expr) -> sympy.Expr:
        terms = sympy.Poly(value, h, x, v).terms()
        return sum(factor * of_h[powers[0]] * moments[powers[1], powers[2]] for powers, factor in terms)

    result = derive()["momentum batch sharpness at the edge"]
    same(averaged(curved) / averaged(along), result, "momentum batch sharpness")
    # 3.
    full = {m2: a**2, m3: a**3}
    same(result.subs(at_edge).subs(full), (2 / eta).subs(at_edge).subs(full), "full batches")
    same(result.subs(beta, 0), m3 / m2, "without momentum")
    same((2 / eta).subs(at_edge).subs(beta, 0), m2 / a, "edge without momentum")
    # 4.
    kappa, large = sympy.symbols("kappa M", positive=True)
    level = sympy.cancel((result * eta / 2).subs(at_edge).subs(m3, kappa * m2**2 / a).subs(m2, large))
    same(sympy.limit(level, large, sympy.oo), kappa * (1 - beta), "strong noise")
