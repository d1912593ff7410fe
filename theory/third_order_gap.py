"""The gap E λ_max(H_B) − λ_max(H) to third order in the fluctuation.

Setting. As for the second order. D = D_i in H's eigenbasis, λ₁ the top eigenvalue.

Result. The third-order term of λ_max(H + D) is Σ_kl D₁ₖDₖₗDₗ₁/((λ₁−λ_k)(λ₁−λ_l)) − D₁₁ Σ_k D₁ₖ²/(λ₁−λ_k)²; being a
cubic form in D, its expectation over batches is c₃ times its mean over the samples.
"""

from __future__ import annotations

import sympy

from theory import second_order_gap as second_order
from theory._exact import SCHEMES, batch_mean, expectation, mean, same, symmetric_matrices
from theory.third_moment import b, n
from theory.third_moment import derive as third_moment

COMPUTED_BY = ("esssim.gap.third_order",)

D, eigenvalues = second_order.D, second_order.eigenvalues


def third_term() -> sympy.Expr:
    """The result: sums over k, l ≠ 1 written out."""
    gaps = [eigenvalues[0] - other for other in eigenvalues]
    others = (1, 2)
    double = sum(D[0, k] * D[k, j] * D[j, 0] / (gaps[k] * gaps[j]) for k in others for j in others)
    return double - D[0, 0] * sum(D[0, k] ** 2 / gaps[k] ** 2 for k in others)


def derive() -> dict[str, sympy.Expr]:
    """The third-order term of one matrix; the gap adds c₃ times its mean over the samples."""
    return {"third-order term of the eigenvalue": third_term()}


def check() -> None:
    """The order t³ of the characteristic polynomial, and the expectation by enumeration."""
    # Step 1. The order t³ of the characteristic polynomial is linear in x₃ (solved in `second_order_gap.expansion`).
    term_of_matrix = derive()["third-order term of the eigenvalue"]
    third = second_order.expansion()[2].subs(second_order.GAPS)
    same(third, term_of_matrix, "third order")
    # Step 2. A cubic form in D: scaling D by s scales it by s³.
    s = sympy.Symbol("s")
    scaled = term_of_matrix.subs({entry: s * entry for entry in D}, simultaneous=True)
    same(scaled, s**3 * term_of_matrix, "cubic form")
    # Step 3. So its expectation is c₃ times the mean over the samples, here by enumeration.
    spectrum = dict(zip(eigenvalues, (9, 4, 1), strict=True))
    term_at_spectrum = term_of_matrix.subs(spectrum)

    def form(matrix: sympy.Matrix) -> sympy.Expr:
        return term_at_spectrum.subs(dict(zip(D, matrix, strict=True)))

    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(5 * size + batch_size, size, 3)
        centre = mean(samples)
        fluctuations = [sample - centre for sample in samples]

        def term(draw: tuple[int, ...], fluctuations: list[sympy.Matrix] = fluctuations) -> sympy.Expr:
            return form(batch_mean(fluctuations, draw))

        c3 = third_moment()["c₃ with replacement" if replacement else "c₃ without replacement"]
        expected = c3.subs({n: size, b: batch_size}) * mean([form(d) for d in fluctuations])
        same(expectation(term, size, batch_size, replacement), expected, "expectation by enumeration")
