"""The mean-square operator of zeroth-order descent on mini-batches.

Setting. Quadratic loss at an interpolating minimum, θ = θ* + e: a step is e ← e − η(uᵀH_Be)u with u standard normal and
the batch B independent of it. M = E[eeᵀ], D(M) = E[H_BMH_B].

Results.
1. E[uuᵀAuuᵀ] = 2A + tr(A)I, so that M ← M − η(HM + MH) + η²(2D(M) + tr D(M)·I): the noise of the direction doubles that
   of the batch, and spreads its trace over all parameters.
2. The edge is η = 2/Q, Q the top eigenvalue of M ↦ C⁻¹(2D(M) + tr D(M)·I), C(M) = ½(HM + MH).
3. On the full loss D(M) = HMH, and this is Σᵢ ηλᵢ/(2(1 − ηλᵢ)) = 1, the edge of Song et al. (arXiv 2604.14669).
4. In one dimension Q = 3E[h_B²]/h: a third of the step size of SGD.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices
from theory.mean_square_operator import second_moment

COMPUTED_BY = ("esssim.stability.zeroth_order_step_size", "esssim.ZerothOrder")

eta, first, second, mean_value, mean_square = sympy.symbols("eta lambda_1 lambda_2 h h2", positive=True)
p = 2


def kick(matrix: sympy.Matrix) -> sympy.Matrix:
    """E[uuᵀAuuᵀ] for a symmetric A."""
    return 2 * matrix + matrix.trace() * sympy.eye(p)


def derive() -> dict[str, sympy.Expr]:
    """On the full loss, two parameters: what is 1 at the edge. On batches, one parameter: the edge; h2 = E h_B²."""
    terms = [eta * value / (2 * (1 - eta * value)) for value in (first, second)]
    return {"full loss": sum(terms), "step size in one dimension": sympy.Rational(2, 3) * mean_value / mean_square}


def check() -> None:
    """The moments of a direction; the operator by enumeration; the full loss; one dimension."""
    matrix = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"m{min(j, k) + 1}{max(j, k) + 1}", real=True))
    # 1. Moments of normal numbers: E u⁴ = 3, E u₁²u₂² = 1, odd ones vanish.
    u = sympy.Matrix(sympy.symbols("u1 u2", real=True))
    moments = {0: 1, 1: 0, 2: 1, 3: 0, 4: 3}

    def normal_mean(value: sympy.Expr) -> sympy.Expr:
        terms = sympy.Poly(sympy.expand(value), *u).terms()
        return sum(factor * moments[powers[0]] * moments[powers[1]] for powers, factor in terms)

    pulled = (u * u.T * matrix * u * u.T).applyfunc(normal_mean)
    for found, expected in zip(pulled, kick(matrix), strict=True):
        same(found, expected, "moments of a direction")
    for size, b, replacement in SCHEMES:
        samples = symmetric_matrices(3 * size + b, size, p)
        hessian = mean(samples)

        def after(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            h = batch_mean(samples, draw)
            step = (sympy.eye(p) - eta * u * u.T * h) * matrix * (sympy.eye(p) - eta * h * u * u.T)
            return step.applyfunc(normal_mean)

        image = second_moment(samples, matrix, coefficient(size, b, replacement))
        expected = matrix - eta * (hessian * matrix + matrix * hessian) + eta**2 * kick(image)
        for found, entry in zip(expectation(after, size, b, replacement), expected, strict=True):
            same(found, entry, "one step")
    # 3. 2C(M) = ηT(M) with D(M) = HMH and t = tr(HMH) gives λⱼ²Mⱼⱼ = ηλⱼt/(2(1−ηλⱼ)), and their sum is t.
    total = sympy.Symbol("t", positive=True)
    of_mode = sympy.Symbol("m", real=True)
    shares = []
    for value in (first, second):
        balance = 2 * value * of_mode - eta * (2 * value**2 * of_mode + total)
        (solution,) = sympy.solve(balance, of_mode)
        shares.append(value**2 * solution / total)
    results = derive()
    same(sum(shares), results["full loss"], "full loss")
    # 4. In one dimension 2h = η·3·E h_B².
    step_size = results["step size in one dimension"]
    same(2 * mean_value - step_size * 3 * mean_square, 0, "one dimension")
