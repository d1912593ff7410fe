"""SGD on a torch network beside the stochastic central flow, from the same solution."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import xarray
from pydantic import Field
from pydantic.dataclasses import dataclass

from esssim import flow
from esssim._progress import Progress
from esssim._threads import another_thread
from esssim._validate import FloatArray
from esssim.experiments.base import Configuration
from esssim.experiments.beside import free_cores
from esssim.experiments.errors import check_batch, in_plain_words
from esssim.experiments.flow import RECORDED, with_flow
from esssim.experiments.sections import STRICT, Count, NotNegative, Positive, Seed, Widths
from esssim.flow.law import nearest_solution
from esssim.flow.point import Point
from esssim.sampling import WithoutReplacement
from esssim.simulation import Ramp
from esssim.statistics import mean_square_sharpness, sharpness

if TYPE_CHECKING:
    from esssim.bridge import TorchProblem
    from esssim.flow.rows import LeastSquaresProblem

DESCENT_STEPS = 100_000


@in_plain_words
@dataclass(frozen=True, config=STRICT)
class NetworkFlow(Configuration):
    """SGD with label noise ε on a network that fits a three-unit tanh teacher, and the flow, from the same solution.

    n_outputs: of teacher and network, each output with its own label noise. judged: the statistics that must agree.
    The network is trained by full-batch heavy ball and Gauss–Newton to zero loss; then η rises linearly from 0.8 to
    `rise` times the first edge 2/Q_b.
    """

    kind: ClassVar[str] = "network_flow"

    hidden: Widths
    activation: Literal["tanh", "gelu", "relu"]
    batch_size: Count = 4
    label_noise: NotNegative = 0.03
    n_samples: Count = 30
    n_inputs: Count = 5
    n_outputs: Count = 1
    rise: Positive = 1.5
    n_steps: Count = 300_000
    n_replicas: Count = 16
    n_records: Count = 19
    n_batches: Count = 64
    seed: Seed = 20261124
    judged: Annotated[tuple[str, ...], Field(strict=False)] = RECORDED

    def __post_init__(self) -> None:
        check_batch(self.batch_size, self.n_samples)

    @cached_property
    def problem(self) -> TorchProblem:
        """The network, its parameters as PyTorch initialises them."""
        from esssim.bridge import TorchProblem, data, mlp

        table = data.teacher(self.n_samples, self.n_inputs, n_outputs=self.n_outputs, seed=0)
        network = mlp(self.n_inputs, self.hidden, self.n_outputs, activation=self.activation, seed=1)
        return TorchProblem(network, table.inputs, table.targets, tolerance=1e-6)

    @cached_property
    def theta0(self) -> FloatArray:
        """A solution. Raises RuntimeError where none is reached."""
        from esssim.bridge import train

        problem, n = self.problem, self.n_samples
        run = train(
            problem, problem.theta0, step_size=0.1 / sharpness(problem, problem.theta0), momentum=0.9,
            sampling=WithoutReplacement(n), n_steps=DESCENT_STEPS, record=("theta",), n_records=1, seed=0,
        )  # fmt: skip
        found = nearest_solution(Point(self.least_squares, run["theta"].values[0, -1]))
        if found is None:
            raise RuntimeError("training did not come near a solution of zero loss")
        return found.theta

    @property
    def least_squares(self) -> LeastSquaresProblem:
        """The problem as one with residuals, which squared loss makes it."""
        from esssim.problems import MultiOutputLeastSquares, NonlinearLeastSquares

        problem = self.problem
        assert isinstance(problem, (NonlinearLeastSquares, MultiOutputLeastSquares))
        return problem

    @cached_property
    def step_size(self) -> Ramp:
        """η from 0.8 to `rise` times 2/Q_b of the start."""
        q = mean_square_sharpness(
            self.problem, self.theta0, WithoutReplacement(self.batch_size), hessian="gauss_newton"
        )
        return Ramp(0.8 * 2 / q, self.rise * 2 / q)

    @property
    def after(self) -> float:
        """The step from which on levels are averaged: a third of the ramp."""
        return self.n_steps / 3

    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of SGD, with those of the flow at the same steps as `flow_` and their name."""
        return with_flow(*run_both(self, progress))


@cache
def run_both(experiment: NetworkFlow, progress: Progress = False) -> tuple[xarray.Dataset, xarray.Dataset]:
    """SGD and the flow; once a process."""
    _ = experiment.step_size  # and the solution that it starts from, once for both
    # On a module of its own: torch swaps the parameters of one while it is called.
    followed = copy.deepcopy(experiment)
    return beside(lambda: _run_sgd(experiment, progress), lambda told: _run_flow(followed, told))


def beside(
    runs: Callable[[], xarray.Dataset], flow: Callable[[Callable[[int, int], None]], xarray.Dataset]
) -> tuple[xarray.Dataset, xarray.Dataset]:
    """runs(), which leaves its work to processes, and flow(progress) in a thread of this one: both results, a tenth
    sooner.

    The progress that the flow is given ends it, with an InterruptedError, as soon as the runs have ended with an
    exception.
    """
    with another_thread() as (thread, left):

        def progress(done: int, total: int) -> None:
            if left.is_set():
                raise InterruptedError(f"the flow was stopped at record {done} of {total}")

        other = thread.submit(flow, progress)
        return runs(), other.result()


def _run_sgd(experiment: NetworkFlow, progress: Progress) -> xarray.Dataset:
    from esssim.bridge import train

    return train(
        experiment.problem,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=WithoutReplacement(experiment.batch_size),
        n_steps=experiment.n_steps,
        n_replicas=experiment.n_replicas,
        label_noise=experiment.label_noise,
        record=RECORDED,
        n_records=experiment.n_records,
        n_batches=experiment.n_batches,
        n_workers=free_cores(),
        progress=progress,
        seed=experiment.seed,
    )


def _run_flow(experiment: NetworkFlow, progress: Callable[[int, int], None]) -> xarray.Dataset:
    """The mean flow, the next order: networks leave the solutions by their curvature."""
    return flow.solve(
        experiment.least_squares,
        experiment.theta0,
        step_size=experiment.step_size,
        sampling=WithoutReplacement(experiment.batch_size),
        n_steps=experiment.n_steps,
        label_noise=experiment.label_noise,
        follow="mean",
        record=RECORDED,
        n_records=experiment.n_records,
        progress=progress,
    )
