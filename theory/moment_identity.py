"""The moment identity: second moments of a batch mean from those of one sample.

Setting. Samples A_1 … A_n (numbers, vectors or matrices; ⊗ their product), mean Ā. A batch mean is A_B = Σ_i w_i A_i
with w_i = (how often i was drawn)/b.

Result. E[A_B ⊗ A_B] = (1 − c) Ā⊗Ā + c·(1/n) Σ_i A_i⊗A_i, c = (n−b)/(b(n−1)) without replacement, 1/b with replacement.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.Sampling",)

n, b = sympy.symbols("n b", positive=True, integer=True)

# Step 1. E[w_i²] and E[w_i w_j], i ≠ j: how often one index, or a pair, is drawn.
# Without replacement a given index is in B with probability b/n, a given pair with b(b−1)/(n(n−1)).
WITHOUT = {"same": (b / n) / b**2, "pair": b * (b - 1) / (n * (n - 1)) / b**2}
# With replacement the counts are multinomial: E[count²] = b/n + b(b−1)/n², E[count·count'] = b(b−1)/n².
WITH = {"same": (b / n + b * (b - 1) / n**2) / b**2, "pair": b * (b - 1) / n**2 / b**2}


def from_weights(weights: dict[str, sympy.Expr]) -> tuple[sympy.Expr, sympy.Expr]:
    """Step 2. Σ_ij E[w_i w_j] A_i⊗A_j = pair·n² Ā⊗Ā + (same − pair) Σ_i A_i⊗A_i: the factors of Ā⊗Ā and of the mean."""
    return sympy.factor(n**2 * weights["pair"]), sympy.factor(n * (weights["same"] - weights["pair"]))


def derive() -> dict[str, sympy.Expr]:
    """c of both schemes."""
    return {
        "c without replacement": from_weights(WITHOUT)[1],
        "c with replacement": from_weights(WITH)[1],
    }


def check() -> None:
    """Each step, and the identity by enumeration of matrices in exact arithmetic."""
    for weights in (WITHOUT, WITH):
        # The weights of a batch sum to one, so that E[(Σ w_i)²] = 1.
        same(n * weights["same"] + n * (n - 1) * weights["pair"], 1, "weights sum to one")
        of_mean, c = from_weights(weights)
        # Step 3. The two factors are 1 − c and c.
        same(of_mean + c, 1, "factors are 1 − c and c")
    found = derive()
    same(found["c without replacement"], (n - b) / (b * (n - 1)), "c without replacement")
    same(found["c with replacement"], 1 / b, "c with replacement")
    for size, batch_size, replacement in SCHEMES:
        name = "c with replacement" if replacement else "c without replacement"
        c = found[name].subs({n: size, b: batch_size})
        same(c, coefficient(size, batch_size, replacement), "c in rational arithmetic")
        samples = symmetric_matrices(size + batch_size, size, 2)

        def square(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            return sympy.kronecker_product(batch_mean(samples, draw), batch_mean(samples, draw))

        whole = mean(samples)
        expected = (1 - c) * sympy.kronecker_product(whole, whole)
        expected += c * mean([sympy.kronecker_product(a, a) for a in samples])
        same(expectation(square, size, batch_size, replacement), expected, "identity by enumeration")
