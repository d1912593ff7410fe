"""Critical sharpness: 2 over the smallest step along the gradient that raises the loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from esssim._errors import Undefined
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray, IntArray
from esssim.problems import DiagonalLinearNetwork, LinearRegression, Problem, Quadratic, check_problem
from esssim.problems.boundary import divergence_is_expected
from esssim.sampling import Sampling
from esssim.statistics.estimate import expectation, in_parts
from esssim.statistics.uncertainty import Estimate

EPS = float(np.finfo(np.float64).eps)
# Numbers in the samples of the batches that are looked at together: 256 MB.
NUMBERS = 2**25
# The search of the first rise: from this part of the step that the quadratic model gives, by this factor, so often.
FIRST, GROWTH, MOST_STEPS, HALVINGS = 1 / 8, math.sqrt(2.0), 100, 34
# A decrease of less than this part of the loss is too near its rounding to be searched.
RESOLVED = 1e6 * EPS
Seed = int | np.random.SeedSequence | None


@one_blas_thread()
def critical_sharpness(problem: Problem, theta: npt.ArrayLike) -> float:
    """Critical sharpness λ_c = 2/η_c, η_c the smallest η > 0 beyond which L(θ − ηg) exceeds L(θ), g the full gradient.

    On a quadratic λ_c = gᵀHg/‖g‖² ≤ λ_max(H). It is 0 where no step raises the loss.

    theta: (p,). Exact for quadratics, linear regression and diagonal networks, whose loss is a polynomial along a line.
    For any other problem η grows by factors of √2 from an eighth of 2‖g‖²/|gᵀHg|, and the first rise is bisected: one
    that is over within such a factor may be missed, and λ_c is 0 where none comes within 2⁴⁶ of it. Where the loss
    falls by less than 2e-10 of itself on the way, its rounding would decide, and gᵀHg/‖g‖², the limit for small g, is
    returned. Raises Undefined where g = 0. Source: Kalra et al., arXiv 2601.16979.
    """
    check_problem(problem)
    point = problem.check_point(theta)
    if not problem.gradient(point).any():
        raise Undefined("critical_sharpness is 0/0 at theta: the full gradient is zero")
    return float(_of_batches(problem, point, np.arange(problem.n_samples)[None])[0])


@one_blas_thread()
def minibatch_critical_sharpness(
    problem: Problem,
    theta: npt.ArrayLike,
    sampling: Sampling,
    *,
    n_batches: int | None = None,
    seed: Seed = 0,
    chunk_size: int | None = None,
) -> Estimate:
    """Mini-batch critical sharpness E_B 2/η_c(B): `critical_sharpness` of each batch's own loss along its own gradient.

    On quadratics it is the batch sharpness E_B[g_BᵀH_Bg_B/‖g_B‖²], negative ratios counted as 0.

    theta: (p,). n_batches=None enumerates every batch (exact), and raises where there are too many; a number draws so
    many batches from `seed`, as SGD draws them. chunk_size bounds the memory: so many batches at a time (4096 by
    default). Raises Undefined where the gradient of a batch is zero, ValueError for bad arguments and too many batches
    to enumerate.
    Source: after Kalra et al., arXiv 2601.16979.
    """
    check_problem(problem)
    point = problem.check_point(theta)
    per_batch = partial(_of_batches, problem, point)
    return expectation(per_batch, problem.n_samples, sampling, n_batches, seed, chunk_size=chunk_size)


def _of_batches(problem: Problem, theta: FloatArray, batches: IntArray) -> FloatArray:
    """λ_c of each batch, (m, b) -> (m,). With d = g_B/max|g_B| and steps θ − ηd, λ_c is 2·max|g_B|/η_c."""
    parts = in_parts(batches, batches.shape[1] * problem.n_params, NUMBERS)
    return np.concatenate([_of_some(problem, theta, some) for some in parts])


def _of_some(problem: Problem, theta: FloatArray, batches: IntArray) -> FloatArray:
    gradients = problem.gradient(theta, batches)
    largest = np.abs(gradients).max(axis=1)
    if not largest.all():
        batch = batches[int(np.argmin(largest))].tolist()
        raise Undefined(f"minibatch_critical_sharpness is 0/0 at theta: the gradient of batch {batch} is zero")
    directions = gradients / largest[:, None]
    # What a subclass has changed is not known.
    if type(problem) in (Quadratic, LinearRegression):
        return np.maximum(_rayleigh_quotients(problem, theta, batches, directions), 0.0)
    if isinstance(problem, DiagonalLinearNetwork) and type(problem) is DiagonalLinearNetwork:
        return 2 * largest * _inverse_rise_of_diagonal_network(problem, theta, batches, directions)
    return _searched(problem, theta, batches, directions, largest)


def _rayleigh_quotients(problem: Problem, theta: FloatArray, batches: IntArray, directions: FloatArray) -> FloatArray:
    """dᵀH_Bd/‖d‖², (m,)."""
    curvature = problem.curvature(theta)
    scale = curvature.scale()
    vectors = np.asarray(curvature.to_basis(directions))
    forms = curvature.scaled(scale).batch_quadratic_forms(batches, vectors)
    return np.asarray(forms / (vectors**2).sum(axis=1) * scale)


def _inverse_rise_of_diagonal_network(
    network: DiagonalLinearNetwork, theta: FloatArray, batches: IntArray, directions: FloatArray
) -> FloatArray:
    """1/η_c, (m,): the residuals along a line are the polynomials r + ηs₁ + … + ηᴰs_D.

    (L_B(θ − ηd) − L_B(θ))/η then has degree 2D − 1, and in 1/η the leading coefficient r·s₁ = −b g_B·d, never zero: the
    first rise is the largest 1/η at which it changes sign.
    """
    depth, b = network.depth, batches.shape[1]
    (u, v), (du, dv) = np.split(theta, 2), np.split(directions, 2, axis=1)
    if network.form == "product":
        weights = np.stack([-(u * dv + v * du), du * dv])
    else:
        weights = np.stack([
            math.comb(depth, k) * (-1) ** k * (u ** (depth - k) * du**k - v ** (depth - k) * dv**k)
            for k in range(1, depth + 1)
        ])  # fmt: skip
    residuals = network.residuals(theta, batches)
    steps = np.einsum("mbd,kmd->kmb", network.inputs[batches], weights)
    size = np.abs(residuals).max(axis=1)
    # Steps in units in which r and s₁ are near 1.
    unit = size / np.abs(steps[0]).max(axis=1)
    powers = unit ** np.arange(1, depth + 1)[:, None] / size
    series = np.concatenate([(residuals / size[:, None])[None], steps * powers[:, :, None]])
    products = np.einsum("imb,jmb->ijm", series, series)
    squares = [
        sum(products[i, k - i] for i in range(max(0, k - depth), min(k, depth) + 1)) for k in range(1, 2 * depth + 1)
    ]
    slopes = (network.gradient(theta, batches) * directions).sum(axis=1)
    leading = -2 * b * (slopes / size) * (unit / size)
    coefficients = np.stack([np.ones_like(leading), *(square / leading for square in squares[1:])], axis=1)
    return largest_sign_change(coefficients) / unit


def largest_sign_change(coefficients: FloatArray) -> FloatArray:
    """The largest s > 0 at which the polynomial Σ aₖ s^{K−k}, a₀ = 1, changes sign; 0 where it does not: (m, K + 1) ->
    (m,).
    """
    points, changed = _sign_changes(coefficients)
    return np.asarray(np.where(changed, points, 0.0).max(axis=1))


def _sign_changes(coefficients: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Points in order, between which the polynomial has one sign on s > 0; whether it changes there, both (m, K).

    Between those of its derivative it is monotone, so that bisection finds each change, and misses none.
    """
    degree = coefficients.shape[1] - 1
    if degree == 1:
        return np.maximum(-coefficients[:, 1:], 0.0), coefficients[:, 1:] < 0
    orders = np.arange(1, degree + 1)
    bound = 2 * (np.abs(coefficients[:, 1:]) ** (1 / orders)).max(axis=1, keepdims=True)  # Fujiwara 1916
    turning, _ = _sign_changes(coefficients[:, :-1] * (1 - np.arange(degree) / degree))
    grid = np.concatenate([np.zeros_like(bound), np.minimum(turning, bound), bound], axis=1)
    low, high = grid[:, :-1], grid[:, 1:]

    def values(at: FloatArray) -> FloatArray:
        value = np.ones_like(at)
        for k in orders:
            value = value * at + coefficients[:, k, None]
        return value

    signs = np.sign(values(grid))
    for k in range(degree, -1, -1):  # where it only touches zero it has the sign of what follows
        signs[:, k] = np.where(signs[:, k] == 0, signs[:, k + 1] if k < degree else 1.0, signs[:, k])
    before = signs[:, :-1] > 0
    changed = before != (signs[:, 1:] > 0)
    while ((high - low > 2 * EPS * high) & (high > 1e-30 * bound) & changed).any():
        middle = low + (high - low) / 2
        same = (values(middle) > 0) == before
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    return high, changed


