"""Mini-batch Hessians of diagonal linear networks are diagonal plus low rank.

Setting. ℓ_i = ½r_i², r_i = x_iᵀβ − y_i; s = X_Bᵀr_B/b. Product form: β = u∘v, θ = (u, v). Difference form of depth D:
β = w₊ᴰ − w₋ᴰ, θ = (w₊, w₋).

Result. Product form, in the rotated basis ((du + dv)/√2, (du − dv)/√2):
        H_B = diag(s, −s) + AᵀA,  A = [X_B∘(u+v)/√2, X_B∘(v−u)/√2]/√b.
Difference form, as it stands:
        H_B = D(D−1) diag(s∘w₊^{D−2}, −s∘w₋^{D−2}) + AᵀA,  A = D[X_B∘w₊^{D−1}, −X_B∘w₋^{D−1}]/√b.
Written out for two inputs and two samples: each entry involves no more.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.DiagonalLinearNetwork", "esssim.spectra.diagonal_plus_low_rank_largest_eigenvalues")

d = b = 2
X = sympy.Matrix(b, d, lambda i, k: sympy.Symbol(f"x{i + 1}{k + 1}", real=True))
y = sympy.Matrix(b, 1, lambda i, _: sympy.Symbol(f"y{i + 1}", real=True))
u, v = (sympy.Matrix(sympy.symbols(f"{name}1:3", positive=True)) for name in "uv")
D = sympy.Symbol("D", positive=True)


def loss(weights: sympy.Matrix) -> sympy.Expr:
    """L_B(β) = (1/b) Σ ½(x_iᵀβ − y_i)²."""
    residual = X * weights - y
    return (residual.T * residual)[0] / (2 * b)


def push(weights: sympy.Matrix) -> sympy.Matrix:
    """s = X_Bᵀr_B/b."""
    return X.T * (X * weights - y) / b


def columns(factors: list[sympy.Expr]) -> sympy.Matrix:
    """Columns of X_B, twice, times a factor each, over √b."""
    return sympy.Matrix(b, 2 * d, lambda i, k: X[i, k % d] * factors[k]) / sympy.sqrt(b)


def product_form() -> sympy.Matrix:
    """The result for the product form, in the rotated basis."""
    s = push(u.multiply_elementwise(v))
    a = columns([*(u + v) / sympy.sqrt(2), *(v - u) / sympy.sqrt(2)])
    return sympy.diag(*s, *(-s)) + a.T * a


def difference_form() -> sympy.Matrix:
    """The result for the difference form; u stands for w₊, v for w₋."""
    s = push(u.applyfunc(lambda w: w**D) - v.applyfunc(lambda w: w**D))
    a = D * columns([*u.applyfunc(lambda w: w ** (D - 1)), *(-v.applyfunc(lambda w: w ** (D - 1)))])
    bend = [D * (D - 1) * s[k] * u[k] ** (D - 2) for k in range(d)]
    bend += [-D * (D - 1) * s[k] * v[k] ** (D - 2) for k in range(d)]
    return sympy.diag(*bend) + a.T * a


def derive() -> dict[str, sympy.Expr]:
    """Both forms: the whole Hessian of a batch of two with two inputs."""
    return {"product form, rotated": product_form(), "difference form": difference_form()}


def check() -> None:
    """Second derivatives of the loss, rotated, against both results."""
    parameters, found = [*u, *v], derive()
    # Step 1. The Hessian of the product form by differentiation.
    hessian = sympy.hessian(loss(u.multiply_elementwise(v)), parameters)
    # Step 2. R maps (du, dv) to ((du + dv)/√2, (du − dv)/√2); it is orthogonal and its own inverse.
    identity = sympy.eye(d)
    rotation = sympy.Matrix(sympy.BlockMatrix([[identity, identity], [identity, -identity]])) / sympy.sqrt(2)
    same(rotation * rotation.T, sympy.eye(2 * d), "R is orthogonal")
    # The residual part r_i[[0, diag x_i], [diag x_i, 0]] becomes diag(r_i x_i, −r_i x_i); the Jacobian x_i∘(v, u)
    # becomes (x_i∘(u + v), x_i∘(v − u))/√2. Together:
    same(rotation * hessian * rotation.T, found["product form, rotated"], "product form")
    # Step 3. The difference form needs no rotation: ∂β_k depends on its own two parameters only.
    powers = u.applyfunc(lambda w: w**D) - v.applyfunc(lambda w: w**D)
    same(sympy.hessian(loss(powers), parameters), found["difference form"], "difference form")
    # Step 4. Product form at step size η is difference form D = 2 at η/2 with w₊ = (u+v)/2, w₋ = (u−v)/2: β agrees, and
    # the gradient in (u, v) is half of the one in (w₊, w₋), rotated.
    plus, minus = (u + v) / 2, (u - v) / 2
    same(
        plus.multiply_elementwise(plus) - minus.multiply_elementwise(minus),
        u.multiply_elementwise(v),
        "u∘v = w₊² − w₋²",
    )
