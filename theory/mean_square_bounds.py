"""Bounds on the mean-square sharpness, from the pencil at chosen matrices.

Setting. Q_b = max_M ⟨M, D(M)⟩/⟨M, C(M)⟩ over symmetric M (the pencil is self-adjoint), ⟨M, D(M)⟩ = E tr(MH_BMH_B),
⟨M, C(M)⟩ = tr(M²H). v₁ is the top eigenvector of H, λ₁ its eigenvalue.

Results.
1. Below. M = v₁v₁ᵀ: Q_b ≥ λ₁ + c·Var_i(v₁ᵀH_iv₁)/λ₁, and so Q_b ≥ λ_max(H).
2. Above. tr(MH_BMH_B) ≤ tr(M²H_B²), and so Q_b ≤ λ_max(H⁺E[H_B²]).
3. Above, positive semidefinite samples. tr(MH_BMH_B) ≤ λ_max(H_B) tr(MH_BM), and so Q_b ≤ max_B λ_max(H_B).
4. Above, by the batch size. The pencil is affine in c, and so Q_b is convex in it: Q_b ≤ λ₁ + c(Q₁ − λ₁), Q₁ at c =
1. With
   c = 1/b the critical step size is at least (2/λ₁)·b/(b + b₀), b₀ = Q₁/λ₁ − 1: linear in b, then saturation.
5. MiniBS has no such place: Q_b − M_b takes both signs (two exact examples).
"""

from __future__ import annotations

import sympy

from theory import mean_square_operator
from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.gap.mean_square_bounds",)

c, variance, top, single = sympy.symbols("c s2 lambda1 Q1", positive=True)


def derive() -> dict[str, sympy.Expr]:
    """The lower bound, s2 the variance over the samples of v₁ᵀH_iv₁, and the chord."""
    return {
        "lower bound on the mean-square sharpness": top + c * variance / top,
        "chord in the variance coefficient": top + c * (single - top),
    }


def commutator_square(first: sympy.Matrix, second: sympy.Matrix) -> sympy.Expr:
    """‖MH − HM‖_F²."""
    difference = first * second - second * first
    return (difference * difference.T).trace()


def check() -> None:
    """Each inequality as an identity with a square, and the examples in exact arithmetic."""
    # 1. M = vvᵀ: ⟨M, D(M)⟩ = E (vᵀH_Bv)², by enumeration with v the first axis and H made diagonal in it.
    axis = sympy.Matrix([1, 0])
    projector = axis * axis.T
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(23 * size + batch_size, size, 2)
        off = sum(sample[0, 1] for sample in samples)
        samples[-1] += sympy.Matrix([[200, -off], [-off, 0]])
        whole = mean(samples)
        same(whole * axis, whole[0, 0] * axis, "the axis is an eigenvector")

        def form(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Expr:
            batch = batch_mean(samples, draw)
            return (projector * batch * projector * batch).trace()

        spread = mean([(sample[0, 0] - whole[0, 0]) ** 2 for sample in samples])
        factor = coefficient(size, batch_size, replacement)
        bound = derive()["lower bound on the mean-square sharpness"].subs(
            {c: factor, variance: spread, top: whole[0, 0]}
        )
        ratio = expectation(form, size, batch_size, replacement) / (projector**2 * whole).trace()
        same(ratio, bound, "the pencil at the top eigenvector")
    # 2. tr(M²H²) − tr(MHMH) = ½‖MH − HM‖_F² for symmetric M and H.
    m, h = (sympy.Matrix(2, 2, lambda j, k, n=n: sympy.Symbol(f"{n}{min(j, k)}{max(j, k)}", real=True)) for n in "mh")
    same((m**2 * h**2 - m * h * m * h).trace(), commutator_square(m, h) / 2, "commutator")
    # So ⟨M, D(M)⟩/⟨M, C(M)⟩ ≤ tr(M²E[H_B²])/tr(M²H), a weighted mean of the eigenvalues of H^{-½}E[H_B²]H^{-½}.
    # 3. With H_B = RᵀR and μ = λ_max(H_B): μ·tr(MH_BM) − tr(MH_BMH_B) = tr(RM(μ − H_B)MRᵀ), where μ − H_B ⪰ 0.
    root, bound = sympy.Matrix(2, 2, sympy.symbols("r1:5", real=True)), sympy.Symbol("mu", positive=True)
    batch = root.T * root
    left = bound * (m * batch * m).trace() - (m * batch * m * batch).trace()
    same(left, (root * m * (bound * sympy.eye(2) - batch) * m * root.T).trace(), "domination")
    # 4. ⟨M, D(M)⟩ is affine in c: with the ratios r₀ ≤ λ₁ at c = 0 and r₁ ≤ Q₁ at c = 1 the ratio is (1−c)r₀ + cr₁.
    pair = [h, m * h * m]
    forms = [(m * mean_square_operator.second_moment(pair, m, factor)).trace() for factor in (0, c, 1)]
    same(forms[1], (1 - c) * forms[0] + c * forms[2], "affine in c")
    chord = derive()["chord in the variance coefficient"]
    same(chord, (1 - c) * top + c * single, "chord")
    size, half = sympy.symbols("b b0", positive=True)
    rule = 2 / top * size / (size + half)
    same(2 / chord.subs(c, 1 / size), rule.subs(half, single / top - 1), "linear, then saturation")
    # 5. One dimension, curvatures 1 and 3, b = 1: Q_1 = 2 + 1/2 exceeds M_1 = 2.
    one = derive()["lower bound on the mean-square sharpness"].subs({c: 1, variance: 1, top: 2})
    same(one, sympy.Rational(5, 2), "Q_1 of curvatures 1 and 3")
    # Samples vvᵀ with v at 0°, 60° and 120°, b = 2 without replacement: every symmetric matrix is a combination of the
    # identity and two traceless ones, which D and C only multiply. H = ½: Q_2 is twice the largest factor of D.
    vectors = [sympy.Matrix([sympy.cos(k * sympy.pi / 3), sympy.sin(k * sympy.pi / 3)]) for k in range(3)]
    samples = [vector * vector.T for vector in vectors]
    same(mean(samples), sympy.eye(2) / 2, "three directions")
    factors = (sympy.Rational(5, 16), sympy.Rational(1, 4), sympy.Rational(1, 4))
    for matrix, factor in zip((sympy.eye(2), sympy.diag(1, -1), sympy.Matrix([[0, 1], [1, 0]])), factors, strict=True):
        image = mean_square_operator.second_moment(samples, matrix, coefficient(3, 2, False))
        same(image, factor * matrix, "D multiplies")
    # Two directions 60° apart: λ_max of their mean is (1 + cos 60°)/2 = 3/4 for all three batches, above Q_2 = 5/8.
    for draw in ((0, 1), (0, 2), (1, 2)):
        assert max(batch_mean(samples, draw).eigenvals()) == sympy.Rational(3, 4), "λ_max of a batch"
    assert 2 * max(factors) < sympy.Rational(3, 4), "Q_2 below M_2"
