"""Bounds on the gap that are sharp to second order, from moments of the batch mean.

Setting. H_B with v₁ᵀH_Bv₁ = a, d = H_Bv₁ − a·v₁, G its rest on v₁^⊥; X = λ_max(H_B) − a. E a = λ₁, so that E X is the
gap. D_B = H_B − H.

Results.
1. Block. κX ≤ ‖d‖² + ¼(κ − h)², h = a − λ_max(G), for every κ > 0: a gap of second order where h is clear of 0.
2. Ritz. For w = Rd, U = dᵀRd: X·Y ≥ U² with Y = X‖w‖² + a‖w‖² − wᵀH_Bw ≥ 0, so that (E U)² ≤ E X · E Y
   (Cauchy–Schwarz).
   With R = (λ₁ − H)⁻¹ on v₁^⊥ the bound (E U)²/E Y on the gap is its second order, up to higher ones.
3. Fourth moments. For samples of mean zero E[‖x_B‖²‖y_B‖²] = c₄·mean‖xᵢ‖²‖yᵢ‖² + c₂₂·(mean‖xᵢ‖²·mean‖yᵢ‖² +
   2·mean_ij⟨xᵢ, xⱼ⟩⟨yᵢ, yⱼ⟩), c₄ = (n−b)(n(n+1) − 6b(n−b))/(b³(n−1)(n−2)(n−3)), c₂₂ =
   n(b−1)(n−b)(n−b−1)/(b³(n−1)(n−2)(n−3)) without replacement; 1/b³ and (b−1)/b³ with it.
"""

from __future__ import annotations

import itertools

import sympy

from theory._exact import SCHEMES, batch_mean, expectation, integers, mean, same
from theory.third_moment import b, n

COMPUTED_BY = ("esssim.gap.second_order_bounds.resolvent", "esssim.gap.setting.Setting")

X, h, g, kappa, spread = sympy.symbols("X h g kappa N", real=True)
across = sympy.Symbol("A", positive=True)

# E[w_i⁴], E[w_i³w_j], E[w_i²w_j²], E[w_i²w_jw_k], E[w_iw_jw_kw_l] for distinct i, j, k, l, from the factorial moments
# of the counts, as for the third moment: a count to the power 2, 3, 4 is 1, 3, 7 and 1, 6 factorial moments.
WITH_COUNTS = [b, b * (b - 1), b * (b - 1) * (b - 2), b * (b - 1) * (b - 2) * (b - 3)]
ONE, TWO, THREE, FOUR = (count / n ** (k + 1) for k, count in enumerate(WITH_COUNTS))
WITH = [ONE + 7 * TWO + 6 * THREE + FOUR, TWO + 3 * THREE + FOUR, TWO + 2 * THREE + FOUR, THREE + FOUR, FOUR]
P1, P2, P3, P4 = (count / sympy.ff(n, k + 1) for k, count in enumerate(WITH_COUNTS))
WITHOUT = [P1, P2, P2, P3, P4]


def from_weights(weights: list[sympy.Expr]) -> tuple[sympy.Expr, sympy.Expr]:
    """c₄ and c₂₂. Since Σ a_i = 0 the sums over distinct indices are, with S = Σ a_i⁴ and T the pairings of Σ a_i²:
    a³a: −S; a²a²: T − S a pairing; a²aa: 2S − T a pair; aaaa: T's three pairings − 6S."""
    fourth, cube, squares, square, distinct = weights
    own = fourth - 4 * cube - 3 * squares + 12 * square - 6 * distinct
    pairs = squares - 2 * square + distinct
    return sympy.factor(n * sympy.expand_func(own) / b**4), sympy.factor(n**2 * sympy.expand_func(pairs) / b**4)


def derive() -> dict[str, sympy.Expr]:
    """The coefficients of both schemes, and the bound on E X at any κ ≥ g from A = E‖d‖², N and g."""
    found: dict[str, sympy.Expr] = {}
    for scheme, weights in (("without", WITHOUT), ("with", WITH)):
        own, pairs = from_weights(weights)
        found |= {f"c₄ {scheme} replacement": own, f"c₂₂ {scheme} replacement": pairs}
    return found | {"bound on the gap": (across + (kappa - g + spread) ** 2 / 4) / kappa}


def check() -> None:
    """Each step, and the moments by enumeration in exact arithmetic."""
    _check_block()
    _check_ritz()
    _check_moments()


