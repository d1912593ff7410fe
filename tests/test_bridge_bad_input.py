"""What the bridge refuses, each with its one line; checkpoints; and what it says where torch is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the bridge needs PyTorch: pip install 'esssim[bridge]'")

import torch
from torch import nn

import esssim as es
from esssim.bridge import (
    Checkpoint,
    TorchProblem,
    load_checkpoint,
    mean_square_enclosure,
    mean_square_sharpness_in_subspace,
    save_checkpoint,
)
from esssim.bridge import (
    problem as bridge_problem,
)
from tests.bridge_cases import perceptron

RNG = np.random.default_rng(0)
INPUTS, TARGETS, LABELS = RNG.standard_normal((6, 3)), RNG.standard_normal((6, 2)), np.array([0, 1, 1, 0, 1, 0])
FEW = es.WithoutReplacement(2)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.spare = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


class Centred(Two):
    """Mixes samples without a layer that says so."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(dim=0)) + self.spare(x)


class Random(Two):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.spare(x) + torch.randn(1)


def network(**options: object) -> TorchProblem:
    return TorchProblem(perceptron(3, 4, 2), INPUTS, TARGETS, **options)


def exploding() -> float:
    problem = TorchProblem(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), INPUTS, TARGETS)
    return es.sharpness(problem, np.full(problem.n_params, 1e200))


def too_many_outputs() -> float:
    problem = TorchProblem(perceptron(3, 400, 10), np.ones((300, 3)), np.zeros((300, 10)))
    return es.mean_square_sharpness(problem, problem.theta0, FEW, hessian="gauss_newton")


def many_rows() -> TorchProblem:
    return TorchProblem(perceptron(1, 2), np.ones((100_001, 1)), np.zeros((100_001, 2)), check=False)


