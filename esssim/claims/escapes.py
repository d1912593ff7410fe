"""Claims about escapes: how rarely SGD leaves a minimum that is stable in mean square, and where it goes."""

from __future__ import annotations

from math import comb

import numpy as np

from esssim._validate import FloatArray
from esssim.claims.claim import Measurement, Predicted, Row, around, at_least
from esssim.claims.declare import claim
from esssim.claims.ratios import all_of, verdict_of
from esssim.experiments.escapes import BATCHES, EscapeExperiment, escapes, minimum, own_edge, power_law
from esssim.papers import MULAYOFF_STICH, OURS, ours
from esssim.problems import DiagonalLinearNetwork, LinearRegression
from esssim.sampling import Sampling, WithoutReplacement
from esssim.stability import escape_probability
from esssim.statistics.table import MEAN_SQUARE

# One parameter: four of eight samples are steep, so that a step of two with η = 1 multiplies by −1.6, −0.5 or 0.6.
STEEP, N_STEEP, FLAT, N_LINE, N_STEPS = 2.6, 4, 0.4, 8, 24
DISTANCES = (3.0, 30.0, 1000.0)
PARTICLES, REPETITIONS, EXACT = 1500, 40, 0.15

# Farther from the wall splitting has more levels, and needs more particles.
RUNS = {0.85: EscapeExperiment(0.85, n_particles=200), 0.7: EscapeExperiment(0.7, n_particles=500)}
FACTOR = 2.0
LAW = {
    0.85: Predicted.holds("0.5 to 1: the power law gives 7.6e-5 per step, and the network flattens on the way"),
    0.7: Predicted.holds("0.7 to 2: the power law gives 1.8e-7 per step"),
}
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


WHERE = (
    "diagonal network, n = 12, d = 16, b = 3, three samples nearly the same, ε = 0.02, ηQ_b/2 = {start}: 28 of 220 "
    "batches have more than Q_b"
)


def method(start: float, then: str) -> str:
    run = RUNS[start]
    return (
        f"importance splitting, {run.n_repetitions} repetitions of {run.n_particles} particles, {run.n_steps} steps "
        f"from the minimum; {then}"
    )


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
    quick=lambda start: RUNS[start].n_particles < 500,
    experiment=lambda start, quick: RUNS[start],
    over=[{"start": start} for start in RUNS],
    formula=lambda start: r"\frac{P(\text{escape})}{a\,\ell^{-\alpha/2}}\ \in\ [1/2,\ 2]",
    accepts=(1 / FACTOR, FACTOR),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def escapes_at_the_rate_of_the_power_law(*, start: float, quick: bool) -> Measurement:
    here, found, (expected, index) = minimum(), escapes(RUNS[start]), power_law(RUNS[start])
    value, lower, upper = (each / found.n_steps / expected for each in (found.value, *found.interval))
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
    quick=lambda start: RUNS[start].n_particles < 500,
    experiment=lambda start, quick: RUNS[start],
    over=[{"start": start} for start in RUNS],
    formula=lambda start: r"P(Q_b\text{ falls}\mid\text{escape})\ \geq\ 0.95",
    accepts=at_least(SHARE_FLATTER),
    about=(MEAN_SQUARE,),
    stated="2026-11-30",
)
def lands_on_a_flatter_minimum(*, start: float, quick: bool) -> Measurement:
    from scipy.stats import binomtest  # half a second to import

    here, found, rng = minimum(), escapes(RUNS[start]), np.random.default_rng(7)
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
