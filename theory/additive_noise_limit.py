"""The additive-noise form of the gap, its limit, and how far from it rows of data are.

Setting. H = θ v₁v₁ᵀ and a fluctuation D_B that does not know H: a Wigner matrix of p × p entries of equal variance,
scaled so that its spectrum is [−2τ, 2τ], p → ∞. τ² = cσ², σ² = mean‖D_i‖_F²/(p+1).

Results.
1. For θ > τ the top eigenvalue of H + D_B is θ + τ²/θ: the gap is cσ²/θ (Granziol, Zohren & Roberts).
2. Gaussian rows of covariance diag(θ, 1, …, 1) have fluctuations that know H: D₁ₖ has variance θ, D_kl has 1. There the
   form is r times the second order, r = (θ−1)(2θ² + 2θ(p−1) + p(p−1))/(θ²(p−1)(p+1)) → (θ−1)/θ² as p → ∞: it is too
   small by about the factor by which the spike is steeper than the rest.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.gap.additive_noise",)

theta, tau, z = sympy.symbols("theta tau z", positive=True)
p, c, scatter = sympy.symbols("p c F2", positive=True)
squares, cross = sympy.symbols("mu4 mu22", positive=True)


def gaussian_moments() -> dict[sympy.Symbol, sympy.Expr]:
    """E g⁴ and E g²h² of independent standard normal numbers."""
    return {squares: sympy.Integer(3), cross: sympy.Integer(1)}


def derive() -> dict[str, sympy.Expr]:
    """The gap of the form, and its ratio to the second order on Gaussian rows with one spike."""
    # E‖aaᵀ − H‖_F² = Σ_jk E a_j²a_k² − ‖H‖_F², with the p − 1 flat directions and the spike.
    flat = (p - 1) * squares + (p - 1) * (p - 2) * cross
    total = squares * theta**2 + 2 * (p - 1) * theta * cross + flat - theta**2 - (p - 1)
    form = c * scatter / (p + 1) / theta
    second = c * (p - 1) * theta * cross / (theta - 1)
    ratio = (form.subs(scatter, total) / second).subs(gaussian_moments())
    return {"additive noise": form, "ratio on spiked Gaussian rows": sympy.factor(ratio)}


def check() -> None:
    """Each step."""
    # 1. Outside [−2τ, 2τ] the resolvent of the noise is m(z) = (z − √(z² − 4τ²))/(2τ²) in every direction (semicircle),
    # the root of τ²m² − zm + 1 = 0 that falls as 1/z. With the rank-one θv₁v₁ᵀ an eigenvalue is where θ·m(z) = 1.
    m = (z - sympy.sqrt(z**2 - 4 * tau**2)) / (2 * tau**2)
    same(tau**2 * m**2 - z * m + 1, 0, "resolvent of the semicircle")
    (location,) = sympy.solve(tau**2 / theta**2 - z / theta + 1, z)
    same(location, theta + tau**2 / theta, "outlier: m = 1/θ")
    # ‖D_B‖_F² = c·F₂ over p rows: a row of a Wigner matrix (twice the variance on the diagonal) has (p+1)/p of τ².
    same(derive()["additive noise"].subs(scatter, (p + 1) * tau**2 / c), tau**2 / theta, "gap")
    # 2. The closed form and its limit.
    ratio = derive()["ratio on spiked Gaussian rows"]
    expected = (theta - 1) * (2 * theta**2 + 2 * theta * (p - 1) + p * (p - 1)) / (theta**2 * (p - 1) * (p + 1))
    same(ratio, expected, "ratio")
    same(sympy.limit(ratio, p, sympy.oo), (theta - 1) / theta**2, "p → ∞")
