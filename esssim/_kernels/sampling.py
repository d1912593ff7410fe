"""Drawing batches. Index = ⌊k·random()⌋: one double per index, so that plain numpy can replay any draw."""

from __future__ import annotations

import numpy as np

from esssim._kernels.compiling import compiled_in_order as compiled

WITHOUT_REPLACEMENT, WITH_REPLACEMENT, RESHUFFLED = 0, 1, 2


@compiled
def partial_shuffle(rng, order, count):
    """Move a uniform random `count`-subset, in random order, to the front of `order` (Fisher–Yates)."""
    n = order.shape[0]
    for i in range(count):
        j = i + int(rng.random() * (n - i))
        order[i], order[j] = order[j], order[i]


@compiled
def counts_of_numbers(scheme, n_samples, batch_size, first, last):
    """How many uniform numbers the batch of each of the steps first … last−1 of a run takes."""
    counts = np.full(last - first, batch_size)
    if scheme == WITHOUT_REPLACEMENT and batch_size == n_samples:
        counts[:] = 0
    elif scheme == RESHUFFLED:
        for step in range(first, last):
            counts[step - first] = n_samples if step % (n_samples // batch_size) == 0 else 0
    return counts


@compiled
def draw_numbers(rng, counts, uniforms, normals):
    """The numbers of consecutive steps in the order of the stream: for each, counts[m] uniform ones, then
    normals[m].
    """
    taken = 0
    for m in range(counts.shape[0]):
        for _ in range(counts[m]):
            uniforms[taken] = rng.random()
            taken += 1
        for a in range(normals.shape[1]):
            normals[m, a] = rng.standard_normal()


@compiled
def consecutive_batches(uniforms, counts, scheme, order, first, batches):
    """Fill the batches of the steps first, first + 1, …; `order` carries the permutation from step to step."""
    n, (n_steps, b) = order.shape[0], batches.shape
    taken = 0
    for m in range(n_steps):
        if scheme == WITH_REPLACEMENT:
            for i in range(b):
                batches[m, i] = int(uniforms[taken + i] * n)
        else:
            for i in range(counts[m]):
                j = i + int(uniforms[taken + i] * (n - i))
                order[i], order[j] = order[j], order[i]
            start = (first + m) % (n // b) * b if scheme == RESHUFFLED else 0
            for i in range(b):
                batches[m, i] = order[start + i]
        taken += counts[m]


@compiled
def draw_without_replacement(rng, order, batches):
    n_batches, batch_size = batches.shape
    swaps = batches[0].copy() if n_batches else batches.reshape(-1)
    n = order.shape[0]
    for m in range(n_batches):
        for i in range(batch_size):
            j = i + int(rng.random() * (n - i))
            swaps[i] = j
            order[i], order[j] = order[j], order[i]
            batches[m, i] = order[i]
        # Undoing the swaps makes each batch a function of the generator alone, whatever was drawn before.
        for i in range(batch_size - 1, -1, -1):
            j = swaps[i]
            order[i], order[j] = order[j], order[i]


@compiled
def draw_with_replacement(rng, n_samples, batches):
    for m in range(batches.shape[0]):
        for i in range(batches.shape[1]):
            batches[m, i] = int(rng.random() * n_samples)


@compiled
def draw_reshuffled(rng, order, batches):
    n_batches, batch_size = batches.shape
    per_epoch = order.shape[0] // batch_size
    for m in range(n_batches):
        position = m % per_epoch
        if position == 0:
            partial_shuffle(rng, order, order.shape[0])
        for i in range(batch_size):
            batches[m, i] = order[position * batch_size + i]


@compiled
def next_combinations(n_samples, current, batches):
    """Fill `batches` with the combinations from `current` on, in the order of itertools, and move `current` past
    them.
    """
    b = current.shape[0]
    for m in range(batches.shape[0]):
        for j in range(b):
            batches[m, j] = current[j]
        i = b - 1
        while i >= 0 and current[i] == n_samples - b + i:
            i -= 1
        if i >= 0:
            current[i] += 1
            for j in range(i + 1, b):
                current[j] = current[j - 1] + 1
