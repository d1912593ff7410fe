"""The equilibrium gap of stochastic self-stabilisation.

Setting. Predicted dynamics along the top eigenvector u (displacement x) and of the sharpness (y = S − 2/η):
        x ← −(1 + ηy)x + ησ_u z,  y ← y + η(α − ½βx²),
z standard normal, α the rate of progressive sharpening, β the strength of self-stabilisation.

Result. With y held at −Δ, x has the variance ησ_u²/(Δ(2 − ηΔ)); y stays on average where E x² = 2α/β. To first order in
ηΔ the gap 2/η − S is Δ = ηβσ_u²/(4α); exactly, Δ = (1 − √(1 − η²βσ_u²/(2α)))/η, which exists only for η²βσ_u² ≤ 2α.
The sharpness S is at the first-order equilibrium at η = 4/(S + √(S² + 2βσ_u²/α)).
With y free: let δ = −ηy, ξ² = βx²/(2α), κ = η²α and s² = η²βσ_u²/(2α). In every stationary law with finite fourth
moments E ξ² = 1 and
        E δ = s²/2 + ½ E[δ²ξ²] + ½κ E(ξ² − 1)²,
and s²/2 is η times the closed form: a lower bound on the mean gap of its own dynamics, near it where it is ≫ ηα.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.stability.self_stabilisation",)

eta, alpha, beta, gap, sharpness = sympy.symbols("eta alpha beta Delta S", positive=True)
variance = sympy.Symbol("sigma2", positive=True)


def stationary_variance() -> sympy.Expr:
    """Step 1. v = (1 + ηy)²v + η²σ² at y = −Δ."""
    v = sympy.Symbol("v")
    return sympy.factor(sympy.solve(sympy.Eq(v, (1 - eta * gap) ** 2 * v + eta**2 * variance), v)[0])


def derive() -> dict[str, sympy.Expr]:
    """The gap to first order and at fixed y exactly; the step size of equilibrium."""
    return {
        "gap": eta * beta * variance / (4 * alpha),
        "gap, all orders": (1 - sympy.sqrt(1 - eta**2 * beta * variance / (2 * alpha))) / eta,
        "step size": 4 / (sharpness + sympy.sqrt(sharpness**2 + 2 * beta * variance / alpha)),
    }


def check() -> None:
    """Each step of the balance, and the expansion."""
    found = derive()
    same(stationary_variance(), eta * variance / (gap * (2 - eta * gap)), "stationary variance of x")
    # Step 2. E y stands still where α = ½βE x². First order in Δ: E x² = ησ²/(2Δ).
    leading = sympy.limit(stationary_variance() * gap, gap, 0) / gap
    same(leading, eta * variance / (2 * gap), "leading order")
    same(alpha - beta * leading.subs(gap, found["gap"]) / 2, 0, "first-order balance")
    # Step 3. All orders in ηΔ: a quadratic for Δ, of which the smaller root tends to the first-order gap.
    balance = alpha - beta * stationary_variance() / 2
    same(balance.subs(gap, found["gap, all orders"]), 0, "balance to all orders")
    expansion = sympy.series(found["gap, all orders"], eta, 0, 2).removeO()
    same(expansion, found["gap"], "first order of the exact balance")
    # Step 4. y free. x enters through its square only, z is independent of (x, y). Balance of δ: E ξ² = 1. Of δ² and of
    # ξ², with the moments E δ, E[δξ²], E[δ²ξ²], E ξ⁴ as unknowns:
    delta, square, kappa, s2 = sympy.symbols("delta xi2 kappa s2")
    xi, z = sympy.symbols("xi z")
    mean_gap, mixed, mixed2, fourth = sympy.symbols("Edelta Edeltaxi2 Edelta2xi2 Exi4")
    moments = {(1, 0): mean_gap, (1, 1): mixed, (2, 1): mixed2, (0, 2): fourth, (0, 1): 1, (0, 0): 1}

    def average(polynomial: sympy.Expr) -> sympy.Expr:
        terms = sympy.Poly(sympy.expand(polynomial), delta, square).terms()
        return sum(factor * moments[powers] for powers, factor in terms)

    step = delta + kappa * (square - 1)
    of_gap = average(step**2 - delta**2)
    moved = sympy.expand((-(1 - delta) * xi + sympy.sqrt(s2) * z) ** 2)
    # E z = 0 and E z² = 1.
    of_square = average((moved.coeff(z, 0) + moved.coeff(z, 2)).subs(xi**2, square).expand() - square)
    solution = sympy.solve([of_gap, of_square], [mean_gap, mixed], dict=True)[0][mean_gap]
    same(solution, s2 / 2 + mixed2 / 2 + kappa * (fourth - 1) / 2, "mean gap; E(ξ² − 1)² = E ξ⁴ − 1")
    same((s2 / 2).subs(s2, eta**2 * beta * variance / (2 * alpha)) / eta, found["gap"], "s²/2 is η times the gap")
    # In these variables the dynamics are those of the setting.
    x, y = sympy.symbols("x y")
    names = {delta: -eta * y, square: beta * x**2 / (2 * alpha), kappa: eta**2 * alpha}
    same(-eta * (y + eta * (alpha - beta * x**2 / 2)), step.subs(names), "step of δ")
    # Step 5. The step size at which S + gap(η) = 2/η.
    at = found["step size"]
    same(sharpness + found["gap"].subs(eta, at) - 2 / at, 0, "step size of equilibrium")
