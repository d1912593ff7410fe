"""The bursts of the noise near the mean-square edge, and the level that is left without the largest ones.

Setting. The fast motion r ← Ar + noise at a fixed θ, A = I − ηH_B, S ↦ F(S) = E[ASA] = S − η(HS+SH) + η²E[H_BSH_B],
δ = 1 − ηQ_b/2, and L(q) the growth rate of E‖A_k…A₁‖^q, so that L(2) = log ϱ, ϱ the spectral radius of F.

Result. With S = F(S) at the edge, ℓ = −dϱ/dδ = 2η tr(SHS)/tr S². Take L quadratic near the edge, in the time of bursts
τ = μt, μ = L′(2), D = κδ, κ = ℓ/(2μ): the diffusion with these moments and a source is

    d log W = (2νV/W − 2(1+D))dτ + 2dB,      L(q)/μ = q²/2 − (1+D)q,

with the tail exponent 2(1+D), the density ∝ W^{−2−D}e^{−νV/W} at rest, and its mean νV/D. In the model dD = (W − V)dτ
the mean of D is ν, that of the flow. The mean of W among bursts below W_c is V where, with z = νV/W_c,

    (ν − D)Γ(D, z) = z^D e^{−z},   or   (ν − D)∫₀^∞ exp(Ds − z(eˢ−1)) ds = 1.

Proved: all of it. A model, tested against SGD only: that L is quadratic enough, that θ moves by the push W − V alone,
and that the bursts beyond W_c = (1+ν)², which move D by 1 + ν in their own time 1/(1+ν), end the wait.
"""

from __future__ import annotations

import sympy

from theory._exact import same

COMPUTED_BY = ("esssim.flow.bursts.burst_correction", "esssim.flow.bursts.excess")

eta, n = sympy.symbols("eta n", positive=True)
first, second = sympy.symbols("lambda_1 lambda_2", positive=True)
s11, s12, s22 = sympy.symbols("S_11 S_12 S_22")
nu, push, distance, size, order, cut = sympy.symbols("nu V D W q z", positive=True)


def slope() -> sympy.Expr:
    """ℓ for two modes, λⱼ the eigenvalues of nH."""
    squares = s11**2 * first + s12**2 * (first + second) + s22**2 * second
    return 2 * eta / n * squares / (s11**2 + 2 * s12**2 + s22**2)


def density() -> sympy.Expr:
    """Of W at rest, up to a factor."""
    return size ** (-2 - distance) * sympy.exp(-nu * push / size)


def derive() -> dict[str, sympy.Expr]:
    """The slope of the edge, and what vanishes at the level without large bursts."""
    left_over = (nu - distance) * sympy.uppergamma(distance, cut) - cut**distance * sympy.exp(-cut)
    return {"slope of two modes": slope(), "vanishes without large bursts": left_over}


def check() -> None:
    """The slope, the moments, the density, the two means, the cut."""
    approach, left_over = derive().values()
    # Step 1. F is self-adjoint: dϱ/d log η = ⟨S, η dF/dη S⟩/⟨S, S⟩, and at the edge ηE[H_BSH_B] = HS + SH.
    state = sympy.Matrix([[s11, s12], [s12, s22]])
    hessian = sympy.diag(first, second) / n
    pulled = hessian * state + state * hessian
    derivative = eta * (-pulled + 2 * pulled)
    same((state * derivative).trace() / (state * state).trace(), approach, "the slope")
    # In one dimension, directly: ϱ = 1 − 2ηh + η²m, η = 2h/m at the edge, where dδ = −d log η.
    h, m = sympy.symbols("h m", positive=True)
    radius = 1 - 2 * eta * h + eta**2 * m
    expected = approach.subs({s12: 0, s22: 0, first: n * h})
    same((eta * sympy.diff(radius, eta)).subs(eta, 2 * h / m), expected.subs(eta, 2 * h / m), "the slope of one mode")
    # Step 2. The generator of W, from that of log W: drift 2νV − 2DW, variance 4W².
    logarithm, spread = 2 * nu * push / size - 2 * (1 + distance), 4

    def generator(function: sympy.Expr) -> sympy.Expr:
        slope_of_log = size * sympy.diff(function, size)
        return logarithm * slope_of_log + spread / 2 * size * sympy.diff(slope_of_log, size)

    same(generator(size), 2 * nu * push - 2 * distance * size, "the drift of W")
    growth = sympy.simplify(generator(size ** (order / 2)).subs(nu, 0) / size ** (order / 2))
    same(growth, order**2 / 2 - (1 + distance) * order, "the moment exponents")
    same(growth.subs(order, 2 * (1 + distance)), 0, "the tail exponent")
    same(sympy.diff(growth, order).subs({order: 2, distance: 0}), 1, "L′(2) in the time of bursts")
    same(growth.subs(order, 2), -2 * distance, "L(2) = −ℓδ/μ, hence κ = ℓ/(2μ)")
    # Step 3. At rest nothing flows: drift·p = ½(4W²p)′.
    flux = (2 * nu * push - 2 * distance * size) * density() - sympy.diff(2 * size**2 * density(), size)
    same(sympy.simplify(flux / density()), 0, "the density at rest")
    # Step 4. E of the generator vanishes at rest. At fixed D, of W: the mean. With dD = (W − V)dτ, of D² and of W.
    mean, joint = sympy.symbols("m_D m_DW")
    same(generator(size).subs(size, nu * push / distance), 0, "the mean of W")
    both = sympy.solve([2 * (joint - push * mean), 2 * nu * push - 2 * joint], [mean, joint], dict=True)[0]
    same(both[mean], nu, "the mean of D")
    # Step 5. With u = νV/W the mean of W below W_c is νVΓ(D, z)/Γ(D+1, z), and Γ(D+1, z) = DΓ(D, z) + z^D e^{−z}.
    recurrence = distance * sympy.uppergamma(distance, cut) + cut**distance * sympy.exp(-cut)
    u = sympy.Symbol("u", positive=True)
    same(
        sympy.diff(-(u**distance) * sympy.exp(-u), u), (u - distance) * u ** (distance - 1) * sympy.exp(-u), "by parts"
    )
    same(nu * sympy.uppergamma(distance, cut) - recurrence, left_over, "the mean below the cut is V")
    s = sympy.Symbol("s", positive=True)
    inside = (u ** (distance - 1) * sympy.exp(-u)).subs(u, cut * sympy.exp(s)) * cut * sympy.exp(s)
    integrand = sympy.exp(distance * s - cut * (sympy.exp(s) - 1)) * cut**distance * sympy.exp(-cut)
    same(sympy.simplify(sympy.expand_log(sympy.log(inside / integrand), force=True)), 0, "the integral over s")
