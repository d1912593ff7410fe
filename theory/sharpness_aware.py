"""The mean-square operator of sharpness-aware minimisation on mini-batches, without the norm of the gradient.

Setting. Quadratic loss at an interpolating minimum, θ = θ* + e. A step is θ ← θ − ηg_B(θ + ρg_B(θ)) with both gradients
of one batch: e ← (I − ηK_B)e, K_B = H_B + ρH_B². M = E[eeᵀ]. c as in `theory.moment_identity`.

Results.
1. M ← M − η(K̄M + MK̄) + η²E[K_BMK_B] with K̄ = H + ρ((1−c)H² + c·mean Hᵢ²). The edge is η = 2/Q, Q the top eigenvalue
   of M ↦ C⁻¹E[K_BMK_B], C(M) = ½(K̄M + MK̄).
2. E[K_BMK_B] is a sum over up to four indices, f(i, j, …), with weights E[wᵢwⱼ…] that depend only on which indices are
   equal: Σ_σ a_σ·Σf over indices that are equal within each block of the partition σ,
   b^order·a_σ = Σ_π (b)_k/(n)_k·Π(−1)^{m−1}(m−1)!, π finer than σ with k blocks, m of them in a block of σ, without
   replacement; (b)_k/n^k with k the number of blocks of σ, with replacement.
3. On the full loss the edge is λ + ρλ² = 2/η. With the norm ρ is ρ/‖g‖: Long & Bartlett's edge (arXiv 2309.12488).
4. In one dimension Q = E[k²]/E[k] with k = h_B + ρh_B²: for h ≥ 0 never below that of SGD, whatever ρ.
5. On a diagonal network, f = x·(uv), with the gradients (s v, s u) at θ and (s′v′, s′u′) at θ + ρ(s v, s u), the
   imbalance m = u² − v² is multiplied by (1 − ηρss′)² − η²s′²: beside SGD's −η²s′² it shrinks by 2ηρss′, to first order
   in η.
"""

from __future__ import annotations

import itertools
from typing import Any

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, integers, mean, same, symmetric_matrices

COMPUTED_BY = (
    "esssim.stability.sharpness_aware_step_size",
    "esssim.stability.sharpness_aware_edge",
    "esssim.SharpnessAware",
)

eta, rho, curvature, norm = sympy.symbols("eta rho lambda g", positive=True)
first_mean, second_mean, third_mean, fourth_mean = sympy.symbols("h1 h2 h3 h4", positive=True)
left, right, slope, slope_uphill = sympy.symbols("u v s t", real=True)
p = 2


def derive() -> dict[str, sympy.Expr]:
    """The edge of the full loss, ‖g‖ = g; Q in one dimension, h1 … h4 the moments of h_B; m after a step."""
    k_mean = first_mean + rho * second_mean
    k_square = second_mean + 2 * rho * third_mean + rho**2 * fourth_mean
    return {
        "full-batch edge": norm / (2 * rho) * (sympy.sqrt(1 + 8 * rho / (eta * norm)) - 1),
        "sharpness in one dimension": k_square / k_mean,
        "imbalance after a step": (left**2 - right**2)
        * ((1 - eta * rho * slope * slope_uphill) ** 2 - eta**2 * slope_uphill**2),
    }


def partitions(order: int) -> list[tuple[int, ...]]:
    """Which of `order` indices are equal: the number of its block for each."""
    strings = itertools.product(range(order), repeat=order)
    return [s for s in strings if all(s[k] <= max(s[:k], default=-1) + 1 for k in range(order))]


def weight(coarse: tuple[int, ...], size: int, b: int, replacement: bool) -> sympy.Rational:
    """a_σ of result 2."""
    order, blocks = len(coarse), len(set(coarse))
    if replacement:
        return sympy.Rational(int(sympy.ff(b, blocks)), b**order * size**blocks)
    total = sympy.Integer(0)
    for fine in partitions(order):
        pairs, k = set(zip(fine, coarse, strict=True)), len(set(fine))
        if len(pairs) > k or k > b:
            continue
        parts = [sum(block == of for _, of in pairs) for block in set(coarse)]
        sign = sympy.prod((-1) ** (m - 1) * sympy.factorial(m - 1) for m in parts)
        total += sign * sympy.Rational(int(sympy.ff(b, k)), b**order * int(sympy.ff(size, k)))
    return total


def check() -> None:
    """One step by enumeration; moments as sums over partitions; the full loss; one dimension; a diagonal network."""
    matrix = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"m{min(j, k) + 1}{max(j, k) + 1}", real=True))
    for size, b, replacement in SCHEMES:
        samples = symmetric_matrices(3 * size + b, size, p)

        def step(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            h = batch_mean(samples, draw)
            return h + rho * h * h

        # 1.
        hessian, c = mean(samples), coefficient(size, b, replacement)
        k_mean = hessian + rho * ((1 - c) * hessian**2 + c * mean([h * h for h in samples]))
        same(expectation(step, size, b, replacement), k_mean, "mean of K_B")
        # 2. For four numbers of each sample, in place of the entries of its matrices.
        values = integers(size + b, 4, size)

        def product(draw: tuple[int, ...], values: Any = values) -> sympy.Expr:
            return sympy.prod(batch_mean(row, draw) for row in values)

        total = sympy.Integer(0)
        for coarse in partitions(4):
            blocks = [[row for row, block in zip(values, coarse, strict=True) if block == one] for one in set(coarse)]
            sums = [sum(sympy.prod(row[i] for row in block) for i in range(size)) for block in blocks]
            total += weight(coarse, size, b, replacement) * sympy.prod(sums)
        same(expectation(product, size, b, replacement), total, "fourth moments of batch means")
    size, b = 3, 2
    samples = symmetric_matrices(1, size, p)
    ks = [h + rho * h * h for h in (batch_mean(samples, draw) for draw in itertools.combinations(range(size), b))]
    after = mean([(sympy.eye(p) - eta * k) * matrix * (sympy.eye(p) - eta * k) for k in ks])
    same(
        after, matrix - eta * (mean(ks) * matrix + matrix * mean(ks)) + eta**2 * mean([k * matrix * k for k in ks]), "1"
    )
    results = derive()
    # 3. A step along the top eigenvector with the reach ρ/‖g‖ turns e into −e.
    edge = results["full-batch edge"]
    same(edge + rho / norm * edge**2, 2 / eta, "full loss")
    # 4. Q − E[h²]/E[h] has the sign of 2·h3·h1 − h2² + ρ·h4·h1, and h2² ≤ h3·h1 for h ≥ 0 by Cauchy–Schwarz.
    surplus = results["sharpness in one dimension"] - second_mean / first_mean
    numerator = 2 * third_mean * first_mean - second_mean**2 + rho * fourth_mean * first_mean
    same(surplus * first_mean * (first_mean + rho * second_mean), rho * numerator, "one dimension")
    # 5.
    uphill = (left + rho * slope * right, right + rho * slope * left)
    ends = (left - eta * slope_uphill * uphill[1], right - eta * slope_uphill * uphill[0])
    same(ends[0] ** 2 - ends[1] ** 2, results["imbalance after a step"], "imbalance")
