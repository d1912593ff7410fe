"""The next order of the stochastic central flow: the mean of SGD, off the solutions.

Setting. SGD is at θ + δ, δ its fast motion: mean zero, covariance Σ = JᵀK⁺RK⁺J, no third moment (to the order kept).
L = (1/2n)‖f − y‖².

Result. To second order in δ, with r = f(θ) − y, Hᵢ = ∇²fᵢ, and the mean residual r̄ = E[f(θ+δ)] − y = r + ½(tr HᵢΣ)ᵢ,

    n E∇L(θ+δ) = Jᵀr̄ + Σᵢ HᵢΣJᵢ + ½Σᵢ rᵢ∇³fᵢ[Σ],   ΣJᵢ = JᵀK⁺R eᵢ.

The last term is of order ε⁴ next to solutions, where r is of order ε². The point θ' = θ + JᵀK⁺½(tr HᵢΣ)ᵢ has the
residuals r̄ to the order kept, and moves like θ. Written in it, with P no longer taken, for a step η/(1−β) of heavy
ball,

    dθ'/dt = −(η/(n(1−β))) [Jᵀr + Σᵢ Hᵢ[JᵀK⁺R eᵢ]],   r = f(θ') − y,

with batches that see the residuals r: the source of the noise is κ₂r∘r + ε²/(bn). Its part along the solutions is the
flow, its part across vanishes at r = −K⁺J Σᵢ Hᵢ[JᵀK⁺R eᵢ], of order ε² but divided by the eigenvalues of K.

Proved: the expansion, the two parts. Tested only, against SGD: that the average may be taken at the stationary R, far
from the solutions in particular, where R is quasi-stationary at best and the residual part of the batch Hessian is
left out.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.flow.solve", "esssim.flow.mean.MeanLaw")

x, y = sympy.symbols("x y")
eta, beta, curvature, slope, residual, covariance = sympy.symbols("eta beta h J r R")
scale = sympy.Symbol("s")

# Two samples, two parameters: any polynomials will do, these have third derivatives and cross terms.
MODEL = sympy.Matrix([x**3 / 3 + x * y + 2 * y, x**2 * y - y**2 / 2 + x])


def derive() -> dict[str, sympy.Expr]:
    """The velocity for one parameter and one sample: ΣJ = R/J."""
    return {"velocity of one parameter": -eta / (1 - beta) * (slope * residual + curvature * covariance / slope)}


def spread_gradient(covariance_root: sympy.Matrix, point: dict[sympy.Symbol, sympy.Expr]) -> sympy.Matrix:
    """n E∇L(θ + sδ) over the points δ = ±√2·a_k, a_k the columns of a root of Σ: mean zero, covariance Σ, symmetric."""
    loss = (MODEL.T * MODEL)[0] / 2
    gradient = sympy.Matrix([loss.diff(x), loss.diff(y)])
    total = sympy.zeros(2, 1)
    for k in range(2):
        for sign in (1, -1):
            step = sign * sympy.sqrt(2) * scale * covariance_root[:, k]
            total += gradient.subs({x: point[x] + step[0], y: point[y] + step[1]}, simultaneous=True)
    return (total / 4).expand()


def check() -> None:
    """The expansion, the displaced point, the two parts, the velocity of one parameter."""
    point = {x: sympy.Rational(1, 2), y: sympy.Rational(2, 3)}
    root = sympy.Matrix([[sympy.Rational(1, 3), sympy.Rational(1, 5)], [sympy.Rational(-1, 4), sympy.Rational(1, 2)]])
    spread = root * root.T
    jacobian = MODEL.jacobian([x, y]).subs(point)
    hessians = [sympy.hessian(f, [x, y]).subs(point) for f in MODEL]
    residuals = MODEL.subs(point)
    # Step 1. The s²-coefficient of E∇L.
    mean = residuals + scale**2 * sympy.Matrix([(h * spread).trace() for h in hessians]) / 2
    drift = sum((h * spread * jacobian[i, :].T for i, h in enumerate(hessians)), sympy.zeros(2, 1))
    third = sum(
        (
            residuals[i] * sympy.Matrix([(sympy.hessian(MODEL[i].diff(z), [x, y]) * spread).trace() for z in (x, y)])
            for i in range(2)
        ),
        sympy.zeros(2, 1),
    ).subs(point)
    expected = jacobian.T * mean + scale**2 * (drift + third / 2)
    found = spread_gradient(root, point)
    for order in (0, 1, 2):
        left, right = (
            side.expand().applyfunc(lambda e, order=order: e.coeff(scale, order)) for side in (found, expected)
        )
        same(left, right, f"order {order} of the mean gradient")
    # Step 2. θ' has the mean residuals, and ΣJᵢ = JᵀK⁺R eᵢ for Σ = JᵀK⁺RK⁺J.
    gram = jacobian * jacobian.T
    moved = sympy.Matrix([x, y]).subs(point) + jacobian.T * gram.inv() * (mean - residuals)
    shifted = MODEL.subs({x: moved[0], y: moved[1]}, simultaneous=True).applyfunc(
        lambda e: e.series(scale, 0, 4).removeO()
    )
    for order in (0, 1, 2, 3):
        left, right = (
            side.expand().applyfunc(lambda e, order=order: e.coeff(scale, order)) for side in (shifted, mean)
        )
        same(left, right, f"order {order} of the residuals at the displaced point")
    fast = jacobian * spread * jacobian.T
    same(jacobian.T * gram.inv() * fast, spread * jacobian.T, "ΣJᵢ")
    # Step 3. One sample, two parameters: the part along the solutions is the flow, the part across vanishes at r̄.
    row, push = sympy.Matrix([[2, -1]]), sympy.Matrix([3, 5])
    k = (row * row.T)[0]
    projection = sympy.eye(2) - row.T * row / k
    balanced = -(row * push)[0] / k
    same(row.T * balanced + push, projection * push, "what is left at the balance is the push along the solutions")
    # Step 4. One parameter, one sample: the mean gradient over δ = ±√R/J at mean residual r, times the slow step.
    jump = sympy.sqrt(covariance) / slope
    shift = sympy.Symbol("delta")
    off = residual - curvature * jump**2 / 2 + slope * shift + curvature * shift**2 / 2
    gradient = sympy.diff(off**2 / 2, shift)
    mean_gradient = (gradient.subs(shift, jump) + gradient.subs(shift, -jump)) / 2
    same(derive()["velocity of one parameter"], -eta / (1 - beta) * mean_gradient, "the velocity of one parameter")
