"""How rarely SGD passes a loss: a power law, whose exponent solves the moment equation.

Setting. One parameter at its minimum, θ ← aθ, a = 1 − ηh with a law of finitely many values, E a² < 1, and at least one
|a| > 1: an unstable batch. L(q) = log E|a|^q.

Results.
1. L is convex, L(0) = 0, and L″(q) is the variance of log|a| under the law tilted by |a|^q. So L has one root α beyond
   0, and α > 2 exactly below the mean-square edge: L(2) = log(1 − 2ηE h + η²E h²).
2. |θ_t|^α is a martingale, so that P(|θ_t| ≥ x for some t) ≤ (|θ₀|/x)^α (Ville's inequality).
3. It is no more than a factor away. For |a| = g with probability p < 1/2 and else 1/g, log|θ| is a walk on a lattice:
   P(|θ_t| ever reaches g^k|θ₀|) = (p/(1−p))^k, which is (|θ₀|/x)^α with α = log((1−p)/p)/log g.
4. The loss is ∝ θ²: it goes as ℓ^(−α/2).
5. In N steps k of the first kind out of t have led to g^k(1/g)^(t−k): the probability within N steps follows from a
   recursion over (t, k) that counts a way once, where it first arrives.

In more dimensions L(q) = lim (1/k) log E‖A_k…A₁‖^q, by particles; the power law of its root is tested against SGD.
"""

from __future__ import annotations

import itertools

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.stability.escape_probability", "esssim.experiments.escapes.power_law")

p, g, q, eta, h1, h2 = sympy.symbols("p g q eta h_1 h_2", positive=True)
k = sympy.Symbol("k", integer=True, positive=True)


def exponent(factors: tuple[sympy.Expr, sympy.Expr]) -> sympy.Expr:
    """L(q) for two sizes |a|, the first with probability p."""
    first, second = factors
    return sympy.log(p * first**q + (1 - p) * second**q)


def tail_index() -> sympy.Expr:
    """α of |a| = g or 1/g."""
    return sympy.log((1 - p) / p) / sympy.log(g)


def derive() -> dict[str, sympy.Expr]:
    """α on a lattice, and the probability that the loss is ever multiplied by g^(2k)."""
    return {"tail index": tail_index(), "probability": (p / (1 - p)) ** k}


def within(steps: int, height: int) -> sympy.Expr:
    """P(log|θ|/log g reaches `height` within so many steps), by the recursion."""
    law, escaped = {0: sympy.Integer(1)}, sympy.Integer(0)
    for _ in range(steps):
        moved: dict[int, sympy.Expr] = {}
        for place, chance in law.items():
            for after, part in ((place + 1, p), (place - 1, 1 - p)):
                if after >= height:
                    escaped += chance * part
                else:
                    moved[after] = moved.get(after, 0) + chance * part
        law = moved
    return escaped


def check() -> None:
    """Convexity, the martingale, the lattice, the loss, the recursion."""
    # 1. With weights w_i = p_i|a_i|^q/Σ: L' and L'' are the mean and the variance of log|a|.
    sizes = sympy.symbols("a_1 a_2", positive=True)
    weights = [p * sizes[0] ** q, (1 - p) * sizes[1] ** q]
    logs = [sympy.log(size) for size in sizes]
    tilted = [w / sum(weights) for w in weights]
    average = sum(w * x for w, x in zip(tilted, logs, strict=True))
    variance = sum(w * (x - average) ** 2 for w, x in zip(tilted, logs, strict=True))
    found = exponent(sizes)
    same(found.subs(q, 0), 0, "L(0)")
    same(sympy.diff(found, q), average, "the mean under the tilted law")
    same(sympy.diff(found, q, 2), variance, "the variance under the tilted law")
    mean, square = p * h1 + (1 - p) * h2, p * h1**2 + (1 - p) * h2**2
    second = p * (1 - eta * h1) ** 2 + (1 - p) * (1 - eta * h2) ** 2
    same(second, 1 - 2 * eta * mean + eta**2 * square, "L(2)")
    same(second.subs(eta, 2 * mean / square), 1, "α = 2 at the mean-square edge")
    # 2, 3. E|a|^α = 1, for an unlikely step up; and P solves P_k = pP_{k−1} + (1−p)P_{k+1} with P_0 = 1.
    alpha = derive()["tail index"]
    up = sympy.exp(alpha * sympy.log(g))
    same(sympy.simplify(p * up + (1 - p) / up), 1, "the martingale")
    reaches = derive()["probability"]
    same(p * reaches.subs(k, k - 1) + (1 - p) * reaches.subs(k, k + 1), reaches, "first step")
    same(sympy.simplify(reaches * up**k), 1, "the bound is reached")
    # 4. With ℓ = g^(2k): ℓ^(−α/2).
    of_loss = -alpha / 2 * sympy.log(g ** (2 * k))
    difference = sympy.expand_log(of_loss - sympy.log(reaches), force=True)
    same(difference, 0, "of the loss")
    # 5. Against the sum over all ways, and below the probability without an end.
    for steps, height in ((4, 1), (5, 2)):
        ways = sympy.Integer(0)
        for way in itertools.product((1, -1), repeat=steps):
            if max(itertools.accumulate(way)) >= height:
                rises = way.count(1)
                ways += p**rises * (1 - p) ** (steps - rises)
        same(within(steps, height), ways, f"{steps} steps to {height}")
        rare = {p: sympy.Rational(1, 10)}
        assert within(steps, height).subs(rare) < reaches.subs(k, height).subs(rare), "fewer steps, fewer escapes"
