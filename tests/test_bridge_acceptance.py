"""Modules and losses as people write them: the right numbers, by differences of the loss, or a refusal that names what."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import esssim as es
from esssim.bridge import TorchProblem, mlp, train
from esssim.bridge.functional import Functional
from esssim.bridge.samplewise import Samplewise
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


def filled(net: Net, x: Tensor) -> Tensor:
    hidden, found = torch.zeros(len(x), 4, dtype=x.dtype), net.a(x)
    for k in range(4):
        hidden[:, k] = torch.tanh(found[:, k])
    return net.b(hidden)


class Counting(nn.Module):
    """Buffers that a call updates, in place or anew, and that the outputs do not read."""

    def __init__(self, anew: bool) -> None:
        super().__init__()
        self.net, self.anew = two(lambda n, x: n.b(torch.tanh(n.a(x)))), anew
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        if self.anew:
            self.calls = self.calls + 1
        else:
            self.calls += 1
            self.mean.mul_(0.9).add_(0.1 * x.mean(dim=0))
        return self.net(x)


def recurrent(kind: type[nn.RNNBase]) -> Net:
    return Net(lambda n, x: n.out(n.cell(x)[0][:, -1]), cell=kind(3, 3, batch_first=True), out=nn.Linear(3, 1))


def twice() -> nn.Sequential:
    layer = nn.Linear(3, 3)
    return nn.Sequential(nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), nn.Linear(3, 1))


def used_batch_norm() -> nn.Module:
    """With running statistics that are not those of its start."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 1))
    net(torch.randn(20, 3))
    return net.eval()


ACCEPTED: dict[str, tuple[Callable[[], nn.Module], np.ndarray, type[Functional]]] = {
    "attention": (
        lambda: Net(
            lambda n, x: n.out(n.attend(x, x, x, need_weights=False)[0].mean(dim=1)),
            attend=nn.MultiheadAttention(3, 1, batch_first=True), out=nn.Linear(3, 1),
        ), SEQUENCES, Functional,
    ),
    "an encoder layer in eval mode": (lambda: encoder(activation=F.gelu).eval(), SEQUENCES, Functional),
    "an encoder layer without dropout": (lambda: encoder(activation=F.gelu, dropout=0.0), SEQUENCES, Functional),
    "an embedding": (
        lambda: nn.Sequential(nn.Embedding(7, 2), nn.Flatten(), nn.Tanh(), nn.Linear(8, 1)), TOKENS, Functional,
    ),
    "one-hot inputs": (
        lambda: two(lambda n, x: n.b(torch.tanh(n.a(F.one_hot(x[:, 0] % 3, 3).to(n.a.weight.dtype))))), TOKENS, Samplewise,
    ),
    "batch norm in eval mode": (used_batch_norm, INPUTS, Functional),
    "tied weights": (tied, INPUTS, Functional),
    "a layer under two names": (twice, INPUTS, Functional),
    "GRU": (lambda: recurrent(nn.GRU), SEQUENCES, Samplewise),
    "LSTM": (lambda: recurrent(nn.LSTM), SEQUENCES, Samplewise),
    "RNN": (lambda: recurrent(nn.RNN), SEQUENCES, Samplewise),
    "zeros filled by index": (lambda: two(filled), INPUTS, Samplewise),
    "buffers updated in place": (lambda: Counting(anew=False), INPUTS, Samplewise),
    "buffers replaced": (lambda: Counting(anew=True), INPUTS, Functional),
    "instance norm that tracks": (
        lambda: norm(nn.InstanceNorm1d(2, affine=True, track_running_stats=True, eps=0.1)), INPUTS, Samplewise,
    ),
    "instance norm in eval mode": (
        lambda: norm(nn.InstanceNorm1d(2, affine=True, track_running_stats=True)).eval(), INPUTS, Functional,
    ),
    "PReLU": (lambda: nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1)), INPUTS, Samplewise),
    "writes to its inputs": (
        lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), INPUTS, Functional,
    ),
    "inputs with more axes": (
        lambda: Net(
            lambda n, x: n.b(torch.tanh(n.a(x))).sum(dim=1), a=nn.Linear(3, 4), b=nn.Linear(4, 1)
        ), SEQUENCES[:, :2], Functional,
    ),
    "grid_sample": (
        lambda: two(lambda n, x: n.b(F.grid_sample(
            x.new_ones(len(x), 1, 3, 3).cumsum(2).cumsum(3).sin(), torch.tanh(n.a(x)).view(-1, 2, 2, 2), align_corners=True
        ).flatten(1)), units=8), INPUTS, Samplewise,
    ),
}  # fmt: skip


