"""One replica of SGD with dropout of inputs."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from esssim._kernels import dropout as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray
from esssim.dropout import Dropout
from esssim.problems.boundary import divergence_is_expected
from esssim.problems.regression import LeastSquares
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


class DropoutReplica(Replica):
    """The state of one run whose batches see masked inputs."""

    @property
    def method(self) -> Dropout:
        return _law(self.optimiser)

    def _draw(self, first: int, last: int) -> tuple[Drawn, FloatArray]:
        """Batches (m, b), and the normal numbers of each step: what its targets are off (b) before its masks (b·d)."""
        o = self.optimiser
        assert isinstance(self.problem, LeastSquares)
        labels = o.sampling.batch_size if o.label_noise > 0 else 0
        masks = o.sampling.batch_size * self.problem.inputs.shape[1]
        return draw_batches(o.sampling, self.order, first, last, labels + masks, self.rng)

    @property
    def _numbers_of_a_step(self) -> int:
        assert isinstance(self.problem, LeastSquares)
        return self.optimiser.sampling.batch_size * (2 + self.problem.inputs.shape[1])

    def _loop_for(self, theta0: FloatArray) -> Loop:
        if is_compiled_least_squares(self.problem):
            return _LeastSquaresLoop(self.problem, theta0)
        return _PlainLoop(self.problem, theta0)


def _law(o: Optimiser) -> Dropout:
    assert isinstance(o.noise, Dropout)
    return o.noise


def _split(normals: FloatArray, o: Optimiser) -> tuple[FloatArray, FloatArray]:
    """What the targets are off, (m, b) or (0, 0), and the numbers of the masks (m, b·d)."""
    if o.label_noise == 0:
        return np.empty((0, 0)), normals
    b = o.sampling.batch_size
    return o.label_noise * normals[:, :b], np.ascontiguousarray(normals[:, b:])


class _LeastSquaresLoop(LeastSquaresLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        offsets, normals = _split(noise, o)
        rate = _law(o).rate
        law = (float(ndtri(1 - rate)), 1 / (1 - rate))
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        ramp = o.ramp.for_kernel(o.n_steps)
        return int(kernels.run_least_squares(drawn, normals, offsets, *law, *data, first, ramp, o.momentum, o.nesterov))


class _PlainLoop(PlainLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        problem, rate = self._problem, _law(o).rate
        assert isinstance(problem, LeastSquares)
        offsets, normals = _split(noise, o)
        kept = float(ndtri(1 - rate))
        for m, batch in enumerate(drawn):
            masked = problem.inputs[batch] * (normals[m].reshape(len(batch), -1) < kept) / (1 - rate)
            with np.errstate(all="ignore"), divergence_is_expected():
                residuals = masked @ problem.effective_weights(self.theta) - problem.targets[batch]
                if len(offsets):
                    residuals = residuals - offsets[m]
                gradient = np.asarray(problem.pull_back(self.theta, residuals @ masked / len(batch)))
            if not (np.abs(gradient).max() <= DIVERGENCE_LIMIT and np.abs(residuals).max() <= DIVERGENCE_LIMIT):
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            take_step(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1
