"""The Hessians of a network by their products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from esssim._validate import FloatArray, IntArray
from esssim.bridge.differentiable import Differentiable
from esssim.bridge.fully_connected import FullyConnected
from esssim.bridge.layers import is_sequential, layers_of
from esssim.curvature import OperatorCurvature

# Samples whose gradient a traced network is compared with, and the relative difference that is rounding.
TRIED, AGREEMENT = 4, {torch.float64: 1e-10, torch.float32: 1e-4}


class TorchCurvature(OperatorCurvature):
    """H_Bv for all batches at once: by hand for fully connected networks, otherwise by reverse over reverse mode."""

    def __init__(self, problem: Differentiable, theta: FloatArray) -> None:
        self.n_samples, self.n_params = problem.n_samples, problem.n_params
        self.tolerance = problem.tolerance
        self._problem, self._theta = problem, theta
        self._network = fully_connected_at(problem, theta)

    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        if self._network is None:
            return lambda vectors: self._problem.hessian_products(self._theta, batches, vectors)
        with torch.no_grad():
            product = self._network.bound(torch.tensor(batches))
        kind = self._problem.tensors[0].dtype

        def apply(vectors: FloatArray) -> FloatArray:
            own = np.ascontiguousarray(vectors) if vectors.flags.writeable else np.array(vectors)
            with torch.no_grad():
                return product(torch.as_tensor(own, dtype=kind)).numpy().astype(np.float64, copy=False)

        return apply

    def gradients(self, batches: IntArray) -> FloatArray:
        """g_B of each batch (m, b): (m, p)."""
        if self._network is None:
            return self._problem.gradient(self._theta, batches)
        with torch.no_grad():
            return self._network.gradients(torch.tensor(batches)).numpy().astype(np.float64, copy=False)

    def images(self, vectors: FloatArray) -> FloatArray:
        alone = np.arange(self.n_samples)[:, None]
        return self.bound(alone)(np.broadcast_to(vectors, (self.n_samples, self.n_params)))


def fully_connected_at(problem: Differentiable, theta: FloatArray) -> FullyConnected | None:
    """The network at a point where it is fully connected and its loss is known, None elsewhere."""
    layers = layers_of(problem)
    if layers is None:
        return None
    x, y = problem.tensors
    with torch.no_grad():
        network = FullyConnected(layers, torch.tensor(theta, dtype=x.dtype), x, y, problem.loss_name)
        if is_sequential(problem) or _agrees(problem, theta, network):
            return network
    return None


def _agrees(problem: Differentiable, theta: FloatArray, network: FullyConnected) -> bool:
    """Whether a network that was traced has the module's own gradient: its forward may have seen that it was traced."""
    batch = np.arange(min(TRIED, problem.n_samples))[None]
    expected = problem.gradient(theta, batch)
    found = network.gradients(torch.tensor(batch)).numpy()
    return bool(np.abs(found - expected).max() <= AGREEMENT[problem.kind] * np.abs(expected).max())
