"""Mean and covariance of SGD on quadratics with noise at the minimum, cross terms included.

Setting. ∇ℓ_i(θ) = H_i e − ξ_i, e = θ − θ*, Σ ξ_i = 0 at the minimiser θ*. SGD: e ← (I − ηH_B)e + ηξ_B.

Result. About the minimiser, M = E[eeᵀ] and m = E[e]:
  M ← M − η(HM + MH) + η²[(1−c)HMH + c·mean H_iMH_i] + η²c·mean ξ_iξ_iᵀ − η²c·mean(H_i m ξ_iᵀ + ξ_i mᵀH_i).
About the mean, Σ = M − mmᵀ, the cross terms are gone:
  Σ ← Σ − η(HΣ + ΣH) + η²[(1−c)HΣH + c·mean H_iΣH_i] + η²c·Cov_i(∇ℓ_i(m)),  m ← (I − ηH)m.
In one dimension the stationary variance is η²cσ²/(2ηa − η²(a² + s²)), σ² = mean ξ_i², s² = Var h_B.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, integers, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.moments.evolve", "esssim.moments.stationary_covariance")

eta, c, a, s2, sigma2 = sympy.symbols("eta c a s2 sigma2", positive=True)
p = 2
m = sympy.Matrix(sympy.symbols("m1:3", real=True))
M = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"M{min(j, k) + 1}{max(j, k) + 1}", real=True))
Sample = tuple[sympy.Matrix, sympy.Matrix]


def about_the_minimiser(samples: list[Sample], factor: sympy.Expr) -> sympy.Matrix:
    """M after one step."""
    hessian = mean([h for h, _ in samples])
    spread = (1 - factor) * hessian * M * hessian + factor * mean([h * M * h for h, _ in samples])
    noise = factor * mean([xi * xi.T for _, xi in samples])
    cross = factor * mean([h * m * xi.T + xi * m.T * h for h, xi in samples])
    return M - eta * (hessian * M + M * hessian) + eta**2 * (spread + noise - cross)


def about_the_mean(
    samples: list[Sample], centre: sympy.Matrix, covariance: sympy.Matrix, factor: sympy.Expr
) -> sympy.Matrix:
    """Σ after one step from the mean `centre`."""
    hessian = mean([h for h, _ in samples])
    gradients = [h * centre - xi for h, xi in samples]
    average = mean(gradients)
    spread = (1 - factor) * hessian * covariance * hessian + factor * mean([h * covariance * h for h, _ in samples])
    noise = factor * mean([(g - average) * (g - average).T for g in gradients])
    return covariance - eta * (hessian * covariance + covariance * hessian) + eta**2 * (spread + noise)


def derive() -> dict[str, sympy.Expr]:
    """Two samples with general entries, and the stationary variance in one dimension."""
    one, two, xi, centre, covariance = (sympy.Matrix([[x]]) for x in sympy.symbols("h1 h2 xi m Sigma", real=True))
    return {
        "variance of two samples after one step": about_the_mean([(one, xi), (two, -xi)], centre, covariance, c)[0],
        "stationary variance": eta**2 * c * sigma2 / (2 * eta * a - eta**2 * (a**2 + s2)),
    }


def check() -> None:
    """Both recursions by enumeration, their equivalence, the stationary variance, and that the cross terms matter."""
    for size, batch_size, replacement in SCHEMES:
        factor = coefficient(size, batch_size, replacement)
        noises = [sympy.Matrix(row) for row in integers(size, size - 1, p)]
        noises.append(-sum(noises[1:], noises[0]))
        samples = list(zip(symmetric_matrices(11 * size + batch_size, size, p), noises, strict=True))

        # Step 1. E[e′e′ᵀ] over every batch; e enters through M and m alone, being independent of B.
        def moved(draw: tuple[int, ...], samples: list[Sample] = samples) -> sympy.Matrix:
            step = sympy.eye(p) - eta * batch_mean([h for h, _ in samples], draw)
            noise = eta * batch_mean([xi for _, xi in samples], draw)
            return step * M * step + step * m * noise.T + noise * m.T * step + noise * noise.T

        enumerated = expectation(moved, size, batch_size, replacement)
        same(enumerated, about_the_minimiser(samples, factor), "recursion about the minimiser")
        # Step 2. Subtract m′m′ᵀ, m′ = (I − ηH)m, since Σ ξ_i = 0.
        hessian = mean([h for h, _ in samples])
        after = (sympy.eye(p) - eta * hessian) * m
        same(enumerated - after * after.T, about_the_mean(samples, m, M - m * m.T, factor), "recursion about the mean")
        # Step 3. The cross terms are not zero: without them the recursion about the minimiser would be wrong.
        cross = mean([h * m * xi.T + xi * m.T * h for h, xi in samples])
        assert cross != sympy.zeros(p, p), "the cross terms vanish on this example"
    # The same for two samples with symbols for entries, in one dimension.
    h1, h2, xi, centre, variance = sympy.symbols("h1 h2 xi m Sigma", real=True)
    for batch_size, replacement in ((1, False), (2, True)):

        def squares(draw: tuple[int, ...]) -> sympy.Expr:
            curvature, noise = batch_mean([h1, h2], draw), batch_mean([xi, -xi], draw)
            return (1 - eta * curvature) ** 2 * variance + ((1 - eta * curvature) * centre + eta * noise) ** 2

        found = derive()["variance of two samples after one step"].subs(c, coefficient(2, batch_size, replacement))
        after = (1 - eta * (h1 + h2) / 2) * centre
        same(expectation(squares, 2, batch_size, replacement) - after**2, found, "variance of two samples")
    # Step 4. One dimension, m = 0: Σ = Σ(1 − 2ηa + η²(a² + s²)) + η²cσ².
    variance = derive()["stationary variance"]
    same(variance * (1 - 2 * eta * a + eta**2 * (a**2 + s2)) + eta**2 * c * sigma2, variance, "stationary variance")