def losses_of(problem: TorchProblem, points: np.ndarray, loss: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    """The mean loss by a plain call of a copy of the module with these parameters, under no transformation."""
    module = copy.deepcopy(problem.module)
    values = []
    with torch.no_grad():
        for point in points:
            torch.nn.utils.vector_to_parameters(torch.tensor(point), module.parameters())
            values.append(float(loss(module(torch.as_tensor(problem.inputs).clone()), problem.tensors[1])))
    return np.array(values)


def half_square(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.reshape(len(outputs), -1) - targets).square().sum() / 2 / len(outputs)


def check(problem: TorchProblem, loss: Callable[[Tensor, Tensor], Tensor] = half_square) -> None:
    """Gradient and Hessian by differences of the loss, by formed Hessians and by products, and a statistic of batches."""
    theta = problem.theta0 + 0.1 * np.random.default_rng(5).standard_normal(problem.n_params)
    p, h = problem.n_params, 1e-4
    units = h * np.eye(p)
    gradient = (losses_of(problem, theta + units, loss) - losses_of(problem, theta - units, loss)) / (2 * h)
    np.testing.assert_allclose(problem.gradient(theta), gradient, atol=1e-5 * np.abs(gradient).max())
    v = np.random.default_rng(6).standard_normal(p)
    pairs = [losses_of(problem, theta + s * units + t * h * v, loss) for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
    image = (pairs[0] - pairs[1] - pairs[2] + pairs[3]) / (4 * h**2)
    hessian, scale = problem.hessian(theta), np.abs(image).max()
    np.testing.assert_allclose(hessian @ v, image, atol=1e-4 * scale)
    batch = np.arange(problem.n_samples)
    np.testing.assert_allclose(problem.hessian_products(theta, batch, v), hessian @ v, atol=1e-10 * scale)
    assert es.sharpness(problem, theta) == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-9)
    batches = np.array([[i, j] for i in batch for j in batch if i < j])
    tops = np.linalg.eigvalsh(problem.hessian(theta, batches))[:, -1]
    assert es.minibatch_sharpness(problem, theta, FEW).value == pytest.approx(tops.mean(), rel=1e-9)


class TestAccepted:
    @pytest.mark.parametrize(("module", "inputs", "route"), ACCEPTED.values(), ids=ACCEPTED)
    def test_differences(self, module: Callable[[], nn.Module], inputs: np.ndarray, route: type[Functional]) -> None:
        problem = built(module, inputs)
        assert type(problem.functional) is route
        before = {name: buffer.clone() for name, buffer in problem.module.named_buffers()}
        kept = problem.tensors[0].clone()
        check(problem)
        assert torch.equal(problem.tensors[0], kept)
        for name, buffer in problem.module.named_buffers():
            assert torch.equal(buffer, before[name])

    def test_prelu_by_a_published_number(self) -> None:
        """Three inputs, four units."""
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 1))
        rng = np.random.default_rng(0)
        problem = TorchProblem(module, rng.standard_normal((8, 3)), rng.standard_normal(8))
        assert es.sharpness(problem, problem.theta0) == pytest.approx(1.147105, abs=2e-6)

    @pytest.mark.parametrize("name", ["GRU", "attention", "tied weights", "an embedding"])
    def test_every_statistic_and_a_run(self, name: str) -> None:
        module, inputs, _ = ACCEPTED[name]
        problem = built(module, inputs)
        theta = problem.theta0
        blocks = problem.sample_jacobians(theta, np.arange(8))
        gauss_newton = np.linalg.eigvalsh(blocks.T @ blocks / 8)[-1]
        full = es.WithoutReplacement(8)
        found = es.mean_square_sharpness(problem, theta, full, hessian="gauss_newton")
        assert found == pytest.approx(gauss_newton, rel=1e-9)
        for statistic in (es.batch_sharpness, es.gradient_noise_interaction, es.interaction_aware_sharpness):
            assert np.isfinite(getattr(statistic(problem, theta, FEW), "value", statistic(problem, theta, FEW)))
        run = train(problem, theta, step_size=0.1, sampling=full, n_steps=1, record=("theta", "loss"), seed=0)
        np.testing.assert_allclose(run.theta[0, -1], theta - 0.1 * problem.gradient(theta), rtol=1e-12, atol=1e-14)

    def test_frozen_parameters_are_constants(self) -> None:
        module = mlp(3, (4,), 1)
        module[0].bias.requires_grad_(False)
        problem = built(module, INPUTS)
        whole = built(mlp(3, (4,), 1), INPUTS)
        assert problem.n_params == whole.n_params - 4
        assert problem.notes == ("constants, as requires_grad=False: 0.bias",)
        kept = np.r_[0:12, 16:21]
        np.testing.assert_allclose(problem.theta0, whole.theta0[kept])
        np.testing.assert_allclose(
            problem.hessian(problem.theta0), whole.hessian(whole.theta0)[np.ix_(kept, kept)], atol=1e-13
        )
        check(problem)

    def test_unused_parameters_are_named(self) -> None:
        problem = built(lambda: Net(lambda n, x: n.a(x), a=nn.Linear(3, 1), spare=nn.Linear(3, 1)), INPUTS)
        assert problem.notes == ("do not reach the outputs, so that their derivatives are 0: spare.weight, spare.bias",)
        assert (problem.gradient(problem.theta0)[4:] == 0).all()
        check(problem)

    @pytest.mark.parametrize("dtype", [torch.float32, np.float32, np.dtype("float32"), "float32"], ids=repr)
    def test_dtype(self, dtype: Any) -> None:
        problem = built(mlp(3, (4,), 1), INPUTS, dtype=dtype)
        assert (problem.dtype, problem.tensors[0].dtype) == ("float32", torch.float32)
        exact = built(mlp(3, (4,), 1), INPUTS, dtype=torch.float64)
        assert es.sharpness(problem, problem.theta0) == pytest.approx(es.sharpness(exact, exact.theta0), rel=1e-5)


