"""The response of momentum to gradient noise, mode by mode.

Setting. State (e, v) of the mode of curvature λ: heavy ball v ← βv + g, e ← e − ηv; Nesterov e ← e − η(g + βv). T_λ is
its step for g = λe, and a gradient enters as (−η, 1), or (−η(1+β), 1) for Nesterov.

Result. K_jk = Σ_t a_j(t)a_k(t), a_j(t) the response of e to a unit impulse of gradient noise, is the first entry of the
solution of X = T_jXT_kᵀ + ggᵀ. On the diagonal
        heavy ball  K = η(1+β)/(λ(1−β)(2(1+β) − ηλ)),
        Nesterov    K = η(1 + β + ηλβ(1+2β))/(λ(1−β + ηλβ)(2(1+β) − ηλ(1+2β))).
Gradient noise of covariance N per step holds e at the covariance K∘N, and the noise of H_B itself is N = V(Σ):
mean-square stable exactly while ρ(K∘V) < 1.

Heavy ball: 1/K_jk = A_jk/η + B_jk, with
        A = (1−β)(λⱼ + λ_k),  B = β(λⱼ−λ_k)²/(1−β²) − λⱼλ_k(1−β)/(1+β).
Below the pole K > 0, and ρ(K∘V) < 1 exactly where A/η + B − V is positive definite: 1/η_c is the largest value of
⟨P, V(P) − B∘P⟩/⟨P, A∘P⟩ over symmetric P. Nesterov has no such form.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = (
    "esssim.stability.critical_step_size",
    "esssim.stability.mean_square.response_kernel",
    "esssim.stability.heavy_ball.inverse_response",
)

eta, first, second = sympy.symbols("eta lambda1 lambda2", positive=True)
beta = sympy.Symbol("beta", nonnegative=True)


def step(curvature: sympy.Expr, nesterov: bool) -> sympy.Matrix:
    """T_λ from the update rules."""
    e, v = sympy.symbols("e v")
    gradient = curvature * e
    velocity = beta * v + gradient
    moved = e - eta * (gradient + beta * velocity if nesterov else velocity)
    return sympy.Matrix([moved, velocity]).jacobian([e, v])


def gain(nesterov: bool) -> sympy.Matrix:
    """How a gradient enters (e, v)."""
    return sympy.Matrix([-eta * (1 + beta) if nesterov else -eta, 1])


def kernel(nesterov: bool) -> sympy.Expr:
    """K_jk: X = T_jXT_kᵀ + ggᵀ solved for X₁₁."""
    unknowns = sympy.Matrix(2, 2, sympy.symbols("x11 x12 x21 x22"))
    transitions = step(first, nesterov), step(second, nesterov)
    equation = transitions[0] * unknowns * transitions[1].T + gain(nesterov) * gain(nesterov).T - unknowns
    return sympy.factor(sympy.solve(list(equation), list(unknowns))[unknowns[0, 0]])


def derive() -> dict[str, sympy.Expr]:
    """K_jk of plain SGD, heavy ball and Nesterov."""
    heavy, nesterov = kernel(False), kernel(True)
    return {
        "plain SGD": sympy.factor(heavy.subs(beta, 0)),
        "heavy ball": heavy,
        "Nesterov": nesterov,
        "heavy ball, one mode": sympy.factor(heavy.subs(second, first)),
        "Nesterov, one mode": sympy.factor(nesterov.subs(second, first)),
        "heavy ball, 1/K": inverse(),
    }


def inverse() -> sympy.Expr:
    """A/η + B of heavy ball."""
    rest = beta * (first - second) ** 2 / (1 - beta**2) - first * second * (1 - beta) / (1 + beta)
    return (1 - beta) * (first + second) / eta + rest


def check() -> None:
    """The closed form on the diagonal, plain SGD, and the sum over t as a series in η."""
    found = derive()
    # Step 1. Without momentum a(t) = −η(1−ηλ)ᵗ: a geometric series.
    same(found["plain SGD"], eta**2 / (1 - (1 - eta * first) * (1 - eta * second)), "plain SGD")
    # Step 2. The diagonals.
    closed = eta * (1 + beta) / (first * (1 - beta) * (2 * (1 + beta) - eta * first))
    same(found["heavy ball, one mode"], closed, "heavy ball, one mode")
    load = eta * first
    closed = eta * (1 + beta + load * beta * (1 + 2 * beta))
    closed /= first * (1 - beta + load * beta) * (2 * (1 + beta) - load * (1 + 2 * beta))
    same(found["Nesterov, one mode"], closed, "Nesterov, one mode")
    for nesterov, name in ((False, "heavy ball"), (True, "Nesterov")):
        # Step 3. The same as the sum itself, in exact arithmetic at a stable step: the rest after t steps is the first
        # entry of T_jᵗX(T_kᵗ)ᵀ, which must be what is missing.
        numbers = {eta: sympy.Rational(1, 3), beta: sympy.Rational(1, 2), first: 1, second: sympy.Rational(3, 2)}
        t1, t2, g = (x.subs(numbers) for x in (step(first, nesterov), step(second, nesterov), gain(nesterov)))
        partial, left, right = sympy.Integer(0), g, g
        for _ in range(60):
            partial += left[0] * right[0]
            left, right = t1 * left, t2 * right
        total = found[name].subs(numbers)
        assert 0 < abs(total - partial) < sympy.Rational(1, 10**8), f"{name}: the series does not sum to K"
        # Step 4. The pole of the diagonal is the deterministic edge, 2(1+β)/λ or 2(1+β)/(λ(1+2β)).
        edge = 2 * (1 + beta) / (first * ((1 + 2 * beta) if nesterov else 1))
        denominator = sympy.fraction(found[f"{name}, one mode"])[1]
        same(denominator.subs(eta, edge), 0, f"{name}: pole at the edge")
    # Step 5. The reciprocal of heavy ball's is linear in 1/η, and increases with it.
    same(found["heavy ball, 1/K"] * found["heavy ball"], 1, "heavy ball: A/η + B")
