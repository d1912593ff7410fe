"""The stochastic central flow: where SGD with label noise drifts along the solutions of a model.

Setting. A scalar model f(θ) ∈ ℝⁿ with loss L = (1/2n)‖f − y‖², J = ∂f/∂θ (n×p), K = JJᵀ. SGD with step η on batches
drawn independently at each step, with weights w ∈ ℝⁿ (1/b for each draw of i) and independent label noise εz:

    θ ← θ − ηJᵀ(w∘(f − y − εz)).
    (SGD)

With c the variance coefficient of the scheme, κ₁ = (1−c)/n², κ₂ = c/n.

Theorem (leading order in ε). Assume
  (A1) f is three times continuously differentiable, and the solutions f = y near θ form a manifold on which J keeps its
       rank; or the residual r* left at the minimum satisfies Jᵀr* = 0 and Σ r*ᵢ∇²fᵢ = 0, as in diagonal networks;
  (A2) η is below the mean-square edge, ηQ_b(θ) < 2, by a margin that does not depend on ε;
  (A3) ε → 0 and r* = O(ε), the time is rescaled by ε², and η changes on that slow time.
Then on times of order 1/ε² θ follows, with P the projection on ker J and t in steps,

    dθ/dt = −(η/n) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ],
    (flow)

where R is the stationary covariance of the residuals of (SGD) with J held fixed,

    (KR + RK)/n = ηK(κ₁R + diag ρ)K,   ρ = κ₂(diag R + r*∘r*) + ε²/(bn),
    (fast)

which is R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ with K = UΛUᵀ, M_jk = 1/((1/λⱼ+1/λ_k)/(nη) − κ₁), (I − κ₂Ψ)ρ = κ₂r*∘r* + ε²/(bn),
Ψ_ac = Σ_jk U_aj U_cj M_jk U_ak U_ck.

Several outputs, f(θ) ∈ ℝⁿᶜ with a batch of samples and all their outputs, have the same law with K of size nc and with
diag replaced by the c×c blocks of the samples: ρᵢ = κ₂(Rᵢᵢ + r*ᵢr*ᵢᵀ) + (ε²/(bn))I: `theory.several_outputs`. Heavy
ball: `theory.momentum_flow`. The next order, which leaves the solutions and needs none of (A1) at its start:
`theory.mean_flow`.

What is proved below, by sympy or in exact rational arithmetic: everything algebraic, that is the moments of w, that
(fast) is the stationary second moment of (SGD) with J fixed, its closed form, where it is singular (the Perron
criterion), the exact identities of diagonal networks, that (flow) is the closed form for diagonal networks of any
depth, that at b = n it is the projected gradient descent of V = −(ηε²/2n) Σ log(1 − ηλⱼ/2), and the gradient that
makes it stiff at the wall.

What is asymptotic, and only tested against SGD (tests/test_flow.py and the claims flow-*): that the average of the fast
motion may be taken at its stationary law (A2, A3); that what is left of the error is the next order, large where K
has small eigenvalues (perceptrons: 3 to 7 % at ε = 0.03) and where a coordinate of the solution is smaller than its
own fluctuation (the flow reports its distance to the next order as its error estimate); and the approach to the wall,
where the margin of (A2) itself is of order ε², and the stationary mean square is made of bursts so rare that SGD
climbs past the wall between them (claims flow-levels/spiked-40x20/label-noise-0.03; `esssim.flow.bursts` estimates
how far, claims flow-bursts).

Run all proofs: python -m theory
"""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import sympy as sp

COMPUTED_BY = ("esssim.flow.solve", "esssim.flow.levels", "esssim.flow.fast.FastMotion")

Batch = tuple[int, ...]


def batch_weights(n: int, b: int, with_replacement: bool) -> list[sp.Matrix]:
    """The weight vector of every ordered draw; all draws have the same probability."""
    draws = itertools.product(range(n), repeat=b) if with_replacement else itertools.permutations(range(n), b)
    return [sp.Matrix([sp.Rational(draw.count(i), b) for i in range(n)]) for draw in draws]


