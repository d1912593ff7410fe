"""The Hessians of a network by their products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.problems.operators import OperatorCurvature

if TYPE_CHECKING:
    from esssim.bridge.problem import TorchProblem


class TorchCurvature(OperatorCurvature):
    """H_Bv forward over reverse, for all batches at once."""

    def __init__(self, problem: TorchProblem, theta: FloatArray) -> None:
        self._problem, self._theta = problem, theta
        self.n_samples, self.n_params = problem.n_samples, problem.n_params
        self.tolerance = problem.tolerance

    def bound(self, batches: IntArray) -> Callable[[FloatArray], FloatArray]:
        return lambda vectors: self._problem.hessian_products(self._theta, batches, vectors)

    def images(self, vectors: FloatArray) -> FloatArray:
        alone = np.arange(self.n_samples)[:, None]
        own = np.broadcast_to(vectors, (self.n_samples, self.n_params))
        return self._problem.hessian_products(self._theta, alone, own)
