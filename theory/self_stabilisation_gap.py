"""The equilibrium gap of stochastic self-stabilisation.

Setting. Predicted dynamics along the top eigenvector u (displacement x) and of the sharpness (y = S − 2/η):
        x ← −(1 + ηy)x + ησ_u z,  y ← y + η(α − ½βx²),
z standard normal, α the rate of progressive sharpening, β the strength of self-stabilisation.

Result. With y held at −Δ, x has the variance ησ_u²/(Δ(2 − ηΔ)); y stays on average where E x² = 2α/β. To first order in
ηΔ the gap 2/η − S is Δ = ηβσ_u²/(4α); exactly, Δ = (1 − √(1 − η²βσ_u²/(2α)))/η, which exists only for η²βσ_u² ≤ 2α.
The sharpness S is at the first-order equilibrium at η = 4/(S + √(S² + 2βσ_u²/α)).
"""

from __future__ import annotations

import sympy

from theory._exact import same

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
    # Step 4. The step size at which S + gap(η) = 2/η.
    at = found["step size"]
    same(sharpness + found["gap"].subs(eta, at) - 2 / at, 0, "step size of equilibrium")
