"""The mean-square operator of zeroth-order descent on mini-batches.

Setting. Quadratic loss at an interpolating minimum, θ = θ* + e: a step is e ← e − η(uᵀH_Be)u with u standard normal and
the batch B independent of it. M = E[eeᵀ], D(M) = E[H_BMH_B].

Results.
1. E[uuᵀAuuᵀ] = 2A + tr(A)I, so that M ← M − η(HM + MH) + η²(2D(M) + tr D(M)·I): the noise of the direction doubles that
   of the batch, and spreads its trace over all parameters.
2. The edge is η = 2/Q, Q the top eigenvalue of M ↦ C⁻¹(2D(M) + tr D(M)·I), C(M) = ½(HM + MH).
3. On the full loss D(M) = HMH, and this is Σᵢ ηλᵢ/(2(1 − ηλᵢ)) = 1, the edge of Song et al. (arXiv 2604.14669).
4. In one dimension Q = 3E[h_B²]/h: a third of the step size of SGD.
5. On a diagonal network, f = x·(uv), with the gradient (s v, s u) of a batch along one coordinate and g of all: the
   imbalance m = u² − v² is multiplied by 1 − 2η²s² on average (SGD: always by 1 − η²s²), and u² + v² changes by
   −4ηuvs + 2η²(s²(u² + v²) + ‖g‖²). The last term is the noise that goes in all directions: on average it makes every
   coordinate larger and the network sharper, and SGD has none of it.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices
from theory.mean_square_operator import second_moment

COMPUTED_BY = ("esssim.stability.zeroth_order_step_size", "esssim.ZerothOrder")

eta, first, second, mean_value, mean_square = sympy.symbols("eta lambda_1 lambda_2 h h2", positive=True)
left, right, slope, squared_gradient = sympy.symbols("u v s G", real=True)
p = 2


def kick(matrix: sympy.Matrix) -> sympy.Matrix:
    """E[uuᵀAuuᵀ] for a symmetric A."""
    return 2 * matrix + matrix.trace() * sympy.eye(p)


def derive() -> dict[str, sympy.Expr]:
    """On the full loss, two parameters: what is 1 at the edge. On batches, one parameter: the edge; h2 = E h_B².

    On a diagonal network: the mean of m and of u² + v² after a step, G = ‖g‖².
    """
    terms = [eta * value / (2 * (1 - eta * value)) for value in (first, second)]
    size = left**2 + right**2
    return {
        "full loss": sum(terms),
        "step size in one dimension": sympy.Rational(2, 3) * mean_value / mean_square,
        "imbalance after a step": (left**2 - right**2) * (1 - 2 * eta**2 * slope**2),
        "size after a step": size - 4 * eta * left * right * slope + 2 * eta**2 * (slope**2 * size + squared_gradient),
    }


def check() -> None:
    """The moments of a direction; the operator by enumeration; the full loss; one dimension; a diagonal network."""
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
    # 5. Of one coordinate; the others enter through ‖g‖² = E(u·g)² only.
    gradient = sympy.Matrix([slope * right, slope * left])
    kicked = kick(gradient * gradient.T)
    point = sympy.Matrix([left, right])
    for j in range(p):
        along = (u.T * gradient)[0] * u[j]
        same(normal_mean(along), gradient[j], "mean of a step")
        same(normal_mean(along**2), kicked[j, j], "square of a step")
    after_step = [point[j] ** 2 - 2 * eta * point[j] * gradient[j] + eta**2 * kicked[j, j] for j in range(p)]
    own = {squared_gradient: gradient.dot(gradient)}
    same(after_step[0] - after_step[1], results["imbalance after a step"], "imbalance")
    same(sum(after_step), results["size after a step"].subs(own), "size")
