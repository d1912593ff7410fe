"""Two torch problems with other numbers have other fingerprints: losses, options, attributes, hooks, buffers, layers."""

from __future__ import annotations

import copy
import functools
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from esssim._fingerprint import Unfingerprintable, fingerprint  # noqa: E402
from esssim.bridge import TorchProblem, mlp  # noqa: E402

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((8, 3)), rng.standard_normal(8)
DELTA = 1.0


def problem(module: nn.Module | None = None, loss: Any = "squared", **options: Any) -> TorchProblem:
    return TorchProblem(mlp(3, (4,), 1) if module is None else module, X, Y[:, None], loss, **options)


def huber(delta: float) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda f, y: F.huber_loss(f, y, delta=delta, reduction="sum")


def huber_by_default(f: Tensor, y: Tensor, delta: float = 1.0) -> Tensor:
    return F.huber_loss(f, y, delta=delta, reduction="sum")


def huber_of_a_global(f: Tensor, y: Tensor) -> Tensor:
    return F.huber_loss(f, y, delta=DELTA, reduction="sum")


def with_teacher(value: float) -> Callable[[Tensor, Tensor], Tensor]:
    teacher = nn.Linear(1, 1, dtype=torch.float64)
    nn.init.constant_(teacher.weight, value)
    nn.init.constant_(teacher.bias, 0.0)
    return lambda f, y: ((teacher(f.reshape(1)) - y) ** 2).sum()


class Own(nn.Module):
    """A layer of one's own with an option, a buffer that is not saved, a property and an activation."""

    def __init__(self, scale: float = 1.0, buffer: float = 1.0, act: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1, dtype=torch.float64)
        self._scale, self.act = scale, act
        self.register_buffer("shift", torch.tensor(buffer), persistent=False)

    @property
    def scale(self) -> float:
        return 2 * self._scale

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.scale * self.linear(x)) + self.shift


