"""Monitor in a plain loop: training is left as it is, records are those of `train`, edges are those of torch's optimisers."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.statistics import critical, descent, mean_square_sharpness, minibatch

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from esssim.bridge import Monitor, TorchProblem, data, mlp, train  # noqa: E402
from esssim.bridge.monitor import budget, enclosure  # noqa: E402
from esssim.bridge.monitor.loss import OF_LOG_PROBABILITIES, sample_loss  # noqa: E402
from esssim.bridge.monitor.monitor import LINEAR  # noqa: E402
from esssim.bridge.monitor.optimiser import dynamics  # noqa: E402
from esssim.statistics.table import MEAN_SQUARE  # noqa: E402

RNG = np.random.default_rng(0)
IMAGES, LABELS = (
    torch.tensor(RNG.standard_normal((40, 1, 6, 6)), dtype=torch.float32),
    torch.tensor(RNG.integers(0, 3, 40)),
)


class Counting(nn.Module):
    """A convolution with dropout, a buffer that each call changes, and a frozen scale."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 3, 3), nn.Linear(48, 3)
        self.dropout, self.scale = nn.Dropout(0.2), nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.calls += 1
        return self.last(self.dropout(torch.tanh(self.first(x))).flatten(1)) * self.scale


def trained(watched: bool, optimiser: str) -> dict[str, Any]:
    """Everything that a loop of 12 steps leaves behind, random numbers and hooks included."""
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    net = Counting()
    seen: list[float] = []
    net.first.register_forward_hook(lambda module, inputs, output: seen.append(float(output.detach().sum())))
    kinds = {"sgd": functools.partial(torch.optim.SGD, momentum=0.9), "adam": torch.optim.Adam}
    opt = kinds[optimiser]((part for part in net.parameters() if part.requires_grad), lr=0.01)
    loss = nn.CrossEntropyLoss()
    monitor = None
    if watched:
        monitor = Monitor(
            net, IMAGES, LABELS, loss=loss, optimizer=opt, batch_size=8, every=4, quiet=True, rank=4, n_batches=4
        )
    for step in range(12):
        opt.zero_grad()
        rows = torch.randperm(40)[:8]
        loss(net(IMAGES[rows] + 0.1 * torch.randn(8, 1, 6, 6)), LABELS[rows]).backward()
        opt.step()
        if monitor is not None:
            monitor(step)
    if monitor is not None:
        assert monitor.dataset.sizes["record"] == 3
    modes = [layer.training for layer in net.modules()]
    return {
        "state": net.state_dict(), "grads": [part.grad for part in net.parameters()], "modes": modes, "seen": seen,
        "hooks": [len(layer._forward_hooks) for layer in net.modules()], "optimiser": opt.state_dict()["state"],
        "draws": (torch.rand(3), np.random.rand(3), random.random()),  # noqa: NPY002
        "requires": [part.requires_grad for part in net.parameters()], "enabled": torch.is_grad_enabled(),
    }  # fmt: skip


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.filterwarnings("ignore:esssim.bridge.Monitor records NaN:RuntimeWarning")
def test_training_is_the_same_bit_for_bit(optimiser: str) -> None:
    torch.testing.assert_close(trained(True, optimiser), trained(False, optimiser), rtol=0, atol=0)