def _check_block() -> None:
    # 1. X is the top eigenvalue of [[0, dᵀ], [d, G − a]], which is below [[0, dᵀ], [d, −h]]: there X² + hX = ‖d‖².
    delta = sympy.Symbol("delta", real=True)
    polynomial = sympy.Matrix([[X, -delta], [-delta, X + h]]).det()
    same(polynomial, X**2 + h * X - delta**2, "characteristic polynomial")
    square = X**2 + h * X
    same(square + (kappa - h) ** 2 / 4 - kappa * X, (X - (kappa - h) / 2) ** 2, "what is left is a square")
    # h ≥ g + D₁₁ − ‖D_G‖_F by Weyl, and (κ − g) + ‖D_G‖ − D₁₁ has a root mean square of at most κ − g + N where κ ≥ g
    # (Minkowski), N = √E D₁₁² + √E‖D_G‖². The best κ is √(4A + (N − g)²) where that is above g:
    bound, block = derive()["bound on the gap"], (delta**2 + (kappa - h) ** 2 / 4) / kappa
    same(bound, block.subs({delta: sympy.sqrt(across), h: g - spread}), "root mean squares in their places")
    best = sympy.sqrt(4 * across + (spread - g) ** 2)
    same(sympy.diff(bound, kappa).subs(kappa, best), 0, "the best κ")


def _check_ritz() -> None:
    # 2. λ − H_B ⪰ 0 on span{v₁, w}: its determinant is not negative, v₁ᵀH_Bw = dᵀw = U, and λ = a + X.
    a, form, length, u = sympy.symbols("a f W U", real=True)
    determinant = sympy.Matrix([[X, -u], [-u, (a + X) * length - form]]).det()
    same(determinant, X * (X * length + a * length - form) - u**2, "Ritz value")
    # To second order E U = c·Σ q_k/g_k, q_k = mean D₁ₖ², and E Y = c·Σ g_k·q_k/g_k², the same: the gap is c·Σ q_k/g_k.
    gaps, squares = sympy.symbols("g2:5", positive=True), sympy.symbols("q2:5", positive=True)
    first = sum(q / distance for q, distance in zip(squares, gaps, strict=True))
    second = sum(distance * q / distance**2 for q, distance in zip(squares, gaps, strict=True))
    same(first**2 / second, first, "second order")


def _check_moments() -> None:
    # The weights of one draw add up to 1: E[(Σ w_i)⁴] = 1.
    counts = [n, 4 * sympy.ff(n, 2), 3 * sympy.ff(n, 2), 6 * sympy.ff(n, 3), sympy.ff(n, 4)]
    for weights in (WITHOUT, WITH):
        total = sum(count * weight for count, weight in zip(counts, weights, strict=True))
        same(sympy.expand_func(total) / b**4, 1, "E[(Σ w_i)⁴] = 1")
    found = derive()
    below = b**3 * (n - 1) * (n - 2) * (n - 3)
    same(found["c₄ without replacement"], (n - b) * (n * (n + 1) - 6 * b * (n - b)) / below, "c₄ without replacement")
    same(found["c₂₂ without replacement"], n * (b - 1) * (n - b) * (n - b - 1) / below, "c₂₂ without replacement")
    same(found["c₄ with replacement"], 1 / b**3, "c₄ with replacement")
    same(found["c₂₂ with replacement"], (b - 1) / b**3, "c₂₂ with replacement")
    for size, batch_size, replacement in SCHEMES:
        x, y = (_centred(seed * size + batch_size, size) for seed in (17, 19))

        def product(draw: tuple[int, ...], x: list[sympy.Matrix] = x, y: list[sympy.Matrix] = y) -> sympy.Expr:
            return batch_mean(x, draw).dot(batch_mean(x, draw)) * batch_mean(y, draw).dot(batch_mean(y, draw))

        own = mean([p.dot(p) * q.dot(q) for p, q in zip(x, y, strict=True)])
        paired = mean([p.dot(p) for p in x]) * mean([q.dot(q) for q in y])
        couples = itertools.product(range(size), repeat=2)
        paired += 2 * mean([x[i].dot(x[j]) * y[i].dot(y[j]) for i, j in couples])
        scheme = "with" if replacement else "without"
        values = {n: size, b: batch_size}
        expected = found[f"c₄ {scheme} replacement"].subs(values) * own
        expected += found[f"c₂₂ {scheme} replacement"].subs(values) * paired
        same(expectation(product, size, batch_size, replacement), expected, "fourth moment by enumeration")


def _centred(seed: int, size: int) -> list[sympy.Matrix]:
    vectors = [sympy.Matrix(row) for row in integers(seed, size, 2)]
    centre = mean(vectors)
    return [vector - centre for vector in vectors]