def kappas(n: int, b: int, with_replacement: bool) -> tuple[sp.Rational, sp.Rational]:
    c = sp.Rational(1, b) if with_replacement else sp.Rational(n - b, b * (n - 1))
    return (1 - c) / n**2, c / n


SCHEMES = [(n, b, wr) for n in (2, 3) for b in (1, 2, 3) for wr in (False, True) if wr or b <= n]


def prove_moments_of_the_weights() -> None:
    """E[w] = 1/n and E[wᵢwⱼ] = κ₁ + κ₂δᵢⱼ, for every scheme."""
    for n, b, with_replacement in SCHEMES:
        weights = batch_weights(n, b, with_replacement)
        kappa_1, kappa_2 = kappas(n, b, with_replacement)
        mean = sum(weights, sp.zeros(n, 1)) / len(weights)
        second = sum((w * w.T for w in weights), sp.zeros(n, n)) / len(weights)
        assert mean == sp.ones(n, 1) / n
        assert second == kappa_1 * sp.ones(n, n) + kappa_2 * sp.eye(n)
    # For all n and b without replacement: P(i ∈ B) = b/n, P(i, j ∈ B) = b(b−1)/(n(n−1)).
    n, b = sp.symbols("n b", positive=True)
    c = (n - b) / (b * (n - 1))
    assert sp.simplify(b * (b - 1) / (n * (n - 1)) / b**2 - (1 - c) / n**2) == 0
    assert sp.simplify(b / n / b**2 - (1 - c) / n**2 - c / n) == 0


def prove_second_moment_recursion() -> None:
    """With J fixed, E[r⁺r⁺ᵀ] − R = −(η/n)(KR+RK) + η²K(κ₁R + diag ρ)K for symmetric K, R: (fast) is stationarity."""
    eta, eps = sp.symbols("eta epsilon")
    for n, b, with_replacement in SCHEMES:
        kappa_1, kappa_2 = kappas(n, b, with_replacement)
        gram = sp.Matrix(n, n, lambda i, j: sp.Symbol(f"K{min(i, j)}{max(i, j)}"))
        cov = sp.Matrix(n, n, lambda i, j: sp.Symbol(f"R{min(i, j)}{max(i, j)}"))
        weights = batch_weights(n, b, with_replacement)
        after = sp.zeros(n, n)
        for w in weights:
            step = sp.eye(n) - eta * gram * sp.diag(*w)
            # Each of the b draws has its own z: the noise of sample i has variance ε²·(draws of i)/b² = ε²wᵢ/b.
            after += step * cov * step.T + eta**2 * gram * sp.diag(*(eps**2 * w / b)) * gram
        rho = [kappa_2 * cov[i, i] + eps**2 / (b * n) for i in range(n)]
        expected = -eta / n * (gram * cov + cov * gram) + eta**2 * gram * (kappa_1 * cov + sp.diag(*rho)) * gram
        assert (after / len(weights) - cov - expected).expand() == sp.zeros(n, n)


