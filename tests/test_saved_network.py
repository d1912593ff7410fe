"""A saved network: every form of a state gives the same numbers, files run no code, and the command line shows them."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import esssim as es
from esssim.statistics import mean_square_sharpness
from esssim.statistics.table import MEAN_SQUARE
from tests.conftest import Run

torch = pytest.importorskip("torch", reason="the bridge needs PyTorch")

from torch import nn  # noqa: E402

from esssim.bridge import TorchProblem, load_state, measure  # noqa: E402

RNG = np.random.default_rng(0)
INPUTS, LABELS = torch.tensor(RNG.standard_normal((30, 1, 6))), torch.tensor(RNG.integers(0, 3, 30))
FEW = ("loss", "sharpness", "minibatch_sharpness", MEAN_SQUARE)


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)).double()


def test_values_are_those_of_the_statistics() -> None:
    net, other = network(0), network(1)
    found = measure(
        net, other.state_dict(), INPUTS, LABELS, loss=nn.CrossEntropyLoss(), batch_sizes=[2, 30], n_batches=8, seed=4
    )
    problem = TorchProblem(other, INPUTS, LABELS, "cross_entropy")
    assert found["batch_size"].values.tolist() == [2, 30]
    assert found["sharpness"].values == pytest.approx(es.sharpness(problem, problem.theta0), rel=1e-9)
    for k, b in enumerate((2, 30)):
        sampling, stream = es.WithoutReplacement(b), np.random.SeedSequence([4, b])
        expected = mean_square_sharpness(problem, problem.theta0, sampling, hessian="gauss_newton")
        assert float(found[MEAN_SQUARE][k]) == pytest.approx(expected, rel=1e-9)
        assert float(found["critical_step_size"][k]) == pytest.approx(2 / expected, rel=1e-9)
        drawn = 8 if b == 2 else None
        mini = es.minibatch_sharpness(problem, problem.theta0, sampling, n_batches=drawn, seed=stream)
        assert float(found["minibatch_sharpness"][k]) == pytest.approx(mini.value, rel=0.2)
    # The network that was given stays as it was.
    assert all(map(torch.equal, net.state_dict().values(), network(0).state_dict().values()))


def test_a_sum_over_the_batch_grows_with_it() -> None:
    summed = measure(
        network(0),
        None,
        INPUTS,
        LABELS,
        loss=nn.CrossEntropyLoss(reduction="sum"),
        batch_sizes=[2, 10],
        record=("sharpness",),
    )
    mean = measure(network(0), None, INPUTS, LABELS, loss=nn.CrossEntropyLoss(), batch_sizes=[2], record=("sharpness",))
    np.testing.assert_allclose(summed["sharpness"], float(mean["sharpness"][0]) * np.array([2, 10]), rtol=1e-9)


def test_all_forms_of_a_state_are_the_same(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    net, other = network(0), network(1)
    state = other.state_dict()
    torch.save(state, tmp_path / "plain.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "held.pt"
    )
    safetensors.save_file(state, str(tmp_path / "state.safetensors"))
    vector = torch.nn.utils.parameters_to_vector(other.parameters()).detach()
    forms: list[Any] = [other, state, vector, vector.numpy(), tmp_path / "plain.pt", str(tmp_path / "held.pt"),
                        tmp_path / "state.safetensors"]  # fmt: skip
    found = [
        measure(net, form, INPUTS, LABELS, loss="cross_entropy", batch_sizes=[4], record=("loss", "sharpness"))
        for form in forms
    ]
    for each in found[1:]:
        assert each.equals(found[0])


class Harmful:
    """What a pickled file may do when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    with open(tmp_path / "bad.pt", "wb") as file:
        pickle.dump(Harmful(tmp_path / "made"), file)
    torch.save({"state": Harmful(tmp_path / "made")}, tmp_path / "worse.pt")
    torch.save(network(0), tmp_path / "module.pt")
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    for name in ("bad.pt", "worse.pt", "module.pt", "text.safetensors", "empty.pt", "missing.pt"):
        with pytest.raises(ValueError, match="path must name"):
            load_state(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [(np.zeros(3), "state must have the 35 numbers"), ({"weight": torch.zeros(2)}, "state must fit net")],
)
def test_a_state_of_another_network_is_refused(state: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(network(0), state, INPUTS, LABELS, loss="cross_entropy")


FACTORY = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return net, torch.randn(20, 3), torch.randn(20, 2), nn.MSELoss()

def named():
    net, inputs, targets, loss = build()
    return {"net": net, "inputs": torch.utils.data.TensorDataset(inputs, targets), "loss": loss}

def wrong():
    return 3
"""


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_factory import build  # type: ignore[import-not-found]

    net, *_ = build()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    code, out, err = run(
        "measure-network", "own_factory:build", "--state", "net.pt", "--batch-size", "2,20", "--out", "results"
    )
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    assert "26 parameters, 20 samples" in out
    assert "critical step size" in out
    assert es.load(tmp_path / "results" / "network.nc")["batch_size"].values.tolist() == [2, 20]
    code, out, _ = run("measure-network", "own_factory:named", "--batch-size", "2", "--json")
    assert code == 0
    content = json.loads(out)
    direct = measure(net, None, *build()[1:3], loss=nn.MSELoss(), batch_sizes=[2])
    assert content["rows"][0]["sharpness"] == pytest.approx(float(direct["sharpness"][0]), rel=1e-9)
    for arguments, words in (
        (("own_factory",), "module:function"), (("own_factory:none",), "has no 'none'"), (("no_such:build",), "no_such"),
        (("own_factory:wrong",), "must return"), (("own_factory:build", "--state", "gone.pt"), "no file"),
    ):  # fmt: skip
        code, _, err = run("measure-network", *arguments)
        assert code == 2
        assert words in err
