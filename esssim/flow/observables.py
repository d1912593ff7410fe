"""What SGD shows while its slow part follows the flow: the statistics of `esssim.statistics`, averaged over the fast part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.flow import rows
from esssim.flow.fast import FastMotion
from esssim.flow.validity import leading_sharpness
from esssim.problems import BlockCurvature, LowRankCurvature
from esssim.sampling import Sampling
from esssim.spectra import largest_eigenvalues
from esssim.stability.linearised import Linearised
from esssim.stability.mean_square import mean_square_threshold
from esssim.statistics import Estimate
from esssim.statistics.estimate import expectation
from esssim.statistics.mean_square import Pencil, top_of_pencil

SAMPLED = ("minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts")
EXACT = ("loss", "sharpness", "mean_square_sharpness", "distance_to_edge")


def observe(
    fast: FastMotion,
    frozen: FloatArray,
    sampling: Sampling,
    names: tuple[str, ...],
    n_batches: int,
    seed: np.random.SeedSequence,
) -> dict[str, float]:
    """The named statistics, sampled ones with their standard error, at one point of the flow."""
    row: dict[str, float] = {}
    curvature = rows.curvature(fast.jacobians, fast.n_outputs)
    n, c = fast.perron.n_samples, fast.perron.c
    if "loss" in names:
        row["loss"] = (fast.total_variance + float(frozen @ frozen)) / (2 * n)
    if "sharpness" in names:
        row["sharpness"] = float(fast.perron.eigenvalues[-1]) / n
    if {"mean_square_sharpness", "distance_to_edge"} & set(names):
        if not fast.by_products:
            top, followed = top_of_pencil(curvature, c).value, curvature
        else:
            root = fast.perron.eigenvectors * np.sqrt(fast.perron.eigenvalues)
            top, followed = leading_sharpness(fast.perron), rows.curvature(root, fast.n_outputs)
        row["mean_square_sharpness"] = top
        row["distance_to_edge"] = 1.0 - fast.step_size / critical_step_size(followed, top, c, fast.momentum)
    estimates: dict[str, Estimate] = {}
    if "minibatch_sharpness" in names:
        count = None if sampling.count(n) <= n_batches else n_batches
        estimates["minibatch_sharpness"] = expectation(
            lambda batches: largest_eigenvalues(curvature, batches), n, sampling, count, seed
        )
    for name in ("batch_sharpness", "batch_sharpness_parts"):
        if name in names and not fast.source.any():  # 0/0: every gradient vanishes
            estimates[name] = Estimate(np.nan, np.nan, 0, False)
        elif name in names:
            ratios = _rayleigh_quotients(fast, frozen, "ratios" if name == "batch_sharpness" else "parts", seed)
            estimates[name] = expectation(ratios, n, sampling, n_batches, seed)
    for name, estimate in estimates.items():
        row[name], row[f"{name}_standard_error"] = estimate.value, estimate.standard_error
    return {name: value for name, value in row.items() if name.removesuffix("_standard_error") in names}


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


def _rayleigh_quotients(
    fast: FastMotion, frozen: FloatArray, average: Literal["ratios", "parts"], seed: np.random.SeedSequence
) -> Callable[[IntArray], FloatArray]:
    """g_BᵀH_Bg_B over ‖g_B‖² or over E_B‖g_B‖², for batches that meet residuals r* + r each, r ~ N(0, R).

    With k = K_BB, g_B = J_Bᵀr_B/b and H_B = J_BᵀJ_B/b: ‖g_B‖² = r_Bᵀkr_B/b² and g_BᵀH_Bg_B = ‖kr_B‖²/b³. At given
    residuals E_B‖g_B‖² = κ₁rᵀKr + κ₂ΣrᵢᵀK_iirᵢ.
    """
    perron = fast.perron
    rng = np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 1)))
    gram = (perron.eigenvectors * perron.eigenvalues) @ perron.eigenvectors.T

    def quotients(batches: IntArray) -> FloatArray:
        b = batches.shape[1]
        residuals = frozen + fast.draw(rng.standard_normal((len(batches), len(perron.eigenvalues))))
        members = rows.of_batches(batches, fast.n_outputs)
        seen = np.take_along_axis(residuals, members, axis=1)
        image = np.einsum("mij,mj->mi", gram[members[:, :, None], members[:, None, :]], seen)
        forms = (image**2).sum(axis=1) / b**3
        if average == "ratios":
            return np.asarray(forms / ((seen * image).sum(axis=1) / b**2))
        means = perron.kappa_1 * ((residuals @ gram) * residuals).sum(axis=1) + perron.kappa_2 * (
            rows.squares(residuals, fast.n_outputs) @ perron.diagonal(gram)
        )
        return np.asarray(forms / means)

    return quotients
