"""The mean-square operator of full-batch descent with Gaussian noise of the trace, or the diagonal, of SGD's.

Setting. e ← (I − ηH)e − ηζ, ζ normal with the covariance S(Σ_b(e)), Σ_b(e) = Cov_B(H_Be), the one of batches: S(N) = N
for SGD itself, (tr N/p)I for isotropic and diag N for diagonal noise. M = E[eeᵀ].

Result. M ← (I−ηH)M(I−ηH) + η²S(V(M)), V(M) = c(mean H_iMH_i − HMH). A noise N comes back as S(V(K∘N)) in H's
eigenbasis, K_jk = η²/(1 − (1−ηλ_j)(1−ηλ_k)), and the edge is where the largest eigenvalue of that map is 1. Isotropic
noise has one number, with A_jj = c(mean ‖H_iv_j‖² − λ_j²):

    gain = (1/p) Σ_j ηA_jj/(λ_j(2 − ηλ_j)) = 1.

In one dimension both edges are SGD's. Where H is diagonal, that of diagonal noise is 𝒦 = 1 of the diagonal noise kernel
(theory/noise_kernel.py).

In a diagonal linear network β = u∘v with the gradients s∘v and s∘u, batches only shrink m = u² − v². Gaussian noise
also moves it at random: with N_u and N_v the variances of ζ in one coordinate,

    E[m′ − m] = −η²E[s²]m + η²(N_u − N_v),    Var(m′ − m) = 4η²(u²N_u + v²N_v) + O(η³).
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.IsotropicNoise", "esssim.DiagonalNoise", "esssim.stability.critical_step_size")

eta, c = sympy.symbols("eta c", positive=True)
values = sympy.symbols("lambda_1 lambda_2", positive=True)
noises = sympy.symbols("A_11 A_22", positive=True)
h11, h12 = sympy.symbols("q_11 q_12", positive=True)
u, v, s = sympy.symbols("u v s", real=True)
variance_u, variance_v, shift = sympy.symbols("N_u N_v E[s^2]", positive=True)


def response(first: sympy.Expr, second: sympy.Expr) -> sympy.Expr:
    """K_jk: what a unit of noise in every step makes of M_jk."""
    return sympy.cancel(eta**2 / (1 - (1 - eta * first) * (1 - eta * second)))


def derive() -> dict[str, sympy.Expr]:
    """Both gains with two parameters and a diagonal H, q_jk = mean (H_i)_jk²; the motion of the imbalance."""
    first, second = values
    return {
        "gain of isotropic noise": sum(
            noise * response(value, value) for value, noise in zip(values, noises, strict=True)
        )
        / 2,
        "gain of diagonal noise, 11": c * (h11 - first**2) * response(first, first),
        "gain of diagonal noise, 12": c * h12 * response(second, second),
        "mean change of u² − v²": eta**2 * (variance_u - variance_v - shift * (u**2 - v**2)),
        "variance of that change": 4 * eta**2 * (u**2 * variance_u + v**2 * variance_v),
    }


def check() -> None:
    """The operator by enumeration; the response; both gains; one dimension; the imbalance of a diagonal network."""
    isotropic, own, other, change_of_mean, variance_of_change = derive().values()
    # Step 1. Cov_B(H_Be) is linear in eeᵀ: its mean is V(M), whatever the law of e.
    matrix = sympy.Matrix(2, 2, lambda j, k: sympy.Symbol(f"m{min(j, k) + 1}{max(j, k) + 1}", real=True))
    for size, b, replacement in SCHEMES:
        samples = symmetric_matrices(5 * size + b, size, 2)
        whole, factor = mean(samples), coefficient(size, b, replacement)

        def spread(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            off = batch_mean(samples, draw) - mean(samples)
            return off * matrix * off

        noise = factor * (mean([h * matrix * h for h in samples]) - whole * matrix * whole)
        same(expectation(spread, size, b, replacement), noise, "V(M)")
    # Step 2. M = K∘N is at rest under (I−ηH)M(I−ηH) + η²N, H diagonal.
    hessian = sympy.diag(*values)
    state = sympy.Matrix(2, 2, lambda j, k: response(values[j], values[k]) * matrix[j, k])
    step = sympy.eye(2) - eta * hessian
    same(step * state * step + eta**2 * matrix, state, "the response")
    same(response(values[0], values[0]), eta / (values[0] * (2 - eta * values[0])), "K_jj")
    # Step 3. N = I comes back as (tr V(K∘I)/p)I, and tr V(diag d) = Σ_j A_jj d_j.
    samples = [sympy.Matrix(2, 2, lambda j, k, i=i: sympy.Symbol(f"h{i}_{min(j, k)}{max(j, k)}")) for i in (1, 2)]
    kernels = [response(value, value) for value in values]

    def covariance(state: sympy.Matrix) -> sympy.Matrix:
        return c * (mean([h * state * h for h in samples]) - hessian * state * hessian)

    columns = [c * (mean([(h * h)[j, j] for h in samples]) - values[j] ** 2) for j in range(2)]
    found = covariance(sympy.diag(*kernels)).trace() / 2
    same(found, isotropic.subs(dict(zip(noises, columns, strict=True)), simultaneous=True), "gain of isotropic noise")
    # Step 4. N = diag d comes back as diag V(K∘N), linear in d.
    squares = {h11: mean([h[0, 0] ** 2 for h in samples]), h12: mean([h[0, 1] ** 2 for h in samples])}
    same(covariance(sympy.diag(kernels[0], 0))[0, 0], own.subs(squares), "gain of diagonal noise, 11")
    same(covariance(sympy.diag(0, kernels[1]))[0, 0], other.subs(squares), "gain of diagonal noise, 12")
    # Step 5. One dimension, A = c·Var_i h_i = s²: the edge is η(a + s²/a) = 2, that of SGD.
    a, variance = sympy.symbols("a s2", positive=True)
    same((variance * response(a, a)).subs(eta, 2 / (a + variance / a)), 1, "one dimension")
    # Step 6. One step of a diagonal network: ζ has mean 0 and knows nothing of s, as two signs and their variances do.
    roots = (sympy.sqrt(variance_u), sympy.sqrt(variance_v))
    changes = [
        (u - eta * (s * v + first * roots[0])) ** 2 - (v - eta * (s * u + second * roots[1])) ** 2 - (u**2 - v**2)
        for first in (1, -1) for second in (1, -1)
    ]  # fmt: skip
    drift = mean([sympy.expand(change) for change in changes])
    same(drift, change_of_mean.subs(shift, s**2), "mean change of the imbalance")
    spread_of_signs = sympy.expand(mean([(change - drift) ** 2 for change in changes]))
    leading = sum(spread_of_signs.coeff(eta, order) * eta**order for order in (0, 1, 2))
    same(leading, variance_of_change, "variance of that change")