def too_large_for_full() -> float:
    problem = TorchProblem(perceptron(3, 60, 2), INPUTS, TARGETS)
    return es.mean_square_sharpness(problem, problem.theta0, FEW)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "no module": (lambda: TorchProblem(len, INPUTS, TARGETS), "module must be a torch.nn.Module, got <built-in"),
    "batch norm": (
        lambda: TorchProblem(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), INPUTS, TARGETS),
        "module must treat samples one by one, but layer '1' (BatchNorm1d) mixes those of a batch",
    ),
    "dropout in train mode": (
        lambda: TorchProblem(nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2)), INPUTS, TARGETS),
        "module must be deterministic, but layer '0' (Dropout) is in train mode: call module.eval() first",
    ),
    "mixing by hand": (lambda: TorchProblem(Centred(), INPUTS, TARGETS), "an output changes with the other samples"),
    "noise": (lambda: TorchProblem(Random(), INPUTS, TARGETS), "a call draws random numbers"),
    "no parameters": (lambda: TorchProblem(nn.Tanh(), INPUTS, INPUTS), "module must have parameters, it has none"),
    "wrong inputs": (
        lambda: TorchProblem(perceptron(4, 2), INPUTS, TARGETS),
        "module must run on inputs of shape (6, 3), it says: mat1 and mat2 shapes cannot be multiplied (3x3 and 4x2)",
    ),
    "NaN in the inputs": (lambda: TorchProblem(perceptron(3, 2), INPUTS * np.nan, TARGETS), "inputs must be finite"),
    "wrong target shape": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, TARGETS[:5]),
        "targets must have shape (6, 2) for 6 samples of 2 outputs, got (5, 2)",
    ),
    "labels for squared error": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, [0, 1, 1, 0, 1, 0]),
        'targets must have shape (6, 2) for 6 samples of 2 outputs, got (6,); class labels are for loss="cross_entropy"',
    ),
    "targets for one output": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, TARGETS[:, 0]),
        "targets must have shape (6, 2) for 6 samples of 2 outputs, got (6,)",
    ),
    "no targets": (lambda: TorchProblem(perceptron(3, 2), INPUTS, None), "targets must hold real numbers, got dtype"),
    "label out of range": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, LABELS + 1, "cross_entropy"),
        "targets must be class labels from 0 to n_outputs - 1 = 1, got 1 to 2",
    ),
    "label of minus one": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, LABELS - 1, "cross_entropy"), "= 1, got -1 to 0",
    ),
    "one-hot labels": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, TARGETS, "cross_entropy"),
        "targets must be class labels of shape (6,) for loss='cross_entropy', got (6, 2)",
    ),
    "labels that are no integers": (
        lambda: TorchProblem(perceptron(3, 2), INPUTS, LABELS / 2, "cross_entropy"),
        "targets must be integer class labels for loss='cross_entropy', got dtype float64",
    ),
    "one class": (
        lambda: TorchProblem(perceptron(3, 1), INPUTS, LABELS, "cross_entropy"),
        "loss='cross_entropy' needs a module of at least 2 outputs, one per class, got 1",
    ),
    "unknown loss": (lambda: network(loss="square"), "loss must be one of 'squared', 'cross_entropy', got 'square'"),
    "unknown dtype": (lambda: network(dtype="float16"), "dtype must be one of 'float64', 'float32', got 'float16'"),
    "float32 with a tolerance it cannot reach": (
        lambda: network(dtype="float32", tolerance=1e-8),
        "tolerance must be at least 1e-05 with dtype='float32', got 1e-08; use dtype='float64'",
    ),
    "a tolerance nothing can reach": (lambda: network(tolerance=1e-17), "tolerance must be at least 1e-13 with dtype="),
    "b > n": (
        lambda: es.minibatch_sharpness(network(), network().theta0, es.WithoutReplacement(7), n_batches=3, seed=0),
        "batch_size must be between 1 and n_samples = 6, got 7",
    ),
    "non-finite activations": (
        exploding,
        "theta must give finite activations, but those of 3 samples (the first is 0) are not finite from layer 2 (Linear) on",
    ),
    "theta of the wrong length": (lambda: es.sharpness(network(), np.zeros(3)), "theta must have shape (26,), got (3,)"),
    "too many parameters": (
        lambda: TorchProblem(nn.Sequential(nn.Linear(1, 5_000_001)), np.ones((2, 1)), np.ones((2, 5_000_001))),
        "module must have at most 10,000,000 parameters that are trained, got 10,000,002: freeze some by",
    ),
    "enclosure of another problem": (
        lambda: mean_square_enclosure(es.Quadratic([np.eye(2)], [[0, 0]]), np.zeros(2), FEW),
        "problem must be a TorchProblem such as TorchProblem(module, inputs, targets), got",
    ),
    "enclosure without tolerance": (
        lambda: mean_square_enclosure(network(), network().theta0, FEW, tolerance=0.0),
        "tolerance must be a finite number above 0 and below 1, got 0.0",
    ),
    "enclosure without directions": (
        lambda: mean_square_enclosure(network(), network().theta0, FEW, max_rank=0),
        "max_rank must be an integer of at least 1, got 0",
    ),
    "enclosure of more samples than there are": (
        lambda: mean_square_enclosure(network(), network().theta0, FEW, n_samples=7),
        "n_samples must be between 1 and those of the problem = 6, got 7",
    ),
    "enclosure in no time": (
        lambda: mean_square_enclosure(network(), network().theta0, FEW, seconds=0),
        "seconds must be a finite number above 0, got 0",
    ),
    "enclosure on no device": (
        lambda: mean_square_enclosure(network(), network().theta0, FEW, device="gpu"), "device must be one of torch, got 'gpu'",
    ),
    "enclosure of too many rows": (
        lambda: mean_square_enclosure(q := many_rows(), q.theta0, FEW),
        "n_samples must be at most 100,000, as 200,000 rows n_samples·n_outputs of the Gram matrix are taken at most, got 100,001",
    ),
    "too many outputs": (too_many_outputs, "n_samples·n_outputs = 3,000 and n_params = 5,610, one of them at most 2,000"),
    "too large for full Hessians": (too_large_for_full, "hessian='gauss_newton' does without them"),
    "a Hessian too large": (
        lambda: (q := TorchProblem(perceptron(3, 1000, 2), INPUTS, TARGETS)).hessian(q.theta0),
        "module is too large for a Hessian: 36,024,004 numbers (0.3 GB), at most 25,000,000",
    ),
    "a loss that is not convex": (
        lambda: (q := network(loss=lambda f, y: -((f - y) ** 2).sum())).gauss_newton_curvature(q.theta0),
        "loss must be convex in the outputs for Gauss–Newton matrices, its Hessian there has the eigenvalue -2",
    ),
    "subspace of another problem": (
        lambda: mean_square_sharpness_in_subspace(es.Quadratic([np.eye(2)], [[0, 0]]), np.zeros(2), FEW),
        "problem must be a TorchProblem such as TorchProblem(module, inputs, targets), got",
    ),
    "no first rank": (
        lambda: mean_square_sharpness_in_subspace(network(), network().theta0, FEW, first_rank=0),
        "first_rank must be an integer of at least 1, got 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_message(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_lanczos_that_does_not_converge_names_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esssim.spectra.batched_lanczos.MAX_PRODUCTS", 9)
    monkeypatch.setattr(bridge_problem, "DENSE_PARAMS", 0)
    problem = TorchProblem(perceptron(3, 20, 2), INPUTS, TARGETS, tolerance=1e-12)
    with pytest.raises(RuntimeError, match=r"Lanczos left a residual of .* of batch \[\d, \d\]… after 9 products"):
        es.minibatch_sharpness(problem, problem.theta0, FEW)


