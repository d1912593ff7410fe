"""Published edges as step sizes beside the exact mean-square critical one, on six ensembles of regressions."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from esssim import data
from esssim._rows import Row
from esssim._validate import FloatArray
from esssim.papers import AGARWALA, ANDREYEV_V1, ANDREYEV_V3, COHEN, LEE_JANG
from esssim.problems import LinearRegression, Problem
from esssim.sampling import Sampling, WithoutReplacement
from esssim.stability import critical_step_size, interaction_aware_step_size, noise_kernel_step_size
from esssim.statistics import ENUMERATION_LIMIT, batch_sharpness, minibatch_sharpness, sharpness

BATCH_SIZES = (1, 4, 16, 64)
# Points drawn around the minimiser for the edges that depend on the gradient, and batches where not all are enumerated.
N_POINTS, N_BATCHES = 8, 400
# Published edges as step sizes: name in the table and source.
EDGES = {
    "gradient descent": COHEN,
    "MiniBS": ANDREYEV_V1,
    "batch sharpness": ANDREYEV_V3,
    "batch sharpness, ratio of means": ANDREYEV_V3,
    "interaction-aware": LEE_JANG,
    "noise kernel, diagonal": AGARWALA,
    "noise kernel, high-dimensional": AGARWALA,
    "noise kernel, trace": AGARWALA,
}
# Closest for full batches, where they are the same.
SEVERAL = "several (b = n)"


def ensembles(quick: bool) -> dict[str, data.Data]:
    """The tables on which the edges are compared."""
    n, d = (40, 20) if quick else (100, 50)
    tables = {
        f"gaussian-{n}x{d}": data.gaussian(n, d, seed=31),
        f"gaussian-{d}x{n}": data.gaussian(d, n, seed=32),
        f"spiked-{n}x{d}": data.spiked(n, d, seed=33, spike=20.0),
    }
    if not quick:
        tables[f"two-clusters-{n}x{d}"] = data.two_clusters(n, d, seed=34)
        tables[f"power-law-{n}x{d}"] = data.power_law(n, d, seed=35)
        tables["diabetes"] = data.load("diabetes")
    return tables


def interpolating(table: data.Data) -> LinearRegression:
    """The regression with targets zero: minimiser zero, without noise."""
    return LinearRegression(table.inputs, np.zeros(len(table.targets)))


def published_step_sizes(problem: Problem, sampling: Sampling, seed: int) -> dict[str, float]:
    """Every edge of `EDGES` as a critical step size; those that depend on the gradient averaged over N(0, I) points."""
    origin = np.zeros(problem.n_params)
    points = np.random.default_rng(seed).normal(size=(N_POINTS, problem.n_params))
    n_batches = None if sampling.count(problem.n_samples) <= ENUMERATION_LIMIT // N_POINTS else N_BATCHES

    def at_points(statistic: Callable[[FloatArray], float]) -> float:
        return float(np.mean([statistic(point) for point in points]))

    def ratios(point: FloatArray) -> float:
        return batch_sharpness(problem, point, sampling, n_batches=n_batches, seed=seed, draws="uniform").value

    def parts(point: FloatArray) -> float:
        return batch_sharpness(
            problem, point, sampling, average="ratio_of_means", n_batches=n_batches, seed=seed, draws="uniform"
        ).value

    return {
        "gradient descent": 2 / sharpness(problem, origin),
        "MiniBS": 2
        / minibatch_sharpness(problem, origin, sampling, n_batches=n_batches, seed=seed, draws="uniform").value,
        "batch sharpness": 2 / at_points(ratios),
        "batch sharpness, ratio of means": 2 / at_points(parts),
        "interaction-aware": 2 / at_points(lambda point: 2 / interaction_aware_step_size(problem, point, sampling)),
        "noise kernel, diagonal": noise_kernel_step_size(problem, origin, sampling),
        "noise kernel, high-dimensional": noise_kernel_step_size(
            problem, origin, sampling, approximation="high_dimensional"
        ),
        "noise kernel, trace": noise_kernel_step_size(problem, origin, sampling, approximation="trace"),
    }


@cache
def closest_table(quick: bool) -> list[Row]:
    """Published over exact critical step size, by ensemble and batch size; and the name of the closest."""
    rows: list[Row] = []
    for name, table in ensembles(quick).items():
        problem = interpolating(table)
        n = problem.n_samples
        sizes = [b for b in ((1, 8) if quick else BATCH_SIZES) if b < n]
        for b in (*sizes, n):
            sampling = WithoutReplacement(b)
            exact = critical_step_size(problem, np.zeros(problem.n_params), sampling)
            ratios = {edge: step / exact for edge, step in published_step_sizes(problem, sampling, seed=b).items()}
            distances = {edge: abs(float(np.log(ratio))) for edge, ratio in ratios.items()}
            closest = SEVERAL if b == n else min(distances, key=lambda edge: distances[edge])
            rows.append({"ensemble": name, "b": b, "critical_step_size": exact, **ratios, "closest": closest})
    return rows
