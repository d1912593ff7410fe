"""The stochastic central flow of several outputs.

Setting. As in `theory.stochastic_central_flow`, with f(θ) ∈ ℝⁿᶜ: c outputs of each of n samples, L = (1/2n)‖f − y‖². A
batch has samples with all of their outputs, and every output has its own label noise εz. K = JJᵀ = UΛUᵀ is (nc×nc).

Result. Wherever one output has the diagonal of a matrix, c outputs have the blocks of the samples on it, bdiag:

    R = U[M∘(Uᵀρ U)]Uᵀ,   M_jk = 1/((1/λⱼ+1/λ_k)/(nη) − κ₁),
    (1 − κ₂Ψ)ρ = ⊕ᵢ (κ₂ r*ᵢr*ᵢᵀ + (ε²/(bn))I),   ΨX = bdiag(U[M∘(UᵀXU)]Uᵀ),
    dθ/dt = −(η/n) P Σᵢₐ ∇²fᵢₐ(θ)[JᵀK⁺R eᵢₐ],

and the wall is where the spectral radius of κ₂Ψ is 1: ηQ_b = 2 with the Gauss–Newton Hessians JᵢᵀJᵢ. Outputs that
share no parameter follow the law of one output each, whatever the other ones do; a rotation of the outputs changes
nothing.

Proved: that R is the stationary second moment of SGD with J held fixed, frozen residuals included; where it is
singular; the positivity of Ψ; the two symmetries; the gradient that makes the flow stiff at the wall. That the mean
of ∇L over the spread R is the right-hand side is `theory.mean_flow`, which does not ask which rows belong to one
sample. Tested only, as for one output: that the average may be taken at the stationary R.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy
from sympy.polys.matrices import DomainMatrix

from theory._exact import coefficient, expectation, same

COMPUTED_BY = ("esssim.flow.solve", "esssim.statistics.block_perron.BlockPerron")

OUTPUTS = 2
eta = sympy.Symbol("eta", positive=True)
Scheme = tuple[int, int, bool]


def rotation(size: int) -> sympy.Matrix:
    """An orthogonal matrix of rational entries, I − 2vvᵀ/vᵀv."""
    v = sympy.Matrix(range(1, size + 1))
    return sympy.eye(size) - 2 * v * v.T / (v.T * v)[0]


def blocks_of(matrix: sympy.Matrix) -> sympy.Matrix:
    """bdiag: the blocks of the samples on the diagonal, zeros elsewhere."""
    return sympy.Matrix(
        matrix.rows, matrix.cols, lambda i, j: matrix[i, j] if i // OUTPUTS == j // OUTPUTS else sympy.Integer(0)
    )


def kappas(scheme: Scheme) -> tuple[sympy.Expr, sympy.Expr]:
    """κ₁ = (1−c)/n², κ₂ = c/n."""
    c, n = coefficient(*scheme), scheme[0]
    return (1 - c) / n**2, c / n


def response(values: list[sympy.Expr], step: sympy.Expr, scheme: Scheme) -> sympy.Matrix:
    """M, (r, r)."""
    kappa_1, _ = kappas(scheme)
    return sympy.Matrix(
        len(values),
        len(values),
        lambda j, k: 1 / ((1 / values[j] + 1 / values[k]) / (scheme[0] * step) - kappa_1),
    )


def spread(basis: sympy.Matrix, kernel: sympy.Matrix, noise: sympy.Matrix) -> sympy.Matrix:
    """U[M∘(UᵀXU)]Uᵀ."""
    return basis * sympy.matrix_multiply_elementwise(kernel, basis.T * noise * basis) * basis.T


def symmetric_units(size: int, within_blocks: bool) -> list[sympy.Matrix]:
    """A basis of the symmetric matrices, or of those that are blocks on the diagonal."""
    pairs = [(i, j) for i in range(size) for j in range(i, size)]
    units = []
    for i, j in pairs:
        if not within_blocks or i // OUTPUTS == j // OUTPUTS:
            unit = sympy.zeros(size, size)
            unit[i, j] = unit[j, i] = 1
            units.append(unit)
    return units


def coordinates(matrix: sympy.Matrix, units: list[sympy.Matrix]) -> sympy.Matrix:
    """Those of a symmetric matrix in a basis of units: its entries where they are 1."""
    return sympy.Matrix([matrix[list(unit).index(1)] for unit in units])


def matrix_of(linear: Callable[[sympy.Matrix], sympy.Matrix], units: list[sympy.Matrix]) -> sympy.Matrix:
    """A linear map of symmetric matrices in a basis of units."""
    return sympy.Matrix.hstack(*(coordinates(linear(unit), units) for unit in units))


def determinant(matrix: sympy.Matrix) -> sympy.Expr:
    """det of a matrix of rational functions of η, as one fraction."""
    field = DomainMatrix.from_Matrix(matrix).to_field()
    return field.domain.to_sympy(field.det())


def solve_noise(basis: sympy.Matrix, kernel: sympy.Matrix, source: sympy.Matrix, scheme: Scheme) -> sympy.Matrix:
    """ρ of (1 − κ₂Ψ)ρ = source, by one exact linear solve over the blocks."""
    _, kappa_2 = kappas(scheme)
    units = symmetric_units(source.rows, within_blocks=True)
    system = matrix_of(lambda x: x - kappa_2 * blocks_of(spread(basis, kernel, x)), units)
    found = system.solve(coordinates(source, units))
    return sum((found[k] * unit for k, unit in enumerate(units)), sympy.zeros(*source.shape))


def stationary(
    basis: sympy.Matrix, values: list[sympy.Expr], step: sympy.Expr, source: sympy.Matrix, scheme: Scheme
) -> sympy.Matrix:
    """R."""
    kernel = response(values, step, scheme)
    return spread(basis, kernel, solve_noise(basis, kernel, source, scheme))


def derive() -> dict[str, sympy.Expr]:
    """The noise of one sample of two outputs, and Ψ of one sample whose K is diagonal, entry 12."""
    kappa_1, kappa_2, n, b, noise = sympy.symbols("kappa_1 kappa_2 n b epsilon", positive=True)
    first, second = sympy.symbols("lambda_1 lambda_2", positive=True)
    covariance = sympy.Matrix(2, 2, lambda i, j: sympy.Symbol(f"R{min(i, j) + 1}{max(i, j) + 1}"))
    frozen = sympy.Matrix(sympy.symbols("r1 r2"))
    rho = kappa_2 * (covariance + frozen * frozen.T) + noise**2 / (b * n) * sympy.eye(2)
    mixed = sympy.Symbol("X12") / ((1 / first + 1 / second) / (n * eta) - kappa_1)
    return {
        "noise of one sample, entry 11": rho[0, 0],
        "noise of one sample, entry 12": rho[0, 1],
        "image of a block of a diagonal K, entry 12": mixed,
    }


def at(name: str, numbers: dict[str, sympy.Expr]) -> sympy.Expr:
    """A result at a point, symbols by name."""
    expression = derive()[name]
    return expression.subs({symbol: numbers[str(symbol)] for symbol in expression.free_symbols})


def check() -> None:
    """The stationary covariance, its pole, its positivity, the two symmetries, and the stiff gradient."""
    step, noise = sympy.Rational(1, 9), sympy.Rational(1, 2)
    # Step 1. K of rank 3 on 2 samples of 2 outputs: its kernel holds r*. One step of SGD over every draw leaves R,
    # r ← r − ηK(w∘(r + r* − εz)), with the weight wᵢ of a sample for all its outputs.
    full = rotation(4)
    basis, frozen = full[:, :3], sympy.Rational(2, 3) * full[:, 3]
    values = [sympy.Rational(1), sympy.Rational(2), sympy.Rational(5, 2)]
    gram = basis * sympy.diag(*values) * basis.T
    for batch_size, replacement in ((1, False), (2, True)):
        scheme = (2, batch_size, replacement)
        kappa_1, kappa_2 = kappas(scheme)
        source = kappa_2 * blocks_of(frozen * frozen.T) + noise**2 / (2 * batch_size) * sympy.eye(4)
        settled = stationary(basis, values, step, source, scheme)

        def after(draw: tuple[int, ...], size: int = batch_size, start: sympy.Matrix = settled) -> sympy.Matrix:
            weights = sympy.diag(*(sympy.Rational(draw.count(i // OUTPUTS), size) for i in range(4)))
            transition = sympy.eye(4) - step * gram * weights
            kick = step * gram * weights * frozen
            fresh = step**2 * gram * (noise**2 / size * weights) * gram
            return transition * start * transition.T + kick * kick.T + fresh

        same(expectation(after, *scheme), settled, "one step of SGD leaves the covariance as it is")
        noisy = kappa_2 * blocks_of(settled) + source
        same(
            (gram * settled + settled * gram) / 2, step * gram * (kappa_1 * settled + noisy) * gram, "the equation of R"
        )
        same(basis * basis.T * settled, settled, "R lies in the range of K")
        numbers = {"kappa_1": kappa_1, "kappa_2": kappa_2, "n": 2, "b": batch_size, "epsilon": noise, "eta": step}
        numbers |= {"r1": frozen[0], "r2": frozen[1], "R11": settled[0, 0], "R12": settled[0, 1]}
        for k in (0, 1):
            same(at(f"noise of one sample, entry 1{k + 1}", numbers), noisy[0, k], "the noise of a sample")
        # With a diagonal K, U = 1.
        numbers |= {"lambda_1": values[0], "lambda_2": values[1], "X12": sympy.Integer(7)}
        image = spread(sympy.eye(3), response(values, step, scheme), 7 * sympy.ones(3, 3))
        same(at("image of a block of a diagonal K, entry 12", numbers), image[0, 1], "the image of a block")
    # Step 2. The cross terms: E of a kick and of the residuals has the mean K r*/n = 0, and none is left.
    same(gram * frozen, sympy.zeros(4, 1), "what is frozen is out of reach")
    # Step 3. The pole. On the range of K the second-moment map minus the identity is −𝓛 + κ₂η²K bdiag(·)K, and
    # det(𝓛 − κ₂η²K bdiag K) = det 𝓛 · det(1 − κ₂Ψ): as rational functions of η.
    scheme = (2, 1, False)
    kappa_1, kappa_2 = kappas(scheme)
    rotated = symmetric_units(3, within_blocks=False)
    scale = sympy.diag(*values)

    def loss(y: sympy.Matrix) -> sympy.Matrix:
        return (scale * y + y * scale) / (2 * eta) - kappa_1 * scale * y * scale

    def gain(y: sympy.Matrix) -> sympy.Matrix:
        return kappa_2 * scale * basis.T * blocks_of(basis * y * basis.T) * basis * scale

    kernel = response(values, eta, scheme)
    blocks = symmetric_units(4, within_blocks=True)
    whole = determinant(matrix_of(lambda y: loss(y) - gain(y), rotated))
    part = determinant(matrix_of(loss, rotated))
    folded = determinant(matrix_of(lambda x: x - kappa_2 * blocks_of(spread(basis, kernel, x)), blocks))
    same(whole, part * folded, "the recursion is singular where κ₂Ψ has the eigenvalue 1")
    # Step 4. M_jk = ∫ e^{−a_j t}e^{−a_k t} dt with a = 1/(nηλ) − κ₁/2 > 0 below the pole: X ↦ U[M∘(UᵀXU)]Uᵀ is a sum of
    # maps X ↦ D X Dᵀ, and bdiag the mean of X ↦ SXS over the signs S of the samples. Both keep positive semidefinite
    # matrices so; Ψ is self-adjoint, and by Krein and Rutman its spectral radius is an eigenvalue, with a positive
    # semidefinite eigenblock. ρ ≻ 0 with ρ − κ₂Ψρ ≻ 0 is a certificate that the radius is below 1.
    first, second, time = sympy.symbols("a_j a_k t", positive=True)
    integral = sympy.integrate(sympy.exp(-(first + second) * time), (time, 0, sympy.oo))
    same(integral, 1 / (first + second), "M is a sum of squares")
    any_matrix = sympy.Matrix(4, 4, lambda i, j: sympy.Symbol(f"x{min(i, j)}{max(i, j)}"))
    signs = [sympy.diag(s, s, t, t) for s in (1, -1) for t in (1, -1)]
    pinched = sum((sign * any_matrix * sign for sign in signs), sympy.zeros(4, 4)) / 4
    same(pinched, blocks_of(any_matrix), "bdiag is a mean over signs")
    # Step 5. Outputs without a common parameter: rows 0, 2 are output 1 and rows 1, 3 output 2, K does not mix them.
    # R of output 1 is that of output 1 alone, and the rest of K⁺R meets Jᵀ of other parameters only.
    grams = [sympy.Matrix([[2, 1], [1, 3]]), sympy.Matrix([[4, -1], [-1, 2]])]
    order = [0, 2, 1, 3]
    joint = sympy.zeros(4, 4)
    for a, own in enumerate(grams):
        for i in range(2):
            for j in range(2):
                joint[order[2 * a + i], order[2 * a + j]] = own[i, j]
    fresh = noise**2 / 2
    both = solve_fast(joint, step, scheme, fresh * sympy.eye(4), blocks_of)
    for a, own in enumerate(grams):
        alone = solve_fast(own, step, scheme, fresh * sympy.eye(2), lambda x: sympy.diag(*x.diagonal()))
        rows = [order[2 * a], order[2 * a + 1]]
        same(both.extract(rows, rows), alone, "an output among others that share nothing with it is alone")
    same(both.extract([0, 2], [1, 3]), sympy.zeros(2, 2), "and does not correlate with them")
    # Step 6. A rotation Q of the outputs of every sample: R turns along, and Σ Hᵢₐ[JᵀK⁺R eᵢₐ] stays.
    turn = sympy.Matrix([[3, -4], [4, 3]]) / 5
    every = sympy.diag(turn, turn)
    jacobian = sympy.Matrix([[2, -1, 1, 0, 1], [1, 3, -2, 1, 0], [0, 1, 1, -1, 2], [1, 0, 2, 1, 1]])
    hessians = [sympy.Matrix(5, 5, lambda j, k, i=i: (i + 2) * (j + k) % 7 - 3 + (j * k) % (i + 2)) for i in range(4)]
    gram = jacobian * jacobian.T
    source = sympy.diag(sympy.Matrix([[2, 1], [1, 3]]), sympy.Matrix([[1, 0], [0, 2]])) / 10
    step = sympy.Rational(1, 40)
    cov = solve_fast(gram, step, scheme, source, blocks_of)
    turned = solve_fast(every * gram * every.T, step, scheme, every * source * every.T, blocks_of)
    same(turned, every * cov * every.T, "the covariance turns with the outputs")
    mixed = [sum((every[i, j] * hessians[j] for j in range(4)), sympy.zeros(5, 5)) for i in range(4)]
    same(
        push(every * jacobian, mixed, turned),
        push(jacobian, hessians, cov),
        "the push does not know how outputs are turned",
    )
    # Step 7. d⟨source, bdiag R⟩ = (4/(ηn)) Σ Hᵢₐ[JᵀK⁺R²K⁺eᵢₐ]·dθ: the differentiated equation of R, solved exactly.
    inverse = gram.inv()
    vectors = jacobian.T * inverse * cov * cov * inverse
    gradient = sum((hessians[i] * vectors[:, i] for i in range(4)), sympy.zeros(5, 1)) * 4 / (2 * step)
    for k in range(5):
        moved = sympy.Matrix.vstack(*(hessians[i][k, :] for i in range(4)))
        change = moved * jacobian.T + jacobian * moved.T
        inner = kappa_1 * cov + kappa_2 * blocks_of(cov) + source
        right = step * (change * inner * gram + gram * inner * change) - (change * cov + cov * change) / 2
        derivative = solve_lyapunov(gram, step, scheme, right, blocks_of)
        same((source * derivative).trace(), gradient[k], "the gradient of the noise power")


def solve_lyapunov(
    gram: sympy.Matrix,
    step: sympy.Expr,
    scheme: Scheme,
    right: sympy.Matrix,
    fold: Callable[[sympy.Matrix], sympy.Matrix],
) -> sympy.Matrix:
    """R of (KR + RK)/n − ηK(κ₁R + κ₂ fold R)K = right."""
    kappa_1, kappa_2 = kappas(scheme)
    units = symmetric_units(gram.rows, within_blocks=False)
    system = matrix_of(
        lambda x: (gram * x + x * gram) / scheme[0] - step * gram * (kappa_1 * x + kappa_2 * fold(x)) * gram, units
    )
    found = system.solve(coordinates(right, units))
    return sum((found[k] * unit for k, unit in enumerate(units)), sympy.zeros(*gram.shape))


def solve_fast(
    gram: sympy.Matrix,
    step: sympy.Expr,
    scheme: Scheme,
    source: sympy.Matrix,
    fold: Callable[[sympy.Matrix], sympy.Matrix],
) -> sympy.Matrix:
    """R from its equation, without its closed form, for an invertible K."""
    return solve_lyapunov(gram, step, scheme, step * gram * source * gram, fold)


def push(jacobian: sympy.Matrix, hessians: list[sympy.Matrix], cov: sympy.Matrix) -> sympy.Matrix:
    """Σᵢₐ ∇²fᵢₐ[JᵀK⁺R eᵢₐ], for an invertible K."""
    vectors = jacobian.T * (jacobian * jacobian.T).inv() * cov
    return sum((hessians[i] * vectors[:, i] for i in range(len(hessians))), sympy.zeros(jacobian.cols, 1))
