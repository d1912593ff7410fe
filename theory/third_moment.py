"""The third central moment of a batch mean.

Setting. As in the moment identity, with samples of mean zero: a_i = A_i − Ā, S₃ = Σ_i a_i⊗a_i⊗a_i.

Result. E[(A_B − Ā)^{⊗3}] = c₃·(1/n) S₃, c₃ = (n−b)(n−2b)/(b²(n−1)(n−2)) without replacement, 1/b² with replacement.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, expectation, integers, mean, same

COMPUTED_BY = ("esssim.Sampling",)

n, b = sympy.symbols("n b", positive=True, integer=True)

# Step 1. E[w_i³], E[w_i² w_j] and E[w_i w_j w_k] for distinct i, j, k, from the factorial moments of the counts:
# E[(count)₂…] of a multinomial are products b(b−1)…/n^…; without replacement a count is 0 or 1.
ONE, TWO, THREE = b / n, b * (b - 1) / n**2, b * (b - 1) * (b - 2) / n**3
WITH = [(ONE + 3 * TWO + THREE) / b**3, (TWO + THREE) / b**3, THREE / b**3]
PAIR = b * (b - 1) / (n * (n - 1))
WITHOUT = [ONE / b**3, PAIR / b**3, PAIR * (b - 2) / (n - 2) / b**3]


def from_weights(weights: list[sympy.Expr]) -> sympy.Expr:
    """Step 2. Since Σ a_i = 0, the sum over i ≠ j of a_i²a_j is −S₃ (three orders), over distinct i, j, k it is 2S₃."""
    cube, square, distinct = weights
    return sympy.factor(n * (cube - 3 * square + 2 * distinct))


def derive() -> dict[str, sympy.Expr]:
    """c₃ of both schemes."""
    return {"c₃ without replacement": from_weights(WITHOUT), "c₃ with replacement": from_weights(WITH)}


def check() -> None:
    """Each step, and the result by enumeration in exact arithmetic."""
    for weights in (WITHOUT, WITH):
        total = n * weights[0] + 3 * n * (n - 1) * weights[1] + n * (n - 1) * (n - 2) * weights[2]
        same(total, 1, "E[(Σ w_i)³] = 1")
    # Step 2 for five values of mean zero.
    a = list(sympy.symbols("a1:5"))
    a.append(-sum(a))
    cubes = sum(x**3 for x in a)
    pairs = sum(a[i] ** 2 * a[j] for i in range(5) for j in range(5) if i != j)
    triples = sum(a[i] * a[j] * a[k] for i in range(5) for j in range(5) for k in range(5) if len({i, j, k}) == 3)
    same(pairs, -cubes, "sum over pairs")
    same(triples, 2 * cubes, "sum over triples")
    found = derive()
    same(
        found["c₃ without replacement"],
        (n - b) * (n - 2 * b) / (b**2 * (n - 1) * (n - 2)),
        "c₃ without replacement",
    )
    same(found["c₃ with replacement"], 1 / b**2, "c₃ with replacement")
    for size, batch_size, replacement in SCHEMES:
        c3 = found["c₃ with replacement" if replacement else "c₃ without replacement"]
        samples = integers(size + batch_size, size)
        centre = mean(samples)

        def cube(draw: tuple[int, ...], samples: list[sympy.Expr] = samples, centre: sympy.Expr = centre) -> sympy.Expr:
            return (batch_mean(samples, draw) - centre) ** 3

        single = mean([(x - centre) ** 3 for x in samples])
        enumerated = expectation(cube, size, batch_size, replacement)
        same(enumerated, c3.subs({n: size, b: batch_size}) * single, "c₃ by enumeration")
