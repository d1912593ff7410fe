"""Claims about escapes: how rarely SGD leaves a minimum that is stable in mean square, and where it goes."""

from __future__ import annotations

import itertools
from functools import cache
from math import comb
from typing import NamedTuple

import numpy as np

from esssim._particles import moment_exponent, root_of_exponent
from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, around, at_least
from esssim.claims.declare import claim
from esssim.claims.ratios import all_of, verdict_of
from esssim.papers import MULAYOFF_STICH, OURS, ours
from esssim.problems import DiagonalLinearNetwork, LinearRegression
from esssim.sampling import Sampling, WithoutReplacement
from esssim.stability import EscapeProbability, escape_probability
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE

# One parameter: four of eight samples are steep, so that a step of two with η = 1 multiplies by −1.6, −0.5 or 0.6.
STEEP, N_STEEP, FLAT, N_LINE, N_STEPS = 2.6, 4, 0.4, 8, 24
DISTANCES = (3.0, 30.0, 1000.0)
PARTICLES, REPETITIONS, EXACT = 1500, 40, 0.15

# A diagonal network of which three samples are nearly the same and twice as long as the others; batches of three.
N_SAMPLES, N_INPUTS, BATCH_SIZE, N_COPIES, LENGTH, JITTER = 12, 16, 3, 3, 2.0, 0.3
BATCHES = WithoutReplacement(BATCH_SIZE)
LABEL_NOISE, HORIZON = 0.02, 100
# The escape: the loss at which a step of the three takes a quarter of the imbalance of one coordinate, (η·s)² = 1/4 at
# the edge.
TAKEN = 0.25
STARTS = (0.85, 0.7)
FACTOR = 2.0
# Farther from the wall splitting has more levels, and needs more of them.
N_PARTICLES = {0.85: 200, 0.7: 500}
LAW = {
    0.85: Predicted.holds("0.5 to 1: the power law gives 7.6e-5 per step, and the network flattens on the way"),
    0.7: Predicted.holds("0.7 to 2: the power law gives 1.8e-7 per step"),
}
# The tail index: particles and their steps. The prefactor: plain runs, and the share of them that passes its loss.
ORDERS = (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
N_TAIL, TAIL_STEPS, BURN_IN = 2000, 300, 60
N_PLAIN, SHARE = 10_000, 0.01
# Escapes that are followed without label noise until the loss is below LANDED.
N_LANDINGS, LANDED, DIVERGED, LONGEST = 200, 1e-7, 1e6, 20_000
SHARE_FLATTER = 0.95


def exact_probability(distance: float) -> float:
    """P(|θ_t| ≥ distance for a t ≤ N_STEPS | θ₀ = 1), by a recursion over the numbers of steps of each kind."""
    pairs = comb(N_LINE, 2)
    kinds = [
        (1 - STEEP, comb(N_STEEP, 2) / pairs),
        (1 - (STEEP + FLAT) / 2, N_STEEP * (N_LINE - N_STEEP) / pairs),
        (1 - FLAT, comb(N_LINE - N_STEEP, 2) / pairs),
    ]
    logs = np.log(np.abs([factor for factor, _ in kinds]))
    law: dict[tuple[int, ...], float] = {(0, 0, 0): 1.0}
    escaped = 0.0
    for _ in range(N_STEPS):
        moved: dict[tuple[int, ...], float] = {}
        for counts, chance in law.items():
            for k, (_, part) in enumerate(kinds):
                after = tuple(count + (j == k) for j, count in enumerate(counts))
                if np.dot(after, logs) >= np.log(distance) - 1e-9:
                    escaped += chance * part
                else:
                    moved[after] = moved.get(after, 0.0) + chance * part
        law = moved
    return escaped


@claim(
    id="escape-probability/exact",
    states="Importance splitting finds the exact probability that SGD passes a loss, down to less than 1e-9.",
    where="one parameter, n = 8, b = 2, 6 unstable batches of 28, 24 steps",
    source=OURS,
    source_predicts="exact",
    we_predict=Predicted.holds(
        "estimate/exact = 1 at each of three distances, from 3 to 1,000 times that of the start"
    ),
    method=f"{PARTICLES} particles, {REPETITIONS} repetitions; a recursion over the numbers of steps of each kind",
    tolerance=EXACT,
    formula=r"\frac{\hat p}{P(\max_t\ell(\theta_t)\geq\ell)}\ =\ 1",
    accepts=around(1, EXACT),
    stated="2026-11-30",
)
def splitting_is_exact(*, quick: bool) -> Measurement:
    curvatures = np.array([STEEP] * N_STEEP + [FLAT] * (N_LINE - N_STEEP))
    line, ratios = LinearRegression(np.sqrt(curvatures)[:, None], np.zeros(N_LINE)), []
    rows: list[Row] = []
    for distance in DISTANCES:
        exact = exact_probability(distance)
        # Just below: no product of factors rounds to the other side.
        level = float(curvatures.mean() / 2 * distance**2 * (1 - 1e-9))
        found = escape_probability(
            line, [1.0], WithoutReplacement(2), 1.0, level=level, n_steps=N_STEPS, n_particles=PARTICLES,
            n_repetitions=REPETITIONS,
        )  # fmt: skip
        ratios.append((found.value / exact, found.interval[0] / exact, found.interval[1] / exact))
        rows.append(
            {
                "distance": distance, "exact": exact, "estimate": found.value, "lower": found.interval[0],
                "upper": found.interval[1], "n_levels": len(found.levels),
            }
        )  # fmt: skip
    verdict, (value, lower, upper) = all_of(ratios, EXACT)
    rarest = min(float(row["exact"]) for row in rows)
    words = f"estimate/exact, the farthest from 1 of {len(rows)}; the rarest has a probability of {rarest:.1e}"
    return Measurement(verdict, words, value, (lower, upper), rows=rows, values={"rarest": rarest})


class Minimum(NamedTuple):
    """The network at its minimum: Q_b, the largest λ_max(H_B), and how many batches have more than Q_b."""

    problem: DiagonalLinearNetwork
    theta: FloatArray
    rows: FloatArray
    edge: float
    largest: float
    n_steeper: int

    @property
    def level(self) -> float:
        """The loss with a residual r of the three at which η²r²·max x² = TAKEN for η = 2/Q_b."""
        largest_input = float(np.abs(self.problem.inputs[:N_COPIES]).max())
        return N_COPIES * TAKEN * (self.edge / 2 / largest_input) ** 2 / (2 * N_SAMPLES)


@cache
def minimum() -> Minimum:
    rng = np.random.default_rng(4)
    inputs = rng.standard_normal((N_SAMPLES, N_INPUTS))
    inputs /= np.linalg.norm(inputs, axis=1)[:, None]
    for k in range(1, N_COPIES):
        row = inputs[0] + JITTER * rng.standard_normal(N_INPUTS) / np.sqrt(N_INPUTS)
        inputs[k] = row / np.linalg.norm(row)
    inputs[:N_COPIES] *= LENGTH
    u = rng.uniform(0.8, 1.2, N_INPUTS) * rng.choice([-1.0, 1.0], N_INPUTS)
    v = 0.4 * rng.standard_normal(N_INPUTS)
    problem, theta = DiagonalLinearNetwork(inputs, inputs @ (u * v)), np.concatenate([u, v])
    rows = problem.sample_jacobians(theta, np.arange(N_SAMPLES))
    edge = own_edge(problem, theta)
    batches = itertools.combinations(range(N_SAMPLES), BATCH_SIZE)
    largest = np.array([np.linalg.norm(rows[list(batch)], 2) ** 2 / BATCH_SIZE for batch in batches])
    return Minimum(problem, theta, rows, edge, float(largest.max()), int((largest > edge).sum()))


def own_edge(problem: DiagonalLinearNetwork, theta: FloatArray) -> float:
    """Q_b of Gauss–Newton matrices."""
    return float(mean_square_sharpness(problem, theta, BATCHES, hessian="gauss_newton"))


@cache
def power_law(start: float) -> tuple[float, float]:
    """The predicted rate per step, of SGD linearised at the minimum, and its tail index α: ℓ^(−α/2) from the loss that
    a share of plain runs of it passes."""
    here = minimum()
    eta, gram = 2 * start / here.edge, here.rows @ here.rows.T

    def steps(residuals: FloatArray, noise: float, rng: np.random.Generator) -> FloatArray:
        batches = BATCHES.draw(N_SAMPLES, len(residuals), rng)
        weights = np.zeros(residuals.shape)
        np.put_along_axis(weights, batches, 1 / BATCH_SIZE, axis=1)
        noisy = residuals - noise * rng.standard_normal(residuals.shape) if noise else residuals
        return np.asarray(residuals - eta * (weights * noisy) @ gram)

    def exponent(order: float) -> float:
        rng = np.random.default_rng(0)
        first = np.tile(gram[0] / np.linalg.norm(gram[0]), (N_TAIL, 1))
        return moment_exponent(lambda states: steps(states, 0.0, rng), first, order, rng, TAIL_STEPS, BURN_IN)

    index = root_of_exponent(exponent, ORDERS)
    rng, residuals, largest = np.random.default_rng(1), np.zeros((N_PLAIN, N_SAMPLES)), np.zeros(N_PLAIN)
    for _ in range(HORIZON):
        residuals = steps(residuals, LABEL_NOISE, rng)
        largest = np.maximum(largest, (residuals**2).mean(axis=1) / 2)
    known = float(np.quantile(largest, 1 - SHARE))
    return SHARE * (here.level / known) ** (-index / 2) / HORIZON, index


@cache
def escapes(start: float, n_particles: int | None = None) -> EscapeProbability:
    here = minimum()
    return escape_probability(
        here.problem, here.theta, BATCHES, 2 * start / here.edge, level=here.level,
        n_steps=HORIZON, label_noise=LABEL_NOISE, n_particles=n_particles or N_PARTICLES[start], seed=6,
    )  # fmt: skip


WHERE = (
    "diagonal network, n = 12, d = 16, b = 3, three samples nearly the same, ε = 0.02, ηQ_b/2 = {start}: 28 of 220 "
    "batches have more than Q_b"
)


def method(start: float, then: str) -> str:
    return f"importance splitting, 20 repetitions of {N_PARTICLES[start]} particles, 100 steps from the minimum; {then}"


@claim(
    id="escape-probability/rate/{start}",
    states="From a minimum with ηQ_b < 2 < η·max_B λ_max(H_B) SGD escapes at the rate of the power law of its "
    "linearisation, within a factor of 2.",
    where=WHERE,
    source=ours("after Mulayoff & Stich, COLT 2026, arXiv 2602.14789", MULAYOFF_STICH),
    source_predicts="the loss can diverge in expectation; no rate",
    we_predict=lambda start: LAW[start],
    method=lambda start: method(
        start, "the power law: α by particles, the prefactor from 10,000 plain runs of the linearised process"
    ),
    tolerance=None,
    quick=lambda start: N_PARTICLES[start] < 500,
    over=[{"start": start} for start in STARTS],
    formula=lambda start: r"\frac{P(\text{escape})}{a\,\ell^{-\alpha/2}}\ \in\ [1/2,\ 2]",
    accepts=(1 / FACTOR, FACTOR),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def escapes_at_the_rate_of_the_power_law(*, start: float, quick: bool) -> Measurement:
    here, found, (expected, index) = minimum(), escapes(start), power_law(start)
    value, lower, upper = (each / HORIZON / expected for each in (found.value, *found.interval))
    verdict = verdict_of(lower, upper, 1 / FACTOR, FACTOR)
    words = f"seen over predicted: {found.per_step:.2e} of {expected:.2e} per step, α = {index:.2f}"
    values = {
        "per_step": found.per_step, "predicted": expected, "tail_index": index, "n_lost": found.n_lost,
        "largest_batch": start * here.largest / here.edge,
    }  # fmt: skip
    return Measurement(verdict, words, value, (lower, upper), values=values)


@claim(
    id="escape-probability/lands/{start}",
    states="When SGD escapes from a minimum with ηQ_b < 2 it lands on a flatter one, and does not diverge.",
    where=WHERE,
    source=ours("after Mulayoff & Stich, COLT 2026, arXiv 2602.14789", MULAYOFF_STICH),
    source_predicts="the loss can diverge in expectation",
    we_predict=Predicted.holds("all 200 land flatter"),
    method=lambda start: method(
        start, "200 escapes go on without noise until the loss is below 1e-7; the share that ends with a lower Q_b"
    ),
    tolerance=None,
    quick=lambda start: N_PARTICLES[start] < 500,
    over=[{"start": start} for start in STARTS],
    formula=lambda start: r"P(Q_b\text{ falls}\mid\text{escape})\ \geq\ 0.95",
    accepts=at_least(SHARE_FLATTER),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def lands_on_a_flatter_minimum(*, start: float, quick: bool) -> Measurement:
    from scipy.stats import binomtest  # half a second to import

    here, found, rng = minimum(), escapes(start), np.random.default_rng(7)
    if not len(found.theta):
        return Measurement("inconclusive", "no escape was seen")
    drawn = rng.choice(len(found.theta), N_LANDINGS, p=found.weights / found.weights.sum())
    landed, n_diverged, n_neither = follow(here.problem, found.theta[drawn], BATCHES, 2 * start / here.edge, rng)
    levels = np.array([start * own_edge(here.problem, theta) / here.edge for theta in landed])
    flatter = int((levels < start).sum())
    share = binomtest(flatter, N_LANDINGS).proportion_ci(0.95, method="exact")
    lower, upper = float(share.low), float(share.high)
    words = f"{flatter} of {N_LANDINGS} land flatter and {n_diverged} diverge"
    values: dict[str, float] = {"n_diverged": n_diverged, "n_neither": n_neither}
    if len(levels):
        median = float(np.median(levels))
        words += f"; the median of (η/2)·Q_b there is {median:.3f}"
        values["lands_at"] = median
    verdict = verdict_of(lower, upper, SHARE_FLATTER, 1.0)
    return Measurement(verdict, words, flatter / N_LANDINGS, (lower, upper), values=values)


def follow(
    problem: DiagonalLinearNetwork, theta: FloatArray, sampling: Sampling, eta: float, rng: np.random.Generator,
    landed: float = LANDED,
) -> tuple[FloatArray, int, int]:  # fmt: skip
    """Where SGD without noise lands from theta (m, p), at a loss below `landed`; how many runs diverged, and how many
    did neither."""
    ends, n_diverged = [theta[:0]], 0
    for _ in range(LONGEST):
        if not len(theta):
            break
        theta = theta - eta * problem.gradient(theta, sampling.draw(problem.n_samples, len(theta), rng))
        losses = problem.loss(theta)
        ends.append(theta[losses < landed])
        n_diverged += int((losses > DIVERGED).sum())
        theta = theta[(losses >= landed) & (losses <= DIVERGED)]
    return np.concatenate(ends), n_diverged, len(theta)
