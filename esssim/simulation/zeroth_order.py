"""One replica of zeroth-order descent: steps along random directions, on mini-batches."""

from __future__ import annotations

import numpy as np

from esssim._kernels import zeroth_order as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray
from esssim.problems import Problem
from esssim.simulation.runner import (
    Drawn,
    LeastSquaresLoop,
    Loop,
    Optimiser,
    PlainLoop,
    Replica,
    draw_batches,
    is_compiled_least_squares,
)
from esssim.zeroth_order import ZerothOrder


class ZerothOrderReplica(Replica):
    """The state of one run whose steps are θ − η(uᵀg_B)u."""

    @property
    def method(self) -> ZerothOrder:
        assert isinstance(self.optimiser.noise, ZerothOrder)
        return self.optimiser.noise

    def _draw(self, first: int, last: int) -> tuple[Drawn, FloatArray]:
        """Batches (m, b), and the normal numbers of each step: what its targets are off (b·c) before u (p)."""
        o = self.optimiser
        labels = o.sampling.batch_size * self.n_outputs if o.label_noise > 0 else 0
        return draw_batches(o.sampling, self.order, first, last, labels + self.problem.n_params, self.rng)

    @property
    def _numbers_of_a_step(self) -> int:
        return self.optimiser.sampling.batch_size + self.problem.n_params

    def _loop_for(self, theta0: FloatArray) -> Loop:
        loop = _LeastSquaresLoop if is_compiled_least_squares(self.problem) else _PlainLoop
        return loop(self.problem, theta0)


def _split(normals: FloatArray, n_params: int, label_noise: float) -> tuple[FloatArray, FloatArray]:
    """What the targets are off, (m, b·c) or (0, 0), and the directions (m, p)."""
    labels, directions = normals[:, :-n_params], np.ascontiguousarray(normals[:, -n_params:])
    return label_noise * labels if label_noise > 0 else np.empty((0, 0)), directions


class _LeastSquaresLoop(LeastSquaresLoop):
    def __init__(self, problem: Problem, theta0: FloatArray) -> None:
        assert is_compiled_least_squares(problem)
        super().__init__(problem, theta0)
        self._n_params = problem.n_params

    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        offsets, directions = _split(noise, self._n_params, o.label_noise)
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return int(kernels.run_least_squares(drawn, directions, offsets, *data, first, ramp, o.momentum, o.nesterov))


class _PlainLoop(PlainLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        offsets, directions = _split(noise, self._problem.n_params, o.label_noise)
        for m, (batch, direction) in enumerate(zip(drawn, directions, strict=True)):
            gradient = self.gradient_of(batch, offsets[m] if len(offsets) else None)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            along = float(direction @ gradient) * direction
            take_step(self.theta, self.velocity, along, eta, o.momentum, o.nesterov)
        return -1
