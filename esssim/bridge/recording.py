"""What a training run records of a network: the statistics of `simulate`, two of them in a form that its size
allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from esssim._errors import Undefined
from esssim._validate import FloatArray, IntArray
from esssim.bridge.curvature import TorchCurvature
from esssim.bridge.layers import is_own
from esssim.bridge.leading import RANK, leading_mean_square_sharpness
from esssim.bridge.problem import DENSE_PARAMS, TorchProblem
from esssim.random_weights import RandomWeights
from esssim.sampling import Sampling
from esssim.simulation import recorder
from esssim.statistics import Estimate
from esssim.statistics.estimate import expectation
from esssim.statistics.table import MEAN_SQUARE, STATISTICS

# The means of ratios of a batch's gradient, which batches estimate where the matrices are too large.
IAS = STATISTICS["interaction_aware_sharpness"].key
OF_GRADIENTS = (STATISTICS["batch_sharpness"].key, STATISTICS["batch_sharpness_parts"].key, IAS)
# Up to this many rows of JᵀJ the exact n×n matrix, or the dense pencil, costs less than a second.
EXACT_ROWS = 600


def variables(record: Sequence[str]) -> list[str]:
    """The scalar variables that these names give: sampled ones come with their standard error."""
    return recorder.variables(record) + ([f"{IAS}_standard_error"] if IAS in record else [])


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

    With more than 300 parameters the ratios of gradients, IAS among them, are estimated from batches with three
    products each, and with more than 600 outputs of all samples the Gauss–Newton mean-square sharpness is that of the
    `rank` leading directions.
    """
    of_batches = not isinstance(sampling, RandomWeights)
    own = {*OF_GRADIENTS} if problem.n_params > DENSE_PARAMS and of_batches else set()
    if problem.n_samples * problem.n_outputs > EXACT_ROWS and is_own(problem):
        own.add(MEAN_SQUARE)
    row = recorder.measure(problem, theta, sampling, [name for name in record if name not in own], n_batches, seed)
    wanted = [name for name in record if name in own and name in OF_GRADIENTS]
    if wanted:
        for name, estimate in sampled_ratios(problem, theta, sampling, n_batches, seed).items():
            if name in wanted:
                row |= {name: estimate.value, f"{name}_standard_error": estimate.standard_error}
    elif IAS in record:
        row[f"{IAS}_standard_error"] = 0.0
    if MEAN_SQUARE in own & set(record):
        row[MEAN_SQUARE] = leading_mean_square_sharpness(problem, theta, sampling, rank=rank)
    return row


def sampled_ratios(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, n_batches: int, seed: np.random.SeedSequence
) -> dict[str, Estimate]:
    """E_B[g_BᵀH_Bg_B/‖g_B‖²], E_B[g_BᵀH_Bg_B]/E_B‖g_B‖² and E_B[g_BᵀHg_B]/E_B‖g_B‖², all from the same batches.

    NaN where a gradient vanishes and the ratio is 0/0.
    """
    curvature = TorchCurvature(problem, theta)
    everyone = np.arange(problem.n_samples)
    # One unit for all batches: however they are cut into calls, the means are of the same thing.
    full_gradient = curvature.gradients(everyone[None])
    unit = _largest(full_gradient) or _largest(problem.sample_gradients(theta, everyone)) or 1.0

    @cache
    def forms(flat: bytes) -> FloatArray:
        """g_BᵀH_Bg_B, g_BᵀHg_B, ‖g_B‖² for gradients in units of the full one's largest entry, (m, 3)."""
        batches = np.frombuffer(flat, dtype=np.int64).reshape(-1, sampling.batch_size)
        gradients = curvature.gradients(batches) / unit
        own = curvature.bound(batches)(gradients)
        full = curvature.bound(np.broadcast_to(everyone, (len(batches), len(everyone))))(gradients)
        return np.stack([(gradients * other).sum(axis=1) for other in (own, full, gradients)], axis=1)

    def parts(batches: IntArray, column: int) -> FloatArray:
        return forms(np.ascontiguousarray(batches).tobytes())[:, [column, 2]]

    def ratios(batches: IntArray) -> FloatArray:
        quadratic, squared_norm = parts(batches, 0).T
        if not squared_norm.all():
            raise Undefined("0/0")
        return np.asarray(quadratic / squared_norm)

    full = sampling.has_at_most(problem.n_samples, n_batches)

    def estimate(per_batch: Callable[[IntArray], FloatArray], ratio: bool) -> Estimate:
        count, stream = (None, None) if full else (n_batches, seed)
        try:
            return expectation(per_batch, problem.n_samples, sampling, count, stream, ratio=ratio)
        except Undefined:
            return Estimate(np.nan, np.nan, 0, False)

    averages = (estimate(ratios, False), *(estimate(partial(parts, column=k), True) for k in (0, 1)))
    return dict(zip(OF_GRADIENTS, averages, strict=True))


def _largest(array: FloatArray) -> float:
    return float(np.abs(array).max())
