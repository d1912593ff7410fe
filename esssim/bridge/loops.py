"""One run of SGD on a torch problem: the compiled loop for perceptrons, `torch.func` for every other module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from esssim._kernels import multilayer
from esssim._kernels import sampling as kernels
from esssim._kernels.sgd import DIVERGENCE_LIMIT, update
from esssim._validate import FloatArray, IntArray
from esssim.bridge.networks import Layout, layout_of
from esssim.bridge.problem import TorchProblem
from esssim.bridge.schedule import Piecewise
from esssim.sampling import Sampling
from esssim.simulation.runner import DRAWN_AHEAD, scheme_code

KINDS = {"tanh": multilayer.TANH, "gelu": multilayer.GELU, "relu": multilayer.RELU}
LOSSES = {"squared": multilayer.SQUARED, "cross_entropy": multilayer.CROSS_ENTROPY}


@dataclass(frozen=True)
class Optimiser:
    """What is the same for every replica of a run."""

    step_size: Callable[[IntArray], FloatArray]
    sampling: Piecewise[Sampling]
    momentum: float
    label_noise: float


class Run:
    """The state of one run: θ, v, the permutation, the generator and the step; `advance` moves it on."""

    def __init__(
        self, problem: TorchProblem, theta0: FloatArray, optimiser: Optimiser, rng: np.random.Generator
    ) -> None:
        self.optimiser, self.rng, self.n_samples = optimiser, rng, problem.n_samples
        self.n_outputs = problem.n_outputs if optimiser.label_noise > 0 else 0
        self.theta, self.velocity = theta0.copy(), np.zeros_like(theta0)
        self.order = np.arange(problem.n_samples)
        self.step, self.diverged_at = 0, -1
        self._loop = loop_for(problem)

    def advance(self, step: int) -> None:
        """Run up to `step`, or up to the step that diverges; a diverged run stays where it is."""
        o = self.optimiser
        while self.step < step and self.diverged_at < 0:
            piece = o.sampling.piece_at(self.step)
            since = (0, *o.sampling.changes)[piece]
            until = (*o.sampling.changes, step)[piece] if piece < len(o.sampling.changes) else step
            scheme = o.sampling.values[piece]
            last = min(step, until, self.step + max(1, DRAWN_AHEAD // scheme.batch_size))
            batches, noise = self._draw(scheme, since, last)
            etas = o.step_size(np.arange(self.step, last))
            self.diverged_at = int(self._loop(batches, noise, self.theta, self.velocity, self.step, etas, o.momentum))
            self.step = last

    def _draw(self, scheme: Sampling, since: int, last: int) -> tuple[IntArray, FloatArray]:
        """Batches (m, b) of the steps up to `last` and what their targets are off, (m, b·c), or (0, 0) without noise.

        The stream is that of `simulate`: each step takes its uniform numbers, then its normal ones. Epochs of a
        reshuffled piece begin where it begins.
        """
        first, b, code = self.step - since, scheme.batch_size, scheme_code(scheme)
        count = last - self.step
        counts = kernels.counts_of_numbers(code, self.n_samples, b, first, first + count)
        uniforms, normals = np.empty(counts.sum()), np.empty((count, b * self.n_outputs))
        if self.n_outputs:
            kernels.draw_numbers(self.rng, counts, uniforms, normals)
        else:
            uniforms, normals = self.rng.random(counts.sum()), np.empty((0, 0))
        batches = np.empty((count, b), dtype=np.int64)
        kernels.consecutive_batches(uniforms, counts, code, self.order, first, batches)
        return batches, self.optimiser.label_noise * normals


Loop = Callable[[IntArray, FloatArray, FloatArray, FloatArray, int, FloatArray, float], int]


def loop_for(problem: TorchProblem) -> Loop:
    """The fastest loop that a problem has: (batches, noise, θ, v, first step, step sizes, β) ↦ step of divergence or −1."""
    layout = layout_of(problem.module)
    if layout is not None and problem.loss_name in LOSSES and problem.dtype == "float64":
        return _compiled(problem, layout)
    return _general(problem)


def _compiled(problem: TorchProblem, layout: Layout) -> Loop:
    inputs = np.ascontiguousarray(problem.inputs.reshape(problem.n_samples, -1), dtype=np.float64)
    targets = problem.targets
    if problem.loss_name == "cross_entropy":
        targets = np.eye(problem.n_outputs)[targets]
    targets = np.ascontiguousarray(targets.reshape(problem.n_samples, -1), dtype=np.float64)
    fixed = (inputs, targets, np.array(layout.widths), KINDS[layout.activation], LOSSES[problem.loss_name])

    def run(
        batches: IntArray, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        return multilayer.run_layers(batches, noise, *fixed, theta, velocity, first, etas, momentum)

    return run


def _general(problem: TorchProblem) -> Loop:
    """Reverse mode through the module as a function of θ."""
    gradient, kind = problem._functional.gradient, problem._kind

    def run(
        batches: IntArray, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        for m, batch in enumerate(torch.as_tensor(batches)):
            targets = problem._y[batch]
            if len(noise):
                targets = targets + torch.as_tensor(noise[m].reshape(targets.shape), dtype=kind)
            found = gradient(torch.as_tensor(theta, dtype=kind), problem._x[batch], targets).numpy().astype(np.float64)
            if not np.abs(found).max() <= DIVERGENCE_LIMIT:
                problem.check_derivatives_at(torch.as_tensor(theta, dtype=kind), batch)
                return first + m
            update(theta, velocity, found, float(etas[m]), momentum, False)
        return -1

    return run
