"""Checkpoints of training runs: of this very run, or refused with the name of what differs; longer runs extend them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from esssim.bridge import Checkpoint, Piecewise, TorchProblem, load_checkpoint, mlp, save_checkpoint, train  # noqa: E402
from esssim.bridge import train as training  # noqa: E402
from esssim.bridge.loops import Run  # noqa: E402

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((12, 3)), rng.standard_normal((12, 1))
FOUR, EPOCHS = es.WithoutReplacement(4), es.Reshuffled(5)


def problem(loss: Any = "squared", scale: float = 1.0, hook: bool = False) -> TorchProblem:
    module = mlp(3, (4,), 1, seed=0)
    if hook:
        module[1].register_forward_hook(lambda _, inputs, output: 0.5 * output)
    return TorchProblem(module, scale * X, Y, loss)


def huber(delta: float) -> Callable[[Any, Any], Any]:
    return lambda f, y: torch.nn.functional.huber_loss(f, y, delta=delta, reduction="sum")


DEFAULTS: dict[str, Any] = {
    "step_size": 0.1, "sampling": FOUR, "n_steps": 20, "seed": 4, "record": ("loss", "minibatch_sharpness", "theta"),
    "n_records": 5, "n_batches": 3,
}  # fmt: skip


def run(network: TorchProblem | None = None, theta0: Any = None, **options: Any) -> Any:
    network = network or problem()
    return train(network, network.theta0 if theta0 is None else theta0, **DEFAULTS | options)


DIFFERENT: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": 5}, "seed is 4 there and 5 here"),
    "step size": ({"step_size": 0.2}, "step_size is 0.1 there and 0.2 here"),
    "ramp": (
        {"step_size": es.Ramp(0.1, 0.2)},
        "step_size is 0.1 there and Ramp(start=0.1, stop=0.2, shape='linear') here",
    ),
    "pieces": ({"step_size": Piecewise((0.1, 0.2), (9,))}, "step_size is 0.1 there and 0.1, 0.2 from step 9 here"),
    "fewer steps": ({"n_steps": 10}, "n_steps is 20 there and 10 here"),
    "batch size": (
        {"sampling": es.WithoutReplacement(3)},
        "sampling is WithoutReplacement(batch_size=4) there and WithoutReplacement(batch_size=3) here",
    ),
    "scheme": (
        {"sampling": es.WithReplacement(4)},
        "sampling is WithoutReplacement(batch_size=4) there and WithReplacement(batch_size=4) here",
    ),
    "momentum": ({"momentum": 0.5}, "momentum is 0.0 there and 0.5 here"),
    "noise": ({"label_noise": 0.1}, "label_noise is 0.0 there and 0.1 here"),
    "batches": ({"n_batches": 4}, "n_batches is 3 there and 4 here"),
    "rank": ({"rank": 3}, "rank is 64 there and 3 here"),
    "record": ({"record": ("loss",)}, "record is ['loss', 'minibatch_sharpness', 'theta'] there and ['loss'] here"),
    "theta0": ({"theta0": np.ones(21)}, "theta0 is another one"),
    "inputs": ({"network": problem(scale=2.0)}, "problem.inputs is another one"),
    "hook": ({"network": problem(hook=True)}, "problem.module is another one"),
    "loss": ({"network": problem(loss=huber(1.0))}, "problem.loss is another one"),
    "two": ({"seed": 5, "momentum": 0.5}, "momentum is 0.0 there and 0.5 here; seed is 4 there and 5 here"),
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("runs") / "run.npz"
    run(checkpoint=path)
    return path.read_bytes()


@pytest.mark.parametrize(("options", "message"), DIFFERENT.values(), ids=DIFFERENT)
def test_of_another_run_names_what_differs(options: dict[str, Any], message: str, begun: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(begun)
    with pytest.raises(ValueError, match="checkpoint must be a new file or belong to this very run") as caught:
        run(checkpoint=path, **options)
    assert message in str(caught.value)
    assert "is another one" in message or "is another one" not in str(caught.value)
    assert path.read_bytes() == begun  # nothing is lost


def test_of_another_loss_of_the_same_source_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    run(problem(loss=huber(0.1)), checkpoint=path)
    with pytest.raises(ValueError, match=r"problem\.loss is another one"):
        run(problem(loss=huber(1.0)), checkpoint=path)
    run(problem(loss=huber(0.1)), checkpoint=path)


def test_one_number_is_one_setting(begun: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(begun)
    for step_size in (np.float64(0.1), es.Ramp(0.1, 0.1), Piecewise((0.1,), ())):
        found = run(checkpoint=path, step_size=step_size, momentum=0, sampling=Piecewise((FOUR,), ()))
        assert found["loss"].identical(run()["loss"])


LONGER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "records that agree": ({"n_records": 3}, {"n_records": 5, "n_steps": 40}),
    "other records": ({"n_records": 5}, {"n_records": 7, "n_steps": 33}),
    "given records": ({"record_steps": (0, 7, 13)}, {"record_steps": (3, 7, 20, 31), "n_steps": 40}),
    "records that end before": ({}, {"record_steps": (3, 7), "n_steps": 40}),
    "none of the records": ({"record_steps": (20,)}, {"record_steps": (21,), "n_steps": 21}),
    "more records": ({}, {"n_records": 9}),
    "momentum and noise": ({"momentum": 0.9, "label_noise": 0.1}, {"n_steps": 40}),
    "epochs": ({"sampling": EPOCHS}, {"n_steps": 43}),
    "pieces": (
        {"step_size": Piecewise((0.1, 0.2), (7,)), "sampling": Piecewise((FOUR, EPOCHS), (11,))},
        {"n_steps": 40},
    ),
    "another loop": ({"network": problem(hook=True)}, {"n_steps": 40}),
    "another loss": ({"network": problem(loss=huber(0.5))}, {"n_steps": 30}),
    "replicas": ({"n_replicas": 2}, {"n_steps": 30, "n_replicas": 3}),
}


@pytest.mark.parametrize(("first", "then"), LONGER.values(), ids=LONGER)
def test_more_steps_extend_a_run_bit_for_bit(first: dict[str, Any], then: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    whole = run(**first | then)
    run(checkpoint=path, **first)
    for _ in range(2):  # to extend it, and to read what is there
        assert run(checkpoint=path, **first | then).identical(whole)


def test_what_is_recorded_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    measured: list[int] = []
    measure = training.__globals__["measure"]
    monkeypatch.setitem(training.__globals__, "measure", lambda *a: measured.append(a[5].spawn_key[1]) or measure(*a))
    run(checkpoint=path, record_steps=(0, 10, 20))
    run(checkpoint=path, record_steps=(0, 5, 10, 30), n_steps=30)
    assert measured == [0, 10, 20, 5, 30]


def test_steps_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    run(checkpoint=path, record_steps=(0, 20))
    taken: list[tuple[int, int]] = []
    advance = Run.advance
    monkeypatch.setattr(Run, "advance", lambda self, step: taken.append((self.step, step)) or advance(self, step))
    run(checkpoint=path, record_steps=(0, 20, 30), n_steps=30)
    assert taken == [(20, 30)]
    taken.clear()
    run(checkpoint=path, record_steps=(5, 20, 40), n_steps=40)
    assert taken == [(0, 5), (30, 40)]


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_an_extension_can_be_killed_too(after: int, tmp_path: Path) -> None:
    path, longer = tmp_path / "run.npz", {"record_steps": (3, 5, 10, 14, 25, 40), "n_steps": 40, "momentum": 0.5}
    whole = run(**longer)

    def kill(done: int, total: int) -> None:
        if done == 2 + after:
            raise Killed

    run(checkpoint=path, momentum=0.5)
    with pytest.raises(Killed):
        run(checkpoint=path, progress=kill, **longer)
    assert load_checkpoint(path).step >= 20
    assert run(checkpoint=path, **longer).identical(whole)


@pytest.mark.parametrize(
    ("early", "late"),
    [
        ((0, 20), (0, 40)),
        ((0, 3), (0, 3, 40)),
        ((0, 4), (0, 4, 40)),
        ((0, 5), (0, 4)),
        ((0, 20), (0, 2)),
        ((0, 20), (0, 1, 2, 3, 4, 5, 6)),
    ],
)
def test_a_run_that_diverges(early: tuple[int, ...], late: tuple[int, ...], tmp_path: Path) -> None:
    path, options = tmp_path / "run.npz", {"step_size": 1e30}
    whole = run(record_steps=late, n_steps=40, **options)
    run(checkpoint=path, record_steps=early, **options)
    extended = run(checkpoint=path, record_steps=late, n_steps=40, **options)
    np.testing.assert_array_equal(extended["diverged_at"], whole["diverged_at"])
    assert extended.identical(whole)


def test_a_ramp_depends_on_its_number_of_steps(tmp_path: Path) -> None:
    path, ramp = tmp_path / "run.npz", es.Ramp(0.1, 0.2)
    first = run(checkpoint=path, step_size=ramp)
    with pytest.raises(ValueError, match="n_steps is 20 there and 40 here"):
        run(checkpoint=path, step_size=ramp, n_steps=40)
    assert run(checkpoint=path, step_size=ramp).identical(first)


def test_another_version_is_named(begun: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    path.write_bytes(begun)
    saved = load_checkpoint(path)
    saved.settings["versions"]["numpy"] = "1.0"
    save_checkpoint(saved, path)
    with pytest.raises(ValueError, match=r"versions\.numpy is 1\.0 there and .* here"):
        run(checkpoint=path)


def test_an_older_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    header = {"format": "esssim checkpoint 1", "step": 3, "rng_state": {}, "fingerprint": "f"}
    raw = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(path, header=raw, theta=np.zeros(2), velocity=np.zeros(2))
    for call in (lambda: load_checkpoint(path), lambda: run(checkpoint=path)):
        with pytest.raises(ValueError, match="has the format 'esssim checkpoint 1': finish that run with the version"):
            call()


def test_of_a_loop_of_ones_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    state = np.random.default_rng(0).bit_generator.state
    save_checkpoint(Checkpoint(np.zeros(21), np.zeros(21), 3, state), path)
    with pytest.raises(
        ValueError, match="checkpoint must be a new file or belong to this very run: problem is None there"
    ):
        run(checkpoint=path)


def test_an_opaque_loss_trains_without_a_checkpoint_only(tmp_path: Path) -> None:
    lock = threading.Lock()

    def loss(f: Any, y: Any) -> Any:
        with lock:
            return ((f - y) ** 2).sum() / 2

    found = run(problem(loss=loss), record=("loss",))
    assert found.attrs["problem_fingerprint"].startswith("none: problem.loss.__closure__['lock'] is opaque")
    with pytest.raises(ValueError, match=r"problem\.loss\.__closure__\['lock'\] is opaque .* checkpoints and caches"):
        run(problem(loss=loss), record=("loss",), checkpoint=tmp_path / "run.npz")
    assert not list(tmp_path.iterdir())
