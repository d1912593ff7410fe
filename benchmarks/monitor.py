"""What watching a training loop costs: forecasts against the clock, and a budget of 5 % kept on a real clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .table import Goal, Row, judged
from .timing import REPETITIONS, Side, Spread, interleaved, one_thread

# Of a loop: so many seconds that several measurements are paid for.
BATCH, SHARE, SECONDS, ROUNDS = 32, 0.05, 40.0, 3
CHEAP = ("loss", "sharpness", "minibatch_sharpness", "batch_sharpness")


def rows(quick: bool) -> Iterator[Row]:
    first, *_ = networks().items()
    for name, network in networks().items():
        yield forecast(name, network)
        if quick:
            return
    yield within_budget(*first)


def networks() -> dict[str, Callable[[], Any]]:
    """A fully connected and a convolutional network, made anew by each call."""
    from torch import nn

    return {
        "tanh network": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)),
        "convolutional network": lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        ),
    }  # fmt: skip


class Loop:
    """Plain training of a network on digits, with a monitor or without."""

    def __init__(self, network: Callable[[], Any], **watched: Any) -> None:
        import torch
        from torch import nn

        from esssim import bridge

        torch.manual_seed(0)
        digits = bridge.data.classes("digits", 1024)
        self.images = torch.tensor(digits.inputs, dtype=torch.float32).reshape(-1, 1, 8, 8)
        self.labels = torch.tensor(digits.labels)
        self.net, self.loss = network(), nn.CrossEntropyLoss()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.05)
        self.generator = torch.Generator().manual_seed(1)
        self.monitor = None
        if watched:
            self.monitor = bridge.Monitor(
                self.net, self.images, self.labels, loss=self.loss, optimizer=self.optimizer, batch_size=BATCH,
                quiet=True, **watched,
            )  # fmt: skip

    def run(self, steps: int) -> None:
        import torch

        for step in range(steps):
            batch = torch.randperm(len(self.images), generator=self.generator)[:BATCH]
            self.optimizer.zero_grad()
            self.loss(self.net(self.images[batch]), self.labels[batch]).backward()
            self.optimizer.step()
            if self.monitor is not None:
                self.monitor(step)


def forecast(name: str, network: Callable[[], Any]) -> Row:
    """Seconds of one measurement of everything, beside what the monitor says it takes before the first one."""
    expected, seconds = [], []
    with one_thread():
        for _ in range(REPETITIONS):
            monitor = Loop(network, every=100, n_probe=256).monitor
            assert monitor is not None
            expected.append(sum(monitor.seconds.values()))
            monitor.measure(0)
            seconds.append(monitor.clock.spent)
    row = Row(
        "monitor",
        "the first measurement of a Monitor, as it was forecast",
        f"{name}, {monitor.problem.n_params:,} parameters, 256 samples",
        "–",
        Goal("distance", at_most=3.0),
        seconds=Spread.of(seconds),
        limit="its forecast",
        limit_seconds=Spread.of(expected),
        distance=Spread.of([ours / forecast for ours, forecast in zip(seconds, expected, strict=True)]),
    )
    return judged(row)


def within_budget(name: str, network: Callable[[], Any]) -> Row:
    """A training loop with budget=0.05 beside the same loop without a monitor."""
    # The building of the monitor is not part of its budget: the clock runs around the loops alone.
    seconds: list[float] = []
    bare: list[float] = []
    steps, shares, records = _steps(network), [], []

    def watched(_: int) -> None:
        loop = Loop(network, every=10, n_probe=64, record=CHEAP, budget=SHARE)
        assert loop.monitor is not None
        began = time.perf_counter()
        loop.run(steps)
        seconds.append(time.perf_counter() - began)
        shares.append(loop.monitor.clock.spent / loop.monitor.clock.trained)
        records.append(len(loop.monitor.dataset["record"]))

    def alone(_: int) -> None:
        loop = Loop(network)
        began = time.perf_counter()
        loop.run(steps)
        bare.append(time.perf_counter() - began)

    interleaved({"watched": Side(watched), "alone": Side(alone)}, ROUNDS)
    seconds, bare = seconds[1:], bare[1:]
    parameters = sum(part.numel() for part in network().parameters())
    row = Row(
        "monitor",
        "a training loop with budget=0.05",
        f"{name}, {parameters:,} parameters, {steps:,} steps",
        "–",
        Goal("distance", at_most=1 + SHARE),
        seconds=Spread.of(seconds),
        limit="the same loop without a monitor",
        limit_seconds=Spread.of(bare),
        distance=Spread.of([ours / limit for ours, limit in zip(seconds, bare, strict=True)]),
        note=f"by its own clock {100 * max(shares):.2f} % at most; {int(np.median(records))} measurements",
    )
    return judged(row)


def _steps(network: Callable[[], Any]) -> int:
    """So many steps as take some seconds."""
    loop = Loop(network)
    with one_thread():
        loop.run(50)
        began = time.perf_counter()
        loop.run(200)
    return int(200 * SECONDS / (time.perf_counter() - began)) // 100 * 100
