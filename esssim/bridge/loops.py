"""One run of SGD on a torch problem: the compiled loop for perceptrons, `torch.func` for every other module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from esssim._kernels import multilayer, noisy_layers
from esssim._kernels.sgd import DIVERGENCE_LIMIT, take_step
from esssim._validate import FloatArray, IntArray
from esssim.bridge.layers import Layer, is_own, layers_of
from esssim.bridge.problem import TorchProblem
from esssim.bridge.schedule import Piecewise, Scheme
from esssim.gradient_noise import DiagonalNoise, GradientNoise, IsotropicNoise
from esssim.random_weights import RandomWeights
from esssim.simulation.noisy import draw_normals, noisy_gradient
from esssim.simulation.runner import DRAWN_AHEAD, Drawn, draw_batches
from esssim.simulation.weighted import draw_steps, noise_gradient

KINDS = {"tanh": multilayer.TANH, "gelu": multilayer.GELU, "relu": multilayer.RELU}
LOSSES = {"squared": multilayer.SQUARED, "cross_entropy": multilayer.CROSS_ENTROPY}


@dataclass(frozen=True)
class Optimiser:
    """What is the same for every replica of a run."""

    step_size: Callable[[IntArray], FloatArray]
    sampling: Piecewise[Scheme]
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
        self._problem, self._loop = problem, loop_for(problem)

    def advance(self, step: int) -> None:
        """Run up to `step`, or up to the step that diverges; a diverged run stays where it is."""
        o = self.optimiser
        while self.step < step and self.diverged_at < 0:
            piece = o.sampling.piece_at(self.step)
            since = (0, *o.sampling.changes)[piece]
            until = (*o.sampling.changes, step)[piece] if piece < len(o.sampling.changes) else step
            scheme = o.sampling.values[piece]
            last = min(step, until, self.step + max(1, DRAWN_AHEAD // self._numbers_of_a_step(scheme)))
            etas = o.step_size(np.arange(self.step, last))
            loop = self._loop_of(scheme)
            drawn, noise = self._draw(scheme, since, last)
            self.diverged_at = int(loop(drawn, noise, self.theta, self.velocity, self.step, etas, o.momentum))
            self.step = last

    def _numbers_of_a_step(self, scheme: Scheme) -> int:
        if isinstance(scheme, GradientNoise):
            return self._problem.n_params + self.n_samples * self.n_outputs
        return self.n_samples if isinstance(scheme, RandomWeights) else scheme.batch_size

    def _loop_of(self, scheme: Scheme) -> Loop:
        if isinstance(scheme, GradientNoise):
            return noisy_loop(self._problem, scheme)
        return weighted_loop(self._problem) if isinstance(scheme, RandomWeights) else self._loop

    def _draw(self, scheme: Scheme, since: int, last: int) -> tuple[Drawn, FloatArray]:
        """Batches (m, b) of the steps up to `last` and what their targets are off, (m, b·c), or (0, 0) without noise.

        The stream is that of `simulate`: each step takes its uniform numbers, then its normal ones. Epochs of a
        reshuffled piece begin where it begins. Random weights (m, n), or normal numbers (m, p) of the gradient's noise,
        take the place of batches.
        """
        if isinstance(scheme, GradientNoise):
            sizes = (last - self.step, self._problem.n_params, self.n_samples * self.n_outputs)
            return draw_normals(self.rng, *sizes, self.optimiser.label_noise)
        if isinstance(scheme, RandomWeights):
            noisy = (self.n_outputs, last - self.step, self.optimiser.label_noise)
            return draw_steps(scheme, self.n_samples, *noisy, self.rng)
        stretch = (self.step - since, last - since, scheme.batch_size * self.n_outputs)
        batches, normals = draw_batches(scheme, self.order, *stretch, self.rng)
        return batches, self.optimiser.label_noise * normals


Loop = Callable[[Drawn, FloatArray, FloatArray, FloatArray, int, FloatArray, float], int]


def loop_for(problem: TorchProblem) -> Loop:
    """The fastest loop that a problem has: (batches, noise, θ, v, first step, step sizes, β) ↦ step of divergence or
    −1.
    """
    layers = layers_of(problem)
    if layers is not None and problem.dtype == "float64" and is_compiled(problem, layers):
        return _compiled(problem, layers)
    return _general(problem)


def is_compiled(problem: TorchProblem, layers: list[Layer]) -> bool:
    """Whether the compiled loop has a network: θ = (W₁, c₁, W₂, c₂, …), and one activation between all layers."""
    module, start = problem.functional.module, 0
    for layer in layers:
        if (layer.weight, layer.offset) != (start, start + layer.d_in * layer.d_out):
            return False
        start += (layer.d_in + 1) * layer.d_out
    between = {layer.activation for layer in layers[:-1]}
    alone = type(module) is nn.Sequential and len(module) == 2 * len(layers) - 1
    return alone and len(between) <= 1 and between <= KINDS.keys()


def _compiled(problem: TorchProblem, layers: list[Layer]) -> Loop:
    fixed = _for_kernel(problem, layers)

    def run(
        batches: IntArray, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        return multilayer.run_layers(batches, noise, *fixed, theta, velocity, first, etas, momentum)

    return run


def _for_kernel(problem: TorchProblem, layers: list[Layer]) -> tuple[FloatArray, FloatArray, IntArray, int, int]:
    """Inputs, targets, widths, activation and loss, as the compiled loops take them."""
    inputs, targets = (part.numpy() for part in problem.tensors)
    if problem.loss_name == "cross_entropy":
        targets = np.eye(problem.n_outputs)[targets]
    kind = KINDS[layers[0].activation or "tanh"]
    widths = np.array([layers[0].d_in, *(layer.d_out for layer in layers)])
    return np.ascontiguousarray(inputs), np.ascontiguousarray(targets), widths, kind, LOSSES[problem.loss_name]


def _general(problem: TorchProblem) -> Loop:
    """Step by step with any module."""
    gradient, kind = _reverse_mode(problem) if is_own(problem) else _own_gradient(problem), problem.kind

    def run(
        batches: IntArray, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        for m, batch in enumerate(batches):
            found = gradient(theta, batch, noise[m] if len(noise) else None)
            if not np.abs(found).max() <= DIVERGENCE_LIMIT:
                problem.check_derivatives_at(torch.as_tensor(theta, dtype=kind), torch.as_tensor(batch))
                return first + m
            take_step(theta, velocity, found, float(etas[m]), momentum, False)
        return -1

    return run


Gradient = Callable[[FloatArray, IntArray, FloatArray | None], FloatArray]


def _reverse_mode(problem: TorchProblem) -> Gradient:
    """(θ, batch, noise (b·c,) or None) ↦ g_B with noisy targets, through the module as a function of θ."""
    inputs, labels = problem.tensors
    kind = problem.kind

    def gradient(theta: FloatArray, batch: IntArray, noise: FloatArray | None) -> FloatArray:
        rows = torch.as_tensor(batch)
        targets = labels[rows]
        if noise is not None:
            targets = targets + torch.as_tensor(noise.reshape(targets.shape), dtype=kind)
        found = problem.functional.gradient(torch.as_tensor(theta, dtype=kind), inputs[rows], targets)
        return np.asarray(found.numpy().astype(np.float64))

    return gradient


def _own_gradient(problem: TorchProblem) -> Gradient:
    """The same by the problem's own `gradient`, which a subclass has written; noise ε takes Jᵀε/b away."""

    def gradient(theta: FloatArray, batch: IntArray, noise: FloatArray | None) -> FloatArray:
        found = np.array(problem.gradient(theta, batch))
        if noise is not None:
            found -= noise @ problem.sample_jacobians(theta, batch).reshape(len(noise), -1) / len(batch)
        return found

    return gradient


