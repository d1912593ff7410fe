"""The mean-square operator of SGD and where it is stable.

Setting. e ← (I − ηH_B)e, batches independent of each other, H = E H_B, M = E[eeᵀ].

Result. M ← M − η(HM + MH) + η²D(M), D(M) = (1−c)HMH + c·(1/n) Σ_i H_iMH_i. With C(M) = ½(HM + MH) this is
I − η(2C − ηD): stable exactly for ηQ_b < 2, Q_b = λ_max(C⁺D). In one dimension Q_b = a + s²/a, a = E h_B, s² = Var h_B.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.mean_square_sharpness", "esssim.stability.critical_step_size")

eta, a, variance, c = sympy.symbols("eta a s2 c", positive=True)
p = 2
M = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"m{min(j, k) + 1}{max(j, k) + 1}", real=True))
first, second = (
    sympy.Matrix(p, p, lambda j, k, i=i: sympy.Symbol(f"h{i}_{min(j, k) + 1}{max(j, k) + 1}", real=True))
    for i in (1, 2)
)


def second_moment(samples: list[sympy.Matrix], matrix: sympy.Matrix, factor: sympy.Expr) -> sympy.Matrix:
    """D(M) by the moment identity."""
    whole = mean(samples)
    return (1 - factor) * whole * matrix * whole + factor * mean([h * matrix * h for h in samples])


def derive() -> dict[str, sympy.Expr]:
    """D(M) of two samples in two dimensions, and Q_b in one."""
    return {
        "D(M) of two samples": second_moment([first, second], M, c),
        "mean-square sharpness in one dimension": a + variance / a,
    }


def check() -> None:
    """The recursion by enumeration; self-adjointness and positivity of D; the threshold."""
    # Step 1. E[(I − ηH_B)M(I − ηH_B)] by enumeration of every batch.
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(7 * size + batch_size, size, p)
        whole = mean(samples)

        def moved(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            step = sympy.eye(p) - eta * batch_mean(samples, draw)
            return step * M * step

        drift = M - eta * (whole * M + M * whole)
        image = second_moment(samples, M, coefficient(size, batch_size, replacement))
        same(expectation(moved, size, batch_size, replacement), drift + eta**2 * image, "recursion of M")
    # The same for two samples with symbols for entries: D(M) = E[H_BMH_B].
    for batch_size, replacement in ((1, False), (2, True)):

        def conjugated(draw: tuple[int, ...]) -> sympy.Matrix:
            return batch_mean([first, second], draw) * M * batch_mean([first, second], draw)

        image = derive()["D(M) of two samples"].subs(c, coefficient(2, batch_size, replacement))
        same(expectation(conjugated, 2, batch_size, replacement), image, "D(M) of two samples")
    # Step 2. H_B ⊗ H_B is symmetric for ⟨N, M⟩ = tr(NM), and so is D; with positive semidefinite H_B, ⟨M, H_BMH_B⟩ ≥ 0.
    other = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"n{min(j, k) + 1}{max(j, k) + 1}", real=True))
    same((other * first * M * first).trace(), (first * other * first * M).trace(), "D is self-adjoint")
    root = sympy.Matrix(p, p, lambda j, k: sympy.Symbol(f"r{min(j, k) + 1}{max(j, k) + 1}", real=True))
    squared = root * M * root
    same((M * root**2 * M * root**2).trace(), (squared * squared.T).trace(), "⟨M, H_BMH_B⟩ is a square")
    # Step 3. So I − η(2C − ηD) is self-adjoint with real eigenvalues 1 − η·(those of 2C − ηD). It maps positive
    # matrices to positive ones, whence its spectral radius is an eigenvalue (Krein–Rutman): below 1 exactly when
    # 2C − ηD ≻ 0, that is ηλ_max(C⁺D) < 2. At ηQ_b = 2 the eigenmatrix of the pencil is a fixed point:
    q, eigenmatrix, image = sympy.Symbol("Q", positive=True), sympy.Symbol("CM"), sympy.Symbol("DM")
    step = -eta * (2 * eigenmatrix - eta * image)
    same(step.subs(image, q * eigenmatrix).subs(eta, 2 / q), 0, "fixed point at the edge")
    # Step 4. One dimension: C = a, D = E h_B² = a² + s².
    same(derive()["mean-square sharpness in one dimension"], (a**2 + variance) / a, "one dimension")
    radius = 1 - 2 * eta * a + eta**2 * (a**2 + variance)
    same(radius.subs(eta, 2 / (a + variance / a)), 1, "the radius is 1 at 2/Q")
    same(
        sympy.diff(radius, eta, 2),
        2 * (a**2 + variance),
        "the radius is convex in η: it is below 1 only between 0 and 2/Q",
    )
