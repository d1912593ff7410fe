"""Mean-square sharpness of a network from below at every record: a fixed number of leading directions, J never formed.

`esssim.bridge.subspace` doubles the number until the value converges, and costs as much more.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from esssim import _validate
from esssim._threads import one_blas_thread
from esssim._validate import FloatArray
from esssim.bridge.curvature import fully_connected_at
from esssim.bridge.functional import Map
from esssim.bridge.problem import TorchProblem
from esssim.curvature import BlockCurvature
from esssim.curvature.scale import power_of_two_near
from esssim.sampling import Sampling, check_sampling
from esssim.statistics.mean_square import Pencil

RANK = 64
OVERSAMPLING = 8
# The more directions there are, the less the last of them count: beyond 32 two steps leave what four leave.
ITERATIONS, ITERATIONS_OF_MANY, MANY = 4, 2, 32
# Of the top of the pencil as a vector: the value, a Rayleigh quotient, has the square of it.
TOLERANCE = 1e-3
# Fourth powers of numbers between its inverse and it are far from the limits, in float32 too.
ORDINARY = 2.0**20


@one_blas_thread()
def leading_mean_square_sharpness(
    problem: TorchProblem, theta: FloatArray, sampling: Sampling, *, rank: int = RANK
) -> float:
    """Q_b of the compressed Gauss–Newton blocks VᵀHᵢV, V (p, r) orthonormal and near the r leading eigenvectors of H.

    The pencil of `mean_square_sharpness` restricted to matrices VMVᵀ: its top is a lower bound on Q_b for every V, and
    rises with r. V comes from a few block power steps of products with J and Jᵀ, J never formed: O(r) gradients of all
    samples, whatever p. theta: (p,); rank: r, at most p. The same theta gives the same bits.
    """
    check_sampling(sampling, problem.n_samples)
    blocks, unit = leading_blocks(problem, problem.check_point(theta), _validate.integer("rank", rank, 1))
    pencil = Pencil.of_diagonal_mean(blocks)
    c = sampling.variance_coefficient(problem.n_samples)
    top = pencil.rough_top(c, TOLERANCE) if c > 0.0 else float(pencil.eigenvalues.max())
    return top * unit**2


def leading_blocks(problem: TorchProblem, theta: FloatArray, rank: int) -> tuple[BlockCurvature, float]:
    """The blocks AᵢV (n, c, r) of the leading directions, in units of the number that comes with them."""
    r = min(rank, problem.n_params)
    forward, backward, unit = products(problem, theta)
    generator = torch.Generator().manual_seed(0)
    size = min(r + OVERSAMPLING, problem.n_params)
    basis = torch.linalg.qr(torch.randn(problem.n_params, size, generator=generator, dtype=problem.kind))[0]
    for _ in range(ITERATIONS if r <= MANY else ITERATIONS_OF_MANY):
        basis = torch.linalg.qr(backward(forward(basis)))[0]
    compressed = forward(basis)
    rows = compressed.reshape(-1, size)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    blocks = (compressed @ vectors[:, -r:]).numpy().astype(np.float64)
    return BlockCurvature(np.ascontiguousarray(blocks)), unit


def products(problem: TorchProblem, theta: FloatArray) -> tuple[Map, Map, float]:
    """(V (p, r) ↦ RᵢᵀJᵢV (n, c, r), and its transpose), both in a unit that keeps squares of them in range, and the
    unit.
    """
    x, y = problem.tensors
    network = fully_connected_at(problem, theta)
    if network is None:
        problem.check_derivatives_at(torch.tensor(theta, dtype=problem.kind), torch.arange(problem.n_samples))
        outputs, along, back = problem.functional.linearised(torch.tensor(theta, dtype=problem.kind), x)
    else:
        outputs, along, back = network.outputs, network.along, network.back
    roots = problem.root(outputs, y)

    def forward(basis: Tensor) -> Tensor:
        return (along(basis.T.contiguous()) @ roots).transpose(1, 2)

    def backward(blocks: Tensor) -> Tensor:
        return back(blocks.transpose(1, 2) @ roots.transpose(1, 2)).T

    probe = torch.randn(problem.n_params, 1, generator=torch.Generator().manual_seed(1), dtype=problem.kind)
    unit = power_of_two_near(forward(probe).numpy())
    if not 1 / ORDINARY < unit < ORDINARY:
        roots = roots / unit
        return forward, backward, unit
    return forward, backward, 1.0
