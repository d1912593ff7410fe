"""The mean-square operator of SGD with dropout of inputs on linear regression.

Setting. ℓᵢ = ½((zᵢ∘xᵢ)ᵀθ − yᵢ)², each entry of zᵢ independently 1/q with probability q and else 0, q = 1 − rate, drawn
anew for each sample of each batch. H̃ᵢ = (zᵢ∘xᵢ)(zᵢ∘xᵢ)ᵀ, c as in `theory.moment_identity`. zᵢ = 1 + ξ with
v = E ξ² = (1−q)/q, t = E ξ³, f = E ξ⁴.

Results.
1. E H̃ᵢ = Aᵢ = xᵢxᵢᵀ + v·diag(xᵢ²): the loss is that of ridge regression with the weights v·diag H.
2. For a symmetric M, N = M∘xᵢxᵢᵀ, r = N1, o = diag N: E[H̃ᵢMH̃ᵢ] = xᵢxᵢᵀ∘F with
   F = (1ᵀr + v·tr N)11ᵀ + 2v(r1ᵀ + 1rᵀ) + t(o1ᵀ + 1oᵀ) + 2v²N + diag(v·1ᵀr + 2t·r + (f − 3v²)o + v²·tr N).
3. E[H̃_BMH̃_B] = (1−c)ĀMĀ + c·mean AᵢMAᵢ + (1/b)·mean(E[H̃ᵢMH̃ᵢ] − AᵢMAᵢ), Ā = mean Aᵢ, with and without replacement.
   The last term is the noise of the masks, which is there for b = n too. The edge is 2/λ_max(C⁻¹D).
4. In one dimension with xᵢ² = h for all i and b = 1: Ā = h/q and Q = h/q², the edge is q² times that of SGD.
5. At a solution without masks, xᵀβ = y, the gradient of a sample in β is s = (z∘x)·ξᵀ(x∘β), and
   E s_j² = x_j²·((1+v)v Σ_{k≠j} x_k²β_k² + (v + 2t + f)x_j²β_j²). It is quadratic in β: masks shake a solution in
   proportion to its size, as label noise of that size would. On a diagonal network each step multiplies u_j² − v_j² by
   1 − η²s_j² (`theory.imbalance_identity`, where s is any number), so that masks flatten as batches do.
"""

from __future__ import annotations

import itertools

import sympy

from theory._exact import coefficient, expectation, integers, mean, same

COMPUTED_BY = ("esssim.stability.dropout_step_size", "esssim.Dropout")

q, h = sympy.symbols("q h", positive=True)
p = 2
X, BETA = sympy.symbols("x1:3", real=True), sympy.symbols("beta_1:3", real=True)
SCHEMES = ((2, 1, False), (3, 2, False), (2, 2, False), (2, 2, True))


def central_moments() -> tuple[sympy.Expr, sympy.Expr, sympy.Expr]:
    """v, t, f."""
    v, t, f = (sympy.expand(q * (1 / q - 1) ** k + (1 - q) * (-1) ** k) for k in (2, 3, 4))
    return v, t, f


def second_moment_of_sample(x: sympy.Matrix, matrix: sympy.Matrix) -> sympy.Matrix:
    """E[H̃MH̃], result 2."""
    v, t, f = central_moments()
    ones, outer = sympy.ones(p, 1), x * x.T
    n = matrix.multiply_elementwise(outer)
    r, o = n * ones, sympy.Matrix([n[k, k] for k in range(p)])
    total, trace = sum(r), n.trace()
    inner = (total + v * trace) * sympy.ones(p) + 2 * v * (r * ones.T + ones * r.T) + t * (o * ones.T + ones * o.T)
    diagonal = [v * total + 2 * t * r[k] + (f - 3 * v**2) * o[k] + v**2 * trace for k in range(p)]
    return outer.multiply_elementwise(inner + 2 * v**2 * n + sympy.diag(*diagonal))


