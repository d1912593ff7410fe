"""Runs of small torch networks that the claims of the bridge share. Nothing here imports torch before a run is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import xarray
from pydantic.dataclasses import dataclass

from esssim import store
from esssim._progress import Progress
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration
from esssim.experiments.beside import free_cores
from esssim.experiments.errors import ConfigurationError, check_batch, in_plain_words, refused
from esssim.experiments.sections import STRICT, Count, Momentum, Natural, NotNegative, Positive, Seed, Widths
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp
from esssim.statistics.table import MEAN_SQUARE

if TYPE_CHECKING:
    from esssim.bridge import TorchProblem

# What is recorded: name in a record -> name in the ids of claims.
RECORDED = {
    "sharpness": "sharpness",
    "minibatch_sharpness": "minibs",
    "batch_sharpness": "batch-sharpness",
    "batch_sharpness_parts": "batch-sharpness-parts",
    "interaction_aware_sharpness": "ias",
    MEAN_SQUARE: "mean-square",
}
TOLERANCE = 0.05  # of levels
# Of the eigenvalues: their own error is its square.
TOLERANCE_OF_VECTORS = 1e-3
# Rule of the start: (η/2)Q_b at the first initialisation, so that no step size is chosen by what it leads to; Q_b in so
# many leading directions.
START, START_DIRECTIONS = 0.7, 32


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class NetworkExperiment(Configuration):
    """SGD on a perceptron from `n_replicas` initialisations (PyTorch's default times `gain`, seeds 0, 1, …).

    data: a table with classes, its first n_samples rows of a fixed permutation. step_size: η; 0 stands for the η at
    which (η/2)Q_b = `start` at the first initialisation. rise: the step size grows linearly by this factor over the
    run. change_at: the step of an intervention, after which η is eta_factor·η and batches have `later_batch_size`
    samples (0: as before). Levels are averages over n_records records from step `after` on, those of Q_b in
    `rank`.
    """

    kind: ClassVar[str] = "network"
    replicas_agree: ClassVar[bool] = False

    batch_size: Count
    step_size: NotNegative = 0.0
    start: Positive = START
    n_steps: Count = 60_000
    after: Natural = 15_000
    data: Literal["digits", "wine", "breast_cancer"] = "digits"
    n_samples: Count = 128
    hidden: Widths = (16,)
    activation: Literal["tanh", "gelu", "relu"] = "tanh"
    loss: Literal["squared", "cross_entropy"] = "squared"
    gain: Positive = 0.5
    momentum: Momentum = 0.0
    label_noise: NotNegative = 0.0
    rise: Positive = 1.0
    change_at: Natural = 0
    eta_factor: Positive = 1.0
    later_batch_size: Natural = 0
    n_replicas: Count = 4
    n_records: Count = 24
    n_batches: Count = 4
    seed: Seed = 20261124

    def __post_init__(self) -> None:
        check_batch(self.batch_size, self.n_samples)
        if self.change_at > self.n_steps:
            raise refused(("change_at",), f"must be at most n_steps = {self.n_steps}, got {self.change_at}")

    @cached_property
    def problem(self) -> TorchProblem:
        """The network of the first initialisation with its data."""
        return self._problem(0)

    @cached_property
    def starts(self) -> FloatArray:
        """θ of each initialisation, (n_replicas, p)."""
        return np.stack([self._problem(seed).theta0 for seed in range(self.n_replicas)])

    def _problem(self, seed: int) -> TorchProblem:
        from esssim.bridge import TorchProblem, data, networks

        table = data.classes(self.data, self.n_samples)
        network = networks.mlp(
            table.n_inputs, self.hidden, table.n_outputs, activation=self.activation, gain=self.gain, seed=seed
        )
        return TorchProblem(
            network, table.inputs, table.loss_targets(self.loss), self.loss, tolerance=TOLERANCE_OF_VECTORS
        )

    @property
    def rank(self) -> int:
        """So many leading directions that Q_b has almost all of its value: the more the batch weighs, the more it
        takes.
        """
        b = min(self.batch_size, self.later_batch_size or self.batch_size)
        if b == self.n_samples:
            return 8
        if self.n_samples > 256:
            return 32
        return 16 if b >= 32 else 64

    @cached_property
    def first_step_size(self) -> float:
        """η at step 0."""
        if self.step_size > 0:
            return self.step_size
        from esssim.bridge.leading import leading_mean_square_sharpness as mean_square

        sampling = WithoutReplacement(self.batch_size)
        return self.start * 2 / mean_square(self.problem, self.problem.theta0, sampling, rank=START_DIRECTIONS)

    @cached_property
    def record_steps(self) -> list[int]:
        """Those of the window, and for an intervention as many before it and the first few steps behind it."""
        if self.after > self.n_steps:
            raise ConfigurationError(("after",), f"must be at most n_steps = {self.n_steps}, got {self.after}")
        window = np.linspace(self.after, self.n_steps, self.n_records)
        extra = [0.0]
        if self.change_at:
            extra += [*np.linspace(self.change_at // 2, self.change_at - 1, self.n_records // 2)]
            extra += [self.change_at + 20 * 2**k for k in range(4)]
        return [int(step) for step in np.unique(np.concatenate((extra, window)).round())]

    @property
    def schedule(self) -> Any:
        """What `train` takes as its step size."""
        from esssim.bridge import Piecewise

        eta = self.first_step_size
        if self.change_at and self.eta_factor != 1.0:
            return Piecewise((eta, eta * self.eta_factor), (self.change_at,))
        return Ramp(eta, self.rise * eta) if self.rise != 1.0 else eta

    @property
    def sampling(self) -> Any:
        """What `train` takes as its sampling."""
        from esssim.bridge import Piecewise

        first = WithoutReplacement(self.batch_size)
        if not self.later_batch_size:
            return first
        return Piecewise((first, WithoutReplacement(self.later_batch_size)), (self.change_at,))

    @property
    def decides(self) -> list[object]:
        """Everything that decides the run."""
        return [asdict(self), self.problem.fingerprint, self.starts.tolist(), self.first_step_size, list(RECORDED)]

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of the runs, as `bridge.train` gives them."""
        return store.kept("network", self.decides, lambda: _measured(self, progress))


@cache
def run_network(experiment: NetworkExperiment) -> xarray.Dataset:
    """The run of an experiment; computed once a process, and kept on disk where ESSSIM_CACHE names a folder."""
    return experiment.run()


def _measured(experiment: NetworkExperiment, progress: Progress) -> xarray.Dataset:
    from esssim import bridge

    return bridge.train(
        experiment.problem,
        experiment.starts,
        step_size=experiment.schedule,
        sampling=experiment.sampling,
        n_steps=experiment.n_steps,
        n_replicas=experiment.n_replicas,
        momentum=experiment.momentum,
        label_noise=experiment.label_noise,
        record=("loss", *RECORDED),
        record_steps=experiment.record_steps,
        n_batches=experiment.n_batches,
        rank=experiment.rank,
        n_workers=min(free_cores(), experiment.n_replicas),
        progress=progress,
        seed=experiment.seed,
    )


def described(experiment: NetworkExperiment) -> Mapping[str, str]:
    """Network and protocol in words."""
    widths = "–".join(map(str, experiment.hidden))
    layers = "one hidden layer" if len(experiment.hidden) == 1 else f"{len(experiment.hidden)} hidden layers"
    rule = (
        f"η = {experiment.step_size:g}"
        if experiment.step_size
        else f"η at which (η/2)Q_b = {experiment.start:g} at the start"
    )
    network = (
        f"{layers} of {widths} {experiment.activation} units on {experiment.n_samples} samples of {experiment.data}, "
        f"{experiment.loss.replace('_', '-')} loss"
    )
    protocol = (
        f"{experiment.n_replicas} initialisations of PyTorch's default times {experiment.gain:g}, {rule}, "
        f"{experiment.n_steps:,} steps; mean of (η/2)·statistic over {experiment.n_records} records from step "
        f"{experiment.after:,} on, {experiment.n_batches} batches each, with a 95 % interval over the initialisations; "
        "Q_b in the "
        f"{experiment.rank} leading directions"
    )
    return {"network": network, "protocol": protocol}
