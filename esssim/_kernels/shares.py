"""Drawing batches around a chosen member. Samples are known by their rank: 0 is the heaviest."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled_in_order as compiled

# What is asked of the other members of i's batch: one comes before i (equal ones in random order), or one of them is
# among the first limits[i] ranks in the cells 0 … n − 1 and none of them in the cells n … 2n − 1.
BEFORE, CROWDED = 0, 1


@compiled
def draw_around(
    rng, with_replacement, rule, limits, below, cumulative, edges, strata, order, weights, batches, known, shared
):
    """Fill each batch m with the rank i of a cell from edges[k] on, k = strata[m], drawn by its share, and with others.

    cumulative (2n + 1,): sums of the shares of all cells. below[r]: the chance that the others of a batch meet the
    first r of the ranks that are left. Each batch of ranks becomes one of samples, order[rank], with the largest of its
    weights over b where one comes `BEFORE`, 0 otherwise, as known, and the sum of the others over b as shared.
    """
    n, (n_batches, b) = limits.shape[0], batches.shape
    ranks = np.empty(n, dtype=np.int64)
    for i in range(n):
        ranks[i] = i
    swaps = np.empty(b, dtype=np.int64)
    for m in range(n_batches):
        first, last = edges[strata[m]], edges[strata[m] + 1]
        low, high = cumulative[first], cumulative[last]
        sums = cumulative[first : last + 1]
        cell = first + _at_most(sums, low + rng.random() * (high - low)) - 1
        cell = min(max(cell, first), last - 1)
        i, met, limit = cell % n, cell < n, limits[cell % n]
        batches[m, 0] = i
        filled = 1 + met
        if with_replacement:
            u = limit / n
            if met:
                u = _before(rng, i, n, b) if rule == BEFORE else _lowest(rng, limit / n, b)
                batches[m, 1] = int(u * n)
            for a in range(filled, b):
                batches[m, a] = min(int((u + (1.0 - u) * rng.random()) * n), n - 1)
        else:
            start = limit
            if met:
                left = limit - (i < limit)
                r = _at_most(below[: left + 1], rng.random() * below[left]) - 1
                r = min(max(r, 0), left - 1)
                r += r >= i
                batches[m, 1] = r
                start = r + 1
            # i stands aside where it could be drawn again; undoing the swaps leaves nothing of this batch to the next.
            aside = i >= start
            if aside:
                ranks[start], ranks[i] = ranks[i], ranks[start]
            base = start + aside - filled
            for a in range(filled, b):
                j = base + a + int(rng.random() * (n - base - a))
                swaps[a] = j
                ranks[base + a], ranks[j] = ranks[j], ranks[base + a]
                batches[m, a] = ranks[base + a]
            for a in range(b - 1, filled - 1, -1):
                j = swaps[a]
                ranks[base + a], ranks[j] = ranks[j], ranks[base + a]
            if aside:
                ranks[start], ranks[i] = ranks[i], ranks[start]
        _weigh(rule == BEFORE, order, weights, batches[m], known, shared, m)


@compiled
def _at_most(ascending, x):
    """How many of the numbers are at most x: np.searchsorted, which takes three times as long to compile."""
    low, high = 0, ascending.shape[0]
    while low < high:
        middle = (low + high) // 2
        if ascending[middle] <= x:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def _weigh(sandwiched, order, weights, batch, known, shared, m):
    """Not Σ − max, which cancels where one sample outweighs all others."""
    top = 0
    for a in range(1, batch.shape[0]):
        if batch[a] < batch[top]:
            top = a
    total = 0.0
    for a in range(batch.shape[0]):
        if a != top or not sandwiched:
            total += weights[batch[a]]
    known[m] = weights[batch[top]] / batch.shape[0] if sandwiched else 0.0
    shared[m] = total / batch.shape[0]
    for a in range(batch.shape[0]):
        batch[a] = order[batch[a]]


@compiled
def _lowest(rng, limit, b):
    """The least of b − 1 uniform numbers, given that it lies below the limit."""
    met = -np.expm1((b - 1) * np.log1p(-limit)) if limit < 1.0 else 1.0
    return -np.expm1(np.log1p(-rng.random() * met) / (b - 1))


@compiled
def _before(rng, i, n, b):
    """The least of b − 1 uniform numbers, given that it lies below one more, u, which lies in [i/n, (i+1)/n).

    The density of u is proportional to 1 − (1−u)^(b−1), which grows: it is drawn by rejection.
    """
    largest = -np.expm1((b - 1) * np.log1p(-(i + 1) / n)) if i + 1 < n else 1.0
    while True:
        u = (i + rng.random()) / n
        if rng.random() * largest < -np.expm1((b - 1) * np.log1p(-u)):
            return _lowest(rng, u, b)