class Power(torch.autograd.Function):
    """A function with a derivative of its own."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


def hooked(register: str, factor: float, *names: str) -> nn.Module:
    module = mlp(3, (4,), 1)
    holder = functools.reduce(getattr, names, module)
    forward = {"register_forward_hook": lambda _, inputs, output: factor * output}
    getattr(holder, register)(forward.get(register, lambda _, inputs: (factor * inputs[0],)))
    return module


def patched(factor: float) -> nn.Module:
    module = mlp(3, (4,), 1)
    inner = module[1].forward
    module[1].forward = lambda x: factor * inner(x)
    return module


def attention(heads: int) -> nn.Module:
    return nn.MultiheadAttention(4, heads, batch_first=True)


def encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True, **options)


def parametrised(function: Callable[..., Any]) -> nn.Module:
    module = mlp(3, (4,), 1)
    function(module[0])
    return module


class Double(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def doubling(layer: nn.Module) -> None:
    nn.utils.parametrize.register_parametrization(layer, "weight", Double())


def hooks_in_order(*factors: float) -> nn.Module:
    module = mlp(3, (4,), 1)
    for factor in factors:
        module[1].register_forward_hook(functools.partial(lambda _, i, o, by: o.clamp(max=by) * by, by=factor))
    return module


def bfloat(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.bfloat16)


spectral, orthogonal = nn.utils.parametrizations.spectral_norm, nn.utils.parametrizations.orthogonal
# As problems where the bridge takes them today, and as plain things where it does not.
DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "closure": (lambda: problem(loss=huber(0.1)), lambda: problem(loss=huber(1.0))),
    "partial": (
        lambda: problem(loss=functools.partial(huber_by_default, delta=0.1)),
        lambda: problem(loss=functools.partial(huber_by_default, delta=0.2)),
    ),
    "partial of torch": (
        lambda: problem(loss=functools.partial(F.huber_loss, delta=0.1, reduction="sum")),
        lambda: problem(loss=functools.partial(F.huber_loss, delta=0.2, reduction="sum")),
    ),
    "module as loss": (
        lambda: problem(loss=nn.HuberLoss(delta=0.1, reduction="sum")),
        lambda: problem(loss=nn.HuberLoss(delta=0.2, reduction="sum")),
    ),
    "default": (
        lambda: problem(loss=lambda f, y, d=0.1: huber(d)(f, y)),
        lambda: problem(loss=lambda f, y, d=0.2: huber(d)(f, y)),
    ),
    "default by keyword": (
        lambda: problem(loss=lambda f, y, *, d=0.1: huber(d)(f, y)),
        lambda: problem(loss=lambda f, y, *, d=0.2: huber(d)(f, y)),
    ),
    "teacher in the loss": (lambda: problem(loss=with_teacher(1.0)), lambda: problem(loss=with_teacher(2.0))),
    "attribute of a layer": (lambda: problem(Own(1.0)), lambda: problem(Own(2.0))),
    "buffer that is not saved": (lambda: problem(Own(buffer=1.0)), lambda: problem(Own(buffer=2.0))),
    "function of a layer": (lambda: problem(Own()), lambda: problem(Own(act=F.gelu))),
    "forward hook": (
        lambda: problem(hooked("register_forward_hook", 2.0, "0")),
        lambda: problem(hooked("register_forward_hook", 3.0, "0")),
    ),
    "hook or none": (lambda: problem(hooked("register_forward_hook", 1.0)), problem),
    "forward pre-hook": (
        lambda: problem(hooked("register_forward_pre_hook", 2.0)),
        lambda: problem(hooked("register_forward_pre_hook", 3.0)),
    ),
    "order of hooks": (lambda: problem(hooks_in_order(0.5, 2.0)), lambda: problem(hooks_in_order(2.0, 0.5))),
    "method put on a layer": (lambda: problem(patched(1.0)), lambda: problem(patched(2.0))),
    "activation": (lambda: problem(mlp(3, (4,), 1, activation="gelu")), problem),
    "option of an activation": (
        lambda: problem(nn.Sequential(nn.Linear(3, 1), nn.GELU())),
        lambda: problem(nn.Sequential(nn.Linear(3, 1), nn.GELU(approximate="tanh"))),
    ),
    "order of layers": (
        lambda: problem(nn.Sequential(nn.Linear(3, 1), nn.Tanh(), nn.Softsign())),
        lambda: problem(nn.Sequential(nn.Linear(3, 1), nn.Softsign(), nn.Tanh())),
    ),
    "dtype": (problem, lambda: problem(dtype="float32")),
    "tolerance": (problem, lambda: problem(tolerance=1e-6)),
    "targets": (problem, lambda: TorchProblem(mlp(3, (4,), 1), X, Y + 1e-12)),
    "mode": (lambda: nn.Sequential(nn.Dropout()), lambda: nn.Sequential(nn.Dropout()).eval()),
    "heads": (lambda: attention(1), lambda: attention(2)),
    "norm_first": (encoder, lambda: encoder(norm_first=True)),
    "activation of an encoder": (encoder, lambda: encoder(activation="gelu")),
    "normalisation": (lambda: nn.LayerNorm(4), lambda: nn.LayerNorm(4, eps=1e-3)),
    "parametrisation": (lambda: parametrised(spectral), lambda: parametrised(orthogonal)),
    "parametrised or not": (lambda: parametrised(orthogonal), lambda: mlp(3, (4,), 1)),
    "padding": (lambda: nn.Conv1d(1, 1, 3), lambda: nn.Conv1d(1, 1, 3, padding_mode="circular", padding=1)),
    "direction": (lambda: nn.GRU(3, 2), lambda: nn.GRU(3, 2, bidirectional=True)),
    "half precision": (lambda: bfloat(1.0), lambda: bfloat(2.0)),
    "sparse": (lambda: torch.eye(2).to_sparse(), lambda: torch.ones(2, 2).to_sparse()),
    "conjugate": (lambda: torch.tensor([1j]), lambda: torch.tensor([1j]).conj()),
    "dtype of torch": (lambda: torch.float32, lambda: torch.float64),
    "function of torch": (lambda: torch.sin, lambda: torch.cos),
    "derivative of one's own": (lambda: Power, lambda: Power.__base__),
}


@pytest.mark.parametrize(("one", "other"), DIFFERENT.values(), ids=DIFFERENT)
def test_differs(one: Callable[[], Any], other: Callable[[], Any]) -> None:
    def found(make: Callable[[], Any]) -> str:
        torch.manual_seed(0)  # the same parameters wherever they have the same shapes
        made = make()
        return made.fingerprint if isinstance(made, TorchProblem) else fingerprint(made)

    assert found(one) == found(one)
    assert found(one) != found(other)


def test_theta_does_not_count_and_its_shape_does() -> None:
    assert problem(mlp(3, (4,), 1, seed=0)).fingerprint == problem(mlp(3, (4,), 1, seed=1)).fingerprint
    assert problem(mlp(3, (5,), 1)).fingerprint != problem().fingerprint


def test_ties_count() -> None:
    class Twice(nn.Module):
        def __init__(self, tied: bool) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            if tied:
                self.second.weight = self.first.weight

    tied, free = Twice(True), Twice(False)
    theta = [*tied.parameters(), *free.parameters()]
    assert fingerprint(tied, arguments=theta) != fingerprint(free, arguments=theta)


def test_a_global_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    network = problem(loss=huber_of_a_global)
    before = network.fingerprint
    monkeypatch.setattr(sys.modules[__name__], "DELTA", 0.1)
    assert network.fingerprint != before
    monkeypatch.undo()
    monkeypatch.setattr(F, "huber_loss", lambda f, y, **_: ((f - y) ** 2).sum())
    assert network.fingerprint != before


def test_classes_that_change(monkeypatch: pytest.MonkeyPatch) -> None:
    own, plain = problem(Own()), problem()
    before = own.fingerprint, plain.fingerprint
    monkeypatch.setattr(Own, "scale", property(lambda self: 3 * self._scale))
    assert own.fingerprint != before[0]
    monkeypatch.undo()
    monkeypatch.setattr(nn.Tanh, "forward", lambda self, x: x)
    assert plain.fingerprint != before[1]


def test_what_holds_for_all_modules() -> None:
    network = problem()
    before = network.fingerprint
    handle = nn.modules.module.register_module_forward_hook(lambda _, i, o: 2 * o)
    try:
        assert network.fingerprint != before
    finally:
        handle.remove()
    torch.set_default_dtype(torch.float64)
    try:
        assert network.fingerprint != before
    finally:
        torch.set_default_dtype(torch.float32)
    assert network.fingerprint == before


@pytest.mark.parametrize(
    "make",
    [
        problem, lambda: problem(Own()), lambda: problem(encoder_of_numbers()), lambda: problem(parametrised(doubling)),
        lambda: problem(hooks_in_order(0.5)), lambda: problem(loss=nn.HuberLoss(reduction="sum")),
    ],
)  # fmt: skip
def test_is_the_same_for_a_copy_and_after_use(make: Callable[[], TorchProblem]) -> None:
    torch.manual_seed(0)
    network = make()
    before = network.fingerprint
    network.gradient(network.theta0)
    assert copy.deepcopy(network).fingerprint == before == network.fingerprint


def encoder_of_numbers() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Softplus(), nn.Linear(4, 1))


def test_a_subclass_has_attributes_of_its_own() -> None:
    class Weighted(TorchProblem):
        _weight = 1.0

    one, other = Weighted(mlp(3, (4,), 1), X, Y, huber(1.0)), Weighted(mlp(3, (4,), 1), X, Y, huber(1.0))
    assert one.fingerprint == other.fingerprint != problem(loss=huber(1.0)).fingerprint
    other._weight = 2.0
    assert one.fingerprint != other.fingerprint


def test_the_opaque_is_named() -> None:
    lock = threading.Lock()
    network = problem(loss=lambda f, y: (f - y).sum() ** 2 if lock else f.sum())
    with pytest.raises(Unfingerprintable, match=r"^problem\.loss\.__closure__\['lock'\] is opaque \(a _thread\.lock"):
        _ = network.fingerprint
    module = mlp(3, (4,), 1)
    module[1].register_forward_hook(lambda layer, inputs, output: output if lock else inputs)
    where = r"^problem\.module\.1\._forward_hooks\[0\]\[0\]\.__closure__\['lock'\] is opaque"
    with pytest.raises(Unfingerprintable, match=where):
        _ = problem(module).fingerprint


PROGRAM = """
import pickle, sys
import numpy as np, torch
from torch import nn
from esssim.bridge import TorchProblem, mlp

SCALES = {"a": 0.5}

class Own(nn.Module):
    tags = {"one", "two", "three"}
    def __init__(self):
        super().__init__()
        self.inner = mlp(3, (4,), 1)
        self.inner[0].register_forward_hook(lambda layer, inputs, output: 2 * output)
        self.options = {"p", "q", "r"}
    def forward(self, x):
        return self.inner(x) * SCALES["a"]

for _ in range(int(sys.argv[1])):  # numbers of hooks belong to the process
    Own()
p = TorchProblem(Own(), np.ones((4, 3)), np.zeros(4), loss=lambda f, y: nn.functional.huber_loss(f, y, delta=SCALES["a"]).sum())
print(p.fingerprint)
"""


def test_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(PROGRAM, encoding="utf-8")
    found = set()
    for seed in ("1", "2"):
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)}
        answer = subprocess.run(
            [sys.executable, str(tmp_path / "run.py"), seed],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        found.add(answer.stdout)
    assert len(found) == 1


def test_pickle() -> None:
    network = problem(Own())
    assert pickle.loads(pickle.dumps(network)).fingerprint == network.fingerprint