def _searched(
    problem: Problem, theta: FloatArray, batches: IntArray, directions: FloatArray, largest: FloatArray
) -> FloatArray:
    """λ_c of each batch from its losses along the line, started by the quadratic model."""
    quotients = _rayleigh_quotients(problem, theta, batches, directions)
    found = np.maximum(quotients, 0.0)
    start = np.asarray(problem.loss(theta, batches), dtype=np.float64)
    flat = largest * (directions**2).sum(axis=1)
    with np.errstate(all="ignore"):
        # Without curvature along the line, the size of θ is the step.
        model = np.where(quotients != 0, 2 * largest / np.abs(quotients), max(1.0, float(np.abs(theta).max())))
        searched = np.flatnonzero(model * flat > RESOLVED * np.abs(start))
        if not len(searched):
            return found
        some, lines, level = batches[searched], directions[searched], start[searched]

        def rises(steps: FloatArray) -> npt.NDArray[np.bool_]:
            losses = problem.loss(theta - steps[:, None] * lines, some)
            return ~(losses <= level)

        with divergence_is_expected():
            steps = _first_rise(rises, FIRST * model[searched])
    found[searched] = 2 * largest[searched] / steps
    return found


def _first_rise(rises: Callable[[FloatArray], npt.NDArray[np.bool_]], first: FloatArray) -> FloatArray:
    """The step at which `rises` turns true, (m,), infinite where it stays false."""
    low, high = np.zeros_like(first), first
    risen = rises(high)
    for _ in range(MOST_STEPS):
        if risen.all():
            break
        low, high = np.where(risen, low, high), np.where(risen, high, GROWTH * high)
        risen = risen | rises(high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = rises(middle)
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return np.where(risen, high, np.inf)
