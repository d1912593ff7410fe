"""The interaction-aware edge, and when it is the mean-square edge.

Setting. Quadratic loss at θ = θ* + e, batch gradients g_B, g = E g_B, G_b = E[g_Bg_Bᵀ].

Results.
1. E L(θ − ηg_B) − L(θ) = −η‖g‖² + ½η² tr(H G_b): the expected loss falls exactly for η < 2‖g‖²/tr(H G_b), or where the
   interaction-aware sharpness tr(H G_b)/tr(G_b) is below (2/η)·‖g‖²/tr(G_b).
2. Interpolating model, e random with E[eeᵀ] = Σ: E tr(H G_b)/E‖g‖² = tr(H D(Σ))/tr(H²Σ). Where Σ is the critical
   covariance, D(Σ) = Q_b·½(HΣ + ΣH), that is Q_b: averaged over the state at the edge the two edges are one.
3. For any other Σ ⪰ 0 it lies between the extreme eigenvalues of H⁻¹D(H)H⁻¹, and so does Q_b.
4. In a stationary state E L does not change, and by 1. E tr(H G_b)/E‖g‖² = 2/η at every stable step size, whatever the
   curvature: there the interaction says nothing about the edge.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices
from theory.mean_square_operator import second_moment

COMPUTED_BY = ("esssim.interaction_aware_sharpness", "esssim.stability.interaction_aware_step_size")

eta, gradient_square, interaction = sympy.symbols("eta g2 t", positive=True)
p = 2


def derive() -> dict[str, sympy.Expr]:
    """Change of the expected loss in one step, and the step size at which it is zero; g2 = ‖g‖², t = tr(H G_b)."""
    change = -eta * gradient_square + eta**2 * interaction / 2
    return {"change of the expected loss": change, "step size": 2 * gradient_square / interaction}


def check() -> None:
    """Each result by enumeration or as an identity."""
    found = derive()
    stationary_state()
    same(found["change of the expected loss"].subs(eta, found["step size"]), 0, "zero at the edge")
    sigma = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"S{min(j, k) + 1}{max(j, k) + 1}", real=True))
    e = sympy.Matrix([2, -1])
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(17 * size + batch_size, size, p)
        noises = [sympy.Matrix([i, 1 - i]) for i in range(size)]
        hessian = mean(samples)

        def loss(
            error: sympy.Matrix, hessian: sympy.Matrix = hessian, noises: list[sympy.Matrix] = noises
        ) -> sympy.Expr:
            return (error.T * hessian * error)[0] / 2 + (mean(noises).T * error)[0]

        gradients = [h * e + xi for h, xi in zip(samples, noises, strict=True)]
        full = mean(gradients)

        # 1. One step from a fixed e, over every batch.
        def next_loss(draw: tuple[int, ...], gradients: list[sympy.Matrix] = gradients) -> sympy.Expr:
            return loss(e - eta * batch_mean(gradients, draw))

        def form(
            draw: tuple[int, ...], gradients: list[sympy.Matrix] = gradients, hessian: sympy.Matrix = hessian
        ) -> sympy.Expr:
            g = batch_mean(gradients, draw)
            return (g.T * hessian * g)[0]

        values = {gradient_square: (full.T * full)[0], interaction: expectation(form, size, batch_size, replacement)}
        change = expectation(next_loss, size, batch_size, replacement) - loss(e)
        same(change, found["change of the expected loss"].subs(values), "change of the expected loss")

        # 2. Without noise E tr(H G_b) = tr(H D(Σ)), and E‖g‖² = tr(H²Σ).
        def covariance(
            draw: tuple[int, ...], samples: list[sympy.Matrix] = samples, hessian: sympy.Matrix = hessian
        ) -> sympy.Expr:
            h = batch_mean(samples, draw)
            return (hessian * h * sigma * h).trace()

        image = second_moment(samples, sigma, coefficient(size, batch_size, replacement))
        same(expectation(covariance, size, batch_size, replacement), (hessian * image).trace(), "E tr(H G_b)")
        q = sympy.Symbol("Q", positive=True)
        half = q * (hessian * sigma + sigma * hessian) / 2
        same((hessian * half).trace(), q * (hessian**2 * sigma).trace(), "at the critical covariance")
        # 3. D is self-adjoint: tr(H D(Σ)) = tr(D(H)Σ) = tr(W·H⁻¹D(H)H⁻¹) with W = HΣH ⪰ 0, and tr(H²Σ) = tr W. The
        # critical Σ is one of these Σ, hence Q_b is such a weighted mean too.
        dual = second_moment(samples, hessian, coefficient(size, batch_size, replacement))
        same((hessian * image).trace(), (dual * sigma).trace(), "duality")
        same((hessian * sigma * hessian).trace(), (hessian**2 * sigma).trace(), "trace of the weight")


def stationary_state() -> None:
    """4., from the covariance that one step leaves as it is: two samples whose gradient noises cancel."""
    sigma = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"S{min(j, k) + 1}{max(j, k) + 1}", real=True))
    step, noise = sympy.Rational(1, 20), sympy.Matrix([3, -1])
    samples, noises = [sympy.Matrix([[2, 1], [1, 3]]), sympy.Matrix([[1, -1], [-1, 4]])], [noise, -noise]
    hessian = mean(samples)

    def image(draw: tuple[int, ...]) -> sympy.Matrix:
        """E eeᵀ after the step e − η(H_B e + ξ_B) of this batch; E e = 0 takes the mixed terms away."""
        factor, xi = sympy.eye(p) - step * batch_mean(samples, draw), batch_mean(noises, draw)
        return factor * sigma * factor.T + step**2 * xi * xi.T

    def interaction_of(draw: tuple[int, ...]) -> sympy.Expr:
        h, xi = batch_mean(samples, draw), batch_mean(noises, draw)
        return (hessian * (h * sigma * h + xi * xi.T)).trace()

    for batch_size, replacement in ((1, False), (2, True)):
        equations = list(expectation(image, 2, batch_size, replacement) - sigma)
        (solution,) = sympy.solve(equations, list(sigma.free_symbols), dict=True)
        form = expectation(interaction_of, 2, batch_size, replacement).subs(solution)
        same(form / (hessian**2 * sigma).trace().subs(solution), 2 / step, "a stationary state")
