"""Where the noise comes in bursts too rare to average over: how far SGD is above the flow while it waits for one.

Near the mean-square edge the residuals of SGD, r ← (I − ηK diag(w))r + noise, are a Kesten process: their mean square
is made of bursts whose sizes have a power-law tail. With δ = 1 − ηQ_b/2, and everything else taken at the edge, where
the spectral radius of E[A⊗A] is ϱ = 1 (A the factor of r) and L(q) = lim log E‖A_k…A₁‖^q/k has L(2) = 0,

    ℓ = −dϱ/dδ,   μ = L′(2), the rate at which a burst grows,   κ = ℓ/(2μ):   ‖r‖ has the tail exponent 2(1 + κδ).

Let v > 0 be dδ/dt by the push of the flow. In the time of bursts, τ = μt, with D = κδ and W = dD/dτ by the noise as it
is, the diffusion whose moments grow like that, and the source of the flow, is d log W = (2νV/W − 2(1+D))dτ + 2dB. At
rest D it has the density ∝ W^{−2−D}e^{−νV/W} and the mean νV/D: the flow is at D = ν = κδ, where the mean is V = κv/μ.

Now a burst that would move D by 1 + ν in its own time 1/(1+ν) ends the wait. Between such bursts the smaller ones,
below W_c = (1+ν)², have to give the push alone, at a smaller D. With z = νV/W_c it is the root of

    (ν − D) ∫₀^∞ exp(Ds − z(eˢ−1)) ds = 1,

and SGD is typically (ν − D)/κ above the flow. In the model dD = (W − V)dτ the rare large bursts make up for it on
average: E[D²] at rest gives E[DW] = V·E[D], E[W] at rest E[DW] = νV, hence E[D] = ν. A run too short for many of them
is in between. For full batches A is not random, μ = 0 and ν = ∞: no bursts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from scipy.optimize import brentq
from scipy.special import logsumexp

from esssim._particles import multiplied
from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point
from esssim.flow.slow import velocity
from esssim.random_weights import RandomWeights
from esssim.sampling import Sampling
from esssim.statistics.perron import PerronMatrix

N_PARTICLES = 128
N_STEPS = 96
BURN_IN = 32
N_NODES = 2048
# log of an excess that no level shows.
NEGLIGIBLE = -100.0


@dataclass(frozen=True)
class Bursts:
    """The bursts at one point of the flow, relative to Q_b there: what `flow.solve` records of them.

    correction: of Q_b to where SGD typically is. tail_index: the exponent 2(1 + κδ) of the law of ‖r‖ between bursts, 2
    at the mean-square edge. almost_sure_excess: of Q_b to the almost-sure edge δ = −1/κ, which no typical level passes.
    """

    correction: float
    tail_index: float
    almost_sure_excess: float


NONE = Bursts(0.0, np.inf, np.inf)
UNKNOWN = Bursts(np.nan, np.nan, np.nan)


def burst_correction(point: Point, fast: FastMotion, sampling: Sampling, seed: int = 0) -> float:
    """The typical Q_b of SGD over that of the flow, minus 1: ((ν−D)/κ)/(1−δ), from the formulas of the module.

    The excess of |v| with the sign of v: less of a push towards the edge leaves SGD below. 0 where nothing pushes and
    for full batches, infinite where SGD would be typically past the almost-sure edge D = −1; NaN with momentum, whose
    bursts are others.
    """
    return bursts(point, fast, sampling, seed).correction


def bursts(point: Point, fast: FastMotion, sampling: Sampling, seed: int = 0) -> Bursts:
    """The bursts at a point of the flow; none for full batches and without noise, unknown with momentum."""
    if fast.momentum > 0.0:
        return UNKNOWN
    if not fast.source.any() or fast.perron.kappa_2 == 0.0:
        return NONE
    sharpness, noise = fast.perron.edge()
    distance = 1.0 - fast.step_size * sharpness / 2
    push = push_from_edge(point, fast)
    perron, edge = fast.perron, sharpness
    if perron.tail is not None:  # it is too slow for bursts
        perron = replace(perron, tail=None)
        edge, noise = perron.edge()
    factors, weights = tilted_basis(perron, edge, noise)
    approach = edge_slope(perron, edge, noise)
    growth = burst_growth(factors, weights, 2.0 / edge, sampling, fast.n_outputs, seed)
    if growth == 0.0:
        return NONE
    kappa = approach / (2 * growth)
    found = excess(kappa * distance, kappa * abs(push) / growth) / kappa / (1.0 - distance) if push != 0.0 else 0.0
    return Bursts(
        float(np.copysign(found, push)) if push != 0.0 else 0.0,
        2 * (1 + kappa * distance),
        (1 / kappa + distance) / (1.0 - distance),
    )


def push_from_edge(point: Point, fast: FastMotion) -> float:
    """v = −(η/2)⟨∇Q_b, dθ/dt⟩ along the solutions, by central differences."""
    driven = velocity(point, fast)
    if not driven.any():
        return 0.0
    length = 1e-4 * float(np.linalg.norm(point.theta)) / float(np.linalg.norm(driven))
    ahead, behind = (
        Point(point.problem, point.theta + sign * length * driven).sharpness(fast.perron.c, fast.rank)
        for sign in (1.0, -1.0)
    )
    return -fast.step_size / 2 * (ahead - behind) / (2 * length)


def edge_matrix(perron: PerronMatrix, edge: float, noise: FloatArray) -> FloatArray:
    """S = E[ASA] at the edge, A = I − ηΛ^½Uᵀdiag(w)UΛ^½, (r, r): Λ^{−½}[M∘(Uᵀdiag(ρ)U)]Λ^{−½} where ρ = κ₂Ψρ,
    scaled.
    """
    roots = np.sqrt(perron.eigenvalues)
    found = perron.kernel(2.0 / edge) * perron.in_eigenbasis(noise) / (roots[:, None] * roots)
    return np.asarray((found + found.T) / np.abs(found).max())


def edge_slope(perron: PerronMatrix, edge: float, noise: FloatArray) -> float:
    """ℓ = dϱ/d log η at the edge, 2(η/n) ΣS_jk²λⱼ/ΣS_jk².

    The map S ↦ S − η(HS+SH) + η²E[H_B S H_B] is self-adjoint, and its last term is η(HS+SH) where S is its own image.
    """
    squares = edge_matrix(perron, edge, noise) ** 2
    return float(4.0 / edge / perron.n_samples * (perron.eigenvalues @ squares).sum() / squares.sum())


def tilted_basis(perron: PerronMatrix, edge: float, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Rows aᵢ (n·c, r) with Σ_B aᵢaᵢᵀ/b the batch Hessians in the eigenbasis of S, and the eigenvalues of S (r,)."""
    values, vectors = np.linalg.eigh(edge_matrix(perron, edge, noise))
    rooted = perron.eigenvectors * np.sqrt(perron.eigenvalues)
    return rooted @ vectors, np.maximum(values, 0.0) / values[-1]