def prove_several_outputs() -> None:
    """With c outputs a sample the recursion is the same, diag ρ a diagonal of blocks ρᵢ = κ₂Rᵢᵢ + (ε²/(bn))I_c."""
    (eta, eps), outputs = sp.symbols("eta epsilon"), 2
    for n, b, with_replacement in ((2, 1, False), (2, 2, True)):
        kappa_1, kappa_2 = kappas(n, b, with_replacement)
        size = n * outputs
        gram = sp.Matrix(size, size, lambda i, j: sp.Symbol(f"K{min(i, j)}_{max(i, j)}"))
        cov = sp.Matrix(size, size, lambda i, j: sp.Symbol(f"R{min(i, j)}_{max(i, j)}"))
        weights = batch_weights(n, b, with_replacement)
        after = sp.zeros(size, size)
        for w in weights:
            every = sp.diag(*(w[i // outputs] for i in range(size)))
            step = sp.eye(size) - eta * gram * every
            after += step * cov * step.T + eta**2 * gram * (eps**2 / b * every) * gram
        same_sample = sp.Matrix(size, size, lambda i, j: 1 if i // outputs == j // outputs else 0)
        rho = kappa_2 * sp.matrix_multiply_elementwise(same_sample, cov) + eps**2 / (b * n) * sp.eye(size)
        expected = -eta / n * (gram * cov + cov * gram) + eta**2 * gram * (kappa_1 * cov + rho) * gram
        assert (after / len(weights) - cov - expected).expand() == sp.zeros(size, size)


def prove_frozen_residuals() -> None:
    """Residuals r* with Kr* = 0 add κ₂ r*∘r* to the source, and nothing else."""
    first, second, third = sp.symbols("r1 r2 r3")
    # K = AAᵀ of rank one in ℝ², r* = s(a₂, −a₁) spans its kernel.
    gram, frozen = sp.Matrix([first, second]) * sp.Matrix([[first, second]]), third * sp.Matrix([second, -first])
    for b, with_replacement in ((1, False), (2, True)):
        weights = batch_weights(2, b, with_replacement)
        kicks = [gram * sp.diag(*w) * frozen for w in weights]
        _, kappa_2 = kappas(2, b, with_replacement)
        assert (sum(kicks, sp.zeros(2, 1)) / len(kicks)).expand() == sp.zeros(2, 1)
        power = sum((kick * kick.T for kick in kicks), sp.zeros(2, 2)) / len(kicks)
        assert (power - gram * sp.diag(*(kappa_2 * r**2 for r in frozen)) * gram).expand() == sp.zeros(2, 2)


def rational_rotation(n: int) -> sp.Matrix:
    """An orthogonal matrix of rational entries, I − 2vvᵀ/vᵀv."""
    v = sp.Matrix(range(1, n + 1))
    return sp.eye(n) - 2 * v * v.T / (v.T * v)[0]


def closed_form(
    basis: sp.Matrix, values: list[sp.Expr], eta: sp.Expr, scheme: tuple[sp.Expr, sp.Expr]
) -> tuple[sp.Matrix, sp.Matrix]:
    """(M, Ψ)."""
    (kappa_1, _), n = scheme, basis.rows
    kernel = sp.Matrix(n, n, lambda j, k: 1 / ((1 / values[j] + 1 / values[k]) / (n * eta) - kappa_1))
    square = sp.Matrix(n, n * n, lambda a, m: basis[a, m // n] * basis[a, m % n])
    return kernel, square * sp.diag(*kernel.reshape(1, n * n)) * square.T


def prove_closed_form_of_the_covariance() -> None:
    """R = U[M∘(Uᵀdiag(ρ)U)]Uᵀ with (I − κ₂Ψ)ρ = source solves (fast)."""
    eta, source = sp.Rational(1, 7), sp.Rational(3, 50)
    for n, b, with_replacement in SCHEMES:
        scheme = kappas(n, b, with_replacement)
        basis, values = rational_rotation(n), [sp.Rational(k + 1, 2) for k in range(n)]
        gram = basis * sp.diag(*values) * basis.T
        kernel, psi = closed_form(basis, values, eta, scheme)
        rho = (sp.eye(n) - scheme[1] * psi).solve(source * sp.ones(n, 1))
        cov = basis * sp.matrix_multiply_elementwise(kernel, basis.T * sp.diag(*rho) * basis) * basis.T
        assert [scheme[1] * cov[i, i] + source for i in range(n)] == list(rho)
        assert (gram * cov + cov * gram) / n == eta * gram * (scheme[0] * cov + sp.diag(*rho)) * gram


def prove_perron_criterion() -> None:
    """The recursion has the eigenvalue 1 exactly where κ₂Ψ(η) has; there κ₂Ψ is non-negative and grows with η."""
    # The second-moment operator minus the identity is −(η/n)(K·+·K) + η²K(κ₁·)K, plus κ₂η² K diag(·) K of rank n. The
    # matrix determinant lemma gives det(𝒯 − 1) = det(its first part)·det(I − κ₂Ψ): here as rational functions of η.
    eta = sp.Symbol("eta", positive=True)
    n = 2
    scheme = kappas(n, 1, False)
    basis, values = rational_rotation(n), [sp.Rational(1, 2), sp.Integer(3)]
    gram = basis * sp.diag(*values) * basis.T
    pairs = [(0, 0), (0, 1), (1, 1)]

    def determinant(with_noise: bool) -> sp.Expr:
        columns = []
        for i, j in pairs:
            unit = sp.zeros(n, n)
            unit[i, j] = unit[j, i] = 1
            noise = sp.diag(*(scheme[1] * unit[k, k] for k in range(n))) if with_noise else sp.zeros(n, n)
            image = -eta / n * (gram * unit + unit * gram) + eta**2 * gram * (scheme[0] * unit + noise) * gram
            columns.append([image[pair] for pair in pairs])
        return sp.Matrix(columns).T.det()

    _, psi = closed_form(basis, values, eta, scheme)
    lemma = determinant(True) / determinant(False) - (sp.eye(n) - scheme[1] * psi).det()
    assert sp.simplify(lemma) == 0
    # M is a Cauchy matrix 1/(a_j+a_k), a_j = 1/(nηλⱼ) − κ₁/2 > 0 below the pole: a sum of squares e^{−a_j t}e^{−a_k t}.
    a, c, t = sp.symbols("a c t", positive=True)
    assert sp.simplify(sp.integrate(sp.exp(-(a + c) * t), (t, 0, sp.oo)) - 1 / (a + c)) == 0
    # So Ψ_ac = Σ M_jk (U_aj U_cj)(U_ak U_ck) ≥ 0, a quadratic form of M. And M/η = 1/(s − κ₁η), s = (1/λⱼ+1/λ_k)/n,
    # has the derivative κ₁(M/η)², entrywise a square, positive semidefinite by Schur: Ψ(η)/η does not fall.
    s, kappa = sp.symbols("s kappa", positive=True)
    ratio = 1 / (s / eta - kappa) / eta
    assert sp.simplify(sp.diff(ratio, eta) - kappa * ratio**2) == 0
    # A solution ρ > 0 of (I − κ₂Ψ)ρ = source > 0 has (κ₂Ψρ)_a/ρ_a = 1 − source_a/ρ_a < 1 for all a: by Collatz and
    # Wielandt the Perron eigenvalue is then below 1. Conversely below 1 the Neumann series of ρ is positive.


def prove_exact_identities() -> None:
    """Depth 2, one step with any s = X_Bᵀr_B/b: w₊w₋ shrinks by 1 − 4η²s², and u² − v² by 1 − η²s²."""
    u, v, s, eta = sp.symbols("u v s eta")
    plus, minus = u - 2 * eta * s * u, v + 2 * eta * s * v
    assert sp.expand(plus * minus - u * v * (1 - 4 * eta**2 * s**2)) == 0
    first, second = u - eta * s * v, v - eta * s * u
    assert sp.expand(first**2 - second**2 - (u**2 - v**2) * (1 - eta**2 * s**2)) == 0
    # u = w₊ + w₋, v = w₊ − w₋ turns the product form with η into the difference form with η/2.
    p, m = sp.symbols("p m")
    step = {u: p + m, v: p - m}
    assert sp.expand(((first + second) / 2).subs(step) - p * (1 - 2 * (eta / 2) * s)) == 0
    assert sp.expand(((first - second) / 2).subs(step) - m * (1 + 2 * (eta / 2) * s)) == 0
    # ½log(w₊/w₋) moves by −2ηs + O(η³s³): along the rows of X, up to third order.
    change = sp.series(sp.log((1 - 2 * eta * s) / (1 + 2 * eta * s)) / 2, eta, 0, 3).removeO()
    assert sp.expand(change + 2 * eta * s) == 0
    # Any depth: w^{2−D} moves by ±D(D−2)ηs, with the drift ½(D−1)(D−2)D²η²s²w^{D−2}.
    depth, w = sp.symbols("D w", positive=True)
    for sign in (1, -1):
        after = w - sign * eta * s * depth * w ** (depth - 1)
        expansion = sp.series(after ** (2 - depth), eta, 0, 3).removeO()
        expected = (
            w ** (2 - depth)
            + sign * depth * (depth - 2) * eta * s
            + (depth - 1) * (depth - 2) * depth**2 * eta**2 * s**2 * w ** (depth - 2) / 2
        )
        assert sp.simplify(expansion - expected) == 0


def solve_fast(gram: sp.Matrix, eta: sp.Expr, scheme: tuple[sp.Expr, sp.Expr], source: list[sp.Expr]) -> sp.Matrix:
    """R of (fast) by one exact linear solve, for an invertible K."""
    n = gram.rows
    pairs = [(i, j) for i in range(n) for j in range(i, n)]
    columns, right = [], eta * gram * sp.diag(*source) * gram
    for i, j in pairs:
        unit = sp.zeros(n, n)
        unit[i, j] = unit[j, i] = 1
        noise = scheme[0] * unit + sp.diag(*(scheme[1] * unit[k, k] for k in range(n)))
        image = (gram * unit + unit * gram) / n - eta * gram * noise * gram
        columns.append([image[pair] for pair in pairs])
    found = sp.Matrix(columns).T.solve(sp.Matrix([right[pair] for pair in pairs]))
    entries = dict(zip(pairs, found, strict=True))
    return sp.Matrix(n, n, lambda i, j: entries[(min(i, j), max(i, j))])


def general_velocity(jacobian: sp.Matrix, hessians: list[sp.Matrix], eta: sp.Expr, cov: sp.Matrix) -> sp.Matrix:
    """(flow) for an invertible K."""
    inverse = (jacobian * jacobian.T).inv()
    vectors = jacobian.T * inverse * cov
    push = sum((hessians[i] * vectors[:, i] for i in range(len(hessians))), sp.zeros(jacobian.cols, 1))
    projected = push - jacobian.T * inverse * (jacobian * push)
    return -eta / jacobian.rows * projected


def random_rationals(count: int, seed: int) -> list[sp.Rational]:
    """Positive, between ½ and 1."""
    generator = random.Random(seed)
    return [sp.Rational(Fraction(generator.randint(10, 20), 20)) for _ in range(count)]


def prove_diagonal_form() -> None:
    """For diagonal networks (flow) is, with E[ssᵀ] = Xᵀ(κ₁R + diag ρ)X and κ = ½(D−1)D²η²E[s²],

    dw₊/dt = −Dw₊^{D−1}∘Xᵀν − κ∘w₊^{2D−3},  dw₋/dt = Dw₋^{D−1}∘Xᵀν − κ∘w₋^{2D−3},
    XGXᵀν = −DX(κ∘(w₊^{3D−4} − w₋^{3D−4})),  G = D²(w₊^{2D−2} + w₋^{2D−2}).
    """
    n, d, eta = 2, 3, sp.Rational(1, 40)
    rows = sp.Matrix(n, d, [2, -1, 1, 1, 3, -2])
    scheme, source = kappas(n, 1, False), [sp.Rational(1, 9), sp.Rational(1, 4)]
    for depth in (2, 3, 4, 5):
        values = random_rationals(2 * d, depth)
        plus, minus = values[:d], values[d:]
        signed = [depth * w ** (depth - 1) for w in plus] + [-depth * w ** (depth - 1) for w in minus]
        bends = [depth * (depth - 1) * w ** (depth - 2) for w in plus]
        bends += [-depth * (depth - 1) * w ** (depth - 2) for w in minus]
        jacobian = sp.Matrix(n, 2 * d, lambda i, k, signed=signed: rows[i, k % d] * signed[k])
        hessians = [sp.diag(*(rows[i, k % d] * bends[k] for k in range(2 * d))) for i in range(n)]
        cov = solve_fast(jacobian * jacobian.T, eta, scheme, source)
        rho = [scheme[1] * cov[i, i] + source[i] for i in range(n)]
        moment = rows.T * (scheme[0] * cov + sp.diag(*rho)) * rows
        strength = [sp.Rational((depth - 1) * depth**2, 2) * eta**2 * moment[k, k] for k in range(d)]
        pushed = sp.Matrix([strength[k] * (plus[k] ** (3 * depth - 4) - minus[k] ** (3 * depth - 4)) for k in range(d)])
        g = sp.diag(*(depth**2 * (plus[k] ** (2 * depth - 2) + minus[k] ** (2 * depth - 2)) for k in range(d)))
        force = depth * rows.T * (rows * g * rows.T).solve(-depth * rows * pushed)
        expected = [-(plus[k] ** (depth - 1)) * force[k] - strength[k] * plus[k] ** (2 * depth - 3) for k in range(d)]
        expected += [minus[k] ** (depth - 1) * force[k] - strength[k] * minus[k] ** (2 * depth - 3) for k in range(d)]
        assert list(general_velocity(jacobian, hessians, eta, cov)) == expected


def prove_full_batch_barrier() -> None:
    """At b = n (flow) is −P∇V, V = −(ηε²/2n) Σ log(1 − ηλⱼ/2), λⱼ the eigenvalues of K/n (Damian, Ma & Lee 2021)."""
    # κ₂ = 0 and everything commutes: per eigenvalue k of K, 2kR/n = ηk²(R/n² + ε²/n²) gives R/k = (ηε²/2n)/(1 − ηk/2n).
    eta, eps, n, k, cov = sp.symbols("eta epsilon n k R", positive=True)
    (found,) = sp.solve(2 * k * cov / n - eta * k**2 * (cov / n**2 + eps**2 / n**2), cov)
    assert sp.simplify(found / k - eta * eps**2 / (2 * n) / (1 - eta * k / (2 * n))) == 0
    # dV/dk = (ηε²/2n)(η/2n)/(1 − ηk/2n) = (η/2n)(R/k), and dk = 2uᵀdJ Jᵀu: ∇V = (η/n) Σᵢ ∇²fᵢ[JᵀK⁺R eᵢ].
    barrier = -eta * eps**2 / (2 * n) * sp.log(1 - eta * k / (2 * n))
    assert sp.simplify(sp.diff(barrier, k) - eta / (2 * n) * found / k) == 0


def prove_stiff_gradient() -> None:
    """d⟨source, diag R⟩ = (4/(ηn)) Σᵢ ∇²fᵢ[JᵀK⁺R²K⁺eᵢ]·dθ: the gradient that diverges at the wall."""
    # f = (θ₁², θ₂² + θ₁θ₃) at a rational point; the derivative is exact: all of R is rational in θ.
    names = sp.symbols("t1 t2 t3")
    model = sp.Matrix([names[0] ** 2 / 2, names[1] ** 2 / 2 + names[0] * names[2]])
    symbolic = model.jacobian(names)
    point = dict(zip(names, (sp.Rational(3, 2), sp.Rational(1), sp.Rational(1, 3)), strict=True))
    scheme, eta, source = kappas(2, 1, False), sp.Rational(1, 5), [sp.Rational(1, 3), sp.Rational(1, 2)]
    jacobian = symbolic.subs(point)
    cov = solve_fast(jacobian * jacobian.T, eta, scheme, source)
    inverse = (jacobian * jacobian.T).inv()
    vectors = jacobian.T * inverse * cov * cov * inverse
    hessians = [sp.hessian(model[i], names).subs(point) for i in range(2)]
    gradient = sp.Rational(4, 2) / eta * sum((hessians[i] * vectors[:, i] for i in range(2)), sp.zeros(3, 1))
    for k, name in enumerate(names):
        line = {**point, name: name}
        along = symbolic.subs({key: value for key, value in line.items() if key != name})
        moving = solve_fast(along * along.T, eta, scheme, source)
        power = source[0] * moving[0, 0] + source[1] * moving[1, 1]
        assert sp.diff(power, name).subs(name, point[name]) == gradient[k]


PROOFS = (
    prove_moments_of_the_weights,
    prove_second_moment_recursion,
    prove_several_outputs,
    prove_frozen_residuals,
    prove_closed_form_of_the_covariance,
    prove_perron_criterion,
    prove_exact_identities,
    prove_diagonal_form,
    prove_full_batch_barrier,
    prove_stiff_gradient,
)


def derive() -> dict[str, sp.Expr]:
    """The response of two modes of the residuals, and the potential of full batches, a term per eigenvalue."""
    eta, n, noise, first, second, kappa = sp.symbols("eta n epsilon lambda_j lambda_k kappa_1", positive=True)
    response = eta * first * second / ((first + second) / n - eta * kappa * first * second)
    potential = -eta * noise**2 / (2 * n) * sp.log(1 - eta * first / 2)
    return {"response M_jk": response, "potential of full batches": potential}


def check() -> None:
    """Every proof."""
    for proof in PROOFS:
        proof()
