"""Random weights in the place of batches: the same second moments, the same mean-square operator, other tails.

Setting. A step of SGD is θ − ηΣ_i w_i∇ℓ_i. Batches have w_i = (how often i was drawn)/b. Instead let w_i = 1/n +
√(c/n)·(z_i − z̄), the z_i independent and symmetric with mean 0, variance 1 and E z⁴ = m₄ ("centred weights"), or let w
be all samples (w_i = 1/n) with probability 1 − c and otherwise a single one, each with probability c/n.

Result. In both cases E w_i = 1/n and E[w_iw_j] = (1−c)/n² + (c/n)δ_ij, as for batches. Hence the moment identity, the
operator M ↦ E[(I−ηH_w)M(I−ηH_w)] and the edge ηQ_b = 2 are the same. The fourth moments are not: the excess kurtosis of
w_i − 1/n is (m₄−3)(n²−3n+3)/(n(n−1)) for centred weights and (n²−3n+3)/(c(n−1)) − 3 for all samples or one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import sympy

from theory._exact import batch_mean, coefficient, expectation, mean, same, symmetric_matrices
from theory.moment_identity import from_weights

COMPUTED_BY = (
    "esssim.GaussianWeights",
    "esssim.TwoPointWeights",
    "esssim.ThreePointWeights",
    "esssim.FullOrSingle",
)

n = sympy.Symbol("n", positive=True, integer=True)
c, m4 = sympy.symbols("c m4", positive=True)

# Step 1. E[w_i²] and E[w_iw_j], i ≠ j. z_i − z̄ has the covariance δ_ij − 1/n, because Var z̄ = Cov(z_i, z̄) = 1/n.
CENTRED = {"same": 1 / n**2 + c / n * (1 - 1 / n), "pair": 1 / n**2 - c / n**2}
# A single sample has no pair.
FULL_OR_SINGLE = {"same": (1 - c) / n**2 + c / n, "pair": (1 - c) / n**2}


def fourth_of_centred() -> sympy.Expr:
    """E(z_i − z̄)⁴ = 3(Σa²)² + (m₄−3)Σa⁴ of a sum Σ a_jz_j with a_i = 1 − 1/n and otherwise −1/n."""
    squares = (1 - 1 / n) ** 2 + (n - 1) / n**2
    fourths = (1 - 1 / n) ** 4 + (n - 1) / n**4
    return 3 * squares**2 + (m4 - 3) * fourths


def fourth_of_full_or_single() -> sympy.Expr:
    """E(w_i − 1/n)⁴: nothing for all samples, 1 − 1/n for this one alone, −1/n for another."""
    return c / n * (1 - 1 / n) ** 4 + c * (n - 1) / n**5


def derive() -> dict[str, sympy.Expr]:
    """Second moments of the weights, and the excess kurtosis of both kinds."""
    variance = CENTRED["same"] - 1 / n**2
    return {
        "E of the product of two weights": sympy.factor(CENTRED["pair"]),
        "E of the square of a weight": sympy.factor(CENTRED["same"]),
        "excess kurtosis, centred weights": sympy.factor(fourth_of_centred() / (1 - 1 / n) ** 2 - 3),
        "excess kurtosis, all samples or one": sympy.factor(fourth_of_full_or_single() / variance**2) - 3,
    }


def check() -> None:
    """The second moments; the operator by enumeration of weights and of batches; the fourth moments."""
    product, square, of_centred, of_full_or_single = derive().values()
    # Step 2. Both kinds of weights have the moments of batches, sum to one, and give the moment identity.
    for weights in (CENTRED, FULL_OR_SINGLE):
        same(weights["pair"], product, "E[w_iw_j]")
        same(weights["same"], square, "E[w_i²]")
        same(square - product, c / n, "the factor of δ_ij")
        same(n * weights["same"] + n * (n - 1) * weights["pair"], 1, "weights sum to one")
        of_mean, of_samples = from_weights(weights)
        same(of_mean, 1 - c, "the factor of Ā⊗Ā")
        same(of_samples, c, "the factor of the mean of A_i⊗A_i")
    # Step 3. The operator by enumeration of every weight, against that of batches of b.
    eta, matrix = sympy.Symbol("eta"), sympy.Matrix([[2, 1], [1, -1]])

    def moved(hessian: sympy.Matrix) -> sympy.Matrix:
        return (sympy.eye(2) - eta * hessian) * matrix * (sympy.eye(2) - eta * hessian)

    for size, b in ((3, 1), (3, 2)):
        samples, factor = symmetric_matrices(11 * size + b, size, 2), coefficient(size, b, False)
        of_batches = expectation(partial(_moved_by, moved, samples), size, b, False)
        for name, law in LAWS.items():
            terms = [
                chance * moved(_sum(w * a for w, a in zip(row, samples, strict=True)))
                for row, chance in law(size, factor)
            ]
            same(_sum(terms), of_batches, f"operator of {name}")
    # Step 4. The fourth moments in closed form, and by enumeration.
    same(of_centred, (m4 - 3) * (n**2 - 3 * n + 3) / (n * (n - 1)), "kurtosis of centred weights")
    same(of_full_or_single, (n**2 - 3 * n + 3) / (c * (n - 1)) - 3, "kurtosis of all samples or one")
    for size, b in ((3, 2), (4, 1)):
        values = {n: size, c: coefficient(size, b, False)}
        for name, law in LAWS.items():
            second, fourth = (
                _sum(chance * (row[0] - sympy.Rational(1, size)) ** k for row, chance in law(size, values[c]))
                for k in (2, 4)
            )
            expected = of_centred.subs(m4, FOURTH[name]) if name in FOURTH else of_full_or_single
            same(fourth / second**2 - 3, expected.subs(values), f"kurtosis of {name}")


def _moved_by(moved: Callable[[sympy.Matrix], sympy.Matrix], samples: list[sympy.Matrix], draw: tuple[int, ...]) -> Any:
    return moved(batch_mean(samples, draw))


Law = Iterator[tuple[list[sympy.Expr], sympy.Expr]]


def _of_values(values: list[sympy.Expr], chances: list[sympy.Expr], size: int, factor: sympy.Expr) -> Law:
    for z in itertools.product(range(len(values)), repeat=size):
        row = [values[k] for k in z]
        yield (
            [sympy.Rational(1, size) + sympy.sqrt(factor / size) * (x - mean(row)) for x in row],
            sympy.prod([chances[k] for k in z]),
        )


def _two_points(size: int, factor: sympy.Expr) -> Law:
    return _of_values([-sympy.S.One, sympy.S.One], [sympy.S.Half] * 2, size, factor)


def _three_points(size: int, factor: sympy.Expr) -> Law:
    """±√3 and 0: the first five moments of a normal."""
    root, sixth = sympy.sqrt(3), sympy.Rational(1, 6)
    return _of_values([-root, sympy.S.Zero, root], [sixth, 4 * sixth, sixth], size, factor)


def _all_or_one(size: int, factor: sympy.Expr) -> Law:
    yield [sympy.Rational(1, size)] * size, 1 - factor
    for i in range(size):
        yield [sympy.Integer(i == j) for j in range(size)], factor / size


def _sum(terms: Iterator[sympy.Expr] | list[sympy.Expr]) -> sympy.Expr:
    first, *others = terms
    return sum(others, first)


LAWS: dict[str, Callable[[int, sympy.Expr], Law]] = {
    "two points": _two_points,
    "three points": _three_points,
    "all samples or one": _all_or_one,
}
FOURTH = {"two points": 1, "three points": 3}
