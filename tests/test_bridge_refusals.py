"""Modules and losses that are refused when the problem is built, each with its one line; and the forms of theta."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import prune

import esssim as es
from esssim.bridge import TorchProblem, mlp, train
from tests.bridge_modules import (
    FEW,
    INPUTS,
    LABELS,
    PAIRS,
    SEQUENCES,
    TARGETS,
    TOKENS,
    Net,
    built,
    encoder,
    norm,
    tied,
    two,
)


class Mixes(nn.Module):
    def __init__(self, least: int = 1) -> None:
        super().__init__()
        self.a, self.least = nn.Linear(3, 1), least

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x - x.mean(dim=0)) if len(x) >= self.least else self.a(x)


def chance(p: float, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return two(lambda n, x: n.b(F.dropout(torch.tanh(n.a(x)), p)))


def zero_outer(module: nn.Sequential) -> nn.Module:
    nn.init.zeros_(module[-1].weight)
    return module


def unregistered() -> nn.Module:
    net = two(lambda n, x: n.b(torch.tanh(n.hidden[0](x)) + 0 * n.a(x)))
    net.hidden = [nn.Linear(3, 4, dtype=torch.float64)]
    return net


def own_generator() -> nn.Module:
    net = two(lambda n, x: n.b(n.a(x)) * (1 + 1e-20 * torch.rand((), generator=n.generator)))
    net.generator = torch.Generator()
    return net


FIRST_EQUAL = np.vstack([INPUTS[:1]] * 3 + [INPUTS[3:]])
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "mixing that the first samples hide": (lambda: built(Mixes, FIRST_EQUAL), "an output changes with the other samples"),
    "mixing in large batches only": (lambda: built(lambda: Mixes(6), INPUTS), "an output changes with the other samples"),
    "mixing behind zeros": (
        lambda: built(lambda: zero_outer(nn.Sequential(Mixes(), nn.Linear(1, 1))), INPUTS), "with the other samples",
    ),
    "batch norm without statistics": (
        lambda: built(norm(nn.BatchNorm1d(2, track_running_stats=False)).eval(), INPUTS), "mixes those of a batch; use GroupNorm",
    ),
    "batch norm in train mode": (
        lambda: built(norm(nn.BatchNorm1d(2)), INPUTS), "layer '2' (BatchNorm1d) mixes those of a batch; call module.eval()",
    ),
    "encoder in train mode": (lambda: built(encoder, SEQUENCES), "'layer.dropout' (Dropout) is in train mode: call module.eval()"),
    "a random loss": (
        lambda: built(mlp(3, (4,), 1), INPUTS, loss=lambda f, y: ((f - y) ** 2).sum() * torch.rand(())),
        "loss must be deterministic",
    ),
    "a generator of its own": (
        lambda: built(own_generator, INPUTS), "a call draws random numbers",
    ),
    "Hardsigmoid": (
        lambda: built(nn.Sequential(nn.Linear(3, 4), nn.Hardsigmoid(), nn.Linear(4, 1)), INPUTS),
        "in its layer '1' (Hardsigmoid): derivative for aten::hardsigmoid_backward is not implemented",
    ),
    "cdist": (
        lambda: built(two(lambda n, x: n.b(torch.cdist(n.a(x), n.b.weight.expand(4, 4)))), INPUTS),
        "must have second derivatives under torch",
    ),
    "max_norm": (
        lambda: built(nn.Sequential(nn.Embedding(7, 1, max_norm=1.0), nn.Flatten(), nn.Linear(4, 1)), TOKENS),
        "layer '0' (Embedding) writes to its weight at each call, with max_norm=1.0: leave that out",
    ),
    "max_norm as a function": (
        lambda: built(
            Net(lambda n, x: n.b(F.embedding(x, n.e.weight, max_norm=99.0).flatten(1)), e=nn.Embedding(7, 1), b=nn.Linear(4, 1)),
            TOKENS,
        ), "a call writes to 'e.weight'",
    ),
    "real indices": (
        lambda: built(nn.Sequential(nn.Embedding(7, 1), nn.Flatten(), nn.Linear(4, 1)), TOKENS + 0.0),
        "inputs that are indices must be integers",
    ),
    "layers in a list": (lambda: built(unregistered, INPUTS), "a tensor of shape (4, 3) with requires_grad=True is none of its"),
    "no shapes yet": (lambda: built(nn.LazyLinear(1), INPUTS), "'weight' has none yet: call the module once"),
    "no numbers yet": (lambda: built(nn.Linear(3, 1, device="meta"), INPUTS), "can be copied to the CPU, it says: Cannot copy"),
    "a derivative that is cut off": (
        lambda: built(two(lambda n, x: n.b(torch.tanh(n.a(x).detach() + n.a(x)))), INPUTS),
        "its gradient differs from differences of the loss",
    ),
    "all frozen": (lambda: built(nn.Linear(3, 1).requires_grad_(False), INPUTS), "all have requires_grad=False"),
    "nothing reaches the outputs": (
        lambda: built(Net(lambda n, x: x[:, :1], a=nn.Linear(3, 1)), INPUTS), "none of ['a.weight', 'a.bias'] does",
    ),
    "a pair of outputs": (lambda: built(nn.GRU(3, 2, batch_first=True), SEQUENCES), "got tuple: wrap it in a module"),
    "a loss per entry of two": (
        lambda: built(mlp(3, (4,), 2), INPUTS, PAIRS, loss=nn.MSELoss(reduction="none")),
        "got shape (2,): say how its outputs are put together, as in lambda f, y: loss(f, y).sum()",
    ),
    "real class labels": (
        lambda: built(mlp(3, (4,), 3), INPUTS, LABELS + 0.0, loss=F.cross_entropy), "class labels must be integers",
    ),
    "a loss that leaves torch": (
        lambda: built(mlp(3, (4,), 1), INPUTS, loss=lambda f, y: float(f[0])), "one real number for one sample, got float",
    ),
    "a mean over no label": (
        lambda: built(mlp(3, (4,), 3), INPUTS, np.append(LABELS[:7], -100), loss=nn.CrossEntropyLoss()),
        "that of sample 7 is nan: a mean over nothing, such as a label that ignore_index leaves out",
    ),
    "a pruned layer": (
        lambda: built(prune.l1_unstructured(nn.Linear(3, 1), "weight", 1), INPUTS),
        "layer '(the module itself)' keeps 'weight', which was computed from its parameters: make pruning permanent first",
    ),
    "without derivatives": (torch.inference_mode()(lambda: built(mlp(3, (4,), 1), INPUTS)), "build the problem outside"),
    "a dtype that is none": (lambda: built(mlp(3, (4,), 1), INPUTS, dtype=torch.int32), "one of 'float64', 'float32', got 'int32'"),
}  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
    def test_message(self, call: Callable[[], object], message: str) -> None:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()

    @pytest.mark.parametrize("seed", range(25))
    def test_dropout_as_a_function_always(self, seed: int) -> None:
        module = chance(0.01, seed)
        state = torch.get_rng_state()
        with pytest.raises(ValueError, match="module must be deterministic, but a call draws random numbers"):
            TorchProblem(module, INPUTS, TARGETS)
        assert torch.equal(state, torch.get_rng_state())


class TestPoints:
    @pytest.mark.parametrize("form", ["tensor", "module", "state dict", "parameters"])
    def test_every_statistic_takes_them(self, form: str) -> None:
        module = mlp(3, (4,), 1, seed=4)
        problem = built(mlp(3, (4,), 1), INPUTS)
        theta = np.concatenate([parameter.detach().numpy().ravel() for parameter in module.parameters()])
        other: Any = {
            "tensor": torch.tensor(theta, requires_grad=True), "module": module, "state dict": module.state_dict(),
            "parameters": list(module.parameters()),
        }[form]  # fmt: skip
        statistics: list[Callable[[Any], Any]] = [
            lambda t: es.sharpness(problem, t), lambda t: es.minibatch_sharpness(problem, t, FEW).value,
            lambda t: es.batch_sharpness(problem, t, FEW).value, lambda t: es.gradient_noise_interaction(problem, t, FEW),
            lambda t: es.interaction_aware_sharpness(problem, t, FEW), lambda t: es.mean_square_sharpness(problem, t, FEW),
            lambda t: es.mean_square_sharpness(problem, t, FEW, hessian="gauss_newton"),
            lambda t: es.stability.critical_step_size(problem, t, FEW, hessian="gauss_newton"),
            problem.loss, problem.gradient, problem.hessian, problem.outputs, lambda t: problem.curvature(t).mean(),
            lambda t: es.simulate(problem, t, step_size=0.1, sampling=FEW, n_steps=2, seed=0).loss.values,
            lambda t: train(problem, t, step_size=0.1, sampling=FEW, n_steps=2, seed=0).loss.values,
        ]  # fmt: skip
        for statistic in statistics:
            np.testing.assert_array_equal(statistic(other), statistic(theta))

    def test_a_module_in_single_precision_with_tied_and_frozen_parameters(self) -> None:
        torch.manual_seed(0)
        module = tied()
        module.c.bias.requires_grad_(False)
        problem = TorchProblem(module, INPUTS, TARGETS)
        np.testing.assert_array_equal(problem.check_point(module), problem.theta0)
        np.testing.assert_array_equal(problem.check_point(module.state_dict()), problem.theta0)
        with torch.no_grad():
            module.c.bias += 1.0
        with pytest.raises(ValueError, match=r"but 'c.bias' has other values: build a problem of the new module"):
            es.sharpness(problem, module)

    @pytest.mark.parametrize(
        ("theta", "message"),
        [
            (mlp(3, (5,), 1), r"'0.weight' has the shape \(5, 3\), there it is \(4, 3\)"),
            (mlp(3, (4, 1), 1), "it has '4.weight', which the problem's module lacks"),
            ({}, "it lacks '0.weight'"),
            (torch.zeros(3), r"theta must have shape \(21,\), got \(3,\)"),
        ],
    )
    def test_others_are_refused(self, theta: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            es.sharpness(built(mlp(3, (4,), 1), INPUTS), theta)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["compiled", "traced"])
def test_compiled_modules(kind: str) -> None:
    plain = mlp(3, (4,), 1)
    module = torch.compile(plain) if kind == "compiled" else torch.jit.trace(plain, torch.zeros(1, 3).double())
    with pytest.raises(
        ValueError, match=r"module must not be compiled, but 'inner' is a .*: give the module that it was made of"
    ):
        built(Net(lambda n, x: n.inner(x), inner=module), INPUTS)


class TestContextsOfTorch:
    @pytest.mark.parametrize("hidden", [4, 80])
    def test_autocast(self, hidden: int) -> None:
        problems = {dtype: built(mlp(3, (hidden,), 1), INPUTS, dtype=dtype) for dtype in ("float64", "float32")}
        theta = problems["float64"].theta0
        alone = es.sharpness(problems["float64"], theta)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert es.sharpness(problems["float64"], theta) == alone
            for call in (lambda p: es.sharpness(p, theta), lambda p: p.loss(theta), lambda p: p.gradient(theta)):
                with pytest.raises(ValueError, match=r"must not be used inside torch\.autocast"):
                    call(problems["float32"])

    def test_a_default_device(self) -> None:
        module = mlp(3, (4,), 1)
        problem = built(module, INPUTS)
        with torch.device("meta"):
            for call in (lambda: built(module, INPUTS), lambda: es.sharpness(problem, problem.theta0)):
                with pytest.raises(ValueError, match="default device must be the CPU, got 'meta'"):
                    call()
