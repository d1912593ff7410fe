"""Sums of Hessian products of the model by forward mode: against the products one by one, in reverse mode."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from esssim.bridge import TorchProblem
from tests.bridge_cases import layer_norm, perceptron, six_networks
from tests.bridge_modules import INPUTS, PAIRS, built
from tests.test_bridge_acceptance import ACCEPTED


class ReverseOnly(torch.autograd.Function):
    """z² with a derivative in reverse mode alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z**2

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor], output: Tensor) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        (z,) = ctx.saved_tensors
        return 2 * z * slope


class WrongForward(ReverseOnly):
    """The same with a wrong derivative in forward mode."""

    @staticmethod
    def jvp(ctx, direction: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        return 3 * direction


class Squares(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.function.apply(self.inner(x)))


PROBLEMS: dict[str, Callable[[], TorchProblem]] = {
    **{name: lambda name=name: built(*ACCEPTED[name][:2]) for name in ACCEPTED},
    "several outputs": lambda: six_networks()["GELU, two hidden layers"],
    "a skip connection": lambda: six_networks()["skip connection, squared"],
    "layer norm": layer_norm,
    "float32": lambda: TorchProblem(perceptron(3, 5, 2), INPUTS, PAIRS, dtype="float32"),
    "reverse mode only": lambda: TorchProblem(Squares(ReverseOnly), INPUTS, PAIRS),
    "a wrong forward mode": lambda: TorchProblem(Squares(WrongForward), INPUTS, PAIRS),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_sum_is_that_of_the_products(name: str) -> None:
    problem = PROBLEMS[name]()
    rng = np.random.default_rng(1)
    theta = problem.theta0 + 0.1 * rng.standard_normal(problem.n_params)
    jacobians = problem.sample_jacobians(theta, np.arange(problem.n_samples))
    vectors = rng.standard_normal(jacobians.shape)
    every = problem.model_hessian_products(theta, np.arange(problem.n_samples), vectors)
    expected = every.reshape(-1, problem.n_params).sum(axis=0)
    tolerance = 1e-4 if name == "float32" else 1e-11
    scale = np.abs(every).sum(axis=tuple(range(every.ndim - 1))).max()
    np.testing.assert_allclose(problem.summed_model_products(theta, vectors), expected, rtol=0, atol=tolerance * scale)


def test_in_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = six_networks()["GELU, two hidden layers"]
    vectors = np.random.default_rng(1).standard_normal((problem.n_samples, 2, problem.n_params))
    at_once = problem.summed_model_products(problem.theta0, vectors)
    monkeypatch.setattr("esssim.bridge.problem.CHUNK_NUMBERS", 4 * 2 * problem.n_params)
    np.testing.assert_allclose(problem.summed_model_products(problem.theta0, vectors), at_once, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "has"),
    [("several outputs", True), ("float32", True), ("reverse mode only", False), ("a wrong forward mode", False)],
)
def test_forward_mode_is_taken_where_it_is_right(name: str, has: bool) -> None:
    assert PROBLEMS[name]()._has_forward_mode is has
