"""The imbalance of a diagonal linear network: exact at every step, for any batch.

Setting. Product form β = u∘v: gradients s∘v and s∘u, s = X_Bᵀr_B/b. Difference form of depth two, β = w₊² − w₋²:
gradients 2s∘w₊ and −2s∘w₋. One coordinate; s is any number.

Result. m = u² − v² is multiplied by 1 − η²s² at each step. w₊ and w₋ are multiplied by 1 ∓ 2ηs, their product by
1 − 4η²s². Gradient flow conserves both; SGD can only shrink |m| while η|s| < √2.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.claims.identities.imbalance_shrinks",)

u, v, s, eta = sympy.symbols("u v s eta", real=True)
plus, minus = sympy.symbols("w_+ w_-", real=True)


def derive() -> dict[str, sympy.Expr]:
    """The factors of one step."""
    return {"factor of u² − v²": 1 - eta**2 * s**2, "factor of w₊w₋": 1 - 4 * eta**2 * s**2}


def check() -> None:
    """From the loss by differentiation, step by step."""
    # Step 1. With L a function of β = uv and s = dL/dβ, the gradient is (s·v, s·u).
    loss = sympy.Function("L")
    beta = sympy.Symbol("beta")
    derivative = loss(beta).diff(beta)
    for parameter, partner in ((u, v), (v, u)):
        gradient = loss(u * v).diff(parameter).doit()
        same(gradient, derivative.subs(beta, u * v).doit() * partner, "gradient of the product form")
    # Step 2. One step of SGD.
    u_next, v_next = u - eta * s * v, v - eta * s * u
    found = derive()
    same(u_next**2 - v_next**2, (u**2 - v**2) * found["factor of u² − v²"], "imbalance")
    # Step 3. In the sum and difference the step is multiplicative: (u ± v) ← (u ± v)(1 ∓ ηs).
    same(u_next + v_next, (u + v) * (1 - eta * s), "sum")
    same(u_next - v_next, (u - v) * (1 + eta * s), "difference")
    # Step 4. Difference form of depth two: dβ/dw₊ = 2w₊, dβ/dw₋ = −2w₋.
    plus_next, minus_next = plus - eta * 2 * s * plus, minus + eta * 2 * s * minus
    same(plus_next * minus_next, plus * minus * found["factor of w₊w₋"], "product of w₊ and w₋")
    # Step 5. The two are one network: w₊ = (u+v)/2, w₋ = (u−v)/2 and η/2 turn the second factor into the first.
    same(found["factor of w₊w₋"].subs(eta, eta / 2), found["factor of u² − v²"], "the two forms")
    same(((u + v) / 2) * ((u - v) / 2), (u**2 - v**2) / 4, "w₊w₋ is a quarter of the imbalance")
    # Step 6. Gradient flow conserves m: the first order in η is absent.
    same(sympy.diff(found["factor of u² − v²"], eta).subs(eta, 0), 0, "conserved to first order")
    # Step 7. |1 − η²s²| < 1 exactly for 0 < η²s² < 2.
    x = sympy.Symbol("x", positive=True)
    inside = sympy.solve_univariate_inequality(sympy.Abs(1 - x) < 1, x, relational=False)
    assert inside == sympy.Interval.open(0, 2), f"the factor shrinks m on {inside}"