def mean_of(loss: Callable[..., Tensor], **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: loss(outputs, targets, **options)


LOSSES: dict[str, tuple[Any, Any, Callable[[Tensor, Tensor], Tensor], int]] = {
    "cross_entropy": (F.cross_entropy, LABELS, F.cross_entropy, 3),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), LABELS.astype(np.int32), F.cross_entropy, 3),
    "label smoothing": (
        nn.CrossEntropyLoss(label_smoothing=0.1), LABELS, mean_of(F.cross_entropy, label_smoothing=0.1), 3,
    ),
    "labels in a tensor": (nn.CrossEntropyLoss(reduction="none"), torch.as_tensor(LABELS), F.cross_entropy, 3),
    "soft labels": (F.cross_entropy, np.eye(3)[LABELS] * 0.7 + 0.1, F.cross_entropy, 3),
    "whole soft labels": (F.cross_entropy, np.eye(3, dtype=int)[LABELS], F.cross_entropy, 3),
    "mse_loss divides by c": (F.mse_loss, PAIRS, lambda f, y: (f - y).square().sum() / 2 / len(f), 2),
    "mse_loss of one output": (F.mse_loss, TARGETS, lambda f, y: (f - y).square().mean(), 1),
    "MSELoss of each entry": (nn.MSELoss(reduction="none"), TARGETS, lambda f, y: (f - y).square().mean(), 1),
    "binary cross-entropy": (
        F.binary_cross_entropy_with_logits, LABELS % 2, lambda f, y: (F.softplus(f) - y * f).mean(), 1,
    ),
    "Huber": (nn.HuberLoss(delta=0.3), TARGETS, mean_of(F.huber_loss, delta=0.3), 1),
}  # fmt: skip