@pytest.mark.parametrize("hidden", [(5,), (20, 20)])
def test_records_are_those_of_train(hidden: tuple[int, ...]) -> None:
    table = data.classes("wine", 24)
    net = mlp(table.n_inputs, hidden, table.n_outputs, seed=3)
    problem = TorchProblem(net, table.inputs, table.targets)
    names = ("loss", "gradient_norm", "sharpness", "minibatch_sharpness", "batch_sharpness", "batch_sharpness_parts",
             "interaction_aware_sharpness", MEAN_SQUARE, "critical_sharpness")  # fmt: skip
    run = train(
        problem, problem.theta0, step_size=0.1, sampling=es.WithoutReplacement(4), n_steps=20, n_records=3, n_batches=8,
        momentum=0.5, record=(*names, "theta"), seed=5,
    )  # fmt: skip
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.5)
    monitor = Monitor(
        net, torch.tensor(table.inputs), torch.tensor(table.targets), loss="squared", optimizer=opt, batch_size=4,
        n_batches=8, seed=5, quiet=True,
    )  # fmt: skip
    for k, step in enumerate(run["step"].values):
        torch.nn.utils.vector_to_parameters(torch.tensor(run["theta"].values[0, k]), net.parameters())
        monitor.measure(int(step))
    found = monitor.dataset
    assert found.sizes == {"replica": 1, "record": 3}
    for name in run.data_vars:
        if name not in ("theta", "diverged_at"):
            # The enclosure asks for more digits of Q_b than a record does.
            np.testing.assert_allclose(found[name], run[name], rtol=1e-12 if name == MEAN_SQUARE else 0)
    np.testing.assert_array_equal(found["step"], run["step"])
    np.testing.assert_allclose(found["edge"], 2 * 1.5 / 0.1)
    lower, upper = found[f"{MEAN_SQUARE}_lower"], found[f"{MEAN_SQUARE}_upper"]
    assert (lower <= found[MEAN_SQUARE]).all()
    assert (found[MEAN_SQUARE] <= upper).all()


def frozen(kind: type[Any], square: float, **options: Any) -> Callable[[nn.Parameter], Any]:
    """An adaptive optimiser far into its run, whose mean squares hardly move any more."""

    def build(parameter: nn.Parameter) -> Any:
        opt = kind([parameter], **options)
        zero, mean = torch.zeros_like(parameter), torch.full_like(parameter, square)
        if kind is torch.optim.RMSprop:
            opt.state[parameter] = {"step": torch.tensor(1e9), "square_avg": mean, "momentum_buffer": zero}
        elif kind is torch.optim.Adagrad:
            opt.state[parameter] = {"step": torch.tensor(1.0), "sum": mean}
        else:
            opt.state[parameter] = {"step": torch.tensor(1e9), "exp_avg": zero, "exp_avg_sq": mean}
        return opt

    return build


def plain(**options: Any) -> Callable[[nn.Parameter], Any]:
    return lambda parameter: torch.optim.SGD([parameter], lr=0.1, **options)


