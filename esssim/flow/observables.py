"""What SGD shows while its slow part follows the flow: the statistics of `esssim.statistics`, averaged over the fast
part.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature import BlockCurvature, LowRankCurvature
from esssim.flow import rows
from esssim.flow.chains import stationary
from esssim.flow.fast import FastMotion
from esssim.flow.point import Point
from esssim.sampling import Sampling
from esssim.spectra import largest_eigenvalues
from esssim.stability.linearised import Linearised
from esssim.stability.mean_square import mean_square_threshold
from esssim.statistics import Estimate
from esssim.statistics.estimate import expectation
from esssim.statistics.mean_square import Pencil
from esssim.statistics.table import MEAN_SQUARE

QUOTIENTS = ("batch_sharpness", "batch_sharpness_parts", "interaction_aware_sharpness")
MEASURED = ("loss", "sharpness", MEAN_SQUARE, "distance_to_edge", "minibatch_sharpness", *QUOTIENTS)
# Chains of the fast motion, whose samples the quotients are averaged over.
N_CHAINS = 128


def observe(
    point: Point,
    fast: FastMotion,
    frozen: FloatArray,
    label_noise: float,
    sampling: Sampling,
    names: tuple[str, ...],
    n_batches: int,
    seed: np.random.SeedSequence,
) -> dict[str, float]:
    """The named statistics, sampled ones with their standard error, at one point of the flow."""
    row: dict[str, float] = {}
    curvature = point.curvature
    n, c = fast.perron.n_samples, fast.perron.c
    if "loss" in names:
        row["loss"] = (fast.total_variance + float(frozen @ frozen)) / (2 * n)
    if "sharpness" in names:
        row["sharpness"] = float(fast.perron.eigenvalues[-1]) / n
    if {MEAN_SQUARE, "distance_to_edge"} & set(names):
        row[MEAN_SQUARE] = point.sharpness(c, fast.rank)
        row["distance_to_edge"] = distance_to_edge(point, fast)
    estimates: dict[str, Estimate] = {}
    if "minibatch_sharpness" in names:
        count = None if sampling.has_at_most(n, n_batches) else n_batches
        estimates["minibatch_sharpness"] = expectation(
            lambda batches: largest_eigenvalues(curvature, batches), n, sampling, count, seed
        )
    quotients = tuple(name for name in QUOTIENTS if name in names)
    if not fast.source.any():  # 0/0: every gradient vanishes
        estimates |= dict.fromkeys(quotients, Estimate(np.nan, np.nan, 0, False))
    elif quotients:
        estimates |= quotients_of_gradients(fast, frozen, label_noise, sampling, quotients, n_batches, seed)
    for name, estimate in estimates.items():
        row[name], row[f"{name}_standard_error"] = estimate.value, estimate.standard_error
    return {name: value for name, value in row.items() if name.removesuffix("_standard_error") in names}


def distance_to_edge(point: Point, fast: FastMotion) -> float:
    """1 − η/η_c, η_c the mean-square edge, with momentum its own."""
    c, followed = fast.perron.c, point.curvature
    if fast.by_products:
        root = fast.perron.eigenvectors * np.sqrt(fast.perron.eigenvalues)
        followed = rows.curvature(root, fast.n_outputs)
    return 1.0 - fast.step_size / critical_step_size(followed, point.sharpness(c, fast.rank), c, fast.momentum)


def critical_step_size(
    curvature: LowRankCurvature | BlockCurvature, mean_square: float, c: float, momentum: float
) -> float:
    """2/Q_b, or where the second moments of heavy ball lose their stationary state."""
    if momentum == 0.0:
        return 2.0 / mean_square
    scale = curvature.scale()
    scaled = curvature.scaled(scale)
    pencil = Pencil.of(scaled)
    assert pencil is not None  # Q_b > 0
    return mean_square_threshold(Linearised(scaled, pencil, scale, c), momentum, False) / scale


def quotients_of_gradients(
    fast: FastMotion,
    frozen: FloatArray,
    label_noise: float,
    sampling: Sampling,
    names: tuple[str, ...],
    n_batches: int,
    seed: np.random.SeedSequence,
) -> dict[str, Estimate]:
    """Mean of g_BᵀH_Bg_B over ‖g_B‖² or over E_B‖g_B‖² (the ratio of means), and of tr(HG_b)/tr G_b, for batches that
    meet residuals r* + r of the fast motion.

    Each batch meets a residual of its own, several of them from each of `N_CHAINS` chains, so that n_batches is rounded
    up to a multiple of that. The standard error is that of the means of the chains, which are independent.
    """
    n_chains = min(n_batches, N_CHAINS)
    shape = (n_chains, -(-n_batches // n_chains))
    of_batches, of_chains = (np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, key)) for key in (0, 1))
    coordinates = stationary(fast, frozen, label_noise, sampling, shape, of_chains)
    rng = np.random.default_rng(of_batches)
    batches = [sampling.draw(fast.perron.n_samples, n_chains, rng) for _ in range(shape[1])]
    columns = [_quotients(fast, frozen, coordinates[:, k], drawn, names) for k, drawn in enumerate(batches)]
    estimates = {}
    for name in names:
        means = np.mean([column[name] for column in columns], axis=0)
        error = float(means.std(ddof=1)) / math.sqrt(n_chains)
        estimates[name] = Estimate(float(means.mean()), error, n_chains * shape[1], False)
    return estimates


def _quotients(
    fast: FastMotion, frozen: FloatArray, z: FloatArray, batches: IntArray, names: tuple[str, ...]
) -> dict[str, FloatArray]:
    """The named quotients (m,) for residuals r* + Uz, z (m, r), and a batch each, (m, b)."""
    residuals = frozen + z @ fast.perron.eigenvectors.T
    expected, found = _expected_form(fast, residuals, 1), dict[str, FloatArray]()
    if "interaction_aware_sharpness" in names:
        found["interaction_aware_sharpness"] = _expected_form(fast, residuals, 2) / fast.perron.n_samples / expected
    if {"batch_sharpness", "batch_sharpness_parts"} & set(names):
        forms, norms = _forms_of_batches(fast, residuals, batches)
        found |= {"batch_sharpness": forms / norms, "batch_sharpness_parts": forms / expected}
    return found


def _forms_of_batches(fast: FastMotion, residuals: FloatArray, batches: IntArray) -> tuple[FloatArray, FloatArray]:
    """g_BᵀH_Bg_B and ‖g_B‖² (m,) of residuals (m, n·c) and a batch each, (m, b).

    With U_B the rows of the batch and y = U_Bᵀr_B, ‖g_B‖² = yᵀΛy/b² and g_BᵀH_Bg_B = ‖U_BΛy‖²/b³.
    """
    members, b, eigenvalues = rows.of_batches(batches, fast.n_outputs), batches.shape[1], fast.perron.eigenvalues
    if fast.by_products:
        return _forms_by_products(fast, residuals, members, b)
    met = fast.perron.eigenvectors[members]
    y = np.einsum("mar,ma->mr", met, np.take_along_axis(residuals, members, axis=1))
    forms = (np.einsum("mar,mr->ma", met, eigenvalues * y) ** 2).sum(axis=1) / b**3
    return forms, y**2 @ eigenvalues / b**2


def _forms_by_products(
    fast: FastMotion, residuals: FloatArray, members: IntArray, b: int
) -> tuple[FloatArray, FloatArray]:
    """The same with all of K, the rows of each batch (m, b·c), one batch after the other.

    Batches see the modes that are not followed too: at b = 1 the ratio is K_aa, whatever the residuals.
    """
    jacobians, forms, norms = fast.jacobians, np.empty(len(members)), np.empty(len(members))
    for k, rows_of_batch in enumerate(members):
        met, seen = jacobians[rows_of_batch], residuals[k, rows_of_batch]
        gradient = seen @ met
        forms[k], norms[k] = ((met @ gradient) ** 2).sum() / b**3, gradient @ gradient / b**2
    return forms, norms


def _expected_form(fast: FastMotion, residuals: FloatArray, power: Literal[1, 2]) -> FloatArray:
    """κ₁rᵀK^q r + κ₂Σrᵢᵀ(K^q)ᵢᵢrᵢ (m,) at given residuals (m, n·c), q the power: E_B‖g_B‖², and n·E_B[g_BᵀHg_B]."""
    perron = fast.perron
    if fast.by_products:
        images = residuals @ fast.jacobians
        along = ((images if power == 1 else images @ fast.jacobians.T) ** 2).sum(axis=1)
    else:
        along = (residuals @ perron.eigenvectors) ** 2 @ perron.eigenvalues**power
    diagonal = fast.kernel_blocks if power == 1 else fast.squared_kernel_blocks
    return np.asarray(perron.kappa_1 * along + perron.kappa_2 * (rows.squares(residuals, fast.n_outputs) @ diagonal))