class TestCheckpoint:
    def checkpoint(self, rng: np.random.Generator) -> Checkpoint:
        state = rng.bit_generator.state
        return Checkpoint(np.array([0.1, -2.0]), np.array([1e-300, 3.0]), 7, state, "f", {"order": np.arange(5)})

    @pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
    def test_goes_on_bit_for_bit(self, kind: str, tmp_path: Path) -> None:
        rng = np.random.Generator(getattr(np.random, kind)(3))
        rng.integers(0, 10, 3, dtype=np.int32)  # leaves half of a 64-bit number in the generator
        save_checkpoint(self.checkpoint(rng), tmp_path / "run.npz")
        found = load_checkpoint(tmp_path / "run.npz", fingerprint="f")
        np.testing.assert_array_equal(
            found.generator().integers(0, 10, 9, dtype=np.int32), rng.integers(0, 10, 9, dtype=np.int32)
        )
        np.testing.assert_array_equal(found.theta, [0.1, -2.0])
        np.testing.assert_array_equal(found.velocity, [1e-300, 3.0])
        np.testing.assert_array_equal(found.extra["order"], np.arange(5))
        assert found.step == 7

    def test_an_interrupted_write_leaves_the_one_before(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        save_checkpoint(self.checkpoint(np.random.default_rng(0)), tmp_path / "run.npz")
        before = (tmp_path / "run.npz").read_bytes()

        def killed(file: object, **_: object) -> None:
            file.write(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(self.checkpoint(np.random.default_rng(1)), tmp_path / "run.npz")
        assert (tmp_path / "run.npz").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]

    def test_refuses_what_is_none(self, tmp_path: Path) -> None:
        path = tmp_path / "run.npz"
        with pytest.raises(ValueError, match="there is no file"):
            load_checkpoint(path)
        path.write_bytes(b"nothing")
        with pytest.raises(ValueError, match="is none or is damaged"):
            load_checkpoint(path)
        np.savez(path, theta=np.zeros(2))
        with pytest.raises(ValueError, match="is none or is damaged"):
            load_checkpoint(path)
        save_checkpoint(self.checkpoint(np.random.default_rng(0)), path)
        path.write_bytes(path.read_bytes()[:-200])
        with pytest.raises(ValueError, match="is none or is damaged"):
            load_checkpoint(path)
        save_checkpoint(self.checkpoint(np.random.default_rng(0)), path)
        with pytest.raises(ValueError, match="is of another one"):
            load_checkpoint(path, fingerprint="g")


def test_import_of_esssim_leaves_torch_alone() -> None:
    code = "import sys, esssim; assert 'torch' not in sys.modules; esssim.bridge; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
