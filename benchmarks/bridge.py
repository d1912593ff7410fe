"""MiniBS of a torch network, against eigsh on curvlinops' operator and on a double-backward loop."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

import esssim as es
from esssim.spectra import largest_eigenvalues

from .instances import Array, relative_error
from .table import Goal, Row, compare
from .timing import Side

SAMPLES, BATCH_SIZE, BATCHES = 512, 32, 64
AGAINST_CURVLINOPS, AGAINST_DOUBLE_BACKWARD = 25.0, 5.0
# curvlinops needs tenths of a second for each batch.
CURVLINOPS_BATCHES = 8
SIZE = f"64–32–10 tanh, 2,410 parameters, ({SAMPLES}, {BATCH_SIZE}), {BATCHES} batches"


def rows(quick: bool) -> Iterator[Row]:
    import torch

    torch.set_num_threads(1)
    theta = network().theta0
    batches = es.WithoutReplacement(BATCH_SIZE).draw(SAMPLES, BATCHES, np.random.default_rng(1))
    few = batches[:CURVLINOPS_BATCHES]
    exact = np.linalg.eigvalsh(network().hessian(theta, few[:4]))[:, -1]
    error = relative_error(largest_eigenvalues(network().curvature(theta), few[:4]), exact)
    yield compare(
        "minibs-torch",
        "MiniBS, torch network, per batch",
        SIZE,
        ours=Side(lambda r: minibs(theta, r), BATCHES),
        rival=Side(lambda _: [by_curvlinops(batch) for batch in few], len(few)),
        against="eigsh on curvlinops' Hessian of the batch",
        goal=Goal("ratio", at_least=AGAINST_CURVLINOPS),
        errors=(error, relative_error(np.array([by_curvlinops(batch) for batch in few[:4]]), exact)),
    )
    for tolerance, words in ((0.0, "as it comes"), (1e-8, "to the tolerance of ours")):
        found = np.array([by_double_backward(batch, tolerance) for batch in few[:4]])
        yield compare(
            "minibs-torch",
            "MiniBS, torch network, per batch",
            SIZE,
            ours=Side(lambda r: minibs(theta, r), BATCHES),
            rival=Side(lambda _, t=tolerance: [by_double_backward(batch, t) for batch in batches], BATCHES),
            against=f"eigsh on double backward, {words}",
            goal=Goal("ratio", at_least=AGAINST_DOUBLE_BACKWARD),
            errors=(error, relative_error(found, exact)),
        )


@cache
def network() -> es.bridge.TorchProblem:
    import torch
    from torch import nn

    digits = es.data.load("digits", standardize=False)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    labels = digits.targets[:SAMPLES].astype(int)
    return es.bridge.TorchProblem(module, digits.inputs[:SAMPLES] / 16, np.eye(10)[labels])


def minibs(theta: Array, seed: int) -> es.Estimate:
    return es.minibatch_sharpness(network(), theta, es.WithoutReplacement(BATCH_SIZE), n_batches=BATCHES, seed=seed)


def by_double_backward(batch: Array, tolerance: float) -> float:
    """What one would write: the gradient once, and a backward pass through it for each product."""
    import torch

    module, (x, y) = network().module, network().tensors
    parameters = list(module.parameters())
    loss = ((module(x[batch]) - y[batch]) ** 2).sum() / (2 * len(batch))
    gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, parameters, create_graph=True)])

    def product(vector: Array) -> Array:
        image = torch.autograd.grad(gradient, parameters, torch.from_numpy(vector), retain_graph=True)
        return torch.cat([part.reshape(-1) for part in image]).numpy()

    operator = LinearOperator((len(gradient),) * 2, matvec=product, dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", tol=tolerance, return_eigenvectors=False)[0])


def by_curvlinops(batch: Array) -> float:
    import torch
    from curvlinops import HessianLinearOperator

    module, (x, y) = network().module, network().tensors
    data = [(x[batch], y[batch])]
    # Its squared error is a mean over the ten outputs as well, without the half.
    hessian = HessianLinearOperator(
        module, torch.nn.MSELoss(), list(module.parameters()), data, check_deterministic=False
    ).to_scipy()
    return 5.0 * float(eigsh(hessian, k=1, which="LA", return_eigenvectors=False)[0])
