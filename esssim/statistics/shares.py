"""Expectations over batches of samples of very different weight, each sample with draws of its own.

wᵢ ≥ 0 bounds what sample i can add, |f(B)| ≤ w̄_B = (1/b) Σ_{i∈B} wᵢ. Each sample is credited with its share
wᵢ/(b·w̄_B) of every batch, and its batches are of two kinds, crowded or not:

    E f(B) = (1/n) Σᵢ wᵢ P(crowded) E[f(B)/w̄_B | i ∈ B, crowded] + (1/n) Σᵢ wᵢ P(not) E[f(B)/w̄_B | i ∈ B, not].

A batch of i is crowded where another member weighs more than a hundredth of wᵢ. The quotients lie in [−1, 1] however
large a sample is, and the probabilities are known (hypergeometric or binomial). Where also f(B) ≥ max_{i∈B} wᵢ/b, as
for the λ_max(H_B) of positive semidefinite Hᵢ with λ_max(Hᵢ) = wᵢ, that maximum is averaged exactly and only the rest
is shared:

    E f(B) = (1/n) Σᵢ wᵢ P(i alone) + (1/n) Σᵢ wᵢ P(not) E[(f(B) − max/b)/(w̄_B − max/b) | i ∈ B, not alone],

i being alone where no heavier sample is in its batch. Samples of similar weight form a stratum, with as many draws as
its part of the samples and its part of the weight suggest. The mean is unbiased whatever the weights are, as long as f
is 0 on batches without weight. Sources: Midzuno, Ann. Inst. Stat. Math. 1951; Neyman, J. R. Stat. Soc. 1934;
Satterthwaite, Biometrics 1946.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esssim._kernels.shares import BEFORE, CROWDED, draw_around
from esssim._validate import FloatArray, IntArray
from esssim.sampling import Sampling, WithReplacement
from esssim.statistics.uncertainty import ROUNDING, Estimate, satterthwaite

# At most so many strata, with at least so many draws each on average: fewer would not show their spread.
STRATA, DRAWS_PER_STRATUM, FEWEST_DRAWS = 32, 20, 8
# Of the weight of a sample: what another one must exceed for their batch to be crowded.
COUNTS = 0.01
# Neighbours in weight that differ by more than this factor are never of one stratum.
GAP = 4.0


@dataclass(frozen=True)
class Weights:
    """wᵢ of all samples (n,). sandwiched: whether max_{i∈B} wᵢ/b ≤ f(B) ≤ w̄_B for certain."""

    values: FloatArray
    sandwiched: bool = False


@dataclass(frozen=True)
class Shares:
    """The samples in the order of their weight, the cells (two of each: crowded and not), and the strata that they
    form.

    known: what is averaged exactly. shares: wᵢP(cell)/n of every cell (2n,). edges: the first cell of each stratum, and
    an end. counts: draws in each stratum.
    """

    sampling: Sampling
    sandwiched: bool
    order: IntArray
    weights: FloatArray
    limits: IntArray
    below: FloatArray
    known: float
    shares: FloatArray
    edges: IntArray
    counts: IntArray

    @classmethod
    def of(cls, weights: Weights, sampling: Sampling, n_batches: int) -> Shares:
        order = np.argsort(-weights.values, kind="stable")
        ordered, n = weights.values[order], len(order)
        below, clear = chances_of_ranks(sampling, n)
        if weights.sandwiched:
            limits = np.arange(n)
            chances = chances_before(sampling, n) if isinstance(sampling, WithReplacement) else np.stack([below, clear])
        else:
            limits = np.searchsorted(-ordered, -COUNTS * ordered, side="left")
            chances = chances_met(sampling, limits, below, clear)
        chances = chances / n
        shares = ordered * chances
        known = math.fsum(shares[1].tolist()) if weights.sandwiched else 0.0
        if weights.sandwiched:
            shares[1] = 0.0
        edges, counts = _strata(shares.ravel(), chances.ravel(), ordered, n_batches)
        return cls(
            sampling, weights.sandwiched, order, ordered, limits, below, known, shares.ravel(), edges, counts
        )  # fmt: skip

    @property
    def totals(self) -> FloatArray:
        """Σ of the shares of each stratum."""
        ends = zip(self.edges[:-1].tolist(), self.edges[1:].tolist(), strict=True)
        return np.array([math.fsum(self.shares[low:high].tolist()) for low, high in ends])

    def draw(self, strata: IntArray, rng: np.random.Generator) -> tuple[IntArray, FloatArray, FloatArray]:
        """A batch of each of these strata (m,): samples (m, b), what is known of f, and what is shared, (m,) each."""
        batches = np.empty((len(strata), self.sampling.batch_size), dtype=np.int64)
        known, shared = np.empty(len(strata)), np.empty(len(strata))
        cumulative = np.concatenate([[0.0], np.cumsum(self.shares)])
        rule = BEFORE if self.sandwiched else CROWDED
        draw_around(
            rng, isinstance(self.sampling, WithReplacement), rule, self.limits, self.below, cumulative, self.edges,
            strata,
            self.order, self.weights, batches, known, shared,
        )  # fmt: skip
        return batches, known, shared

    def estimate(
        self, per_batch: Callable[[IntArray], FloatArray], rng: np.random.Generator, chunk_size: int
    ) -> Estimate:
        """E f(B), f: batches (m, b) -> (m,) in the unit of the weights."""
        if not len(self.counts):  # all of it is known
            return Estimate(self.known, 0.0, self.sampling.count(len(self.weights)), True)
        ends = np.cumsum(self.counts)
        quotients = np.empty(ends[-1])
        for start in range(0, len(quotients), chunk_size):
            part = slice(start, start + chunk_size)
            strata = np.searchsorted(ends, np.arange(start, min(start + chunk_size, len(quotients))), side="right")
            batches, known, shared = self.draw(strata, rng)
            quotients[part] = (per_batch(batches) - known) / shared
        if self.sandwiched:
            # Rounding of f may leave the interval where the shared part is tiny beside the maximum.
            np.clip(quotients, 0.0, 1.0, out=quotients)
        starts, totals = ends - self.counts, self.totals
        means = np.add.reduceat(quotients, starts) / self.counts
        value = self.known + float(totals @ means)
        quotients -= np.repeat(means, self.counts)
        variances = np.add.reduceat(quotients**2, starts) / (self.counts - 1)
        errors = totals * np.sqrt(variances / self.counts)
        # From here on what each batch adds to the error of the sum.
        quotients *= np.repeat(totals / self.counts, self.counts)
        standard_error = math.hypot(*errors.tolist())
        degrees = satterthwaite(zip(errors.tolist(), (self.counts - 1.0).tolist(), strict=True))
        count = len(quotients)
        effective = effective_number(quotients) if standard_error > ROUNDING * abs(value) else float(count)
        return Estimate(value, standard_error, count, False, degrees, effective)


def chances_of_ranks(sampling: Sampling, n: int) -> tuple[FloatArray, FloatArray]:
    """P(the b − 1 others meet the first r of the n − 1 ranks that are left), without replacement, and that they do not.

    Both (n,), for r = 0 … n − 1: C(n−1−r, b−1)/C(n−1, b−1) as a product, and what is left of 1 as a sum of positive
    terms.
    """
    b, ranks = sampling.batch_size, np.arange(n - 1)
    factors = np.maximum(n - b - ranks, 0) / (n - 1 - ranks)
    clear = np.concatenate([[1.0], np.cumprod(factors)])
    taken = clear[:-1] * (b - 1) / (n - 1 - ranks)
    return np.minimum(np.concatenate([[0.0], np.cumsum(taken)]), 1.0), clear


def chances_met(sampling: Sampling, limits: IntArray, below: FloatArray, clear: FloatArray) -> FloatArray:
    """P(another member of i's batch is among the first limits[i] ranks | i ∈ B), and P(none is): (2, n)."""
    n, b = len(limits), sampling.batch_size
    if isinstance(sampling, WithReplacement):
        none = (1.0 - limits / n) ** (b - 1)
        return np.stack([1.0 - none, none])
    left = limits - (np.arange(n) < limits)
    return np.stack([below[left], clear[left]])


def chances_before(sampling: Sampling, n: int) -> FloatArray:
    """The same of another member that comes before i, with replacement: i is one of b draws, at u uniform in [i/n,
    (i+1)/n).

    n∫(1−u)^(b−1)du is the chance that no other one lies below u.
    """
    b = sampling.batch_size
    if b == 1:  # exactly: there is no other one, and rounding would leave a chance of it
        return np.stack([np.zeros(n), np.ones(n)])
    none = np.minimum(-n / b * np.diff((1.0 - np.arange(n + 1) / n) ** b), 1.0)
    return np.stack([1.0 - none, none])


def _strata(shares: FloatArray, chances: FloatArray, weights: FloatArray, n_batches: int) -> tuple[IntArray, IntArray]:
    """Edges and draws: strata of equal measure, half by the number of samples and half by their shares, cut at gaps."""
    cells = np.flatnonzero(shares > 0.0)
    if not len(cells):
        return cells, cells
    measure = chances[cells] / chances[cells].sum() + shares[cells] / shares[cells].sum()
    measure /= measure.sum()
    n_strata = max(1, min(STRATA, n_batches // DRAWS_PER_STRATUM))
    labels = ((np.cumsum(measure) - measure / 2) * n_strata).astype(np.int64)
    # From the lightest crowded cell to the heaviest of the others the weight rises: a gap of its own.
    own = weights[cells % len(weights)]
    gaps = np.concatenate([[False], (own[:-1] > GAP * own[1:]) | (np.diff(cells // len(weights)) > 0)])
    starts = np.flatnonzero((np.diff(labels, prepend=-1) > 0) | gaps)
    spare = n_batches - FEWEST_DRAWS * len(starts)
    if spare < 0:
        return np.array([cells[0], cells[-1] + 1]), np.array([n_batches])
    counts = FEWEST_DRAWS + np.floor(np.add.reduceat(measure, starts) * spare).astype(np.int64)
    counts[: n_batches - int(counts.sum())] += 1
    return np.append(cells[starts], cells[-1] + 1), counts


def effective_number(deviations: FloatArray) -> float:
    """(Σ|x|)²/Σx²: how many deviations carry the sum of squares; 2/π of all of them for normal ones."""
    largest = float(np.abs(deviations).max(initial=0.0))
    if largest == 0.0:
        return float(len(deviations))
    scaled = np.abs(deviations) / largest
    return float(scaled.sum() ** 2 / (scaled**2).sum())
