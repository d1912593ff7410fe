"""The noise kernel norm is the mean-square operator on diagonal covariances, and never too cautious.

Setting. SGD e ← (I − ηH_B)e in H's eigenbasis, H = diag λ. Only the diagonal p_j of M = E[eeᵀ] is followed.

Results.
1. p ← (A + B)p, A = (1 − ηΛ)², B_jk = cη²(mean (H_i)_jk² − λ_j²δ_jk). Norm of the noise kernel: 𝒦 = ρ((I − A)⁻¹B).
2. For ηλ_max < 2: ρ(A + B) < 1 exactly where 𝒦 < 1.
3. 𝒦 = 1 lies at or above the mean-square edge: 𝒦 is the top of ⟨M, V(M)⟩/⟨M, M/K⟩ over fewer M, and 1 is the top over
   all.
4. Rank-one samples with delocalised eigenvectors (every entry ±1/√n): (I−A)⁻¹B is cη λ_k/(2 − ηλ_j) up to the H²
   part, of rank one, and 𝒦 → cη Σ_j λ_j/(2 − ηλ_j); for ηλ ≪ 2 this is cη tr(H)/2.
"""

from __future__ import annotations

import sympy

from theory._exact import SCHEMES, batch_mean, coefficient, expectation, mean, same, symmetric_matrices

COMPUTED_BY = ("esssim.stability.noise_kernel_norm", "esssim.stability.noise_kernel_step_size")

eta, c = sympy.symbols("eta c", positive=True)
eigenvalues = sympy.symbols("lambda1:3", positive=True)
# (1/n) Σ_i (H_i)_jk².
squares = sympy.Matrix(2, 2, lambda j, k: sympy.Symbol(f"q{min(j, k) + 1}{max(j, k) + 1}", nonnegative=True))


def kernel() -> sympy.Matrix:
    """(I − A)⁻¹B for two modes."""
    noise = c * eta**2 * (squares - sympy.diag(*[value**2 for value in eigenvalues]))
    return sympy.diag(*[1 / (eta * value * (2 - eta * value)) for value in eigenvalues]) * noise


def derive() -> dict[str, sympy.Expr]:
    """𝒦 of two modes (the larger root), in high dimensions, and as a trace."""
    half_trace, determinant = kernel().trace() / 2, kernel().det()
    return {
        "diagonal": half_trace + sympy.sqrt(half_trace**2 - determinant),
        "high_dimensional": c * eta * sum(value / (2 - eta * value) for value in eigenvalues),
        "trace": c * eta * sum(eigenvalues) / 2,
    }


def check() -> None:
    """The restriction by enumeration, the equivalence of the two conditions, the compression, the limits."""
    # Step 1. The diagonal of E[(I − ηH_B) diag(p) (I − ηH_B)] over every batch; H is made diagonal by the last sample.
    p = sympy.Matrix(sympy.symbols("p1:3", positive=True))
    for size, batch_size, replacement in SCHEMES:
        samples = symmetric_matrices(19 * size + batch_size, size, 2)
        off = sum(sample[0, 1] for sample in samples)
        samples[-1] -= sympy.Matrix([[0, off], [off, 0]])
        whole = mean(samples)
        assert whole[0, 1] == 0, "H is not diagonal"

        def moved(draw: tuple[int, ...], samples: list[sympy.Matrix] = samples) -> sympy.Matrix:
            step = sympy.eye(2) - eta * batch_mean(samples, draw)
            return sympy.Matrix((step * sympy.diag(*p) * step).diagonal()).T

        factor = coefficient(size, batch_size, replacement)
        entries = mean([sample.multiply_elementwise(sample) for sample in samples])
        noise = factor * eta**2 * (entries - sympy.diag(whole[0, 0] ** 2, whole[1, 1] ** 2))
        kept = sympy.diag(*[(1 - eta * whole[j, j]) ** 2 for j in range(2)])
        same(expectation(moved, size, batch_size, replacement), (kept + noise) * p, "A + B by enumeration")
    # Step 2. With I − A ≻ 0 and B ≥ 0 entry by entry: det(1 − A − B) = det(1 − A)·det(1 − (1 − A)⁻¹B), so that the
    # Perron roots of A + B and of (1 − A)⁻¹B reach 1 together.
    deterministic = sympy.diag(*[(1 - eta * value) ** 2 for value in eigenvalues])
    noise = (sympy.eye(2) - deterministic) * kernel()
    left = (sympy.eye(2) - deterministic - noise).det()
    same(left, (sympy.eye(2) - deterministic).det() * (sympy.eye(2) - kernel()).det(), "both conditions")
    # The norm of two modes: the larger root of the characteristic polynomial of (1 − A)⁻¹B.
    norm = derive()["diagonal"]
    same(norm**2 - kernel().trace() * norm + kernel().det(), 0, "root of the characteristic polynomial")
    # Step 3. 1/K_jj = (1 − A)_j/η² and V(diag p)_jj = (Bp)_j/η²: the same two forms on diagonal matrices only, and a
    # supremum over fewer matrices is not larger.
    for j, value in enumerate(eigenvalues):
        same((1 - (1 - eta * value) ** 2) / eta**2, 2 * value / eta - value**2, f"1/K on the diagonal, mode {j + 1}")
    # Step 4. Delocalised: (H_i)_jk = n√λ_j√λ_k U_ij U_ik with U_ij² = 1/n has the mean square λ_jλ_k. Without H²:
    products = sympy.Matrix(2, 2, lambda j, k: eigenvalues[j] * eigenvalues[k])
    gains = sympy.diag(*[1 / (eta * value * (2 - eta * value)) for value in eigenvalues])
    delocalised = gains * (c * eta**2 * products)
    assert delocalised.rank() == 1, "the delocalised kernel has rank one"
    same(delocalised.trace(), derive()["high_dimensional"], "its only eigenvalue is its trace")
    same(sympy.series(derive()["high_dimensional"], eta, 0, 2).removeO(), derive()["trace"], "first order in η")