STILL = 1 - 1e-9
OPTIMISERS = {
    "SGD": plain(),
    "heavy ball": plain(momentum=0.9),
    "Nesterov": plain(momentum=0.8, nesterov=True),
    "dampening": plain(momentum=0.6, dampening=0.3),
    "weight decay": plain(momentum=0.5, weight_decay=3.0),
    "Adam": frozen(torch.optim.Adam, 4.0, lr=0.01, betas=(0.9, STILL)),
    "Adam, weight decay in the gradient": frozen(torch.optim.Adam, 4.0, lr=0.01, betas=(0.7, STILL), weight_decay=50.0),
    "AdamW": frozen(torch.optim.AdamW, 4.0, lr=0.01, betas=(0.8, STILL), weight_decay=30.0),
    "RMSprop": frozen(torch.optim.RMSprop, 9.0, lr=0.01, alpha=STILL, momentum=0.5),
    "Adagrad": frozen(torch.optim.Adagrad, 9.0, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_edge_is_where_torchs_optimiser_grows(name: str) -> None:
    build = OPTIMISERS[name]
    one = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    found = dynamics(build(one), [one])
    scale = 1.0 if found.scale is None else float(found.scale[0])
    for factor in (0.98, 1.02):
        curvature = factor * found.edge / scale**2
        theta = nn.Parameter(torch.full((1,), 1e-12, dtype=torch.float64))
        opt = build(theta)
        largest = []
        for _ in range(1500):
            theta.grad = curvature * theta.detach()
            opt.step()
            largest.append(abs(float(theta.detach()[0])))
            if largest[-1] > 1e-8:
                break
        assert (largest[-1] > 1e-9) == (factor > 1), (name, factor, largest[-1])


def test_an_unknown_optimiser_has_no_edge_and_is_said() -> None:
    one = nn.Parameter(torch.zeros(1))
    found = dynamics(torch.optim.NAdam([one]), [one])
    assert np.isnan(found.edge)
    assert "NAdam" in found.notes[0]


@pytest.mark.parametrize("kind", ["Adam", "groups", "RMSprop"])
def test_statistics_in_the_optimisers_metric_are_those_of_dense_matrices(kind: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    x, y = torch.tensor(RNG.standard_normal((9, 3))), torch.tensor(RNG.standard_normal((9, 2)))
    groups = [{"params": net[0].parameters(), "lr": 0.02}, {"params": net[2].parameters(), "lr": 0.05}]
    opt = {
        "Adam": lambda: torch.optim.Adam(groups), "RMSprop": lambda: torch.optim.RMSprop(groups, momentum=0.3),
        "groups": lambda: torch.optim.SGD(groups, momentum=0.9),
    }[kind]()  # fmt: skip
    loss = nn.MSELoss()
    for _ in range(3):
        opt.zero_grad()
        loss(net(x), y).backward()
        opt.step()
    monitor = Monitor(net, x, y, loss=loss, optimizer=opt, batch_size=2, n_batches=100, quiet=True)
    row = monitor.measure(0)
    square = []
    for group in opt.param_groups:
        for part in group["params"]:
            state = opt.state[part]
            rows = torch.ones_like(part)
            if kind == "Adam":
                rows = 1 / ((1 - 0.9**3) * ((state["exp_avg_sq"] / (1 - 0.999**3)).sqrt() + 1e-8))
            elif kind == "RMSprop":
                rows = 1 / (state["square_avg"].sqrt() + 1e-8)
            square.append((rows * group["lr"] / 0.05).detach().reshape(-1))
    s = torch.cat(square).sqrt()

    def batch_loss(theta: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        parts = torch.split(theta, [part.numel() for part in net.parameters()])
        named = {name: part.view(own.shape) for part, (name, own) in zip(parts, net.named_parameters(), strict=True)}
        return loss(torch.func.functional_call(net, named, (x[rows],)), y[rows])

    theta = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    pairs = [torch.tensor([i, j]) for i in range(9) for j in range(i)]
    hessian = lambda theta, rows: torch.autograd.functional.hessian(lambda t: batch_loss(t, rows), theta)  # noqa: E731
    tops = [float(torch.linalg.eigvalsh(s[:, None] * hessian(theta, rows) * s)[-1]) for rows in pairs]
    everyone = torch.arange(9)
    full = s[:, None] * hessian(theta, everyone) * s
    assert row["preconditioned_sharpness"] == pytest.approx(float(torch.linalg.eigvalsh(full)[-1]), rel=1e-9)
    assert row["preconditioned_minibatch_sharpness"] == pytest.approx(np.mean(tops), rel=1e-9)
    gradients = [s * torch.func.grad(batch_loss)(theta, rows) for rows in pairs]
    ratios = [
        float(g @ (s[:, None] * hessian(theta, rows) * s) @ g / (g @ g))
        for g, rows in zip(gradients, pairs, strict=True)
    ]
    assert row["preconditioned_batch_sharpness"] == pytest.approx(np.mean(ratios), rel=1e-9)
    assert row["sharpness"] == pytest.approx(float(torch.linalg.eigvalsh(hessian(theta, everyone))[-1]), rel=1e-9)
    beta = {"Adam": 0.9, "RMSprop": 0.3, "groups": 0.9}[kind]
    assert row["edge"] == pytest.approx(2 * (1 + beta) / 0.05 / (0.1 if kind == "Adam" else 1))
    assert set(monitor.summary().dropna(subset=["over_edge"]).index) == {
        name
        for name in map(str, monitor.dataset.data_vars)
        if name.startswith("preconditioned_") and name[-5:] not in ("error", "lower", "upper")
    }


OUTPUTS = torch.tensor(RNG.standard_normal((12, 3)))
CLASSES, REALS = torch.tensor(RNG.integers(0, 3, 12)), torch.tensor(RNG.standard_normal((12, 3)))
BITS = (REALS > 0).double()
WEIGHT = torch.tensor([0.5, 1.0, 4.0])
SEQUENCE = torch.tensor(RNG.standard_normal((12, 3, 5)))
POSITIONS = torch.tensor(RNG.integers(0, 3, (12, 5)))

LOSSES: dict[str, tuple[Any, Any, Any, str]] = {
    "MSELoss": (nn.MSELoss(), OUTPUTS, REALS, "mean"),
    "MSELoss, sum": (nn.MSELoss(reduction="sum"), OUTPUTS, REALS, "sum"),
    "L1Loss": (nn.SmoothL1Loss(), OUTPUTS, REALS, "mean"),
    "F.mse_loss": (F.mse_loss, OUTPUTS, REALS, "mean"),
    "BCEWithLogitsLoss": (nn.BCEWithLogitsLoss(), OUTPUTS, BITS, "mean"),
    "BCEWithLogitsLoss, pos_weight": (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), OUTPUTS, BITS, "mean"),
    "BCEWithLogitsLoss, sum": (nn.BCEWithLogitsLoss(reduction="sum"), OUTPUTS, BITS, "sum"),
    "KLDivLoss, batchmean": (nn.KLDivLoss(reduction="batchmean"), OUTPUTS.log_softmax(1), BITS / 3, "mean"),
    "CrossEntropyLoss": (nn.CrossEntropyLoss(), OUTPUTS, CLASSES, "mean"),
    "CrossEntropyLoss, smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), OUTPUTS, CLASSES, "mean"),
    "CrossEntropyLoss, sum": (nn.CrossEntropyLoss(reduction="sum"), OUTPUTS, CLASSES, "sum"),
    "CrossEntropyLoss, weights, sum": (nn.CrossEntropyLoss(WEIGHT, reduction="sum"), OUTPUTS, CLASSES, "sum"),
    "CrossEntropyLoss, probabilities": (nn.CrossEntropyLoss(), OUTPUTS, REALS.softmax(1), "mean"),
    "CrossEntropyLoss, sequences": (nn.CrossEntropyLoss(), SEQUENCE, POSITIONS, "mean"),
    "F.cross_entropy": (F.cross_entropy, OUTPUTS, CLASSES, "mean"),
    "F.cross_entropy, smoothing": (functools.partial(F.cross_entropy, label_smoothing=0.2), OUTPUTS, CLASSES, "mean"),
    "NLLLoss": (nn.NLLLoss(), OUTPUTS.log_softmax(1), CLASSES, "mean"),
    "own mean": (lambda f, y: ((f - y) ** 4).mean(), OUTPUTS, REALS, "mean"),
    "own sum": (lambda f, y: ((f - y) ** 4).sum(), OUTPUTS, REALS, "sum"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_the_samples_losses_make_the_loss_of_a_batch(name: str) -> None:
    loss, outputs, targets, reduction = LOSSES[name]
    given = copy.deepcopy(loss)
    found = sample_loss(given, outputs, targets, 5)
    assert found.reduction == reduction
    rows = torch.tensor([7, 1, 4, 11, 0])
    own = F.cross_entropy if found.loss == "cross_entropy" else found.loss
    alone = [float(own(outputs[row].reshape(-1), targets[row])) for row in rows]
    expected = float((loss.double() if isinstance(loss, nn.Module) else loss)(outputs[rows], targets[rows]))
    assert np.mean(alone) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"weight": WEIGHT}, {"ignore_index": 1}, {"weight": WEIGHT, "label_smoothing": 0.1}]
)
def test_weights_of_classes_are_divided_by_their_mean_over_the_probe_set(options: dict[str, Any]) -> None:
    found = sample_loss(nn.CrossEntropyLoss(**options), OUTPUTS, CLASSES, 5)
    assert found.reduction == "weighted mean"
    assert "batch to batch" in found.notes[0]
    alone = [float(found.loss.double()(f, y)) for f, y in zip(OUTPUTS, CLASSES, strict=True)]
    assert np.mean(alone) == pytest.approx(float(nn.CrossEntropyLoss(**options).double()(OUTPUTS, CLASSES)), rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "targets", "words"),
    [
        (lambda f, y: ((f - y) ** 2).mean().sqrt(), REALS, "mean or the sum"),
        (nn.MSELoss(reduction="none"), REALS, "one number for a batch"),
        (nn.MSELoss(), REALS[:, 0].repeat(2)[:12], "mean or the sum"),
        (7, REALS, "loss must be"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_other_losses_are_refused(loss: Any, targets: torch.Tensor, words: str) -> None:
    outputs = OUTPUTS[:, :1] if targets.ndim == 1 else OUTPUTS
    with pytest.raises(ValueError, match=words):
        sample_loss(loss, outputs, targets, 5)


def test_a_loader_is_not_iterated_and_gives_its_batch_size() -> None:
    class Drawing(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, row: int) -> Any:
            return IMAGES[row] + torch.rand(1), LABELS[row]

    generator = torch.Generator().manual_seed(4)
    loader = torch.utils.data.DataLoader(Drawing(), batch_size=8, shuffle=True, generator=generator)
    before, shared = generator.get_state(), torch.get_rng_state()
    net = Counting()
    shared = torch.get_rng_state()
    opt = torch.optim.SGD([part for part in net.parameters() if part.requires_grad], lr=0.1)
    monitor = Monitor(net, loader, loss=F.cross_entropy, optimizer=opt, n_probe=16, record=("loss",), quiet=True)
    assert monitor.batch_size == 8
    assert (monitor.samples.n_samples, monitor.samples.n_train) == (16, 40)
    assert torch.equal(before, generator.get_state())
    assert torch.equal(shared, torch.get_rng_state())


def test_a_stream_of_samples_and_mixing_layers_are_refused() -> None:
    class Stream(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from zip(IMAGES, LABELS, strict=True)

    net = Counting()
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="read once"):
        Monitor(net, torch.utils.data.DataLoader(Stream()), loss=F.cross_entropy, optimizer=opt, batch_size=2)
    mixing = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    opt = torch.optim.SGD(mixing.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="one by one"):
        Monitor(mixing, IMAGES, LABELS, loss=F.cross_entropy, optimizer=opt, batch_size=4)
    other = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="none of them"):
        Monitor(net, IMAGES, LABELS, loss=F.cross_entropy, optimizer=torch.optim.SGD(other.parameters()), batch_size=4)
    with pytest.raises(ValueError, match="batch_size must be given"):
        Monitor(net, IMAGES, LABELS, loss=F.cross_entropy, optimizer=torch.optim.SGD(net.parameters()))


def test_bounds_contain_the_exact_mean_square_sharpness(monkeypatch: pytest.MonkeyPatch) -> None:
    table = data.classes("wine", 30)
    for loss in ("squared", "cross_entropy"):
        net = mlp(table.n_inputs, (6,), table.n_outputs, seed=1)
        problem = TorchProblem(net, table.inputs, table.loss_targets(loss), loss)
        for b in (1, 4, 30):
            sampling = es.WithoutReplacement(b)
            exact = mean_square_sharpness(problem, problem.theta0, sampling, hessian="gauss_newton")
            monkeypatch.setattr(enclosure, "EXACT_ROWS", 0)
            found = enclosure.probed_enclosure(problem, problem.theta0, sampling, 8)
            monkeypatch.undo()
            assert found.lower <= exact * (1 + 1e-9)
            assert exact <= found.upper * (1 + 1e-9)
            assert b < 30 or found.upper == pytest.approx(exact, rel=1e-5)


def test_standard_errors_are_those_of_the_probe_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """λ_max of a mean of m matrices drawn from n varies by Σ (vᵀHᵢv − λ)²/(m(m − 1)) (1 − m/n), to first order."""
    table = data.classes("digits", 60)
    net = mlp(table.n_inputs, (3,), table.n_outputs, seed=1)
    opt = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def monitor(n_probe: int | None) -> Monitor:
        return Monitor(
            net, torch.tensor(table.inputs), torch.tensor(table.targets), loss="squared", optimizer=opt, batch_size=8,
            record=("sharpness", MEAN_SQUARE), n_probe=n_probe, quiet=True,
        )  # fmt: skip

    some = monitor(20)
    row, problem = some.measure(0), some.problem
    matrices = problem.sample_hessians(problem.theta0, np.arange(20))
    values, vectors = np.linalg.eigh(matrices.mean(axis=0))
    forms = np.einsum("i,nij,j->n", vectors[:, -1], matrices, vectors[:, -1]) - values[-1]
    expected = np.sqrt((forms**2).sum() / (20 * 19) * (1 - 20 / 60))
    assert row["sharpness_standard_error"] == pytest.approx(expected, rel=1e-9)
    assert 0 < row[f"{MEAN_SQUARE}_standard_error"] < row[MEAN_SQUARE]
    monkeypatch.setattr("esssim.bridge.problem.DENSE_PARAMS", 0)
    assert enclosure.sharpness_with_error(problem, problem.theta0, 60) == pytest.approx(
        (values[-1], expected), rel=1e-6
    )
    summary = some.summary()
    assert summary.loc[MEAN_SQUARE, "momentum"] == 0.0
    assert np.isnan(summary.loc["sharpness", "momentum"])
    assert summary.loc["sharpness", "standard_error"] == row["sharpness_standard_error"]
    whole = monitor(None).measure(0)
    assert whole["sharpness_standard_error"] == whole[f"{MEAN_SQUARE}_standard_error"] == 0.0


def test_the_error_of_critical_sharpness_is_that_of_its_derivatives() -> None:
    """Against weights of samples: one twice, by its own problem, beside the others; n copies make it a small change."""
    table, m, copies = data.classes("digits", 4), 4, 100
    net, seed = mlp(table.n_inputs, (3,), table.n_outputs, seed=1), np.random.SeedSequence(0)
    problem = TorchProblem(net, table.inputs, table.targets)
    theta, sampling = problem.theta0, es.WithoutReplacement(2)
    value, error = enclosure.critical_sharpness_with_error(problem, theta, sampling, seed, 100)
    influence = []
    for i in range(m):
        some = np.append(np.tile(np.arange(m), copies), i)
        more = TorchProblem(net, table.inputs[some], table.targets[some], check=False)
        # The others lose what this one gains: 1/(m·copies + 1) of the weight moves to it.
        influence.append((es.critical_sharpness(more, theta) - value) * (m * copies + 1))
    assert value == es.critical_sharpness(problem, theta)
    expected = np.sqrt(np.square(influence).sum() / (m * (m - 1)) * (1 - m / 100))
    assert error == pytest.approx(expected, rel=0.01)
    assert enclosure.critical_sharpness_with_error(problem, theta, sampling, seed, m) == (value, 0.0)


def test_a_network_that_diverged_is_marked_and_leaves_nan() -> None:
    net = nn.Linear(3, 2)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    monitor = Monitor(
        net, OUTPUTS.float(), REALS[:, :2].float(), loss=nn.MSELoss(), optimizer=opt, batch_size=4, quiet=True
    )
    monitor(0)
    with torch.no_grad():
        net.weight.fill_(float("nan"))
    monitor(1)
    assert int(monitor.dataset["diverged_at"][0]) == 1
    assert np.isnan(monitor.dataset["sharpness"].values[0, 1])


def test_what_is_saved_is_loaded_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = nn.Linear(3, 2)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    monitor = Monitor(
        net, OUTPUTS.float(), REALS[:, :2].float(), loss=nn.MSELoss(), optimizer=opt, batch_size=4, every=10
    )
    assert "about" in capsys.readouterr().err
    for step in range(25):
        assert (monitor(step) is None) == (step % 10 > 0)
    monitor.save(tmp_path / "run.nc")
    assert es.load(tmp_path / "run.nc").identical(monitor.dataset.assign_attrs(es.load(tmp_path / "run.nc").attrs))
    figure = monitor.plot()
    assert [axes.get_ylabel() for axes in figure.axes] == ["statistic / edge", "loss"]
    assert len([line for line in figure.axes[0].lines if line.get_label()[0] != "_"]) == 7


@pytest.mark.parametrize("seconds", [0.015, 0.5, 30.0])
def test_a_budget_is_kept_at_every_moment(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(budget.time, "perf_counter", lambda: now)
    clock = budget.Clock(0.05, fixed=seconds / 4, scaled=seconds * 3 / 4)
    levels, taken, rng = budget.efforts(32, 64), [], np.random.default_rng(0)
    for due in range(1, 2001):
        now += 0.1
        effort = clock.affordable(levels, 4 * clock.trained / due)
        if effort is not None:
            taken.append(effort.fraction)
            # Other work on the machine comes and goes.
            took = clock.seconds(effort) * rng.uniform(0.6, 1.45)
            now += took
            clock.spent += took
            clock.measured += 1
        assert clock.spent <= 0.05 * clock.trained
    assert clock.skipped + len(taken) == 2000
    # 200 s of training pay for 10 s: full measurements, smaller ones, or none at all.
    assert {0.015: taken[-1:] == [1.0], 0.5: len(taken) > 20, 30.0: not taken}[seconds]


def test_a_monitor_with_a_budget_takes_fewer_batches_and_says_so() -> None:
    net = nn.Linear(3, 2)
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    monitor = Monitor(
        net, OUTPUTS.float(), REALS[:, :2].float(), loss=nn.MSELoss(), optimizer=opt, batch_size=4, quiet=True,
        budget=0.5, n_batches=16, record=("loss", "minibatch_sharpness"),
    )  # fmt: skip
    assert monitor(0) is None  # nothing is paid for yet
    monitor.clock.started -= 1000.0
    monitor.clock.scaled, monitor.clock.fixed = 1600.0, 0.0
    row = monitor(1)
    assert row is None
    monitor.clock.scaled = 0.001
    row = monitor(2)
    assert row is not None
    assert row["n_batches"] == 16
    monitor.clock.scaled = 7000.0
    monitor.clock.started -= 10000.0
    row = monitor(3)
    assert row is not None
    assert row["n_batches"] < 16
    assert monitor.dataset["n_batches"].values.tolist() == [16, row["n_batches"]]


@pytest.mark.parametrize(
    "options",
    [{"label_smoothing": 0.1}, {"weight": WEIGHT}, {"weight": WEIGHT, "label_smoothing": 0.3, "ignore_index": 1}],
)
def test_the_curvature_of_class_losses_is_right_at_any_margin(options: dict[str, Any]) -> None:
    loss = sample_loss(nn.CrossEntropyLoss(**options), OUTPUTS, CLASSES, 5).loss.double()
    roots = loss.root(OUTPUTS, CLASSES)
    for f, y, root in zip(OUTPUTS, CLASSES, roots, strict=True):
        hessian = torch.autograd.functional.hessian(lambda f, y=y: loss(f, y).sum(), f)
        torch.testing.assert_close(root @ root.T, hessian)
    # One class is sure up to 10⁻²⁶: what is left of the Hessian is of that size, and not rounding.
    sure = torch.tensor([[60.0, 0.0, 0.0]], dtype=torch.float64)
    kept = loss.root(sure, torch.tensor([0]))[0]
    scale = float((loss.root(OUTPUTS, CLASSES) @ loss.root(OUTPUTS, CLASSES).mT).max())
    assert 0 < float((kept @ kept.T)[0, 0]) < 1e-24 * scale


def test_the_forecast_of_the_mean_square_sharpness_is_that_of_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timed on 25 of 100 samples, in the way of all, its seconds grow with the power 3/2 of their number."""
    images = data.classes("digits", 100)
    problem = TorchProblem(mlp(images.n_inputs, (4,), images.n_outputs, seed=0), images.inputs, images.targets)
    taken, now = [], iter(np.cumsum([0.0, 0.1, 0.0, 0.1, 0.0, 0.5, 0.0, 0.5, 0.0, 2.0]))
    of_samples = budget.gram_mean_square_sharpness

    def counted(*arguments: Any) -> Any:
        taken.append(arguments[-1])
        return of_samples(*arguments)

    monkeypatch.setattr(budget, "gram_mean_square_sharpness", counted)
    monkeypatch.setattr(budget, "time", SimpleNamespace(perf_counter=lambda: next(now)))
    sampling = es.WithoutReplacement(8)
    costs = budget.first_costs(problem, problem.theta0, sampling, (MEAN_SQUARE,), budget.Effort(4, 8))
    assert costs == {MEAN_SQUARE: pytest.approx(2.0 * 4**1.5)}
    assert len(np.unique(taken[0])) == 25
    # 250 rows n·c of a quarter have a dense way of their own; all 1,000 have not, and are forecast.
    found = of_samples(problem, problem.theta0, sampling.variance_coefficient(100), 8, taken[0])
    assert found.rank < 250


@pytest.mark.parametrize("options", [{}, {"ignore_index": 1}])
def test_log_probabilities_give_the_numbers_of_their_logits(options: dict[str, Any]) -> None:
    """nn.NLLLoss after log softmax is nn.CrossEntropyLoss; alone it is linear, and its Gauss–Newton blocks are zero."""
    images = IMAGES[:24].flatten(1)

    def values(loss: nn.Module, *last: nn.Module) -> tuple[dict[str, float], list[str]]:
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(36, 4), nn.Tanh(), nn.Linear(4, 3), *last)
        opt = torch.optim.SGD(net.parameters(), lr=0.1)
        monitor = Monitor(net, images, LABELS[:24], loss=loss, optimizer=opt, batch_size=4, quiet=True)
        return monitor.measure(0), monitor.notes

    expected, _ = values(nn.CrossEntropyLoss(**options))
    found, notes = values(nn.NLLLoss(**options), nn.LogSoftmax(dim=1))
    assert OF_LOG_PROBABILITIES in notes
    for name in expected.keys() - {"seconds"}:
        assert found[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    linear, notes = values(nn.NLLLoss(**options))
    assert linear[MEAN_SQUARE] == 0.0
    assert LINEAR in notes


def test_one_batch_of_more_numbers_than_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network of a million parameters: parts of a batch are never empty."""
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    problem = TorchProblem(net, IMAGES[:9, 0, 0], IMAGES[:9, 0, 1, :2])
    point, sampling = (problem, problem.theta0), es.WithoutReplacement(2)
    statistics: list[Callable[[], Any]] = [
        lambda: es.critical_sharpness(*point),
        lambda: es.minibatch_critical_sharpness(*point, sampling).value,
        lambda: es.batch_sharpness(*point, sampling).value,
        lambda: es.one_step_loss_change(*point, sampling, step_size=0.1).value,
        lambda: enclosure.upper_bound(*point)(0.5),
        lambda: enclosure.critical_sharpness_with_error(*point, sampling, np.random.SeedSequence(0), 20),
    ]
    expected = [statistic() for statistic in statistics]
    for module, name in (
        (critical, "NUMBERS"), (minibatch, "GRADIENT_NUMBERS"), (descent, "NUMBERS"), (enclosure, "HELD"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 3)
    np.testing.assert_allclose(
        np.hstack([statistic() for statistic in statistics]), np.hstack(expected), rtol=1e-12, equal_nan=True
    )


def test_a_loss_that_is_not_convex_has_no_mean_square_sharpness_and_all_the_rest() -> None:
    """The forecast, which tries it on a part of the samples, leaves the refusal to the measurement."""
    net = nn.Sequential(nn.Linear(36, 2), nn.Tanh())
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    monitor = Monitor(
        net, IMAGES.flatten(1), IMAGES[:, 0, 0, :2], loss=lambda f, y: torch.cos(f - y).mean(), optimizer=opt,
        batch_size=4, record=("sharpness", MEAN_SQUARE), quiet=True,
    )  # fmt: skip
    with pytest.warns(RuntimeWarning, match="convex"):
        row = monitor.measure(0)
    assert np.isnan(row[MEAN_SQUARE])
    assert np.isfinite(row["sharpness"])
    assert any("convex" in note for note in monitor.notes)


def test_classes_that_are_no_labels_stay_refused() -> None:
    """Probabilities are targets of cross-entropy and not of NLLLoss, which says so."""
    with pytest.raises(ValueError, match="loss must take the outputs"):
        sample_loss(nn.NLLLoss(), OUTPUTS.log_softmax(1), REALS.softmax(1), 5)
