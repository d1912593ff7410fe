"""The gap E λ_max(H_B) − λ_max(H) to second order in the fluctuation.

Setting. H = diag(λ₁, λ₂, λ₃) in its eigenbasis, λ₁ the largest and simple; H_B = H + D_B, E[D_B] = 0, D_i = H_i − H.

Result. λ_max(H + D) = λ₁ + D₁₁ + Σ_k D₁ₖ²/(λ₁−λ_k) + O(D³), and so
        gap ≈ c · Σ_k (1/n) Σ_i (D_i)₁ₖ²/(λ₁−λ_k).
Three dimensions show every kind of term: further ones only add summands of the same form.
"""

from __future__ import annotations

from functools import cache

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.gap.second_order",)

eigenvalues = sympy.symbols("lambda1:4", real=True)
gap2, gap3 = sympy.symbols("g2 g3", positive=True)
t = sympy.Symbol("t", real=True)
x = sympy.symbols("x1:4", real=True)
D = sympy.Matrix(3, 3, lambda j, k: sympy.Symbol(f"d{min(j, k) + 1}{max(j, k) + 1}", real=True))
c = sympy.Symbol("c", positive=True)
# Mean squares over the samples of the entries (D_i)₁₂ and (D_i)₁₃.
square12, square13 = sympy.symbols("q12 q13", nonnegative=True)
GAPS = {gap2: eigenvalues[0] - eigenvalues[1], gap3: eigenvalues[0] - eigenvalues[2]}


@cache
def orders() -> list[sympy.Expr]:
    """Step 1. det(λ − H − tD) at λ = λ₁ + t·x₁ + t²·x₂ + t³·x₃, in powers of t; g_k = λ₁ − λ_k, H = λ₁ − diag(0, g)."""
    value = sum(t ** (k + 1) * x[k] for k in range(3))
    polynomial = sympy.Poly(sympy.expand((value * sympy.eye(3) + sympy.diag(0, gap2, gap3) - t * D).det()), t)
    return [polynomial.coeff_monomial(t**k) for k in range(4)]


@cache
def expansion() -> list[sympy.Expr]:
    """Step 2. x₁, x₂, x₃: the order t^k is linear in x_k and has no later one: det = 0 gives one after the other."""
    found: dict[sympy.Symbol, sympy.Expr] = {}
    for k in (1, 2, 3):
        equation = orders()[k].subs(found)
        slope = sympy.diff(equation, x[k - 1])
        same(slope, gap2 * gap3, f"slope of order {k}")
        found[x[k - 1]] = -equation.subs(x[k - 1], 0) / slope
    return list(found.values())


def derive() -> dict[str, sympy.Expr]:
    """The second-order term, and its expectation over batches."""
    one, two, three = eigenvalues
    # Step 3. E[D_B] = 0 removes the first order; E[(D_B)₁ₖ²] = c·(1/n) Σ_i (D_i)₁ₖ² by the moment identity.
    return {
        "second-order term of the eigenvalue": D[0, 1] ** 2 / (one - two) + D[0, 2] ** 2 / (one - three),
        "gap": c * (square12 / (one - two) + square13 / (one - three)),
    }


def check() -> None:
    """Each step: the orders of the characteristic polynomial, and the expectation by enumeration."""
    same(orders()[0], 0, "λ₁ is an eigenvalue of H")
    first, second, _ = expansion()
    same(first, D[0, 0], "first order")
    term = derive()["second-order term of the eigenvalue"]
    same(second.subs(GAPS), term, "second order")
    spectrum = dict(zip(eigenvalues, (9, 4, 1), strict=True))
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(3 * size + batch_size, size, 3)
        centre = mean(samples)
        fluctuations = [sample - centre for sample in samples]

        def shift(draw: tuple[int, ...], fluctuations: list[sympy.Matrix] = fluctuations) -> sympy.Expr:
            entries = batch_mean(fluctuations, draw)
            values = {D[0, 1]: entries[0, 1], D[0, 2]: entries[0, 2]}
            return entries[0, 0] + term.subs(spectrum).subs(values)

        squares = {q: mean([d[0, k] ** 2 for d in fluctuations]) for k, q in ((1, square12), (2, square13))}
        factor = {c: coefficient(size, batch_size, replacement)}
        expected = derive()["gap"].subs(spectrum).subs(squares | factor)
        same(expectation(shift, size, batch_size, replacement), expected, "expectation by enumeration")
