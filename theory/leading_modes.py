"""The stochastic central flow in the leading modes of K, and to first order in all others.

Setting. K = UΛUᵀ + K′, U the leading eigenvectors, K′ small. R and the M_jk of heavy ball as in `theory.momentum_flow`,
η′ = η/(1−β), D = diag ρ, Q = I − UUᵀ, J′ = QJ, so that K′ = J′J′ᵀ.

Result. A pair of a small eigenvalue λⱼ and a leading one λ_k has M_jk = g_kλⱼ, g = n/(1/η′ + βλ/((1−β²)n)), a pair of
two small equal ones M = ½nη′λ. With G = U diag(g)Uᵀ, what K′ adds to R and to the vectors JᵀK⁺Reᵢ, the rows of (for
n·c ≤ p)

    R′ = K′DG + GDK′ + ¼nη′(K′QDQ + QDQK′),      ½nη′QDJ′ + GDJ′ + J′J′ᵀDGΛ⁻¹UᵀJ,

is right to first order in the eigenvalues of K′ (in the roots of them, to the second). On the diagonal, for equal ρ,
it is ½nη′K′_aa ρ. Small eigenvalues that are not equal: λⱼλ_k/(λⱼ+λ_k) is taken as (λⱼ+λ_k)/4, too much by
(λⱼ−λ_k)²/(4(λⱼ+λ_k)), and λ_k/(λⱼ+λ_k) as ½.

Proved: all of it. Tested only: how many modes are enough.
"""

from __future__ import annotations

import sympy

from theory._exact import same
from theory.momentum_flow import inverse_response, kappa_1, n
from theory.momentum_kernel import beta, eta, first, second

COMPUTED_BY = ("esssim.flow.rank.with_enough_modes", "esssim.statistics.perron.PerronMatrix")

small, root = sympy.symbols("s q", positive=True)
# An orthogonal matrix of rationals, and weights ρ.
BASIS = sympy.Matrix([[1, 2, 2], [2, 1, -2], [2, -2, 1]]) / 3
WEIGHTS = sympy.diag(sympy.Rational(3, 2), 1, sympy.Rational(1, 3))


def slow_step() -> sympy.Expr:
    """η′."""
    return eta / (1 - beta)


def derive() -> dict[str, sympy.Expr]:
    """The gain of a pair with a leading mode of eigenvalue λ, and that of a pair of equal small ones."""
    return {
        "gain of a pair with a leading mode": n / (1 / slow_step() + beta * first / ((1 - beta**2) * n)),
        "gain of a pair of equal small eigenvalues": n * slow_step() / 2,
    }


def check() -> None:
    """The two gains, the unequal pairs, the tail of R, the tail of JᵀK⁺R."""
    with_leading, of_equals = derive().values()
    inverse = inverse_response()
    # Step 1. M_jk/λⱼ as λⱼ → 0.
    gain = sympy.limit(1 / (small * inverse.subs(second, small)), small, 0)
    same(gain, with_leading, "the gain of a pair with a leading mode")
    gain = sympy.limit(1 / (small * inverse.subs({first: small, second: small}, simultaneous=True)), small, 0)
    same(gain, of_equals, "the gain of a pair of equals")
    # Step 2. Two small eigenvalues as, bs.
    a, b = sympy.symbols("a b", positive=True)
    gain = sympy.limit(1 / (small * inverse.subs({first: a * small, second: b * small}, simultaneous=True)), small, 0)
    same(gain, 2 * of_equals * a * b / (a + b), "the gain of an unequal pair")
    same((a + b) / 4 - a * b / (a + b), (a - b) ** 2 / (4 * (a + b)), "what the mean of the eigenvalues is too much")
    # Step 3. One leading mode and two small ones, of eigenvalue q²: R and JᵀK⁺R in powers of q.
    numbers = {eta: sympy.Rational(1, 9), beta: sympy.Rational(1, 3), n: 3, kappa_1: sympy.Rational(1, 12)}
    values = [sympy.Integer(2), root**2, root**2]
    response = sympy.Matrix(3, 3, lambda j, k: 1 / inverse.subs({first: values[j], second: values[k]}).subs(numbers))
    seen = BASIS.T * WEIGHTS * BASIS
    exact = BASIS * sympy.matrix_multiply_elementwise(response, seen) * BASIS.T
    top, rest = BASIS[:, 0], BASIS[:, 1:]
    beyond, others = rest * rest.T, rest * rest.T * root**2
    g = with_leading.subs(numbers).subs(first, 2)
    leading, half = g * top * top.T, of_equals.subs(numbers)
    own = response[0, 0] * seen[0, 0] * top * top.T

    def tail(weights: sympy.Matrix) -> sympy.Matrix:
        paired = others * weights * leading + leading * weights * others
        return paired + half / 2 * (others * beyond * weights * beyond + beyond * weights * beyond * others)

    _same_to(exact, own + tail(WEIGHTS), 3, "the tail of R")
    same(tail(sympy.eye(3)), half * others, "for equal ρ")
    # Step 4. J = U√ΛVᵀ; the vectors JᵀK⁺Reᵢ as rows.
    right = BASIS.T
    jacobian = BASIS * sympy.diag(sympy.sqrt(2), root, root) * right
    scaled = sympy.Matrix(3, 3, lambda j, k: response[j, k] / values[j])
    vectors = (jacobian.T * BASIS * sympy.matrix_multiply_elementwise(scaled, seen) * BASIS.T).T
    small_rows = beyond * jacobian
    found = top * (response[0, 0] * seen[0, 0] / 2) * top.T * jacobian
    found += half * beyond * WEIGHTS * small_rows + leading * WEIGHTS * small_rows
    found += small_rows * small_rows.T * WEIGHTS * leading / 2 * jacobian
    _same_to(vectors, found, 2, "the tail of JᵀK⁺R")


def _same_to(left: sympy.Matrix, right: sympy.Matrix, order: int, step: str) -> None:
    """Assert that two matrices have the same powers of q up to an order."""
    difference = (left - right).applyfunc(
        lambda entry: sympy.series(sympy.together(entry), root, 0, order + 1).removeO()
    )
    same(difference, sympy.zeros(*left.shape), step)
