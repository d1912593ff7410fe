"""The check of derivatives when a problem is built, and what happens where they are not finite, against differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import esssim as es
from esssim.bridge import TorchProblem, behaviour, mlp, train
from esssim.bridge.derivatives import ASYMMETRY, TOLERANCE, compared, culprit, wrong_derivative
from tests.bridge_cases import Residual, perceptron

RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.standard_normal((8, 3)), RNG.standard_normal(8)
FEW = es.WithoutReplacement(2)


class Layer(nn.Module):
    """Two linear layers with something between."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer, self.between = nn.Linear(3, 4), nn.Linear(4, 1), between

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.between(self.inner(x)))


class WrongSlope(torch.autograd.Function):
    """tanh with a gradient that is 0.1 % too large; its second derivative is that of the wrong gradient."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return torch.tanh(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return 1.001 * slope * (1 - torch.tanh(z) ** 2)


class WrongBend(WrongSlope):
    """tanh with the right gradient, whose own derivative leaves out a term."""

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return slope * (1 - torch.tanh(z) * torch.tanh(z.detach()))


class WrongTanh(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return WrongBend.apply(z)


class Mirror(torch.autograd.Function):
    """v ↦ Mv whose derivative is M again, and not Mᵀ: a Hessian with it is not symmetric."""

    generate_vmap_rule = True
    matrix = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])

    @staticmethod
    def forward(z: Tensor) -> Tensor:
        return z @ Mirror.matrix.to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return slope @ Mirror.matrix.to(slope.dtype)


def hessian_by_differences(problem: TorchProblem, theta: np.ndarray) -> np.ndarray:
    """Second differences of the loss alone."""
    p, h = len(theta), 1e-4
    units = h * np.eye(p)
    points = [
        [theta + s * units[j] + t * units[k] for s in (1, -1) for t in (1, -1)] for j in range(p) for k in range(p)
    ]
    values = problem.loss(np.array(points)).reshape(p, p, 4)
    return values @ np.array([1, -1, -1, 1]) / (4 * h**2)


class TestWrongDerivativesAreRefused:
    def test_weight_norm_by_name(self) -> None:
        module = mlp(3, (4,), 1, seed=0)
        module[0] = parametrizations.weight_norm(module[0])
        with pytest.raises(
            ValueError, match=r"Hessian products differ .* layer '0.parametrizations.weight.0' \(_WeightNorm\)"
        ):
            TorchProblem(module, INPUTS, TARGETS)

    def test_weight_norm_is_wrong_indeed(self) -> None:
        """What the check is spared: the day torch is right, weight_norm is accepted and this test says so."""
        module = mlp(3, (4,), 1, seed=0)
        module[0] = parametrizations.weight_norm(module[0])
        problem = TorchProblem(module, INPUTS, TARGETS, check=False)
        hessian = hessian_by_differences(problem, problem.theta0)
        assert np.abs(problem.hessian(problem.theta0) - hessian).max() > 0.05
        assert np.linalg.eigvalsh(hessian)[-1] == pytest.approx(1.17261, abs=1e-4)

    def test_weight_norm_by_hand_is_right(self) -> None:
        class Normed(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                first, self.outer = mlp(3, (4,), 1, seed=0)[0], mlp(3, (4,), 1, seed=0)[2]
                self.v, self.c = nn.Parameter(first.weight.detach().clone()), nn.Parameter(first.bias.detach().clone())
                self.g = nn.Parameter(self.v.detach().norm(dim=1, keepdim=True))

            def forward(self, x: Tensor) -> Tensor:
                weight = self.g * self.v / self.v.square().sum(dim=1, keepdim=True).sqrt()
                return self.outer(torch.tanh(nn.functional.linear(x, weight, self.c)))

        problem = TorchProblem(Normed(), INPUTS, TARGETS)
        assert es.sharpness(problem, problem.theta0) == pytest.approx(1.17261, abs=1e-4)

    @pytest.mark.parametrize(
        ("between", "message"),
        [
            (WrongSlope.apply, "its gradient differs from differences of the loss by"),
            (WrongBend.apply, "its Hessian products differ from differences of the gradient by"),
            (WrongTanh(), "by its layer 'between' (WrongTanh)"),
            (lambda z: Mirror.apply(torch.tanh(z)), "its gradient differs from differences of the loss by"),
            (lambda z: torch.tanh(z).detach() + z - z.detach(), "its gradient differs from differences of the loss by"),
        ],
        ids=["gradient", "second derivative", "layer", "not symmetric", "straight-through"],
    )
    def test_message(self, between: Callable[[Tensor], Tensor], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            TorchProblem(Layer(between), INPUTS, TARGETS)
        TorchProblem(Layer(between), INPUTS, TARGETS, check=False)

    def test_a_wrong_loss(self) -> None:
        with pytest.raises(ValueError, match="its gradient differs"):
            TorchProblem(mlp(3, (4,), 1), INPUTS, TARGETS, lambda f, y: WrongSlope.apply(f - y).square().sum())

    def test_in_float32_the_check_is_in_float64(self) -> None:
        with pytest.raises(ValueError, match="its Hessian products differ"):
            TorchProblem(Layer(WrongBend.apply), INPUTS, TARGETS, dtype=torch.float32)
        assert TorchProblem(Layer(torch.tanh), INPUTS, TARGETS, dtype=torch.float32).dtype == "float32"

    def test_asymmetry_alone(self) -> None:
        """The functional is asked for Hv only: one that adds a rotation to it is found without any difference."""
        problem = TorchProblem(mlp(3, (4,), 1), INPUTS, TARGETS)
        functional, theta, (x, y) = problem.functional, torch.tensor(problem.theta0), problem.tensors
        p = problem.n_params
        rotation = torch.tensor(np.triu(np.ones((p, p)), 1) - np.tril(np.ones((p, p)), -1))

        class Turned(type(functional)):
            def product(self, theta: Tensor, x: Tensor, y: Tensor, v: Tensor) -> Tensor:
                return super().product(theta, x, y, v) + 1e-3 * rotation @ v

        turned = Turned(problem.module, functional.loss)
        vectors = torch.linalg.qr(torch.randn(p, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[
            0
        ].T
        unit = torch.ones(p, dtype=torch.float64)
        found = [compared(one, theta, unit, x, y, (vectors[0], vectors[1])) for one in (functional, turned)]
        assert found[0].agrees
        assert found[1].asymmetry > 1e3 * ASYMMETRY

    def test_a_jump_at_the_start(self) -> None:
        """Reflections of a matrix that is orthogonal already turn about when it moves."""
        torch.manual_seed(1)
        module = nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 1)).eval()
        with pytest.raises(ValueError, match="there the loss jumps by"):
            TorchProblem(module, INPUTS, TARGETS)


class TestRightDerivativesAreAccepted:
    @pytest.mark.parametrize("seed", range(10))
    def test_kinks(self, seed: int) -> None:
        """400 units with a kink, and outer layers and offsets that start at zero."""
        module = perceptron(3, 200, 200, 1, activation=nn.ReLU, seed=seed)
        if seed % 2:
            for layer in module[::2]:
                nn.init.zeros_(layer.bias)
            nn.init.zeros_(module[-1].weight)
        TorchProblem(module, np.vstack([INPUTS, np.zeros((1, 3))]), np.append(TARGETS, 0.0))

    @pytest.mark.parametrize("scale", [1e-85, 1e-3, 1e3, 1e60])
    def test_any_scale(self, scale: float) -> None:
        module = mlp(3, (4,), 1)
        with torch.no_grad():
            for parameter in module[-1].parameters():
                parameter.mul_(scale)
        TorchProblem(module, INPUTS, scale * TARGETS)

    def test_a_solution(self) -> None:
        module = mlp(3, (4,), 1)
        TorchProblem(module, INPUTS, module(torch.tensor(INPUTS)).detach())

    def test_layer_norm(self) -> None:
        torch.manual_seed(1)
        problem = TorchProblem(Residual(norm=True), INPUTS, RNG.standard_normal((8, 2)))
        hessian = hessian_by_differences(problem, problem.theta0)
        np.testing.assert_allclose(problem.hessian(problem.theta0), hessian, atol=1e-6 * np.abs(hessian).max())

    def test_what_is_measured_is_small(self) -> None:
        problem = TorchProblem(mlp(3, (4,), 1), INPUTS, TARGETS)
        theta = torch.tensor(problem.theta0)
        assert wrong_derivative(problem.functional, theta, *problem.tensors) is None
        assert culprit(problem.functional, theta, problem.tensors[0]) == ""
        unit = behaviour.scales(theta, problem.functional.sizes)
        v, w = torch.linalg.qr(torch.arange(42.0, dtype=torch.float64).reshape(21, 2).sin())[0].T
        found = compared(problem.functional, theta, unit, *problem.tensors, (v, w))
        assert max(found.gradient, found.product) < TOLERANCE / 10
        assert found.asymmetry < 1e-12


class Root(nn.Module):
    """|wᵀx + c|^power; c is a buffer."""

    def __init__(self, power: float, c: float = 0.0) -> None:
        super().__init__()
        self.w, self.power = nn.Parameter(torch.tensor([0.5, -1.0, 2.0])), power
        self.register_buffer("c", torch.tensor(c))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.w + self.c).abs() ** self.power


ZERO_AT_FIVE = np.where(np.arange(8)[:, None] == 5, 0.0, INPUTS)
STATISTICS: dict[str, Callable[[TorchProblem, np.ndarray], object]] = {
    "sharpness": es.sharpness,
    "MiniBS": lambda p, t: es.minibatch_sharpness(p, t, FEW),
    "batch sharpness": lambda p, t: es.batch_sharpness(p, t, FEW),
    "GNI": lambda p, t: es.gradient_noise_interaction(p, t, FEW),
    "IAS": lambda p, t: es.interaction_aware_sharpness(p, t, FEW),
    "mean-square": lambda p, t: es.mean_square_sharpness(p, t, FEW),
    "mean-square, Gauss–Newton": lambda p, t: es.mean_square_sharpness(p, t, FEW, hessian="gauss_newton"),
    "critical step size": lambda p, t: es.stability.critical_step_size(p, t, FEW, hessian="gauss_newton"),
    "Hessian": lambda p, t: p.hessian(t),
    "a run": lambda p, t: train(p, t, step_size=1e-3, sampling=FEW, n_steps=3, n_records=2, seed=0),
}


class TestDerivativesThatAreNotFinite:
    @pytest.mark.parametrize("power", [0.5, 1.5])
    def test_when_the_problem_is_built(self, power: float) -> None:
        with pytest.raises(ValueError, match="those of sample 5 are not finite at this theta, while the loss is"):
            TorchProblem(Root(power), ZERO_AT_FIVE, TARGETS)

    @pytest.mark.parametrize("statistic", STATISTICS.values(), ids=STATISTICS)
    @pytest.mark.parametrize("power", [0.5, 1.5])
    def test_at_a_later_theta(self, power: float, statistic: Callable[[TorchProblem, np.ndarray], object]) -> None:
        """θ₀ is fine; elsewhere wᵀx₅ = 0: eighths have products without rounding, in every kernel."""
        x = np.round(8 * INPUTS[5]) / 8
        problem = TorchProblem(Root(power), np.where(np.arange(8)[:, None] == 5, x, INPUTS), TARGETS)
        theta = np.array([x[1], -x[0], 0.0])
        statistic(problem, problem.theta0)
        with pytest.raises(ValueError, match="those of sample 5 are not finite at this theta"):
            statistic(problem, theta)

    def test_a_diverging_run_is_no_such_thing(self) -> None:
        problem = TorchProblem(mlp(3, (4,), 1), INPUTS, TARGETS, lambda f, y: ((f - y) ** 4).sum())
        for run in (train, es.simulate):
            found = run(problem, problem.theta0, step_size=50.0, sampling=FEW, n_steps=200, seed=0)
            assert int(found.diverged_at[0]) > 0
