"""MiniBS per batch, on linear regression and on the diagonal network, against dense and sparse eigensolvers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import LinearOperator, eigsh

import esssim as es
from esssim.spectra import largest_eigenvalues

from .instances import Array, Instance, relative_error, sizes
from .table import Goal, Row, compare
from .timing import Side

AGAINST_DENSE = {100: 20.0, 1000: 60.0, 2000: 3000.0}
AGAINST_DENSE_NETWORK = {100: 2.0, 1000: 15.0, 2000: 1500.0}
AGAINST_EIGSH = 5.0
WITHIN_LIMIT = 1.3
BATCHES = 20_000
DENSE_BATCHES = {100: 2_000, 1000: 200, 2000: 2}
EIGSH_BATCHES = 100
NETWORK_BATCHES = {100: 20_000, 1000: 10_000, 2000: 1_000}


def regression_rows(quick: bool) -> Iterator[Row]:
    for instance in sizes(quick):
        batches = instance.batches(DENSE_BATCHES[instance.n])
        errors = regression_accuracy(instance, batches[:5])
        ours = Side(lambda r, i=instance: minibs(i.regression, np.zeros(i.d), i, BATCHES, r), BATCHES)
        dense = Side(lambda r, i=instance, m=batches: [dense_regression(i, batch) for batch in m], len(batches))
        fewer = instance.batches(EIGSH_BATCHES)
        sparse = Side(lambda r, i=instance, m=fewer: [eigsh_regression(i, batch) for batch in m], len(fewer))
        work, size = "MiniBS, linear regression, per batch", f"{instance}, {BATCHES:,} batches"
        yield compare(
            "minibs-regression",
            work,
            size,
            ours=ours,
            rival=dense,
            against="eigvalsh of the p×p batch Hessian",
            limit=ready_matrices(instance),
            limit_name="one batched eigvalsh of ready b×b matrices",
            goal=Goal("ratio", at_least=AGAINST_DENSE[instance.n]),
            errors=errors,
        )
        yield compare(
            "minibs-regression",
            work,
            size,
            ours=ours,
            rival=sparse,
            against="eigsh on the factor",
            goal=Goal("ratio", at_least=AGAINST_EIGSH),
            errors=(errors[0], eigsh_accuracy(instance, batches[:5])),
        )
        yield compare(
            "minibs-regression",
            work,
            size,
            ours=ours,
            against="the limit",
            limit=ready_matrices(instance),
            limit_name="one batched eigvalsh of ready b×b matrices",
            goal=Goal("distance", at_most=WITHIN_LIMIT),
            errors=(errors[0], None),
        )


def network_rows(quick: bool) -> Iterator[Row]:
    for instance in sizes(quick):
        batches, count = instance.batches(DENSE_BATCHES[instance.n]), NETWORK_BATCHES[instance.n]
        yield compare(
            "minibs-network",
            "MiniBS, diagonal network, per batch",
            f"{instance}, {count:,} batches",
            ours=Side(lambda r, i=instance, k=count: minibs(i.network, i.theta, i, k, r), count),
            rival=Side(lambda r, i=instance, m=batches: [dense_network(i, batch) for batch in m], len(batches)),
            against="eigvalsh of the 2d×2d batch Hessian",
            limit=ready_matrices(instance),
            limit_name="one batched eigvalsh of ready b×b matrices",
            goal=Goal("ratio", at_least=AGAINST_DENSE_NETWORK[instance.n]),
            errors=network_accuracy(instance, batches[:5]),
        )


def minibs(problem: es.Problem, theta: Array, instance: Instance, n_batches: int, seed: int) -> es.Estimate:
    return es.minibatch_sharpness(problem, theta, instance.sampling, n_batches=n_batches, seed=seed, draws="uniform")


def dense_regression(instance: Instance, batch: Array) -> float:
    rows = instance.inputs[batch]
    return float(np.linalg.eigvalsh(rows.T @ rows / len(batch))[-1])


def eigsh_regression(instance: Instance, batch: Array) -> float:
    rows = instance.inputs[batch]
    shape = (instance.d, instance.d)
    operator = LinearOperator(shape, matvec=lambda w: rows.T @ (rows @ w) / len(batch), dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", v0=rows[0], return_eigenvectors=False)[0])


def dense_network(instance: Instance, batch: Array) -> float:
    return float(np.linalg.eigvalsh(instance.network_hessian(batch))[-1])


def ready_matrices(instance: Instance) -> Side:
    rows = instance.inputs[instance.batches(2_000)]
    matrices = rows @ rows.transpose(0, 2, 1) / instance.b
    return Side(lambda _: np.linalg.eigvalsh(matrices), len(matrices))


def exact_regression(instance: Instance, batches: Array) -> Array:
    """λ_max of each batch as the Rayleigh quotient of its double eigenvector, in 80-bit arithmetic."""
    values = []
    for batch in batches:
        rows = instance.inputs[batch]
        _, vectors = np.linalg.eigh(rows @ rows.T)
        values.append(instance.regression_rayleigh(batch, rows.T @ vectors[:, -1]))
    return np.array(values)


def regression_accuracy(instance: Instance, batches: Array) -> tuple[float, float]:
    """The errors of ours and of the dense eigenvalues."""
    exact = exact_regression(instance, batches)
    ours = largest_eigenvalues(instance.regression.curvature(np.zeros(instance.d)), batches)
    dense = np.array([dense_regression(instance, batch) for batch in batches])
    return relative_error(ours, exact), relative_error(dense, exact)


def eigsh_accuracy(instance: Instance, batches: Array) -> float:
    values = np.array([eigsh_regression(instance, batch) for batch in batches])
    return relative_error(values, exact_regression(instance, batches))


def network_accuracy(instance: Instance, batches: Array) -> tuple[float, float]:
    last = 2 * instance.d - 1
    exact = []
    for batch in batches:
        _, vectors = scipy.linalg.eigh(instance.network_hessian(batch), subset_by_index=(last, last))
        exact.append(instance.network_rayleigh(batch, vectors[:, -1]))
    ours = largest_eigenvalues(instance.network.curvature(instance.theta), batches)
    dense = np.array([dense_network(instance, batch) for batch in batches])
    return relative_error(ours, np.array(exact)), relative_error(dense, np.array(exact))