def derive() -> dict[str, sympy.Expr]:
    """The moments of a mask; and in one dimension Q of one sample, h = x²: E[z⁴]h²/(E[z²]h)."""
    v, t, f = central_moments()
    square, fourth = 1 + v, 1 + 6 * v + 4 * t + f
    return {
        "v": v, "t": t, "f": f, "sharpness in one dimension": sympy.simplify(fourth * h / square),
        "noise of the masks": noise_of_masks(),
    }  # fmt: skip


def noise_of_masks() -> sympy.Expr:
    """E s_1² of one sample at a solution, result 5."""
    v, t, f = central_moments()
    (x, y), (beta, gamma) = X, BETA
    return x**2 * ((1 + v) * v * y**2 * gamma**2 + (v + 2 * t + f) * x**2 * beta**2)


def check() -> None:
    """Moments of samples by every mask; moments of batches by every draw and every mask; one dimension."""
    v, _, _ = central_moments()
    matrix = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"m{min(j, k) + 1}{max(j, k) + 1}", real=True))
    masks = list(itertools.product((0, 1), repeat=p))
    chances = [sympy.prod(q if kept else 1 - q for kept in mask) for mask in masks]

    def hessian(x: sympy.Matrix, mask: tuple[int, ...]) -> sympy.Matrix:
        masked = sympy.Matrix([value * kept / q for value, kept in zip(x, mask, strict=True)])
        return masked * masked.T

    def mean_of(x: sympy.Matrix) -> sympy.Matrix:
        return x * x.T + v * sympy.diag(*[value**2 for value in x])

    closed = {"v": (1 - q) / q, "t": (1 - q) * (1 - 2 * q) / q**2, "f": (1 - q) * (1 - 3 * q + 3 * q**2) / q**3}
    for name, expected in closed.items():
        same(derive()[name], expected, f"moments of a mask: {name}")
    # 1, 2.
    x = sympy.Matrix(X)
    hessians = [hessian(x, mask) for mask in masks]
    average = sum((w * m for w, m in zip(chances, hessians, strict=True)), sympy.zeros(p))
    same(average, mean_of(x), "mean of a sample")
    squared = sum((w * m * matrix * m for w, m in zip(chances, hessians, strict=True)), sympy.zeros(p))
    same(squared, second_moment_of_sample(x, matrix), "second moment of a sample")
    # 3.
    for size, b, replacement in SCHEMES:
        rows = [sympy.Matrix(values) for values in integers(size + b, size, p)]

        def of_masks(draw: tuple[int, ...], rows: list[sympy.Matrix] = rows, b: int = b) -> sympy.Matrix:
            total = sympy.zeros(p)
            for chosen in itertools.product(range(len(masks)), repeat=b):
                batch = [hessian(rows[i], masks[k]) for i, k in zip(draw, chosen, strict=True)]
                h_b = sum(batch[1:], batch[0]) / b
                total += sympy.prod(chances[k] for k in chosen) * h_b * matrix * h_b
            return total

        means, c = [mean_of(row) for row in rows], coefficient(size, b, replacement)
        of_means = mean([a * matrix * a for a in means])
        noise = mean([second_moment_of_sample(row, matrix) for row in rows]) - of_means
        expected = (1 - c) * mean(means) * matrix * mean(means) + c * of_means + noise / b
        same(expectation(of_masks, size, b, replacement), expected, "second moment of a batch")
    # 4. E z² = 1/q and E z⁴ = 1/q³.
    same(derive()["sharpness in one dimension"], h / q**2, "one dimension")
    # 5. The residual of a mask is ξᵀ(x∘β); and in β all terms have the power 2.
    squares = sympy.Integer(0)
    for chance, mask in zip(chances, masks, strict=True):
        z = [sympy.Integer(kept) / q for kept in mask]
        residual = sum((z[j] - 1) * X[j] * BETA[j] for j in range(p))
        squares += chance * (z[0] * X[0] * residual) ** 2
    noise, scale = derive()["noise of the masks"], sympy.Symbol("scale", positive=True)
    same(squares, noise, "noise of the masks")
    scaled = noise.subs({beta: scale * beta for beta in BETA}, simultaneous=True)
    same(scaled, scale**2 * noise, "in proportion to the solution")
