"""The secular equation: the top eigenvalue of diagonal plus low rank from a small matrix.

Setting. H = diag(δ) + AᵀA, A of b rows and p columns, λ > max δ.

Result. λ is an eigenvalue of H exactly where 1 is one of A(λ − diag δ)⁻¹Aᵀ, a b×b matrix; its top eigenvalue μ(λ) falls
from +∞ to 0, so that λ_max(H) is the root of μ(λ) = 1. If no column of A sees the coordinate of max δ, that is λ_max.
Written out for p = 3 and b = 2.
"""

from __future__ import annotations

import sympy

from theory._exact import integers, same

COMPUTED_BY = ("esssim.spectra.diagonal_plus_low_rank_largest_eigenvalues",)

p, b = 3, 2
delta = sympy.symbols("delta1:4", real=True)
A = sympy.Matrix(b, p, lambda i, k: sympy.Symbol(f"a{i + 1}{k + 1}", real=True))
value = sympy.Symbol("lambda", real=True)


def small_matrix() -> sympy.Matrix:
    """A(λ − diag δ)⁻¹Aᵀ."""
    return A * sympy.diag(*[1 / (value - entry) for entry in delta]) * A.T


def derive() -> dict[str, sympy.Expr]:
    """The secular function: zero at the eigenvalues of H."""
    return {"secular function": (sympy.eye(b) - small_matrix()).det()}


def check() -> None:
    """The determinant identity, the fall of μ, and the unseen coordinate."""
    # Step 1. Matrix determinant lemma: det(λ − δ − AᵀA) = det(λ − δ)·det(1 − A(λ − δ)⁻¹Aᵀ).
    resolvent = sympy.diag(*[value - entry for entry in delta])
    whole = (resolvent - A.T * A).det()
    same(whole, sympy.prod(value - entry for entry in delta) * derive()["secular function"], "determinant lemma")
    # Step 2. μ falls: the derivative of zᵀA(λ − δ)⁻¹Aᵀz in λ is −‖(λ − δ)⁻¹Aᵀz‖² for every z, and so is that of the
    # largest of these forms at its own z.
    z = sympy.Matrix(sympy.symbols("z1:3", real=True))
    form = (z.T * small_matrix() * z)[0]
    image = sympy.diag(*[1 / (value - entry) for entry in delta]) * A.T * z
    same(sympy.diff(form, value), -(image.T * image)[0], "derivative of the form")
    same(sympy.limit(form.subs(dict(zip(delta, (1, 2, 3), strict=True))), value, sympy.oo), 0, "limit at infinity")
    # Step 3. A coordinate that no row of A sees is an eigenvector of its own.
    unseen = A.copy()
    unseen[:, 0] = sympy.zeros(b, 1)
    axis = sympy.Matrix([1, 0, 0])
    same((sympy.diag(*delta) + unseen.T * unseen) * axis, delta[0] * axis, "unseen coordinate")
    # Step 4. In rational arithmetic: the roots of the secular function are the eigenvalues of H.
    numbers = dict(zip([*delta, *A], [-1, 0, 2, *[entry for row in integers(3, b, p) for entry in row]], strict=True))
    numerator = sympy.fraction(sympy.cancel(derive()["secular function"].subs(numbers)))[0]
    matrix = (sympy.diag(*delta) + A.T * A).subs(numbers)
    polynomial = (value * sympy.eye(p) - matrix).det()
    same(sympy.rem(polynomial, numerator, value), 0, "roots of the secular function")
