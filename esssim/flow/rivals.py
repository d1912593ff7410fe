"""Published flows of full-batch gradient descent at the edge of stability, to compare ours with: t in steps.

| flow | what moves | source |
|---|---|---|
| central flow | θ, pushed by the covariance Σ that keeps λ_max ≤ 2/η | Cohen, Damian et al., ICLR 2025 |
| Edge Flow | a centre, a direction and an amplitude | Marion, arXiv 2606.18080 |
| Rod Flow | a centre and half the distance of two consecutive iterates | Regis & Chewi, arXiv 2602.01480 |

The last two are written from the authors' descriptions, not from their code: signs, time scale and the floor below
which an oscillation does not fall are ours. Hessian products are differences of gradients, so that gradients are all
that any of them costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.problems import NonlinearLeastSquares, Problem, check_problem

# Lengths of differences, relative to ‖θ‖, for first and second derivatives of the gradient.
FIRST, SECOND = 1e-5, 1e-3
# Eigenvectors that the central flow follows, and the part of the edge from which on one may reach it in a step.
FOLLOWED, NEAR = 2, 0.9
CYCLES = 2000


@dataclass
class Gradients:
    """Gradients of the loss at several points at once, counted; Hessian products and third derivatives from them."""

    problem: Problem
    count: int = 0

    def __call__(self, thetas: FloatArray) -> FloatArray:
        """∇L (..., p) at thetas (..., p)."""
        self.count += thetas[..., 0].size
        if not isinstance(self.problem, NonlinearLeastSquares):
            return np.asarray(self.problem.gradient(thetas))
        everyone = np.arange(self.problem.n_samples)
        residuals = self.problem.residuals(thetas, everyone)[..., None, :]
        return np.asarray((residuals @ self.problem.sample_jacobians(thetas, everyone))[..., 0, :] / len(everyone))

    def hessian_products(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """Hv (m, p) for vectors (m, p)."""
        if not len(vectors):
            return np.zeros_like(vectors)
        sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
        sizes = np.where(sizes == 0.0, 1.0, sizes)
        length = FIRST * (float(np.linalg.norm(theta)) or 1.0)
        ends = self(theta + np.stack((1.0, -1.0))[:, None, None] * length * vectors / sizes)
        return np.asarray((ends[0] - ends[1]) * sizes / (2 * length))

    def third_derivatives(self, theta: FloatArray, vectors: FloatArray) -> FloatArray:
        """∇(vⱼᵀHv_k), (m, m, p), for vectors (m, p) of length 1."""
        m, length = len(vectors), SECOND * (float(np.linalg.norm(theta)) or 1.0)
        found, here = np.empty((m, m, len(theta))), self(theta)
        for j in range(m):
            for k in range(j + 1):
                # D³L[v,w] = ¼(D³L[v+w,v+w] − D³L[v−w,v−w]), the second difference of the gradient along each.
                total = np.zeros_like(theta)
                for sign in (1.0, -1.0) if j != k else (1.0,):
                    along = vectors[j] + sign * vectors[k] if j != k else vectors[j]
                    ends = self(theta + np.array([[length], [-length]]) * along)
                    total += sign * (ends.sum(axis=0) - 2 * here) / length**2
                found[j, k] = found[k, j] = total / 4 if j != k else total
        return found


@one_blas_thread()
def central_flow(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float,
    n_steps: int,
    n_records: int = 100,
    substeps: int = 4,
) -> xarray.Dataset:
    """The central flow of gradient descent: the time average of its course, its oscillations averaged out.

        dθ/dt = −η[∇L + ½∇⟨Σ, ∇²L⟩],   0 ⪯ Σ ⊥ 2/η − ∇²L ⪰ 0,

    t in steps, by Euler's method in `substeps` a step; Σ is the one for which no followed eigenvalue passes 2/η within
    it. The two leading eigenvectors are followed.

    Returns a Dataset with dim record and coord step: theta, sharpness (of the full Hessian), spread = tr Σ; and
    n_gradients, where a Hessian product counts two. Raises ValueError for bad arguments. Source: Cohen, Damian et al.,
    ICLR 2025.
    """
    eta, steps, theta, gradients, substeps = _arguments(problem, theta0, step_size, n_steps, n_records, substeps)
    length = 1.0 / substeps
    frame = _first_directions(gradients, theta, min(FOLLOWED, len(theta)))

    def advance(state: FloatArray) -> tuple[FloatArray, float, float]:
        nonlocal frame
        frame, values = _follow(gradients, state, frame)
        descent = -eta * gradients(state)
        critical = np.flatnonzero(values > NEAR * 2 / eta)
        spread = 0.0
        if len(critical):
            third = gradients.third_derivatives(state, frame[critical])
            room = np.diag(2 / eta - values[critical]) - length * third @ descent
            answer = length * eta / 2 * np.einsum("ijp,klp->ijkl", third, third)
            sigma = complementary(room, answer)
            spread = float(np.trace(sigma))
            descent = descent - eta / 2 * np.einsum("ij,ijp->p", sigma, third)
        return state + length * descent, float(values[0]), spread

    return _recorded(advance, theta, steps, substeps, len(theta), gradients)


@one_blas_thread()
def edge_flow(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float,
    n_steps: int,
    n_records: int = 100,
    substeps: int = 2,
    smallest: float = 1e-6,
) -> xarray.Dataset:
    """Edge Flow: a centre θ, a direction u of length 1 and an amplitude x of gradient descent at its edge.

        dθ/dt = −(η/2)[∇L(θ+xu) + ∇L(θ−xu)],   du/dt = η(I − uuᵀ)Hu,   dx/dt = (ηuᵀHu − 2)x,

    t in steps, by the midpoint rule in `substeps` a step. x does not fall below `smallest`·‖θ₀‖, where it starts; u
    starts as the leading eigenvector.

    Returns a Dataset with dim record and coord step: theta, sharpness uᵀHu, spread = x²; and n_gradients, where a
    Hessian product counts two. Raises ValueError for bad arguments. Source: Marion, arXiv 2606.18080, from its
    description.
    """
    eta, steps, theta, gradients, substeps = _arguments(problem, theta0, step_size, n_steps, n_records, substeps)
    p, floor, direction = len(theta), _floor(smallest, theta), _first_directions(gradients, theta, 1)[0]

    def velocity(state: FloatArray) -> tuple[FloatArray, float]:
        centre, along, amplitude = state[:p], state[p : 2 * p], np.exp(state[-1])
        along = along / np.linalg.norm(along)
        ends = gradients(centre + np.array([[amplitude], [-amplitude]]) * along)
        product = gradients.hessian_products(centre, along[None])[0]
        sharpness = float(along @ product)
        growth = eta * sharpness - 2
        return np.concatenate((-eta / 2 * ends.sum(axis=0), eta * (product - sharpness * along), [growth])), sharpness

    def advance(state: FloatArray) -> tuple[FloatArray, float, float]:
        first, sharpness = velocity(state)
        spread = float(np.exp(2 * state[-1]))
        after = state + velocity(state + first / (2 * substeps))[0] / substeps
        after[p : 2 * p] /= np.linalg.norm(after[p : 2 * p])
        after[-1] = max(after[-1], np.log(floor))
        return after, sharpness, spread

    start = np.concatenate((theta, direction, [np.log(floor)]))
    return _recorded(advance, start, steps, substeps, p, gradients)


@one_blas_thread()
def rod_flow(
    problem: Problem,
    theta0: npt.ArrayLike,
    *,
    step_size: float,
    n_steps: int,
    n_records: int = 100,
    substeps: int = 2,
    smallest: float = 1e-6,
) -> xarray.Dataset:
    """Rod Flow: the centre θ and the half-length δ of the rod between two consecutive iterates of gradient descent.

        dθ/dt = −(η/2)[∇L(θ+δ) + ∇L(θ−δ)],   dδ/dt = (η/2)[∇L(θ+δ) − ∇L(θ−δ)] − 2δ,

    t in steps, by the midpoint rule in `substeps` a step. One step of Euler's method is gradient descent itself, with
    the rod turned round: θ = (θₖ+θₖ₊₁)/2, ±δ = (θₖ−θₖ₊₁)/2. ‖δ‖ does not fall below `smallest`·‖θ₀‖, where it starts,
    along the leading eigenvector.

    Returns a Dataset with dim record and coord step: theta, sharpness along δ, spread = ‖δ‖²; and n_gradients. Raises
    ValueError for bad arguments. Source: Regis & Chewi, arXiv 2602.01480, from its description.
    """
    eta, steps, theta, gradients, substeps = _arguments(problem, theta0, step_size, n_steps, n_records, substeps)
    p, floor, direction = len(theta), _floor(smallest, theta), _first_directions(gradients, theta, 1)[0]

    def advance(state: FloatArray) -> tuple[FloatArray, float, float]:
        first, sharpness = rod_velocity(gradients, eta, state)
        spread = float(state[p:] @ state[p:])
        after = state + rod_velocity(gradients, eta, state + first / (2 * substeps))[0] / substeps
        size = float(np.linalg.norm(after[p:]))
        if size < floor:
            after[p:] *= floor / size
        return after, sharpness, spread

    return _recorded(advance, np.concatenate((theta, floor * direction)), steps, substeps, p, gradients)


def rod_velocity(
    gradients: Callable[[FloatArray], FloatArray], eta: float, rod: FloatArray
) -> tuple[FloatArray, float]:
    """d(θ, δ)/dt of Rod Flow, (2p,), and the sharpness along δ."""
    centre, half = np.split(rod, 2)
    ends = gradients(centre + np.array([[1.0], [-1.0]]) * half)
    difference = (ends[0] - ends[1]) / 2
    found = np.concatenate((-eta / 2 * ends.sum(axis=0), eta * difference - 2 * half))
    return found, float(half @ difference / (half @ half))


def complementary(room: FloatArray, answer: FloatArray) -> FloatArray:
    """Σ ⪰ 0 (m, m) with A + B(Σ) ⪰ 0 and ⟨Σ, A + B(Σ)⟩ = 0, A (m, m), B (m, m, m, m) positive semidefinite.

    The minimum of ⟨A, Σ⟩ + ½⟨Σ, B(Σ)⟩ over Σ ⪰ 0, by accelerated projected gradients.
    """
    m = len(room)
    strength = float(np.linalg.norm(answer.reshape(m * m, m * m), 2))
    if np.linalg.eigvalsh(room)[0] >= 0.0 or strength == 0.0:
        return np.zeros_like(room)
    if m == 1:
        return np.asarray(-room / answer[0, 0])
    found, ahead, momentum = np.zeros_like(room), np.zeros_like(room), 1.0
    for _ in range(CYCLES):
        gradient = room + np.einsum("ijkl,kl->ij", answer, ahead)
        values, vectors = np.linalg.eigh(ahead - gradient / strength)
        new = (vectors * np.maximum(values, 0.0)) @ vectors.T
        faster = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        change = new - found
        found, ahead, momentum = new, new + (momentum - 1) / faster * change, faster
        if np.abs(change).max() <= 1e-10 * np.abs(found).max():
            break
    return found


def _arguments(
    problem: Problem, theta0: npt.ArrayLike, step_size: float, n_steps: int, n_records: int, substeps: int
) -> tuple[float, FloatArray, FloatArray, Gradients, int]:
    """η, the steps of the records, θ₀, the gradients, and the substeps."""
    check_problem(problem)
    eta = _validate.real("step_size", step_size, above=0.0)
    n_steps = _validate.integer("n_steps", n_steps, 1)
    n_records = _validate.integer("n_records", n_records, 2)
    steps, theta = np.unique(np.linspace(0, n_steps, n_records).round()), problem.check_point(theta0, "theta0")
    return eta, steps, theta, Gradients(problem), _validate.integer("substeps", substeps, 1)


def _floor(smallest: float, theta: FloatArray) -> float:
    return _validate.real("smallest", smallest, above=0.0) * (float(np.linalg.norm(theta)) or 1.0)


def _first_directions(gradients: Gradients, theta: FloatArray, count: int) -> FloatArray:
    """The leading eigenvectors of the Hessian at θ₀, (count, p)."""
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((len(theta), count)))[0].T
    values = np.zeros(count)
    for _ in range(CYCLES):
        frame, new = _follow(gradients, theta, frame)
        settled = np.abs(new - values).max() <= 1e-6 * np.abs(new).max()
        values = new
        if settled:
            break
    return frame


def _follow(gradients: Gradients, theta: FloatArray, frame: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Leading eigenvectors (m, p) and eigenvalues (m,), from those at a point nearby: Rayleigh–Ritz on them and their
    residuals.
    """
    m = len(frame)
    products = gradients.hessian_products(theta, frame)
    beyond = products - (products @ frame.T) @ frame
    basis = np.linalg.qr(np.concatenate((frame, beyond)).T)[0].T
    every = np.concatenate((products, gradients.hessian_products(theta, basis[m:])))
    # The first m of the basis are ± those of the frame.
    every[:m] = (basis[:m] @ frame.T) @ products
    small = basis @ every.T
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    return np.asarray(vectors.T[::-1][:m] @ basis), values[::-1][:m]


def _recorded(
    advance: Callable[[FloatArray], tuple[FloatArray, float, float]],
    state: FloatArray,
    steps: FloatArray,
    substeps: int,
    n_params: int,
    gradients: Gradients,
) -> xarray.Dataset:
    """θ, the first numbers of a state, sharpness and spread at `steps`; NaN from where the flow is not finite."""
    thetas = np.full((len(steps), n_params), np.nan)
    sharpness, spread = np.full(len(steps), np.nan), np.full(len(steps), np.nan)
    step = 0
    for k, until in enumerate(steps.astype(int)):
        for _ in range((until - step) * substeps):
            state = advance(state)[0]
        step = until
        with np.errstate(all="ignore"):
            if not np.isfinite(state).all():
                break
            thetas[k] = state[:n_params]
            _, sharpness[k], spread[k] = advance(state)
    data = {
        "theta": (("record", "parameter"), thetas), "sharpness": ("record", sharpness), "spread": ("record", spread),
        "n_gradients": ((), gradients.count),
    }  # fmt: skip
    return xarray.Dataset(data, {"step": ("record", steps.astype(np.int64))})
