"""Cross-entropy with soft labels: its Hessians at a solution, and what the logits' fluctuations make of them.

Setting. ℓ(f) = log(1 + eᶠ) − yf, a soft label 0 < y < 1, the logit f = f(θ) with J = ∇f, σ = 1/(1 + e⁻ᶠ), κ = σ(1 − σ).

Results.
1. ∇ℓ = (σ − y)J and ∇²ℓ = κJJᵀ + (σ − y)∇²f. Where σ = y for every sample the Hessians are those of squared loss on
   rows times √(y(1−y)): Q_b, MiniBS and the critical step size are the same. With smoothing s both classes have
   κ = (s/2)(1 − s/2).
2. A change ε of the label moves the gradient by −εJ: label noise ε is that of squared loss on these rows with
   ε/√(y(1−y)).
3. Let f fluctuate about its label's logit with variance v and mean m, and the mean gradient vanish, E σ(f) = y. To
   second order m = (σ − ½)v, and E κ(f) = κ − κ²v: on average the output's Hessian falls.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.problems.LogisticNetwork",)

f, y, v, m, t = sympy.symbols("f y v m t", real=True)
sigma = sympy.Symbol("sigma", positive=True)


def loss(logit: sympy.Expr, label: sympy.Expr) -> sympy.Expr:
    """ℓ(f)."""
    return sympy.log(1 + sympy.exp(logit)) - label * logit


def sigmoid(logit: sympy.Expr) -> sympy.Expr:
    """σ(f)."""
    return 1 / (1 + sympy.exp(-logit))


def in_sigma(expression: sympy.Expr) -> sympy.Expr:
    """A function of f as one of σ: f = log(σ/(1−σ))."""
    return sympy.simplify(expression.subs(f, sympy.log(sigma / (1 - sigma))))


def derive() -> dict[str, sympy.Expr]:
    """The output's Hessian κ, the mean shift of the logit, and the mean of κ, in σ and v."""
    kappa, first, second = (in_sigma(sympy.diff(sigmoid(f), f, k)) for k in (1, 2, 3))
    # E σ(f + δ) = σ + κm + ½κ'v + … = σ, and E κ(f + δ) = κ + κ'm + ½κ''v + …
    shift = sympy.simplify(-first * v / (2 * kappa))
    return {
        "output Hessian": sympy.factor(kappa),
        "shift of the mean logit": shift,
        "mean output Hessian": sympy.factor(sympy.expand(kappa + first * shift + second * v / 2)),
    }


def check() -> None:
    """Derivatives through a network with two parameters; the shift and the mean from a two-point law, to order t²."""
    u, w = sympy.symbols("u w", real=True)
    logit = u * w
    value = loss(logit, y)
    parameters = (u, w)
    jacobian = sympy.Matrix([logit]).jacobian(parameters)
    error = sigmoid(logit) - y
    gradient = sympy.Matrix([value]).jacobian(parameters)
    same(gradient, error * jacobian, "gradient")
    kappa = sigmoid(logit) * (1 - sigmoid(logit))
    expected = kappa * jacobian.T * jacobian + error * sympy.hessian(logit, parameters)
    same(sympy.hessian(value, parameters), expected, "Hessian")
    same(sympy.diff(gradient, y), -jacobian, "label noise")
    found = derive()
    same(found["output Hessian"], sigma * (1 - sigma), "output Hessian")
    same(found["shift of the mean logit"], (sigma - sympy.Rational(1, 2)) * v, "shift")
    closed = sigma * (1 - sigma) - (sigma * (1 - sigma)) ** 2 * v
    same(found["mean output Hessian"], closed, "mean output Hessian")
    # f + m ± t with equal chances: v = t².
    shift = found["shift of the mean logit"].subs({v: t**2, sigma: sigmoid(f)})
    for function, wanted in (
        (sigmoid, sigmoid(f)),
        (lambda z: sigmoid(z) * (1 - sigmoid(z)), found["mean output Hessian"].subs({v: t**2, sigma: sigmoid(f)})),
    ):
        mean = (function(f + shift + t) + function(f + shift - t)) / 2
        for order in range(3):
            left, right = (sympy.diff(each, t, order).subs(t, 0) for each in (mean, wanted))
            same(left, right, f"order {order}")