def burst_growth(
    factors: FloatArray, weights: FloatArray, step_size: float, sampling: Sampling, n_outputs: int, seed: int
) -> float:
    """μ = L′(2) at the edge: the mean of ½g log g per step, g = h(As)/h(s), h(s) = Σ weights·s², by particles.

    h is the eigenfunction of E[h(As)] = h(s): particles that multiply with g are distributed as in a burst, and g − 1,
    of mean 0 at every s, takes most of the spread of g log g away.
    """
    rng = np.random.default_rng(seed)
    n = len(factors) // n_outputs
    states = rng.standard_normal((N_PARTICLES, len(weights))) * np.sqrt(weights)
    total = 0.0
    for step, gradients in enumerate(_gradients(factors, n, sampling, n_outputs, rng)):
        moved = states - step_size * gradients(states)
        growth = (moved**2 @ weights) / (states**2 @ weights)
        if step >= BURN_IN:
            with np.errstate(divide="ignore", invalid="ignore"):
                logarithm = np.where(growth > 0.0, growth * np.log(growth), 0.0)
            total += float((logarithm - growth + 1.0).mean()) / 2
        chosen = moved[multiplied(growth, rng)]
        states = chosen / np.linalg.norm(chosen, axis=1)[:, None]
    return total / (N_STEPS - BURN_IN)


def _gradients(
    factors: FloatArray, n: int, sampling: Sampling, n_outputs: int, rng: np.random.Generator
) -> Iterator[Callable[[FloatArray], FloatArray]]:
    """For each step the map of states (m, r) to H_B s, each with a batch, or with weights, of its own."""
    count = N_STEPS * N_PARTICLES
    if isinstance(sampling, RandomWeights):
        drawn = np.repeat(sampling.draw_weights(n, count, rng), n_outputs, axis=1)
        for weights in drawn.reshape(N_STEPS, N_PARTICLES, -1):
            yield partial(_of_weights, factors, weights)
    else:
        batches = rows.of_batches(sampling.draw(n, count, rng), n_outputs)
        for members in batches.reshape(N_STEPS, N_PARTICLES, -1):
            yield partial(_of_rows, factors[members], sampling.batch_size)


def _of_rows(rows: FloatArray, b: int, states: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("mbr,mb->mr", rows, np.einsum("mbr,mr->mb", rows, states)) / b)


def _of_weights(factors: FloatArray, weights: FloatArray, states: FloatArray) -> FloatArray:
    return np.asarray((weights * (states @ factors.T)) @ factors)


def excess(nu: float, speed: float) -> float:
    """ν − D: what the level gains, in units of 1/κ, without bursts beyond W_c = (1+ν)²; infinite where D would be below
    −1.
    """
    z = nu * speed / (1.0 + nu) ** 2

    def surplus(logarithm: float) -> float:
        return logarithm + log_integral(nu - np.exp(logarithm), z)

    largest = np.log(1.0 + nu)
    if surplus(largest) < 0.0:
        return np.inf
    if surplus(NEGLIGIBLE) > 0.0:
        return 0.0
    return float(np.exp(brentq(surplus, NEGLIGIBLE, largest, xtol=1e-8)))


def log_integral(power: float, z: float) -> float:
    """log ∫₀^∞ exp(Ds − z(eˢ−1)) ds by the trapezoidal rule, D the power."""
    s = np.linspace(0.0, np.log1p((50.0 + 200.0 * max(power, 0.0)) / z), N_NODES)
    terms = power * s - z * np.expm1(s)
    terms[0] -= np.log(2.0)
    return float(logsumexp(terms) + np.log(s[1]))
