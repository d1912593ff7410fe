"""Mean-square sharpness, against the dense d²×d² pencil."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

import esssim as es

from .instances import Array, Instance, relative_error
from .table import Goal, Row, compare
from .timing import Side

AGAINST_DENSE = {20: 14.0, 40: 250.0, 60: 1000.0}
LARGE = Instance(1000, 300, 8)


def rows(quick: bool) -> Iterator[Row]:
    for d in (20,) if quick else AGAINST_DENSE:
        instance = Instance(100, d, 4)
        count = {20: 50, 40: 20, 60: 10}[d]
        yield compare(
            "mean-square",
            "mean-square sharpness",
            str(instance),
            ours=Side(lambda _, i=instance, k=count: [ours(i) for _ in range(k)], count),
            rival=Side(lambda _, i=instance: dense_pencil(i)),
            against="scipy.linalg.eigh of the dense d²×d² pencil, top eigenvalue only",
            limit=Side(lambda _, i=instance, k=count: [one_application(i) for _ in range(k)], count),
            limit_name="one application of D",
            goal=Goal("ratio", at_least=AGAINST_DENSE[d]),
            errors=accuracy(instance),
        )
    if not quick:
        yield compare(
            "mean-square",
            "mean-square sharpness",
            str(LARGE),
            ours=Side(lambda _: ours(LARGE)),
            limit=Side(lambda _: one_application(LARGE)),
            limit_name="one application of D",
            goal=Goal("seconds", at_most=2.0),
        )


def ours(instance: Instance) -> float:
    return es.mean_square_sharpness(instance.regression, np.zeros(instance.d), instance.sampling)


def pencil(instance: Instance) -> tuple[Array, Array]:
    """C = ½(H⊗I + I⊗H) and D = (1−c)H⊗H + (c/n) Σ xᵢxᵢᵀ⊗xᵢxᵢᵀ."""
    n, d, inputs = instance.n, instance.d, instance.inputs
    c = (n - instance.b) / (instance.b * (n - 1))
    hessian, identity = inputs.T @ inputs / n, np.eye(d)
    squares = (inputs[:, :, None] * inputs[:, None, :]).reshape(n, d * d)
    second_moment = (1 - c) * np.kron(hessian, hessian) + (c / n) * squares.T @ squares
    return (np.kron(hessian, identity) + np.kron(identity, hessian)) / 2, second_moment


def dense_pencil(instance: Instance) -> tuple[float, Array]:
    half_sum, second_moment = pencil(instance)
    last = len(half_sum) - 1
    values, vectors = scipy.linalg.eigh(second_moment, half_sum, subset_by_index=(last, last))
    return float(values[0]), vectors[:, 0]


def accuracy(instance: Instance) -> tuple[float, float]:
    """Ours and the dense value against the generalised Rayleigh quotient of the dense eigenvector in 80 bits."""
    value, vector = dense_pencil(instance)
    n, d = instance.n, instance.d
    matrix = vector.reshape(d, d).astype(np.longdouble)
    matrix = (matrix + matrix.T) / 2
    inputs = instance.inputs.astype(np.longdouble)
    c = np.longdouble(n - instance.b) / (instance.b * (n - 1))
    hessian = inputs.T @ inputs / n
    forms = ((inputs @ matrix) * inputs).sum(axis=1)
    top = (1 - c) * ((hessian @ matrix @ hessian) * matrix).sum() + c * (forms**2).mean()
    exact = np.array([top / ((hessian @ matrix) * matrix).sum()])
    return relative_error(np.array([ours(instance)]), exact), relative_error(np.array([value]), exact)


def one_application(instance: Instance) -> Array:
    """M ↦ (1/n) Σ xᵢ(xᵢᵀMxᵢ)xᵢᵀ."""
    inputs, matrix = instance.inputs, np.eye(instance.d)
    forms = ((inputs @ matrix) * inputs).sum(axis=1)
    result: Array = inputs.T @ (forms[:, None] * inputs)
    return result
