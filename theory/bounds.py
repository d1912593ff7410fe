"""Bounds on MiniBS that follow from an identity.

Setting. M_b = E λ_max(H_B), B of b among n without replacement, B' its complement, H = (1/n) Σ H_i.

Results.
1. Variance. gap² + Var λ_max(H_B) = E(λ_max(H_B) − λ_max(H))² ≤ E‖H_B − H‖_F² = c·(1/n) Σ_i ‖H_i − H‖_F².
2. Complement. b(H_B − H) = (n−b)(H − H_{B'}), so that b·E λ_max(H_B − H) = (n−b)·E λ_max(H − H_{B'}).
3. Leave one out. H_B = (1/b) Σ_{i∈B} H_{B∖i}, so that M_b ≤ M_{b−1} (λ_max is convex).
4. Domination. Positive semidefinite samples: nH − bH_B = Σ_{i∉B} H_i ⪰ 0, so that M_b ≤ (n/b) λ_max(H). And with
   bH_B − (b−1)H_{B∖i} = H_i ⪰ 0, b·M_b rises with b.
5. Trace. Q_b ≥ E tr H_B²/tr H: the pencil's ratio ⟨M, D(M)⟩/⟨M, C(M)⟩ at M = I.
"""

from __future__ import annotations

import sympy

from theory import mean_square_operator
from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = (
    "esssim.gap.bounds",
    "esssim.gap.elementary.scatter",
    "esssim.gap.elementary.complement",
    "esssim.gap.top_eigenvalue_variance_bound",
)

c, n, b, top = sympy.symbols("c n b lambda_max", positive=True)
# Squared Frobenius norm of the fluctuation of one sample, averaged; (1/n) Σ tr H_i², tr H² and tr H.
spread, mean_square, square, trace = sympy.symbols("F2 S2 T2 T1", nonnegative=True)


def derive() -> dict[str, sympy.Expr]:
    """The right-hand sides that are numbers."""
    return {
        "bound on gap² + variance": c * spread,
        "bound on MiniBS by domination": n / b * top,
        "lower bound on the mean-square sharpness": ((1 - c) * square + c * mean_square) / trace,
    }


def check() -> None:
    """Each identity, symbolically or over every batch; Weyl and convexity are cited where they enter."""
    # 1. Mean and variance of any number L about a fixed ℓ: E(L − ℓ)² = (E L − ℓ)² + Var L.
    first, second, reference = sympy.symbols("L1 L2 l", real=True)
    average = (first + second) / 2
    left = ((first - reference) ** 2 + (second - reference) ** 2) / 2
    right = (average - reference) ** 2 + ((first - average) ** 2 + (second - average) ** 2) / 2
    same(left, right, "mean and variance")
    # |λ_max(H_B) − λ_max(H)| ≤ ‖H_B − H‖_op ≤ ‖H_B − H‖_F (Weyl). The expectation of its square, by enumeration:
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(13 * size + batch_size, size, 2)
        whole = mean(samples)

        def squared_distance(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Expr:
            difference = batch_mean(samples, draw) - mean(samples)
            return (difference**2).trace()

        factor = coefficient(size, batch_size, replacement)
        one = mean([((h - whole) ** 2).trace() for h in samples])
        bound = derive()["bound on gap² + variance"].subs({c: factor, spread: one})
        same(expectation(squared_distance, size, batch_size, replacement), bound, "mean squared distance")

        # 5. ⟨I, D(I)⟩ = E tr H_B² and ⟨I, C(I)⟩ = tr H.
        def squared_trace(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Expr:
            return (batch_mean(samples, draw) ** 2).trace()

        parts = {mean_square: mean([(h**2).trace() for h in samples]), square: (whole**2).trace(), trace: whole.trace()}
        lower = derive()["lower bound on the mean-square sharpness"].subs(parts | {c: factor})
        enumerated = expectation(squared_trace, size, batch_size, replacement)
        same(lower * whole.trace(), enumerated, "E tr H_B²")
        image = mean_square_operator.second_moment(samples, sympy.eye(2), factor)
        same(image.trace(), enumerated, "⟨I, D(I)⟩ is E tr H_B²")
    # 2 to 4. Four matrices, every batch: linear identities in the H_i.
    samples = [sympy.Matrix(2, 2, sympy.symbols(f"h{i}_1:5")) for i in range(1, 5)]
    whole, size = mean(samples), 4
    for batch in ((0,), (1, 3), (0, 2, 3)):
        others = tuple(i for i in range(size) if i not in batch)
        inside, outside = batch_mean(samples, batch), batch_mean(samples, others)
        count = len(batch)
        same(count * (inside - whole), (size - count) * (whole - outside), "complement")
        rest = sum((samples[i] for i in others), sympy.zeros(2, 2))
        above = derive()["bound on MiniBS by domination"].subs({n: size, b: count, top: 1}) * whole
        same(above - inside, rest / count, "domination")
        if count > 1:
            smaller = [batch_mean(samples, tuple(j for j in batch if j != i)) for i in batch]
            same(inside, mean(smaller), "leave one out")
            same(count * inside - (count - 1) * smaller[0], samples[batch[0]], "b·H_B rises with b")
    # A batch of b−1, drawn by leaving one of b out uniformly, is again uniform: each comes about in n−b+1 ways.
    k, m = sympy.symbols("k m", integer=True, positive=True)
    ways = sympy.binomial(m, k) * k / sympy.binomial(m, k - 1)
    same(sympy.combsimp(ways), m - k + 1, "a smaller batch is uniform")
