"""One step of SGD on a perceptron, its batch drawn inside, against the training loop that one writes in torch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import esssim as es

from .instances import Array
from .table import Goal, Row, compare
from .timing import Side

STEPS = {4: 20_000, 16: 20_000, 64: 5000}
RIVAL_STEPS = 400
ETA = 0.1


def rows(quick: bool) -> Iterator[Row]:
    from esssim import bridge

    data = bridge.data.classes("digits", 512)
    module = bridge.mlp(data.n_inputs, (32,), data.n_outputs, gain=0.5, seed=0)
    problem = bridge.TorchProblem(module, data.inputs, data.targets)
    for b in (16,) if quick else tuple(STEPS):
        steps = STEPS[b] // (10 if quick else 1)
        batches = es.WithoutReplacement(b).draw(problem.n_samples, RIVAL_STEPS, np.random.default_rng(0))
        row = compare(
            "network-sgd",
            "SGD step, tanh network of 2410 parameters",
            f"(512, 64, {b}), {steps:,} steps",
            ours=Side(lambda r, b=b, k=steps: ours(problem, b, k, seed=r), steps),
            rival=Side(lambda r, m=batches: torch_loop(problem, m), RIVAL_STEPS),
            against="a torch loop with torch.optim.SGD, batches drawn beforehand",
            goal=Goal("ratio", at_least=5.0),
            errors=accuracy(problem, b),
        )
        yield row


def ours(problem, b: int, n_steps: int, seed: int) -> Array:  # type: ignore[no-untyped-def]
    from esssim import bridge

    run = bridge.train(
        problem, problem.theta0, step_size=ETA, sampling=es.WithoutReplacement(b), n_steps=n_steps, record=("theta",),
        n_records=1, seed=seed,
    )  # fmt: skip
    return np.asarray(run["theta"].values[0, -1])


def torch_loop(problem, batches: Array) -> Array:  # type: ignore[no-untyped-def]
    """What one would write."""
    import copy

    import torch

    module = copy.deepcopy(problem.module)
    optimiser = torch.optim.SGD(module.parameters(), lr=ETA)
    inputs, targets = torch.tensor(problem.inputs), torch.tensor(problem.targets)
    for batch in torch.tensor(batches):
        optimiser.zero_grad()
        loss = ((module(inputs[batch]) - targets[batch]) ** 2).sum(dim=1).mean() / 2
        loss.backward()
        optimiser.step()
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()


def exact_loop(problem, batches: Array) -> Array:  # type: ignore[no-untyped-def]
    """The same steps in 80-bit arithmetic."""
    first, _, second = problem.module
    parts = [part.detach().numpy().astype(np.longdouble) for layer in (first, second) for part in layer.parameters()]
    inputs, targets = problem.inputs.astype(np.longdouble), problem.targets.astype(np.longdouble)
    for batch in batches:
        inner, offset, outer, top = parts
        x = inputs[batch]
        hidden = np.tanh(x @ inner.T + offset)
        delta = (hidden @ outer.T + top - targets[batch]) / len(batch)
        back = (delta @ outer) * (1 - hidden**2)
        gradients = (back.T @ x, back.sum(axis=0), delta.T @ hidden, delta.sum(axis=0))
        parts = [part - np.longdouble(ETA) * gradient for part, gradient in zip(parts, gradients, strict=True)]
    return np.concatenate([part.ravel() for part in parts])


def accuracy(problem, b: int, n_steps: int = 50) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """max |θ − θ*|/max |θ*| of ours and of torch, each on its own batches, θ* in 80-bit arithmetic."""
    from .sgd import replayed_draw

    draw = replayed_draw(np.random.default_rng(np.random.SeedSequence(1, spawn_key=(0,))), problem.n_samples)
    replayed = np.array([draw(problem.n_samples, b) for _ in range(n_steps)])
    exact = exact_loop(problem, replayed)
    scale = float(np.abs(exact).max())
    found = ours(problem, b, n_steps, seed=1), torch_loop(problem, replayed)
    return float(np.abs(found[0] - exact).max() / scale), float(np.abs(found[1] - exact).max() / scale)
