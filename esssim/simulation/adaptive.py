"""One replica of RMSProp or Adam on mini-batches, and its preconditioner."""

from __future__ import annotations

from typing import cast

import numpy as np

from esssim._kernels import adaptive as kernels
from esssim._kernels.layout import in_cache_lines
from esssim._kernels.sgd import DIVERGENCE_LIMIT
from esssim._validate import FloatArray
from esssim.adaptive import PreconditionedMethod
from esssim.problems import Problem
from esssim.simulation.runner import (
    Drawn,
    LeastSquaresLoop,
    Loop,
    Metric,
    Optimiser,
    PlainLoop,
    Replica,
    is_compiled_least_squares,
)


class AdaptiveReplica(Replica):
    """The state of one run of an adaptive method."""

    @property
    def method(self) -> Metric | None:
        """That of the last step; None before the first one."""
        method, loop = self.optimiser.adaptive, cast("_LeastSquaresLoop | _PlainLoop", self._loop)
        if method is None or self.step == 0:
            return None
        return Metric(method.preconditioner(loop.squares, self.step), method.first_decay)

    def _loop_for(self, theta0: FloatArray) -> Loop:
        loop = _LeastSquaresLoop if is_compiled_least_squares(self.problem) else _PlainLoop
        return loop(self.problem, theta0)


def _law(o: Optimiser) -> tuple[float, float, float, bool]:
    method = cast(PreconditionedMethod, o.adaptive)
    return method.first_decay, method.decay, method.epsilon, method.is_corrected


class _LeastSquaresLoop(LeastSquaresLoop):
    def __init__(self, problem: Problem, theta0: FloatArray) -> None:
        assert is_compiled_least_squares(problem)
        super().__init__(problem, theta0)
        self._means, self._squares = in_cache_lines(0 * self._theta), in_cache_lines(0 * self._theta)

    @property
    def squares(self) -> FloatArray:
        """v, (p,)."""
        return self._squares[:, : self._n_inputs].ravel()

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._means, self._squares)
        return int(kernels.run_least_squares(drawn, noise, *data, first, o.ramp.for_kernel(o.n_steps), _law(o)))


class _PlainLoop(PlainLoop):
    def __init__(self, problem: Problem, theta0: FloatArray) -> None:
        super().__init__(problem, theta0)
        self._means, self.squares = np.zeros_like(theta0), np.zeros_like(theta0)

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        law = _law(o)
        for m, batch in enumerate(drawn):
            gradient = self.gradient_of(batch, noise[m] if len(noise) else None)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            kernels.take_step(self.theta, self._means, self.squares, gradient, eta, first + m + 1, law)
        return -1
