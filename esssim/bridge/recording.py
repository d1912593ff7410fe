"""What a training run records of a network: the statistics of `simulate`, two of them in a form that its size allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.bridge.leading import RANK, leading_mean_square_sharpness
from esssim.bridge.problem import DENSE_PARAMS, TorchProblem
from esssim.sampling import Sampling
from esssim.simulation import recorder
from esssim.simulation.recorder import GAUSS_NEWTON
from esssim.statistics import Estimate
from esssim.statistics.estimate import expectation

IAS = "interaction_aware_sharpness"
# Up to this many rows of JᵀJ the exact n×n matrix, or the dense pencil, costs less than a second.
EXACT_ROWS = 600


def variables(record: Sequence[str]) -> list[str]:
    """The scalar variables that these names give: sampled ones come with their standard error."""
    sampled = (*recorder.SAMPLED, IAS)
    names = [name for name in record if name != "theta"]
    return names + [f"{name}_standard_error" for name in names if name in sampled]


def measure(
    problem: TorchProblem,
    theta: FloatArray,
    sampling: Sampling,
    record: Sequence[str],
    n_batches: int,
    seed: np.random.SeedSequence,
    rank: int = RANK,
) -> dict[str, float]:
    """All variables at one theta; batches are the same for all sampled statistics of a record.

    With more than 300 parameters IAS is estimated from batches, and with more than 600 outputs of all samples the
    Gauss–Newton mean-square sharpness is that of the `rank` leading directions.
    """
    own = {IAS} if problem.n_params > DENSE_PARAMS else set()
    if problem.n_samples * problem.n_outputs > EXACT_ROWS:
        own.add(GAUSS_NEWTON)
    row = recorder.measure(problem, theta, sampling, [name for name in record if name not in own], n_batches, seed)
    if IAS in own & set(record):
        estimate = sampled_interaction_aware_sharpness(problem, theta, sampling, n_batches, seed)
        row |= {IAS: estimate.value, f"{IAS}_standard_error": estimate.standard_error}
    elif IAS in record:
        row[f"{IAS}_standard_error"] = 0.0
    if GAUSS_NEWTON in own & set(record):
        row[GAUSS_NEWTON] = leading_mean_square_sharpness(problem, theta, sampling, rank=rank)
    return row


def sampled_interaction_aware_sharpness(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, n_batches: int, seed: np.random.SeedSequence
) -> Estimate:
    """E_B[g_BᵀHg_B]/E_B‖g_B‖² from sampled batches, with products with H instead of n of them."""
    everyone = np.arange(problem.n_samples)

    def parts(batches: IntArray) -> FloatArray:
        gradients = problem.gradient(theta, batches)
        products = problem.hessian_products(theta, np.broadcast_to(everyone, (len(batches), len(everyone))), gradients)
        return np.stack(((gradients * products).sum(axis=1), (gradients**2).sum(axis=1)), axis=1)

    full = sampling.count(problem.n_samples) <= n_batches
    return expectation(
        parts, problem.n_samples, sampling, None if full else n_batches, None if full else seed, ratio=True
    )
