"""Mean-square sharpness of a network from below at every record: a fixed number of leading directions, J never formed.

`esssim.bridge.subspace` doubles the number until the value converges, and costs as much more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from esssim import _validate
from esssim._validate import FloatArray
from esssim.bridge.problem import TorchProblem
from esssim.problems import BlockCurvature
from esssim.sampling import Sampling, check_sampling
from esssim.spectra import lanczos_largest_eigenvalue

RANK = 64
OVERSAMPLING = 8
ITERATIONS = 4


def leading_mean_square_sharpness(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, *, rank: int = RANK
) -> float:
    """Q_b of the compressed Gauss–Newton blocks VᵀHᵢV, V (p, r) orthonormal and near the r leading eigenvectors of H.

    The pencil of `mean_square_sharpness` restricted to matrices VMVᵀ: its top is a lower bound on Q_b for every V, and
    rises with r. V comes from a few block power steps of products with J and Jᵀ, J never formed: O(r) gradients of all
    samples, whatever p. theta: (p,); rank: r, at most p. The same theta gives the same bits.
    """
    check_sampling(sampling, problem.n_samples)
    r = min(_validate.integer("rank", rank, 1), problem.n_params)
    point = torch.as_tensor(problem.check_point(theta), dtype=problem._kind)
    forward, backward = _products(problem, point)
    generator = torch.Generator().manual_seed(0)
    size = min(r + OVERSAMPLING, problem.n_params)
    basis = torch.linalg.qr(torch.randn(problem.n_params, size, generator=generator, dtype=problem._kind))[0]
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(backward(forward(basis)))[0]
    compressed = forward(basis)
    rows = compressed.reshape(-1, size)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    blocks = (compressed @ vectors[:, -r:]).numpy().astype(np.float64)
    c = sampling.variance_coefficient(problem.n_samples)
    return _top_of_pencil(np.ascontiguousarray(blocks), c)


def _top_of_pencil(blocks: FloatArray, c: float) -> float:
    """The top of the pencil of Hᵢ = AᵢᵀAᵢ, Aᵢ = blocks[i], whose mean is diagonal; as `statistics.mean_square`, to 1e-6."""
    r = blocks.shape[2]
    values = (blocks**2).sum(axis=(0, 1)) / len(blocks)
    if c == 0.0:
        return float(values.max())
    kept = values > 1e-12 * values.max()
    curvature, values = BlockCurvature(np.ascontiguousarray(blocks[:, :, kept])), values[kept]
    weight = 1.0 / np.sqrt((values[:, None] + values) / 2)
    r = len(values)

    def symmetrised(vector: FloatArray) -> FloatArray:
        matrix = weight * vector.reshape(r, r)
        matrix = (matrix + matrix.T) / 2
        second = (1 - c) * values[:, None] * matrix * values + c * curvature.mean_conjugation(matrix)
        return np.asarray(weight * second).ravel()

    return lanczos_largest_eigenvalue(symmetrised, r * r, start=np.eye(r).ravel(), tolerance=1e-4)[0]


Map = Callable[[Tensor], Tensor]


def _products(problem: TorchProblem, point: Tensor) -> tuple[Map, Map]:
    """(V (p, r) ↦ RᵢᵀJᵢV (n, c, r), and its transpose)."""
    function = problem._functional

    def model(theta: Tensor) -> Tensor:
        return function.outputs(theta, problem._x)

    found: Any = torch.func.vjp(model, point)
    outputs, transposed = found
    roots = problem._root(outputs.detach(), problem._y)
    # u ↦ Jᵀu is linear, so that its own transpose is V ↦ JV: reverse mode alone, which every layer has.
    twice: Any = torch.func.vjp(lambda covector: transposed(covector)[0], torch.zeros_like(outputs))
    along = torch.func.vmap(lambda direction: twice[1](direction)[0])
    back = torch.func.vmap(lambda covector: transposed(covector)[0])

    def forward(basis: Tensor) -> Tensor:
        images = along(basis.T.contiguous()).detach()
        return torch.einsum("nck,rnc->nkr", roots, images)

    def backward(blocks: Tensor) -> Tensor:
        covectors = torch.einsum("nck,nkr->rnc", roots, blocks)
        gradients: Tensor = back(covectors).detach().T
        return gradients

    return forward, backward
