"""Batch sharpness per batch, both averages, against a loop in plain numpy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

import esssim as es

from .instances import Array, Instance, relative_error, sizes
from .sgd import flops_of_product, matrix_products
from .table import Goal, Row, compare
from .timing import Side

BATCHES = {100: 100_000, 1000: 20_000, 2000: 2_000}
RIVAL_BATCHES = {100: 5_000, 1000: 5_000, 2000: 1_000}
AVERAGES: tuple[Literal["mean_of_ratios", "ratio_of_means"], ...] = ("mean_of_ratios", "ratio_of_means")


def rows(quick: bool) -> Iterator[Row]:
    for instance in sizes(quick):
        for average in AVERAGES:
            count, some = BATCHES[instance.n], RIVAL_BATCHES[instance.n]
            yield compare(
                "batch-sharpness",
                f"batch sharpness ({average}), diagonal network, per batch",
                f"{instance}, {count:,} batches",
                ours=Side(lambda r, i=instance, k=count, a=average: ours(i, k, a, r), count),
                rival=Side(lambda r, i=instance, k=some, a=average: numpy_loop(i, sampled(i, k, r), a), some),
                against="numpy loop, H_B never formed",
                limit=Side(lambda _, i=instance: matrix_products(i), flops_of_product() // flops(instance)),
                limit_name="its flops as one matrix product",
                goal=Goal("ratio", at_least=50.0) if instance.n == 100 else None,
                errors=accuracy(instance, average),
            )


def ours(
    instance: Instance, count: int, average: Literal["mean_of_ratios", "ratio_of_means"], seed: int
) -> es.Estimate:
    return es.batch_sharpness(
        instance.network,
        instance.theta,
        instance.sampling,
        average=average,
        n_batches=count,
        seed=seed,
        draws="uniform",
    )


def sampled(instance: Instance, count: int, seed: int) -> Iterator[Array]:
    rng = np.random.default_rng(seed)
    if instance.n <= 100:
        return (rng.permutation(instance.n)[: instance.b] for _ in range(count))
    return (rng.choice(instance.n, instance.b, replace=False) for _ in range(count))


def numpy_loop(instance: Instance, batches: Iterator[Array], average: str, number: type = np.float64) -> float:
    inputs, targets = instance.inputs.astype(number), instance.targets.astype(number)
    u, v = np.split(instance.theta.astype(number), 2)
    weights, b = u * v, instance.b
    quadratic, squared_norms = [], []
    for batch in batches:
        rows = inputs[batch]
        s = (rows @ weights - targets[batch]) @ rows / b
        along_u, along_v = s * v, s * u
        projections = rows @ (v * along_u + u * along_v)
        quadratic.append(projections @ projections / b + 2 * (s @ (along_u * along_v)))
        squared_norms.append(along_u @ along_u + along_v @ along_v)
    if average == "mean_of_ratios":
        return np.mean(np.array(quadratic) / np.array(squared_norms))  # type: ignore[no-any-return]
    return np.mean(quadratic) / np.mean(squared_norms)  # type: ignore[no-any-return]


def accuracy(instance: Instance, average: Literal["mean_of_ratios", "ratio_of_means"]) -> tuple[float, float]:
    """Ours and the loop on the same 50 batches, against the loop in 80-bit arithmetic."""
    batches = instance.sampling.draw(instance.n, 50, np.random.default_rng(7))
    exact = np.array([numpy_loop(instance, iter(batches), average, np.longdouble)])
    value = ours(instance, 50, average, seed=7).value
    return relative_error(np.array([value]), exact), relative_error(
        np.array([numpy_loop(instance, iter(batches), average)]), exact
    )


def flops(instance: Instance) -> int:
    return 6 * instance.b * instance.d + 12 * instance.d
