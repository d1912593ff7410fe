"""λ_max of every one of the C(20, 6) = 38,760 batches, against a loop over combinations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

import esssim as es
from esssim.spectra import largest_eigenvalues

from .instances import Array, Instance, relative_error
from .minibs import exact_regression
from .table import Goal, Row, compare
from .timing import Side

N, B = 20, 6
ALL = math.comb(N, B)


def rows(quick: bool) -> Iterator[Row]:
    for d in (10,) if quick else (10, 200):
        instance = Instance(N, d, B)
        some = {10: ALL // 4, 200: 200}[d] // (4 if quick else 1)
        ready = ready_matrices(instance)
        yield compare(
            "enumeration",
            "every batch of C(20, 6), per batch",
            f"d = {d}",
            ours=Side(lambda _, i=instance: es.minibatch_sharpness(i.regression, np.zeros(i.d), i.sampling), ALL),
            rival=Side(lambda _, i=instance, k=some: loop(i, k), some),
            against="a loop over itertools.combinations with eigvalsh of the d×d batch Hessian",
            limit=Side(lambda _, m=ready: np.linalg.eigvalsh(m), ALL),
            limit_name="one batched eigvalsh of ready b×b matrices",
            goal=Goal("ratio", at_least=20.0),
            errors=accuracy(instance),
            note=f"against the loop with the smaller b×b Gram matrix instead: {against_gram_loop(instance)}"
            if d > B
            else "",
        )


def loop(instance: Instance, count: int) -> Array:
    inputs, values = instance.inputs, np.empty(count)
    for k, batch in enumerate(itertools.islice(itertools.combinations(range(N), B), count)):
        rows = inputs[list(batch)]
        values[k] = np.linalg.eigvalsh(rows.T @ rows / B)[-1]
    return values


def gram_loop(instance: Instance, count: int) -> Array:
    inputs, values = instance.inputs, np.empty(count)
    for k, batch in enumerate(itertools.islice(itertools.combinations(range(N), B), count)):
        rows = inputs[list(batch)]
        values[k] = np.linalg.eigvalsh(rows @ rows.T / B)[-1]
    return values


def against_gram_loop(instance: Instance) -> str:
    some = 2_000
    row = compare(
        "",
        "",
        "",
        ours=Side(lambda _: es.minibatch_sharpness(instance.regression, np.zeros(instance.d), instance.sampling), ALL),
        rival=Side(lambda _: gram_loop(instance, some), some),
    )
    assert row.ratio is not None
    return f"{row.ratio.median:.3g}×"


def ready_matrices(instance: Instance) -> Array:
    batches = np.array(list(itertools.combinations(range(N), B)))
    gram = instance.inputs @ instance.inputs.T / B
    return np.ascontiguousarray(gram[batches[:, :, None], batches[:, None, :]])


def accuracy(instance: Instance) -> tuple[float, float]:
    """On the first batches, against a Rayleigh quotient in 80-bit arithmetic."""
    some = 200
    batches = np.array(list(itertools.islice(itertools.combinations(range(N), B), some)))
    exact = exact_regression(instance, batches)
    ours = largest_eigenvalues(instance.regression.curvature(np.zeros(instance.d)), batches)
    return relative_error(ours, exact), relative_error(loop(instance, some), exact)