def weighted_loop(problem: TorchProblem) -> Loop:
    """Step by step with weights of all samples, by the gradient of Σᵢwᵢℓᵢ."""

    def run(
        drawn: Drawn, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        for m, weights in enumerate(drawn):
            some = np.flatnonzero(weights)
            found = _weighted_gradient(problem, theta, some, weights[some])
            if len(noise):
                found = found - noise_gradient(problem, theta, some, weights, noise[m])
            if not np.abs(found).max() <= DIVERGENCE_LIMIT:
                problem.check_derivatives_at(torch.as_tensor(theta, dtype=problem.kind), torch.as_tensor(some))
                return first + m
            take_step(theta, velocity, found, float(etas[m]), momentum, False)
        return -1

    return run


def _weighted_gradient(problem: TorchProblem, theta: FloatArray, some: IntArray, weights: FloatArray) -> FloatArray:
    if not is_own(problem):
        return np.asarray(weights @ problem.sample_gradients(theta, some))
    inputs, labels = problem.tensors
    rows, kind = torch.as_tensor(some), problem.kind
    found = problem.functional.weighted_gradient(
        torch.as_tensor(theta, dtype=kind), inputs[rows], labels[rows], torch.as_tensor(weights, dtype=kind)
    )
    return np.asarray(found.numpy().astype(np.float64))


def noisy_loop(problem: TorchProblem, law: GradientNoise) -> Loop:
    """The full gradient and noise of this law: compiled for perceptrons, by the gradient of every sample for others."""
    c, everyone = law.batches.variance_coefficient(problem.n_samples), np.arange(problem.n_samples)
    layers = layers_of(problem)
    known = type(law) in (IsotropicNoise, DiagonalNoise)
    if known and layers is not None and problem.dtype == "float64" and is_compiled(problem, layers):
        fixed = _for_kernel(problem, layers)

        def run_compiled(
            drawn: Drawn, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
            momentum: float,
        ) -> int:  # fmt: skip
            how = (theta, velocity, first, etas, momentum, c, isinstance(law, IsotropicNoise))
            return int(noisy_layers.run_noisy_layers(drawn, noise, *fixed, *how))

        return run_compiled

    def run(
        drawn: Drawn, noise: FloatArray, theta: FloatArray, velocity: FloatArray, first: int, etas: FloatArray,
        momentum: float,
    ) -> int:  # fmt: skip
        for m, normal in enumerate(drawn):
            with np.errstate(all="ignore"):  # what overflows is caught below
                found = noisy_gradient(problem, theta, law, normal, noise[m] if len(noise) else None)
            if not np.abs(found).max() <= DIVERGENCE_LIMIT:
                problem.check_derivatives_at(
                    torch.as_tensor(theta, dtype=problem.kind), torch.as_tensor(everyone[None])
                )
                return first + m
            take_step(theta, velocity, found, float(etas[m]), momentum, False)
        return -1

    return run
