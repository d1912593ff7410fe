"""The stochastic central flow of heavy ball.

Setting. As in `theory.stochastic_central_flow`, with v ← βv + g_B, θ ← θ − ηv. On a set of solutions g_B = Jᵀ(w∘(r −
εz)), w the weights of the batch, so that the residuals move by r ← r − ηu, u ← βu + K(w∘(r − εz)).

Result. The fast covariance is again R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ with (I − κ₂Ψ)ρ = κ₂r*∘r* + ε²/(bn), and only M changes:

    1/M_jk = (1−β)(1/λⱼ+1/λ_k)/(nη) − κ₁ + [2β/(1+β) + β(λⱼ−λ_k)²/((1−β²)λⱼλ_k)]/n².

A gradient that lasts moves θ by η/(1−β) in a step, and E g_B at one step depends on R at that step only:

    dθ/dt = −(η/(n(1−β))) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ].

With full batches that is −P∇V, V = −(ηε²(1+β)/(2n(1−β)²)) Σ log(1 − ηλⱼ/(2(1+β))), λⱼ the eigenvalues of H.

Proved: the algebra. Tested only: that the motion is slow enough for the step η/(1−β), and stability below the edge.
"""

from __future__ import annotations

import sympy

from theory._exact import coefficient, expectation, same
from theory.momentum_kernel import beta, eta, first, kernel, second

COMPUTED_BY = ("esssim.flow.solve", "esssim.flow.fast.FastMotion")

n, kappa_1, noise = sympy.symbols("n kappa_1 epsilon", positive=True)


def inverse_response() -> sympy.Expr:
    """1/M_jk in the eigenvalues of K."""
    plain = (1 - beta) * (1 / first + 1 / second) / (n * eta) - kappa_1
    return plain + (2 * beta / (1 + beta) + beta * (first - second) ** 2 / ((1 - beta**2) * first * second)) / n**2


def potential() -> sympy.Expr:
    """V of full batches, a term per eigenvalue of H."""
    front = -eta * noise**2 * (1 + beta) / (2 * n * (1 - beta) ** 2)
    return front * sympy.log(1 - eta * first / (2 * (1 + beta)))


def derive() -> dict[str, sympy.Expr]:
    """1/M_jk, and the potential of full batches."""
    return {"inverse response 1/M_jk": inverse_response(), "potential of full batches": potential()}


def stationary_residuals(
    gram: sympy.Matrix, samples: int, batch_size: int, replacement: bool, numbers: dict[sympy.Symbol, sympy.Rational]
) -> sympy.Matrix:
    """R of the recursion of (r, u) itself, by a linear solve over the moments of every draw."""
    step, decay, strength = numbers[eta], numbers[beta], numbers[noise]
    size = 2 * samples
    unknowns = sympy.Matrix(size, size, lambda i, j: sympy.Symbol(f"s{min(i, j)}_{max(i, j)}"))

    def after(draw: tuple[int, ...]) -> sympy.Matrix:
        weights = sympy.diag(*(sympy.Rational(draw.count(i), batch_size) for i in range(samples)))
        pulled = gram * weights
        one = sympy.eye(samples)
        transition = sympy.Matrix(
            sympy.BlockMatrix([[one - step * pulled, -step * decay * one], [pulled, decay * one]])
        )
        # Each of the b draws has its own z: the noise of sample i has the variance ε²wᵢ/b.
        kick = sympy.Matrix.vstack(step * gram, -gram)
        return transition * unknowns * transition.T + kick * (strength**2 / batch_size * weights) * kick.T

    equation = expectation(after, samples, batch_size, replacement) - unknowns
    upper = [(i, j) for i in range(size) for j in range(i, size)]
    solved = sympy.solve([equation[pair] for pair in upper], [unknowns[pair] for pair in upper], dict=True)[0]
    return unknowns.subs(solved)[:samples, :samples]


def check() -> None:
    """The kernel, the covariance by brute force, the slow step, the potential."""
    inverse, well = derive().values()
    # Step 1. Gradient noise enters the residuals of a mode by √λ each way, and curvatures are λ/n: R̃ = λⱼλ_k𝒦_jk Ñ,
    # with the noise Ñ = −(c/n²)R̃ + Uᵀdiag(ρ)U of the weights, E[wᵢw_j] − 1/n² = −c/n² + κ₂δᵢⱼ. Hence M.
    variance = 1 - n**2 * kappa_1
    impulse = kernel(False).subs({first: first / n, second: second / n}, simultaneous=True)
    same(inverse, 1 / (first * second * impulse) + variance / n**2, "M from the response to an impulse")
    plain = (1 / first + 1 / second) / (n * eta) - kappa_1
    same(inverse.subs(beta, 0), plain, "without momentum")
    # Step 2. The stationary second moments of (r, u) over all draws, exactly, against the closed form.
    numbers = {eta: sympy.Rational(1, 9), beta: sympy.Rational(1, 3), noise: sympy.Rational(1, 2)}
    basis = sympy.Matrix([[3, -4], [4, 3]]) / 5
    values = [sympy.Rational(1), sympy.Rational(3)]
    for size, replacement in ((1, False), (2, True)):
        c = coefficient(2, size, replacement)
        exact = stationary_residuals(basis * sympy.diag(*values) * basis.T, 2, size, replacement, numbers)
        closed = inverse.subs({n: 2, kappa_1: (1 - c) / 4, **numbers})
        response = sympy.Matrix(
            2, 2, lambda j, k, closed=closed: 1 / closed.subs({first: values[j], second: values[k]})
        )
        rho = sympy.diag(*(c / 2 * exact[i, i] + numbers[noise] ** 2 / (2 * size) for i in range(2)))
        found = basis * sympy.matrix_multiply_elementwise(response, basis.T * rho * basis) * basis.T
        same(found, exact, "the covariance of heavy ball")
    # Step 3. A gradient that lasts: v = βv + g.
    velocity, gradient = sympy.symbols("v g")
    (settled,) = sympy.solve(velocity - beta * velocity - gradient, velocity)
    same(eta * settled, eta / (1 - beta) * gradient, "the slow step")
    # Step 4. Full batches: κ₁ = 1/n², ρ = ε²/n², all commutes. The push is ½ΣᵢRᵢ/λᵢ dλᵢ in the eigenvalues λ of K = nH.
    value = sympy.Symbol("k", positive=True)
    settled = (noise**2 / n**2) / inverse.subs({first: value, second: value, kappa_1: 1 / n**2})
    push = eta / (n * (1 - beta)) * settled / value / 2
    same(sympy.diff(well.subs(first, value / n), value), push, "the potential of full batches")
    # Step 5. Its pole is the edge of heavy-ball gradient descent.
    edge = 2 * n * (1 + beta) / eta
    same(inverse.subs({first: edge, second: edge, kappa_1: 1 / n**2}), 0, "the pole")