class TestLosses:
    @pytest.mark.parametrize(("loss", "targets", "mean", "c"), LOSSES.values(), ids=LOSSES)
    def test_differences(self, loss: Any, targets: Any, mean: Callable[[Tensor, Tensor], Tensor], c: int) -> None:
        check(built(mlp(3, (3,), c), INPUTS, targets, loss=loss), mean)

    def test_class_labels_as_the_loss_by_name(self) -> None:
        ours, theirs = (
            built(mlp(3, (4,), 3), INPUTS, LABELS, loss=loss) for loss in (F.cross_entropy, "cross_entropy")
        )
        assert ours.targets.dtype == np.int64
        for statistic in (es.sharpness, lambda p, t: es.mean_square_sharpness(p, t, FEW, hessian="gauss_newton")):
            assert statistic(ours, ours.theta0) == pytest.approx(statistic(theirs, theirs.theta0), rel=1e-10)

    def test_mse_loss_is_two_over_c_of_squared(self) -> None:
        ours, theirs = (built(mlp(3, (4,), 2), INPUTS, PAIRS, loss=loss) for loss in (F.mse_loss, "squared"))
        np.testing.assert_allclose(ours.hessian(ours.theta0), 2 / 2 * theirs.hessian(theirs.theta0), atol=1e-13)

    def test_class_weights_in_the_precision_of_the_problem(self) -> None:
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]), reduction="sum")
        problem = built(mlp(3, (3,), 3), INPUTS, LABELS, loss=loss)
        weight = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
        check(problem, lambda f, y: F.cross_entropy(f, y, weight=weight, reduction="sum") / len(f))


class TestALayerUnderTwoNames:
    @pytest.mark.parametrize("width", [3, 20])
    def test_calls_leave_the_module_as_it_was(self, width: int) -> None:
        """Every parameter reaches the outputs, and a module is a point: 28 and 521 of them."""
        torch.manual_seed(0)
        layer = nn.Linear(width, width, dtype=torch.float64)
        ends = nn.Linear(3, width, dtype=torch.float64), nn.Linear(width, 1, dtype=torch.float64)
        module = nn.Sequential(ends[0], nn.Tanh(), layer, nn.Tanh(), layer, nn.Tanh(), ends[1])
        start = torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()
        problem = built(module, INPUTS)
        assert problem.notes == ()
        problem.loss(start + 1.0)
        assert np.array_equal(problem.theta0, start)
        outputs = module(torch.tensor(INPUTS))[:, 0].detach().numpy()
        assert problem.loss(module) == pytest.approx(np.mean((outputs - TARGETS) ** 2) / 2, rel=1e-14)
        run = train(
            problem, module, step_size=0.1, sampling=es.WithoutReplacement(8), n_steps=1, record=["theta"],
            record_steps=[0, 1], seed=0,
        )  # fmt: skip
        assert np.abs(run.theta.values[0, 1] - (start - 0.1 * problem.gradient(start))).max() < 1e-14
        v = np.random.default_rng(0).standard_normal(len(start))
        difference = (problem.gradient(start + 1e-5 * v) - problem.gradient(start - 1e-5 * v)) / 2e-5
        product = problem.hessian_products(start, np.arange(8), v)
        assert np.abs(product - difference).max() < 1e-7 * np.abs(product).max()


@pytest.mark.parametrize("form", [lambda x: x.to_sparse(), lambda x: x.bfloat16(), lambda x: x.half()])
def test_tensors_that_numpy_has_no_form_for(form: Callable[[Tensor], Tensor]) -> None:
    given = torch.tensor(np.round(8 * INPUTS) / 8)  # exact in 8 bits up to 4
    problem = built(mlp(3, (4,), 1), form(given))  # type: ignore[arg-type]
    assert np.array_equal(problem.inputs, given.numpy())
