"""Residuals from the stationary law of the fast motion itself: batches multiply them, so that it is no Gaussian."""

from __future__ import annotations

import math

import numpy as np

from esssim._kernels.fast_motion import run_chains
from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.sampling import Sampling

# A chain has forgotten its start after so many times 1/4c, within these numbers of steps: four times as many change
# batch sharpness by no more than its sampling error.
RELAXATIONS = 5
SHORTEST, LONGEST = 64, 1024
# Two samples of a chain are an eighth of that apart.
SPACING = 8
# Members of batches that are drawn in one go: they stay in the cache until they are used.
DRAWN_AHEAD = 2**14


def relaxation(c: float, momentum: float = 0.0) -> int:
    """After how many steps a chain that starts from N(0, R) follows the stationary law; 0 for full batches, c = 0.

    A mode u near its edge is multiplied by m = 1 − ηλ Σ w_a u_a² in a step, of a variance near s² = 4c(nΣu_a⁴ − 1): 8c
    for u of normal entries. Where its mean square is steady, E m² = 1, its size falls by a factor exp(s²) a step,
    typically, however slow its mean square is: the bursts that R is made of are forgotten in a few times 1/s². Where s²
    is far less than 4c there are no bursts, and the start is nearly right. Heavy ball takes up to 1/(1−β) times as
    long.
    """
    if c == 0.0:
        return 0
    return math.ceil(min(max(RELAXATIONS / (4.0 * c), SHORTEST), LONGEST) / (1.0 - momentum))


def stationary(
    fast: FastMotion,
    mean: FloatArray,
    label_noise: float,
    sampling: Sampling,
    shape: tuple[int, int],
    seed: np.random.SeedSequence,
    burn_in: int | None = None,
) -> FloatArray:
    """Coordinates z (n_chains, n_each, r) of residuals r = Uz about their mean, of independent chains of the fast
    motion.

        v ← βv + K[w∘(mean + r − εζ) − mean/n],   r ← r − ηv,

    w the weights of a batch (1/b for each draw), ζ standard normal, anew at every step: what SGD does at a θ that
    stands still. mean: r* (n·c,). burn_in: steps before the first sample of a chain, `relaxation` by default. A start
    from N(0, R) is right for the slow modes, in which many batches add up, and exact for full batches, where each
    sample is a start of its own.
    """
    perron, (n_chains, n_each) = fast.perron, shape
    basis, values, c = perron.eigenvectors, perron.eigenvalues, fast.n_outputs
    starts, batches, noise = (np.random.default_rng(child) for child in seed.spawn(3))
    steps = relaxation(perron.c, fast.momentum) if burn_in is None else burn_in
    if steps == 0:
        return fast.coordinates(starts.standard_normal((*shape, len(basis))))
    found = np.empty((*shape, len(values)))
    z = fast.coordinates(starts.standard_normal((n_chains, len(basis))))
    setting = (np.ascontiguousarray(basis), values, mean @ basis / perron.n_samples)
    state = (sampling.batch_size, fast.step_size, fast.momentum, z, np.zeros_like(z))
    ahead = max(1, DRAWN_AHEAD // (n_chains * sampling.batch_size * c))
    for k in range(n_each):
        left = math.ceil(steps / SPACING) if k else steps
        while left > 0:
            stretch = min(left, ahead)
            drawn = sampling.draw(perron.n_samples, stretch * n_chains, batches)
            members = rows.of_batches(drawn, c).reshape(stretch, n_chains, -1)
            offsets = mean[members] - label_noise * noise.standard_normal(members.shape)
            run_chains(members, offsets, *setting, *state)
            left -= stretch
        found[:, k] = z
    return found
