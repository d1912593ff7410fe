"""One replica of sharpness-aware minimisation on mini-batches."""

from __future__ import annotations

import numpy as np

from esssim._kernels import sharpness_aware as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray
from esssim.sharpness_aware import SharpnessAware
from esssim.simulation.runner import (
    Drawn,
    LeastSquaresLoop,
    Loop,
    Optimiser,
    PlainLoop,
    Replica,
    is_compiled_least_squares,
)


class SharpnessAwareReplica(Replica):
    """The state of one run whose steps are θ − ηg_B(θ + ρg_B)."""

    @property
    def method(self) -> SharpnessAware:
        return _law(self.optimiser)

    def _loop_for(self, theta0: FloatArray) -> Loop:
        loop = _LeastSquaresLoop if is_compiled_least_squares(self.problem) else _PlainLoop
        return loop(self.problem, theta0)  # type: ignore[arg-type]


def _law(o: Optimiser) -> SharpnessAware:
    assert isinstance(o.noise, SharpnessAware)
    return o.noise


class _LeastSquaresLoop(LeastSquaresLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        data = (self._inputs, self._targets, self._link, self._depth, self._theta, self._velocity)
        law, ramp = _law(o), o.ramp.for_kernel(o.n_steps)
        options = (first, ramp, o.momentum, o.nesterov, law.radius, law.normalised)
        return int(kernels.run_least_squares(drawn, noise, *data, *options))


class _PlainLoop(PlainLoop):
    def run(self, drawn: Drawn, noise: FloatArray, first: int, o: Optimiser) -> int:
        law = _law(o)
        for m, batch in enumerate(drawn):
            offsets = noise[m] if len(noise) else None
            gradient = self.gradient_of(batch, offsets)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            length = float(np.linalg.norm(gradient)) if law.normalised else 1.0
            if length > 0.0:
                gradient = self.gradient_of(batch, offsets, self.theta + law.radius / length * gradient)
            if not np.abs(gradient).max() <= DIVERGENCE_LIMIT:
                return first + m
            eta = float(o.ramp.at(first + m, o.n_steps))
            take_step(self.theta, self.velocity, gradient, eta, o.momentum, o.nesterov)
        return -1
